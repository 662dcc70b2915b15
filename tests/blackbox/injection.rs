//! Names and values of settings are carried from one connection to another as SQL. Whatever is in them, in whatever
//! encoding, they arrive as they were, and nothing of them is run.

use std::time::Duration;

use testbed::{Bouncer, Config, Door, Kind, Plan, Server, Tenant, World};

use crate::drivers::postgres;
use crate::raw::{Raw, message, startup};

pub fn plan(plan: &mut Plan) {
    let name = "t11_settings_with_anything_in_them";
    plan.add(
        World::Bouncer,
        &[Kind::Postgres],
        name,
        settings_with_anything_in_them,
    );
}

async fn settings_with_anything_in_them(server: &'static Server) {
    let tenant = Tenant::on(server, "inject")
        .with("pool_mode: transaction")
        .with("client_auth: trust")
        .with("min_connections: 0")
        .with("max_connections: 1");
    server.sql("", &format!("GRANT by_trust TO {}", tenant.username));
    let bouncer = Bouncer::start(&Config::for_tenants(std::slice::from_ref(&tenant)));
    let (door, straight) = (bouncer.door(&tenant), Door::of_server(&tenant));
    let other = postgres(&door).await;
    for encoding in ENCODINGS {
        for value in VALUES {
            for statement in statements(value) {
                let mut client = client(&straight, encoding);
                let expected = (told(&mut client, &statement), told(&mut client, SHOW));
                drop(client);

                let mut client = self::client(&door, encoding);
                let set = told(&mut client, &statement);
                // Somebody else has the connection in between and leaves it otherwise set, or waits for it, where the
                // client stays with it.
                let changes = other.batch_execute(OTHERWISE);
                let mut changes = std::pin::pin!(changes);
                let changed = tokio::time::timeout(MOMENT, changes.as_mut()).await;
                let shown = told(&mut client, SHOW);
                drop(client);
                match changed {
                    Ok(changed) => changed.expect("the other is served"),
                    Err(_) => changes.await.expect("the other is served in the end"),
                }
                let shown_statement = statement.escape_ascii();
                assert_eq!((set, shown), expected, "{encoding}: {shown_statement}");
            }
        }
    }
    drop(other);
    let there = "SELECT count(*) FROM whoami UNION ALL SELECT count(*) FROM pg_class WHERE relname = 'injected'";
    assert_eq!(server.sql(&tenant.dbname, there), "1\n0");
    bouncer.stop();
}

fn client(door: &Door, encoding: &str) -> Raw {
    let mut client = Raw::to(door.address);
    let login = [
        ("user", &*door.user),
        ("database", &door.dbname),
        ("client_encoding", encoding),
    ];
    client.say(&startup(&login)).until_ready();
    client
}

/// How long the other client waits before it is taken for one that will wait on.
const MOMENT: Duration = Duration::from_millis(20);

const OTHERWISE: &str =
    "SET app.v TO 'of another'; SET client_encoding TO 'UTF8'; SET search_path TO public";

/// The replies to a Query, without what a database says by itself at any time.
fn told(client: &mut Raw, text: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let said = client
        .say(&message(b'Q', &[text, b"\0"].concat()))
        .until_ready();
    said.into_iter()
        .filter(|(kind, _)| !b"SN".contains(kind))
        .collect()
}

/// The ways to say a value.
fn statements(value: &[u8]) -> Vec<Vec<u8>> {
    let doubled: Vec<u8> = value
        .iter()
        .flat_map(|&byte| vec![byte; 1 + usize::from(byte == b'\'')])
        .collect();
    let escaped: Vec<u8> = value
        .iter()
        .flat_map(|&byte| [&b"\\"[..usize::from(b"'\\".contains(&byte))], &[byte]].concat())
        .collect();
    let of = |parts: &[&[u8]]| parts.concat();
    vec![
        of(&[b"SET app.v TO '", &doubled, b"'"]),
        of(&[b"SET app.v = E'", &escaped, b"'"]),
        of(&[b"SELECT set_config('app.v', '", &doubled, b"', false)"]),
        of(&[b"SET app.v TO $tag$", value, b"$tag$; SELECT 1"]),
        of(&[b"SET \"app.v", &doubled, b"\" TO 'x'"]),
        of(&[b"SET search_path TO '", &doubled, b"', \"$user\""]),
    ]
}

/// A setting that somebody has had is empty afterwards and no longer null.
const SHOW: &[u8] = b"SELECT coalesce(current_setting('app.v', true), ''), current_setting('client_encoding'), current_schemas(false)";

/// Two of them hide ASCII in the second byte of a character.
const ENCODINGS: [&str; 5] = ["UTF8", "LATIN1", "EUC_JP", "SJIS", "BIG5"];

const VALUES: [&[u8]; 12] = [
    b"plain",
    b"it's",
    b"back\\slash\\",
    b"'; CREATE TABLE injected (i int); DROP TABLE whoami; --",
    b"\\'; CREATE TABLE injected (i int); --",
    b"$$; DROP TABLE whoami; $$",
    b"a;b\"c, d",
    b"line\nfeed\ttab\x01\x7f",
    b"\xc3\xa4\xe8\xa1\xa8", // UTF-8, and in other encodings what it happens to be
    b"\x95\x5c'; SELECT 'run'; --", // in SJIS one character, whose second byte is a backslash
    b"\xa5\x5c\xe9",
    b"\xff\xfe'",
];

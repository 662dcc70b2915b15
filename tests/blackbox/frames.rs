//! Byte for byte: the same frames sent to the database and through the bouncer bring the same bytes back.

use testbed::{Door, Front, Kind, Plan, Server, Tenant, World};

use crate::raw::{Complaint, Raw, message, startup};

pub fn plan(plan: &mut Plan) {
    let both = [Kind::Postgres, Kind::Postgres18];
    plan.add(
        World::Any,
        &both,
        "the_same_bytes_come_back",
        the_same_bytes_come_back,
    );
    plan.add(World::Any, &both, "the_same_greeting", the_same_greeting);
}

fn query(text: &str) -> Vec<u8> {
    message(b'Q', &[text.as_bytes(), b"\0"].concat())
}

fn parse(name: &str, text: &str) -> Vec<u8> {
    message(
        b'P',
        &[name.as_bytes(), b"\0", text.as_bytes(), b"\0\0\0"].concat(),
    )
}

fn bind(portal: &str, statement: &str) -> Vec<u8> {
    message(
        b'B',
        &[
            portal.as_bytes(),
            b"\0",
            statement.as_bytes(),
            b"\0\0\0\0\0\0\0",
        ]
        .concat(),
    )
}

fn describe(kind: u8, name: &str) -> Vec<u8> {
    message(b'D', &[&[kind][..], name.as_bytes(), b"\0"].concat())
}

fn execute(portal: &str, rows: u32) -> Vec<u8> {
    message(
        b'E',
        &[portal.as_bytes(), b"\0", &rows.to_be_bytes()].concat(),
    )
}

fn close(kind: u8, name: &str) -> Vec<u8> {
    message(b'C', &[&[kind][..], name.as_bytes(), b"\0"].concat())
}

fn sync() -> Vec<u8> {
    message(b'S', b"")
}

fn copy_data(bytes: &[u8]) -> Vec<u8> {
    message(b'd', bytes)
}

/// A name, the frames, and how many ReadyForQuery they bring.
fn dialogues() -> Vec<(&'static str, Vec<Vec<u8>>, usize)> {
    let copy_done = || message(b'c', b"");
    let many: Vec<_> = (0..300)
        .flat_map(|i| [query(&format!("SELECT {i}")), parse("", "SELECT 1"), sync()])
        .collect();
    vec![
        (
            "simple query",
            vec![query("SELECT 1 AS one, 'x'::text, NULL::int")],
            1,
        ),
        (
            "empty query",
            vec![query(""), query(";"), query("-- only a comment")],
            3,
        ),
        (
            "several statements",
            vec![query(
                "SELECT 1; SELECT 2; CREATE TEMP TABLE a (i int); INSERT INTO a VALUES (1)",
            )],
            1,
        ),
        ("error", vec![query("SELECT 1/0"), query("SELEKT")], 2),
        (
            "extended",
            vec![
                parse("s", "SELECT generate_series(1, 5)"),
                describe(b'S', "s"),
                bind("p", "s"),
                describe(b'P', "p"),
                execute("p", 0),
                sync(),
            ],
            1,
        ),
        (
            "a portal in portions",
            vec![
                query("BEGIN"),
                parse("q", "SELECT generate_series(1, 5)"),
                bind("p", "q"),
                execute("p", 2),
                execute("p", 2),
                execute("p", 2),
                sync(),
                query("COMMIT"),
            ],
            3,
        ),
        (
            "an error skips up to the Sync",
            vec![
                parse("", "SELECT 1"),
                bind("", ""),
                parse("bad", "SELEKT"),
                execute("", 0),
                query("SELECT 'skipped'"),
                sync(),
                query("SELECT 'not skipped'"),
            ],
            2,
        ),
        (
            "unknown statement and portal",
            vec![
                bind("", "nope"),
                sync(),
                execute("nope", 0),
                sync(),
                close(b'S', "nope"),
                close(b'P', "nope"),
                sync(),
            ],
            3,
        ),
        (
            "the same name twice",
            vec![
                parse("twice", "SELECT 1"),
                parse("twice", "SELECT 2"),
                sync(),
                close(b'S', "twice"),
                parse("twice", "SELECT 2"),
                sync(),
            ],
            2,
        ),
        ("Sync only", vec![sync(), sync(), sync()], 3),
        (
            "transaction status",
            vec![
                query("BEGIN"),
                query("SELECT 1/0"),
                query("SELECT 1"),
                query("ROLLBACK"),
                query("COMMIT"),
            ],
            5,
        ),
        (
            "copy out",
            vec![query(
                "COPY (SELECT i, i * 2 FROM generate_series(1, 1000) i) TO STDOUT",
            )],
            1,
        ),
        (
            "copy in",
            vec![
                query("CREATE TEMP TABLE c (i int)"),
                query("COPY c FROM STDIN"),
                copy_data(b"1\n2"),
                copy_data(b"2\n"),
                copy_done(),
                query("SELECT i + 0 FROM c"),
            ],
            3,
        ),
        (
            "copy in with wrong data",
            vec![
                query("COPY c FROM STDIN"),
                copy_data(b"x\n"),
                copy_data(b"1\n"),
                copy_done(),
                query("SELECT count(*) FROM c"),
            ],
            2,
        ),
        (
            "copy in given up",
            vec![
                query("COPY c FROM STDIN"),
                copy_data(b"1\n"),
                message(b'f', b"enough\0"),
                query("SELECT count(*) FROM c"),
            ],
            2,
        ),
        (
            "copy in, extended, with a Sync amidst",
            vec![
                parse("", "COPY c FROM STDIN"),
                bind("", ""),
                execute("", 0),
                sync(),
                copy_data(b"7\n"),
                copy_done(),
                sync(),
            ],
            1,
        ),
        (
            "settings reported",
            vec![query(
                "SET client_encoding TO latin1; SET TimeZone TO 'Asia/Tokyo'; SET application_name TO 'x'",
            )],
            1,
        ),
        (
            "notices",
            vec![query(
                "DO $$ BEGIN RAISE WARNING 'w'; RAISE NOTICE 'n'; END $$",
            )],
            1,
        ),
        (
            "function call",
            vec![message(
                b'F',
                &[&1598_u32.to_be_bytes()[..], b"\0\0\0\0\0\0"].concat(),
            )],
            1,
        ),
        ("many in one go", many, 600),
        (
            "an unknown message",
            vec![message(b'y', b"what"), query("SELECT 1")],
            1,
        ),
    ]
}

async fn the_same_bytes_come_back(server: &'static Server) {
    let (front, doors) = two_doors(server);
    let mut sessions = doors.each_ref().map(|door| open(door).0);
    for (name, frames, ready) in dialogues() {
        let answers = sessions.each_mut().map(|raw| {
            raw.say(&frames.concat());
            let mut seen = Vec::new();
            if name == "an unknown message" {
                // Not a byte of it may reach the database, so the words are the bouncer's own.
                let (kind, body) = raw.message();
                raw.rest();
                let state = Complaint::of_postgres(&body).state;
                return vec![(kind, state.into_bytes())];
            }
            while seen.iter().filter(|(kind, _)| *kind == b'Z').count() < ready {
                seen.extend(raw.until_ready());
            }
            // What pg_proc's random() answered differs by nature; only its shape counts.
            if name == "function call" {
                seen.iter_mut()
                    .filter(|(kind, _)| *kind == b'V')
                    .for_each(|(_, body)| body.clear());
            }
            seen
        });
        assert!(
            answers[0] == answers[1],
            "{name}:\nthrough: {:?}\nstraight: {:?}",
            answers[0],
            answers[1]
        );
    }
    front.close();
}

/// What a session is told at its beginning: the same parameters with the same values, in whatever order.
async fn the_same_greeting(server: &'static Server) {
    let (front, doors) = two_doors(server);
    let told = doors.each_ref().map(|door| {
        let (_raw, greeting) = open(door);
        let mut parameters: Vec<_> = greeting
            .into_iter()
            .filter(|(kind, _)| *kind == b'S')
            .map(|(_, body)| body)
            .collect();
        parameters.sort();
        parameters
            .iter()
            .map(|body| String::from_utf8_lossy(body).into_owned())
            .collect::<Vec<_>>()
    });
    assert_eq!(told[0], told[1]);
    front.close();
}

/// A tenant that neither the bouncer nor the database asks for a password, and the two ways to it.
fn two_doors(server: &Server) -> (Front, [Door; 2]) {
    let tenant = Tenant::on(server, "frames").with("client_auth: trust");
    server.sql("", &format!("GRANT by_trust TO {}", tenant.username));
    let front = Front::for_tenants(std::slice::from_ref(&tenant));
    let doors = [front.door(&tenant), Door::of_server(&tenant)];
    (front, doors)
}

fn open(door: &Door) -> (Raw, Vec<(u8, Vec<u8>)>) {
    let mut raw = Raw::to(door.address);
    let parameters = [
        ("user", door.user.as_str()),
        ("database", &door.dbname),
        ("application_name", "frames"),
        ("DateStyle", "iso, dmy"),
    ];
    let greeting = raw.say(&startup(&parameters)).until_ready();
    (raw, greeting)
}

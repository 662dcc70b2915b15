//! Transaction mode where it meets the world: a database that is down or has changed, clients that do not read or have gone
//! half, statements that others have prepared; and that what is counted is what session mode would count.

use std::net::Shutdown;

use testbed::{Bouncer, Config, Door, Kind, Middleman, Plan, Server, Tenant, World, eventually};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Statement};

use crate::drivers::{postgres, postgres_config, try_postgres, whoami};
use crate::operator::{ask, read};
use crate::raw::{Complaint, Raw, message, startup};

pub fn plan(plan: &mut Plan) {
    let one = [Kind::Postgres];
    plan.add(
        World::Bouncer,
        &one,
        "both_modes_count_alike",
        both_modes_count_alike,
    );
    plan.add(
        World::Bouncer,
        &one,
        "clients_log_in_while_the_database_is_down",
        clients_log_in_while_the_database_is_down,
    );
    plan.add(
        World::Bouncer,
        &one,
        "what_another_backend_reports_is_told",
        what_another_backend_reports_is_told,
    );
    plan.add(
        World::Bouncer,
        &one,
        "a_changed_table_concerns_who_prepared_before",
        a_changed_table_concerns_who_prepared_before,
    );
    plan.add(
        World::Bouncer,
        &one,
        "literals_mean_what_they_mean_to_their_client",
        literals_mean_what_they_mean_to_their_client,
    );
    plan.add(
        World::Bouncer,
        &one,
        "who_does_not_read_holds_no_backend_for_ever",
        who_does_not_read_holds_no_backend_for_ever,
    );
    plan.add(
        World::Bouncer,
        &one,
        "half_a_client_gets_its_answer",
        half_a_client_gets_its_answer,
    );
    plan.add(
        World::Bouncer,
        &one,
        "an_exhausted_pool_says_that_pinned_sessions_keep_it",
        an_exhausted_pool_says_that_pinned_sessions_keep_it,
    );
}

/// A tenant in transaction mode with one backend, that trusts its clients.
fn pooled(server: &Server, name: &str) -> Tenant {
    Tenant::on(server, name)
        .with("pool_mode: transaction")
        .with("client_auth: trust")
        .with("max_connections: 1")
}

fn before(tenant: &Tenant) -> (Bouncer, Door) {
    let bouncer = Bouncer::start(&Config::for_tenants(std::slice::from_ref(tenant)));
    let door = bouncer.door(tenant);
    (bouncer, door)
}

fn enter(door: &Door) -> Raw {
    let mut raw = Raw::to(door.address);
    let parameters = [("user", door.user.as_str()), ("database", &door.dbname)];
    raw.say(&startup(&parameters)).until_ready();
    raw
}

fn query(text: &str) -> Vec<u8> {
    message(b'Q', &[text.as_bytes(), b"\0"].concat())
}

/// Parse, Bind, Execute and Sync.
fn batch(name: &str, text: &str) -> Vec<u8> {
    [
        message(
            b'P',
            &[name.as_bytes(), b"\0", text.as_bytes(), b"\0\0\0"].concat(),
        ),
        message(b'B', &[b"\0", name.as_bytes(), b"\0\0\0\0\0\0\0"].concat()),
        message(b'E', b"\0\0\0\0\0"),
        message(b'S', b""),
    ]
    .concat()
}

async fn both_modes_count_alike(server: &'static Server) {
    let session = Tenant::on(server, "counts")
        .with("pool_mode: session")
        .with("client_auth: trust");
    let tenants = [session, pooled(server, "counts")];
    let bouncer = Bouncer::start(&Config::for_tenants(&tenants));
    let counted = tenants.each_ref().map(|tenant| {
        let mut raw = enter(&bouncer.door(tenant));
        for (said, answers) in [
            (query("SELECT 1; SELECT 2"), 1),
            (batch("", "SELECT 3"), 1),
            (
                [batch("a", "SELECT 4"), batch("b", "SELECT 1/0")].concat(),
                2,
            ),
            (batch("a", "SELECT 'taken'"), 1),
            (query("BEGIN"), 1),
            (query("SELEKT"), 1),
            (query("SELECT 'not now'"), 1),
            (query("ROLLBACK"), 1),
            (message(b'S', b""), 1),
            (
                [query("SELECT 5"), query("SELECT 6"), message(b'S', b"")].concat(),
                3,
            ),
        ] {
            raw.say(&said);
            (0..answers).for_each(|_| drop(raw.until_ready()));
        }
        raw.say(&message(b'X', b"")).rest();
        let stats = format!("/tenants/{}/stats", tenant.id);
        let stats = eventually("it has left", || {
            let stats = read(bouncer.api(), "GET", &stats, "");
            stats.contains("\"clients\":0").then_some(stats)
        });
        let number = |name: &str| -> u64 {
            let at = stats.find(&format!("\"{name}\":")).expect("it is there");
            let digits = stats[at + name.len() + 3..].split([',', '}']).next();
            digits.and_then(|it| it.parse().ok()).expect("a number")
        };
        [
            number("queries"),
            number("transactions"),
            number("errors"),
            number("sent_bytes"),
            number("received_bytes"),
        ]
    });
    assert_eq!(
        counted[0], counted[1],
        "in session mode, in transaction mode"
    );
    assert_eq!(counted[0][..3], [11, 10, 4]);
    bouncer.stop();
}

async fn clients_log_in_while_the_database_is_down(server: &'static Server) {
    let middleman = Middleman::before(server.address);
    let mut tenant = pooled(server, "down").with("min_connections: 0");
    tenant.set("health_check: {interval: 0}");
    tenant.address = middleman.address();
    middleman.refuse(true);
    let (bouncer, door) = before(&tenant);
    let refused = try_postgres(&postgres_config(&door)).await.err();
    let refused = refused.expect("nothing is known of it yet");
    assert_eq!(refused.code(), Some(&SqlState::CANNOT_CONNECT_NOW));
    middleman.refuse(false);
    assert_eq!(whoami(&door).await, tenant.id);
    middleman.refuse(true);
    middleman.cut();
    // A statement that came before that was noticed would be told of a broken connection.
    let stats = format!("/tenants/{}/stats", tenant.id);
    eventually("no connection is left", || {
        let stats = read(bouncer.api(), "GET", &stats, "");
        stats.contains("\"idle\":0,").then_some(())
    });
    let client = postgres(&door).await;
    let refused = client.batch_execute("SELECT 1").await.unwrap_err();
    assert_eq!(refused.code(), Some(&SqlState::CANNOT_CONNECT_NOW));
    middleman.refuse(false);
    assert_eq!(whoami(&door).await, tenant.id);
    bouncer.stop();
}

async fn what_another_backend_reports_is_told(server: &'static Server) {
    let tenant = pooled(server, "reports");
    let (bouncer, door) = before(&tenant);
    let mut raw = enter(&door);
    raw.say(&query("SELECT 1")).until_ready();
    let change = format!(
        "ALTER DATABASE {} SET timezone TO 'Asia/Tokyo'",
        tenant.dbname
    );
    server.sql("", &change);
    let reconnect = format!("/tenants/{}/reconnect", tenant.id);
    assert_eq!(ask(bouncer.api(), "POST", &reconnect, ""), 202);
    let heard = raw.say(&query("SELECT 1")).until_ready();
    assert_eq!(heard[0], (b'S', b"TimeZone\0Asia/Tokyo\0".to_vec()));
    assert_eq!(heard.len(), 5);
    bouncer.stop();
}

/// "cached plan must not change result type" is for the client that prepared a statement before its table changed, until it
/// prepares it again. It is for no other client.
async fn a_changed_table_concerns_who_prepared_before(server: &'static Server) {
    let tenant = pooled(server, "changed");
    let (bouncer, door) = before(&tenant);
    let (before, after) = (postgres(&door).await, postgres(&door).await);
    let text = "SELECT * FROM whoami";
    let old = before.prepare(text).await.unwrap();
    before.query_one(&old, &[]).await.unwrap();
    let change = "ALTER TABLE whoami ADD COLUMN more int DEFAULT 7";
    server.sql(&tenant.dbname, change);
    let told = before.query_one(&old, &[]).await.unwrap_err();
    assert_eq!(told.code(), Some(&SqlState::FEATURE_NOT_SUPPORTED));
    for client in [&after, &before] {
        let statement = client.prepare(text).await.unwrap();
        let row = client.query_one(&statement, &[]).await.unwrap();
        assert_eq!((row.len(), row.get::<_, i32>(1)), (2, 7));
    }
    // Nor does a backend tell it otherwise that has not prepared it before, or read an int8 to it that it takes for an int4.
    let told = before.prepare(text).await.unwrap();
    server.sql(&tenant.dbname, "ALTER TABLE whoami ALTER more TYPE int8");
    let reconnect = format!("/tenants/{}/reconnect", tenant.id);
    assert_eq!(ask(bouncer.api(), "POST", &reconnect, ""), 202);
    let refused = before.query_one(&told, &[]).await.unwrap_err();
    assert_eq!(refused.code(), Some(&SqlState::FEATURE_NOT_SUPPORTED));
    let anew = before.prepare(text).await.unwrap();
    let row = before.query_one(&anew, &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>(1), 7);
    drop((old, told, anew));
    bouncer.stop();
}

/// The number that a statement comes to.
async fn at(client: &Client, statement: &Statement) -> i64 {
    client.query_one(statement, &[]).await.unwrap().get(0)
}

/// Literals are read when a statement is prepared, so one that is shared must have been prepared by somebody to whom they
/// mean the same; also where nobody knows how a session was set.
async fn literals_mean_what_they_mean_to_their_client(server: &'static Server) {
    let tenant = pooled(server, "literals");
    let (bouncer, door) = before(&tenant);
    let text = "SELECT extract(epoch FROM '2001-01-01'::timestamptz)::int8";
    let plain = postgres(&door).await;
    plain.batch_execute("SET timezone TO 'UTC'").await.unwrap();
    let statement = plain.prepare(text).await.unwrap();
    let utc = at(&plain, &statement).await;
    let mut config = postgres_config(&door);
    let tokyo = try_postgres(config.options("-c timezone=Asia/Tokyo"))
        .await
        .unwrap();
    let others = tokyo.prepare(text).await.unwrap();
    assert_eq!(at(&tokyo, &others).await, utc - 9 * 3600);
    assert_eq!(at(&plain, &statement).await, utc);
    let hidden = postgres(&door).await;
    hidden
        .batch_execute(
            "SET timezone TO 'UTC'; \
             DO $$ BEGIN PERFORM set_config('timezone', 'Asia/Tokyo', false); END $$",
        )
        .await
        .unwrap();
    let others = hidden.prepare(text).await.unwrap();
    assert_eq!(at(&hidden, &others).await, utc - 9 * 3600);
    drop(others);
    drop(hidden);
    assert_eq!(at(&plain, &statement).await, utc);
    bouncer.stop();
}

async fn who_does_not_read_holds_no_backend_for_ever(server: &'static Server) {
    let tenant = pooled(server, "stalled").with("acquire_timeout: 60s");
    let config = Config::for_tenants(std::slice::from_ref(&tenant));
    let bouncer = Bouncer::start(&config.with("limits: {client_stall_timeout: 300ms}"));
    let door = bouncer.door(&tenant);
    let mut raw = enter(&door);
    raw.say(&query(
        "SELECT repeat('x', 1000000) FROM generate_series(1, 100)",
    ));
    bouncer.log_line(&[&tenant.id, "read nothing"]);
    assert_eq!(whoami(&door).await, tenant.id);
    bouncer.stop();
}

async fn half_a_client_gets_its_answer(server: &'static Server) {
    let tenant = pooled(server, "half");
    let (bouncer, door) = before(&tenant);
    let mut raw = enter(&door);
    raw.say(&query("SELECT pg_sleep(0.2), id FROM whoami"));
    raw.0.shutdown(Shutdown::Write).unwrap();
    let heard = raw.until_ready();
    assert!(heard[1].1.ends_with(tenant.id.as_bytes()), "{heard:?}");
    assert!(raw.rest().is_empty());
    // One that is half gone and owed nothing is gone.
    let mut raw = enter(&door);
    raw.say(&query("BEGIN; SELECT 1/0"));
    let failed = raw.until_ready();
    let told = failed.iter().find(|(kind, _)| *kind == b'E');
    assert_eq!(
        Complaint::of_postgres(&told.expect("an error").1).state,
        "22012"
    );
    raw.0.shutdown(Shutdown::Write).unwrap();
    assert!(raw.rest().is_empty());
    assert_eq!(whoami(&door).await, tenant.id);
    bouncer.stop();
}

async fn an_exhausted_pool_says_that_pinned_sessions_keep_it(server: &'static Server) {
    let tenant = pooled(server, "kept").with("acquire_timeout: 100ms");
    let (bouncer, door) = before(&tenant);
    let mut holder = enter(&door);
    let mut refused = |what: &str| {
        holder.say(&query(what)).until_ready();
        let mut raw = enter(&door);
        raw.say(&query("SELECT 1")).last_words().message
    };
    let busy = refused("BEGIN");
    assert!(busy.ends_with("within 100ms (1 in use)"), "{busy}");
    let pinned = refused("LISTEN something; COMMIT");
    assert!(
        pinned.contains("(1 in use, 1 by pinned sessions"),
        "{pinned}"
    );
    bouncer.stop();
}

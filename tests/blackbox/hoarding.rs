//! What one side does not take is not kept for it: whoever says it is not listened to any more. Measured by the memory of
//! the whole program.

use std::io::{ErrorKind, Write};
use std::time::Duration;

use testbed::{Bouncer, Config, Kind, Middleman, Plan, Server, Tenant, World, eventually};

use crate::limits::resident;
use crate::raw::{Raw, handshake_response, message, packet, startup};

pub fn plan(plan: &mut Plan) {
    plan.add(
        World::Bouncer,
        &[Kind::Postgres, Kind::MariaDb],
        "little_is_kept_for_who_does_not_read",
        little_is_kept_for_who_does_not_read,
    );
    plan.add(
        World::Bouncer,
        &[Kind::Postgres],
        "little_is_kept_for_a_database_that_does_not_read",
        little_is_kept_for_a_database,
    );
}

/// What may come on top, in bytes: queues of both sides, and the buffers that all share.
const LITTLE: usize = 24 << 20;

/// Five clients, each of whom has asked for a result of some hundred megabytes, and reads none of it.
async fn little_is_kept_for_who_does_not_read(server: &'static Server) {
    let tenant = Tenant::on(server, "deaf").with("client_auth: trust");
    let bouncer = Bouncer::start(&Config::for_tenants(std::slice::from_ref(&tenant)));
    let door = bouncer.door(&tenant);
    let mut deaf: Vec<_> = (0..5)
        .map(|_| {
            let mut raw = Raw::to(door.address);
            if server.kind.is_postgres() {
                raw.say(&startup(&[
                    ("user", &door.user),
                    ("database", &door.dbname),
                ]));
                raw.until_ready();
            } else {
                raw.packet();
                raw.say(&handshake_response(&door.user, None));
                while raw.packet().1[0] != 0 {}
            }
            raw
        })
        .collect();
    let before = resident(&bouncer);
    for raw in &mut deaf {
        if server.kind.is_postgres() {
            let query = "SELECT repeat('x', 1000) FROM generate_series(1, 300000)\0";
            raw.say(&message(b'Q', query.as_bytes()));
        } else {
            let all = "information_schema.collations";
            let query = format!("\x03SELECT repeat('x', 3000) FROM {all} a, {all} b");
            raw.say(&packet(0, query.as_bytes()));
        }
    }
    let (table, blocked) = match server.kind.is_postgres() {
        true => (
            "pg_stat_activity",
            format!(
                "datname = '{}' AND wait_event = 'ClientWrite'",
                tenant.dbname
            ),
        ),
        false => (
            "information_schema.processlist",
            format!("db = '{}' AND state = 'Writing to net'", tenant.dbname),
        ),
    };
    let blocked = format!("SELECT count(*) FROM {table} WHERE {blocked}");
    // More than once: one that writes on is blocked in between, too.
    for _ in 0..3 {
        eventually("nobody takes what they say", || {
            (server.sql("", &blocked) == "5").then_some(())
        });
    }
    let grown = resident(&bouncer).saturating_sub(before);
    assert!(grown < LITTLE, "{grown} bytes for five that do not read");
    drop(deaf);
    bouncer.stop();
}

/// A client that says more and more, to a database behind a network that has stopped.
async fn little_is_kept_for_a_database(server: &'static Server) {
    let between = Middleman::before(server.address);
    let mut tenant = Tenant::on(server, "stuck")
        .with("client_auth: trust")
        .with("health_check: {interval: 0}");
    tenant.address = between.address();
    let bouncer = Bouncer::start(&Config::for_tenants(std::slice::from_ref(&tenant)));
    let door = bouncer.door(&tenant);
    let mut raw = Raw::to(door.address);
    raw.say(&startup(&[
        ("user", &door.user),
        ("database", &door.dbname),
    ]));
    raw.until_ready();
    let copy = "CREATE TEMP TABLE t (a text); COPY t FROM STDIN\0";
    raw.say(&message(b'Q', copy.as_bytes()));
    while raw.message().0 != b'G' {}
    let before = resident(&bouncer);
    between.hold();
    let row = message(b'd', &[&[b'x'; 60_000][..], b"\n"].concat());
    raw.0
        .set_write_timeout(Some(Duration::from_secs(1)))
        .unwrap();
    let mut said = 0;
    let end = loop {
        match raw.0.write(&row) {
            Ok(length) => said += length,
            // A process that is stopped and goes on is told so.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => break error,
        }
        assert!(said < 300 << 20, "there is no end to it");
    };
    assert!(
        matches!(end.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        "{end}"
    );
    let grown = resident(&bouncer).saturating_sub(before);
    assert!(
        grown < LITTLE,
        "{grown} bytes of {said} that a client has said"
    );
    between.cut();
    between.release();
    bouncer.stop();
}

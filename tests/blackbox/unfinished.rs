//! What a client did not say to its end is not run, and what it does not wait for is not gone on with.

use std::net::Shutdown;

use testbed::{
    Bouncer, Config, Door, Front, Kind, Middleman, Plan, Server, Tenant, World, eventually,
};

use crate::answers::session;
use crate::drivers::whoami;
use crate::health::sample;
use crate::raw::{Raw, message, packet, startup};

pub fn plan(plan: &mut Plan) {
    let mysql = [Kind::MariaDb, Kind::MySql];
    plan.add(
        World::Any,
        &[Kind::Postgres, Kind::MariaDb, Kind::MySql],
        "a_statement_without_its_end_is_not_run",
        a_statement_without_its_end,
    );
    plan.add(
        World::Any,
        &[Kind::Postgres],
        "a_long_statement_without_its_end_is_not_run",
        a_long_statement_without_its_end,
    );
    plan.add(
        World::Bouncer,
        &[Kind::Postgres, Kind::MariaDb],
        "a_statement_is_not_run_by_our_end",
        a_statement_is_not_run_by_our_end,
    );
    plan.add(
        World::Bouncer,
        &mysql,
        "what_nobody_waits_for_is_ended",
        what_nobody_waits_for_is_ended,
    );
}

/// The exit status of a program that had to cut clients off.
const CUT_OFF: i32 = 75;

/// More bytes may be missing than our goodbye to the database has, or as many, or fewer.
const MISSING: std::ops::RangeInclusive<usize> = 0..=6;

fn trusting(server: &Server, name: &str) -> Tenant {
    let tenant = Tenant::on(server, name)
        .with("client_auth: trust")
        .with("min_connections: 0");
    if server.kind.is_postgres() {
        server.sql("", &format!("GRANT by_trust TO {}", tenant.username));
    }
    tenant
}

/// The same, with a table for what is said.
fn with_table(server: &Server, name: &str) -> Tenant {
    let tenant = trusting(server, name).with("idle_timeout: 1s");
    server.sql(&tenant.dbname, "CREATE TABLE t (i int)");
    if server.kind.is_postgres() {
        server.sql(&tenant.dbname, "GRANT ALL ON t TO PUBLIC");
    }
    tenant
}

/// A session that has said all of a first statement and an INSERT without its last bytes, in one piece, so that both have been
/// passed on when the first is answered.
fn half_said(server: &Server, door: &Door, missing: usize) -> Raw {
    let insert = format!("INSERT INTO t VALUES ({missing}) -- the end");
    let (mut raw, said) = match server.kind.is_postgres() {
        true => {
            let mut raw = Raw::to(door.address);
            let opening = [("user", &*door.user), ("database", &door.dbname)];
            raw.say(&startup(&opening)).until_ready();
            let insert = message(b'Q', format!("{insert}\0").as_bytes());
            (raw, [message(b'Q', b"SELECT 1\0"), insert].concat())
        }
        false => {
            let insert = packet(0, format!("\x03{insert}").as_bytes());
            (session(door, 0), [packet(0, b"\x03DO 1"), insert].concat())
        }
    };
    raw.say(&said[..said.len() - missing]);
    heard(server, &mut raw);
    raw
}

/// A statement has been answered.
fn heard(server: &Server, raw: &mut Raw) {
    match server.kind.is_postgres() {
        true => drop(raw.until_ready()),
        false => drop(raw.packet()),
    }
}

/// Which of the rows are there, when nobody of the tenant's is connected any more.
fn rows(server: &Server, tenant: &Tenant) -> Vec<String> {
    let sessions = match server.kind.is_postgres() {
        true => format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}'",
            tenant.dbname
        ),
        false => format!(
            "SELECT count(*) FROM information_schema.processlist WHERE user = '{}'",
            tenant.username
        ),
    };
    eventually("every session is over", || {
        (server.sql("", &sessions) == "0").then_some(())
    });
    let rows = server.sql(&tenant.dbname, "SELECT i FROM t ORDER BY i");
    rows.lines().map(str::to_owned).collect()
}

/// Its last words are in a comment, so that any others would do.
async fn a_statement_without_its_end(server: &'static Server) {
    let tenant = with_table(server, "half");
    let front = Front::for_tenants(std::slice::from_ref(&tenant));
    let door = front.door(&tenant);
    for missing in MISSING {
        let mut raw = half_said(server, &door, missing);
        if missing == 0 {
            heard(server, &mut raw);
        }
        raw.vanish();
    }
    assert_eq!(
        rows(server, &tenant),
        ["0"],
        "only the whole one has been run"
    );
    front.close();
}

/// In transaction mode only such a one is passed on before all of it is here.
async fn a_long_statement_without_its_end(server: &'static Server) {
    let tenant = with_table(server, "long");
    let front = Front::for_tenants(std::slice::from_ref(&tenant));
    let door = front.door(&tenant);
    for missing in [0, 2] {
        let mut raw = Raw::to(door.address);
        let opening = [("user", &*door.user), ("database", &door.dbname)];
        raw.say(&startup(&opening)).until_ready();
        let insert = format!(
            "INSERT INTO t VALUES ({missing}) -- {}\0",
            "x".repeat(2 << 20)
        );
        let insert = message(b'Q', insert.as_bytes());
        raw.say(&insert[..insert.len() - missing]);
        raw.0.shutdown(Shutdown::Write).unwrap();
        raw.rest();
    }
    assert_eq!(
        rows(server, &tenant),
        ["0"],
        "only the whole one has been run"
    );
    front.close();
}

/// When the grace is over, its session is cut off where it stands.
async fn a_statement_is_not_run_by_our_end(server: &'static Server) {
    for missing in MISSING.skip(1) {
        let tenant = with_table(server, "stop");
        let config = Config::for_tenants(std::slice::from_ref(&tenant));
        let bouncer = Bouncer::start(&config.with("shutdown_grace: 10ms"));
        let mut raw = half_said(server, &bouncer.door(&tenant), missing);
        bouncer.tell_to_stop();
        raw.rest();
        bouncer.ended_with(CUT_OFF);
        assert!(rows(server, &tenant).is_empty(), "{missing} missing");
    }
}

/// Its server would not notice, and the next client's backend would be one more than the tenant may have. However many
/// they are, one login more is enough to end them.
async fn what_nobody_waits_for_is_ended(server: &'static Server) {
    let middleman = Middleman::before(server.address);
    let mut tenant = trusting(server, "gone")
        .with("max_connections: 10")
        // It logs in, too.
        .with("health_check: {interval: 0}");
    tenant.address = middleman.address();
    let bouncer = Bouncer::start(&Config::for_tenants(std::slice::from_ref(&tenant)));
    let door = bouncer.door(&tenant);
    let at_work = format!(
        "SELECT count(*) FROM information_schema.processlist WHERE user = '{}' AND info LIKE 'SELECT SLEEP%'",
        tenant.username
    );
    let clients = format!(
        r#"dbbouncer_tenant_clients{{tenant="{}",db_type="mysql"}}"#,
        tenant.id
    );
    for round in 1..=2 {
        let crowd: Vec<Raw> = (0..10)
            .map(|_| {
                let mut raw = session(&door, 0);
                raw.say(&packet(0, b"\x03SELECT SLEEP(600)"));
                raw
            })
            .collect();
        eventually("they are at work, and they alone", || {
            (server.sql("", &at_work) == "10").then_some(())
        });
        // All of them are in line before the first can be killed.
        middleman.hold();
        crowd.into_iter().for_each(Raw::vanish);
        eventually("all clients are gone", || {
            (sample(bouncer.api(), &clients) == 0.0).then_some(())
        });
        middleman.release();
        eventually("nothing is gone on with", || {
            (server.sql("", &at_work) == "0").then_some(())
        });
        let logins = middleman.accepted();
        assert!(
            logins <= round * 15,
            "{logins} logins in {round} rounds of 10"
        );
    }
    assert_eq!(whoami(&door).await, tenant.id);
    bouncer.stop();
}

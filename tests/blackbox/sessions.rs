//! What an operator is shown of a tenant's sessions, and the end of one: it alone, and nothing of it is left at the database.

use std::net::SocketAddr;

use serde_json::Value;
use testbed::{Bouncer, Config, Kind, Middleman, Plan, Server, World, eventually};

use crate::answers::{change_of_user, session};
use crate::health::sample;
use crate::operator::{ask, read};
use crate::raw::packet;
use crate::stopping::{Client, tenant_of};

pub fn plan(plan: &mut Plan) {
    plan.add(
        World::Bouncer,
        &[Kind::Postgres, Kind::MariaDb, Kind::MySql],
        "an_operator_sees_sessions_and_ends_one",
        an_operator_sees_sessions_and_ends_one,
    );
    plan.add(
        World::Bouncer,
        &[Kind::MariaDb],
        "who_changes_user_can_be_ended",
        who_changes_user_can_be_ended,
    );
    plan.add(
        World::Bouncer,
        &[Kind::Postgres],
        "who_waits_for_a_connection_can_be_ended",
        who_waits_for_a_connection_can_be_ended,
    );
    plan.add(
        World::Bouncer,
        &[Kind::Postgres, Kind::MariaDb],
        "who_waits_for_its_first_connection_is_listed_and_can_be_ended",
        who_waits_for_its_first_connection_is_listed_and_can_be_ended,
    );
}

async fn an_operator_sees_sessions_and_ends_one(server: &'static Server) {
    let tenant = tenant_of(server, "watched");
    let bouncer = Bouncer::start(&Config::for_tenants(std::slice::from_ref(&tenant)));
    let (api, path) = (bouncer.api(), format!("/tenants/{}/sessions", tenant.id));
    let mut open = Client::of(&bouncer, &tenant);
    open.runs("BEGIN");
    open.runs("INSERT INTO whoami VALUES ('lost')");
    let mut bystander = Client::of(&bouncer, &tenant);
    bystander.runs("BEGIN");
    bystander.runs("INSERT INTO whoami VALUES ('kept')");
    bystander.runs("COMMIT");
    let mut asleep = Client::of(&bouncer, &tenant);
    let sleep = format!("SELECT {}(601)", sleeper(server));
    asleep.says(&sleep);

    let shown = eventually("each is at what it should be", || {
        let all = sessions(api, &path);
        let states: Vec<_> = all.iter().map(|it| it["state"].as_str()).collect();
        let wanted = ["idle_in_transaction", "idle", "active"];
        (states == wanted.map(Some)).then_some(all)
    });
    for (session, client) in shown.iter().zip([&open, &bystander, &asleep]) {
        let address = client.raw.0.local_addr().expect("a socket").to_string();
        assert_eq!(
            (&session["user"], &session["client"]),
            (&"app".into(), &address.into())
        );
    }
    for held in [&shown[0], &shown[2]] {
        let number = held["backend"].as_u64().expect("it holds a connection");
        assert_eq!(server.sql("", &numbered(server, number)), "1", "{held}");
        assert!(held["transaction_seconds"].as_f64().is_some(), "{held}");
    }

    for (client, session) in [(open, &shown[0]), (asleep, &shown[2])] {
        let one = format!("{path}/{}", session["id"].as_str().expect("a number"));
        assert_eq!(ask(api, "DELETE", &one, ""), 204);
        client.hears_of_the_stop();
        eventually("it is gone from the list", || {
            (!sessions(api, &path)
                .iter()
                .any(|it| it["id"] == session["id"]))
            .then_some(())
        });
        assert_eq!(
            ask(api, "DELETE", &one, ""),
            404,
            "nobody else has its number"
        );
    }
    eventually("the database has given up what nobody waits for", || {
        (server.sql("", asleep_at(server)) == "0").then_some(())
    });
    bystander.runs("BEGIN");
    let kept = "SELECT COUNT(*) FROM whoami WHERE id IN ('lost', 'kept')";
    assert_eq!(server.sql(&tenant.dbname, kept), "1");
    assert_eq!(sessions(api, &path).len(), 1);
    let ended = format!(
        "dbbouncer_sessions_ended_total{{tenant=\"{}\",reason=\"ended_by_operator\"}}",
        tenant.id
    );
    assert_eq!(sample(api, &ended), 2.0);
    bystander.runs("COMMIT");
    bouncer.stop();
}

async fn who_waits_for_a_connection_can_be_ended(server: &'static Server) {
    let tenant = tenant_of(server, "queue")
        .with("pool_mode: transaction")
        .with("max_connections: 1")
        .with("min_connections: 0")
        .with("acquire_timeout: 10m");
    let bouncer = Bouncer::start(&Config::for_tenants(std::slice::from_ref(&tenant)));
    let (api, path) = (bouncer.api(), format!("/tenants/{}/sessions", tenant.id));
    let mut holder = Client::of(&bouncer, &tenant);
    holder.runs("BEGIN");
    let mut waiter = Client::of(&bouncer, &tenant);
    waiter.says("SELECT 1");
    let waiting = eventually("it waits", || {
        let all = sessions(api, &path);
        all.into_iter().find(|it| it["state"] == "waiting")
    });
    assert!(waiting["backend"].is_null(), "{waiting}");
    let one = format!("{path}/{}", waiting["id"].as_str().expect("a number"));
    assert_eq!(ask(api, "DELETE", &one, ""), 204);
    waiter.hears_of_the_stop();
    holder.runs("COMMIT");
    bouncer.stop();
}

/// Whichever side is silent in the middle of it.
async fn who_changes_user_can_be_ended(server: &'static Server) {
    let middleman = Middleman::before(server.address);
    let mut tenant = tenant_of(server, "changing").with("connect_timeout: 10m");
    tenant.address = middleman.address();
    let config = Config::for_tenants(std::slice::from_ref(&tenant));
    let bouncer = Bouncer::start(&config.with("limits: {login_timeout: 10m}"));
    let (api, path) = (bouncer.api(), format!("/tenants/{}/sessions", tenant.id));
    let door = bouncer.door(&tenant);
    for by_database in [false, true] {
        let mut raw = session(&door, 0);
        if by_database {
            middleman.hold();
        }
        raw.say(&change_of_user(&door));
        assert_eq!(raw.packet().1[0], 0xFE, "an AuthSwitchRequest");
        if by_database {
            raw.say(&packet(2, &[7; 20]));
            eventually("the database is asked", || {
                middleman.is_holding().then_some(())
            });
        }
        let id = sessions(api, &path)[0]["id"].clone();
        let one = format!("{path}/{}", id.as_str().expect("a number"));
        assert_eq!(ask(api, "DELETE", &one, ""), 204);
        assert_eq!(raw.rest(), b"");
    }
    middleman.release();
    bouncer.stop();
}

/// In session mode that is before it has heard that it is let in.
async fn who_waits_for_its_first_connection_is_listed_and_can_be_ended(server: &'static Server) {
    let tenant = tenant_of(server, "first")
        .with("pool_mode: session")
        .with("max_connections: 1")
        .with("min_connections: 0")
        .with("acquire_timeout: 10m");
    let bouncer = Bouncer::start(&Config::for_tenants(std::slice::from_ref(&tenant)));
    let (api, path) = (bouncer.api(), format!("/tenants/{}/sessions", tenant.id));
    let holder = Client::of(&bouncer, &tenant);
    let [one, mut other] = [(); 2].map(|()| Client::at_the_door(&bouncer, &tenant));
    let shown = eventually("both wait", || {
        let mut all = sessions(api, &path);
        all.retain(|it| it["state"] == "waiting");
        (all.len() == 2).then_some(all)
    });
    assert!(shown.iter().all(|it| it["backend"].is_null()), "{shown:?}");
    assert!(
        shown.iter().all(|it| it["state_seconds"].is_f64()),
        "{shown:?}"
    );
    let address = one.raw.0.local_addr().expect("a socket").to_string();
    let ended = shown.iter().find(|it| it["client"] == *address);
    let id = ended.and_then(|it| it["id"].as_str()).expect("a number");
    assert_eq!(ask(api, "DELETE", &format!("{path}/{id}"), ""), 204);
    one.hears_of_its_end_at_the_door();
    drop(holder);
    other.is_let_in();
    let all = sessions(api, &path);
    assert_eq!(
        (all.len(), &all[0]["state"]),
        (1, &"idle".into()),
        "{all:?}"
    );
    assert!(all[0]["backend"].is_u64(), "{all:?}");
    bouncer.stop();
}

fn sessions(api: SocketAddr, path: &str) -> Vec<Value> {
    let answer = read(api, "GET", path, "");
    let (_, body) = answer
        .split_once("\r\n\r\n")
        .expect("an answer with a body");
    serde_json::from_str(body).expect("a list")
}

/// The function by which a query takes its time.
fn sleeper(server: &Server) -> &'static str {
    match server.kind.is_postgres() {
        true => "pg_sleep",
        false => "SLEEP",
    }
}

/// How many connections of this number the database has.
fn numbered(server: &Server, number: u64) -> String {
    match server.kind.is_postgres() {
        true => format!("SELECT COUNT(*) FROM pg_stat_activity WHERE pid = {number}"),
        false => format!("SELECT COUNT(*) FROM information_schema.processlist WHERE id = {number}"),
    }
}

/// How many of its connections sleep for so long.
fn asleep_at(server: &Server) -> &'static str {
    match server.kind.is_postgres() {
        true => {
            "SELECT COUNT(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(601)' AND state = 'active'"
        }
        false => {
            "SELECT COUNT(*) FROM information_schema.processlist WHERE info = 'SELECT SLEEP(601)'"
        }
    }
}

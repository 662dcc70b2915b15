//! Sessions that take too long over something: each is told which time-out is over, in its own protocol and with the code
//! that a server would have used, and then ended. What they held is fit for the next client. And clients that wait for a
//! backend, and cancel that.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use testbed::{Bouncer, Config, Door, Kind, Plan, Server, Tenant, World, eventually};
use tokio_postgres::error::SqlState;

use crate::answers::{change_of_user, is_changed, session};
use crate::drivers::postgres;
use crate::operator::{ask, json, read};
use crate::raw::{Complaint, Raw, message, packet, startup};

pub fn plan(plan: &mut Plan) {
    let postgres = [Kind::Postgres];
    let mysql = [Kind::MariaDb, Kind::MySql];
    plan.add(
        World::Bouncer,
        &postgres,
        "each_time_out_has_its_error",
        each_time_out_has_its_error,
    );
    plan.add(
        World::Bouncer,
        &mysql,
        "each_time_out_has_its_error",
        mysql_each_time_out_has_its_error,
    );
    plan.add(
        World::Bouncer,
        &mysql[..1],
        "who_is_in_time_is_left_alone",
        mysql_who_is_in_time_is_left_alone,
    );
    plan.add(
        World::Bouncer,
        &postgres,
        "who_is_in_time_is_left_alone",
        who_is_in_time_is_left_alone,
    );
    plan.add(
        World::Bouncer,
        &postgres,
        "a_batch_left_open_is_a_transaction",
        a_batch_left_open_is_a_transaction,
    );
    plan.add(
        World::Bouncer,
        &postgres,
        "time_outs_change_in_place",
        time_outs_change_in_place,
    );
    plan.add(
        World::Bouncer,
        &postgres,
        "a_cancel_reaches_who_waits",
        a_cancel_reaches_who_waits,
    );
    plan.add(
        World::Bouncer,
        &postgres,
        "who_spoke_while_the_process_was_stopped_has_not_been_idle",
        who_spoke_while_the_process_was_stopped_has_not_been_idle,
    );
}

const MODES: [&str; 2] = ["pool_mode: session", "pool_mode: transaction"];

/// A bouncer with one tenant of one backend for each of these time-outs.
fn limited(server: &Server, mode: &str, timeouts: &[&str]) -> (Bouncer, Vec<Tenant>) {
    let mut tenants = Tenant::many_on(server, "late", timeouts.len());
    for (tenant, timeout) in tenants.iter_mut().zip(timeouts) {
        for setting in [mode, "client_auth: trust", "max_connections: 1", timeout] {
            tenant.set(setting);
        }
    }
    (Bouncer::start(&Config::for_tenants(&tenants)), tenants)
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

/// The next client of the same pool finds nothing of the one before, and gets its own answer.
async fn is_fit(bouncer: &Bouncer, tenant: &Tenant) {
    let client = postgres(&bouncer.door(tenant)).await;
    let row = client
        .query_one(
            "SELECT id, pg_current_xact_id_if_assigned() IS NULL FROM whoami",
            &[],
        )
        .await
        .expect("the pool serves");
    assert_eq!(row.get::<_, String>(0), tenant.id);
    assert!(row.get::<_, bool>(1), "no transaction is open");
}

/// Lengthens the time-outs, for those who come next are not to be hurried.
fn at_leisure(bouncer: &Bouncer, tenants: &[Tenant]) {
    let mut unhurried = tenants.to_vec();
    for tenant in &mut unhurried {
        let timeout = tenant.settings.pop().expect("the time-out was added last");
        let key = timeout.split(':').next().expect("a key");
        tenant.set(&format!("{key}: 1m"));
    }
    bouncer.rewrite(&Config::for_tenants(&unhurried));
    assert_eq!(ask(bouncer.api(), "POST", "/reload", ""), 200);
}

/// The complaint behind all that it was answered before, and then the end.
fn told_in_the_end(raw: &mut Raw) -> Complaint {
    let mut last = raw.message();
    loop {
        match raw.try_message() {
            Ok(message) => last = message,
            Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("no end: {last:?}"),
            Err(_) => break,
        }
    }
    assert_eq!(last.0, b'E', "{last:?}");
    Complaint::of_postgres(&last.1)
}

async fn each_time_out_has_its_error(server: &'static Server) {
    // The time-out, what is said, with how many answers, what is said last, and the code.
    type Case = (
        &'static str,
        &'static [&'static str],
        &'static str,
        &'static str,
    );
    const CASES: [Case; 6] = [
        ("client_idle_timeout: 300ms", &["SELECT 1"], "", "57P05"),
        (
            "idle_transaction_timeout: 300ms",
            &["BEGIN", "INSERT INTO whoami VALUES ('left')"],
            "",
            "25P03",
        ),
        (
            "idle_transaction_timeout: 301ms",
            &["BEGIN", "SELECT 1/0"],
            "",
            "25P03",
        ),
        ("query_timeout: 300ms", &[], "SELECT pg_sleep(90)", "57014"),
        (
            "transaction_timeout: 300ms",
            &["BEGIN"],
            "SELECT pg_sleep(91)",
            "25P04",
        ),
        (
            "transaction_timeout: 301ms",
            &["BEGIN", "INSERT INTO whoami VALUES ('left')"],
            "",
            "25P04",
        ),
    ];
    for mode in MODES {
        let (bouncer, tenants) = limited(server, mode, &CASES.map(|case| case.0));
        let mut sessions = Vec::new();
        for (tenant, (_, said, last, _)) in tenants.iter().zip(CASES) {
            let mut raw = enter(&bouncer.door(tenant));
            // In one piece, since a machine that stalls in between would have it end before it is said.
            let texts = said.iter().chain([&last]).filter(|text| !text.is_empty());
            raw.say(&texts.map(|text| query(text)).collect::<Vec<_>>().concat());
            sessions.push(raw);
        }
        for ((tenant, raw), (timeout, .., state)) in tenants.iter().zip(&mut sessions).zip(CASES) {
            let told = told_in_the_end(raw);
            assert_eq!(told.state, state, "{mode}, {timeout}: {told:?}");
            let key = timeout.split(':').next().expect("a key");
            assert!(told.message.contains(key), "{told:?}");
            bouncer.log_line(&[&tenant.id, key]);
        }
        at_leisure(&bouncer, &tenants);
        for (tenant, (_, _, last, _)) in tenants.iter().zip(CASES) {
            is_fit(&bouncer, tenant).await;
            if !last.is_empty() {
                eventually("the database does not go on with it", || {
                    let running = format!(
                        "SELECT count(*) FROM pg_stat_activity WHERE usename = '{}' AND state = 'active'",
                        tenant.username
                    );
                    (server.sql("", &running).trim() == "0").then_some(())
                });
            }
        }
        bouncer.stop();
    }
}

/// A batch that the client has begun and not ended is a transaction, too; with answers by Flush, or with none.
async fn a_batch_left_open_is_a_transaction(server: &'static Server) {
    let timeouts = ["idle_transaction_timeout: 300ms"; 2];
    let (bouncer, tenants) = limited(server, "pool_mode: transaction", &timeouts);
    for (tenant, flushes) in tenants.iter().zip([false, true]) {
        let mut raw = enter(&bouncer.door(tenant));
        let mut batch = [
            message(b'P', b"\0SELECT 1\0\0\0"),
            message(b'B', b"\0\0\0\0\0\0\0\0"),
        ]
        .concat();
        if flushes {
            batch.extend(message(b'H', b""));
        }
        raw.say(&batch);
        if flushes {
            assert_eq!(raw.message().0, b'1');
            assert_eq!(raw.message().0, b'2');
        }
        assert_eq!(raw.last_words().state, "25P03");
    }
    at_leisure(&bouncer, &tenants);
    for tenant in &tenants {
        is_fit(&bouncer, tenant).await;
    }
    bouncer.stop();
}

/// Time-outs that are not for what a client does leave it alone, whatever it does.
async fn who_is_in_time_is_left_alone(server: &'static Server) {
    // Longer than a machine may stall.
    let timeouts = [
        "query_timeout: 4s",
        "idle_transaction_timeout: 4s",
        "client_idle_timeout: 4s",
    ];
    let bouncers = MODES.map(|mode| limited(server, mode, &timeouts));
    let mut scenes = Vec::new();
    for (bouncer, tenants) in &bouncers {
        let [mut queries, mut idles, mut works] =
            [0, 1, 2].map(|it| enter(&bouncer.door(&tenants[it])));
        let copy = [
            message(b'P', b"\0COPY whoami FROM STDIN\0\0\0"),
            message(b'B', b"\0\0\0\0\0\0\0\0"),
            message(b'E', b"\0\0\0\0\0"),
            message(b'S', b""),
            message(b'c', b""),
            message(b'S', b""),
        ];
        queries.say(&copy.concat()).until_ready();
        queries.say(&query("BEGIN")).until_ready();
        idles.say(&query("SELECT 1")).until_ready();
        // Longer than any of them, and no query takes that long at `queries`, nor is any at `idles`.
        works.say(&query("SELECT pg_sleep(5)"));
        scenes.push([queries, idles, works]);
    }
    for ([queries, idles, works], mode) in scenes.iter_mut().zip(MODES) {
        works.until_ready();
        for raw in [queries, idles] {
            let seen = raw.say(&query("SELECT 1")).until_ready();
            assert_eq!(seen.len(), 4, "{mode}: {seen:?}");
        }
    }
    drop(scenes);
    bouncers.into_iter().for_each(|(bouncer, _)| bouncer.stop());
}

async fn time_outs_change_in_place(server: &'static Server) {
    let (bouncer, tenants) = limited(server, "pool_mode: session", &["client_idle_timeout: 0"]);
    let tenant = &tenants[0];
    let mut raw = enter(&bouncer.door(tenant));
    let timeout =
        "\"client_auth\": \"trust\", \"client_idle_timeout\": \"200ms\", \"max_connections\"";
    let body = json(tenant)
        .replace("\"max_connections\"", timeout)
        .replace("\"transaction\"", "\"session\"");
    let path = format!("/tenants/{}", tenant.id);
    assert_eq!(ask(bouncer.api(), "PUT", &path, &body), 200);
    assert_eq!(raw.last_words().state, "57P05");
    let stats = read(bouncer.api(), "GET", &path, "");
    assert!(
        stats.contains("\"client_idle_timeout\":\"200ms\""),
        "{stats}"
    );
    bouncer.stop();
}

/// A client that waits for a backend, and cancels: its query is answered as the database would answer, and its session goes
/// on.
async fn a_cancel_reaches_who_waits(server: &'static Server) {
    let (bouncer, tenants) = limited(server, "pool_mode: transaction", &["acquire_timeout: 0"]);
    let (tenant, door) = (&tenants[0], bouncer.door(&tenants[0]));
    let (holder, waiter) = (postgres(&door).await, postgres(&door).await);
    waiter
        .batch_execute("SET timezone TO 'Asia/Tokyo'")
        .await
        .unwrap();
    let statement = waiter.prepare("SELECT 7").await.unwrap();
    holder.batch_execute("BEGIN; SELECT 1").await.unwrap();
    let stats = format!("/tenants/{}/stats", tenant.id);
    let waiting = |count: usize| {
        eventually(&format!("{count} wait"), || {
            let now = read(bouncer.api(), "GET", &stats, "");
            now.contains(&format!("\"waiting\":{count}")).then_some(())
        });
    };
    let cancel = async || {
        waiting(1);
        let token = waiter.cancel_token();
        token.cancel_query(tokio_postgres::NoTls).await.unwrap();
    };
    for _ in 0..2 {
        waiting(0);
        let (simple, ()) = tokio::join!(waiter.batch_execute("SELECT 1"), cancel());
        assert_eq!(simple.unwrap_err().code(), Some(&SqlState::QUERY_CANCELED));
        waiting(0);
        let (extended, ()) = tokio::join!(waiter.query(&statement, &[]), cancel());
        assert_eq!(
            extended.unwrap_err().code(),
            Some(&SqlState::QUERY_CANCELED)
        );
    }
    holder.batch_execute("COMMIT").await.unwrap();
    let row = waiter.query_one(&statement, &[]).await.unwrap();
    assert_eq!(row.get::<_, i32>(0), 7);
    let row = waiter.query_one("SHOW timezone", &[]).await.unwrap();
    assert_eq!(row.get::<_, String>(0), "Asia/Tokyo");
    bouncer.stop();
}

async fn mysql_each_time_out_has_its_error(server: &'static Server) {
    let cases = [
        ("client_idle_timeout: 300ms", "DO 1", "", 4031),
        ("idle_transaction_timeout: 300ms", "BEGIN", "", 4031),
        ("query_timeout: 300ms", "DO 1", "SELECT SLEEP(90)", 3024),
        (
            "transaction_timeout: 300ms",
            "BEGIN",
            "SELECT SLEEP(91)",
            1317,
        ),
    ];
    let (bouncer, tenants) = limited(server, "pool_mode: session", &cases.map(|case| case.0));
    for (tenant, (timeout, said, last, number)) in tenants.iter().zip(cases) {
        let mut raw = session(&bouncer.door(tenant), 0);
        let (mut sequence, mut payload) = raw.say(&command(said)).packet();
        // Unless a machine that stalls has had it end already.
        if payload[0] == 0 {
            if !last.is_empty() {
                raw.say(&command(last));
            }
            (sequence, payload) = raw.packet();
        }
        let told = Complaint::of_mysql(&payload);
        assert_eq!(told.number, number, "{timeout}: {told:?}");
        assert_eq!(sequence, 1, "the answer to its command, or to its next one");
        assert!(raw.rest().is_empty());
        if !last.is_empty() {
            eventually("the database does not go on with it", || {
                let running = format!(
                    "SELECT count(*) FROM information_schema.processlist WHERE user = '{}' AND info LIKE '%SLEEP%';",
                    tenant.username
                );
                (server.sql("", &running).trim() == "0").then_some(())
            });
        }
    }
    bouncer.stop();
}

/// One that sends a long value in pieces, which have no answers, is saying something; and one that has changed its user has
/// no transaction open any more.
async fn mysql_who_is_in_time_is_left_alone(server: &'static Server) {
    let timeouts = ["idle_transaction_timeout: 4s"; 2];
    let (bouncer, tenants) = limited(server, "pool_mode: session", &timeouts);
    let doors = [0, 1].map(|it| bouncer.door(&tenants[it]));
    let [mut sends, mut changes] = [0, 1].map(|it| session(&doors[it], 0));
    for raw in [&mut sends, &mut changes] {
        raw.say(&command("BEGIN")).packet();
    }
    changes.say(&change_of_user(&doors[1]));
    is_changed(&mut changes);
    let (_, prepared) = sends.say(&packet(0, b"\x16SELECT LENGTH(?)")).packet();
    // MariaDB counts on where another session has ended.
    let statement = &prepared[1..5];
    // A parameter and a column.
    (0..4).for_each(|_| drop(sends.packet()));
    // For longer than that in all.
    for _ in 0..25 {
        let piece = [b"\x18", statement, b"\0\0piece"].concat();
        sends.say(&packet(0, &piece));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let execute = [b"\x17", statement, b"\0\x01\0\0\0\0\x01\xFC\0"].concat();
    let (_, count) = sends.say(&packet(0, &execute)).packet();
    assert_eq!(count, b"\x01", "one column");
    let (_, ok) = changes.say(&packet(0, b"\x0E")).packet();
    assert_eq!(ok[0], 0, "{ok:?}");
    drop((sends, changes));
    bouncer.stop();
}

/// As in a container that is frozen, or on a machine that is moved, for longer than a time-out, but no second longer.
async fn who_spoke_while_the_process_was_stopped_has_not_been_idle(server: &'static Server) {
    let (bouncer, tenants) = limited(server, "", &["client_idle_timeout: 1s"]);
    let door = bouncer.door(&tenants[0]);
    let signal = |name: &str| {
        let kill = testbed::tool("kill");
        kill.args([name, &bouncer.pid().to_string()])
            .run()
            .expect_ok();
    };
    let state = format!("/proc/{}/stat", bouncer.pid());
    let mut is_shown = false;
    for _ in 0..TRIES {
        let client = postgres(&door).await;
        let last_spoke = Instant::now();
        let _ = client.simple_query("SELECT 1").await;
        signal("-STOP");
        eventually("it is stopped", || {
            let stat = std::fs::read_to_string(&state).expect("a process");
            stat.contains(") T ").then_some(())
        });
        // On a machine that stalls it may have been idle for too long before.
        if last_spoke.elapsed() >= Duration::from_secs(1) {
            signal("-CONT");
            continue;
        }
        let query = client.simple_query("SELECT 1");
        let goes_on = async {
            tokio::time::sleep(Duration::from_millis(1500)).await;
            signal("-CONT");
        };
        let (answer, ()) = tokio::join!(query, goes_on);
        answer.expect("it spoke in time");
        is_shown = true;
        break;
    }
    assert!(is_shown, "the machine stalls all the time");
    bouncer.stop();
}

/// How often something is tried that a machine that stalls keeps from being shown.
const TRIES: usize = 20;

fn command(text: &str) -> Vec<u8> {
    packet(0, &[b"\x03", text.as_bytes()].concat())
}

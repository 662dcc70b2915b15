//! Clients that vanish at every stage, databases that break, networks that hang: who is not concerned is not disturbed,
//! nothing leaks, and when the fault is over everything works again.
//!
//! The tenants have two connections only. A lease that leaks is noticed at once: the next client gets none.

use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use testbed::{
    Bouncer, Config, Door, Front, Kind, Middleman, Plan, Server, Tenant, World, eventually,
};
use tokio_postgres::error::SqlState;

use crate::drivers::{mysql, mysql_options, postgres, postgres_config, try_postgres, whoami};
use crate::raw::{Raw, message, packet, startup};

pub fn plan(plan: &mut Plan) {
    let each = [Kind::Postgres, Kind::MariaDb];
    plan.add(
        World::Any,
        &[Kind::Postgres],
        "a_client_that_vanishes_at_any_byte",
        a_client_that_vanishes_at_any_byte,
    );
    plan.add(
        World::Any,
        &[Kind::Postgres],
        "a_pipeline_of_who_vanishes_is_not_half_cancelled",
        a_pipeline_of_who_vanishes_is_not_half_cancelled,
    );
    plan.add(
        World::Any,
        &[Kind::MariaDb, Kind::MySql],
        "a_client_that_vanishes_at_any_byte",
        a_mysql_client_that_vanishes,
    );
    plan.add(
        World::Any,
        &each,
        "a_client_that_vanishes_in_a_large_result",
        a_client_that_vanishes_in_a_large_result,
    );
    plan.add(
        World::Any,
        &each,
        "clients_that_never_read",
        clients_that_never_read,
    );
    plan.add(
        World::Bouncer,
        &each,
        "a_connection_to_the_database_is_cut",
        a_connection_to_the_database_is_cut,
    );
    plan.add(
        World::Bouncer,
        &each,
        "a_silent_database_holds_up_nobody_else",
        a_silent_database_holds_up_nobody_else,
    );
    plan.add(
        World::Bouncer,
        &each,
        "the_database_comes_back",
        the_database_comes_back,
    );
    plan.add(
        World::Bouncer,
        &each,
        "idle_backends_are_killed",
        idle_backends_are_killed,
    );
    plan.add(
        World::Bouncer,
        &[Kind::Postgres],
        "t13_what_is_said_while_waiting_is_not_lost",
        what_is_said_while_waiting_is_not_lost,
    );
}

/// Settings under which a leak shows. A connection dialled for a client that left meanwhile was nobody's yet and may be
/// kept for the next; it soon counts as idle for too long.
fn tight(tenant: Tenant) -> Tenant {
    tenant
        .with("min_connections: 0")
        .with("max_connections: 2")
        .with("acquire_timeout: 10s")
        .with("idle_timeout: 1s")
}

fn tight_front(server: &Server, name: &str) -> (Tenant, Front, Door) {
    let tenant = tight(Tenant::on(server, name));
    let front = Front::for_tenants(std::slice::from_ref(&tenant));
    let door = front.door(&tenant);
    (tenant, front, door)
}

/// Waits until the database has no session of this tenant's.
fn until_all_gone(server: &Server, tenant: &Tenant) {
    let count = match server.kind.is_postgres() {
        true => format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}'",
            tenant.dbname
        ),
        false => format!(
            "SELECT count(*) FROM information_schema.processlist WHERE user = '{}'",
            tenant.username
        ),
    };
    eventually("every backend is closed", || {
        (server.sql("", &count) == "0").then_some(())
    });
}

async fn a_client_that_vanishes_at_any_byte(server: &'static Server) {
    let tenant = tight(Tenant::on(server, "vanish")).with("client_auth: trust");
    server.sql("", &format!("GRANT by_trust TO {}", tenant.username));
    let front = Front::for_tenants(std::slice::from_ref(&tenant));
    let door = front.door(&tenant);
    let opening = startup(&[("user", &door.user), ("database", &door.dbname)]);
    let work = [
        message(
            b'Q',
            b"BEGIN; CREATE TABLE t (i int); SELECT generate_series(1, 100)\0",
        ),
        message(b'P', b"\0SELECT 1\0\0\0"),
        message(b'B', b"\0\0\0\0\0\0\0\0"),
        message(b'E', b"\0\0\0\0\0"),
        message(b'S', b""),
        message(b'Q', b"COPY t FROM STDIN\0"),
        message(b'd', b"1\n2\n"),
    ]
    .concat();
    for length in 0..opening.len() {
        Raw::to(door.address).say(&opening[..length]);
    }
    for length in (0..=work.len()).step_by(3) {
        let mut raw = Raw::to(door.address);
        raw.say(&opening).until_ready();
        raw.say(&work[..length]);
        // Half of them say goodbye with a FIN and wait, the others with whatever the kernel makes of unread bytes.
        if length % 2 == 0 {
            raw.0.shutdown(Shutdown::Write).unwrap();
            raw.rest();
        }
    }
    until_all_gone(server, &tenant);
    assert_eq!(
        server.sql(
            &tenant.dbname,
            "SELECT count(*) FROM pg_class WHERE relname = 't'"
        ),
        "0",
        "nothing was committed"
    );
    assert_eq!(whoami(&door).await, tenant.id);
    front.close();
}

/// A cancel would end the first query, and with it the BEGIN that the second one needs, lest it be committed.
async fn a_pipeline_of_who_vanishes_is_not_half_cancelled(server: &'static Server) {
    let tenant = tight(Tenant::on(server, "half")).with("client_auth: trust");
    server.sql("", &format!("GRANT by_trust TO {}", tenant.username));
    let front = Front::for_tenants(std::slice::from_ref(&tenant));
    let door = front.door(&tenant);
    let mut raw = Raw::to(door.address);
    raw.say(&startup(&[
        ("user", &door.user),
        ("database", &door.dbname),
    ]))
    .until_ready();
    let pipeline = [
        message(b'Q', b"SELECT pg_sleep(2); BEGIN\0"),
        message(b'Q', b"INSERT INTO whoami VALUES ('left behind')\0"),
    ];
    raw.say(&pipeline.concat());
    let asleep = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = '{}'",
        tenant.dbname
    );
    eventually("it sleeps", || {
        (server.sql("", &asleep) == "1").then_some(())
    });
    raw.vanish();
    until_all_gone(server, &tenant);
    let left = "SELECT count(*) FROM whoami WHERE id = 'left behind'";
    assert_eq!(server.sql(&tenant.dbname, left), "0");
    front.close();
}

async fn a_mysql_client_that_vanishes(server: &'static Server) {
    let (tenant, front, door) = tight_front(server, "vanish");
    // The login cannot be made of bytes without the password's proof, so the driver's bytes are cut on their way.
    for cut_after in 0..6 {
        let middleman = Middleman::before(door.address);
        let mut through = door.clone();
        through.address = middleman.address();
        let options = mysql_options(&through);
        if cut_after == 0 {
            middleman.cut();
        }
        let attempt = async {
            let mut client = mysql_async::Conn::new(options).await?;
            use mysql_async::prelude::Queryable;
            client.query_drop("START TRANSACTION").await?;
            client
                .query_drop("INSERT INTO whoami VALUES ('ghost')")
                .await?;
            client.query_drop("DO sleep(0.2)").await
        };
        let _ = tokio::time::timeout(Duration::from_millis(1 + cut_after * 20), attempt).await;
        middleman.cut();
    }
    for length in [1, 3, 4, 20, 40] {
        let mut raw = Raw::to(door.address);
        raw.packet();
        raw.say(&crate::raw::handshake_response(&door.user, Some(&door.dbname))[..length]);
    }
    let mut raw = Raw::to(door.address);
    raw.packet();
    raw.say(&crate::raw::handshake_response(&door.user, None))
        .packet();
    raw.say(&packet(3, b"")); // an empty proof, and away
    drop(raw);
    until_all_gone(server, &tenant);
    assert_eq!(
        server.sql(&tenant.dbname, "SELECT count(*) FROM whoami"),
        "1",
        "nothing was committed"
    );
    assert_eq!(whoami(&door).await, tenant.id);
    front.close();
}

async fn a_client_that_vanishes_in_a_large_result(server: &'static Server) {
    let (tenant, front, door) = tight_front(server, "midway");
    for _ in 0..10 {
        if door.kind.is_postgres() {
            let client = postgres(&door).await;
            let rows = client
                .query_raw::<_, i32, _>(
                    "SELECT repeat('x', 1000) FROM generate_series(1, 100000)",
                    [],
                )
                .await
                .unwrap();
            let mut rows = std::pin::pin!(rows);
            rows.next().await.unwrap().unwrap();
        } else {
            let mut client = mysql(&door).await;
            use mysql_async::prelude::Queryable;
            let query = "SELECT repeat('x', 1000) FROM information_schema.collations a, information_schema.collations b";
            let mut rows = client.query_iter(query).await.unwrap();
            rows.next().await.unwrap();
            std::mem::drop(rows);
            // The driver would read the rest before it lets go; a process that dies does not.
            drop(tokio::time::timeout(Duration::from_micros(1), client.disconnect()).await);
        }
    }
    until_all_gone(server, &tenant);
    assert_eq!(whoami(&door).await, tenant.id);
    front.close();
}

/// Both connections are held by clients that ask for much and read nothing. Others of other tenants are served meanwhile.
async fn clients_that_never_read(server: &'static Server) {
    let tenants = [
        tight(Tenant::on(server, "deaf")),
        Tenant::on(server, "other"),
    ];
    let front = Front::for_tenants(&tenants);
    let (door, other) = (front.door(&tenants[0]), front.door(&tenants[1]));
    let middleman = Middleman::before(door.address);
    let mut through = door.clone();
    through.address = middleman.address();
    let mut deaf = Vec::new();
    for _ in 0..2 {
        if door.kind.is_postgres() {
            let client = postgres(&through).await;
            deaf.push(tokio::spawn(async move {
                let _ = client
                    .query(
                        "SELECT repeat('x', 1000) FROM generate_series(1, 1000000)",
                        &[],
                    )
                    .await;
            }));
        } else {
            let mut client = mysql(&through).await;
            deaf.push(tokio::spawn(async move {
                use mysql_async::prelude::Queryable;
                let query = "SELECT repeat('x', 1000) FROM information_schema.collations a, information_schema.collations b";
                let _ = client.query_drop(query).await;
            }));
        }
    }
    middleman.hold();
    for _ in 0..20 {
        assert_eq!(whoami(&other).await, tenants[1].id);
    }
    middleman.cut();
    middleman.release();
    for client in deaf {
        client.abort();
        let _ = client.await;
    }
    until_all_gone(server, &tenants[0]);
    assert_eq!(whoami(&door).await, tenants[0].id);
    front.close();
}

/// A tenant behind a bad network, one without, and a bouncer for both.
fn behind_a_middleman(server: &Server, settings: &[&str]) -> (Middleman, Tenant, Tenant, Bouncer) {
    let middleman = Middleman::before(server.address);
    let mut troubled = tight(Tenant::on(server, "troubled"));
    troubled.address = middleman.address();
    for setting in settings {
        troubled.set(setting);
    }
    let other = Tenant::on(server, "other");
    let bouncer = Bouncer::start(&Config::for_tenants(&[troubled.clone(), other.clone()]));
    (middleman, troubled, other, bouncer)
}

async fn a_connection_to_the_database_is_cut(server: &'static Server) {
    let (middleman, troubled, other, bouncer) = behind_a_middleman(server, &[]);
    let door = bouncer.door(&troubled);
    if server.kind.is_postgres() {
        let client = postgres(&door).await;
        let query = client.batch_execute("SELECT pg_sleep(100)");
        let (ended, ()) = tokio::join!(query, async {
            let asleep =
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = ";
            let asleep = format!("{asleep}'{}'", troubled.dbname);
            eventually("it sleeps", || {
                (server.sql("", &asleep) == "1").then_some(())
            });
            middleman.cut();
        });
        assert_eq!(
            ended.unwrap_err().code(),
            Some(&SqlState::CONNECTION_FAILURE)
        );
    } else {
        use mysql_async::prelude::Queryable;
        let mut client = mysql(&door).await;
        let (ended, ()) = tokio::join!(client.query_drop("DO sleep(100)"), async {
            let asleep = "SELECT count(*) FROM information_schema.processlist WHERE state = 'User sleep' AND db = ";
            let asleep = format!("{asleep}'{}'", troubled.dbname);
            eventually("it sleeps", || {
                (server.sql("", &asleep) == "1").then_some(())
            });
            middleman.cut();
        });
        match ended.unwrap_err() {
            mysql_async::Error::Server(error) => assert_eq!(error.code, 1158, "{error}"),
            other => panic!("no ERR packet: {other}"),
        }
    }
    bouncer.log_line(&[&troubled.id, "database", "closed"]);
    assert_eq!(
        whoami(&door).await,
        troubled.id,
        "the next client is served"
    );
    assert_eq!(whoami(&bouncer.door(&other)).await, other.id);
    bouncer.stop();
}

async fn a_silent_database_holds_up_nobody_else(server: &'static Server) {
    let (middleman, troubled, other, bouncer) =
        behind_a_middleman(server, &["connect_timeout: 1s", "acquire_timeout: 2s"]);
    middleman.hold();
    let waiting = bouncer.door(&troubled);
    let stuck = tokio::spawn(async move {
        if waiting.kind.is_postgres() {
            let error = try_postgres(&postgres_config(&waiting))
                .await
                .expect_err("no database answers");
            error.code().map(|code| code.code().to_owned())
        } else {
            match mysql_async::Conn::new(mysql_options(&waiting))
                .await
                .expect_err("no database answers")
            {
                mysql_async::Error::Server(error) => Some(error.code.to_string()),
                _ => None,
            }
        }
    });
    for _ in 0..20 {
        assert_eq!(whoami(&bouncer.door(&other)).await, other.id);
    }
    let expected = if server.kind.is_postgres() {
        "57P03"
    } else {
        "1429"
    };
    assert_eq!(stuck.await.unwrap().as_deref(), Some(expected));
    middleman.cut();
    middleman.release();
    let door = bouncer.door(&troubled);
    assert_eq!(whoami(&door).await, troubled.id, "it has healed");
    bouncer.stop();
}

async fn the_database_comes_back(server: &'static Server) {
    let (middleman, troubled, _other, bouncer) =
        behind_a_middleman(server, &["acquire_timeout: 1s"]);
    let door = bouncer.door(&troubled);
    assert_eq!(whoami(&door).await, troubled.id);
    middleman.refuse(true);
    middleman.cut();
    for _ in 0..3 {
        assert!(!is_served(&door).await);
    }
    middleman.refuse(false);
    // The bouncer may be pausing between two attempts; the client's own attempts go on until it is served.
    for _ in 0..50 {
        if is_served(&door).await {
            bouncer.stop();
            return;
        }
    }
    panic!(
        "nobody is served though the database is back:\n{}",
        bouncer.log()
    );
}

/// Whether a new client can log in and ask something.
async fn is_served(door: &Door) -> bool {
    if door.kind.is_postgres() {
        match try_postgres(&postgres_config(door)).await {
            Ok(client) => client.batch_execute("SELECT 1").await.is_ok(),
            Err(_) => false,
        }
    } else {
        mysql_async::Conn::new(mysql_options(door)).await.is_ok()
    }
}

/// Pre-opened backends die while nobody uses them. The next client must not get a dead one.
async fn idle_backends_are_killed(server: &'static Server) {
    let tenant = Tenant::on(server, "idle")
        .with("min_connections: 3")
        .with("max_connections: 5");
    let bouncer = Bouncer::start(&Config::for_tenants(std::slice::from_ref(&tenant)));
    let door = bouncer.door(&tenant);
    assert_eq!(whoami(&door).await, tenant.id);
    let id = if server.kind.is_postgres() {
        "pid"
    } else {
        "id"
    };
    let mine = match server.kind.is_postgres() {
        true => format!("FROM pg_stat_activity WHERE datname = '{}'", tenant.dbname),
        false => format!(
            "FROM information_schema.processlist WHERE user = '{}'",
            tenant.username
        ),
    };
    for _ in 0..3 {
        let open = eventually("three are open", || {
            let ids = server.sql("", &format!("SELECT {id} {mine}"));
            (ids.lines().count() == 3).then(|| ids.replace('\n', ", "))
        });
        if server.kind.is_postgres() {
            server.sql("", &format!("SELECT pg_terminate_backend(pid) {mine}"));
        } else {
            for id in open.split(", ") {
                server.sql("", &format!("KILL {id}"));
            }
        }
        let left = format!("SELECT count(*) {mine} AND {id} IN ({open})");
        eventually("they are gone", || {
            (server.sql("", &left) == "0").then_some(())
        });
        assert_eq!(whoami(&door).await, tenant.id);
    }
    bouncer.stop();
}

/// T13. A client says what it has to say byte by byte while it waits for the only backend, which another takes and gives
/// back all the time: wherever a wait begins, goes on or ends, no byte is lost, and the answers are the right ones.
async fn what_is_said_while_waiting_is_not_lost(server: &'static Server) {
    let words = [
        message(b'Q', b"SELECT 'one'\0"),
        message(b'P', b"\0SELECT 'two'\0\0\0"),
        message(b'B', b"\0\0\0\0\0\0\0\0"),
        message(b'E', b"\0\0\0\0\0"),
        message(b'S', b""),
        message(b'Q', b"SELECT 'three'\0"),
    ]
    .concat();
    for mode in ["session", "transaction"] {
        let tenant = tight(Tenant::on(server, "words"))
            .with("max_connections: 1")
            .with("client_auth: trust")
            .with(&format!("pool_mode: {mode}"));
        let bouncer = Bouncer::start(&Config::for_tenants(std::slice::from_ref(&tenant)));
        let door = bouncer.door(&tenant);
        let opening = startup(&[("user", &door.user), ("database", &door.dbname)]);
        let answers = |raw: &mut Raw| [(); 3].map(|()| raw.until_ready());
        let mut alone = Raw::to(door.address);
        alone.say(&opening).until_ready();
        let expected = answers(alone.say(&words));
        drop(alone);

        let over = Arc::new(AtomicBool::new(false));
        let taking = tokio::spawn(take_and_give_back(door.clone(), Arc::clone(&over)));
        for _ in 0..4 {
            let mut raw = Raw::to(door.address);
            for byte in [&opening[..], &words].concat() {
                raw.say(&[byte]);
            }
            raw.until_ready();
            assert_eq!(answers(&mut raw), expected, "{mode}");
        }
        over.store(true, Ordering::Relaxed);
        taking.await.unwrap();
        bouncer.stop();
    }
}

async fn take_and_give_back(door: Door, over: Arc<AtomicBool>) {
    while !over.load(Ordering::Relaxed) {
        let client = postgres(&door).await;
        for _ in 0..20 {
            client.batch_execute("BEGIN; SELECT 1").await.unwrap();
            client.batch_execute("COMMIT").await.unwrap();
        }
    }
}

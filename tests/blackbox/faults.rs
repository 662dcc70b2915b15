//! Databases that break and networks that hang: who is not concerned is not disturbed, and when the fault is over
//! everything works again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use testbed::{Bouncer, Config, Door, Kind, Middleman, Plan, Server, Tenant, World, eventually};
use tokio_postgres::error::SqlState;

use crate::drivers::{mysql, mysql_options, postgres, postgres_config, try_postgres, whoami};
use crate::raw::{Raw, message, startup};
use crate::vanishing::tight;

pub fn plan(plan: &mut Plan) {
    let each = [Kind::Postgres, Kind::MariaDb];
    plan.add(
        World::Bouncer,
        &each,
        "a_connection_to_the_database_is_cut",
        a_connection_to_the_database_is_cut,
    );
    plan.add(
        World::Bouncer,
        &[Kind::Postgres],
        "what_a_client_wants_set_breaks_each_connection",
        what_a_client_wants_set_breaks_each_connection,
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
        let lost = ended.unwrap_err();
        assert!(
            lost.is_fatal() && !matches!(lost, mysql_async::Error::Server(_)),
            "{lost}"
        );
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

async fn what_a_client_wants_set_breaks_each_connection(server: &'static Server) {
    let settings = [
        "pool_mode: transaction",
        "sslmode: disable",
        // It logs in, too.
        "health_check: {interval: 0}",
    ];
    let (middleman, troubled, _, bouncer) = behind_a_middleman(server, &settings);
    let door = bouncer.door(&troubled);
    assert_eq!(whoami(&door).await, troubled.id);
    middleman.cut_at("app.poison");
    let before = middleman.accepted();
    let mut config = postgres_config(&door);
    try_postgres(config.options("-c app.poison=1"))
        .await
        .map(drop)
        .expect_err("nothing can be set as it asks");
    let dialled = middleman.accepted() - before;
    assert!(dialled <= 3, "{dialled} connections were opened for it");
    assert_eq!(whoami(&door).await, troubled.id);
    bouncer.stop();
}

async fn a_silent_database_holds_up_nobody_else(server: &'static Server) {
    let (middleman, troubled, other, bouncer) =
        behind_a_middleman(server, &["connect_timeout: 4s", "acquire_timeout: 30s"]);
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
        behind_a_middleman(server, &["acquire_timeout: 10s"]);
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
pub async fn is_served(door: &Door) -> bool {
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

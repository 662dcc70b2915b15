//! Whether a tenant's database is well, what its clients are told, and that the metrics tell the same.

use std::net::SocketAddr;

use mysql_async::prelude::Queryable;
use testbed::{Bouncer, Config, Door, Kind, Middleman, Plan, Server, Tenant, World, eventually};

use crate::drivers::{mysql, mysql_options, postgres, postgres_config, try_postgres, whoami};
use crate::operator::read;

pub fn plan(plan: &mut Plan) {
    let each = [Kind::Postgres, Kind::MariaDb];
    plan.add(
        World::Bouncer,
        &each,
        "an_unhealthy_database_fails_fast_and_recovers",
        an_unhealthy_database_fails_fast_and_recovers,
    );
    plan.add(
        World::Bouncer,
        &each,
        "clients_may_wait_for_an_unhealthy_database",
        clients_may_wait_for_an_unhealthy_database,
    );
    plan.add(
        World::Bouncer,
        &each,
        "a_dead_idle_backend_is_replaced_at_once",
        a_dead_idle_backend_is_replaced_at_once,
    );
    plan.add(
        World::Bouncer,
        &each,
        "checks_run_on_idle_backends",
        checks_run_on_idle_backends,
    );
    plan.add(
        World::Bouncer,
        &each,
        "what_happens_is_counted",
        what_happens_is_counted,
    );
    plan.add(
        World::Bouncer,
        &[Kind::Postgres, Kind::MariaDb, Kind::MySql],
        "errors_count_by_their_class",
        errors_count_by_their_class,
    );
}

/// A tenant behind a bad network, with these settings.
fn troubled(server: &Server, settings: &[&str]) -> (Middleman, Tenant, Bouncer) {
    let middleman = Middleman::before(server.address);
    let mut tenant = Tenant::on(server, "troubled");
    tenant.address = middleman.address();
    tenant
        .settings
        .extend(settings.iter().map(|&setting| setting.to_owned()));
    let bouncer = Bouncer::start(&Config::for_tenants(std::slice::from_ref(&tenant)));
    (middleman, tenant, bouncer)
}

async fn an_unhealthy_database_fails_fast_and_recovers(server: &'static Server) {
    // A client would wait for ever, were it not told.
    let (middleman, tenant, bouncer) = troubled(
        server,
        &["min_connections: 0", "acquire_timeout: 0", QUICK_CHECKS],
    );
    let door = bouncer.door(&tenant);
    let health = format!("dbbouncer_tenant_health{{tenant=\"{}\"}}", tenant.id);
    assert_eq!(whoami(&door).await, tenant.id);
    assert_eq!(sample(bouncer.api(), &health), 1.0);
    middleman.refuse(true);
    middleman.cut();
    bouncer.log_line(&[&tenant.id, "is unhealthy"]);
    assert_eq!(sample(bouncer.api(), &health), 0.0);
    let refused = refusal(&door).await;
    assert!(
        refused.contains("the tenant's database is unhealthy"),
        "{refused}"
    );
    let code = if server.kind.is_postgres() {
        "57P03"
    } else {
        "1429"
    };
    assert!(refused.contains(code), "{refused}");
    let ended = format!(
        "dbbouncer_sessions_ended_total{{tenant=\"{}\",reason=\"database_unhealthy\"}}",
        tenant.id
    );
    assert_eq!(sample(bouncer.api(), &ended), 1.0);
    middleman.refuse(false);
    bouncer.log_line(&[&tenant.id, "is well again"]);
    assert_eq!(sample(bouncer.api(), &health), 1.0);
    assert_eq!(whoami(&door).await, tenant.id);
    bouncer.stop();
}

async fn clients_may_wait_for_an_unhealthy_database(server: &'static Server) {
    let (middleman, tenant, bouncer) = troubled(
        server,
        &[
            "min_connections: 0",
            "on_unhealthy: queue",
            "acquire_timeout: 60s",
            QUICK_CHECKS,
        ],
    );
    let door = bouncer.door(&tenant);
    middleman.refuse(true);
    bouncer.log_line(&[&tenant.id, "is unhealthy"]);
    let waits = tokio::spawn({
        let door = door.clone();
        async move { whoami(&door).await }
    });
    let waiting = format!(
        "dbbouncer_connections_waiting{{tenant=\"{}\",db_type=\"{}\"}}",
        tenant.id,
        server.kind.db_type()
    );
    eventually("it waits", || {
        (sample(bouncer.api(), &waiting) == 1.0).then_some(())
    });
    middleman.refuse(false);
    assert_eq!(waits.await.unwrap(), tenant.id);
    bouncer.stop();
}

async fn a_dead_idle_backend_is_replaced_at_once(server: &'static Server) {
    // Nothing else would find it: no client comes, no check is made, and none is old.
    let (middleman, tenant, bouncer) = troubled(
        server,
        &["min_connections: 2", "health_check: {interval: 0}"],
    );
    let idle = format!(
        "dbbouncer_connections_idle{{tenant=\"{}\",db_type=\"{}\"}}",
        tenant.id,
        server.kind.db_type()
    );
    let closed = format!(
        "dbbouncer_backends_closed_total{{tenant=\"{}\",reason=\"broken\"}}",
        tenant.id
    );
    let both_idle = || (sample(bouncer.api(), &idle) == 2.0).then_some(());
    eventually("two are idle", both_idle);
    middleman.cut();
    eventually("their death is noticed", || {
        (sample(bouncer.api(), &closed) == 2.0).then_some(())
    });
    eventually("two are idle again", both_idle);
    assert_eq!(middleman.accepted(), 4);
    bouncer.stop();
}

async fn checks_run_on_idle_backends(server: &'static Server) {
    let quick = QUICK_CHECKS.replace("timeout: 10s", "timeout: 1s");
    let (middleman, tenant, bouncer) = troubled(server, &["min_connections: 1", &quick]);
    let passed = format!(
        "dbbouncer_health_checks_total{{tenant=\"{}\",result=\"passed\"}}",
        tenant.id
    );
    // Some are dialed for: the first, which may come before the first backend, and those behind one that a busy machine made
    // late. Were each dialed for, there would never be more of them than dials.
    eventually("checks pass that are not dialed for", || {
        let passed = sample(bouncer.api(), &passed);
        (passed >= 5.0 + middleman.accepted() as f64).then_some(())
    });
    // A network that swallows everything is found by the time-out.
    middleman.hold();
    bouncer.log_line(&[&tenant.id, "is unhealthy", "within"]);
    middleman.release();
    bouncer.log_line(&[&tenant.id, "is well again"]);
    bouncer.stop();
}

async fn what_happens_is_counted(server: &'static Server) {
    let tenant = Tenant::on(server, "counted");
    let bouncer = Bouncer::start(&Config::for_tenants(std::slice::from_ref(&tenant)));
    let door = bouncer.door(&tenant);
    assert_eq!(whoami(&door).await, tenant.id);
    let wrong = Door {
        password: "wrong".to_owned(),
        ..door.clone()
    };
    refusal(&wrong).await;
    let of = |name: &str, labels: &str| {
        let labels = format!("dbbouncer_{name}{{tenant=\"{}\"{labels}}}", tenant.id);
        sample(bouncer.api(), &labels)
    };
    let db_type = format!(",db_type=\"{}\"", server.kind.db_type());
    eventually("the session is over", || {
        (of("session_duration_seconds_count", "") == 1.0).then_some(())
    });
    assert!(of("queries_total", "") >= 1.0);
    assert!(of("query_duration_seconds_count", &db_type) >= 1.0);
    assert!(of("query_duration_seconds_sum", &db_type) > 0.0);
    if server.kind.is_postgres() {
        assert!(of("transactions_total", "") >= 1.0);
    }
    assert!(of("client_received_bytes_total", "") > 10.0);
    assert!(of("client_sent_bytes_total", "") > 10.0);
    // Once for each backend: in session mode a client has one, in transaction mode one for each transaction.
    assert!(of("client_wait_seconds_count", "") >= 1.0);
    assert!(of("backend_connect_duration_seconds_count", "") >= 1.0);
    assert_eq!(of("logins_total", ""), 1.0);
    assert_eq!(of("pool_exhausted_total", ""), 0.0);
    let failures = ",reason=\"wrong_password\"";
    assert_eq!(of("login_failures_total", failures), 1.0);
    let unproven = ",reason=\"client_unproven\"";
    assert_eq!(of("sessions_ended_total", unproven), 1.0);
    let stranger = Door {
        user: door.user.replace(&tenant.id, "nobody_we_know"),
        ..door.clone()
    };
    refusal(&stranger).await;
    let unknown = "dbbouncer_login_failures_total{tenant=\"_unknown\",reason=\"no_tenant\"}";
    assert_eq!(sample(bouncer.api(), unknown), 1.0);
    bouncer.stop();
}

async fn errors_count_by_their_class(server: &'static Server) {
    let tenant = Tenant::on(server, "erring");
    let bouncer = Bouncer::start(&Config::for_tenants(std::slice::from_ref(&tenant)));
    let door = bouncer.door(&tenant);
    let raises = match server.kind.is_postgres() {
        true => "DO $$ BEGIN RAISE EXCEPTION 'own' USING ERRCODE = 'ZZ999'; END $$",
        false => "SIGNAL SQLSTATE 'ZZ999'",
    };
    let fails = [
        "INSERT INTO once VALUES (1)",
        "INSERT INTO once VALUES (1)",
        "SELECT nonsense of nothing",
        raises,
    ];
    if server.kind.is_postgres() {
        let client = postgres(&door).await;
        client
            .batch_execute("CREATE TABLE once (n int PRIMARY KEY); INSERT INTO once VALUES (1)")
            .await
            .expect("a table");
        for query in fails {
            client.batch_execute(query).await.expect_err(query);
        }
        // An error in the answer to a prepared statement, by the extended protocol.
        client
            .query("SELECT 1 / $1::int", &[&0])
            .await
            .expect_err("there is no such number");
    } else {
        let mut client = mysql(&door).await;
        for query in [
            "CREATE TABLE once (n int PRIMARY KEY)",
            "INSERT INTO once VALUES (1)",
        ] {
            client.query_drop(query).await.expect("a table");
        }
        for query in fails {
            client.query_drop(query).await.expect_err(query);
        }
        let raised = client
            .exec_drop("INSERT INTO once VALUES (?)", (99_999_999_999_i64,))
            .await;
        raised.expect_err("there is no such number");
        client.disconnect().await.expect("goodbye");
    }
    let of = |class: &str| {
        let series = format!(
            "dbbouncer_query_errors_total{{tenant=\"{}\",class=\"{class}\"}}",
            tenant.id
        );
        sample(bouncer.api(), &series)
    };
    eventually("all of them are counted", || {
        (of("22") == 1.0).then_some(())
    });
    assert_eq!((of("23"), of("42"), of("other")), (2.0, 1.0, 1.0));
    let stats = read(
        bouncer.api(),
        "GET",
        &format!("/tenants/{}/stats", tenant.id),
        "",
    );
    let (_, stats) = stats.split_once("\r\n\r\n").expect("a body");
    let stats: serde_json::Value = serde_json::from_str(stats).expect("JSON");
    assert_eq!(
        (&stats["errors_by_class"], &stats["errors"]),
        (
            &serde_json::json!({"22": 1, "23": 2, "42": 1, "other": 1}),
            &5.into()
        )
    );
    bouncer.stop();
}

/// What a client is told that is not let in, or not served.
pub async fn refusal(door: &Door) -> String {
    if door.kind.is_postgres() {
        // In transaction mode the database is asked for with the first statement, not with the login.
        let served = match try_postgres(&postgres_config(door)).await {
            Ok(client) => client.batch_execute("SELECT 1").await,
            Err(error) => Err(error),
        };
        let error = served.expect_err("nobody is served");
        let told = error.as_db_error().expect("a reason is told");
        format!("{}: {}", told.code().code(), told.message())
    } else {
        let error = mysql_async::Conn::new(mysql_options(door)).await.err();
        error.expect("nobody is let in").to_string()
    }
}

/// The value of one sample; 0 where there is none yet. Of a shard that a busy machine keeps from answering nothing is known,
/// so it is asked again.
pub fn sample(api: SocketAddr, series: &str) -> f64 {
    let text = eventually("all shards answer", || {
        let text = read(api, "GET", "/metrics", "");
        let is_down = |line: &str| line.starts_with("dbbouncer_shard_up{") && line.ends_with(" 0");
        (!text.lines().any(is_down)).then_some(text)
    });
    let line = text.lines().find_map(|line| line.strip_prefix(series));
    line.map_or(0.0, |value| value.trim().parse().expect("a number"))
}

/// Checks so quick that a test need not wait. A machine that stalls makes none of them fail.
pub const QUICK_CHECKS: &str =
    "health_check: {interval: 100ms, timeout: 10s, failure_threshold: 2, success_threshold: 1}";

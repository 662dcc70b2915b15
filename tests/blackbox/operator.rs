//! What an operator does to one tenant while clients are at work: they do what was asked, and no more.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use testbed::{Bouncer, Config, Kind, Plan, Server, Tenant, World, eventually, pool_mode};

use tokio_postgres::Client;

use crate::drivers::{postgres, postgres_config, try_postgres};

pub fn plan(plan: &mut Plan) {
    let one = [Kind::Postgres];
    plan.add(
        World::Bouncer,
        &one,
        "neighbours_do_not_feel_changes",
        neighbours_do_not_feel_changes,
    );
    plan.add(
        World::Bouncer,
        &one,
        "removing_lets_transactions_finish",
        removing_lets_transactions_finish,
    );
    plan.add(
        World::Bouncer,
        &one,
        "removing_cuts_off_after_the_grace",
        removing_cuts_off_after_the_grace,
    );
    plan.add(
        World::Bouncer,
        &one,
        "limits_change_in_place_and_databases_afresh",
        limits_change_in_place_and_databases_afresh,
    );
    plan.add(
        World::Bouncer,
        &one,
        "a_paused_tenant_waits",
        a_paused_tenant_waits,
    );
    plan.add(
        World::Bouncer,
        &one,
        "a_tenant_that_drains_lets_nobody_in",
        a_tenant_that_drains_lets_nobody_in,
    );
}

/// Tenants come, change, drain and go a hundred times a second. Clients of another tenant, on the same
/// shard, see no error, and wait no longer than in the calm before, save for noise.
async fn neighbours_do_not_feel_changes(server: &'static Server) {
    const ROUNDS: usize = 5;
    let tenants = Tenant::many_on(server, "neighbour", 2);
    let [quiet, busy] = tenants.as_slice() else {
        unreachable!()
    };
    let config = Config::for_tenants(std::slice::from_ref(quiet)).with("runtime: {shards: 1}");
    let bouncer = Bouncer::start(&config);
    let door = bouncer.door(quiet);
    let clients = [postgres(&door).await, postgres(&door).await];
    let (mut in_calm, mut in_storm, mut changes) = (Vec::new(), Vec::new(), 0);
    for _ in 0..ROUNDS {
        in_calm.push(slow_ones(&clients, quiet).await);
        let over = Arc::new(AtomicBool::new(false));
        let (api, body, until) = (bouncer.api(), json(busy), Arc::clone(&over));
        let id = busy.id.clone();
        let operator = tokio::task::spawn_blocking(move || change(api, &id, &body, &until));
        in_storm.push(slow_ones(&clients, quiet).await);
        postgres(&door)
            .await
            .simple_query("select 1")
            .await
            .expect("a new client is served");
        over.store(true, Ordering::Relaxed);
        changes += operator.await.expect("every change was made");
    }
    let (calm, storm) = (median(&mut in_calm), median(&mut in_storm));
    println!("95 of 100 queries within {calm:?} in calm, {storm:?} during {changes} changes");
    assert!(
        storm <= calm * 3 + NOISE,
        "95 of 100 queries took {calm:?} at most in calm, and {storm:?} during {changes} changes"
    );
    bouncer.stop();
}

/// Makes, changes, drains and removes a tenant, a step each 10 ms, until told otherwise; answers how
/// many steps there were.
fn change(api: SocketAddr, id: &str, body: &str, until: &AtomicBool) -> usize {
    let (path, drain) = (format!("/tenants/{id}"), format!("/tenants/{id}/drain"));
    let mut next = Instant::now();
    let mut steps = 0;
    while !until.load(Ordering::Relaxed) {
        let max = format!("\"max_connections\": {}", 5 + steps % 3);
        let changed = body.replace("\"max_connections\": 5", &max);
        for (method, path, body, status) in [
            ("POST", "/tenants", body, 201),
            ("PUT", path.as_str(), changed.as_str(), 200),
            ("POST", drain.as_str(), "", 202),
            ("DELETE", path.as_str(), "", 204),
        ] {
            assert_eq!(ask(api, method, path, body), status, "{method} {path}");
            steps += 1;
            next += Duration::from_millis(10);
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    }
    steps
}

/// The time that 95 of 100 queries stayed below, in half a second of work.
async fn slow_ones(clients: &[Client; 2], tenant: &Tenant) -> Duration {
    let end = Instant::now() + Duration::from_millis(500);
    let work = async |client: &Client| {
        let mut times = Vec::new();
        while Instant::now() < end || times.len() < 20 {
            let asked = Instant::now();
            let row = client.query_one("select id from whoami", &[]).await;
            let row = row.expect("the neighbour is served");
            times.push(asked.elapsed());
            assert_eq!(row.get::<_, String>(0), tenant.id);
        }
        times
    };
    let (one, other) = futures_util::future::join(work(&clients[0]), work(&clients[1])).await;
    let mut times = [one, other].concat();
    times.sort_unstable();
    times[times.len() * 95 / 100]
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

async fn removing_lets_transactions_finish(server: &'static Server) {
    let tenant = Tenant::on(server, "leaving");
    let bouncer = Bouncer::start(&Config::for_tenants(std::slice::from_ref(&tenant)));
    let door = bouncer.door(&tenant);
    let client = postgres(&door).await;
    client
        .batch_execute("begin; create table t (n int); insert into t values (1)")
        .await
        .expect("a transaction");
    assert_eq!(
        ask(
            bouncer.api(),
            "DELETE",
            &format!("/tenants/{}", tenant.id),
            ""
        ),
        204
    );
    assert!(
        try_postgres(&postgres_config(&door)).await.is_err(),
        "nobody comes in any more"
    );
    client
        .batch_execute("insert into t values (2); commit")
        .await
        .expect("the transaction ends well");
    let told = client
        .batch_execute("select 1")
        .await
        .expect_err("the client has been sent away");
    assert!(
        told.is_closed() || told.code().is_some_and(|code| code.code() == "57P01"),
        "{told}"
    );
    assert_eq!(
        server.sql(&tenant.dbname, "select count(*) from t").trim(),
        "2"
    );
    bouncer.stop();
}

async fn removing_cuts_off_after_the_grace(server: &'static Server) {
    let tenant = Tenant::on(server, "lingering");
    let config = Config::for_tenants(std::slice::from_ref(&tenant)).with("shutdown_grace: 100ms");
    let bouncer = Bouncer::start(&config);
    let client = postgres(&bouncer.door(&tenant)).await;
    client.batch_execute("begin").await.expect("a transaction");
    assert_eq!(
        ask(
            bouncer.api(),
            "DELETE",
            &format!("/tenants/{}", tenant.id),
            ""
        ),
        204
    );
    eventually("its backend is gone", || {
        (backends(server, &tenant) == 0).then_some(())
    });
    let told = client.batch_execute("commit").await;
    assert!(told.is_err(), "the client was cut off");
    bouncer.stop();
}

async fn limits_change_in_place_and_databases_afresh(server: &'static Server) {
    let tenants = Tenant::many_on(server, "moving", 2);
    let [tenant, other] = tenants.as_slice() else {
        unreachable!()
    };
    let bouncer = Bouncer::start(&Config::for_tenants(std::slice::from_ref(tenant)));
    let door = bouncer.door(tenant);
    let client = postgres(&door).await;
    let path = format!("/tenants/{}", tenant.id);
    assert_eq!(ask(bouncer.api(), "PUT", &path, &json(tenant)), 200);
    client
        .batch_execute("select 1")
        .await
        .expect("the connection stays when only limits change");
    // From here on the name means another database.
    let moved = Tenant {
        id: tenant.id.clone(),
        ..other.clone()
    };
    assert_eq!(ask(bouncer.api(), "PUT", &path, &json(&moved)), 200);
    let fresh = postgres(&bouncer.door(&moved)).await;
    let row = fresh
        .query_one("select id from whoami", &[])
        .await
        .expect("the new database serves");
    assert_eq!(row.get::<_, String>(0), other.id);
    eventually("the old database is left", || {
        (backends(server, tenant) == 0).then_some(())
    });
    let told = client.batch_execute("select 1").await;
    assert!(
        told.is_err(),
        "clients of the old database have been sent away"
    );
    bouncer.stop();
}

/// In transaction mode no backend is needed to be let in, where the database is known already.
async fn a_tenant_that_drains_lets_nobody_in(server: &'static Server) {
    for mode in ["session", "transaction"] {
        let tenant = Tenant::on(server, "drains").with(&format!("pool_mode: {mode}"));
        let bouncer = Bouncer::start(&Config::for_tenants(std::slice::from_ref(&tenant)));
        let (api, door) = (bouncer.api(), bouncer.door(&tenant));
        drop(postgres(&door).await);
        for (steering, state) in [("drain", Some("57P01")), ("resume", None)] {
            let path = format!("/tenants/{}/{steering}", tenant.id);
            assert_eq!(ask(api, "POST", &path, ""), 202);
            let login = try_postgres(&postgres_config(&door)).await;
            let told = login.err().and_then(|error| error.code().cloned());
            let told = told.as_ref().map(|code| code.code());
            assert_eq!(told, state, "{mode}, {steering}");
        }
        bouncer.stop();
    }
}

async fn a_paused_tenant_waits(server: &'static Server) {
    let tenant = Tenant::on(server, "paused");
    let bouncer = Bouncer::start(&Config::for_tenants(std::slice::from_ref(&tenant)));
    let (api, config) = (bouncer.api(), postgres_config(&bouncer.door(&tenant)));
    assert_eq!(
        ask(api, "POST", &format!("/tenants/{}/pause", tenant.id), ""),
        202
    );
    eventually("its idle backends are closed", || {
        (backends(server, &tenant) == 0).then_some(())
    });
    let waiting = tokio::spawn(async move { try_postgres(&config).await.map(drop) });
    let path = format!("/tenants/{}/stats", tenant.id);
    eventually("the client waits", || {
        read(api, "GET", &path, "")
            .contains("\"waiting\":1")
            .then_some(())
    });
    assert_eq!(
        ask(api, "POST", &format!("/tenants/{}/resume", tenant.id), ""),
        202
    );
    waiting
        .await
        .expect("no panic")
        .expect("the client is served after all");
    bouncer.stop();
}

/// The tenant as the API takes it.
pub fn json(tenant: &Tenant) -> String {
    let Tenant {
        id,
        address,
        dbname,
        username,
        password,
        ..
    } = tenant;
    let mode = pool_mode().unwrap_or_else(|| "session".to_owned());
    format!(
        r#"{{"id": "{id}", "db_type": "postgres", "host": "{}", "port": {}, "dbname": "{dbname}", "username": "{username}", "password": "{password}", "max_connections": 5, "pool_mode": "{mode}"}}"#,
        address.ip(),
        address.port()
    )
}

pub fn backends(server: &Server, tenant: &Tenant) -> usize {
    let count = format!(
        "select count(*) from pg_stat_activity where usename = '{}'",
        tenant.username
    );
    server.sql("", &count).trim().parse().expect("a number")
}

pub fn ask(api: SocketAddr, method: &str, path: &str, body: &str) -> u16 {
    let answer = read(api, method, path, body);
    answer
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .unwrap_or_else(|| panic!("{answer}"))
}

pub fn read(api: SocketAddr, method: &str, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(api).expect("the API listens");
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    stream
        .write_all((head + body).as_bytes())
        .expect("the API reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the API answers");
    answer
}

/// What a machine that does other things at the same time may add: several times what one change may
/// hold up a shard.
const NOISE: Duration = Duration::from_millis(5);

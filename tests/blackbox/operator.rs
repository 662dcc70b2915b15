//! What an operator does to one tenant while clients are at work: they do what was asked, and no more.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use testbed::{Bouncer, Config, Kind, Plan, Server, Tenant, World, eventually, pool_mode};

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

/// Tenants come, change, drain and go, one step after the other. Clients of another tenant, on the same
/// shard, see no error, and are served by the very connections that were there before.
async fn neighbours_do_not_feel_changes(server: &'static Server) {
    let tenants = Tenant::many_on(server, "neighbour", 2);
    let [quiet, busy] = tenants.as_slice() else {
        unreachable!()
    };
    let config = Config::for_tenants(std::slice::from_ref(quiet)).with("runtime: {shards: 1}");
    let bouncer = Bouncer::start(&config);
    let (api, door) = (bouncer.api(), bouncer.door(quiet));
    let clients = [postgres(&door).await, postgres(&door).await];
    let mut pids = Vec::new();
    for client in &clients {
        let row = client.query_one("select pg_backend_pid()", &[]).await;
        pids.push(row.expect("a process").get::<_, i32>(0).to_string());
    }
    let before = (begun(server, &pids), etag(api, quiet));
    let (id, body) = (busy.id.clone(), json(busy));
    let operator = tokio::task::spawn_blocking(move || change(api, &id, &body));
    let mut rounds = 0;
    while rounds == 0 || !operator.is_finished() {
        let newcomer = postgres(&door).await;
        for client in clients.iter().chain([&newcomer]) {
            let row = client.query_one("select id from whoami", &[]).await;
            let row = row.expect("the neighbour is served");
            assert_eq!(row.get::<_, String>(0), quiet.id);
        }
        rounds += 1;
    }
    operator.await.expect("every change was made");
    println!("{rounds} rounds of the neighbour during {CHANGES} changes");
    let after = (begun(server, &pids), etag(api, quiet));
    assert_eq!(after, before, "nobody and nothing of it was replaced");
    let stats = read(api, "GET", &format!("/tenants/{}/stats", quiet.id), "");
    for nothing in ["errors", "exhausted", "waiting"] {
        assert!(
            stats.contains(&format!("\"{nothing}\":0")),
            "{nothing}: {stats}"
        );
    }
    bouncer.stop();
}

/// Makes, changes, drains and removes a tenant again and again.
fn change(api: SocketAddr, id: &str, body: &str) {
    let (path, drain) = (format!("/tenants/{id}"), format!("/tenants/{id}/drain"));
    let changed = body.replace("\"max_connections\": 5", "\"max_connections\": 7");
    let steps = [
        ("POST", "/tenants", body, 201),
        ("PUT", &path, &changed, 200),
        ("POST", &drain, "", 202),
        ("DELETE", &path, "", 204),
    ];
    for (method, path, body, status) in steps.into_iter().cycle().take(CHANGES) {
        assert_eq!(ask(api, method, path, body), status, "{method} {path}");
    }
}

/// When these processes of the server began: none of them that is there no more, and a later time of another
/// that has its number.
fn begun(server: &Server, pids: &[String]) -> String {
    let list = format!(
        "select string_agg(pid || ' ' || backend_start, ', ' order by pid) from pg_stat_activity where pid in ({})",
        pids.join(", ")
    );
    server.sql("", &list)
}

/// What changes with each change of the tenant.
fn etag(api: SocketAddr, tenant: &Tenant) -> String {
    let answer = read(api, "GET", &format!("/tenants/{}", tenant.id), "");
    let is_etag = |line: &&str| line.to_ascii_lowercase().starts_with("etag:");
    let line = answer.lines().find(is_etag);
    line.expect("an ETag").to_owned()
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

/// The answer of a shard that is silent, on a machine that stalls, is that it is to be asked again: which is done for what
/// may be asked twice.
pub fn read(api: SocketAddr, method: &str, path: &str, body: &str) -> String {
    let may_be_asked_twice = method != "DELETE" && path != "/tenants";
    let silent =
        |answer: &str| answer.starts_with("HTTP/1.1 503") && answer.contains("Retry-After");
    for _ in 0..TRIES {
        let answer = read_once(api, method, path, body);
        if !(may_be_asked_twice && silent(&answer)) {
            return answer;
        }
    }
    read_once(api, method, path, body)
}

fn read_once(api: SocketAddr, method: &str, path: &str, body: &str) -> String {
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

/// How often a shard is asked that is silent for seconds each time.
const TRIES: usize = 10;
/// How often a neighbour is changed.
const CHANGES: usize = 200;

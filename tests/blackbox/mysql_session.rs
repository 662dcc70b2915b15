//! The life of a MySQL session: what it begins with, what it keeps, what may happen to it, and its end.

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use testbed::raw::Raw;
use testbed::{Bouncer, Config, Front, Kind, Plan, Server, Tenant, World, eventually};

use crate::drivers::{code, mysql, mysql_options, one, whoami};
use crate::scene::one_tenant;

pub fn plan(plan: &mut Plan) {
    let both = [Kind::MariaDb, Kind::MySql];
    plan.add(
        World::Bouncer,
        &both,
        "clients_are_greeted_as_by_their_database",
        clients_are_greeted_as_by_their_database,
    );
    plan.add(World::Any, &both, "kill_query", kill_query);
    plan.add(World::Any, &both, "kill_connection", kill_connection);
    plan.add(
        World::Bouncer,
        &both,
        "kill_reaches_no_other_tenant",
        kill_reaches_no_other_tenant,
    );
    plan.add(
        World::Any,
        &both,
        "session_state_stays",
        session_state_stays,
    );
    plan.add(
        World::Any,
        &both,
        "reset_and_change_of_database",
        reset_and_change_of_database,
    );
    plan.add(
        World::Any,
        &both,
        "found_rows_as_asked",
        found_rows_as_asked,
    );
    plan.add(
        World::Any,
        &both,
        "the_backend_is_closed_with_its_client",
        the_backend_is_closed_with_its_client,
    );
}

/// By that drivers know what they may ask for. Where there are both kinds, or none has been seen, it is a MySQL's.
async fn clients_are_greeted_as_by_their_database(server: &'static Server) {
    let is_mariadb = server.kind == Kind::MariaDb;
    let other = if is_mariadb {
        Kind::MySql
    } else {
        Kind::MariaDb
    };
    let mut tenants = vec![Tenant::on(server, "greeted").with("min_connections: 0")];
    if other.is_here() {
        tenants.push(Tenant::on(Server::shared(other), "unlike").with("min_connections: 0"));
    }
    let config = Config::for_tenants(&tenants).with("defaults: {health_check: {interval: 0}}");
    let bouncer = Bouncer::start(&config);
    let address = bouncer.door(&tenants[0]).address;
    let greeting = || String::from_utf8_lossy(&Raw::to(address).packet().1).into_owned();
    let is_mysqls = || greeting().contains("8.0.36-DBBouncer");
    let is_mariadbs = || greeting().contains("5.5.5-10.6.0-MariaDB-DBBouncer");
    assert!(is_mysqls(), "{}", greeting());
    assert_eq!(whoami(&bouncer.door(&tenants[0])).await, tenants[0].id);
    assert_eq!((is_mariadbs(), is_mysqls()), (is_mariadb, !is_mariadb));
    if let Some(unlike) = tenants.get(1) {
        assert_eq!(whoami(&bouncer.door(unlike)).await, unlike.id);
        assert!(is_mysqls(), "{}", greeting());
        if !is_mariadb {
            bouncer.log_line(&["WARN", &unlike.id, "greeted as by 8.0.36-DBBouncer"]);
        }
    }
    bouncer.stop();
}

async fn kill_query(server: &'static Server) {
    let (tenant, front, door) = one_tenant(server, "kill");
    let (mut victim, mut killer) = (mysql(&door).await, mysql(&door).await);
    // The id of the greeting, which is what a command line's Ctrl-C uses.
    let id = victim.id();
    let (ended, ()) = tokio::join!(
        victim.query_drop("SELECT count(*) FROM whoami WHERE sleep(100) OR id"),
        async {
            until_asleep(server, &tenant);
            killer.query_drop(format!("KILL QUERY {id}")).await.unwrap();
        }
    );
    assert_eq!(code(&ended.unwrap_err()), 1317);
    assert_eq!(
        one::<i32>(&mut victim, "SELECT 1").await,
        1,
        "the session goes on"
    );
    victim.disconnect().await.unwrap();
    killer.disconnect().await.unwrap();
    front.close();
}

async fn kill_connection(server: &'static Server) {
    let (_tenant, front, door) = one_tenant(server, "killc");
    let (mut victim, mut killer) = (mysql(&door).await, mysql(&door).await);
    killer
        .query_drop(format!("KILL {}", victim.id()))
        .await
        .unwrap();
    victim.ping().await.unwrap_err();
    assert_eq!(
        code(&killer.query_drop("KILL 999999999").await.unwrap_err()),
        1094,
        "no such connection"
    );
    killer.disconnect().await.unwrap();
    front.close();
}

async fn kill_reaches_no_other_tenant(server: &'static Server) {
    let tenants = Tenant::many_on(server, "guard", 2);
    let front = Front::for_tenants(&tenants);
    let mut victim = mysql(&front.door(&tenants[0])).await;
    let mut killer = mysql(&front.door(&tenants[1])).await;
    let real: u32 = one(&mut victim, "SELECT connection_id()").await;
    for id in [victim.id(), real] {
        let error = killer.query_drop(format!("KILL {id}")).await.unwrap_err();
        assert!([1094, 1095].contains(&code(&error)), "{error}");
    }
    victim.ping().await.unwrap();
    victim.disconnect().await.unwrap();
    killer.disconnect().await.unwrap();
    front.close();
}

/// Waits until a session of this tenant is inside `sleep`.
fn until_asleep(server: &Server, tenant: &Tenant) {
    let asleep = format!(
        "SELECT count(*) FROM information_schema.processlist WHERE state = 'User sleep' AND db = '{}'",
        tenant.dbname
    );
    eventually("it sleeps", || {
        (server.sql("", &asleep) == "1").then_some(())
    });
}

async fn session_state_stays(server: &'static Server) {
    let (_tenant, front, door) = one_tenant(server, "state");
    let (mut client, mut other) = (mysql(&door).await, mysql(&door).await);
    let id: u32 = one(&mut client, "SELECT connection_id()").await;
    client
        .query_drop("SET @mine = 5, time_zone = '+09:00', NAMES latin1")
        .await
        .unwrap();
    client
        .query_drop("CREATE TEMPORARY TABLE mine AS SELECT 6 AS six")
        .await
        .unwrap();
    assert_eq!(
        one::<i32>(&mut client, "SELECT get_lock('theirs', 0)").await,
        1
    );
    for _ in 0..10 {
        assert_eq!(
            one::<u32>(&mut client, "SELECT connection_id()").await,
            id,
            "one backend for the whole session"
        );
    }
    let state: (i32, String, i32) = one(
        &mut client,
        "SELECT @mine, @@time_zone, (SELECT six FROM mine)",
    )
    .await;
    assert_eq!(state, (5, "+09:00".to_owned(), 6));
    let state: (Option<i32>, String, i32) = one(
        &mut other,
        "SELECT @mine, @@time_zone, get_lock('theirs', 0)",
    )
    .await;
    assert_eq!(state, (None, "SYSTEM".to_owned(), 0));
    client.disconnect().await.unwrap();
    other.disconnect().await.unwrap();
    front.close();
}

async fn reset_and_change_of_database(server: &'static Server) {
    let (tenant, front, door) = one_tenant(server, "reset");
    let mut client = mysql(&door).await;
    client.query_drop("SET @mine = 5").await.unwrap();
    assert!(
        client.reset().await.unwrap(),
        "COM_RESET_CONNECTION is known"
    );
    assert_eq!(one::<Option<i32>>(&mut client, "SELECT @mine").await, None);
    client.query_drop("USE information_schema").await.unwrap();
    assert_eq!(
        one::<String>(&mut client, "SELECT database()").await,
        "information_schema"
    );
    client
        .query_drop(format!("USE {}", tenant.dbname))
        .await
        .unwrap();
    assert_eq!(
        one::<String>(&mut client, "SELECT id FROM whoami").await,
        tenant.id
    );
    client.disconnect().await.unwrap();
    front.close();
}

/// CLIENT_FOUND_ROWS is a capability of the login: the backend must have been opened with the client's own.
async fn found_rows_as_asked(server: &'static Server) {
    let (_tenant, front, door) = one_tenant(server, "found");
    for (found, expected) in [(true, 1), (false, 0), (true, 1)] {
        let mut client = Conn::new(mysql_options(&door).client_found_rows(found))
            .await
            .unwrap();
        client
            .query_drop("UPDATE whoami SET id = id")
            .await
            .unwrap();
        assert_eq!(client.affected_rows(), expected);
        client.disconnect().await.unwrap();
    }
    front.close();
}

async fn the_backend_is_closed_with_its_client(server: &'static Server) {
    let (_tenant, front, door) = one_tenant(server, "closed");
    for politely in [true, false] {
        let mut client = mysql(&door).await;
        let id: u32 = one(&mut client, "SELECT connection_id()").await;
        let here = format!("SELECT count(*) FROM information_schema.processlist WHERE id = {id}");
        assert_eq!(server.sql("", &here), "1");
        if politely {
            client.disconnect().await.unwrap();
        } else {
            std::mem::drop(
                tokio::time::timeout(
                    std::time::Duration::from_millis(50),
                    client.query_drop("DO sleep(100)"),
                )
                .await,
            );
            drop(client); // in the midst of a query: the socket is closed
        }
        eventually("the backend is gone", || {
            (server.sql("", &here) == "0").then_some(())
        });
    }
    front.close();
}

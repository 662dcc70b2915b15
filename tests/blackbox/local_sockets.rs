//! Databases behind a socket of the file system, beside the bouncer on one machine.

use testbed::{Bouncer, Config, Kind, Plan, Server, Tenant, World};
use tokio_postgres::NoTls;
use tokio_postgres::error::SqlState;

use crate::drivers::{mysql, one, postgres, postgres_config, try_postgres, whoami};
use crate::postgres_session::until_asleep;

pub fn plan(plan: &mut Plan) {
    let postgres = [Kind::Postgres, Kind::Postgres18];
    let mysql = [Kind::MariaDb, Kind::MySql];
    let world = World::Bouncer;
    let name = "a_socket_of_the_file_system";
    let what = "socket of a server that was given";
    for kind in postgres {
        plan.add_if(!kind.is_given(), what, kind, name, a_socket_of_postgres);
    }
    for kind in mysql {
        plan.add_if(!kind.is_given(), what, kind, name, a_socket_of_mysql);
    }
    plan.add(
        world,
        &postgres[..1],
        "a_socket_that_is_not_there",
        none_there,
    );
}

/// A tenant whose database is reached by its socket. What sslmode demands needs no certificate there.
fn tenant_beside(server: &Server) -> Tenant {
    let local = server.local.as_deref().expect("a server of ours has one");
    let host = format!("host: {local}");
    Tenant::on(server, "beside")
        .with(&host)
        .with("sslmode: require")
}

async fn a_socket_of_postgres(server: &'static Server) {
    let tenant = tenant_beside(server);
    let bouncer = Bouncer::start(&Config::for_tenants(std::slice::from_ref(&tenant)));
    let door = bouncer.door(&tenant);
    assert_eq!(whoami(&door).await, tenant.id);
    let client = postgres(&door).await;
    let row = client
        .query_one("SELECT inet_server_addr() IS NULL", &[])
        .await;
    assert!(row.unwrap().get::<_, bool>(0), "it came by the socket");

    // Cancel requests go the same way.
    let (cancelled, ()) = tokio::join!(client.batch_execute("SELECT pg_sleep(100)"), async {
        until_asleep(server, &tenant);
        client.cancel_token().cancel_query(NoTls).await.unwrap();
    });
    let code = cancelled.unwrap_err().code().cloned();
    assert_eq!(code, Some(SqlState::QUERY_CANCELED));
    drop(client);
    bouncer.stop();
}

async fn a_socket_of_mysql(server: &'static Server) {
    let tenant = tenant_beside(server);
    let bouncer = Bouncer::start(&Config::for_tenants(std::slice::from_ref(&tenant)));
    let door = bouncer.door(&tenant);
    assert_eq!(whoami(&door).await, tenant.id);
    let mut conn = mysql(&door).await;
    // By TCP there is a port behind it, whatever the server calls the address.
    let host = "SELECT host FROM information_schema.processlist WHERE id = CONNECTION_ID()";
    assert_eq!(
        one::<String>(&mut conn, host).await,
        "localhost",
        "it came by the socket"
    );
    // A proof of the password once more.
    conn.change_user(mysql_async::ChangeUserOpts::default())
        .await
        .unwrap();
    assert_eq!(
        one::<String>(&mut conn, "SELECT id FROM whoami").await,
        tenant.id
    );
    drop(conn);
    bouncer.stop();
}

async fn none_there(server: &'static Server) {
    let tenant = Tenant::on(server, "beside").with("host: /nonexistent/folder");
    let bouncer = Bouncer::start(&Config::for_tenants(std::slice::from_ref(&tenant)));
    let config = postgres_config(&bouncer.door(&tenant));
    let Err(error) = try_postgres(&config).await else {
        panic!("there is no such socket");
    };
    let told = error
        .as_db_error()
        .expect("we are told")
        .message()
        .to_owned();
    assert!(told.contains("No such file"), "{told}");
    bouncer.log_line(&[&tenant.id, "/nonexistent/folder"]);
    bouncer.stop();
}

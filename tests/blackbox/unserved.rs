//! Good input at a bad time: no database, no place, or too many. Who cannot be served is told why, as in `refusals`.

use std::net::{Ipv4Addr, SocketAddr};

use socket2::{Domain, Socket, Type};
use testbed::{Kind, Plan, Server, Tenant, World};

use crate::raw::{Complaint, Raw, startup};
use crate::refusals::{Scene, Session, is_refused};
use crate::tools::{mariadb_at, psql_at};

pub fn plan(plan: &mut Plan) {
    let each = [Kind::Postgres, Kind::MariaDb];
    plan.add(World::Bouncer, &each, "database_down", database_down);
    plan.add(
        World::Bouncer,
        &each,
        "database_refuses_the_tenant",
        database_refuses_the_tenant,
    );
    plan.add(World::SessionMode, &each, "pool_exhausted", pool_exhausted);
    plan.add(World::Bouncer, &each, "too_many_clients", too_many_clients);
}

async fn database_down(server: &'static Server) {
    // A port that is taken and that nobody listens on.
    let taken = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let anything = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    taken.bind(&anything.into()).unwrap();
    let nobody = taken.local_addr().unwrap().as_socket().unwrap();
    // Attempts are made at least every five seconds, and each tells those who wait.
    let patient = |tenant: &mut Tenant| {
        tenant.address = nobody;
        tenant.set("acquire_timeout: 30s");
    };
    let scene = Scene::set(server, patient, "").await;
    let complaint = scene.refusal().await;
    is_refused(server, &complaint, "57P03", ("HY000", 1429));
    scene.bouncer.log_line(&[&scene.tenant.id, "refused"]);
    scene.end().await;
}

async fn database_refuses_the_tenant(server: &'static Server) {
    let scene = Scene::set(server, |_| (), "defaults: {min_connections: 0}").await;
    let other = "another secret";
    server.sql(
        "",
        &match server.kind.is_postgres() {
            true => format!("ALTER ROLE {} PASSWORD '{other}'", scene.tenant.username),
            false => format!(
                "ALTER USER {} IDENTIFIED BY '{other}'",
                scene.tenant.username
            ),
        },
    );
    let complaint = scene.refusal().await;
    is_refused(server, &complaint, "08001", ("HY000", 1429));
    scene
        .bouncer
        .log_line(&[&scene.tenant.id, "database", "refused"]);
    scene.end().await;
}

async fn pool_exhausted(server: &'static Server) {
    let small = |tenant: &mut Tenant| {
        for setting in [
            "min_connections: 0",
            "max_connections: 2",
            "acquire_timeout: 3s",
        ] {
            tenant.set(setting);
        }
    };
    let scene = Scene::set(server, small, "").await;
    let mut holders = [
        Session::of(&scene.bouncer, &scene.tenant).await,
        Session::of(&scene.bouncer, &scene.tenant).await,
    ];
    let complaint = scene.refusal().await;
    is_refused(server, &complaint, "53300", ("08004", 1040));
    assert!(complaint.message.contains("3s (2 in use)"), "{complaint:?}");
    scene
        .bouncer
        .log_line(&[&scene.tenant.id, "pool exhausted"]);
    for holder in &mut holders {
        holder.works().await;
    }
    drop(holders);
    testbed::eventually("a place is free again", || {
        let door = scene.bouncer.door(&scene.tenant);
        let said = match server.kind.is_postgres() {
            true => psql_at(&door).args(["-c", "SELECT 1"]),
            false => mariadb_at("mariadb", &door).args(["-e", "SELECT 1"]),
        };
        said.run().ok.then_some(())
    });
    scene.end().await;
}

async fn too_many_clients(server: &'static Server) {
    let scene = Scene::set(server, |_| (), "limits: {client_connections: 2}").await;
    let mut second = Session::of(&scene.bouncer, &scene.tenant).await;
    let mut raw = Raw::to(scene.port());
    let complaint = if server.kind.is_postgres() {
        raw.say(&startup(&[("user", "x")])).last_words()
    } else {
        Complaint::of_mysql(&raw.packet().1)
    };
    // MySQL's own refusal at this point, before a greeting, has no SQLSTATE.
    is_refused(server, &complaint, "53300", ("", 1040));
    second.works().await;
    drop(second);
    scene.end().await;
}

//! The ground itself: each server comes up, is the release it should be, and holds a tenant's database.

use testbed::{Kind, Plan, Server, Tenant, World};

pub fn plan(plan: &mut Plan) {
    let all = [
        Kind::Postgres,
        Kind::Postgres17,
        Kind::Postgres18,
        Kind::MariaDb,
        Kind::MySql,
    ];
    plan.add(
        World::Any,
        &all,
        "server_is_what_it_should_be",
        server_is_what_it_should_be,
    );
}

async fn server_is_what_it_should_be(server: &'static Server) {
    let version = server.sql("", "SELECT version();");
    let expected = match server.kind {
        Kind::Postgres => "PostgreSQL 15",
        Kind::Postgres17 => "PostgreSQL 17",
        Kind::Postgres18 => "PostgreSQL 18",
        Kind::MariaDb => "10.11",
        Kind::MySql => "9.",
    };
    assert!(version.starts_with(expected), "{version}");
    let tenant = Tenant::on(server, "ground");
    assert_eq!(
        server.sql(&tenant.dbname, "SELECT id FROM whoami;"),
        tenant.id
    );
}

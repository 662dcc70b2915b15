//! What a tenant is: where its database is, and how it differs from the defaults.

use std::time::Duration;

use shards::contract::{ClientAuth, Dialect, Secret, Users};

use crate::{meant, tenant};

#[test]
fn the_contracts_own_example() {
    let settings = meant(
        "listen:
  postgres_port: 6432
  mysql_port: 3307
  api_port: 8080
defaults:
  min_connections: 2
  max_connections: 20
  idle_timeout: 5m
  max_lifetime: 30m
  acquire_timeout: 10s
  pool_mode: session
tenants:
  tenant_1:
    db_type: postgres
    host: pg-host.example.com
    port: 5432
    dbname: tenant_1_db
    username: app_user
    password: ${PASSWORD}
",
    );
    assert_eq!(
        settings.plane.postgres,
        Some("0.0.0.0:6432".parse().unwrap())
    );
    assert_eq!(settings.plane.mysql, Some("0.0.0.0:3307".parse().unwrap()));
    assert_eq!(
        settings.api.address,
        Some("127.0.0.1:8080".parse().unwrap())
    );
    let [tenant] = &settings.tenants[..] else {
        panic!("one tenant")
    };
    assert_eq!(
        (tenant.id.as_str(), tenant.dialect),
        ("tenant_1", Dialect::Postgres)
    );
    assert_eq!(
        (tenant.host.as_str(), tenant.port),
        ("pg-host.example.com", 5432)
    );
    assert_eq!(
        (tenant.dbname.as_str(), tenant.username.as_str()),
        ("tenant_1_db", "app_user")
    );
    assert_eq!(tenant.password, Some(Secret::new("s3cret")));
    assert_eq!(tenant.access.users, Users::Any(Secret::new("s3cret")));
    assert_eq!(tenant.access.method, ClientAuth::Scram);
    assert_eq!((tenant.limits.min, tenant.limits.max), (2, 20));
    assert_eq!(tenant.limits.idle_timeout, Duration::from_secs(300));
    assert_eq!(tenant.limits.max_lifetime, Duration::from_secs(1800));
    assert_eq!(tenant.acquire_timeout, Some(Duration::from_secs(10)));
    assert_eq!(tenant.connect_timeout, Duration::from_secs(5));
    assert!(settings.warnings.is_empty());
}

#[test]
fn a_tenant_says_otherwise_than_the_defaults() {
    let defaults =
        "defaults: {max_connections: 7, idle_timeout: 0, acquire_timeout: 0, client_auth: md5}\n";
    let more = "max_connections: 1\nidle_timeout: 1h\npassword: p\nport: ${PORT}";
    let settings = meant(&(defaults.to_owned() + &tenant(more)));
    let t1 = &settings.tenants[0];
    assert_eq!((t1.limits.max, t1.port), (1, 5433));
    assert_eq!(t1.limits.min, 1, "a min that nobody asked for gives way");
    assert_eq!(t1.limits.idle_timeout, Duration::from_secs(3600));
    assert_eq!(
        (t1.acquire_timeout, t1.access.method),
        (None, ClientAuth::Md5)
    );
}

#[test]
fn ports_follow_the_database_unless_said() {
    let mysql = tenant("password: p").replace("postgres", "mysql");
    assert_eq!(meant(&tenant("password: p")).tenants[0].port, 5432);
    assert_eq!(meant(&mysql).tenants[0].port, 3306);
}

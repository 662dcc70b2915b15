//! What this crate's own tests share: an executor to run in, and the settings of a shard and of a tenant.
#![allow(clippy::unwrap_used)]

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use pool::Limits;
use wire::pg::MockKey;
use wire::pg::pooling::{PreparedStatements, Reset, Rules};

use crate::context::ShardSettings;
use crate::contract::{
    Access, BackendUser, ClientAuth, Dialect, Networks, PoolMode, ShardId, TenantId, TenantSpec,
    Timeouts, Users, WhenUnwell,
};
use crate::tls::DatabaseTls;

/// Runs a test on an executor with a ring.
pub fn run(test: impl Future<Output = ()>) {
    let executor = glommio::LocalExecutorBuilder::default().io_memory(64 << 10);
    let run = sockets::run(sockets::RingLimits::default(), test);
    executor.make().unwrap().run(run).unwrap();
}

/// A port of its own to listen on.
pub fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// The only shard there is.
pub fn shard() -> ShardSettings {
    ShardSettings {
        id: ShardId(0),
        shards: 1,
        login_timeout: PATIENCE,
        client_stall_timeout: Some(PATIENCE),
        failed_logins: None,
        disguise: Arc::default(),
        mock: MockKey::new([0; 32]),
    }
}

/// A tenant of PostgreSQL's with one connection at the most, which lets everybody in.
pub fn tenant(id: &str, database: SocketAddr) -> TenantSpec {
    TenantSpec {
        id: TenantId::parse(id).unwrap(),
        dialect: Dialect::Postgres,
        host: database.ip().to_string(),
        port: database.port(),
        dbname: "d".to_owned(),
        username: "u".to_owned(),
        password: None,
        access: Access {
            method: ClientAuth::Trust,
            users: Users::Unknown,
            lookup: None,
            backend_user: BackendUser::Tenant,
            allowed: Networks::default(),
            trusted: Networks::default(),
            cert_users: None,
        },
        limits: Limits {
            min: 0,
            max: 1,
            max_dials: 1,
            max_waiting: 0,
            idle_timeout: PATIENCE,
            max_lifetime: PATIENCE,
        },
        max_clients: None,
        pool_mode: PoolMode::Transaction,
        rules: Rules {
            prepared_statements: PreparedStatements::Multiplex,
            max_prepared_statements: 500,
            reset: Reset::Smart,
        },
        acquire_timeout: Some(PATIENCE),
        timeouts: Timeouts::default(),
        connect_timeout: PATIENCE,
        health_check: None,
        when_unwell: WhenUnwell::Queue,
        tls: DatabaseTls::OFF,
    }
}

/// Longer than any test takes.
const PATIENCE: Duration = Duration::from_secs(60);

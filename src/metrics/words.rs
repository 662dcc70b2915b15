//! The values of labels that are words. They are part of what dashboards and alerts are written
//! against: once there, they stay.

use shards::contract::{CloseReason, DialFault, Dialect, Disproof, EndKind};

/// What a tenant's database speaks.
pub fn db_type(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Postgres => "postgres",
        Dialect::MySql => "mysql",
    }
}

/// Why a session ended.
pub fn end(kind: EndKind) -> &'static str {
    match kind {
        EndKind::ClientLeft => "client_left",
        EndKind::ClientBroke => "client_broke",
        EndKind::ClientMisbehaved => "client_misbehaved",
        EndKind::ClientUnsupported => "client_unsupported",
        EndKind::ClientMisnamed => "client_misnamed",
        EndKind::ClientWrongDatabase => "client_wrong_database",
        EndKind::ClientUnproven => "client_unproven",
        EndKind::ClientTooSlow => "client_too_slow",
        EndKind::ClientStalled => "client_stalled",
        EndKind::ClientIdle => "client_idle",
        EndKind::TransactionIdle => "transaction_idle",
        EndKind::TransactionTimeout => "transaction_timeout",
        EndKind::QueryTimeout => "query_timeout",
        EndKind::TooManyClients => "too_many_clients",
        EndKind::TooManyLogins => "too_many_logins",
        EndKind::TooManyFromAddress => "too_many_from_address",
        EndKind::TooManyOfTenant => "too_many_of_tenant",
        EndKind::TooManyFailures => "too_many_failures",
        EndKind::ShardBusy => "shard_busy",
        EndKind::PoolExhausted => "pool_exhausted",
        EndKind::TenantClosed => "tenant_closed",
        EndKind::DatabaseUnreachable => "database_unreachable",
        EndKind::DatabaseRefused => "database_refused",
        EndKind::DatabaseMisbehaved => "database_misbehaved",
        EndKind::DatabaseLeft => "database_left",
        EndKind::DatabaseUnhealthy => "database_unhealthy",
        EndKind::Stopping => "stopping",
        EndKind::CutOff => "cut_off",
        EndKind::EndedByOperator => "ended_by_operator",
        EndKind::ClientNotSecured => "client_not_secured",
        EndKind::OwnLack => "own_lack",
    }
}

/// Why a login proved nothing.
pub fn disproof(kind: Disproof) -> &'static str {
    match kind {
        Disproof::NoTenant => "no_tenant",
        Disproof::NoSecret => "no_secret",
        Disproof::NoUser => "no_user",
        Disproof::NotAllowed => "not_allowed",
        Disproof::WrongPassword => "wrong_password",
        Disproof::LookupFailed => "lookup_failed",
        Disproof::NoCertificate => "no_certificate",
    }
}

/// Why there is no connection.
pub fn dial_fault(kind: DialFault) -> &'static str {
    match kind {
        DialFault::Unreachable => "unreachable",
        DialFault::Refused => "refused",
        DialFault::Misbehaved => "misbehaved",
        DialFault::NotSecured => "not_secured",
        DialFault::OwnLack => "own_lack",
    }
}

/// Why a connection was closed.
pub fn close(kind: CloseReason) -> &'static str {
    match kind {
        CloseReason::IdleTimeout => "idle_timeout",
        CloseReason::MaxLifetime => "max_lifetime",
        CloseReason::OverMax => "over_max",
        CloseReason::MadeRoom => "made_room",
        CloseReason::Reconnect => "reconnect",
        CloseReason::Paused => "paused",
        CloseReason::Draining => "draining",
        CloseReason::SessionEnd => "session_end",
        CloseReason::Unclean => "unclean",
        CloseReason::Broken => "broken",
    }
}

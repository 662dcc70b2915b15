//! One tenant of a config: where its database is, and its habits.

use std::ops::RangeInclusive;
use std::time::Duration;

use shards::contract::{
    BackendUser, ClientAuth, Dialect, HealthCheck, Limits, PoolMode, PreparedStatements, Reset,
    Rules, TenantId, TenantSpec, Timeouts, WhenUnwell,
};

use super::access::AccessHabits;
use super::section::Section;
use super::tls::SslHabits;
use super::units::{self, Span};

/// What may stand in `defaults` and in each tenant.
#[derive(Debug, Clone)]
pub struct Habits {
    /// How many backends, and for how long.
    pub limits: Limits,
    /// When a client gives its backend back.
    pub pool_mode: PoolMode,
    /// How sessions are moved between backends.
    pub rules: Rules,
    /// How long a client may wait for a backend; zero is for ever.
    pub acquire_timeout: Duration,
    /// How long sessions may take over what they are at.
    pub timeouts: Timeouts,
    /// How long a dial may take.
    pub connect_timeout: Duration,
    /// Who may come in.
    pub access: AccessHabits,
    /// How many clients may be in at once; 0 is as many as come.
    pub max_clients: usize,
    /// How the database's health is watched; an interval of zero is not at all.
    pub health_check: HealthCheck,
    /// What becomes of clients while the database is unhealthy.
    pub when_unwell: WhenUnwell,
    /// TLS towards the database.
    pub ssl: SslHabits,
}

/// Settles a tenant; `None` if there are complaints about what it cannot be without.
pub fn settle(id: TenantId, section: Section, defaults: &Habits) -> Option<TenantSpec> {
    let dialects = [
        ("postgres", Some(Dialect::Postgres)),
        ("mysql", Some(Dialect::MySql)),
    ];
    for key in ["db_type", "host", "dbname", "username"] {
        if !section.has(key) {
            section.complain(key, "is missing");
        }
    }
    let dialect = section.value("db_type", units::choice(&dialects));
    let host = section.text("host", units::server);
    if let (Some(host), Some(Dialect::Postgres)) = (&host, dialect)
        && let Err(why) = units::socket_folder(host)
    {
        section.complain("host", why);
    }
    let port = section.value("port", units::port);
    let dbname = section.text("dbname", units::name);
    let username = section.text("username", units::name);
    let password = section.secret("password");
    let habits = Habits::settle(&section, defaults);
    let pool_mode = pool_mode(&section, habits.pool_mode, dialect);
    let access = habits
        .access
        .for_tenant(&section, password.as_ref(), dialect, pool_mode);
    let mut limits = habits.limits;
    let is_own = access.backend_user == BackendUser::Client && !section.has("min_connections");
    if is_own || access.method == ClientAuth::Passthrough {
        // Whose it would be is not known ahead of need.
        limits.min = 0;
    }
    if access.method == ClientAuth::Passthrough {
        // Each dial is for a client that has proved nothing yet, and takes as long as it likes.
        limits.max_dials = MAX_DIALS.min(limits.max / 2).max(1);
    }
    let tls = dialect.map(|dialect| habits.ssl.ready(&section, dialect));
    section.finish();
    Some(TenantSpec {
        id,
        dialect: dialect?,
        host: host?,
        port: port.unwrap_or(default_port(dialect?)),
        dbname: dbname?,
        username: username?,
        password,
        access,
        limits,
        max_clients: units::unless_none(habits.max_clients),
        pool_mode,
        rules: habits.rules,
        acquire_timeout: units::unless_zero(habits.acquire_timeout),
        timeouts: habits.timeouts,
        connect_timeout: habits.connect_timeout,
        health_check: Some(habits.health_check).filter(|check| !check.interval.is_zero()),
        when_unwell: habits.when_unwell,
        tls: tls?,
    })
}

impl Habits {
    /// What holds where a config says nothing.
    pub const BUILT_IN: Habits = Habits {
        limits: Limits {
            min: 2,
            max: 20,
            max_dials: MAX_DIALS,
            // Whoever waits is a client, and `limits.client_connections` bounds these.
            max_waiting: 0,
            idle_timeout: Duration::from_secs(5 * 60),
            max_lifetime: Duration::from_secs(30 * 60),
        },
        pool_mode: PoolMode::Session,
        rules: Rules {
            prepared_statements: PreparedStatements::Multiplex,
            max_prepared_statements: 500,
            reset: Reset::Smart,
        },
        acquire_timeout: Duration::from_secs(10),
        timeouts: Timeouts {
            query: None,
            transaction: None,
            idle_transaction: None,
            client_idle: None,
        },
        connect_timeout: Duration::from_secs(5),
        access: AccessHabits::BUILT_IN,
        max_clients: 0,
        health_check: HealthCheck {
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(3),
            failure_threshold: 3,
            success_threshold: 1,
        },
        when_unwell: WhenUnwell::Fail,
        ssl: SslHabits::BUILT_IN,
    };

    /// What this section says, and for the rest what `otherwise` says.
    pub fn settle(section: &Section, otherwise: &Habits) -> Habits {
        let age = |key, otherwise| section.value_or(key, units::time(Span::AGE), otherwise);
        let min = section.value("min_connections", units::count(0..=*CONNECTIONS.end()));
        let max = section.value("max_connections", units::count(CONNECTIONS));
        let max = max.unwrap_or(otherwise.limits.max);
        if let Some(min) = min.filter(|&min| min > max) {
            section.complain(
                "min_connections",
                format!("{min} is more than max_connections, which is {max}"),
            );
        }
        let connect_timeout = section.value("connect_timeout", units::time(Span::ASKING));
        Habits {
            limits: Limits {
                // One that only said how many at most did not mean to ask for more ahead of need.
                min: min.unwrap_or(otherwise.limits.min).min(max),
                max,
                idle_timeout: age("idle_timeout", otherwise.limits.idle_timeout),
                max_lifetime: age("max_lifetime", otherwise.limits.max_lifetime),
                ..otherwise.limits
            },
            pool_mode: section.value_or("pool_mode", units::choice(POOL_MODE), otherwise.pool_mode),
            rules: rules(section, &otherwise.rules),
            acquire_timeout: section.value_or(
                "acquire_timeout",
                units::time(Span::PATIENCE),
                otherwise.acquire_timeout,
            ),
            timeouts: timeouts(section, &otherwise.timeouts),
            connect_timeout: connect_timeout.unwrap_or(otherwise.connect_timeout),
            access: AccessHabits::settle(section, &otherwise.access),
            max_clients: section
                .value("max_client_connections", units::count(TENANT_CLIENTS))
                .unwrap_or(otherwise.max_clients),
            health_check: health_check(section, otherwise.health_check),
            when_unwell: section
                .value("on_unhealthy", units::choice(ON_UNHEALTHY))
                .unwrap_or(otherwise.when_unwell),
            ssl: SslHabits::settle(section, &otherwise.ssl),
        }
    }
}

/// How health is watched: key by key, what is not said stays as it is otherwise.
fn health_check(section: &Section, otherwise: HealthCheck) -> HealthCheck {
    let check = section.section("health_check");
    let interval = check.value("interval", units::time(Span::ROUND));
    let timeout = check.value("timeout", units::time(Span::ASKING));
    let threshold = |key, otherwise| {
        let count = check.value(key, units::count(1..=MOST_CHECKS));
        // Far below what a u32 holds.
        count.map_or(otherwise, |count| count as u32)
    };
    let settled = HealthCheck {
        interval: interval.unwrap_or(otherwise.interval),
        timeout: timeout.unwrap_or(otherwise.timeout),
        failure_threshold: threshold("failure_threshold", otherwise.failure_threshold),
        success_threshold: threshold("success_threshold", otherwise.success_threshold),
    };
    check.finish();
    settled
}

/// How long sessions may take over what they are at.
fn timeouts(section: &Section, otherwise: &Timeouts) -> Timeouts {
    let time = |key, otherwise| match section.value(key, units::time(Span::WORK)) {
        Some(time) => units::unless_zero(time),
        None => otherwise,
    };
    Timeouts {
        query: time("query_timeout", otherwise.query),
        transaction: time("transaction_timeout", otherwise.transaction),
        idle_transaction: time("idle_transaction_timeout", otherwise.idle_transaction),
        client_idle: time("client_idle_timeout", otherwise.client_idle),
    }
}

/// What becomes of a session's state between transactions.
fn rules(section: &Section, otherwise: &Rules) -> Rules {
    let kept = section.value("max_prepared_statements", units::count(STATEMENTS));
    Rules {
        prepared_statements: section.value_or(
            "prepared_statements",
            units::choice(PREPARED_STATEMENTS),
            otherwise.prepared_statements,
        ),
        max_prepared_statements: kept.unwrap_or(otherwise.max_prepared_statements),
        reset: section.value_or("reset", units::choice(RESET), otherwise.reset),
    }
}

/// MySQL's sessions cannot be moved between backends, whatever is the habit elsewhere.
fn pool_mode(section: &Section, habit: PoolMode, dialect: Option<Dialect>) -> PoolMode {
    if dialect == Some(Dialect::MySql) && habit == PoolMode::Transaction {
        if section.has("pool_mode") {
            section.warn(
                "pool_mode",
                "a MySQL tenant is always served in session mode",
            );
        }
        return PoolMode::Session;
    }
    habit
}

fn default_port(dialect: Dialect) -> u16 {
    match dialect {
        Dialect::Postgres => 5432,
        Dialect::MySql => 3306,
    }
}

/// When a client gives its backend back.
const POOL_MODE: &[(&str, Option<PoolMode>)] = &[
    ("session", Some(PoolMode::Session)),
    ("transaction", Some(PoolMode::Transaction)),
];
/// What becomes of named prepared statements in transaction mode.
const PREPARED_STATEMENTS: &[(&str, Option<PreparedStatements>)] = &[
    ("multiplex", Some(PreparedStatements::Multiplex)),
    ("pin", Some(PreparedStatements::Pin)),
];
/// When a backend is cleaned in transaction mode.
const RESET: &[(&str, Option<Reset>)] = &[
    ("smart", Some(Reset::Smart)),
    ("always", Some(Reset::Always)),
    ("never", Some(Reset::Never)),
];
/// How many shared statements one backend can be asked to keep.
pub const STATEMENTS: RangeInclusive<usize> = 1..=100_000;
/// What becomes of clients while their database is unhealthy.
const ON_UNHEALTHY: &[(&str, Option<WhenUnwell>)] = &[
    ("fail", Some(WhenUnwell::Fail)),
    ("queue", Some(WhenUnwell::Queue)),
];
/// The most health checks in a row that can be asked for.
const MOST_CHECKS: usize = 100;
/// How many clients one tenant can ask for; 0 is as many as come.
pub const TENANT_CLIENTS: RangeInclusive<usize> = 0..=1_000_000;
/// How many backends one tenant can ask for.
pub const CONNECTIONS: RangeInclusive<usize> = 1..=10_000;
/// How many backends of one tenant are dialled at once: a storm of clients is none for its database.
const MAX_DIALS: usize = 4;

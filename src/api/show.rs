//! What the API shows: tenants, shards and settings as JSON, under the names of the config.
//! Secrets are never in it, only whether there is one.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};
use shards::contract::{
    BOUNDS, BackendUser, ClientAuth, Credential, Dialect, Health, HealthCheck, Networks, PG_AUTHID,
    PoolMode, PreparedStatements, Reset, SessionSnapshot, SessionState, ShardSnapshot, Standing,
    TenantSnapshot, TenantSpec, Timings, Users, WhenUnwell, shard_of,
};

use shards::tls::{IdentityText, Mode, Negotiation, Roots, SslMode};

use crate::config::{AuthQuery, Habits, LogFormat, Settings};
use crate::roster::{Entry, Origin};

/// A tenant: what was asked for, and how it stands if its shard has said so.
pub fn tenant(entry: &Entry, now: Option<&TenantSnapshot>, shards: usize) -> Value {
    let spec = &*entry.spec;
    let mut shown = json!({
        "id": spec.id.as_str(),
        "db_type": dialect(spec.dialect),
        "host": spec.host,
        "port": spec.port,
        "dbname": spec.dbname,
        "username": spec.username,
        "password_set": spec.password.is_some(),
        "pool_mode": pool_mode(spec.pool_mode),
        "reset": reset(spec.rules.reset),
        "prepared_statements": prepared_statements(spec.rules.prepared_statements),
        "max_prepared_statements": spec.rules.max_prepared_statements,
        "client_auth": client_auth(spec.access.method),
        "max_client_connections": spec.max_clients.unwrap_or_default(),
        "allowed_addresses": networks(&spec.access.allowed),
        "trust_addresses": networks(&spec.access.trusted),
        "auth_query": auth_query(spec.access.lookup.as_ref().map(|lookup| &*lookup.query)),
        "backend_user": backend_user(spec.access.backend_user),
        "min_connections": spec.limits.min,
        "max_connections": spec.limits.max,
        "idle_timeout": time(spec.limits.idle_timeout),
        "max_lifetime": time(spec.limits.max_lifetime),
        "acquire_timeout": time(spec.acquire_timeout.unwrap_or_default()),
        "query_timeout": time(spec.timeouts.query.unwrap_or_default()),
        "transaction_timeout": time(spec.timeouts.transaction.unwrap_or_default()),
        "idle_transaction_timeout": time(spec.timeouts.idle_transaction.unwrap_or_default()),
        "client_idle_timeout": time(spec.timeouts.client_idle.unwrap_or_default()),
        "connect_timeout": time(spec.connect_timeout),
        "health_check": spec.health_check.map_or(json!({"interval": "0"}), |check| health_check(&check)),
        "on_unhealthy": on_unhealthy(spec.when_unwell),
        "sslmode": sslmode(spec.tls.mode),
        "sslnegotiation": sslnegotiation(spec.tls.negotiation),
        "origin": match entry.origin { Origin::File => "file", Origin::Api(_) => "api" },
        "shard": shard_of(&spec.id, shards).0,
    });
    if let Some(users) = &spec.access.cert_users {
        shown["cert_users"] = json!(users);
    }
    if let Some(lookup) = &spec.access.lookup {
        shown["auth_query_ttl"] = time(lookup.ttl).into();
        if let Some((user, password)) = &lookup.account {
            shown["auth_user"] = user.as_str().into();
            shown["auth_password_set"] = password.is_some().into();
        }
    }
    if let Users::Named(users) = &spec.access.users {
        let set = |credential: &Credential| match credential {
            Credential::Password(_) => json!({"password_set": true}),
            Credential::Verifier(_) => json!({"verifier_set": true}),
        };
        shown["users"] = users
            .iter()
            .map(|(name, credential)| (name.clone(), set(credential)))
            .collect::<Map<_, _>>()
            .into();
    }
    shown["state"] = state(now).into();
    shown["stats"] = now.map_or(Value::Null, stats);
    shown
}

/// The same with its certificates, which make a list of tenants too long.
pub fn whole_tenant(entry: &Entry, now: Option<&TenantSnapshot>, shards: usize) -> Value {
    let mut shown = tenant(entry, now, shards);
    let tls = &entry.spec.tls;
    show_certificates(&mut shown, tls.roots(), tls.identity());
    shown
}

/// How a tenant stands, alone.
pub fn tenant_stats(spec: &TenantSpec, now: &TenantSnapshot) -> Value {
    let mut shown = stats(now);
    shown["id"] = spec.id.as_str().into();
    shown["db_type"] = dialect(spec.dialect).into();
    shown["state"] = state(Some(now)).into();
    shown["max"] = spec.limits.max.into();
    shown
}

/// A session: who, from where, and what it is at for how long.
pub fn session(session: &SessionSnapshot) -> Value {
    let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
    json!({
        "id": session.id.0.to_string(),
        "user": &*session.who.user,
        "application": session.who.application.as_deref(),
        "client": session.who.peer.to_string(),
        "connected_seconds": session.connected.as_secs_f64(),
        "state": match session.state {
            SessionState::Idle => "idle",
            SessionState::Active => "active",
            SessionState::IdleInTransaction => "idle_in_transaction",
            SessionState::Waiting => "waiting",
            SessionState::Unknown => "unknown",
        },
        "state_seconds": seconds(session.in_state),
        "transaction_seconds": seconds(session.in_transaction),
        "backend": session.backend,
    })
}

/// A shard's load; `null` where it did not say.
pub fn shard(index: usize, now: Option<&ShardSnapshot>) -> Value {
    let Some(now) = now else {
        return json!({"shard": index, "answers": false});
    };
    let sum = |of: fn(&TenantSnapshot) -> usize| now.tenants.iter().map(of).sum::<usize>();
    json!({
        "shard": index,
        "answers": true,
        "tenants": now.tenants.len(),
        "clients": now.clients,
        "busy_seconds": now.busy.as_secs_f64(),
        "active": sum(|tenant| tenant.backends.leased),
        "idle": sum(|tenant| tenant.backends.idle),
        "opening": sum(|tenant| tenant.backends.opening),
        "waiting": sum(|tenant| tenant.backends.waiting),
    })
}

/// The settings in force, tenants apart, and which of these are left out for what reasons.
pub fn settings(settings: &Settings, left_out: &BTreeMap<String, Vec<String>>) -> Value {
    let plane = &settings.plane;
    let port = |address: Option<std::net::SocketAddr>| address.map(|address| address.to_string());
    json!({
        "listen": {
            "postgres": port(plane.postgres),
            "mysql": port(plane.mysql),
            "api": port(settings.api.address),
            "metrics": port(settings.api.metrics_address),
            "mysql_version": plane.mysql_version.as_deref().unwrap_or("auto"),
        },
        "runtime": {"shards": plane.shards, "acceptors": plane.acceptors, "pinned_to": plane.cpus},
        "limits": {
            "client_connections": plane.places.clients,
            "unauthenticated_connections": plane.places.unproven.unwrap_or_default(),
            "client_connections_per_address": plane.places.per_address.unwrap_or_default(),
            "failed_logins_per_minute": plane.failed_logins.unwrap_or_default(),
            "login_timeout": time(plane.login_timeout),
            "client_stall_timeout": time(plane.client_stall_timeout.unwrap_or_default()),
        },
        "proxy_protocol": {"trusted": networks(&plane.proxies)},
        "tls_mode": settings.tls.as_ref().map_or("disable", |tls| match tls.mode {
            Mode::Allow => "allow",
            Mode::Require => "require",
        }),
        "api_key_set": settings.api.key.is_some(),
        "metrics_auth": settings.api.metrics_auth,
        "metrics_tenant_limit": settings.api.metrics_tenant_limit,
        "state_file": settings.api.state_file,
        "shutdown_grace": time(settings.shutdown_grace),
        "log_format": match settings.log_format { LogFormat::Text => "text", LogFormat::Json => "json" },
        "defaults": habits(&settings.defaults),
        "tenants_in_file": settings.tenants.len(),
        "tenants_left_out": left_out,
    })
}

fn habits(habits: &Habits) -> Value {
    let access = &habits.access;
    let mut shown = json!({
        "pool_mode": pool_mode(habits.pool_mode),
        "reset": reset(habits.rules.reset),
        "prepared_statements": prepared_statements(habits.rules.prepared_statements),
        "max_prepared_statements": habits.rules.max_prepared_statements,
        "client_auth": client_auth(access.client_auth),
        "max_client_connections": habits.max_clients,
        "allowed_addresses": networks(&access.allowed_addresses),
        "trust_addresses": networks(&access.trust_addresses),
        "auth_query": match &access.auth_query {
            None => "none",
            Some(AuthQuery::PgAuthid) => "pg_authid",
            Some(AuthQuery::Own(query)) => query,
        },
        "auth_user": access.auth_user,
        "auth_password_set": access.auth_password.is_some(),
        "auth_query_ttl": time(access.auth_query_ttl),
        "backend_user": backend_user(access.backend_user),
        "min_connections": habits.limits.min,
        "max_connections": habits.limits.max,
        "idle_timeout": time(habits.limits.idle_timeout),
        "max_lifetime": time(habits.limits.max_lifetime),
        "acquire_timeout": time(habits.acquire_timeout),
        "query_timeout": time(habits.timeouts.query.unwrap_or_default()),
        "transaction_timeout": time(habits.timeouts.transaction.unwrap_or_default()),
        "idle_transaction_timeout": time(habits.timeouts.idle_transaction.unwrap_or_default()),
        "client_idle_timeout": time(habits.timeouts.client_idle.unwrap_or_default()),
        "connect_timeout": time(habits.connect_timeout),
        "health_check": health_check(&habits.health_check),
        "on_unhealthy": on_unhealthy(habits.when_unwell),
        "sslmode": sslmode(habits.ssl.mode()),
        "sslnegotiation": sslnegotiation(habits.ssl.negotiation()),
    });
    show_certificates(&mut shown, habits.ssl.roots(), habits.ssl.identity());
    shown
}

/// Certificates are no secrets. A key is.
fn show_certificates(shown: &mut Value, roots: Option<&Roots>, identity: Option<&IdentityText>) {
    if let Some(roots) = roots {
        shown["sslrootcert"] = match roots {
            Roots::System => "system".into(),
            Roots::Given(pem) => (**pem).into(),
        };
    }
    if let Some(identity) = identity {
        shown["sslcert"] = identity.certificate.as_str().into();
        shown["sslkey_set"] = true.into();
    }
}

fn stats(now: &TenantSnapshot) -> Value {
    let (backends, counts) = (&now.backends, &now.counts);
    let complaint = match &now.health {
        Health::Well => None,
        Health::Unwell { why } => Some(why),
    };
    let errors: Map<_, _> = (counts.errors.by_class())
        .map(|(class, count)| (class.as_str().to_owned(), count.into()))
        .collect();
    json!({
        "clients": now.clients,
        "pinned": now.pinned,
        "active": backends.leased,
        "idle": backends.idle,
        "opening": backends.opening,
        "waiting": backends.waiting,
        "total": backends.leased + backends.idle + backends.opening,
        "healthy": complaint.is_none(),
        "unhealthy_because": complaint,
        "logins": counts.logins,
        "queries": counts.queries,
        "transactions": counts.transactions,
        "errors": counts.errors.count(),
        "errors_by_class": errors,
        "prepared_hits": counts.prepared_hits,
        "prepared_misses": counts.prepared_misses,
        "received_bytes": counts.from_clients,
        "sent_bytes": counts.to_clients,
        "exhausted": counts.exhausted,
        "query_duration": timings(&counts.query_time),
        "wait_duration": timings(&counts.wait_time),
    })
}

fn timings(timings: &Timings) -> Value {
    json!({
        "le": BOUNDS.map(|bound| bound.as_secs_f64()),
        "counts": timings.buckets,
        "sum_seconds": timings.sum.as_secs_f64(),
    })
}

fn health_check(check: &HealthCheck) -> Value {
    json!({
        "interval": time(check.interval),
        "timeout": time(check.timeout),
        "failure_threshold": check.failure_threshold,
        "success_threshold": check.success_threshold,
    })
}

fn on_unhealthy(when: WhenUnwell) -> &'static str {
    match when {
        WhenUnwell::Fail => "fail",
        WhenUnwell::Queue => "queue",
    }
}

fn state(now: Option<&TenantSnapshot>) -> &'static str {
    match now.map(|now| now.standing) {
        Some(Standing::Active) => "active",
        Some(Standing::Paused) => "paused",
        Some(Standing::Draining) => "draining",
        // Its shard did not answer in time, or has not heard of it yet.
        None => "unknown",
    }
}

fn dialect(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Postgres => "postgres",
        Dialect::MySql => "mysql",
    }
}

fn pool_mode(mode: PoolMode) -> &'static str {
    match mode {
        PoolMode::Session => "session",
        PoolMode::Transaction => "transaction",
    }
}

fn reset(reset: Reset) -> &'static str {
    match reset {
        Reset::Smart => "smart",
        Reset::Always => "always",
        Reset::Never => "never",
    }
}

fn prepared_statements(how: PreparedStatements) -> &'static str {
    match how {
        PreparedStatements::Multiplex => "multiplex",
        PreparedStatements::Pin => "pin",
    }
}

fn sslmode(mode: SslMode) -> &'static str {
    match mode {
        SslMode::Disable => "disable",
        SslMode::Prefer => "prefer",
        SslMode::Require => "require",
        SslMode::VerifyCa => "verify-ca",
        SslMode::VerifyFull => "verify-full",
    }
}

fn sslnegotiation(how: Negotiation) -> &'static str {
    match how {
        Negotiation::Postgres => "postgres",
        Negotiation::Direct => "direct",
    }
}

fn client_auth(method: ClientAuth) -> &'static str {
    match method {
        ClientAuth::Scram => "scram-sha-256",
        ClientAuth::Md5 => "md5",
        ClientAuth::Password => "password",
        ClientAuth::Trust => "trust",
        ClientAuth::Cert => "cert",
        ClientAuth::Passthrough => "passthrough",
    }
}

/// As the config has it: the query that every server answers has a name.
fn auth_query(query: Option<&str>) -> &str {
    match query {
        None => "none",
        Some(PG_AUTHID) => "pg_authid",
        Some(query) => query,
    }
}

fn backend_user(user: BackendUser) -> &'static str {
    match user {
        BackendUser::Tenant => "tenant",
        BackendUser::Client => "client",
    }
}

fn networks(networks: &Networks) -> Vec<String> {
    networks.iter().map(ToString::to_string).collect()
}

/// As the config has it: `5m`, and `0` for what is switched off.
fn time(time: Duration) -> String {
    if time.is_zero() {
        return "0".to_owned();
    }
    humantime::format_duration(time).to_string()
}

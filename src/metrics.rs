//! Metrics for Prometheus: names, labels, types and help stand here and nowhere else; the values of
//! labels that are words stand in [`words`].
//!
//! The shards count, this adds up and names. It reads snapshots, so a scrape costs the data path no
//! more than copying them.

mod counters;
mod family;
mod gather;
mod process;
mod words;

use std::time::UNIX_EPOCH;

use log::error;
use prometheus::proto::MetricFamily;
use prometheus::{TEXT_FORMAT, TextEncoder};
use shards::Silent;
use shards::contract::{
    CloseReason, Counts, DialFault, Disproof, Door, EndKind, Pin, ShardSnapshot, Timings,
};

use self::family::Family;
use self::gather::{Row, rows};
use self::words::{close, db_type, dial_fault, disproof, end};
use crate::roster::Entry;
use crate::vitals::Vitals;

/// The media type of the text format.
pub const MEDIA_TYPE: &str = TEXT_FORMAT;

/// Everything there is to show at one moment.
pub struct Scene<'a> {
    /// The tenants that are wanted, by name.
    pub tenants: &'a [Entry],
    /// How the shards stand, or that they do not say.
    pub shards: &'a [Result<ShardSnapshot, Silent>],
    /// How it stands at the door.
    pub door: &'a Door,
    /// How the process is.
    pub vitals: &'a Vitals,
    /// How many tenants have a label of their own.
    pub tenant_limit: usize,
}

/// The metrics in Prometheus' text format.
pub fn render(scene: &Scene<'_>) -> String {
    let mut families = Vec::new();
    let rows = rows(scene.tenants, scene.shards, scene.tenant_limit);
    gauges(&rows, &mut families);
    counters::families(&rows, &mut families);
    reasons(&rows, &strangers(scene), &mut families);
    timings(&rows, &mut families);
    shards(scene.shards, &mut families);
    process::families(scene, &mut families);
    // It complains of families that are empty or do not say their type: ours are not and do.
    TextEncoder::new()
        .encode_to_string(&families)
        .unwrap_or_else(|why| {
            error!("metrics cannot be written: {why}");
            String::new()
        })
}

/// How tenants stand.
fn gauges(rows: &[Row], families: &mut Vec<MetricFamily>) {
    type Gauge = (&'static str, &'static str, fn(&Row) -> usize);
    let both: [Gauge; 8] = [
        (
            "connections_active",
            "Connections to the database that serve a client",
            |row| row.active,
        ),
        (
            "connections_idle",
            "Connections to the database that nobody uses",
            |row| row.idle,
        ),
        (
            "connections_total",
            "Connections to the database: active, idle and being opened",
            |row| row.active + row.idle + row.opening,
        ),
        (
            "connections_waiting",
            "Clients waiting for a connection to the database",
            |row| row.waiting,
        ),
        (
            "connections_opening",
            "Connections to the database that are being opened",
            |row| row.opening,
        ),
        (
            "connections_max",
            "The most connections to the database that there may be",
            |row| row.max,
        ),
        (
            "tenant_clients",
            "Clients of the tenant that are logged in, those that wait for a connection among them",
            |row| row.clients,
        ),
        (
            "tenant_clients_pinned",
            "Clients of the tenant that are pinned to their connection, in transaction mode",
            |row| row.pinned,
        ),
    ];
    for (name, help, value) in both {
        let mut family = Family::gauge(name, help);
        for row in rows {
            let labels = [("tenant", &*row.tenant), ("db_type", db_type(row.dialect))];
            family.add(&labels, value(row) as f64);
        }
        family.put(families);
    }
    let mut health = Family::gauge(
        "tenant_health",
        "Whether the tenant's database passes its health checks: 1 it does, 0 it does not",
    );
    let mut serving = Family::gauge(
        "tenant_serving",
        "Whether the tenant's pool gives out connections: 0 while it is paused or draining",
    );
    for row in rows {
        health.add(&[("tenant", &row.tenant)], f64::from(u8::from(row.is_well)));
        serving.add(&[("tenant", &row.tenant)], f64::from(u8::from(row.serves)));
    }
    health.put(families);
    serving.put(families);
    let mut expiry = Family::gauge(
        "tenant_certificate_expiry_timestamp_seconds",
        "When the certificate expires that we show to the tenant's database (sslcert), in seconds since 1970",
    );
    for row in rows {
        let since = row
            .certificate_expires
            .map(|end| end.duration_since(UNIX_EPOCH));
        if let Some(since) = since {
            let seconds = since.map_or(0, |since| since.as_secs());
            expiry.add(&[("tenant", &row.tenant)], seconds as f64);
        }
    }
    expiry.put(families);
}

/// What happened, by reason. A reason that has not come up for a tenant has no sample there, which
/// keeps a scrape of many tenants small.
fn reasons(rows: &[Row], strangers: &Counts, families: &mut Vec<MetricFamily>) {
    let mut ended = Family::counter(
        "sessions_ended_total",
        "Sessions of clients that ended, refused ones among them, by reason",
    );
    let mut logins = Family::counter(
        "login_failures_total",
        "Logins of clients that proved nothing, by reason",
    );
    let mut dials = Family::counter(
        "backend_connect_failures_total",
        "Attempts to connect and log in to the database that failed, by reason",
    );
    let mut closed = Family::counter(
        "backends_closed_total",
        "Connections to the database that were closed, by reason",
    );
    let mut pins = Family::counter(
        "pins_total",
        "Times a session was pinned to its connection in transaction mode, by reason",
    );
    let mut errors = Family::counter(
        "query_errors_total",
        "Errors that the database answered with, by the class of their SQLSTATE",
    );
    let known = rows.iter().map(|row| (&*row.tenant, &row.counts));
    for (tenant, counts) in known.chain([(UNKNOWN, strangers)]) {
        for kind in EndKind::ALL {
            add_reason(&mut ended, tenant, end(kind), counts.ended[kind as usize]);
        }
        for kind in Disproof::ALL {
            let count = counts.login_failures[kind as usize];
            add_reason(&mut logins, tenant, disproof(kind), count);
        }
        for kind in DialFault::ALL {
            let count = counts.dial_failures[kind as usize];
            add_reason(&mut dials, tenant, dial_fault(kind), count);
        }
        for pin in Pin::ALL {
            add_reason(&mut pins, tenant, pin.as_str(), counts.pins[pin.index()]);
        }
        for (class, count) in counts.errors.by_class() {
            let labels = [("tenant", tenant), ("class", class.as_str())];
            errors.add(&labels, count as f64);
        }
        for kind in CloseReason::ALL {
            add_reason(
                &mut closed,
                tenant,
                close(kind),
                counts.closed[kind as usize],
            );
        }
    }
    for family in [errors, ended, logins, dials, closed, pins] {
        family.put(families);
    }
}

fn add_reason(family: &mut Family, tenant: &str, reason: &str, count: u64) {
    if count > 0 {
        family.add(&[("tenant", tenant), ("reason", reason)], count as f64);
    }
}

/// How long things took.
fn timings(rows: &[Row], families: &mut Vec<MetricFamily>) {
    let mut queries = Family::histogram(
        "query_duration_seconds",
        "From a client's request to the end of its answer",
    );
    for row in rows {
        let labels = [("tenant", &*row.tenant), ("db_type", db_type(row.dialect))];
        queries.add_timings(&labels, &row.counts.query_time);
    }
    queries.put(families);
    type Histogram = (&'static str, &'static str, fn(&Counts) -> &Timings);
    let others: [Histogram; 3] = [
        (
            "session_duration_seconds",
            "Sessions of clients that were served, from the first answer to the end",
            |counts| &counts.session_time,
        ),
        (
            "client_wait_seconds",
            "How long clients waited for a connection to the database; 0 for those that did not",
            |counts| &counts.wait_time,
        ),
        (
            "backend_connect_duration_seconds",
            "Connecting and logging in to the database, where it succeeded",
            |counts| &counts.dial_time,
        ),
    ];
    for (name, help, value) in others {
        let mut family = Family::histogram(name, help);
        for row in rows {
            family.add_timings(&[("tenant", &row.tenant)], value(&row.counts));
        }
        family.put(families);
    }
}

/// The shards' load. One that does not answer is down, and that is all that is known of it.
fn shards(shards: &[Result<ShardSnapshot, Silent>], families: &mut Vec<MetricFamily>) {
    let mut up = Family::gauge(
        "shard_up",
        "Whether the shard answers: 1 it does, 0 it does not",
    );
    let mut clients = Family::gauge("shard_clients", "Sessions on the shard");
    let mut tenants = Family::gauge("shard_tenants", "Tenants that the shard owns");
    let mut busy = Family::counter(
        "shard_busy_seconds_total",
        "Processor time that the shard's thread has used",
    );
    for (index, now) in shards.iter().enumerate() {
        let index = index.to_string();
        let labels = [("shard", &*index)];
        up.add(&labels, f64::from(u8::from(now.is_ok())));
        if let Ok(now) = now {
            clients.add(&labels, now.clients as f64);
            tenants.add(&labels, now.tenants.len() as f64);
            busy.add(&labels, now.busy.as_secs_f64());
        }
    }
    for family in [up, clients, tenants, busy] {
        family.put(families);
    }
}

/// What became of clients that named no tenant, at the door and behind it.
fn strangers(scene: &Scene<'_>) -> Counts {
    let mut sum = Counts {
        ended: scene.door.refused,
        ..Counts::default()
    };
    for shard in scene.shards.iter().flatten() {
        sum += &shard.strangers;
    }
    sum
}

/// The label of clients that named no tenant. No tenant's name begins with an underscore.
const UNKNOWN: &str = "_unknown";

#[cfg(test)]
mod tests;

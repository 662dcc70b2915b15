//! Metrics in Prometheus' text format: names, labels and types stand here and nowhere else.

use std::collections::HashMap;
use std::fmt::Write;

use shards::Silent;
use shards::contract::{ShardSnapshot, TenantSnapshot};

use crate::roster::Entry;
use crate::vitals::Vitals;

/// The media type of the text format.
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All metrics at one moment. The tenants of a silent shard are left out rather than shown as idle.
pub fn render(
    tenants: &[Entry],
    shards: &[Result<ShardSnapshot, Silent>],
    vitals: &Vitals,
) -> String {
    let standing: HashMap<_, _> = shards
        .iter()
        .flatten()
        .flat_map(|shard| &shard.tenants)
        .map(|now| (&now.id, now))
        .collect();
    let mut text = String::new();
    let gauges: [Gauge; 4] = [
        (
            "connections_active",
            "Connections to the database that serve a client",
            |now| now.backends.leased,
        ),
        (
            "connections_idle",
            "Connections to the database that nobody uses",
            |now| now.backends.idle,
        ),
        (
            "connections_total",
            "Connections to the database, active, idle and being opened",
            |now| now.backends.leased + now.backends.idle + now.backends.opening,
        ),
        (
            "connections_waiting",
            "Clients waiting for a connection",
            |now| now.backends.waiting,
        ),
    ];
    for (name, help, value) in gauges {
        head(&mut text, name, help, "gauge");
        for entry in tenants {
            let spec = &entry.spec;
            if let Some(now) = standing.get(&spec.id) {
                // Neither a tenant's name nor a dialect's can hold what would need an escape.
                let _ = writeln!(
                    text,
                    "dbbouncer_{name}{{tenant=\"{}\",db_type=\"{}\"}} {}",
                    spec.id,
                    spec.dialect,
                    value(now)
                );
            }
        }
    }
    let (reloads, failures) = vitals.reloads();
    for (name, help, value) in [
        (
            "config_reloads_total",
            "Times the config file was loaded again with success",
            reloads,
        ),
        (
            "config_reload_failures_total",
            "Times the config file was found wrong, so that nothing changed",
            failures,
        ),
    ] {
        head(&mut text, name, help, "counter");
        let _ = writeln!(text, "dbbouncer_{name} {value}");
    }
    head(&mut text, "build_info", "The version that runs", "gauge");
    let _ = writeln!(
        text,
        "dbbouncer_build_info{{version=\"{}\"}} 1",
        env!("CARGO_PKG_VERSION")
    );
    text
}

/// A name, what it means, and where its value stands.
type Gauge = (&'static str, &'static str, fn(&TenantSnapshot) -> usize);

fn head(text: &mut String, name: &str, help: &str, kind: &str) {
    let _ = writeln!(
        text,
        "# HELP dbbouncer_{name} {help}\n# TYPE dbbouncer_{name} {kind}"
    );
}

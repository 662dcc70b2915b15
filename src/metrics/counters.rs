//! What tenants add up to, where one number says it.

use prometheus::proto::MetricFamily;
use shards::contract::Counts;

use super::family::Family;
use super::gather::Row;

/// A family for each sum, with a sample for each tenant.
pub fn families(rows: &[Row], families: &mut Vec<MetricFamily>) {
    type Counter = (&'static str, &'static str, fn(&Counts) -> u64);
    let counters: [Counter; 14] = [
        (
            "pool_exhausted_total",
            "Clients refused because no connection to the database became free in time",
            |counts| counts.exhausted,
        ),
        (
            "queries_total",
            "Requests of clients: queries, executions, commands",
            |counts| counts.queries,
        ),
        (
            "transactions_total",
            "Transactions that ended, those of single statements among them (PostgreSQL)",
            |counts| counts.transactions,
        ),
        (
            "client_received_bytes_total",
            "Bytes from clients after their login",
            |counts| counts.from_clients,
        ),
        (
            "client_sent_bytes_total",
            "Bytes to clients after their login",
            |counts| counts.to_clients,
        ),
        (
            "logins_total",
            "Clients that have proved who they are",
            |counts| counts.logins,
        ),
        (
            "cancel_requests_total",
            "Cancel requests and KILLs that were passed on to the database",
            |counts| counts.cancels,
        ),
        (
            "sessions_lost_track_total",
            "MySQL sessions in which an answer of the database's was not understood: they go on, and no time-out ends them",
            |counts| counts.lost_track,
        ),
        (
            "prepared_statement_hits_total",
            "Times that a shared prepared statement was needed and was there already (transaction mode)",
            |counts| counts.prepared_hits,
        ),
        (
            "prepared_statement_misses_total",
            "Times that a shared prepared statement was prepared on a connection (transaction mode)",
            |counts| counts.prepared_misses,
        ),
        (
            "cleanups_total",
            "Connections to the database that were cleaned for the next client",
            |counts| counts.cleanups,
        ),
        (
            "cleanup_failures_total",
            "Connections to the database that could not be cleaned and were closed",
            |counts| counts.cleanup_failures,
        ),
        (
            "auth_queries_total",
            "Users that the database was asked for by auth_query, and answered",
            |counts| counts.lookups,
        ),
        (
            "auth_query_failures_total",
            "Users that the database was asked for by auth_query in vain",
            |counts| counts.lookup_failures,
        ),
    ];
    for (name, help, value) in counters {
        let mut family = Family::counter(name, help);
        for row in rows {
            family.add(&[("tenant", &row.tenant)], value(&row.counts) as f64);
        }
        family.put(families);
    }
    let mut checks = Family::counter("health_checks_total", "Health checks of the database");
    for Row { tenant, counts, .. } in rows {
        for (result, count) in [
            ("passed", counts.checks_passed),
            ("failed", counts.checks_failed),
        ] {
            checks.add(&[("tenant", tenant), ("result", result)], count as f64);
        }
    }
    checks.put(families);
}

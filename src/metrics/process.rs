//! The process as a whole: its clients, its config, its API, and what the kernel knows of it.

use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::MetricFamily;

use super::Scene;
use super::family::Family;
use crate::logging;

/// All of it.
pub fn families(scene: &Scene<'_>, families: &mut Vec<MetricFamily>) {
    let (reloads, failures) = scene.vitals.reloads();
    let (file_is_good, loaded_at) = scene.vitals.config();
    let singles = [
        (
            Family::gauge("clients", "Clients connected, those that log in among them"),
            scene.door.clients as f64,
        ),
        (
            Family::gauge("clients_max", "The most clients that may be connected"),
            scene.door.limit as f64,
        ),
        (
            Family::gauge(
                "clients_unauthenticated",
                "Clients connected that have not proved who they are",
            ),
            scene.door.unproven as f64,
        ),
        (
            Family::counter(
                "accept_failures_total",
                "Times a connection could not be accepted, for want of descriptors mostly",
            ),
            scene.door.accept_failures as f64,
        ),
        (
            Family::counter(
                "log_lines_lost_total",
                "Lines of the log that were not written: it was read too slowly, or its disk was full",
            ),
            logging::lost() as f64,
        ),
        (
            Family::counter(
                "config_reloads_total",
                "Times the config file was loaded again with success",
            ),
            reloads as f64,
        ),
        (
            Family::counter(
                "config_reload_failures_total",
                "Times the config file was found wrong, so that nothing changed",
            ),
            failures as f64,
        ),
        (
            Family::gauge(
                "config_last_reload_successful",
                "Whether the config file was good when it was last read: 1 it was, 0 it was not",
            ),
            f64::from(u8::from(file_is_good)),
        ),
        (
            Family::gauge(
                "config_last_reload_success_timestamp_seconds",
                "When the config in force was loaded, in seconds since 1970",
            ),
            loaded_at as f64,
        ),
        (
            Family::gauge(
                "tenants_left_out",
                "Tenants of the API that are not served, for what state_file has of them makes no sense: see the log, or GET /config",
            ),
            scene.vitals.who_is_left_out().len() as f64,
        ),
    ];
    for (mut family, value) in singles {
        family.add(&[], value);
        family.put(families);
    }
    requests(scene, families);
    let mut expiry = Family::gauge(
        "tls_certificate_expiry_timestamp_seconds",
        "When the certificate that clients see expires, in seconds since 1970",
    );
    if let Some(expires) = scene.vitals.certificate_expires() {
        expiry.add(&[], expires as f64);
    }
    expiry.put(families);
    let mut build = Family::gauge("build_info", "The version that runs");
    build.add(&[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    build.put(families);
    families.extend(ProcessCollector::for_self().collect());
}

/// What the API was asked.
fn requests(scene: &Scene<'_>, families: &mut Vec<MetricFamily>) {
    let mut requests = Family::counter(
        "api_requests_total",
        "Requests to the API, by path, method and status of the answer",
    );
    for (asked, count) in scene.vitals.requests() {
        let code = asked.code.to_string();
        let labels = [
            ("route", asked.route),
            ("method", asked.method),
            ("code", &code),
        ];
        requests.add(&labels, count as f64);
    }
    requests.put(families);
}

//! What of a config comes into force with a restart only.

use shards::PlaneSettings;

use crate::config::Settings;

/// Puts what only a restart can change back to what runs, and says what that was.
pub fn keep_what_needs_a_restart(new: &mut Settings, running: &Settings) -> Vec<&'static str> {
    let mut differs = differences(&new.plane, &running.plane);
    new.plane = running.plane.clone();
    let address = std::mem::replace(&mut new.api.address, running.api.address);
    if address != running.api.address {
        differs.push("the API's address");
        // By default it moves to loopback with its key gone. Until then it must not be open to all.
        if new.api.key.is_none() && running.api.key.is_some() {
            new.api.key = running.api.key.clone();
            differs.push("that there is no api_key");
        }
    }
    if new.api.metrics_address != running.api.metrics_address {
        new.api.metrics_address = running.api.metrics_address;
        differs.push("metrics_port");
    }
    if new.api.state_file != running.api.state_file {
        new.api.state_file = running.api.state_file.clone();
        differs.push("state_file");
    }
    if new.log_format != running.log_format {
        new.log_format = running.log_format;
        differs.push("log_format");
    }
    differs
}

/// The sections of the config in which the data plane's settings differ.
fn differences(new: &PlaneSettings, running: &PlaneSettings) -> Vec<&'static str> {
    type Part = (&'static str, fn(&PlaneSettings, &PlaneSettings) -> bool);
    let parts: [Part; 4] = [
        ("listen", |a, b| {
            (a.postgres, a.mysql, &a.mysql_version) == (b.postgres, b.mysql, &b.mysql_version)
        }),
        ("runtime", |a, b| {
            (a.shards, a.acceptors, &a.cpus) == (b.shards, b.acceptors, &b.cpus)
        }),
        ("limits", |a, b| {
            a.places == b.places
                && a.failed_logins == b.failed_logins
                && a.login_timeout == b.login_timeout
                && a.client_stall_timeout == b.client_stall_timeout
        }),
        ("proxy_protocol", |a, b| a.proxies == b.proxies),
    ];
    let differing = parts.into_iter().filter(|(_, same)| !same(new, running));
    differing.map(|(section, _)| section).collect()
}

//! The least and the greatest value of every time.

use crate::{complaints, meant, tenant};

/// Every time of a config: where it stands, what is too short and too long there, and what is said of it.
const TIMES: [(&str, &str, &str, &str); 14] = [
    ("shutdown_grace", "9ms", "25h", "10ms to 1d, or 0 for none"),
    ("limits.login_timeout", "99ms", "61m", "100ms to 1h"),
    (
        "limits.client_stall_timeout",
        "9ms",
        "25h",
        "10ms to 1d, or 0 for none",
    ),
    (
        "defaults.idle_timeout",
        "999ms",
        "367d",
        "1s to 366d, or 0 for none",
    ),
    (
        "defaults.max_lifetime",
        "999ms",
        "367d",
        "1s to 366d, or 0 for none",
    ),
    (
        "defaults.acquire_timeout",
        "9ms",
        "25h",
        "10ms to 1d, or 0 for none",
    ),
    (
        "defaults.query_timeout",
        "9ms",
        "367d",
        "10ms to 366d, or 0 for none",
    ),
    (
        "defaults.transaction_timeout",
        "9ms",
        "367d",
        "10ms to 366d, or 0 for none",
    ),
    (
        "defaults.idle_transaction_timeout",
        "9ms",
        "367d",
        "10ms to 366d, or 0 for none",
    ),
    (
        "defaults.client_idle_timeout",
        "9ms",
        "367d",
        "10ms to 366d, or 0 for none",
    ),
    ("defaults.connect_timeout", "9ms", "61m", "10ms to 1h"),
    (
        "defaults.auth_query_ttl",
        "9ms",
        "25h",
        "10ms to 1d, or 0 for none",
    ),
    (
        "defaults.health_check.interval",
        "99ms",
        "25h",
        "100ms to 1d, or 0 for none",
    ),
    ("defaults.health_check.timeout", "9ms", "61m", "10ms to 1h"),
];

#[test]
fn times_that_make_no_sense_are_refused_with_what_would() {
    for (key, short, long, span) in TIMES {
        for wrong in [short, long, "1ns"] {
            let said = complaints(&at(key, wrong));
            assert_eq!(
                said,
                format!("{key}: must be a time from {span}\n"),
                "{wrong}"
            );
        }
        for wrong in ["-1s", "soon", "5 apples"] {
            let said = complaints(&at(key, wrong));
            let how = "is not written like a time (30s, 5m, 1h 30m)";
            let expected = format!("{key}: {how}: must be a time from {span}\n");
            assert_eq!(said, expected, "{wrong}");
        }
        let (least, most) = span.split_once(" to ").unwrap();
        let (most, can_be_off) = match most.split_once(", or ") {
            Some((most, _)) => (most, true),
            None => (most, false),
        };
        meant(&at(key, least));
        meant(&at(key, most));
        match can_be_off {
            true => drop(meant(&at(key, "0"))),
            false => drop(complaints(&at(key, "0"))),
        }
    }
    let said = complaints(&tenant("health_check: {interval: 1ns}"));
    let expected =
        "tenants.t1.health_check.interval: must be a time from 100ms to 1d, or 0 for none\n";
    assert_eq!(said, expected);
}

/// A time that somebody adds belongs into the list above.
#[test]
fn every_time_is_in_the_list() {
    let documented = dbbouncer::config::reference();
    let times = documented.matches("a time from ").count();
    assert_eq!(times, TIMES.len());
}

/// A config that says this alone.
fn at(key: &str, value: &str) -> String {
    let mut keys = key.rsplit('.');
    let last = format!("{}: {value}", keys.next().unwrap());
    keys.fold(last, |inside, section| format!("{section}: {{{inside}}}"))
}

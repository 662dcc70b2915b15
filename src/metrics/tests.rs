#![allow(clippy::unwrap_used)]

use std::time::Duration;

use shards::contract::{Gauges, Health, SqlstateClass, Standing, TenantId, TenantSnapshot};

use super::*;
use crate::config::{Node, settle_tenant};
use crate::roster::Roster;

/// So many tenants, `t0` and on, the odd ones of MySQL; each with one query of 2 ms.
fn scene(count: usize, render: impl FnOnce(&Scene<'_>)) {
    let mut roster = Roster::of_file(Vec::new());
    let mut tenants = Vec::new();
    for n in 0..count {
        let id = TenantId::parse(&format!("t{n}")).unwrap();
        let kind = ["postgres", "mysql"][n % 2];
        let written = Node::from_yaml(&format!(
            "{{db_type: {kind}, host: h, dbname: d, username: u, password: p}}"
        ));
        let written = written.unwrap();
        let (spec, _) = settle_tenant(&id, &written, &crate::config::Habits::BUILT_IN).unwrap();
        roster.put(spec, written);
        let mut counts = Counts {
            queries: 1,
            ..Counts::default()
        };
        counts
            .errors
            .add(&[b"23505", b"23503", b"ZZ000"].map(|code| SqlstateClass::of(code)));
        counts.query_time.add(Duration::from_millis(2), 1);
        counts.ended[EndKind::ClientLeft as usize] = 3;
        tenants.push(TenantSnapshot {
            id,
            standing: Standing::Active,
            health: match n {
                1 => Health::Unwell { why: "down".into() },
                _ => Health::Well,
            },
            clients: 1,
            pinned: 1,
            backends: Gauges {
                idle: 2,
                leased: 1,
                opening: 1,
                waiting: 5,
            },
            counts,
        });
    }
    let entries: Vec<_> = roster.iter().cloned().collect();
    let mut strangers = Counts::default();
    strangers.login_failures[Disproof::NoTenant as usize] = 4;
    let shard = ShardSnapshot {
        clients: count,
        busy: Duration::from_millis(1500),
        strangers,
        tenants,
    };
    let mut door = Door {
        clients: 9,
        limit: 20_000,
        ..Door::default()
    };
    door.refused[EndKind::TooManyClients as usize] = 6;
    let vitals = Vitals::new(2);
    vitals.certificate(Some(
        std::time::UNIX_EPOCH + Duration::from_secs(2_000_000_000),
    ));
    render(&Scene {
        tenants: &entries,
        shards: &[Ok(shard), Err(Silent(1))],
        door: &door,
        vitals: &vitals,
        tenant_limit: 2,
    });
}

#[test]
fn the_promised_names_have_their_labels_and_types() {
    scene(1, |scene| {
        let text = render(scene);
        let both = "{tenant=\"t0\",db_type=\"postgres\"}";
        for line in [
            format!("dbbouncer_connections_active{both} 1"),
            format!("dbbouncer_connections_idle{both} 2"),
            format!("dbbouncer_connections_total{both} 4"),
            format!("dbbouncer_connections_waiting{both} 5"),
            format!("dbbouncer_query_duration_seconds_count{both} 1"),
            "dbbouncer_tenant_health{tenant=\"t0\"} 1".to_owned(),
            "dbbouncer_pool_exhausted_total{tenant=\"t0\"} 0".to_owned(),
            "# TYPE dbbouncer_connections_total gauge".to_owned(),
            "# TYPE dbbouncer_query_duration_seconds histogram".to_owned(),
            "# TYPE dbbouncer_pool_exhausted_total counter".to_owned(),
            "# TYPE dbbouncer_tenant_health gauge".to_owned(),
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    });
}

#[test]
fn a_histogram_says_how_many_took_at_most_so_long() {
    scene(1, |scene| {
        let text = render(scene);
        let bucket = |le: &str| {
            format!(
                "dbbouncer_query_duration_seconds_bucket{{tenant=\"t0\",db_type=\"postgres\",le=\"{le}\"}} "
            )
        };
        for (le, count) in [("0.001", 0), ("0.0025", 1), ("3600", 1), ("+Inf", 1)] {
            let line = format!("{}{count}", bucket(le));
            assert!(text.contains(&line), "{line} is not in\n{text}");
        }
    });
}

#[test]
fn tenants_beyond_the_limit_share_a_label_and_lose_nothing() {
    scene(6, |scene| {
        let text = render(scene);
        for line in [
            "dbbouncer_queries_total{tenant=\"t0\"} 1",
            "dbbouncer_queries_total{tenant=\"_other\"} 2",
            "dbbouncer_connections_waiting{tenant=\"_other\",db_type=\"mysql\"} 10",
            "dbbouncer_tenant_health{tenant=\"t1\"} 0",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("t2"), "{text}");
    });
}

#[test]
fn clients_without_a_tenant_are_counted_apart_and_a_silent_shard_is_down() {
    scene(1, |scene| {
        let text = render(scene);
        for line in [
            "dbbouncer_login_failures_total{tenant=\"_unknown\",reason=\"no_tenant\"} 4",
            "dbbouncer_sessions_ended_total{tenant=\"_unknown\",reason=\"too_many_clients\"} 6",
            "dbbouncer_sessions_ended_total{tenant=\"t0\",reason=\"client_left\"} 3",
            "dbbouncer_query_errors_total{tenant=\"t0\",class=\"23\"} 2",
            "dbbouncer_query_errors_total{tenant=\"t0\",class=\"other\"} 1",
            "dbbouncer_shard_up{shard=\"0\"} 1",
            "dbbouncer_shard_up{shard=\"1\"} 0",
            "dbbouncer_shard_busy_seconds_total{shard=\"0\"} 1.5",
            "process_open_fds ",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(
            !text.contains("dbbouncer_shard_clients{shard=\"1\"}"),
            "{text}"
        );
    });
}

#[test]
fn metrics_and_the_log_call_the_end_of_a_session_the_same() {
    for kind in EndKind::ALL {
        assert_eq!(end(kind), kind.word());
    }
}

#[test]
fn the_reference_in_docs_is_this_one() {
    let mut page = String::from(INTRODUCTION);
    let text = everything();
    for help in text.lines().filter_map(|line| line.strip_prefix("# HELP ")) {
        let (name, help) = help.split_once(' ').unwrap();
        let kind = text
            .lines()
            .find_map(|line| line.strip_prefix(&format!("# TYPE {name} ")));
        let (labels, reasons) = labels(&text, name);
        let reasons = match reasons.is_empty() {
            true => String::new(),
            false => format!(". Reasons: {}", reasons.join(", ")),
        };
        let kind = kind.unwrap();
        page += &format!(
            "| `{name}` | {kind} | {} | {help}{reasons} |\n",
            labels.join(", ")
        );
    }
    crate::docs::compare("docs/metrics.md", &page);
}

/// The labels of a metric's samples, and the values of the one that is called `reason`.
fn labels<'a>(text: &'a str, name: &str) -> (Vec<&'a str>, Vec<String>) {
    let (mut labels, mut reasons) = (Vec::new(), Vec::new());
    let samples = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let rest = rest.strip_prefix("_bucket").unwrap_or(rest);
        rest.strip_prefix('{')?.split_once('}')
    });
    for (label, value) in samples.flat_map(|(inside, _)| {
        inside
            .split("\",")
            .map(|pair| pair.split_once("=\"").unwrap())
    }) {
        if !labels.contains(&label) && label != "le" {
            labels.push(label);
        }
        let reason = format!("`{}`", value.trim_end_matches('"'));
        if label == "reason" && !reasons.contains(&reason) {
            reasons.push(reason);
        }
    }
    (labels, reasons)
}

/// The metrics where everything has happened once.
fn everything() -> String {
    let mut text = String::new();
    scene(1, |scene| {
        let mut shards = scene.shards.to_vec();
        for shard in shards.iter_mut().flatten() {
            for counts in shard.tenants.iter_mut().map(|tenant| &mut tenant.counts) {
                counts.ended.fill(1);
                counts.login_failures.fill(1);
                counts.dial_failures.fill(1);
                counts.closed.fill(1);
                counts.pins.fill(1);
            }
        }
        scene.vitals.answered(crate::vitals::Asked {
            route: "/tenants",
            method: "GET",
            code: 200,
        });
        text = render(&Scene {
            shards: &shards,
            ..*scene
        });
    });
    text
}

const INTRODUCTION: &str = "# Metrics

<!-- Made by a test from the metrics themselves: UPDATE=1 cargo test --lib docs -->

`GET /metrics` in Prometheus' text format. The first `metrics_tenant_limit` tenants, by name, have a label of their own; the
others are added up as `_other`, and clients that named no tenant as `_unknown`. A reason that has not come up has no sample
yet, nor has a class. A class is the first two characters of a SQLSTATE that PostgreSQL or MySQL documents (`23`: a constraint,
`42`: syntax or rights, `40`: a deadlock, `53`: the database lacks resources, `HY`: whatever MySQL has no class for), and `other`
is any else. Histograms have the bounds of `/tenants/{id}/stats`. Alerts and a Grafana dashboard are in `configs/monitoring`.

| metric | type | labels | what it is |
|---|---|---|---|
";

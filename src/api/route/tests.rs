//! The router with an operator of a few lines behind it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fake;

use std::sync::atomic::Ordering;

use self::fake::{Fake, fake};
use super::*;
use crate::config;

fn router(silent: bool) -> Router {
    router_to(fake(silent))
}

fn router_to(operator: Arc<Fake>) -> Router {
    Router {
        operator,
        vitals: Arc::new(Vitals::new(1)),
        scope: Scope::Everything,
        access: Access::default(),
        settings: InForce::new(config::Api {
            address: None,
            metrics_address: None,
            key: None,
            metrics_auth: false,
            metrics_tenant_limit: 10,
            state_file: None,
        }),
        etags: ETags::new(1),
    }
}

fn ask(router: &Router, method: &str, path: &str, body: &str) -> (u16, Value) {
    let headers = vec![(
        "content-type".to_owned(),
        "application/json; charset=utf-8".to_owned(),
    )];
    let request = Request {
        method: method.into(),
        path: path.into(),
        headers,
        body: body.into(),
        ..Request::default()
    };
    let response = router.answer(&request);
    (
        response.status,
        serde_json::from_slice(&response.body).unwrap_or(Value::Null),
    )
}

const ACME: &str =
    r#"{"id": "acme", "db_type": "mysql", "host": "h", "dbname": "d", "username": "u"}"#;

#[test]
fn stats_are_those_of_the_tenants_shard() {
    let router = router(false);
    assert_eq!(ask(&router, "POST", "/tenants", ACME).0, 201);
    let (status, stats) = ask(&router, "GET", "/tenants/acme/stats", "");
    let named =
        ["clients", "active", "idle", "waiting", "total"].map(|key| stats[key].as_u64().unwrap());
    assert_eq!((status, named), (200, [3, 2, 1, 4, 3]));
    let metrics = router.answer(&Request {
        method: "GET".into(),
        path: "/metrics".into(),
        ..Request::default()
    });
    let metrics = String::from_utf8(metrics.body).unwrap();
    assert!(
        metrics.contains("dbbouncer_connections_waiting{tenant=\"acme\",db_type=\"mysql\"} 4\n"),
        "{metrics}"
    );
}

#[test]
fn for_one_tenant_one_shard_is_asked_after_it_alone() {
    let operator = fake(false);
    let router = router_to(Arc::clone(&operator));
    assert_eq!(ask(&router, "POST", "/tenants", ACME).0, 201);
    for (method, path) in [
        ("GET", "/tenants/acme"),
        ("GET", "/tenants/acme/stats"),
        ("GET", "/tenants/acme/sessions"),
        ("POST", "/tenants/acme/pause"),
    ] {
        let (status, shown) = ask(&router, method, path, "");
        assert!(status < 300, "{method} {path}: {shown}");
        assert_eq!(operator.asked_all.load(Ordering::Relaxed), 0, "{path}");
    }
}

#[test]
fn sessions_are_listed_by_number_and_ended_one_by_one() {
    let router = router(false);
    assert_eq!(ask(&router, "GET", "/tenants/acme/sessions", "").0, 404);
    assert_eq!(ask(&router, "POST", "/tenants", ACME).0, 201);
    let (status, sessions) = ask(&router, "GET", "/tenants/acme/sessions", "");
    assert_eq!((status, &sessions[1]["id"]), (200, &json!("7")));
    assert_eq!(
        sessions[0],
        json!({"id": "3", "user": "alice", "application": "psql", "client": "10.0.0.3:5123", "connected_seconds": 9.0,
               "state": "idle_in_transaction", "state_seconds": 2.0, "transaction_seconds": 3.0, "backend": 4711})
    );
    for (path, status) in [
        ("/tenants/acme/sessions/3", 204),
        ("/tenants/acme/sessions/4", 404),
        ("/tenants/acme/sessions/-1", 404),
        ("/tenants/acme/sessions/", 404),
        ("/tenants/other/sessions/3", 404),
    ] {
        assert_eq!(ask(&router, "DELETE", path, "").0, status, "{path}");
    }
}

#[test]
fn who_is_removed_meanwhile_is_gone_and_no_shard_is_blamed() {
    let operator = fake(false);
    let router = router_to(Arc::clone(&operator));
    for (method, path) in [
        ("GET", "/tenants/acme/stats"),
        ("POST", "/tenants/acme/pause"),
        ("GET", "/tenants/acme"),
    ] {
        operator.vanish.store(false, Ordering::Relaxed);
        assert_eq!(ask(&router, "POST", "/tenants", ACME).0, 201);
        operator.vanish.store(true, Ordering::Relaxed);
        assert_eq!(ask(&router, method, path, "").0, 404, "{method} {path}");
    }
}

#[test]
fn a_silent_shard_is_reported_and_not_guessed() {
    let router = router(true);
    assert_eq!(ask(&router, "POST", "/tenants", ACME).0, 201);
    assert_eq!(
        ask(&router, "GET", "/tenants/acme", "").1["state"],
        json!("unknown")
    );
    assert_eq!(ask(&router, "GET", "/tenants/acme/stats", "").0, 503);
    assert_eq!(
        ask(&router, "GET", "/shards", "").1,
        json!([{"shard": 0, "answers": false}])
    );
}

#[test]
fn the_port_of_probes_and_metrics_has_nothing_else() {
    let router = Router {
        scope: Scope::ProbesAndMetrics,
        ..router(false)
    };
    router.vitals.start();
    for path in ["/health", "/ready"] {
        assert_eq!(ask(&router, "GET", path, "").0, 200, "{path}");
    }
    let metrics = Resource::of("/metrics").unwrap();
    assert!(router.scope.has(metrics));
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/tenants"),
        ("POST", "/tenants"),
        ("GET", "/config"),
        ("POST", "/reload"),
        ("POST", "/tenants/acme/drain"),
        ("GET", "/openapi.json"),
    ] {
        assert_eq!(ask(&router, method, path, ACME).0, 404, "{method} {path}");
    }
}

#[test]
fn probes_tell_stopping_from_living() {
    let router = router(true);
    assert_eq!(ask(&router, "GET", "/ready", "").1["status"], "starting");
    router.vitals.start();
    assert_eq!(
        (
            ask(&router, "GET", "/health", "").0,
            ask(&router, "GET", "/ready", "").0
        ),
        (200, 200)
    );
    router.vitals.stop();
    assert_eq!(
        (
            ask(&router, "GET", "/health", "").0,
            ask(&router, "GET", "/ready", "").0
        ),
        (200, 503)
    );
}

/// Every path and method of the description is routed, and the router allows no other.
#[test]
fn the_description_and_the_router_agree() {
    let document: Value = serde_json::from_str(OPENAPI).expect("JSON");
    for (path, item) in document["paths"].as_object().unwrap() {
        let (described_as, path) = (path, path.replace("{id}", "acme").replace("{session}", "3"));
        let resource =
            Resource::of(&path).unwrap_or_else(|| panic!("{path} is described and not routed"));
        assert_eq!(resource.pattern(), described_as);
        let mut described: Vec<_> = item
            .as_object()
            .unwrap()
            .keys()
            .filter(|key| *key != "parameters")
            .map(|key| key.to_uppercase())
            .collect();
        if described.contains(&"GET".to_owned()) {
            described.push("HEAD".into());
        }
        let mut allowed = resource.methods().to_vec();
        described.sort_unstable();
        allowed.sort_unstable();
        assert_eq!(described, allowed, "{path}");
    }
    let count = document["paths"].as_object().unwrap().len();
    assert_eq!(
        count, PATHS,
        "a path is routed and not described, or this number is old"
    );
}

/// The page for people has a line for each.
#[test]
fn the_docs_name_every_route() {
    let page = include_str!("../../../docs/api.md");
    let document: Value = serde_json::from_str(OPENAPI).expect("JSON");
    for (path, item) in document["paths"].as_object().unwrap() {
        let methods = item.as_object().unwrap().keys();
        for method in methods.filter(|key| *key != "parameters") {
            let line = format!("| `{} {path}` |", method.to_uppercase());
            assert!(page.contains(&line), "{line} is not in docs/api.md");
        }
    }
}

/// How many kinds of path [`Resource::of`] knows.
const PATHS: usize = 17;

#[test]
fn what_cannot_be_done_is_refused_with_what_can() {
    let router = router(false);
    for (method, path, allow) in [
        ("PATCH", "/tenants", "GET, HEAD, POST"),
        ("GET", "/reload", "POST"),
        ("TRACE", "/health", "GET, HEAD"),
    ] {
        let request = Request {
            method: method.into(),
            path: path.into(),
            ..Request::default()
        };
        let response = router.answer(&request);
        assert!(
            response.status == 405 && response.headers.contains(&("Allow", allow.into())),
            "{response:?}"
        );
    }
    for path in [
        "",
        "/tenants/",
        "/tenants/a/b/c",
        "//health",
        "/health/",
        "/Tenants",
    ] {
        assert_eq!(ask(&router, "GET", path, "").0, 404, "{path}");
    }
}

#[test]
fn browsers_get_a_page_and_programs_a_document() {
    let router = router(false);
    let front = |accept: &str| {
        router.answer(&Request {
            method: "GET".into(),
            path: "/".into(),
            headers: vec![("accept".into(), accept.into())],
            ..Request::default()
        })
    };
    let kind = |response: &Response| response.headers[0].1.clone();
    let page = front("text/html,application/xhtml+xml;q=0.9,*/*;q=0.8");
    assert_eq!(kind(&page), "text/html; charset=utf-8");
    assert!(
        page.headers
            .iter()
            .any(|(name, _)| *name == "Content-Security-Policy")
    );
    assert_eq!(kind(&front("*/*")), "application/json");
}

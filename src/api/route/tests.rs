//! The router with an operator of a few lines behind it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Mutex;
use std::time::Duration;

use shards::Silent;
use shards::contract::{Counts, Door, Gauges, Health, Standing, TenantSpec};

use super::super::operator::Reloaded;
use super::*;
use crate::config::{self, Habits, Node, Settings, settle_tenant};
use crate::roster::{Entry, Roster};

/// One shard, which has every tenant that is wanted, or is silent.
struct Fake {
    roster: Mutex<Roster>,
    silent: bool,
    steered: Mutex<Vec<(String, Steering)>>,
}

impl Operator for Fake {
    fn tenants(&self) -> Result<Vec<Entry>, Refused> {
        Ok(self.roster.lock().unwrap().iter().cloned().collect())
    }

    fn tenant(&self, id: &TenantId) -> Result<Entry, Refused> {
        self.roster
            .lock()
            .unwrap()
            .get(id)
            .cloned()
            .ok_or(Refused::NoTenant)
    }

    fn put(&self, id: &TenantId, written: Node, when: When) -> Result<Put, Refused> {
        let mut roster = self.roster.lock().unwrap();
        let before = roster.get(id).map(|entry| entry.revision);
        if !when.holds(before) {
            return Err(Refused::NotWhen);
        }
        let (spec, _): (TenantSpec, _) =
            settle_tenant(id, &written, &Habits::BUILT_IN).map_err(Refused::Senseless)?;
        Ok(Put {
            entry: roster.put(spec, written),
            created: before.is_none(),
        })
    }

    fn remove(&self, id: &TenantId, _: When) -> Result<(), Refused> {
        self.roster
            .lock()
            .unwrap()
            .remove(id)
            .map(drop)
            .ok_or(Refused::NoTenant)
    }

    fn steer(&self, id: &TenantId, steering: Steering) -> Result<(), Refused> {
        self.tenant(id)?;
        self.steered
            .lock()
            .unwrap()
            .push((id.to_string(), steering));
        Ok(())
    }

    fn reload(&self) -> Result<Reloaded, Refused> {
        Ok(Reloaded::default())
    }

    fn snapshots(&self) -> Result<Vec<Result<ShardSnapshot, Silent>>, Refused> {
        if self.silent {
            return Ok(vec![Err(Silent(0))]);
        }
        let tenants = self.tenants()?.into_iter().map(|entry| TenantSnapshot {
            id: entry.spec.id.clone(),
            standing: Standing::Active,
            clients: 3,
            pinned: 0,
            backends: Gauges {
                idle: 1,
                leased: 2,
                opening: 0,
                waiting: 4,
            },
            health: Health::Well,
            counts: Counts::default(),
        });
        Ok(vec![Ok(ShardSnapshot {
            clients: 3,
            busy: Duration::ZERO,
            strangers: Counts::default(),
            tenants: tenants.collect(),
        })])
    }

    fn door(&self) -> Result<Door, Refused> {
        Ok(Door {
            clients: 3,
            limit: 10,
            ..Door::default()
        })
    }

    fn settings(&self) -> Result<Arc<Settings>, Refused> {
        Err(Refused::Busy)
    }
}

fn router(silent: bool) -> Router {
    let roster = Mutex::new(Roster::of_file(Vec::new()));
    Router {
        operator: Arc::new(Fake {
            roster,
            silent,
            steered: Mutex::default(),
        }),
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
        let (described_as, path) = (path, path.replace("{id}", "acme"));
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
const PATHS: usize = 15;

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

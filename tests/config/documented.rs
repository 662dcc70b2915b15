//! The documented config, and one that says nothing.

use crate::{complaints, meant, tenant};

#[test]
fn an_empty_config_serves_no_tenants() {
    for empty in ["", "# nothing\n", "tenants:\n", "{listen: {}, tenants: {}}"] {
        assert!(meant(empty).tenants.is_empty(), "{empty}");
    }
}

#[test]
fn the_documented_defaults_are_the_defaults() {
    let (documented, none) = (meant(DOCUMENTED), meant(""));
    assert_eq!(
        format!("{:?}", documented.plane),
        format!("{:?}", none.plane)
    );
    assert_eq!(documented.api, none.api);
    assert_eq!(documented.shutdown_grace, none.shutdown_grace);
    let bare = meant(&tenant("password: p"));
    let (tenant, bare) = (&documented.tenants[0], &bare.tenants[0]);
    assert_eq!(
        (tenant.limits, tenant.access.method),
        (bare.limits, bare.access.method)
    );
    assert_eq!(
        (tenant.acquire_timeout, tenant.connect_timeout),
        (bare.acquire_timeout, bare.connect_timeout)
    );
    assert!(documented.warnings.is_empty());
    meant(include_str!("../../configs/minimal.yaml"));
}

#[test]
fn the_documented_config_is_complete() {
    let text = "{x: 1, listen: {x: 1}, runtime: {x: 1}, limits: {x: 1}, proxy_protocol: {x: 1}, defaults: {x: 1}, \
                 tenants: {t: {x: 1, db_type: mysql, users: {u: {x: 1}}}}}";
    let said = complaints(text);
    let lists = said
        .lines()
        .filter_map(|line| line.split_once("known here: "));
    let (mut sections, mut keys) = (0, Vec::new());
    for (_, list) in lists {
        sections += 1;
        keys.extend(list.split(", "));
    }
    assert_eq!(sections, 8, "{said}");
    for key in keys {
        let is_key = |line: &str| {
            line.trim_start_matches([' ', '#'])
                .starts_with(&format!("{key}:"))
        };
        assert!(DOCUMENTED.lines().any(is_key), "{key}");
    }
}

const DOCUMENTED: &str = include_str!("../../configs/dbbouncer.yaml");

//! What the process listens on, and which processors it uses.

use std::path::Path;

use dbbouncer::config::Cpus;
use shards::contract::Secret;

use crate::{complaints, meant, read_on};

#[test]
fn the_api_is_open_to_the_world_only_with_a_key() {
    let api = meant(
        "{listen: {host: '::', api_port: 9}, api_key: k, metrics_auth: true, state_file: /s}",
    )
    .api;
    assert_eq!(api.address, Some("[::]:9".parse().unwrap()));
    assert_eq!((api.key, api.metrics_auth), (Some(Secret::new("k")), true));
    assert_eq!(api.state_file.as_deref(), Some(Path::new("/s")));
    assert_eq!(
        meant("listen: {host: '::'}").api.address,
        Some("127.0.0.1:8080".parse().unwrap())
    );
    assert_eq!(meant("listen: {api_port: 0}").api.address, None);
}

#[test]
fn probes_and_metrics_may_have_a_port_without_a_key() {
    let api = meant("listen: {host: '::', metrics_port: 9090}").api;
    assert_eq!(api.metrics_address, Some("[::]:9090".parse().unwrap()));
    assert_eq!(api.address, Some("127.0.0.1:8080".parse().unwrap()));
    assert_eq!(meant("").api.metrics_address, None);
    let said = complaints("listen: {metrics_port: 6432}");
    assert_eq!(
        said,
        "listen.metrics_port: 6432 is taken by postgres_port already\n"
    );
}

#[test]
fn listeners_do_not_share_a_port() {
    let said = complaints("listen: {postgres_port: 5000, mysql_port: 5000, api_port: 5000}");
    let expected = "\
listen.mysql_port: 5000 is taken by postgres_port already
listen.api_port: 5000 is taken by postgres_port already
listen.api_port: 5000 is taken by mysql_port already
";
    assert_eq!(said, expected);
    meant("listen: {host: 127.0.0.1, postgres_port: 5000, api_host: 127.0.0.2, api_port: 5000}");
    let said = complaints("listen: {postgres_port: 0, mysql_port: 0}");
    assert_eq!(
        said,
        "listen: postgres_port and mysql_port are both 0: there is nothing to do\n"
    );
}

#[test]
fn shards_follow_the_processors_and_stay_on_those_set_aside() {
    let on = |text, ours: &[usize], online, parallelism| {
        let cpus = Cpus {
            ours: ours.to_vec(),
            online,
            parallelism,
        };
        let plane = read_on(text, cpus).unwrap().plane;
        (plane.shards, plane.cpus)
    };
    assert_eq!(on("", &[0, 1, 2, 3], 4, 4), (4, vec![]));
    assert_eq!(on("", &[0, 1, 2, 3], 4, 2), (2, vec![]), "a quota");
    assert_eq!(on("", &[6, 7], 64, 2), (2, vec![6, 7]));
    assert_eq!(
        on("runtime: {pin_cores: false}", &[6, 7], 64, 2),
        (2, vec![])
    );
    assert_eq!(
        on("runtime: {pin_cores: true, shards: 1}", &[0, 1], 2, 2),
        (1, vec![0, 1])
    );
    assert_eq!(
        on("runtime: {shards: 3}", &[6, 7], 64, 2),
        (3, vec![]),
        "not one for each"
    );
    let said = complaints("runtime: {pin_cores: true, shards: 5}");
    assert_eq!(
        said,
        "runtime.pin_cores: 5 shards need as many processors, and there are 4\n"
    );
    let said = complaints("runtime: {shards: 0}");
    assert_eq!(
        said,
        "runtime.shards: must be a whole number from 1 to 256, or auto\n"
    );
}

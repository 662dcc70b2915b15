//! The control plane: the config file, a tenant sent to the API, and the head of an HTTP request.

use std::io;

use dbbouncer::config::{Cpus, Habits, Node, Surroundings, settle, settle_tenant};
use shards::contract::TenantId;

use crate::Target;

/// A config file. `text`
pub const CONFIG: Target = Target {
    name: "config",
    samples: || {
        vec![
            DOCUMENTED.as_bytes().to_vec(),
            CONFIG_SAMPLE.as_bytes().to_vec(),
        ]
    },
    run: |input| {
        let text = String::from_utf8_lossy(input);
        let Ok(node) = Node::from_yaml(&text) else {
            return;
        };
        let settled = settle(
            &node,
            &Surroundings {
                env: &|name| (name == "SECRET").then(|| CANARY.to_owned()),
                read: &|path| match path.to_str() {
                    Some("secret") => Ok(CANARY.to_owned()),
                    _ => Err(io::ErrorKind::NotFound.into()),
                },
                cpus: Cpus {
                    ours: vec![0, 1],
                    online: 2,
                    parallelism: 2,
                },
            },
        );
        let shown = match settled {
            Ok(settings) => format!("{settings:?}"),
            Err(complaints) => {
                assert!(!complaints.is_empty());
                complaints.iter().map(ToString::to_string).collect()
            }
        };
        let wanders = ["host", "dbname", "username"]
            .iter()
            .any(|key| shown.contains(key));
        assert!(wanders || !shown.contains(CANARY), "{shown}");
    },
    rounds: 12_000,
};

/// The body of a request that makes a tenant. `text`
pub const TENANT: Target = Target {
    name: "tenant",
    samples: || vec![TENANT_SAMPLE.as_bytes().to_vec()],
    run: |input| {
        let Ok(node) = Node::from_yaml(&String::from_utf8_lossy(input)) else {
            return;
        };
        let id = TenantId::parse("acme").expect("a name");
        match settle_tenant(&id, &node, &Habits::BUILT_IN) {
            Ok((spec, _)) => assert_eq!(spec.id, id),
            Err(complaints) => assert!(!complaints.is_empty()),
        }
    },
    rounds: 12_000,
};

/// What the API's door makes of a request. `bytes`
pub const HTTP: Target = Target {
    name: "http",
    samples: || {
        [
            &b"GET /tenants?x=1 HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer k\r\n\r\n"[..],
            b"POST /tenants HTTP/1.1\r\nContent-Length: 2\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n\r\n{}",
            b"PUT /tenants/a HTTP/1.0\r\nIf-Match: \"x\"\r\nconnection: keep-alive\r\ncontent-length:2\r\ncontent-length: 2\r\n\r\n{}",
            b"HEAD / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nDbbouncer-Peer: 127.0.0.1:1\r\n\r\n",
        ]
        .map(<[u8]>::to_vec)
        .to_vec()
    },
    run: |input| {
        let Some(passed) = dbbouncer::passed_on(input) else {
            return;
        };
        let end = passed
            .windows(4)
            .position(|it| it == b"\r\n\r\n")
            .expect("the end of the head")
            + 4;
        let head = String::from_utf8(passed[..end].to_vec())
            .expect("a head of text")
            .to_ascii_lowercase();
        // What is passed on is one request, whoever reads it: read again it is the same, and nothing that stands behind
        // it can become part of it. With what the door adds it may have more headers than the door itself lets in.
        if head.lines().count() <= DOORS_HEADERS {
            assert_eq!(dbbouncer::passed_on(&passed).as_ref(), Some(&passed));
            let more = [&passed[..], b"GET /smuggled HTTP/1.1\r\n\r\n"].concat();
            assert_eq!(dbbouncer::passed_on(&more).as_ref(), Some(&passed));
        }
        let lengths: Vec<_> = head
            .lines()
            .filter_map(|line| line.strip_prefix("content-length:"))
            .collect();
        assert_eq!(lengths, [format!(" {}", passed.len() - end)]);
        for ours in ["transfer-encoding:", "dbbouncer-peer:"] {
            assert!(!head.lines().any(|line| line.starts_with(ours)), "{head}");
        }
    },
    rounds: 80_000,
};

/// As many lines as a head may have at the door, the first one aside.
const DOORS_HEADERS: usize = 64;

const CANARY: &str = "canary-in-a-cage";

const DOCUMENTED: &str = include_str!("../../../configs/dbbouncer.yaml");

const CONFIG_SAMPLE: &str = "\
listen: {host: 127.0.0.1, postgres_port: 6432, mysql_port: 0}
api_key: ${SECRET}
limits: {client_connections: 10, login_timeout: 1500ms}
defaults: {pool_mode: transaction, reset: always, idle_timeout: 1h, health_check: {interval: 0}}
tenants:
  a: {db_type: postgres, host: h, dbname: d, username: u, password: '${SECRET}'}
  b: {db_type: mysql, host: '::1', port: 1, dbname: d, username: u, password: {file: secret}, client_auth: trust}
  7: {db_type: postgres, host: h, dbname: d, username: u, users: {x: {password: y}, z: {verifier: \"md5${NO:-0}\"}}}
";

const TENANT_SAMPLE: &str = r#"{"db_type": "postgres", "host": "127.0.0.1", "port": 5432, "dbname": "d", "username": "u",
"password": "p", "max_connections": 3, "acquire_timeout": "5s", "users": {"a": {"password": "b"}, "c": {"verifier": "x"}},
"pool_mode": "transaction", "prepared_statements": "pin", "health_check": {"interval": "10s"}, "on_unhealthy": "queue"}"#;

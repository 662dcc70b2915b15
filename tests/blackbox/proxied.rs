//! A proxy in front: HAProxy itself, and headers of our own making. Logs, limits and rules see the client's address.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};

use testbed::{Bouncer, Config, Door, Kind, Plan, Server, Tenant, World, eventually, free_port};

use crate::drivers::whoami;
use crate::limits::{is_too_many, local, refusal};
use crate::raw::{Complaint, Raw, handshake_response, startup};

pub fn plan(plan: &mut Plan) {
    let each = [Kind::Postgres, Kind::MariaDb];
    plan.add(
        World::HaProxy,
        &each,
        "haproxy_says_where_clients_come_from",
        haproxy_says_where_clients_come_from,
    );
    plan.add(
        World::Bouncer,
        &each,
        "rules_see_the_address_behind_a_proxy",
        rules_see_the_address_behind_a_proxy,
    );
    plan.add(
        World::Bouncer,
        &each,
        "a_proxy_must_say_it_and_others_must_not",
        a_proxy_must_say_it_and_others_must_not,
    );
}

/// HAProxy with a port for each version of the header; it checks the bouncer's health ten times a second.
struct HaProxy {
    child: Child,
    ports: [u16; 2],
}

impl HaProxy {
    fn before(address: SocketAddr) -> HaProxy {
        let ports = [free_port(), free_port()];
        let mut config =
            "defaults\n mode tcp\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n timeout check 30s\n"
                .to_owned();
        for (port, send) in ports.iter().zip(["send-proxy", "send-proxy-v2"]) {
            config += &format!(
                "listen from{port}\n bind 127.0.0.1:{port}\n server bouncer {address} {send} check check-send-proxy inter 100ms\n"
            );
        }
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "haproxy", "-db", "-f", "/dev/stdin"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("haproxy is installed");
        let mut stdin = child.stdin.take().expect("a pipe");
        stdin.write_all(config.as_bytes()).expect("it reads");
        drop(stdin);
        let proxy = HaProxy { child, ports };
        for port in ports {
            eventually("haproxy listens", || {
                std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()
            });
        }
        proxy
    }
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const TRUSTED: &str = "proxy_protocol: {trusted: [127.0.0.1]}";

async fn haproxy_says_where_clients_come_from(server: &'static Server) {
    let tenant = Tenant::on(server, "haproxy");
    let config = Config::for_tenants(std::slice::from_ref(&tenant)).with(TRUSTED);
    let bouncer = Bouncer::start(&config);
    let straight = bouncer.door(&tenant);
    let proxy = HaProxy::before(straight.address);
    for port in proxy.ports {
        let door = Door {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            ..straight.clone()
        };
        assert_eq!(whoami(&door).await, tenant.id);
        // From another address than the proxy's own, which nobody else uses.
        let mut raw = Raw::from([127, 0, 0, 77], door.address).await;
        let client = local(&raw).to_string();
        spoil(&mut raw, door.kind);
        bouncer.log_line(&[&client, "violation"]);
    }
    // Health checks are no clients, and no trouble.
    let log = bouncer.log();
    assert!(!log.contains("client 127.0.0.1:"), "{log}");
    drop(proxy);
    bouncer.stop();
}

/// Says what breaks the protocol.
fn spoil(raw: &mut Raw, kind: Kind) {
    if !kind.is_postgres() {
        raw.packet();
    }
    raw.say(&[0xff; 64]).rest();
}

/// A header of version 1.
fn header(source: &str) -> Vec<u8> {
    format!("PROXY TCP4 {source} 127.0.0.1 4711 5432\r\n").into_bytes()
}

async fn rules_see_the_address_behind_a_proxy(server: &'static Server) {
    let tenant = Tenant::on(server, "behind")
        .with("trust_addresses: 192.0.2.0/24")
        .with("allowed_addresses: [192.0.2.0/24, 198.51.100.0/24]");
    let config = Config::for_tenants(std::slice::from_ref(&tenant))
        .with(TRUSTED)
        .with("limits: {client_connections_per_address: 1}");
    let bouncer = Bouncer::start(&config);
    let door = bouncer.door(&tenant);
    let log_in = |source: &str| {
        let mut raw = Raw::to(door.address);
        raw.say(&header(source));
        let answer = log_in(&mut raw, &door);
        (raw, answer)
    };
    let (served, welcome) = if door.kind.is_postgres() {
        (b'R', vec![0; 4])
    } else {
        (0, vec![])
    };
    let (first, answer) = log_in("192.0.2.1");
    assert_eq!(answer.0, served, "{answer:?}");
    assert!(answer.1.starts_with(&welcome), "trusted: {answer:?}");
    // One place for each address, the client's and not the proxy's.
    let mut second = Raw::to(door.address);
    second.say(&header("192.0.2.1"));
    let complaint = if door.kind.is_postgres() {
        second.last_words()
    } else {
        Complaint::of_mysql(&second.packet().1)
    };
    is_too_many(&complaint, "one address");
    let (third, answer) = log_in("192.0.2.2");
    assert_eq!(answer.0, served, "{answer:?}");
    // Allowed and not trusted, and neither.
    let (_, answer) = log_in("198.51.100.1");
    assert_ne!((answer.0, &answer.1), (served, &welcome), "{answer:?}");
    bouncer.log_line(&["198.51.100.1:4711"]);
    let (_, _answer) = log_in("203.0.113.1");
    bouncer.log_line(&["203.0.113.1:4711", "allowed_addresses"]);
    drop((first, third));
    bouncer.stop();
}

/// Logs in without a password: the first answer. Where a password is asked for, there is a wrong one.
fn log_in(raw: &mut Raw, door: &Door) -> (u8, Vec<u8>) {
    if door.kind.is_postgres() {
        let answer = raw.say(&startup(&[("user", &door.user)])).message();
        if answer.1 != [0; 4] {
            // SCRAM by somebody who does not know the password.
            let first = b"n,,n=,r=abcdefghijklmnop";
            let body = [
                b"SCRAM-SHA-256\0",
                &(first.len() as u32).to_be_bytes()[..],
                first,
            ]
            .concat();
            raw.say(&crate::raw::message(b'p', &body));
            let (_, challenge) = raw.message();
            let challenge = String::from_utf8_lossy(&challenge[4..]).into_owned();
            let nonce = challenge.split(',').next().unwrap().to_owned();
            let proof = format!("c=biws,{nonce},p={}", "A".repeat(43) + "=");
            raw.say(&crate::raw::message(b'p', proof.as_bytes()));
            return raw.message();
        }
        answer
    } else {
        raw.packet();
        let answer = raw.say(&handshake_response(&door.user, None)).packet().1;
        (answer[0], answer)
    }
}

async fn a_proxy_must_say_it_and_others_must_not(server: &'static Server) {
    let tenant = Tenant::on(server, "must");
    let config = Config::for_tenants(std::slice::from_ref(&tenant));
    let bouncer = Bouncer::start(&config.clone().with(TRUSTED));
    let door = bouncer.door(&tenant);
    // The proxy's own address without a header.
    let mut raw = Raw::to(door.address);
    raw.say(&startup(&[("user", &door.user)]));
    let complaint = if door.kind.is_postgres() {
        raw.last_words()
    } else {
        Complaint::of_mysql(&raw.packet().1)
    };
    let code = (complaint.state.as_str(), complaint.number);
    assert!([("08P01", 0), ("", 1043)].contains(&code), "{complaint:?}");
    bouncer.log_line(&["expected a PROXY protocol header"]);
    // Somebody else with one.
    let mut raw = Raw::from([127, 0, 0, 2], door.address).await;
    if !door.kind.is_postgres() {
        raw.packet();
    }
    raw.say(&header("192.0.2.1")).rest();
    bouncer.log_line(&["127.0.0.2", "not in proxy_protocol.trusted"]);
    // LOCAL: the proxy speaks for itself.
    let mut raw = Raw::to(door.address);
    let client = local(&raw).to_string();
    raw.say(b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0");
    spoil(&mut raw, door.kind);
    bouncer.log_line(&[&client, "violation"]);
    bouncer.stop();
    // Where no proxy is trusted, nobody says it.
    let bouncer = Bouncer::start(&config);
    assert_eq!(whoami(&bouncer.door(&tenant)).await, tenant.id);
    let wrong = Door {
        password: "wrong".to_owned(),
        ..bouncer.door(&tenant)
    };
    refusal(&wrong).await;
    bouncer.stop();
}

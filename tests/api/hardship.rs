//! The API when clients are slow, many or hostile, and when the process has run out of descriptors.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};

use crate::plan::tests;
use crate::program::{Answer, ONE_TENANT, Program, tenant};

tests! {
    three_hundred_half_open_requests_keep_nobody_out,
    probes_and_api_survive_when_descriptors_run_out,
    a_slow_request_is_told_so_and_ends,
    what_is_too_large_is_refused_with_the_reason,
    one_connection_serves_many_requests,
    who_waits_while_the_process_is_stopped_is_served_when_it_goes_on,
}

fn three_hundred_half_open_requests_keep_nobody_out() {
    let program = Program::start(ONE_TENANT);
    let half_open: Vec<_> = (0..300)
        .map(|number| {
            let mut stream = program.connect();
            // Some say nothing at all, some half a head, some half a body.
            let said: &[u8] = [
                &b""[..],
                b"GET /hea",
                b"POST /tenants HTTP/1.1\r\nContent-Length: 99\r\n\r\n{",
            ][number % 3];
            stream.write_all(said).unwrap();
            stream
        })
        .collect();
    for _ in 0..20 {
        assert_eq!(program.get("/ready").status, 200);
        assert_eq!(program.get("/health").status, 200);
    }
    assert_eq!(program.post("/tenants", &tenant("acme")).status, 201);
    assert_eq!(program.ask("DELETE", "/tenants/acme", &[], "").status, 204);
    drop(half_open);
    assert!(!program.log().contains("panicked"));
}

fn probes_and_api_survive_when_descriptors_run_out() {
    // The rings, the shards and the API's reserve need some hundred; clients take all the rest.
    let program = Program::start_by(
        &["prlimit", "--nofile=300:300"],
        &format!("limits: {{client_connections: 1000}}\n{ONE_TENANT}"),
    );
    let mut clients: Vec<_> = (0..500)
        .map(|_| TcpStream::connect((Ipv4Addr::LOCALHOST, program.postgres)).unwrap())
        .collect();
    testbed::eventually("all descriptors are taken", || {
        (descriptors(&program) >= 295).then_some(())
    });
    for _ in 0..40 {
        assert_eq!(program.get("/ready").status, 200);
        assert_eq!(program.get("/tenants").status, 200);
    }
    assert_eq!(program.post("/tenants", &tenant("acme")).status, 201);
    // Half-open requests on top of it.
    let half_open: Vec<_> = (0..100).map(|_| program.connect()).collect();
    for _ in 0..20 {
        assert_eq!(program.get("/health").status, 200);
    }
    drop(half_open);
    clients
        .drain(..)
        .for_each(|client| drop(client.shutdown(Shutdown::Both)));
    testbed::eventually("descriptors are given back", || {
        (descriptors(&program) < 150).then_some(())
    });
    assert_eq!(program.ask("DELETE", "/tenants/acme", &[], "").status, 204);
    assert!(!program.log().contains("panicked"), "{}", program.log());
}

fn a_slow_request_is_told_so_and_ends() {
    let program = Program::start(ONE_TENANT);
    let mut stream = program.connect();
    stream.write_all(b"GET /ready HTTP/1.1\r\n").unwrap();
    assert_eq!(Answer::read(&mut stream).status, 408);
}

fn what_is_too_large_is_refused_with_the_reason() {
    let program = Program::start(ONE_TENANT);
    let padding = format!("X-Padding: {}", "x".repeat(20_000));
    assert_eq!(program.ask("GET", "/ready", &[&padding], "").status, 431);
    let body = "x".repeat((1 << 20) + 1);
    assert_eq!(
        program
            .ask(
                "POST",
                "/tenants",
                &["Content-Type: application/json"],
                &body
            )
            .status,
        413
    );
    let nested = "[".repeat(100_000);
    assert_eq!(
        program
            .ask(
                "POST",
                "/tenants",
                &["Content-Type: application/json"],
                &nested
            )
            .status,
        400
    );
}

fn one_connection_serves_many_requests() {
    let program = Program::start(ONE_TENANT);
    let mut stream = program.connect();
    for _ in 0..100 {
        ready(&mut stream, b"GET /ready HTTP/1.1\r\nHost: h\r\n\r\n");
    }
}

/// As by a debugger, or in a container that is frozen for a while.
fn who_waits_while_the_process_is_stopped_is_served_when_it_goes_on() {
    let program = Program::start(ONE_TENANT);
    let (mut idle, mut midway) = (program.connect(), program.connect());
    for stream in [&mut idle, &mut midway] {
        ready(stream, b"GET /ready HTTP/1.1\r\nHost: h\r\n\r\n");
    }
    midway.write_all(b"GET /ready HTTP/1.1\r\n").unwrap();
    // Half a request is waited for a few seconds only, so once.
    for round in 0..3 {
        program.signal("STOP");
        let state = format!("/proc/{}/stat", program.pid());
        testbed::eventually("it is stopped", || {
            let stat = std::fs::read_to_string(&state).unwrap();
            stat.contains(") T ").then_some(())
        });
        program.signal("CONT");
        if round == 0 {
            ready(&mut midway, b"Host: h\r\n\r\n");
        }
    }
    ready(&mut idle, b"GET /ready HTTP/1.1\r\nHost: h\r\n\r\n");
}

/// Says this, and is told that the program is ready.
fn ready(stream: &mut TcpStream, said: &[u8]) {
    stream.write_all(said).unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"{\"status\":\"ready\"}") {
        let mut bytes = [0; 256];
        let read = stream.read(&mut bytes).unwrap();
        assert!(read > 0, "it is closed: {}", answer.escape_ascii());
        answer.extend_from_slice(&bytes[..read]);
    }
}

/// How many descriptors the program holds.
fn descriptors(program: &Program) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", program.pid()))
        .unwrap()
        .count()
}

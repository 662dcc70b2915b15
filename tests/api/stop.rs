//! How the program stops.

use std::net::{Ipv4Addr, TcpStream};

use crate::plan::tests;
use crate::program::{ONE_TENANT, Program, Value, eventually, json, tenant};

tests! {
    without_clients_it_stops_at_once_and_well,
    it_is_not_ready_first_and_waits_for_clients_until_it_is_told_again,
    the_grace_period_ends,
}

/// A client that has begun to log in, and does not go on.
fn client(program: &Program) -> TcpStream {
    let client = program.client("one__app");
    let clients = |shard: &Value| shard["clients"].as_u64().unwrap();
    eventually("a shard has the client", || {
        let shards = program.get("/shards").json();
        (shards.as_array().unwrap().iter().map(clients).sum::<u64>() == 1).then_some(())
    });
    client
}

fn without_clients_it_stops_at_once_and_well() {
    for signal in ["TERM", "INT"] {
        let mut program = Program::start(ONE_TENANT);
        program.signal(signal);
        assert_eq!(program.ends().code(), Some(0));
        assert!(
            program.log().trim_end().ends_with("stopped"),
            "{}",
            program.log()
        );
    }
}

fn it_is_not_ready_first_and_waits_for_clients_until_it_is_told_again() {
    let mut program = Program::start(&format!("shutdown_grace: 10m\n{ONE_TENANT}"));
    let _client = client(&program);
    program.signal("TERM");
    eventually("it is not ready", || {
        (program.get("/ready").status == 503).then_some(())
    });
    assert_eq!(program.get("/ready").json()["status"], json!("stopping"));
    // It lives, shows what it does, and changes nothing any more.
    assert_eq!(program.get("/health").status, 200);
    assert_eq!(program.get("/tenants").status, 200);
    assert_eq!(program.post("/tenants", &tenant("acme")).status, 503);
    eventually("the port is closed", || {
        TcpStream::connect((Ipv4Addr::LOCALHOST, program.postgres)).err()
    });
    program.signal("INT");
    assert_eq!(program.ends().code(), Some(CUT_OFF));
    assert!(
        program.log().contains("1 clients were cut off"),
        "{}",
        program.log()
    );
}

fn the_grace_period_ends() {
    let mut program = Program::start(&format!("shutdown_grace: 100ms\n{ONE_TENANT}"));
    let _client = client(&program);
    program.signal("TERM");
    assert_eq!(program.ends().code(), Some(CUT_OFF));
}

/// The exit status that says that not all clients could finish.
const CUT_OFF: i32 = 75;

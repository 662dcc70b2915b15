//! Black-box tests: drivers and command lines on one side, real databases on the other, the program between them.
//!
//! Each file is a theme; `tests/README.md` says which promise each shows. A scenario knows no DBBouncer, only a door
//! (address, user name, password, database), so that it can be run against the database itself with `DIRECT=1`.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod accounts;
mod answers;
mod auth_query;
mod certificates;
mod crowd;
mod drivers;
mod faults;
mod gone;
mod guesses;
mod health;
mod hoarding;
mod hostile;
mod impostors;
mod injection;
mod interceptor;
mod ipv6;
mod limits;
mod local_sockets;
mod mysql;
mod mysql_session;
mod names;
mod operator;
mod passthrough;
mod pooled;
mod postgres;
mod postgres_session;
mod proxied;
mod refusals;
mod routing;
mod scene;
mod secrets;
mod servers;
mod sessions;
mod stopping;
mod storms;
mod strangers;
mod timeouts;
mod tls;
mod tls_databases;
mod tls_direct;
mod tools;
mod unfinished;
mod unserved;
mod vanishing;
mod verifiers;

use std::process::ExitCode;

use testbed::{Plan, raw};

fn main() -> ExitCode {
    let mut plan = Plan::default();
    servers::plan(&mut plan);
    // What takes longest comes first, so that nobody waits for it alone in the end.
    tls_databases::plan(&mut plan);
    injection::plan(&mut plan);
    unfinished::plan(&mut plan);
    crowd::plan(&mut plan);
    vanishing::plan(&mut plan);
    storms::plan(&mut plan);
    timeouts::plan(&mut plan);
    tls_direct::plan(&mut plan);
    tls::plan(&mut plan);
    certificates::plan(&mut plan);
    postgres::plan(&mut plan);
    postgres_session::plan(&mut plan);
    mysql::plan(&mut plan);
    mysql_session::plan(&mut plan);
    tools::plan(&mut plan);
    local_sockets::plan(&mut plan);
    ipv6::plan(&mut plan);
    routing::plan(&mut plan);
    refusals::plan(&mut plan);
    unserved::plan(&mut plan);
    strangers::plan(&mut plan);
    faults::plan(&mut plan);
    accounts::plan(&mut plan);
    answers::plan(&mut plan);
    stopping::plan(&mut plan);
    pooled::plan(&mut plan);
    gone::plan(&mut plan);
    hoarding::plan(&mut plan);
    hostile::plan(&mut plan);
    impostors::plan(&mut plan);
    secrets::plan(&mut plan);
    operator::plan(&mut plan);
    sessions::plan(&mut plan);
    health::plan(&mut plan);
    names::plan(&mut plan);
    limits::plan(&mut plan);
    guesses::plan(&mut plan);
    auth_query::plan(&mut plan);
    verifiers::plan(&mut plan);
    passthrough::plan(&mut plan);
    proxied::plan(&mut plan);
    plan.run(env!("CARGO_BIN_EXE_dbbouncer"))
}

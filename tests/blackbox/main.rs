//! Black-box tests: drivers and command lines on one side, real databases on the other, the program between them.
//!
//! Each file is a theme; `tests/README.md` says which promise each shows. A scenario knows no DBBouncer, only a door
//! (address, user name, password, database), so that it can be run against the database itself with `DIRECT=1`.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod drivers;
mod postgres;
mod servers;

use std::process::ExitCode;

use testbed::Plan;

fn main() -> ExitCode {
    let mut plan = Plan::default();
    servers::plan(&mut plan);
    postgres::plan(&mut plan);
    plan.run(env!("CARGO_BIN_EXE_dbbouncer"))
}

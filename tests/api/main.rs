//! The control plane from outside: the real program, its API over HTTP, its files and its signals. No database.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod authorisation;
mod certificates;
mod commands;
mod contract;
mod disk;
mod hardship;
mod log;
mod monitoring;
mod page;
mod plan;
mod program;
mod reload;
mod service;
mod stop;

use std::process::ExitCode;

fn main() -> ExitCode {
    plan::run(&[
        authorisation::TESTS,
        certificates::TESTS,
        commands::TESTS,
        contract::TESTS,
        disk::TESTS,
        hardship::TESTS,
        log::TESTS,
        monitoring::TESTS,
        page::TESTS,
        reload::TESTS,
        service::TESTS,
        stop::TESTS,
    ])
}

//! What is shipped, as those meet it who install it: the container image under real seccomp profiles, the chart by the
//! real helm, the systemd unit.
//!
//! What this machine has no tools for is listed as ignored, and said aloud.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod chart;
mod containers;
mod custom;
mod debian;
mod image;
mod machine;
mod plan;
mod pod;
mod service;

use std::process::ExitCode;

use plan::Plan;

fn main() -> ExitCode {
    let mut plan = Plan::new();
    image::plan(&mut plan);
    chart::plan(&mut plan);
    custom::plan(&mut plan);
    pod::plan(&mut plan);
    service::plan(&mut plan);
    debian::plan(&mut plan);
    let exit = plan.run();
    containers::clean_up();
    exit
}

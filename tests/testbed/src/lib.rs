//! The test bed: what a black-box test stands on.
//!
//! Real database servers of its own ([`Server`]), databases in them for made-up tenants ([`Tenant`]), the real program
//! with a config of the test's making ([`Bouncer`]), what a client must say to get through it ([`Door`]), a bad
//! network ([`Middleman`]), and the list of scenarios and of the servers each runs on ([`Plan`]).
//!
//! It knows the program by its command line, its config file, its ports and its log, and nothing of its crates. It
//! speaks neither protocol: scenarios bring drivers, or bytes of their own ([`raw`]).
//!
//! With `DIRECT=1` in the environment every door is the database's own, so that a scenario can be tried against the
//! truth: what fails there is wrong in the scenario.

#![forbid(unsafe_code)]
#![allow(clippy::expect_used)] // A test bed that is broken ends the test, and says how.

mod authority;
mod bouncer;
mod door;
mod middleman;
mod plan;
pub mod raw;
mod server;
mod tenant;
mod tool;

pub use authority::Authority;
pub use bouncer::{Bouncer, Config, free_port, has_mounts, pool_mode};
pub use door::{Door, Front, direct};
pub use middleman::Middleman;
pub use plan::{Plan, World, arguments};
pub use server::{Kind, Server};
pub use tenant::Tenant;
pub use tool::{
    Said, Tool, browser, cache, mysql_client, prometheus, python, python_within, tool, tool_within,
};

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Waits until `what` gives a value; asks every few milliseconds.
///
/// # Panics
/// When it has not come within [`PATIENCE`], with `hope` in the message.
pub fn eventually<T>(hope: &str, mut what: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = what() {
            return value;
        }
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {hope}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// How long anything that should happen soon may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// A path in the project's folder.
#[must_use]
pub fn project(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join(path)
}

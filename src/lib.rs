//! The control plane: settings in, a running bouncer out.
//!
//! It reads the command line ([`cli`]) and the config ([`config`]), looks whether the machine allows
//! what is needed ([`preflight`]), and starts, watches and stops the data plane ([`bouncer`]), which
//! is the crate `shards`. It never touches a client's bytes. What asks a DBBouncer that runs already
//! ([`top`]) speaks to its API ([`client`]) as anybody would.

#![forbid(unsafe_code)]

mod api;
pub mod bouncer;
pub mod cli;
pub mod client;
pub mod config;
mod control;
mod desk;
#[cfg(test)]
mod docs;
mod expiry;
mod fleet;
mod from_api;
mod herald;
pub mod import;
pub mod logging;
mod metrics;
mod owed;
pub mod preflight;
mod restart;
mod roster;
mod seldom;
mod state_error;
mod state_file;
mod state_lock;
pub mod top;
mod vitals;
pub mod watch;

pub use state_file::may_be_written;

#[doc(hidden)]
pub use api::passed_on;

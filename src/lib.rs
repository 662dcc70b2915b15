//! The control plane: settings in, a running bouncer out.

#![forbid(unsafe_code)]

mod api;
pub mod bouncer;
pub mod config;
mod control;
mod fleet;
pub mod logging;
mod metrics;
mod roster;
mod state_file;
mod vitals;
mod watch;

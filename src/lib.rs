//! The control plane: settings in, a running bouncer out.

#![forbid(unsafe_code)]

pub mod api;
pub mod bouncer;
pub mod config;
mod fleet;
mod roster;
mod state_file;
mod vitals;

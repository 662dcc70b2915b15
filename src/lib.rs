//! The control plane: settings in, a running bouncer out.

#![forbid(unsafe_code)]

pub mod api;
pub mod bouncer;
pub mod config;

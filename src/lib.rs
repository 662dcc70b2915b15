//! The control plane.
#![forbid(unsafe_code)]
pub mod api;
pub mod bouncer;

//! The control plane from outside: the real program, its API over HTTP, its files and its signals. No database.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod contract;
mod hardship;
mod monitoring;
mod page;
mod program;
mod reload;
mod stop;

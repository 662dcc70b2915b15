//! The REST API.

mod door;
mod http;
mod intake;
mod lanes;
mod problem;

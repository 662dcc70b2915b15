//! What a pool does, by name.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod dialling;
mod keeping;
mod serving;
mod world;

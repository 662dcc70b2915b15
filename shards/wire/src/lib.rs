//! PostgreSQL and MySQL on the wire: bytes to meaning, and back.
//!
//! This crate knows the two protocols, their messages, and the dialogues that have an end
//! ([`exchange`]), and what a proxy in front may say before them ([`proxy_protocol`]). It knows no socket, no clock, no thread, no executor and no pool; time and
//! randomness are arguments.

#![forbid(unsafe_code)]

pub mod error;
pub mod exchange;
pub mod mysql;
pub mod pg;
pub mod proxy_protocol;
pub mod secret;
pub mod sqlstate_class;
pub mod tenant_id;

pub use error::{Refusal, WireError};
pub use exchange::{Derivation, Derived, Exchange, Progress};
pub use proxy_protocol::{Origin, ProxyHeader};
pub use secret::Secret;
pub use sqlstate_class::SqlstateClass;
pub use tenant_id::{ByHost, is_tenant_id};

//! Transaction mode: many clients over few backends, so that no client can tell.
//!
//! ```text
//!             client_said                 to_backend
//!   client ───────────────▶ ┌─────────┐ ───────────────▶ backend
//!          ◀─────────────── │ Tracker │ ◀───────────────
//!             to_client     └─────────┘   backend_said
//!                            attach ▲ │ detach
//!                                   │ ▼
//!                              BackendMemory   (stays with the backend in the pool)
//! ```
//!
//! A [`Tracker`] stands for one client, for as long as the client is there. It follows what the
//! client has made of its session (settings, prepared statements, what pins it) and what is owed
//! to it. A [`BackendMemory`] stands for one backend: what has been prepared on it, how it is set.
//! Attached to a backend, the tracker first makes it fit for its client, then passes messages on,
//! rewritten where names differ; and it says when the backend may serve somebody else. What a
//! tenant's trackers share is in its [`Commons`].
//!
//! This module knows the protocol and as much of SQL as is needed to see state being made. It
//! knows no socket, no clock, no pool, and not who waits for whom.

mod backend_memory;
mod budget;
mod changes;
mod cleanup;
mod commons;
mod date_style;
mod names;
mod outbound;
mod pins;
mod portals;
mod prepared;
mod renamed;
mod replies;
mod request;
mod restore;
mod settings;
mod shape;
mod sql;
mod statement;
mod tally;
mod tracker;
mod work;

pub use backend_memory::BackendMemory;
pub use cleanup::{Cleanup, Release};
pub use commons::{Commons, PreparedStatements, Reset, Rules};
pub use outbound::{Outbound, Passage};
pub use pins::{Pin, Pins};
pub use tally::Tally;
pub use tracker::{BackendFault, Fault, Tracker};

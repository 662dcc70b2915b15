//! Who gets which connection: the bookkeeping of one tenant's backends.
//!
//! This crate knows limits, who is idle, who is out, who waits, and what a connection was opened
//! for. It knows no socket, no protocol, no clock, no thread and no executor; time and randomness
//! are arguments. It never waits: every call answers at once, and the caller turns the answers into
//! dialling, waking and closing.
//!
//! ```text
//!            next_permit           opened            acquire
//!   nothing ─────────────▶ opening ───────▶ idle ──────────────▶ leased
//!                             │       └──────│───── waiter ────────▲ │
//!                      failed │              │ upkeep, next_permit │ │ release
//!                             ▼              ▼                     │ ▼
//!                          nothing        closed ◀──────────── idle, next waiter, or closed
//! ```
//!
//! Each connection has a [shape](Pooled::Shape), and a client is only ever given a connection of
//! the shape it asked for. Where any connection will do, all have the same shape.
//!
//! **Invariant:** `idle + leased + opening <= max`. Where the limits shrink below what stands,
//! nothing new is opened until it holds again.
//!
//! **Fairness:** clients of one shape are served first come, first served. Between shapes, a
//! client for whom there is no room gets the room of the next connection that comes back, before
//! anybody behind it is served; so nobody starves.
//!
//! The dance for the caller, after each call that ends, loses or gives back something: dial for
//! each [`Pool::next_permit`] until it says `None`. At [`Pool::next_upkeep`]: [`Pool::upkeep`],
//! then the same.

#![forbid(unsafe_code)]

mod connection;
mod dial;
mod limits;
mod pool;
mod state;
mod waiting;

pub use connection::{Acquired, Checkout, CloseReason, Placed, Pooled, Refusal, Serial, Verdict};
pub use dial::{BACKOFF_FIRST, BACKOFF_LAST, Blame, DialReason, Grant, INFANCY, Permit};
pub use limits::{LIFETIME_SPREAD, Limits};
pub use pool::Pool;
pub use state::Gauges;
pub use waiting::Ticket;

//! The data plane: one thread per core, each with its own tenants, pools and sockets.
//!
//! ```text
//!                  accepted socket
//!   clients ──────▶ acceptor-0 ──────── Arrival (bounded, doorbell) ───────▶ shard-N
//!                   greets, does TLS, reads the                              owns the tenants whose
//!                   preface, finds the tenant's name                         names hash to N: proves
//!                                                                            clients, leases backends,
//!   control ─────────────────── Envelope { command, reply } ──────────────▶  relays
//!           ◀────────────────── Reply, on the sender inside ────────────────
//! ```
//!
//! Nothing is shared between shards but the counts of clients; what crosses threads is plain and
//! stands in [`contract`] and [`handoff`]. On a shard, state is owned by value, `Rc` and `RefCell`;
//! a borrow lasts for one expression and never across an await.
//!
//! From top to bottom, each knowing only what is below it:
//! `launch`, `executors` (threads) · `acceptor`, `shard` · `preface`, `session` · `relay`, `lease`, `cancel` · `tenant`,
//! `health`, `vigil`, `rounds`, `lookup`, `dial` · `backend`, `conn`, `channel`, `farewell` · `tls`, `contract`, `stats`,
//! `admission`, `throttle`, `control`, `pace`, `seat`.
//!
//! Who watches what, in the background:
//!
//! | module | watches | so that |
//! |---|---|---|
//! | `health` | a tenant's database | its clients fail fast while it is down |
//! | `vigil` | a tenant's idle backends | one that dies is replaced before a client gets it |
//! | `pace`, `rounds` | how long sessions are at something | time-outs end them |
//! | `control` | nothing: the flag by which a session is told to go | it ends at the right moment |

#![forbid(unsafe_code)]

pub mod contract;

mod acceptor;
mod admission;
mod backend;
mod cancel;
mod channel;
mod condemned;
mod conn;
mod connection_ids;
mod context;
mod control;
mod dial;
mod digests;
mod disguise;
mod executors;
mod farewell;
mod guest;
mod handoff;
mod health;
mod keys;
mod launch;
mod lease;
mod lookup;
mod moves;
mod pace;
mod preface;
mod race;
mod random;
mod relay;
mod resolve;
mod rounds;
mod seat;
mod seated;
mod session;
mod shard;
mod stats;
mod tenant;
mod throttle;
pub mod tls;
#[cfg(test)]
mod trial;
mod verifiers;
mod vigil;
mod whereabouts;

pub use admission::Places;
pub use executors::{Death, Executors};
pub use launch::{LaunchError, Plane, PlaneSettings, Silent};
pub use sockets::{RingError, look_names_up_without_plugins, probe};

//! TCP and local sockets over io_uring inside a glommio executor.
//!
//! This crate knows one ring per executor, the sockets, timers, doorbells and tasks that hang on
//! it, and nothing of what the bytes mean. It knows no protocol, no tenant, no pool. All `unsafe`
//! of reading and writing sockets lives here.
//!
//! # The one loop
//!
//! ```text
//!   glommio's task queue, first in first out:   task  task  task  driver
//!                                                 |     |     |      |
//!   sends are queued, timers set, receives taken  +-----+-----+      |
//!                                                                    v
//!   nobody ran since the driver was last here?  -- no -->  to the tail once more, no system call
//!                                |
//!                               yes: nobody else is runnable
//!                                v
//!   one io_uring_enter: submit all that was queued, sleep until a completion or the next timer
//!   (while these follow each other closely: submit, and look out for one before sleeping)
//!                                v
//!   reap, wake, to the tail
//! ```
//!
//! Timers that the clock shows to be due then fire when the ring has been entered once more: whoever spoke in time is heard
//! first.
//!
//! The driver is a task in the same queue as every task made by [`spawn`], and each of their polls
//! (and drops) bumps a counter, so "nobody ran between two visits" means that the queue is empty: a
//! woken task never waits for the park's time-out. That holds for everything that wakes through the
//! ring: sockets, [`sleep`], [`doorbell`], [`blocking`], and tasks waking tasks. It does not hold
//! for glommio's own timers, channels and `spawn_blocking`, whose reactor is visited only when its
//! preempt timer fires: do not use them beside this crate.
//!
//! # For the launcher
//!
//! glommio runs a queue until it is empty, which the driver prevents, or until the preempt timer
//! fires, which costs a few system calls and gains nothing here: build executors with
//! `.preempt_timer(`[`PREEMPT_TIMER`]`)`, and with a small `io_memory`. A panic in a task unwinds
//! through the executor and shows as the error of its `join`.
//!
//! # Limits
//!
//! Everything per executor is bounded by [`RingLimits`]; the rest by named constants next to what
//! they bound. Outgoing bytes are bounded by the caller: [`Stream::send`] never refuses,
//! [`Stream::queued`] tells.

mod address;
mod blocking;
mod buffers;
mod chunk;
mod chunks;
mod connect;
mod doorbell;
mod driver;
mod haste;
mod inbox;
mod lingering;
mod listener;
mod names;
mod options;
mod outbox;
mod prefetch;
mod probe;
mod reactor;
mod ring;
mod run;
mod socket;
mod source;
mod stream;
mod task;
mod timer;

pub use address::Address;
pub use blocking::{HELPERS, WAITERS, blocking, blocking_in_turn, blocking_on_others};
pub use chunk::Chunk;
pub use connect::is_our_lack;
pub use doorbell::{Bell, Doorbell, RingFailed, doorbell};
pub use lingering::LINGER;
pub use listener::{ACCEPT_PAUSE, Listener};
pub use names::look_names_up_without_plugins;
pub use options::{Receives, RingLimits, SocketOptions, accept_when_spoken, keepalive};
pub use prefetch::wake;
pub use probe::{RingError, probe};
pub use run::{PREEMPT_TIMER, heard, now, run};
pub use stream::Stream;
pub use task::{Task, spawn};
pub use timer::{Elapsed, Sleep, Timeout, sleep, sleep_until, timeout, timeout_at};

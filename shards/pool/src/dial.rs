//! The right to dial, why it was given, and when it is withheld.

use std::time::{Duration, Instant};

use crate::connection::{Pooled, Serial};
use crate::limits::{Limits, fraction};

/// The right to dial one connection, once. It counts as opening until it is spent with
/// [`Pool::opened`](crate::Pool::opened) or [`Pool::failed`](crate::Pool::failed).
#[derive(Debug)]
#[must_use = "a permit must be spent with `Pool::opened` or `Pool::failed`"]
pub struct Permit<S> {
    pub(crate) shape: S,
    pub(crate) reason: DialReason,
    pub(crate) epoch: u64,
}

impl<S> Permit<S> {
    /// The shape to dial.
    pub fn shape(&self) -> &S {
        &self.shape
    }

    /// Why one more connection is justified.
    pub fn reason(&self) -> DialReason {
        self.reason
    }
}

/// A permit, and what had to go for it.
#[derive(Debug)]
#[must_use = "a permit must be spent and an evicted connection closed"]
pub struct Grant<C: Pooled> {
    /// The right to dial.
    pub permit: Permit<C::Shape>,
    /// The connection that was idle for longest, where there was no room beside it
    /// ([`CloseReason::MadeRoom`](crate::CloseReason::MadeRoom)). The caller closes it.
    pub evicted: Option<C>,
}

/// Why a dial is justified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DialReason {
    /// A client waits whom no dial under way will serve.
    Waiting,
    /// Fewer than `min` connections stand.
    BelowMin,
}

/// Whose fault a failed dial was. That decides who of those that wait is told, and whether further
/// dials are held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The database refused what this shape asks for, such as a startup parameter it does not
    /// know. All who wait for this shape are told; other dials go on.
    Shape,
    /// The database refuses the tenant itself, such as its password: to wait is in vain. All are
    /// told; dials are held back.
    Tenant,
    /// The database is unreachable, starting, or full. All are told if no connection stands or is
    /// being opened; otherwise nobody, for one that comes back may serve them. Dials are held back.
    Database,
    /// Like `Database`, where those who wait want to wait on: nobody is told. Dials are held back.
    Passing,
}

/// Holds dials back after one has failed: longer each time, until one succeeds.
///
/// A connection that breaks in its [`INFANCY`] without having served anybody is a dial that failed, too. From
/// then on a dial that comes to a connection says nothing by that: one must first prove itself.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
    until: Option<Instant>,
    /// The last one that did.
    in_doubt: Option<Serial>,
}

impl Backoff {
    /// Counts a failure. Those of dials that began before the last failure are the same failure.
    pub fn failed(&mut self, jitter: u32, now: Instant) {
        if self.is_over(now) {
            let step = BACKOFF_FIRST
                .saturating_mul(1 << self.failures.min(16))
                .min(BACKOFF_LAST);
            self.failures = self.failures.saturating_add(1);
            self.until = now.checked_add(step.mul_f64(0.5 + fraction(jitter) / 2.0));
        }
    }

    /// A dial came to a connection.
    pub fn opened(&mut self) {
        if self.in_doubt.is_none() {
            self.reset();
        }
    }

    /// A connection broke before it was of any use.
    pub fn stillborn(&mut self, which: Serial, jitter: u32, now: Instant) {
        self.in_doubt = self.in_doubt.max(Some(which));
        self.failed(jitter, now);
    }

    /// A connection has proved itself, which says something if it is younger than those that have not.
    pub fn proved(&mut self, which: Serial) {
        if self.in_doubt.is_some_and(|in_doubt| in_doubt < which) {
            self.reset();
        }
    }

    /// Holds nothing back any more.
    pub fn reset(&mut self) {
        *self = Backoff::default();
    }

    /// How many dials may be under way. After a failure, one goes to find out.
    pub fn dials_at_once(&self, limits: &Limits) -> usize {
        match (self.failures, limits.max_dials) {
            (0, 0) => limits.max,
            (0, max_dials) => max_dials,
            _ => 1,
        }
    }

    pub fn is_over(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| until <= now)
    }

    pub fn until(&self) -> Option<Instant> {
        self.until
    }
}

/// The age at which a connection has proved itself, were it only by living.
pub const INFANCY: Duration = Duration::from_secs(1);
/// How long the first failure holds dials back, at most; chance may take up to half of it.
pub const BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// The longest that failures hold dials back. Also the longest that a client may wait to be told
/// why its database cannot be reached.
pub const BACKOFF_LAST: Duration = Duration::from_secs(5);

//! What a pool may grow to and how old its connections may get.

use std::time::Duration;

/// The limits of one pool. Plain values, checked where the config is read; zero switches a limit
/// off, save for `max`.
///
/// How long a client may wait is not among them: that timer belongs to whoever waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections opened ahead of need. Counts those that are out, too. Never above `max`.
    pub min: usize,
    /// The most connections there may be: idle, leased and opening together. At least 1.
    pub max: usize,
    /// The most dials under way at once, so that a storm of clients is none for the database.
    pub max_dials: usize,
    /// The most clients that may wait at once.
    pub max_waiting: usize,
    /// An idle connection is closed after this long, but never below `min`.
    pub idle_timeout: Duration,
    /// A connection is not used beyond this age. Each is given up to [`LIFETIME_SPREAD`] less, so
    /// that those opened together do not all end together.
    pub max_lifetime: Duration,
}

impl Limits {
    /// How many connections are kept ready: `min`, and never more than `max`.
    pub(crate) fn floor(&self) -> usize {
        self.min.min(self.max)
    }

    pub(crate) fn queue_is_full(&self, waiting: usize) -> bool {
        self.max_waiting != 0 && waiting >= self.max_waiting
    }

    /// The age at which a connection with this random number ends; `None` for never.
    pub(crate) fn lifetime(&self, jitter: u32) -> Option<Duration> {
        let spread = self
            .max_lifetime
            .mul_f64(LIFETIME_SPREAD * fraction(jitter));
        (!self.max_lifetime.is_zero()).then(|| self.max_lifetime.saturating_sub(spread))
    }
}

/// A random number as a fraction: 0 up to, not including, 1.
pub(crate) fn fraction(random: u32) -> f64 {
    f64::from(random) / (f64::from(u32::MAX) + 1.0)
}

/// The part of `max_lifetime` that chance may take away.
pub const LIFETIME_SPREAD: f64 = 0.2;

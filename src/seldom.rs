//! How often one thing may be said: what clients can cause as often as they like must not fill
//! the log.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Something that clients can cause as often as they like, and that is logged at most once in
/// [`SELDOM`].
pub struct Seldom {
    start: Instant,
    /// When it may be said again, in milliseconds since `start`.
    next: AtomicU64,
    unsaid: AtomicU64,
}

/// How often it was not said, for the end of the line that says it again.
pub struct Unsaid(u64);

impl Seldom {
    /// Whether to say it now.
    pub fn now(&self) -> Option<Unsaid> {
        self.at(self.start.elapsed())
    }

    fn at(&self, time: Duration) -> Option<Unsaid> {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        // Relaxed: of two threads in the same moment both may speak, which is no harm.
        if millis(time) < self.next.load(Ordering::Relaxed) {
            self.unsaid.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        self.next.store(millis(time + SELDOM), Ordering::Relaxed);
        Some(Unsaid(self.unsaid.swap(0, Ordering::Relaxed)))
    }
}

impl Default for Seldom {
    fn default() -> Seldom {
        Seldom {
            start: Instant::now(),
            next: AtomicU64::new(0),
            unsaid: AtomicU64::new(0),
        }
    }
}

impl fmt::Display for Unsaid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            count => write!(f, " (and {count} times more since the last such line)"),
        }
    }
}

/// How often one thing is said at most.
const SELDOM: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_often_is_said_seldom_and_counted() {
        let seldom = Seldom::default();
        let mut said = Vec::new();
        for millis in [0, 1, 500, 999, 1000, 1001, 5000] {
            let unsaid = seldom.at(Duration::from_millis(millis));
            said.extend(unsaid.map(|unsaid| (millis, unsaid.0)));
        }
        assert_eq!(said, [(0, 0), (1000, 3), (5000, 1)]);
    }
}

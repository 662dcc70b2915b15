//! What becomes of young connections says whether dials succeed: a database that lets everybody in
//! and then closes would otherwise be dialled without a pause.

use std::time::Instant;

use super::Pool;
use crate::connection::{Pooled, Terms, Verdict};

impl<C: Pooled, W> Pool<C, W> {
    /// A connection comes back, or has died while it was idle.
    pub(super) fn learn(&mut self, terms: &Terms, verdict: Verdict, now: Instant) {
        // One from before a pause or a reconnect says nothing about how the database is now.
        if terms.epoch != self.epoch {
            return;
        }
        match verdict {
            Verdict::Stillborn if terms.is_infant(now) => {
                self.backoff.stillborn(terms.serial, terms.jitter, now);
            }
            Verdict::Close(_) if terms.is_infant(now) => {}
            Verdict::Reusable | Verdict::Close(_) | Verdict::Stillborn => {
                self.backoff.proved(terms.serial);
            }
        }
    }

    /// Those that nobody uses prove themselves by being there still.
    pub(super) fn look_at_idle(&mut self, now: Instant) {
        let of_age = |terms: &Terms| terms.epoch == self.epoch && !terms.is_infant(now);
        let of_age = self.idle.iter().filter(|idle| of_age(&idle.terms));
        if let Some(youngest) = of_age.map(|idle| idle.terms.serial).max() {
            self.backoff.proved(youngest);
        }
    }
}

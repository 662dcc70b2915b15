//! Counting on the data path: sums in place, no name, no allocation, and the clock read at most once
//! for what one batch of messages brings.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use wire::SqlstateClass;
use wire::pg::pooling::{Pins, Tally};

use crate::contract::Counts;
use crate::control::Control;

/// The sums of one tenant, or of the clients that have none. Outlives a tenant's pool when a fresh
/// one takes its name.
#[derive(Default)]
pub struct Stats {
    counts: RefCell<Counts>,
    /// Sessions that are pinned to their backend now.
    pinned: Cell<usize>,
}

impl Stats {
    /// Changes some sums. `change` does nothing else.
    pub fn count(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.counts.borrow_mut());
    }

    /// The sums now.
    pub fn counts(&self) -> Counts {
        self.counts.borrow().clone()
    }

    /// How many sessions are pinned to their backend now.
    pub fn pinned(&self) -> usize {
        self.pinned.get()
    }
}

/// Follows one session that is served: counts what passes, and tells by the same clock what the
/// session is at. Its own time counts when it is dropped.
pub struct Meter<'a> {
    stats: &'a Stats,
    control: &'a Control,
    began: Instant,
    /// When the oldest request that has no answer yet was made.
    asked: Option<Instant>,
    /// A transaction was open then, or at the last answer.
    open: bool,
    /// What pins the session to its backend.
    pins: Pins,
}

impl<'a> Meter<'a> {
    /// For a session that begins now.
    pub fn new(stats: &'a Stats, control: &'a Control) -> Meter<'a> {
        Meter {
            stats,
            control,
            began: sockets::now(),
            asked: None,
            open: false,
            pins: Pins::NONE,
        }
    }

    /// The client sent so many bytes, with so many requests in them.
    pub fn client_said(&self, bytes: usize, queries: u32) {
        self.stats.count(|counts| {
            counts.from_clients += bytes as u64;
            counts.queries += u64::from(queries);
        });
    }

    /// The client was sent so many bytes, with errors of these classes in them.
    pub fn backend_said(&self, bytes: usize, errors: &[SqlstateClass]) {
        self.stats.count(|counts| {
            counts.to_clients += bytes as u64;
            counts.errors.add(errors);
        });
    }

    /// The client was sent so many bytes, and a tracker has seen this.
    pub fn tallied(&self, to_client: usize, tally: &Tally) {
        self.stats.count(|counts| {
            counts.to_clients += to_client as u64;
            counts.queries += u64::from(tally.requests);
            counts.errors.add(&tally.errors);
            counts.prepared_hits += u64::from(tally.prepared_hits);
            counts.prepared_misses += u64::from(tally.prepared_misses);
        });
    }

    /// The client wants an answer; perhaps it has a transaction open.
    pub fn asked(&mut self, in_transaction: bool) {
        if self.asked.is_none() {
            let now = sockets::now();
            self.asked = Some(now);
            self.open = in_transaction;
            self.control.turn(true, in_transaction, now);
        }
    }

    /// So many answers are complete, and so many transactions with them; perhaps more are owed, and
    /// perhaps a transaction is open.
    pub fn answered(&mut self, answers: u32, transactions: u32, more: bool, in_transaction: bool) {
        let now = sockets::now();
        self.open = in_transaction;
        self.control.turn(more, in_transaction, now);
        let took = self.asked.map(|asked| now.duration_since(asked));
        self.asked = more.then_some(now);
        self.stats.count(|counts| {
            counts.transactions += u64::from(transactions);
            if let Some(took) = took {
                counts.query_time.add(took, answers);
            }
        });
    }

    /// Nothing is owed, though nothing was answered: the client has begun something and not asked for
    /// it, or what was under way was not the client's.
    pub fn rests(&mut self, in_transaction: bool) {
        if self.asked.take().is_some() || self.open != in_transaction {
            self.open = in_transaction;
            self.control.turn(false, in_transaction, sockets::now());
        }
    }

    /// This is what pins the session to its backend now.
    pub fn pinned(&mut self, pins: Pins) {
        if pins == self.pins {
            return;
        }
        let before = std::mem::replace(&mut self.pins, pins);
        self.stats.count(|counts| {
            for pin in pins.without(before).iter() {
                counts.pins[pin.index()] += 1;
            }
        });
        let others = self.stats.pinned.get() - usize::from(!before.is_empty());
        self.stats
            .pinned
            .set(others + usize::from(!pins.is_empty()));
    }
}

impl Drop for Meter<'_> {
    fn drop(&mut self) {
        self.pinned(Pins::NONE);
        let lasted = sockets::now().duration_since(self.began);
        self.stats
            .count(|counts| counts.session_time.add(lasted, 1));
    }
}

/// Processor time that this thread has used.
pub fn busy() -> Duration {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(
        used.tv_sec.try_into().unwrap_or(0),
        used.tv_nsec.try_into().unwrap_or(0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::Pin;

    #[test]
    fn each_answer_of_a_pipeline_is_timed() {
        let (stats, control) = (Stats::default(), Control::default());
        let mut meter = Meter::new(&stats, &control);
        meter.asked(false);
        meter.asked(false);
        meter.answered(1, 1, true, false);
        meter.answered(1, 0, false, false);
        meter.answered(1, 1, false, false);
        let counts = stats.counts();
        assert_eq!((counts.query_time.count(), counts.transactions), (2, 2));
    }

    #[test]
    fn a_pin_counts_once_by_reason_and_a_session_as_pinned_until_it_ends() {
        let (stats, control) = (Stats::default(), Control::default());
        let mut meter = Meter::new(&stats, &control);
        let mut pins = Pins::NONE;
        pins.insert(Pin::Listen);
        meter.pinned(pins);
        pins.insert(Pin::Load);
        meter.pinned(pins);
        meter.pinned(pins);
        let counted = stats.counts().pins;
        assert_eq!(
            (counted[Pin::Listen.index()], counted[Pin::Load.index()]),
            (1, 1)
        );
        assert_eq!(stats.pinned(), 1);
        drop(meter);
        assert_eq!(stats.pinned(), 0);
    }
}

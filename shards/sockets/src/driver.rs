//! The driver: one task per run that enters the ring, and sleeps in it when nobody else is
//! runnable.
//!
//! It shares a queue, first in first out, with all counted tasks, and puts itself at the tail after
//! each visit. If no poll was counted between two visits, nobody else is in the queue.
//!
//! A timer fires one entering of the ring after the clock has shown that its time is over. What expires then had until then
//! to speak, and the ring was looked at later. Without that, whoever spoke while the whole process was stopped would be late:
//! it goes on behind a wait that a signal has ended, knowing the time and not what came in.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::haste::Haste;
use crate::reactor::Reactor;
use crate::ring::Ring;

/// The task that submits, sleeps, reaps and wakes.
pub(crate) struct Driver {
    reactor: Rc<Reactor>,
    /// The counter of polls when the driver was last here.
    seen: u64,
    /// Visits since the ring was entered last.
    visits: u32,
    /// When timers were found due that have not fired yet.
    found_due: Option<Instant>,
    haste: Haste,
    completions: Vec<io_uring::cqueue::Entry>,
    expired: Vec<Waker>,
}

impl Driver {
    pub(crate) fn new(reactor: Rc<Reactor>) -> Driver {
        Driver {
            haste: Haste::new(reactor.limits.spin_at_most),
            reactor,
            seen: 0,
            visits: 0,
            found_due: None,
            completions: Vec::new(),
            expired: Vec::new(),
        }
    }

    /// Goes on until it is cancelled; returns the error that makes the ring unusable.
    pub(crate) async fn drive(mut self) -> io::Error {
        poll_fn(|cx: &mut Context<'_>| match self.visit() {
            Ok(()) => {
                // To the tail of the queue, behind everybody who was woken.
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Err(error) => Poll::Ready(error),
        })
        .await
    }

    fn visit(&mut self) -> io::Result<()> {
        let polls = self.reactor.tasks.polls();
        let idle = polls == self.seen;
        self.seen = polls;
        if !idle && self.visits < VISITS_PER_ENTER {
            // Somebody ran and may have woken others, who are behind us in the queue.
            self.visits += 1;
            return Ok(());
        }
        self.visits = 0;
        self.reactor.prepare();
        let reactor = Rc::clone(&self.reactor);
        let before = reactor.time.get();
        let next = reactor.timers.borrow().next();
        let due = next.filter(|deadline| *deadline <= before);
        let mut ring = reactor.ring().borrow_mut();
        match idle && due.is_none() && !reactor.may_feed() {
            true => self.rest(&mut ring)?,
            false => ring.enter(None)?,
        }
        ring.reap(&mut self.completions);
        let settled = ring.is_settled();
        // The kernel fetches so much at a time.
        let more = due.is_some() && (!settled || ring.has_news());
        drop(ring);
        reactor.time.set(Instant::now());
        reactor.complete(&mut self.completions);
        if settled {
            reactor.settle();
        }
        if let Some(deadline) = due {
            self.fire_timers(deadline, before, more || reactor.somebody_starves());
        }
        Ok(())
    }

    /// Nobody else is runnable: submits, and waits for a completion or the next timer.
    fn rest(&mut self, ring: &mut Ring) -> io::Result<()> {
        let began = Instant::now();
        if let Some(limit) = self.haste.spins() {
            ring.enter(None)?;
            let limit = limit.min(self.park_time(began));
            while !ring.has_news() {
                if began.elapsed() >= limit {
                    self.haste.looked_out(false);
                    return ring.enter(Some(self.park_time(Instant::now())));
                }
                std::hint::spin_loop();
            }
            self.haste.looked_out(true);
            return ring.enter(None);
        }
        ring.enter(Some(self.park_time(began)))?;
        self.haste.slept(began.elapsed());
        Ok(())
    }

    /// From `now` until the next timer, but no longer than the limit.
    fn park_time(&self, now: Instant) -> Duration {
        let longest = self.reactor.limits.park_at_most;
        match self.reactor.timers.borrow().next() {
            Some(deadline) => deadline.saturating_duration_since(now).min(longest),
            None => longest,
        }
    }

    /// Fires what was due at `then`, before the ring was looked at. Where that was found late, much may have come in meanwhile, and
    /// is heard first, also if that takes more than one look.
    fn fire_timers(&mut self, deadline: Instant, then: Instant, more: bool) {
        let found = *self.found_due.get_or_insert(then);
        if more && found.saturating_duration_since(deadline) > LATE && then - found < HEARING {
            return;
        }
        self.found_due = None;
        self.reactor.heard.set(then);
        self.reactor
            .timers
            .borrow_mut()
            .expire(then, &mut self.expired);
        for waker in self.expired.drain(..) {
            waker.wake();
        }
    }
}

/// How often the driver goes back to the tail without entering the ring while tasks keep waking
/// each other.
const VISITS_PER_ENTER: u32 = 4;

/// A timer that is found due so late tells of a stop, of the process or of its machine, or of a processor that has too much to do.
const LATE: Duration = Duration::from_millis(10);
/// How long timers wait then for all that has come in: the kernel fetches 20 receives at a time, and thousands may have spoken.
const HEARING: Duration = Duration::from_millis(250);

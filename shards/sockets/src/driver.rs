//! The driver: one task per run that enters the ring, and sleeps in it when nobody else is
//! runnable.
//!
//! It shares a queue, first in first out, with all counted tasks, and puts itself at the tail after
//! each visit. If no poll was counted between two visits, nobody else is in the queue.

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
        let mut ring = reactor.ring().borrow_mut();
        match idle && !reactor.may_feed() {
            true => self.rest(&mut ring)?,
            false => ring.enter(None)?,
        }
        ring.reap(&mut self.completions);
        let settled = ring.is_settled();
        drop(ring);
        self.reactor.time.set(Instant::now());
        self.reactor.complete(&mut self.completions);
        if settled {
            self.reactor.settle();
        }
        self.fire_timers();
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

    fn fire_timers(&mut self) {
        if self.reactor.timers.borrow().next().is_none() {
            return;
        }
        self.reactor
            .timers
            .borrow_mut()
            .expire(self.reactor.time.get(), &mut self.expired);
        for waker in self.expired.drain(..) {
            waker.wake();
        }
    }
}

/// How often the driver goes back to the tail without entering the ring while tasks keep waking
/// each other.
const VISITS_PER_ENTER: u32 = 4;

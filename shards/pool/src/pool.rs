//! The pool: who is idle, who is out, what is being opened, who waits, and the decisions.

mod keeping;
mod proving;

use std::cmp::Ordering;
use std::time::Instant;

use crate::connection::{
    Acquired, Checkout, CloseReason, Idle, Placed, Pooled, Refusal, Serial, Terms, Verdict,
};
use crate::dial::{Backoff, Blame, DialReason, Grant, Permit};
use crate::limits::Limits;
use crate::state::{Gate, Gauges, Wanted};
use crate::waiting::{Queue, Ticket};

/// The connections of one tenant. `C` is what is pooled, `W` how a waiter is woken.
#[derive(Debug)]
pub struct Pool<C: Pooled, W> {
    limits: Limits,
    gate: Gate,
    /// Connections dialled in an earlier epoch are closed when they come back.
    epoch: u64,
    /// How many connections there have been.
    opened: u64,
    /// The shape of connections opened ahead of need: the one that was last dialled with success.
    usual: C::Shape,
    /// Longest idle first. The last one in is the first one out, so that a surplus ages.
    idle: Vec<Idle<C>>,
    leased: usize,
    /// What each dial under way will bring.
    dials: Vec<C::Shape>,
    backoff: Backoff,
    waiting: Queue<C::Shape, W>,
    /// `max`, or what stands above it since the limits shrank; see `check`.
    ceiling: usize,
}

impl<C: Pooled, W> Pool<C, W> {
    /// An empty pool. Until a dial has shown what clients ask for, connections are opened ahead of
    /// need with `shape`.
    pub fn new(limits: Limits, shape: C::Shape) -> Self {
        Pool {
            limits,
            gate: Gate::Open,
            epoch: 0,
            opened: 0,
            usual: shape,
            idle: Vec::new(),
            leased: 0,
            dials: Vec::new(),
            backoff: Backoff::default(),
            waiting: Queue::new(),
            ceiling: limits.max,
        }
    }

    /// Asks for a connection of this shape: the one this client had `last`, if that is idle, since what
    /// it needs may be there still; else of the idle ones, that which was used last.
    ///
    /// Nobody is overtaken: while somebody waits for a shape, none of that shape is idle.
    pub fn acquire(&mut self, shape: &C::Shape, last: Option<Serial>) -> Acquired<C> {
        if self.gate == Gate::Draining {
            return Acquired::Refused(Refusal::Draining);
        }
        let usable = |idle: &Idle<C>| idle.terms.epoch == self.epoch && idle.conn.shape() == shape;
        let again = |last| move |idle: &Idle<C>| idle.terms.serial == last && usable(idle);
        let again = last.and_then(|last| self.idle.iter().rposition(again(last)));
        if let Some(position) = again.or_else(|| self.idle.iter().rposition(usable)) {
            let Idle { conn, terms, .. } = self.idle.remove(position);
            self.leased += 1;
            self.check();
            return Acquired::Ready(Checkout::new(conn, terms));
        }
        if self.limits.queue_is_full(self.waiting.len()) {
            return Acquired::Refused(Refusal::QueueFull);
        }
        Acquired::Full
    }

    /// Takes out the connection that has been idle for longest, to see whether it lives. It counts
    /// as leased; given back, it has been idle all the time. None is taken out of a pool that is
    /// paused or drains.
    pub fn inspect(&mut self) -> Option<Checkout<C>> {
        if self.gate != Gate::Open || self.idle.is_empty() {
            return None;
        }
        let Idle { conn, terms, since } = self.idle.remove(0);
        self.leased += 1;
        self.check();
        Some(Checkout {
            conn,
            terms,
            idle_since: Some(since),
        })
    }

    /// Puts a client that was told `Full` at the end of the queue.
    pub fn enqueue(&mut self, shape: C::Shape, waiter: W) -> Ticket {
        self.waiting.push(shape, waiter)
    }

    /// Takes out a client that waits no longer; `None` if it was woken already.
    pub fn abandon(&mut self, ticket: Ticket) -> Option<W> {
        self.waiting.abandon(ticket)
    }

    /// Takes everybody out of the queue, to be told that it is in vain.
    pub fn dismiss_waiting(&mut self) -> Vec<W> {
        self.waiting.take_all(|_| true)
    }

    /// Whether one more dial is justified now. Ask again until it is not: `max_dials` may run at
    /// once, and while dials fail, one.
    ///
    /// The longest waiting client that no dial under way will serve comes first, then `min`. Where
    /// the pool is full of idle connections that do not fit that client, one of them goes.
    pub fn next_permit(&mut self, now: Instant) -> Option<Grant<C>> {
        if !self.has_room() || !self.backoff.is_over(now) {
            return None;
        }
        let (shape, reason) = match self.wanted()? {
            Wanted::For(position) => (
                self.waiting.shapes().nth(position)?.clone(),
                DialReason::Waiting,
            ),
            Wanted::Ahead => (self.usual.clone(), DialReason::BelowMin),
        };
        let evicted = (self.total() == self.limits.max).then(|| self.idle.remove(0).conn);
        self.dials.push(shape.clone());
        self.check();
        Some(Grant {
            permit: Permit {
                shape,
                reason,
                epoch: self.epoch,
            },
            evicted,
        })
    }

    /// The dial came to a connection. `jitter` is a random number.
    pub fn opened(
        &mut self,
        permit: Permit<C::Shape>,
        conn: C,
        jitter: u32,
        now: Instant,
    ) -> Placed<C, W> {
        self.spend(&permit);
        self.backoff.opened();
        if C::is_repeatable(&permit.shape) {
            self.usual = permit.shape;
        }
        self.leased += 1;
        self.opened += 1;
        let terms = Terms {
            serial: Serial(self.opened),
            born: now,
            jitter,
            epoch: permit.epoch,
        };
        let placed = self.place(Checkout::new(conn, terms), now);
        self.count(placed)
    }

    /// The dial failed. Those returned wait no longer and must be told why. `jitter` is a random
    /// number.
    ///
    /// Holding back protects the database; so does its exception, for a client that asks for
    /// something strange must not hold up the others. But where the usual shape is refused, the
    /// pool itself would ask again and again. A dial from before a pause or a reconnect says
    /// nothing about how the database is now.
    pub fn failed(
        &mut self,
        permit: Permit<C::Shape>,
        blame: Blame,
        jitter: u32,
        now: Instant,
    ) -> Vec<W> {
        self.spend(&permit);
        self.check();
        if permit.epoch != self.epoch {
            return Vec::new();
        }
        if blame != Blame::Shape || permit.shape == self.usual {
            self.backoff.failed(jitter, now);
        }
        match blame {
            Blame::Shape => self.waiting.take_all(|shape| *shape == permit.shape),
            Blame::Passing => Vec::new(),
            Blame::Database if self.total() > 0 => Vec::new(),
            Blame::Tenant | Blame::Database => self.waiting.take_all(|_| true),
        }
    }

    /// Takes a connection back, which may make room for another: ask for permits next.
    pub fn release(
        &mut self,
        checkout: Checkout<C>,
        verdict: Verdict,
        now: Instant,
    ) -> Placed<C, W> {
        assert!(
            self.leased > 0,
            "a checkout goes back to the pool that it came from, once"
        );
        self.learn(&checkout.terms, verdict, now);
        let placed = match verdict {
            Verdict::Close(reason) => Placed::Closed(checkout.conn, reason),
            Verdict::Stillborn => Placed::Closed(checkout.conn, CloseReason::Broken),
            Verdict::Reusable => self.place(checkout, now),
        };
        self.count(placed)
    }

    /// Closes what has become too old, was idle for too long, or has no place any more. What is
    /// returned is the caller's to close; it may be below `min` now: ask for permits next.
    pub fn upkeep(&mut self, now: Instant) -> Vec<(C, CloseReason)> {
        self.look_at_idle(now);
        let mut closed = Vec::new();
        let mut next = 0;
        while let Some(idle) = self.idle.get(next) {
            let overdue = self.overdue(&idle.terms, now);
            match overdue.or_else(|| self.surplus(idle, now)) {
                Some(reason) => closed.push((self.idle.remove(next).conn, reason)),
                None => next += 1,
            }
        }
        self.check();
        closed
    }

    /// When [`upkeep`](Self::upkeep) or [`next_permit`](Self::next_permit) will have something to
    /// do, if nothing else happens before. May be in the past.
    pub fn next_upkeep(&self) -> Option<Instant> {
        let expiries = self
            .idle
            .iter()
            .filter_map(|idle| idle.terms.expiry(&self.limits));
        let too_old = expiries.min();
        let is_surplus = self.total() > self.limits.floor();
        let longest_idle = self.idle.first().filter(|_| is_surplus);
        let idle_too_long = longest_idle.and_then(|idle| idle.timeout(&self.limits));
        let may_dial = self.has_room() && self.wanted().is_some();
        let retry = self.backoff.until().filter(|_| may_dial);
        [too_old, idle_too_long, retry].into_iter().flatten().min()
    }

    /// Takes out idle connections that are of no use any more, for the database has closed them or
    /// has spoken out of turn. They are the caller's to close.
    pub fn remove_idle(&mut self, now: Instant, mut useless: impl FnMut(&mut C) -> bool) -> Vec<C> {
        let removed = self.idle.extract_if(.., |idle| useless(&mut idle.conn));
        let removed: Vec<_> = removed.collect();
        for idle in &removed {
            self.learn(&idle.terms, Verdict::Stillborn, now);
        }
        self.check();
        removed.into_iter().map(|idle| idle.conn).collect()
    }

    /// Changes the limits in place. Where less is allowed than stands, [`upkeep`](Self::upkeep)
    /// closes idle ones, and those that are out are closed when they come back.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
        self.check();
    }

    /// Opens nothing and closes what comes back, while clients wait: for the time in which the
    /// database is restarted. [`upkeep`](Self::upkeep) closes the idle ones.
    pub fn pause(&mut self) {
        self.gate = Gate::Paused;
        self.epoch += 1;
    }

    /// Gives out nothing and closes what comes back. The clients returned wait in vain and must be
    /// told. [`upkeep`](Self::upkeep) closes the idle ones.
    pub fn drain(&mut self) -> Vec<W> {
        self.gate = Gate::Draining;
        self.dismiss_waiting()
    }

    /// Ends a pause or a drain. The first dial goes at once.
    pub fn resume(&mut self) {
        self.gate = Gate::Open;
        self.backoff.reset();
    }

    /// Replaces every connection: idle ones at the next [`upkeep`](Self::upkeep), those that are
    /// out or being opened when they come back. The first dial goes at once.
    pub fn reconnect(&mut self) {
        self.epoch += 1;
        self.backoff.reset();
    }

    /// The limits in force.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// How many there are now.
    pub fn gauges(&self) -> Gauges {
        Gauges {
            idle: self.idle.len(),
            leased: self.leased,
            opening: self.dials.len(),
            waiting: self.waiting.len(),
        }
    }

    /// Where a connection that is fit for use goes. It still counts as leased.
    fn place(&mut self, checkout: Checkout<C>, now: Instant) -> Placed<C, W> {
        let Checkout {
            conn,
            terms,
            idle_since,
        } = checkout;
        if let Some(reason) = self.overdue(&terms, now) {
            return Placed::Closed(conn, reason);
        }
        let first = self.waiting.first_of(conn.shape());
        if self.must_make_room(first, now) {
            return Placed::Closed(conn, CloseReason::MadeRoom);
        }
        if let Some(waiter) = first.and_then(|first| self.waiting.take(first)) {
            return Placed::Handed {
                waiter,
                checkout: Checkout::new(conn, terms),
            };
        }
        let since = idle_since.unwrap_or(now);
        let position = self.idle.partition_point(|idle| idle.since <= since);
        self.idle.insert(position, Idle { conn, terms, since });
        Placed::Parked
    }

    /// What was leased is so no longer, unless it has been handed on.
    fn count(&mut self, placed: Placed<C, W>) -> Placed<C, W> {
        if !matches!(placed, Placed::Handed { .. }) {
            self.leased -= 1;
        }
        self.check();
        placed
    }

    /// Whether somebody before the first whom a connection would fit could be dialled for, if only
    /// that connection went.
    fn must_make_room(&self, first: Option<usize>, now: Instant) -> bool {
        if self.has_room() || !self.backoff.is_over(now) {
            return false;
        }
        match self.wanted() {
            Some(Wanted::For(position)) => first.is_none_or(|first| position < first),
            _ => false,
        }
    }

    /// The dial that is justified, setting aside whether there is room and whether dials fail.
    fn wanted(&self) -> Option<Wanted> {
        let at_once = self.backoff.dials_at_once(&self.limits);
        if self.gate != Gate::Open || self.dials.len() >= at_once {
            return None;
        }
        match self.waiting.first_beyond(&self.dials) {
            Some(position) => Some(Wanted::For(position)),
            None => (self.total() < self.limits.floor()).then_some(Wanted::Ahead),
        }
    }

    /// Whether one more may be opened, perhaps in the place of an idle one.
    fn has_room(&self) -> bool {
        match self.total().cmp(&self.limits.max) {
            Ordering::Less => true,
            Ordering::Equal => !self.idle.is_empty(),
            Ordering::Greater => false,
        }
    }

    /// A dial under way has ended.
    fn spend(&mut self, permit: &Permit<C::Shape>) {
        let dial = self.dials.iter().position(|shape| *shape == permit.shape);
        let Some(dial) = dial else {
            panic!("a permit goes to the pool that gave it, once")
        };
        self.dials.swap_remove(dial);
    }

    fn total(&self) -> usize {
        self.idle.len() + self.leased + self.dials.len()
    }

    /// Asserts the invariant. After the limits shrank, what stands may only become less.
    fn check(&mut self) {
        assert!(
            self.total() <= self.ceiling,
            "idle + leased + opening <= max"
        );
        self.ceiling = self.limits.max.max(self.total());
    }
}

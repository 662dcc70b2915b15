//! Random operations on a pool, each answer compared with what a naive model says it should be.
//!
//! The model keeps plain lists and counts everything anew each time. A run is a seed; a failure
//! prints it, and `POOL_SEED=<seed>` runs that one alone. `POOL_SEEDS` sets how many there are.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod naive;
mod random;

use std::time::{Duration, Instant};

use pool::{
    Acquired, BACKOFF_FIRST, BACKOFF_LAST, Blame, Checkout, CloseReason, INFANCY, Limits, Permit,
    Placed, Pool, Pooled, Refusal, Serial, Ticket, Verdict,
};
use random::Random;

#[test]
fn a_pool_answers_as_its_model() {
    let number = |name| {
        std::env::var(name)
            .ok()
            .map(|text| text.parse::<u64>().unwrap())
    };
    let seeds = match number("POOL_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("POOL_SEEDS").unwrap_or(200),
    };
    for seed in seeds {
        println!("seed {seed}");
        let mut run = Run::new(seed);
        for _ in 0..STEPS {
            run.step();
        }
        run.settle();
    }
}

const STEPS: usize = 1000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Conn {
    number: usize,
    shape: u8,
}

impl Pooled for Conn {
    type Shape = u8;

    fn shape(&self) -> &u8 {
        &self.shape
    }
}

/// What the model knows of a connection, by its number.
#[derive(Debug, Clone, Copy)]
struct Known {
    shape: u8,
    epoch: u32,
    born: Instant,
    /// The fraction that its random number stands for.
    part: f64,
    since: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gate {
    Open,
    Paused,
    Draining,
}

#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Handed(usize),
    Parked,
    Closed(CloseReason),
}

struct Run {
    random: Random,
    pool: Pool<Conn, usize>,
    checkouts: Vec<Checkout<Conn>>,
    permits: Vec<(Permit<u8>, u32)>,
    // The model.
    now: Instant,
    limits: Limits,
    gate: Gate,
    epoch: u32,
    usual: u8,
    /// Every connection there ever was, by its number.
    known: Vec<Known>,
    /// Connections that a client may have had: what the pool calls them, and their numbers.
    had: Vec<(Serial, usize)>,
    /// Numbers of idle connections, longest idle first.
    idle: Vec<usize>,
    queue: Vec<(Ticket, usize, u8)>,
    clients: usize,
    failures: u32,
    held_until: Instant,
    /// The last connection that died young; until a later one has proved itself.
    stillborn: Option<usize>,
}

impl Run {
    fn new(seed: u64) -> Run {
        let mut random = Random(seed);
        let limits = random.limits();
        let now = Instant::now();
        Run {
            random,
            pool: Pool::new(limits, 0),
            checkouts: Vec::new(),
            permits: Vec::new(),
            now,
            limits,
            gate: Gate::Open,
            epoch: 0,
            usual: 0,
            known: Vec::new(),
            had: Vec::new(),
            idle: Vec::new(),
            queue: Vec::new(),
            clients: 0,
            failures: 0,
            held_until: now,
            stillborn: None,
        }
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..30 => self.client_comes(),
            30..55 => self.client_gives_back(),
            55..75 => self.dial_ends(),
            75..80 => self.client_leaves_the_queue(),
            80..90 => self.now += Duration::from_millis(self.random.below(2000)),
            90..95 => self.upkeep(),
            95 => self.connection_dies(),
            96 | 97 => self.limits_change(),
            98 => self.reconnect(),
            _ => self.gate_turns(),
        }
        self.take_permits();
        self.compare();
    }

    fn client_comes(&mut self) {
        let shape = self.random.shape();
        let fits = |&number: &usize| {
            let known = self.known[number];
            known.shape == shape && known.epoch == self.epoch
        };
        let last = match self.random.below(2) * self.had.len() as u64 {
            0 => None,
            many => Some(self.had[self.random.below(many) as usize]),
        };
        let again = last.map(|(_, number)| number);
        let again = again.filter(|number| self.idle.contains(number) && fits(number));
        let expected = again.or_else(|| self.idle.iter().copied().rfind(fits));
        let last = last.map(|(serial, _)| serial);
        match self.pool.acquire(&shape, last) {
            Acquired::Ready(checkout) => {
                assert_ne!(self.gate, Gate::Draining);
                assert_eq!(Some(checkout.number), expected);
                assert!(
                    self.queue.iter().all(|waiter| waiter.2 != shape),
                    "overtaken"
                );
                self.idle.retain(|&number| number != checkout.number);
                self.had.push((checkout.serial(), checkout.number));
                self.checkouts.push(checkout);
            }
            Acquired::Full => {
                assert_eq!(expected, None);
                self.clients += 1;
                let ticket = self.pool.enqueue(shape, self.clients);
                self.queue.push((ticket, self.clients, shape));
            }
            Acquired::Refused(Refusal::QueueFull) => {
                assert_eq!(expected, None);
                assert!((1..=self.queue.len()).contains(&self.limits.max_waiting));
            }
            Acquired::Refused(Refusal::Draining) => assert_eq!(self.gate, Gate::Draining),
        }
    }

    fn client_gives_back(&mut self) {
        let Some(checkout) = self.random.take(&mut self.checkouts) else {
            return;
        };
        let verdict = match self.random.below(16) {
            0 => Verdict::Close(CloseReason::Broken),
            1 | 2 => Verdict::Stillborn,
            _ => return self.give_back(checkout),
        };
        self.learn(checkout.number, verdict);
        let placed = self.pool.release(checkout, verdict, self.now);
        assert!(matches!(placed, Placed::Closed(_, CloseReason::Broken)));
    }

    fn give_back(&mut self, checkout: Checkout<Conn>) {
        let number = checkout.number;
        self.learn(number, Verdict::Reusable);
        let fate = self.fate(number);
        let placed = self.pool.release(checkout, Verdict::Reusable, self.now);
        self.note(number, fate, placed);
    }

    fn dial_ends(&mut self) {
        let Some((permit, epoch)) = self.random.take(&mut self.permits) else {
            return;
        };
        match self.random.below(6) {
            0 => self.dial_fails(permit, epoch),
            _ => self.dial_succeeds(permit, epoch),
        }
    }

    fn dial_succeeds(&mut self, permit: Permit<u8>, epoch: u32) {
        let (shape, number) = (*permit.shape(), self.known.len());
        let (jitter, part) = self.random.jitter();
        self.usual = shape;
        if self.stillborn.is_none() {
            self.stop_holding_back();
        }
        self.known.push(Known {
            shape,
            epoch,
            born: self.now,
            part,
            since: self.now,
        });
        let fate = self.fate(number);
        let placed = self
            .pool
            .opened(permit, Conn { number, shape }, jitter, self.now);
        self.note(number, fate, placed);
    }

    fn dial_fails(&mut self, permit: Permit<u8>, epoch: u32) {
        let (jitter, part) = self.random.jitter();
        let shape = *permit.shape();
        let blame = [Blame::Shape, Blame::Tenant, Blame::Database, Blame::Passing]
            [self.random.below(4) as usize];
        let told = self.pool.failed(permit, blame, jitter, self.now);
        let stale = epoch != self.epoch;
        let hope = self.total() > 0;
        let is_told = |waiter: &(Ticket, usize, u8)| match blame {
            _ if stale => false,
            Blame::Shape => waiter.2 == shape,
            Blame::Tenant => true,
            Blame::Database => !hope,
            Blame::Passing => false,
        };
        let expected: Vec<usize> = self
            .queue
            .iter()
            .filter(|w| is_told(w))
            .map(|w| w.1)
            .collect();
        assert_eq!(told, expected);
        self.queue.retain(|waiter| !is_told(waiter));
        let counts = !stale && (blame != Blame::Shape || shape == self.usual);
        if counts {
            self.hold_back(part);
        }
    }

    fn hold_back(&mut self, part: f64) {
        if self.held_until <= self.now {
            let step = BACKOFF_LAST.min(BACKOFF_FIRST * 2u32.pow(self.failures.min(10)));
            self.held_until = self.now + step.mul_f64(0.5 + part / 2.0);
            self.failures += 1;
        }
    }

    /// A connection comes back, or dies: it may have been a dial that failed, or prove that dials
    /// succeed again.
    fn learn(&mut self, number: usize, verdict: Verdict) {
        let known = self.known[number];
        let is_young = self.now < known.born + INFANCY;
        if known.epoch != self.epoch {
        } else if verdict == Verdict::Stillborn && is_young {
            self.stillborn = self.stillborn.max(Some(number));
            self.hold_back(known.part);
        } else if (verdict == Verdict::Reusable || !is_young)
            && self.stillborn.is_some_and(|stillborn| stillborn < number)
        {
            self.stop_holding_back();
        }
    }

    fn client_leaves_the_queue(&mut self) {
        let Some((ticket, client, _)) = self.random.take(&mut self.queue) else {
            return;
        };
        assert_eq!(self.pool.abandon(ticket), Some(client));
        assert_eq!(self.pool.abandon(ticket), None);
    }

    fn upkeep(&mut self) {
        for number in self.idle.clone() {
            self.learn(number, Verdict::Close(CloseReason::Broken));
        }
        let mut expected = Vec::new();
        for number in self.idle.clone() {
            let timeout = self.limits.idle_timeout;
            let idle_for = self.now - self.known[number].since;
            let surplus = !timeout.is_zero() && idle_for >= timeout && self.total() > self.floor();
            let idle_timeout = surplus.then_some(CloseReason::IdleTimeout);
            if let Some(reason) = self.overdue(number, self.total()).or(idle_timeout) {
                self.idle.retain(|&other| other != number);
                expected.push((number, reason));
            }
        }
        let closed = self.pool.upkeep(self.now).into_iter();
        assert_eq!(
            closed
                .map(|(conn, why)| (conn.number, why))
                .collect::<Vec<_>>(),
            expected
        );
        let later = self.pool.next_upkeep().is_none_or(|next| next > self.now);
        assert!(
            later || self.dial_wanted().is_some(),
            "upkeep leaves nothing to be done"
        );
    }

    fn connection_dies(&mut self) {
        let Some(number) = self.random.take(&mut self.idle) else {
            return;
        };
        self.learn(number, Verdict::Stillborn);
        let removed = self
            .pool
            .remove_idle(self.now, |conn| conn.number == number);
        assert_eq!(removed.len(), 1);
    }

    fn limits_change(&mut self) {
        self.limits = self.random.limits();
        self.pool.set_limits(self.limits);
    }

    fn reconnect(&mut self) {
        self.pool.reconnect();
        self.epoch += 1;
        self.stop_holding_back();
    }

    fn gate_turns(&mut self) {
        self.gate = match (self.gate, self.random.below(2)) {
            (Gate::Open, 0) => {
                self.epoch += 1;
                self.pool.pause();
                Gate::Paused
            }
            (Gate::Open, _) => {
                let told = self.pool.drain();
                assert_eq!(told, self.queue.drain(..).map(|w| w.1).collect::<Vec<_>>());
                Gate::Draining
            }
            _ => {
                self.pool.resume();
                self.stop_holding_back();
                Gate::Open
            }
        };
    }

    /// The caller's duty after each change: takes the permits there are, and no dial is missed.
    fn take_permits(&mut self) {
        loop {
            let expected = self.dial_wanted().filter(|_| self.held_until <= self.now);
            let full = self.total() == self.limits.max;
            let Some(grant) = self.pool.next_permit(self.now) else {
                assert_eq!(expected, None, "a dial is due");
                return;
            };
            assert_eq!(
                Some((*grant.permit.shape(), grant.permit.reason())),
                expected
            );
            let evicted = full.then(|| self.idle.remove(0));
            assert_eq!(grant.evicted.map(|conn| conn.number), evicted);
            self.permits.push((grant.permit, self.epoch));
        }
    }

    fn note(&mut self, number: usize, fate: Fate, placed: Placed<Conn, usize>) {
        match placed {
            Placed::Handed { waiter, checkout } => {
                assert_eq!((Fate::Handed(waiter), checkout.number), (fate, number));
                self.queue.retain(|other| other.1 != waiter);
                self.checkouts.push(checkout);
            }
            Placed::Parked => {
                assert_eq!(Fate::Parked, fate);
                self.known[number].since = self.now;
                self.idle.push(number);
            }
            Placed::Closed(conn, reason) => {
                assert_eq!((Fate::Closed(reason), conn.number), (fate, number));
            }
        }
    }

    fn stop_holding_back(&mut self) {
        (self.failures, self.held_until, self.stillborn) = (0, self.now, None);
    }

    fn compare(&self) {
        let gauges = self.pool.gauges();
        let lengths = [self.idle.len(), self.checkouts.len(), self.permits.len()];
        assert_eq!([gauges.idle, gauges.leased, gauges.opening], lengths);
        assert_eq!(gauges.waiting, self.queue.len());
        assert_eq!(self.pool.limits(), &self.limits);
    }

    /// When clients give back what they have and dials succeed, everybody who waits is served.
    fn settle(&mut self) {
        if self.gate != Gate::Open {
            self.gate = Gate::Open;
            self.pool.resume();
            self.stop_holding_back();
        }
        let rounds = 4 * (self.queue.len() + self.total() + 1);
        for _ in 0..rounds {
            self.now += BACKOFF_LAST;
            self.upkeep();
            self.take_permits();
            while let Some((permit, epoch)) = self.permits.pop() {
                self.dial_succeeds(permit, epoch);
            }
            for _ in 0..self.checkouts.len() {
                let checkout = self.checkouts.remove(0);
                self.give_back(checkout);
            }
        }
        assert!(self.queue.is_empty(), "somebody starves");
    }
}

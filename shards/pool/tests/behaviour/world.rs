//! A pool and its clock. A connection is a number and a letter, its shape; a client is a number.

use std::time::{Duration, Instant};

use pool::{
    Acquired, Blame, Checkout, CloseReason, Limits, Permit, Placed, Pool, Pooled, Ticket, Verdict,
};

#[derive(Debug, PartialEq, Eq)]
pub struct Conn(pub u32, pub char);

impl Pooled for Conn {
    type Shape = char;

    fn shape(&self) -> &char {
        &self.1
    }

    fn is_repeatable(shape: &char) -> bool {
        *shape != ONCE
    }
}

/// A shape that there is one connection of.
pub const ONCE: char = '!';

pub const LIMITS: Limits = Limits {
    min: 0,
    max: 2,
    max_dials: 0,
    max_waiting: 0,
    idle_timeout: Duration::ZERO,
    max_lifetime: Duration::ZERO,
};

/// A pool, its clock, and the numbers of connections and clients given out so far.
pub struct World {
    pub pool: Pool<Conn, u32>,
    pub now: Instant,
    pub conns: u32,
    clients: u32,
}

impl World {
    pub fn new(limits: Limits) -> World {
        World {
            pool: Pool::new(limits, 'a'),
            now: Instant::now(),
            conns: 0,
            clients: 0,
        }
    }

    pub fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    /// A client comes, and must wait. Clients are numbered from 1.
    pub fn wait(&mut self, shape: char) -> Ticket {
        assert!(matches!(self.pool.acquire(&shape, None), Acquired::Full));
        self.clients += 1;
        self.pool.enqueue(shape, self.clients)
    }

    pub fn get(&mut self, shape: char) -> Checkout<Conn> {
        match self.pool.acquire(&shape, None) {
            Acquired::Ready(checkout) => checkout,
            other => panic!("no idle connection: {other:?}"),
        }
    }

    /// All permits there are now; nothing may be evicted for them.
    pub fn permits(&mut self) -> Vec<Permit<char>> {
        let grants = std::iter::from_fn(|| self.pool.next_permit(self.now));
        grants
            .inspect(|grant| assert_eq!(grant.evicted, None))
            .map(|grant| grant.permit)
            .collect()
    }

    /// Spends a permit well. Connections are numbered from 1.
    pub fn open(&mut self, permit: Permit<char>) -> Placed<Conn, u32> {
        self.conns += 1;
        let conn = Conn(self.conns, *permit.shape());
        self.pool.opened(permit, conn, 0, self.now)
    }

    pub fn fail(&mut self, permit: Permit<char>, blame: Blame) -> Vec<u32> {
        self.pool.failed(permit, blame, 0, self.now)
    }

    /// A client comes and gets a connection of its own.
    pub fn dial(&mut self, shape: char) -> Checkout<Conn> {
        self.wait(shape);
        let permit = self.permits().pop().unwrap();
        handed(self.open(permit)).1
    }

    pub fn give_back(&mut self, checkout: Checkout<Conn>) -> Placed<Conn, u32> {
        self.pool.release(checkout, Verdict::Reusable, self.now)
    }

    pub fn park(&mut self, checkout: Checkout<Conn>) {
        assert!(matches!(self.give_back(checkout), Placed::Parked));
    }

    /// The client could do nothing with it: the database has closed it.
    pub fn lose(&mut self, checkout: Checkout<Conn>) {
        let placed = self.pool.release(checkout, Verdict::Stillborn, self.now);
        assert_eq!(closed(placed).1, CloseReason::Broken);
    }

    /// The database closes this one, if it is idle.
    pub fn bury(&mut self, number: u32) -> Vec<Conn> {
        self.pool.remove_idle(self.now, |conn| conn.0 == number)
    }

    pub fn upkeep(&mut self) -> Vec<(u32, CloseReason)> {
        self.pool
            .upkeep(self.now)
            .into_iter()
            .map(|(conn, why)| (conn.0, why))
            .collect()
    }

    /// `[idle, leased, opening, waiting]`
    pub fn gauges(&self) -> [usize; 4] {
        let gauges = self.pool.gauges();
        [gauges.idle, gauges.leased, gauges.opening, gauges.waiting]
    }
}

pub fn handed(placed: Placed<Conn, u32>) -> (u32, Checkout<Conn>) {
    match placed {
        Placed::Handed { waiter, checkout } => (waiter, checkout),
        other => panic!("handed to nobody: {other:?}"),
    }
}

pub fn closed(placed: Placed<Conn, u32>) -> (u32, CloseReason) {
    match placed {
        Placed::Closed(conn, reason) => (conn.0, reason),
        other => panic!("not closed: {other:?}"),
    }
}

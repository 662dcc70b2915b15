//! A pooled connection: how it is got, its being out, what becomes of it, its terms while it lives.

use std::ops::{Deref, DerefMut};
use std::time::Instant;

use crate::dial::INFANCY;
use crate::limits::Limits;

/// What can be pooled.
pub trait Pooled {
    /// What a connection is fit for: a client is given one whose shape equals the shape it asked
    /// for. Fixed when the connection is dialled. Cloned often, so an `Rc` or a small value.
    type Shape: Clone + Eq;

    /// The shape this connection was dialled with.
    fn shape(&self) -> &Self::Shape;

    /// Whether others of this shape could be dialled.
    fn is_repeatable(_shape: &Self::Shape) -> bool {
        true
    }
}

/// For connections that are too big to go from hand to hand themselves.
impl<C: Pooled> Pooled for Box<C> {
    type Shape = C::Shape;

    fn shape(&self) -> &C::Shape {
        (**self).shape()
    }

    fn is_repeatable(shape: &C::Shape) -> bool {
        C::is_repeatable(shape)
    }
}

/// The answer to a client that needs a connection.
#[derive(Debug)]
#[must_use]
pub enum Acquired<C> {
    /// Here it is.
    Ready(Checkout<C>),
    /// None is idle: [`Pool::enqueue`](crate::Pool::enqueue), then dial what
    /// [`Pool::next_permit`](crate::Pool::next_permit) allows.
    Full,
    /// There will be none.
    Refused(Refusal),
}

/// Why a client is turned away without waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The pool gives out no connection any more.
    Draining,
    /// `max_waiting` clients wait already.
    QueueFull,
}

/// Which connection, of all that a pool has ever had: for a client that comes again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Serial(pub(crate) u64);

/// A connection that is out. It dereferences to the connection.
///
/// It is counted as leased until it is given back to the pool it came from; one that is dropped
/// instead is counted for ever.
#[derive(Debug)]
#[must_use = "a connection that is out must be given back with `Pool::release`"]
pub struct Checkout<C> {
    pub(crate) conn: C,
    pub(crate) terms: Terms,
    /// Since when it has been idle, if it is only out to be looked at.
    pub(crate) idle_since: Option<Instant>,
}

impl<C> Checkout<C> {
    /// Which connection it is.
    pub fn serial(&self) -> Serial {
        self.terms.serial
    }

    pub(crate) fn new(conn: C, terms: Terms) -> Checkout<C> {
        Checkout {
            conn,
            terms,
            idle_since: None,
        }
    }
}

impl<C> Deref for Checkout<C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.conn
    }
}

impl<C> DerefMut for Checkout<C> {
    fn deref_mut(&mut self) -> &mut C {
        &mut self.conn
    }
}

/// What the holder of a checkout says about it when giving it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Its state is known to be clean: it may serve anybody of its shape.
    Reusable,
    /// The database closed it, or spoke out of turn, and nobody has ever been served by it. Closed as
    /// [`CloseReason::Broken`].
    Stillborn,
    /// It must not serve anybody again, and why.
    Close(CloseReason),
}

/// What became of a connection that was opened or given back.
#[derive(Debug)]
#[must_use = "a connection handed over must reach its waiter, a closed one must be closed"]
pub enum Placed<C, W> {
    /// It is leased to the client that has waited longest for one of this shape. If that client
    /// has gone meanwhile, release the checkout: it then goes to the next.
    Handed {
        /// Whom to wake.
        waiter: W,
        /// What to wake it with.
        checkout: Checkout<C>,
    },
    /// It is idle in the pool.
    Parked,
    /// It is no longer the pool's; the caller closes it.
    Closed(C, CloseReason),
}

/// Why a connection was closed. The pool names the first seven; whoever held it names the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// It was idle for `idle_timeout`, and more than `min` stood.
    IdleTimeout,
    /// It reached its `max_lifetime`.
    MaxLifetime,
    /// More than `max` stood, since the limit was lowered.
    OverMax,
    /// A client that had waited longer needed the room for one of another shape.
    MadeRoom,
    /// It was opened before the last [`Pool::reconnect`](crate::Pool::reconnect).
    Reconnect,
    /// The pool is paused.
    Paused,
    /// The pool is draining.
    Draining,
    /// The client it belonged to has left, and it is for one client only.
    SessionEnd,
    /// Its state could not be cleaned, or is unknown.
    Unclean,
    /// The database closed it, or spoke out of turn.
    Broken,
}

impl CloseReason {
    /// All of them, in the order of their values.
    pub const ALL: [CloseReason; 10] = [
        CloseReason::IdleTimeout,
        CloseReason::MaxLifetime,
        CloseReason::OverMax,
        CloseReason::MadeRoom,
        CloseReason::Reconnect,
        CloseReason::Paused,
        CloseReason::Draining,
        CloseReason::SessionEnd,
        CloseReason::Unclean,
        CloseReason::Broken,
    ];
}

/// What the pool knows of a connection while it lives.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    pub serial: Serial,
    pub born: Instant,
    /// Chosen once, so that the lifetime stays the same however often it is asked for.
    pub jitter: u32,
    /// The pool's epoch when the dial began.
    pub epoch: u64,
}

impl Terms {
    /// When the lifetime ends; `None` for never.
    pub fn expiry(&self, limits: &Limits) -> Option<Instant> {
        self.born.checked_add(limits.lifetime(self.jitter)?)
    }

    pub fn is_over(&self, limits: &Limits, now: Instant) -> bool {
        self.expiry(limits).is_some_and(|expiry| expiry <= now)
    }

    /// Whether it is too young for its being there to mean anything.
    pub fn is_infant(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.born) < INFANCY
    }
}

/// A connection that nobody uses.
#[derive(Debug)]
pub(crate) struct Idle<C> {
    pub conn: C,
    pub terms: Terms,
    pub since: Instant,
}

impl<C> Idle<C> {
    /// When it has been idle for too long; `None` for never.
    pub fn timeout(&self, limits: &Limits) -> Option<Instant> {
        if limits.idle_timeout.is_zero() {
            None
        } else {
            self.since.checked_add(limits.idle_timeout)
        }
    }
    pub fn is_over(&self, limits: &Limits, now: Instant) -> bool {
        self.timeout(limits).is_some_and(|timeout| timeout <= now)
    }
}

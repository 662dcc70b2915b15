//! A tenant on its shard: what was asked for, its pool, and who is connected.
//!
//! All of it belongs to one shard, by `Rc` and `RefCell`; a borrow lasts for one expression.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use log::{debug, info, warn};
use pool::{Blame, Checkout, CloseReason, Grant, Permit, Placed, Pool, Verdict};

use crate::backend::{Backend, Shape};
use crate::contract::TenantSpec;
use crate::dial::{self, DialFailure};
use crate::lease::Gift;
use crate::random;
use crate::seat::Seat;
use crate::secrets::Secrets;

/// One tenant.
pub struct Tenant {
    /// Replaced as a whole when limits change; where it points never changes (a fresh tenant takes
    /// the name then).
    spec: RefCell<Rc<TenantSpec>>,
    pool: RefCell<Pool<Backend, Seat<Gift>>>,
    /// What clients' proofs are checked against, and what backends log in with.
    pub secrets: Secrets,
    /// Set when the tenant is to go: its sessions end at their next boundary.
    pub leaving: Cell<bool>,
}

impl Tenant {
    /// A tenant with an empty pool. Call [`Tenant::dial_what_is_due`] to open its first backends.
    pub fn new(spec: TenantSpec) -> Rc<Tenant> {
        let pool = Pool::new(spec.limits, Shape::usual(spec.dialect));
        Rc::new(Tenant {
            secrets: Secrets::default(),
            pool: RefCell::new(pool),
            spec: RefCell::new(Rc::new(spec)),
            leaving: Cell::new(false),
        })
    }

    /// What was asked for.
    pub fn spec(&self) -> Rc<TenantSpec> {
        Rc::clone(&self.spec.borrow())
    }

    /// Takes new limits, users and times; the database is the same.
    pub fn amend(self: &Rc<Self>, spec: TenantSpec) {
        self.with_pool(|pool| pool.set_limits(spec.limits));
        self.secrets.forget();
        *self.spec.borrow_mut() = Rc::new(spec);
        self.upkeep();
    }

    /// Gives out no backend any more: the idle ones are closed now, the others when they come back.
    pub fn close(self: &Rc<Self>) {
        self.leaving.set(true);
        for (backend, reason) in self.with_pool(Pool::drain) {
            self.dismiss(backend, reason);
        }
    }

    /// One question to the pool. It answers at once; whatever must be awaited or woken comes after.
    pub fn with_pool<T>(&self, ask: impl FnOnce(&mut Pool<Backend, Seat<Gift>>) -> T) -> T {
        ask(&mut self.pool.borrow_mut())
    }

    /// Takes back what was leased, and sees to whoever can be served by that.
    pub fn give_back(self: &Rc<Self>, checkout: Checkout<Backend>, verdict: Verdict) {
        let placed = self.with_pool(|pool| pool.release(checkout, verdict, Instant::now()));
        self.place(placed);
        self.dial_what_is_due();
    }

    /// Starts every dial that the pool permits now.
    pub fn dial_what_is_due(self: &Rc<Self>) {
        while let Some(Grant { permit, evicted }) = self.with_pool(|pool| pool.next_permit(Instant::now())) {
            if let Some(backend) = evicted {
                self.dismiss(backend, CloseReason::MadeRoom);
            }
            sockets::spawn(Rc::clone(self).dial(permit)).detach();
        }
    }

    /// Spends one permit.
    async fn dial(self: Rc<Self>, permit: Permit<Shape>) {
        let spec = self.spec();
        let dialled = dial::dial(&spec, permit.shape(), &self.secrets).await;
        match dialled {
            Ok(backend) => {
                debug!("tenant {}: opened {} ({:?})", spec.id, backend, permit.reason());
                let placed = self.with_pool(|pool| pool.opened(permit, backend, random::u32(), Instant::now()));
                self.place(placed);
            }
            Err(failure) => {
                warn!("tenant {}: no connection to {}:{}: {failure}", spec.id, spec.host, spec.port);
                let blame = failure.blame();
                let told = self.with_pool(|pool| pool.failed(permit, blame, random::u32(), Instant::now()));
                for seat in told {
                    seat.give(Err(failure.clone()));
                }
            }
        }
        self.dial_what_is_due();
    }

    /// Closes what is too old, too idle or dead, opens what is missing. Called about once a second.
    pub fn upkeep(self: &Rc<Self>) {
        let closed = self.with_pool(|pool| {
            let mut closed = pool.remove_idle(|backend| !backend.conn.is_quiet());
            closed.extend(pool.upkeep(Instant::now()));
            closed
        });
        for (backend, reason) in closed {
            self.dismiss(backend, reason);
        }
        self.dial_what_is_due();
    }

    /// Carries out where the pool put a connection.
    fn place(self: &Rc<Self>, placed: Placed<Backend, Seat<Gift>>) {
        match placed {
            Placed::Handed { waiter, checkout } => waiter.give(Ok(checkout)),
            Placed::Parked => {}
            Placed::Closed(backend, reason) => self.dismiss(backend, reason),
        }
    }

    /// Closes a backend politely.
    fn dismiss(&self, backend: Backend, reason: CloseReason) {
        debug!("tenant {}: closing {backend}: {reason:?}", self.spec.borrow().id);
        backend.dismiss();
    }
}

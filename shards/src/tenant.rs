//! A tenant on its shard: what was asked for, its pool, and who is connected.
//!
//! All of it belongs to one shard, by `Rc` and `RefCell`; a borrow lasts for one expression.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{Level, debug, warn};
use pool::{Blame, Checkout, CloseReason, Grant, Permit, Placed, Pool, Verdict};
use wire::pg::pooling::Commons;

use crate::backend::{Backend, Shape, Welcome};
use crate::condemned::Condemned;
use crate::connection_ids::OwnIds;
use crate::contract::{Standing, Steering, TenantSnapshot, TenantSpec, WhenUnwell};
use crate::control::{Leave, Sessions};
use crate::dial::{self, DialFailure};
use crate::digests::Digests;
use crate::disguise::Disguise;
use crate::health::{self, Checkup};
use crate::keys::Keys;
use crate::lease::{Gift, NotServed};
use crate::lookup::Lookups;
use crate::random;
use crate::resolve::Names;
use crate::rounds::{self, Rounds};
use crate::seat::Seat;
use crate::stats::Stats;
use crate::vigil::{self, Vigil};
use crate::whereabouts::Places;

/// One tenant.
pub struct Tenant {
    /// Replaced as a whole when limits change; where it points never changes (a fresh tenant takes
    /// the name then).
    spec: RefCell<Rc<TenantSpec>>,
    pool: RefCell<Pool<Box<Backend>, Seat<Gift>>>,
    /// What SCRAM logins to the database left, of accounts that the config names: the next is cheap.
    pub scram_keys: Keys,
    /// What clients' own proofs have shown. Never that of anybody else, for with these backends are
    /// logged in as the client's user.
    pub client_keys: Keys,
    /// What MySQL clients have shown by saying their passwords.
    pub digests: Digests,
    /// Users that its database was asked for.
    pub lookups: Lookups,
    /// What PostgreSQL sessions in transaction mode share.
    pub commons: Rc<Commons>,
    /// Where its connections are, and may have been.
    pub places: Places,
    /// A dial is due when the back-off is over, and a timer is running for it.
    retrying: Cell<bool>,
    /// Who is connected.
    pub sessions: Sessions,
    /// How many have proved who they are and have not left.
    pub clients: Cell<usize>,
    /// The ids that MySQL clients were told.
    pub own_ids: OwnIds,
    /// MySQL backends to be killed.
    pub condemned: Condemned,
    standing: Cell<Standing>,
    /// Whether its database is well.
    pub checkup: Checkup,
    /// Watches over idle backends.
    pub vigil: Vigil,
    /// Watches over sessions that take too long.
    pub rounds: Rounds,
    /// The names that its shard is looking up.
    pub names: Rc<Names>,
    /// What its clients are greeted as, and those of all tenants, if it is a MySQL.
    disguise: Arc<Disguise>,
    /// What everything adds up to.
    pub stats: Rc<Stats>,
}

impl Tenant {
    /// A tenant with an empty pool. Call [`Tenant::dial_what_is_due`] to open its first backends.
    /// What it adds up to goes on from `stats`.
    pub fn new(
        spec: TenantSpec,
        stats: Rc<Stats>,
        names: &Rc<Names>,
        disguise: &Arc<Disguise>,
    ) -> Rc<Tenant> {
        let pool = Pool::new(spec.limits, Shape::usual(&spec));
        let tenant = Rc::new(Tenant {
            pool: RefCell::new(pool),
            commons: Commons::new(spec.rules),
            spec: RefCell::new(Rc::new(spec)),
            scram_keys: Keys::default(),
            client_keys: Keys::default(),
            digests: Digests::default(),
            lookups: Lookups::default(),
            places: Places::default(),
            retrying: Cell::new(false),
            sessions: Sessions::default(),
            clients: Cell::new(0),
            own_ids: OwnIds::default(),
            condemned: Condemned::default(),
            standing: Cell::default(),
            checkup: Checkup::default(),
            vigil: Vigil::default(),
            rounds: Rounds::default(),
            names: Rc::clone(names),
            disguise: Arc::clone(disguise),
            stats,
        });
        tenant.digests.amend(&tenant.spec().access);
        // Made before any dial, so it runs before any dial can end.
        sockets::spawn(vigil::keep(Rc::downgrade(&tenant))).detach();
        health::start(&tenant);
        rounds::start(&tenant);
        tenant
    }

    /// What was asked for.
    pub fn spec(&self) -> Rc<TenantSpec> {
        Rc::clone(&self.spec.borrow())
    }

    /// Takes new limits, users and times; the database is the same.
    pub fn amend(self: &Rc<Self>, spec: TenantSpec) {
        self.with_pool(|pool| pool.set_limits(spec.limits));
        self.commons.amend(spec.rules);
        let spec = Rc::new(spec);
        let before = self.spec.replace(Rc::clone(&spec));
        if spec.health_check != before.health_check {
            health::start(self);
        }
        if spec.timeouts != before.timeouts {
            rounds::start(self);
        }
        if spec.access.users != before.access.users {
            self.digests.amend(&spec.access);
        }
        if spec.access.lookup != before.access.lookup {
            self.lookups.forget();
        }
        self.upkeep();
    }

    /// Gives out no backend any more: the idle ones are closed now, the others when they come back,
    /// and sessions leave at their next boundary.
    pub fn close(self: &Rc<Self>, why: Leave) {
        self.standing.set(Standing::Draining);
        for seat in self.with_pool(Pool::drain) {
            seat.give(Err(NotServed::Closed(why)));
        }
        self.sessions.tell_to_leave(why);
        self.upkeep();
    }

    /// Closes for good: whoever has not left after `grace` is cut off.
    pub fn retire(self: &Rc<Self>, grace: Duration) {
        self.close(Leave::TenantClosed);
        let tenant = Rc::downgrade(self);
        sockets::spawn(async move {
            sockets::sleep(grace).await;
            if let Some(tenant) = tenant.upgrade() {
                tenant.sessions.tell_to_leave(Leave::CutOff);
            }
        })
        .detach();
    }

    /// Changes how the pool serves.
    pub fn steer(self: &Rc<Self>, steering: Steering) {
        match steering {
            Steering::Pause => {
                self.with_pool(Pool::pause);
                self.sessions.reopen();
                self.standing.set(Standing::Paused);
            }
            Steering::Drain => self.close(Leave::TenantClosed),
            Steering::Resume => {
                self.with_pool(Pool::resume);
                self.sessions.reopen();
                self.standing.set(Standing::Active);
            }
            Steering::Reconnect => {
                self.with_pool(Pool::reconnect);
                self.places.leave();
                self.lookups.forget();
            }
        }
        self.upkeep();
    }

    /// How it stands.
    pub fn snapshot(&self) -> TenantSnapshot {
        TenantSnapshot {
            id: self.spec.borrow().id.clone(),
            standing: self.standing.get(),
            clients: self.sessions.count(),
            pinned: self.stats.pinned(),
            backends: self.pool.borrow().gauges(),
            health: self.checkup.health(),
            counts: self.stats.counts(),
        }
    }

    /// Whether its pool gives out backends.
    pub fn serves(&self) -> bool {
        self.standing.get() == Standing::Active
    }

    /// How many of its backends sessions have now.
    pub fn in_use(&self) -> usize {
        self.pool.borrow().gauges().leased
    }

    /// Why a client that needs a backend is not to wait for one; `None` if it may.
    pub fn fails_fast(&self) -> Option<String> {
        match self.spec.borrow().when_unwell {
            WhenUnwell::Fail => self.checkup.complaint(),
            WhenUnwell::Queue => None,
        }
    }

    /// One question to the pool. It answers at once; whatever must be awaited or woken comes after.
    pub fn with_pool<T>(&self, ask: impl FnOnce(&mut Pool<Box<Backend>, Seat<Gift>>) -> T) -> T {
        ask(&mut self.pool.borrow_mut())
    }

    /// Takes back what was leased, and sees to whoever can be served by that.
    pub fn give_back(self: &Rc<Self>, mut checkout: Checkout<Box<Backend>>, verdict: Verdict) {
        let verdict = match verdict {
            Verdict::Reusable if !self.vigil.begin(&mut checkout) => match checkout.has_served {
                true => Verdict::Close(CloseReason::Broken),
                false => Verdict::Stillborn,
            },
            verdict => verdict,
        };
        let placed = self.with_pool(|pool| pool.release(checkout, verdict, sockets::now()));
        self.place(placed);
        self.dial_what_is_due();
        if verdict == Verdict::Stillborn {
            self.try_again_later();
        }
    }

    /// Starts every dial that the pool permits now.
    pub fn dial_what_is_due(self: &Rc<Self>) {
        while let Some(Grant { permit, evicted }) =
            self.with_pool(|pool| pool.next_permit(sockets::now()))
        {
            if let Some(backend) = evicted {
                self.dismiss(backend, CloseReason::MadeRoom);
            }
            sockets::spawn(Rc::clone(self).dial(permit)).detach();
        }
    }

    /// Spends one permit.
    async fn dial(self: Rc<Self>, permit: Permit<Shape>) {
        let spec = self.spec();
        let began = Instant::now();
        let dialled = dial::dial(&self, permit.shape()).await;
        match dialled {
            Ok(mut backend) => {
                let took = began.elapsed();
                self.stats.count(|counts| counts.dial_time.add(took, 1));
                debug!(
                    "tenant {}: opened {} ({:?})",
                    spec.id,
                    backend,
                    permit.reason()
                );
                if !self.vigil.begin(&mut backend) {
                    self.dial_failed(&spec, permit, &dial::stillborn());
                    return self.dial_what_is_due();
                }
                health::dial_succeeded(&self);
                self.look_behind_the_disguise(&backend.welcome);
                let route = Rc::clone(&backend.route);
                let placed = self.with_pool(|pool| {
                    pool.opened(permit, Box::new(backend), random::u32(), sockets::now())
                });
                // One that was begun before all were replaced is closed by now.
                if !matches!(placed, Placed::Closed(..)) {
                    self.places.been_at(&route.address);
                }
                self.place(placed);
            }
            Err(failure) => self.dial_failed(&spec, permit, &failure),
        }
        self.dial_what_is_due();
    }

    /// Some drivers go by the version that they are greeted with, and take the database for what it is not.
    fn look_behind_the_disguise(&self, welcome: &Welcome) {
        if let Welcome::MySql(welcome) = welcome
            && self.disguise.saw(welcome.flavour)
        {
            let (id, greeted) = (&self.spec.borrow().id, self.disguise.version());
            warn!(
                "tenant {id}: its database is {}, and clients are greeted as by {greeted}, which some drivers go by: \
                 see listen.mysql_version",
                welcome.server_version
            );
        }
    }

    /// Tells those who waited for it; the others wait for the next attempt.
    fn dial_failed(
        self: &Rc<Self>,
        spec: &TenantSpec,
        permit: Permit<Shape>,
        failure: &DialFailure,
    ) {
        self.stats
            .count(|counts| counts.dial_failures[failure.fault() as usize] += 1);
        let blame = match failure.blame() {
            Blame::Database if spec.when_unwell == WhenUnwell::Queue => Blame::Passing,
            // An account that is a client's own.
            Blame::Tenant if matches!(permit.shape(), Shape::PostgresAs(..) | Shape::Guest(_)) => {
                Blame::Shape
            }
            blame => blame,
        };
        // A refusal of what one client asked for is that client's to hear, and its line to log.
        let level = if blame == Blame::Shape {
            Level::Debug
        } else {
            Level::Warn
        };
        let (id, place) = (&spec.id, spec.place());
        log::log!(level, "tenant {id}: no connection to {place}: {failure}");
        let now = Instant::now();
        let told = self.with_pool(|pool| pool.failed(permit, blame, random::u32(), now));
        for seat in told {
            seat.give(Err(NotServed::NoDial(failure.clone())));
        }
        self.try_again_later();
    }

    /// Dials again when the back-off is over, if somebody is still waiting then; the round that
    /// upkeep makes would come late for them.
    pub fn try_again_later(self: &Rc<Self>) {
        let due = self.with_pool(|pool| match pool.gauges().waiting {
            0 => None,
            _ => pool.next_upkeep(),
        });
        if let Some(due) = due
            && !self.retrying.replace(true)
        {
            let tenant = Rc::clone(self);
            sockets::spawn(async move {
                sockets::sleep_until(due).await;
                tenant.retrying.set(false);
                tenant.dial_what_is_due();
            })
            .detach();
        }
    }

    /// Closes what is too old or too idle, opens what is missing. Called about once a second.
    pub fn upkeep(self: &Rc<Self>) {
        let closed = self.with_pool(|pool| pool.upkeep(Instant::now()));
        for (backend, reason) in closed {
            self.dismiss(backend, reason);
        }
        self.lookups.upkeep();
        self.dial_what_is_due();
    }

    /// Carries out where the pool put a connection.
    fn place(self: &Rc<Self>, placed: Placed<Box<Backend>, Seat<Gift>>) {
        match placed {
            Placed::Handed { waiter, checkout } => waiter.give(Ok(checkout)),
            Placed::Parked => {}
            Placed::Closed(backend, reason) => self.dismiss(backend, reason),
        }
    }

    /// Closes a backend politely.
    pub fn dismiss(&self, backend: Box<Backend>, reason: CloseReason) {
        debug!(
            "tenant {}: closing {backend}: {reason:?}",
            self.spec.borrow().id
        );
        self.stats
            .count(|counts| counts.closed[reason as usize] += 1);
        backend.dismiss();
    }
}

//! A tenant's users as its own database knows them: looked up over a connection of our own, and
//! remembered for a while.
//!
//! ```text
//!            remembered
//!   login ───────────────────────────────────────────▶ answer
//!     │                                                   ▲
//!     └──▶ waiting ──▶ one task for the tenant ──▶ its database
//! ```
//!
//! The connection is neither a client's nor the pool's. It is opened with settings of ours alone,
//! and nothing of a client's reaches it but the user's name, as a parameter.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use log::warn;
use wire::Secret;
use wire::pg::{self, Found};

use crate::backend::Shape;
use crate::conn::{Broken, Conn};
use crate::contract::{Lookup, PoolMode, TenantId, TenantSpec};
use crate::dial;
use crate::seat::Seat;
use crate::tenant::Tenant;

/// What one tenant's database has been asked.
#[derive(Default)]
pub struct Lookups {
    known: RefCell<HashMap<String, Known>>,
    waiting: RefCell<VecDeque<Waiting>>,
    /// The task that asks is running.
    asking: Cell<bool>,
    /// The connection, between two questions.
    idle: RefCell<Option<(Conn, Instant)>>,
    /// How long the latest question took.
    took: Cell<Duration>,
    /// Which terms are in force: what was asked under earlier ones is not believed.
    round: Cell<u64>,
}

/// Lookups that are none: for clients of tenants that do not exist, whom else the time would tell from those whose
/// user does not exist.
#[derive(Default)]
pub struct MockLookups(RefCell<HashMap<(TenantId, String), Instant>>);

impl MockLookups {
    /// How long to wait for an answer about this user: not at all while one would be remembered.
    pub fn time(&self, tenant: &TenantId, user: &str, ttl: Duration, took: Duration) -> Duration {
        let (key, now) = ((tenant.clone(), user.to_owned()), Instant::now());
        let mut known = self.0.borrow_mut();
        if known.get(&key).is_some_and(|&until| now < until) {
            return Duration::ZERO;
        }
        if known.len() >= KNOWN {
            known.retain(|_, &mut until| now < until);
        }
        if known.len() >= KNOWN {
            known.clear();
        }
        known.insert(key, now + took + ttl);
        took
    }
}

/// The secret of a user, `None` if there is no such user; or why that could not be found out.
pub type Answer = Result<Option<Secret>, Rc<str>>;

/// Somebody, or several, wait to hear about a user.
struct Waiting {
    user: String,
    seats: Vec<Seat<Answer>>,
}

/// What has been answered about a user.
struct Known {
    secret: Option<Secret>,
    asked: Instant,
    /// How long it may be believed.
    until: Instant,
    /// When it ends by the database's word, if it does.
    valid_until: Option<Instant>,
}

/// Why a question has no answer.
struct Failure {
    why: Rc<str>,
    /// No other question would have one now.
    concerns_all: bool,
}

/// What the tenant's database keeps of a user.
pub async fn look_up(tenant: &Rc<Tenant>, user: &str) -> Answer {
    let lookups = &tenant.lookups;
    if let Some(secret) = lookups.remembered(user, Instant::now()) {
        return Ok(secret);
    }
    let seat = lookups.wait(user);
    if !lookups.asking.replace(true) {
        sockets::spawn(ask_for_all(Rc::clone(tenant))).detach();
    }
    seat.given().await
}

/// Asks about one user after the other, until nobody waits.
async fn ask_for_all(tenant: Rc<Tenant>) {
    let lookups = &tenant.lookups;
    while let Some(Waiting { user, seats }) = lookups.next() {
        let began = Instant::now();
        // Anew where the terms have changed meanwhile: those who wait are judged by the present ones.
        let (spec, asked) = loop {
            let (round, spec) = (lookups.round.get(), tenant.spec());
            let asked = match &spec.access.lookup {
                Some(terms) => lookups.ask(&tenant, &spec, terms, &user).await,
                None => Err(Failure::of_all("the tenant has no auth_query any more")),
            };
            if lookups.round.get() == round {
                break (spec, asked);
            }
        };
        lookups.took.set(began.elapsed());
        tenant.stats.count(|counts| match asked {
            Ok(_) => counts.lookups += 1,
            Err(_) => counts.lookup_failures += 1,
        });
        let failure = match asked {
            Ok(secret) => {
                give(seats, &Ok(secret));
                continue;
            }
            Err(failure) => failure,
        };
        warn!(
            "tenant {}: the auth_query for {user:?} has no answer: {}",
            spec.id, failure.why
        );
        give(seats, &lookups.in_need(&user, &failure.why));
        while failure.concerns_all
            && let Some(Waiting { user, seats }) = lookups.next()
        {
            give(seats, &lookups.in_need(&user, &failure.why));
        }
    }
    lookups.asking.set(false);
}

fn give(seats: Vec<Seat<Answer>>, answer: &Answer) {
    for seat in seats {
        seat.give(answer.clone());
    }
}

impl Lookups {
    /// What is remembered, while it may be believed.
    fn remembered(&self, user: &str, now: Instant) -> Option<Option<Secret>> {
        let known = self.known.borrow();
        let known = known.get(user).filter(|known| now < known.until)?;
        Some(known.secret.clone())
    }

    /// A login has failed against what is remembered, which may have changed since: the next one has
    /// it looked up anew, though not all the time.
    pub fn doubt(&self, user: &str, now: Instant) {
        if let Some(known) = self.known.borrow_mut().get_mut(user)
            && now.duration_since(known.asked) >= BELIEVED
        {
            known.until = now;
        }
    }

    /// What was remembered longer ago, where nothing better is to be had.
    fn in_need(&self, user: &str, why: &Rc<str>) -> Answer {
        let now = Instant::now();
        let known = self.known.borrow();
        let usable = known.get(user).filter(|known| {
            let is_valid = known.valid_until.is_none_or(|end| now < end);
            is_valid && now.duration_since(known.asked) < OLDEST
        });
        usable.map_or(Err(Rc::clone(why)), |known| Ok(known.secret.clone()))
    }

    fn wait(&self, user: &str) -> Seat<Answer> {
        let (given, awaited) = Seat::new();
        let mut waiting = self.waiting.borrow_mut();
        match waiting.iter_mut().find(|other| other.user == user) {
            Some(other) => other.seats.push(given),
            None => waiting.push_back(Waiting {
                user: user.to_owned(),
                seats: vec![given],
            }),
        }
        awaited
    }

    fn next(&self) -> Option<Waiting> {
        self.waiting.borrow_mut().pop_front()
    }

    /// Asks about one user. A connection that died while nobody used it is replaced.
    async fn ask(
        &self,
        tenant: &Tenant,
        spec: &TenantSpec,
        terms: &Lookup,
        user: &str,
    ) -> Result<Option<Secret>, Failure> {
        let round = self.round.get();
        loop {
            let idle = self.idle.take().filter(|(conn, _)| conn.is_quiet());
            let was_idle = idle.is_some();
            let mut conn = match idle {
                Some((conn, _)) => conn,
                None => connect(tenant, spec, terms).await?,
            };
            let mut question = pg::Lookup::new(terms.query.clone(), user);
            let limit = spec.connect_timeout;
            match sockets::timeout(limit, conn.carry(&mut question)).await {
                Ok(Ok(_)) if self.round.get() != round => {
                    hang_up(conn);
                    return Err(Failure::of_one("the terms have changed meanwhile"));
                }
                Ok(Ok(found)) => {
                    let now = Instant::now();
                    self.idle.replace(Some((conn, now)));
                    return Ok(self.remember(user, found, terms.ttl, now));
                }
                Ok(Err(Broken::Closed | Broken::Io(_))) if was_idle => {}
                Ok(Err(broken)) => return Err(Failure::of_one(broken.to_string())),
                Err(_) => return Err(Failure::of_all(format!("nothing within {limit:?}"))),
            }
        }
    }

    fn remember(
        &self,
        user: &str,
        found: Option<Found>,
        ttl: Duration,
        now: Instant,
    ) -> Option<Secret> {
        let valid_for = found.as_ref().and_then(|found| found.valid_for);
        let valid_until = valid_for.and_then(|valid_for| now.checked_add(valid_for));
        let secret = found.map(|found| found.secret);
        let mut known = self.known.borrow_mut();
        if known.len() >= KNOWN {
            known.retain(|_, known| now < known.until);
        }
        if known.len() >= KNOWN {
            known.clear();
        }
        let entry = Known {
            secret: secret.clone(),
            asked: now,
            until: now + valid_for.map_or(ttl, |valid_for| ttl.min(valid_for)),
            valid_until,
        };
        known.insert(user.to_owned(), entry);
        secret
    }

    /// How long the latest question took.
    pub fn took(&self) -> Duration {
        self.took.get()
    }

    /// Other terms are in force: nothing that was found out under the old ones holds.
    pub fn forget(&self) {
        self.round.set(self.round.get() + 1);
        self.known.borrow_mut().clear();
        self.hang_up();
    }

    /// Closes a connection that nobody has needed for a while.
    pub fn upkeep(&self) {
        let is_old = |(_, since): &(Conn, Instant)| since.elapsed() >= IDLE;
        if self.idle.borrow().as_ref().is_some_and(is_old) {
            self.hang_up();
        }
    }

    fn hang_up(&self) {
        if let Some((conn, _)) = self.idle.take() {
            hang_up(conn);
        }
    }
}

fn hang_up(conn: Conn) {
    let mut goodbye = BytesMut::new();
    pg::frontend::terminate(&mut goodbye);
    conn.say(goodbye);
}

/// A connection for questions: in the tenant's database, as whoever may read secrets there, and with
/// a search path in which nobody else has put anything.
async fn connect(tenant: &Tenant, spec: &TenantSpec, terms: &Lookup) -> Result<Conn, Failure> {
    let mut parameters = pg::Parameters::default();
    parameters.set("search_path", Bytes::from_static(b"pg_catalog, pg_temp"));
    parameters.set(
        "application_name",
        Bytes::from_static(b"dbbouncer auth_query"),
    );
    let mut account = spec.clone();
    // No pool ever gets it.
    account.pool_mode = PoolMode::Session;
    if let Some((user, password)) = &terms.account {
        account.username.clone_from(user);
        account.password.clone_from(password);
    }
    match dial::dial_as(tenant, &account, &Shape::Postgres(parameters)).await {
        Ok(backend) => Ok(backend.conn),
        Err(failure) => Err(Failure::of_all(failure.to_string())),
    }
}

impl Failure {
    fn of_one(why: impl Into<Rc<str>>) -> Failure {
        Failure {
            why: why.into(),
            concerns_all: false,
        }
    }

    fn of_all(why: impl Into<Rc<str>>) -> Failure {
        Failure {
            concerns_all: true,
            ..Failure::of_one(why)
        }
    }
}

/// How long an answer is believed whatever logins fail against it: so often at most is a database
/// asked about one user.
const BELIEVED: Duration = Duration::from_secs(1);
/// How old an answer may be that is still used while the database cannot be asked.
const OLDEST: Duration = Duration::from_secs(600);
/// How long the connection stays open between two questions.
const IDLE: Duration = Duration::from_secs(30);
/// Users that are remembered. Names are the clients' choice, so there must be an end.
const KNOWN: usize = 4096;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::context::ShardContext;
    use crate::trial;

    #[test]
    fn strangers_wait_as_long_as_the_slowest_tenant_took_of_late() {
        trial::run(async {
            let shard = ShardContext::new(trial::shard());
            // Their databases are never dialled.
            let tenants = ["quick", "slow"].map(|id| {
                let spec = trial::tenant(id, ([127, 0, 0, 1], 1).into());
                let tenant = Tenant::new(
                    spec,
                    Rc::default(),
                    &shard.names,
                    &std::sync::Arc::default(),
                );
                shard.put(Rc::clone(&tenant));
                tenant
            });
            let took = |tenant: usize, millis| {
                let took = Duration::from_millis(millis);
                tenants[tenant].lookups.took.set(took);
            };
            let lookup_time = || {
                shard.upkeep();
                shard.lookup_time().as_millis()
            };
            assert_eq!(lookup_time(), 0);
            took(0, 2);
            took(1, 30);
            assert_eq!(lookup_time(), 30);
            took(1, 5);
            assert_eq!(lookup_time(), 5, "the latest, not the longest ever");
            shard.take(&TenantId::parse("slow").unwrap());
            assert_eq!(lookup_time(), 2);
        });
    }

    #[test]
    fn a_stranger_waits_once_while_an_answer_would_be_remembered() {
        let mock = MockLookups::default();
        let (ttl, took) = (Duration::from_secs(60), Duration::from_millis(3));
        let [one, other] = ["one", "other"].map(|id| TenantId::parse(id).unwrap());
        assert_eq!(mock.time(&one, "a", ttl, took), took);
        assert_eq!(mock.time(&one, "a", ttl, took), Duration::ZERO);
        assert_eq!(mock.time(&one, "b", ttl, took), took);
        assert_eq!(mock.time(&other, "a", ttl, took), took);
    }
}

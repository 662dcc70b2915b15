//! Health checks: whether a tenant's database answers, asked in the background.
//!
//! ```text
//!             failure_threshold checks in a row fail
//!     well ──────────────────────────────────────────▶ unwell
//!          ◀──────────────────────────────────────────
//!             success_threshold checks in a row pass
//! ```
//!
//! A check asks on an idle backend, or logs in afresh where none is idle. The pool's own dials count
//! when they succeed, so that recovery is noticed by whoever comes first; when they fail they do
//! not, for a storm of clients must not decide about a tenant.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Duration;

use log::{info, warn};
use pool::{CloseReason, Verdict};
use wire::{mysql, pg};

use crate::backend::Backend;
use crate::conn::Broken;
use crate::contract::{Dialect, Health, HealthCheck, WhenUnwell};
use crate::dial::{self, DialFailure};
use crate::farewell::is_full;
use crate::lease::NotServed;
use crate::random;
use crate::tenant::Tenant;

/// What the checks of one tenant have come to.
#[derive(Default)]
pub struct Checkup {
    health: RefCell<Health>,
    /// Checks in a row that speak against the present state.
    against: Cell<u32>,
    /// Which round of checks is in force; earlier ones end.
    round: Cell<u64>,
}

impl Checkup {
    /// Whether the database is well.
    pub fn health(&self) -> Health {
        self.health.borrow().clone()
    }

    /// Why it is not well; `None` if it is.
    pub fn complaint(&self) -> Option<String> {
        match &*self.health.borrow() {
            Health::Well => None,
            Health::Unwell { why } => Some(why.clone()),
        }
    }

    /// One check passed, or failed for a reason. Whether that changed the state.
    fn note(&self, outcome: Result<(), String>, terms: &HealthCheck) -> bool {
        let is_well = self.complaint().is_none();
        let threshold = match (&outcome, is_well) {
            (Ok(()), true) => {
                self.against.set(0);
                return false;
            }
            (Err(why), false) => {
                self.against.set(0);
                *self.health.borrow_mut() = Health::Unwell { why: why.clone() };
                return false;
            }
            (Err(_), true) => terms.failure_threshold,
            (Ok(()), false) => terms.success_threshold,
        };
        self.against.set(self.against.get() + 1);
        if self.against.get() < threshold {
            return false;
        }
        self.against.set(0);
        *self.health.borrow_mut() = match outcome {
            Ok(()) => Health::Well,
            Err(why) => Health::Unwell { why },
        };
        true
    }
}

/// Begins a round of checks on the tenant's present terms, and ends the round before.
pub fn start(tenant: &Rc<Tenant>) {
    let round = tenant.checkup.round.get() + 1;
    tenant.checkup.round.set(round);
    let Some(terms) = tenant.spec().health_check else {
        // Nobody would ever find it well again.
        *tenant.checkup.health.borrow_mut() = Health::Well;
        return;
    };
    sockets::spawn(watch(Rc::downgrade(tenant), terms, round)).detach();
}

/// A dial of the pool succeeded.
pub fn dial_succeeded(tenant: &Rc<Tenant>) {
    if let Some(terms) = &tenant.spec().health_check
        && tenant.checkup.complaint().is_some()
    {
        conclude(tenant, Ok(()), terms);
    }
}

/// One round: a check in each interval, until another round begins or the tenant is gone.
async fn watch(tenant: Weak<Tenant>, terms: HealthCheck, round: u64) {
    // Tenants that came together are not checked together.
    let mut pause = terms
        .interval
        .mul_f64(f64::from(random::u32()) / f64::from(u32::MAX));
    loop {
        sockets::sleep(pause).await;
        pause = terms.interval;
        let Some(tenant) = tenant.upgrade() else {
            return;
        };
        if tenant.checkup.round.get() != round {
            return;
        }
        // A pool that is paused or drains has its database left alone.
        if !tenant.serves() {
            continue;
        }
        // One that we could not make says nothing.
        let Some(outcome) = check(&tenant, terms.timeout).await else {
            continue;
        };
        if tenant.checkup.round.get() == round && tenant.serves() {
            tenant.stats.count(|counts| match outcome {
                Ok(()) => counts.checks_passed += 1,
                Err(_) => counts.checks_failed += 1,
            });
            conclude(&tenant, outcome, &terms);
        }
    }
}

/// Takes note of a check, and tells those whom a change concerns.
fn conclude(tenant: &Rc<Tenant>, outcome: Result<(), String>, terms: &HealthCheck) {
    if !tenant.checkup.note(outcome, terms) {
        return;
    }
    let spec = tenant.spec();
    let (id, place) = (&spec.id, spec.place());
    match tenant.checkup.complaint() {
        None => info!("tenant {id}: the database at {place} is well again"),
        Some(why) => {
            warn!("tenant {id}: the database at {place} is unhealthy: {why}");
            if spec.when_unwell == WhenUnwell::Fail {
                for seat in tenant.with_pool(|pool| pool.dismiss_waiting()) {
                    seat.give(Err(NotServed::Unwell(why.clone())));
                }
            }
        }
    }
}

/// Asks the database once, within this time; nothing if we cannot even ask.
async fn check(tenant: &Rc<Tenant>, limit: Duration) -> Option<Result<(), String>> {
    let Some(mut backend) = tenant.with_pool(pool::Pool::inspect) else {
        return log_in(tenant, limit).await;
    };
    let answered = sockets::timeout(limit, ping(&mut backend)).await;
    let outcome = match answered {
        Ok(Ok(())) => Ok(()),
        Ok(Err(broken)) => Err(broken.to_string()),
        Err(_) => Err(format!("no answer within {limit:?}")),
    };
    let verdict = match outcome {
        Ok(()) => Verdict::Reusable,
        Err(_) => Verdict::Close(CloseReason::Broken),
    };
    tenant.give_back(backend, verdict);
    match outcome {
        Ok(()) => Some(Ok(())),
        // One idle connection may have died alone, of a firewall for one.
        Err(_) => log_in(tenant, limit).await,
    }
}

/// Asks on a connection that is at rest.
async fn ping(backend: &mut Backend) -> Result<(), Broken> {
    match backend.dialect() {
        Dialect::Postgres => backend.conn.carry(&mut pg::Ping::default()).await,
        Dialect::MySql => backend
            .conn
            .carry(&mut mysql::Ask::ping())
            .await
            .map(|_| ()),
    }
}

/// Logs in on a connection of its own, which is closed again: beyond the pool's `max`, for one that
/// is full says nothing about the database.
async fn log_in(tenant: &Rc<Tenant>, limit: Duration) -> Option<Result<(), String>> {
    let shape = crate::backend::Shape::usual(&tenant.spec());
    Some(
        match sockets::timeout(limit, dial::dial(tenant, &shape)).await {
            Ok(Ok(backend)) => {
                backend.dismiss();
                Ok(())
            }
            // It is full, of ours among others: it lives.
            Ok(Err(DialFailure::Refused(refusal))) if is_full(&refusal) && tenant.in_use() > 0 => {
                Ok(())
            }
            Ok(Err(DialFailure::OwnLack(_))) => return None,
            Ok(Err(failure)) => Err(failure.to_string()),
            Err(_) => Err(format!("no login within {limit:?}")),
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: HealthCheck = HealthCheck {
        interval: Duration::from_secs(10),
        timeout: Duration::from_secs(3),
        failure_threshold: 3,
        success_threshold: 2,
    };

    fn failed() -> Result<(), String> {
        Err("down".to_owned())
    }

    #[test]
    fn it_takes_as_many_in_a_row_as_the_thresholds_say() {
        let checkup = Checkup::default();
        for outcome in [failed(), failed(), Ok(()), failed(), failed()] {
            assert!(!checkup.note(outcome, &TERMS));
            assert_eq!(checkup.complaint(), None);
        }
        assert!(checkup.note(failed(), &TERMS));
        for outcome in [Ok(()), failed(), Ok(())] {
            assert!(!checkup.note(outcome, &TERMS));
            assert_eq!(checkup.complaint().as_deref(), Some("down"));
        }
        assert!(checkup.note(Ok(()), &TERMS));
        assert_eq!(checkup.health(), Health::Well);
    }

    #[test]
    fn the_last_reason_is_the_one_that_is_told() {
        let checkup = Checkup::default();
        for _ in 0..3 {
            checkup.note(failed(), &TERMS);
        }
        checkup.note(Err("still down".to_owned()), &TERMS);
        assert_eq!(checkup.complaint().as_deref(), Some("still down"));
    }
}

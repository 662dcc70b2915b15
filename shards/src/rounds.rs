//! The rounds that find sessions which take too long over what they are at.
//!
//! One task for each tenant that has time-outs goes through its sessions, and sleeps until the first of
//! them will be overdue, or until one that was not there could be.

use std::cell::Cell;
use std::rc::{Rc, Weak};
use std::time::Duration;

use crate::tenant::Tenant;

/// Which round of watching is in force.
#[derive(Debug, Default)]
pub struct Rounds(Cell<u64>);

/// Begins to watch over a tenant's sessions by its present time-outs, and ends what was begun before.
pub fn start(tenant: &Rc<Tenant>) {
    let round = tenant.rounds.0.get() + 1;
    tenant.rounds.0.set(round);
    if let Some(shortest) = tenant.spec().timeouts.shortest() {
        sockets::spawn(watch(Rc::downgrade(tenant), round, shortest)).detach();
    }
}

/// One round: until another one begins or the tenant is gone.
async fn watch(tenant: Weak<Tenant>, round: u64, shortest: Duration) {
    loop {
        // Not later than what sessions have heard: whoever spoke while the whole process was stopped is not overdue.
        let now = sockets::heard();
        let Some(tenant) = tenant.upgrade() else {
            return;
        };
        if tenant.rounds.0.get() != round {
            return;
        }
        let first = tenant.sessions.tell_overdue(&tenant.spec().timeouts, now);
        drop(tenant);
        // Whatever begins from now on cannot be overdue before the shortest time-out is over.
        let next = first.map_or(shortest, |first| first.duration_since(now).min(shortest));
        let due = now + next.max(BETWEEN_ROUNDS);
        sockets::sleep_until(due).await;
    }
}

/// The least time between two looks at all sessions of a tenant.
const BETWEEN_ROUNDS: Duration = Duration::from_millis(5);

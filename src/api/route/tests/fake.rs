//! An operator with one shard, which has no threads and no files.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use shards::Silent;
use shards::contract::{
    Counts, Door, Gauges, Health, SessionId, SessionSnapshot, SessionState, ShardSnapshot,
    Standing, Steering, TenantId, TenantSnapshot, TenantSpec, Who,
};

use crate::api::operator::{Operator, Put, Refused, Reloaded, When};
use crate::config::{Habits, Node, Settings, settle_tenant};
use crate::roster::{Entry, Roster};

/// One shard, which has every tenant that is wanted, or is silent.
pub struct Fake {
    pub roster: Mutex<Roster>,
    pub silent: bool,
    /// Somebody else removes every tenant before the shard is asked.
    pub vanish: AtomicBool,
    /// How often every shard was asked after every tenant.
    pub asked_all: AtomicUsize,
}

impl Operator for Fake {
    fn tenants(&self) -> Result<Vec<Entry>, Refused> {
        Ok(self.roster.lock().unwrap().iter().cloned().collect())
    }

    fn tenant(&self, id: &TenantId) -> Result<Entry, Refused> {
        self.roster
            .lock()
            .unwrap()
            .get(id)
            .cloned()
            .ok_or(Refused::NoTenant)
    }

    fn put(&self, id: &TenantId, written: Node, when: When) -> Result<Put, Refused> {
        let mut roster = self.roster.lock().unwrap();
        let before = roster.get(id).map(|entry| entry.revision);
        if !when.holds(before) {
            return Err(Refused::NotWhen);
        }
        let (spec, _): (TenantSpec, _) =
            settle_tenant(id, &written, &Habits::BUILT_IN).map_err(Refused::Senseless)?;
        Ok(Put {
            entry: roster.put(spec, written),
            created: before.is_none(),
        })
    }

    fn remove(&self, id: &TenantId, _: When) -> Result<(), Refused> {
        self.roster
            .lock()
            .unwrap()
            .remove(id)
            .map(drop)
            .ok_or(Refused::NoTenant)
    }

    fn steer(&self, id: &TenantId, _: Steering) -> Result<(), Refused> {
        self.tenant(id).map(drop)
    }

    fn standing(&self, id: &TenantId) -> Result<Option<TenantSnapshot>, Refused> {
        if self.vanish.load(Ordering::Relaxed) {
            *self.roster.lock().unwrap() = Roster::of_file(Vec::new());
        }
        match self.silent {
            true => Err(Refused::Silent(Silent(0))),
            false => Ok(self.tenant(id).ok().map(|_| snapshot(id))),
        }
    }

    fn sessions(&self, id: &TenantId) -> Result<Vec<SessionSnapshot>, Refused> {
        self.tenant(id)?;
        Ok([7, 3].map(session).to_vec())
    }

    fn end(&self, id: &TenantId, session: SessionId) -> Result<(), Refused> {
        self.tenant(id)?;
        match session {
            SessionId(3) => Ok(()),
            _ => Err(Refused::NoSession),
        }
    }

    fn reload(&self) -> Result<Reloaded, Refused> {
        Ok(Reloaded::default())
    }

    fn snapshots(&self) -> Result<Vec<Result<ShardSnapshot, Silent>>, Refused> {
        self.asked_all.fetch_add(1, Ordering::Relaxed);
        if self.silent {
            return Ok(vec![Err(Silent(0))]);
        }
        let tenants = self.tenants()?;
        let tenants = tenants.iter().map(|entry| snapshot(&entry.spec.id));
        Ok(vec![Ok(ShardSnapshot {
            clients: 3,
            busy: Duration::ZERO,
            strangers: Counts::default(),
            tenants: tenants.collect(),
        })])
    }

    fn door(&self) -> Result<Door, Refused> {
        Ok(Door {
            clients: 3,
            limit: 10,
            ..Door::default()
        })
    }

    fn settings(&self) -> Result<Arc<Settings>, Refused> {
        Err(Refused::Busy)
    }
}

pub fn fake(silent: bool) -> Arc<Fake> {
    Arc::new(Fake {
        roster: Mutex::new(Roster::of_file(Vec::new())),
        silent,
        vanish: AtomicBool::new(false),
        asked_all: AtomicUsize::new(0),
    })
}

fn snapshot(id: &TenantId) -> TenantSnapshot {
    TenantSnapshot {
        id: id.clone(),
        standing: Standing::Active,
        clients: 3,
        pinned: 0,
        backends: Gauges {
            idle: 1,
            leased: 2,
            opening: 0,
            waiting: 4,
        },
        health: Health::Well,
        counts: Counts::default(),
    }
}

fn session(id: u64) -> SessionSnapshot {
    let second = Duration::from_secs(1);
    SessionSnapshot {
        id: SessionId(id),
        who: Arc::new(Who {
            user: "alice".into(),
            application: Some("psql".into()),
            peer: ([10, 0, 0, 3], 5123).into(),
            since: Instant::now(),
        }),
        connected: 9 * second,
        state: SessionState::IdleInTransaction,
        in_state: Some(2 * second),
        in_transaction: Some(3 * second),
        backend: Some(4711),
    }
}

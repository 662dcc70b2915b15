//! A shard: the tenants it owns and the loop that takes what other threads send it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use sockets::Doorbell;
use wire::pg::MockKey;

use crate::cancel::Cancels;
use crate::contract::{Command, Envelope, Reply, ShardId, ShardSnapshot, TenantId, TenantSpec};
use crate::control::Leave;
use crate::handoff::{Arrival, CancelHandoff, Handoff};
use crate::session;
use crate::stats::{self, Stats};
use crate::tenant::Tenant;
use crate::verifiers::Verifiers;

/// What a shard needs to know beside its tenants.
#[derive(Clone, Debug)]
pub struct ShardSettings {
    /// Its place among its fellows.
    pub id: ShardId,
    /// How many there are.
    pub shards: usize,
    /// How long a login may take, for the sentence when it took longer.
    pub login_timeout: Duration,
    /// How long a client may read nothing while bytes wait for it; `None` is for ever.
    pub client_stall_timeout: Option<Duration>,
    /// The process's key for secrets of users that do not exist.
    pub mock: MockKey,
}

/// What all sessions of a shard share.
pub struct Shard {
    /// As given at the start.
    pub settings: ShardSettings,
    tenants: RefCell<HashMap<TenantId, Rc<Tenant>>>,
    /// The keys by which clients ask for a cancel.
    pub cancels: Cancels,
    /// What PostgreSQL clients' proofs are compared with.
    pub verifiers: Verifiers,
    /// Sessions that have not ended.
    sessions: Cell<usize>,
    /// What became of clients that have no tenant here.
    pub strangers: Stats,
}

/// A shard's life, on its own executor: until nobody is left who could send it anything.
pub async fn run(
    settings: ShardSettings,
    tenants: Vec<TenantSpec>,
    mut arrivals: Doorbell<Arrival>,
    mut envelopes: Doorbell<Envelope>,
) {
    let shard = Rc::new(Shard {
        cancels: Cancels::new(settings.id, settings.shards),
        verifiers: Verifiers::new(settings.mock.clone()),
        settings,
        tenants: RefCell::default(),
        sessions: Cell::new(0),
        strangers: Stats::default(),
    });
    for spec in tenants {
        shard.upsert(spec, Duration::ZERO);
    }
    sockets::spawn(Rc::clone(&shard).keep_up()).detach();
    let welcoming = Rc::clone(&shard);
    sockets::spawn(async move {
        while let Some(arrival) = arrivals.next().await {
            welcoming.welcome(arrival);
        }
    })
    .detach();
    while let Some(Envelope { command, reply }) = envelopes.next().await {
        // Whoever asked and does not listen any more does not need the answer.
        let _ = reply.try_send(shard.obey(command));
    }
}

impl Shard {
    /// The tenant of that name, if there is one.
    pub fn tenant(&self, id: &TenantId) -> Option<Rc<Tenant>> {
        self.tenants.borrow().get(id).cloned()
    }

    fn obey(&self, command: Command) -> Reply {
        match command {
            Command::Upsert { spec, grace } => {
                self.upsert(*spec, grace);
                Reply::Done
            }
            Command::Remove { id, grace } => match self.take(&id) {
                Some(tenant) => {
                    self.verifiers.forget(&id);
                    tenant.retire(grace);
                    Reply::Done
                }
                None => Reply::Unknown,
            },
            Command::Steer(id, steering) => match self.tenant(&id) {
                Some(tenant) => {
                    tenant.steer(steering);
                    Reply::Done
                }
                None => Reply::Unknown,
            },
            Command::Drain => {
                for tenant in self.tenants.borrow().values() {
                    tenant.close(Leave::Stopping);
                }
                Reply::Done
            }
            Command::Census => Reply::Census {
                clients: self.sessions.get(),
            },
            Command::Snapshot => Reply::Snapshot(Box::new(ShardSnapshot {
                clients: self.sessions.get(),
                busy: stats::busy(),
                strangers: self.strangers.counts(),
                tenants: self
                    .tenants
                    .borrow()
                    .values()
                    .map(|tenant| tenant.snapshot())
                    .collect(),
            })),
        }
    }

    fn take(&self, id: &TenantId) -> Option<Rc<Tenant>> {
        self.tenants.borrow_mut().remove(id)
    }

    fn upsert(&self, spec: TenantSpec, grace: Duration) {
        self.verifiers.forget(&spec.id);
        let old = self.tenant(&spec.id);
        if let Some(tenant) = &old
            && tenant.spec().same_database(&spec)
        {
            return tenant.amend(spec);
        }
        let stats = old.as_ref().map(|old| Rc::clone(&old.stats));
        let id = spec.id.clone();
        let tenant = Tenant::new(spec, stats.unwrap_or_default());
        tenant.dial_what_is_due();
        self.tenants.borrow_mut().insert(id, tenant);
        if let Some(old) = old {
            old.retire(grace);
        }
    }

    fn welcome(self: &Rc<Self>, arrival: Arrival) {
        match arrival {
            Arrival::Client(handoff) => sockets::spawn(Rc::clone(self).host(*handoff)).detach(),
            Arrival::Cancel(handoff) => {
                sockets::spawn(Rc::clone(self).pass_cancel(handoff)).detach()
            }
        }
    }

    async fn pass_cancel(self: Rc<Self>, handoff: CancelHandoff) {
        let CancelHandoff {
            socket,
            peer,
            key,
            place: _place,
        } = handoff;
        log::debug!("cancel request from {peer}");
        self.cancels.pass_on(&key, socket).await;
    }

    async fn host(self: Rc<Self>, handoff: Handoff) {
        self.sessions.set(self.sessions.get() + 1);
        session::serve(&self, handoff).await;
        self.sessions.set(self.sessions.get() - 1);
    }

    async fn keep_up(self: Rc<Self>) {
        loop {
            sockets::sleep(UPKEEP_EVERY).await;
            let tenants: Vec<_> = self.tenants.borrow().values().cloned().collect();
            for tenant in tenants {
                tenant.upkeep();
            }
        }
    }
}

/// How often pools are looked after.
const UPKEEP_EVERY: Duration = Duration::from_secs(1);

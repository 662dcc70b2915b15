//! A shard: the loop that takes what other threads send it, and does it.

#[cfg(test)]
mod steady;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use sockets::Doorbell;

use crate::context::{ShardContext, ShardSettings};
use crate::contract::{Command, Envelope, Reply, ShardSnapshot, TenantSpec};
use crate::control::Leave;
use crate::handoff::{Arrival, CancelHandoff, Handoff};
use crate::moves;
use crate::session;
use crate::stats;
use crate::tenant::Tenant;

struct Shard {
    /// What its sessions share.
    context: Rc<ShardContext>,
    /// Sessions that have not ended.
    sessions: Cell<usize>,
}

/// A shard's life, on its own executor: until nobody is left who could send it anything.
pub async fn run(
    settings: ShardSettings,
    tenants: Vec<TenantSpec>,
    mut arrivals: Doorbell<Arrival>,
    mut envelopes: Doorbell<Envelope>,
) {
    let shard = Rc::new(Shard {
        context: Rc::new(ShardContext::new(settings)),
        sessions: Cell::new(0),
    });
    for spec in tenants {
        shard.upsert(spec, Duration::ZERO);
    }
    sockets::spawn(Rc::clone(&shard).keep_up()).detach();
    sockets::spawn(moves::watch(Rc::clone(&shard.context))).detach();
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
    fn obey(&self, command: Command) -> Reply {
        match command {
            Command::Upsert { spec, grace } => {
                self.upsert(*spec, grace);
                Reply::Done
            }
            Command::Remove { id, grace } => match self.context.take(&id) {
                Some(tenant) => {
                    tenant.retire(grace);
                    Reply::Done
                }
                None => Reply::Unknown,
            },
            Command::Steer(id, steering) => match self.context.tenant(&id) {
                Some(tenant) => {
                    tenant.steer(steering);
                    Reply::Done
                }
                None => Reply::Unknown,
            },
            Command::Standing(id) => match self.context.tenant(&id) {
                Some(tenant) => Reply::Standing(Box::new(tenant.snapshot())),
                None => Reply::Unknown,
            },
            Command::Sessions(id) => match self.context.tenant(&id) {
                Some(tenant) => Reply::Sessions(tenant.sessions.snapshots(sockets::now())),
                None => Reply::Unknown,
            },
            Command::End(id, session) => match self.context.tenant(&id) {
                Some(tenant) if tenant.sessions.end(session) => Reply::Done,
                _ => Reply::Unknown,
            },
            Command::Receive(reception) => {
                self.context.reception.set(reception);
                Reply::Done
            }
            Command::Drain => {
                for tenant in self.context.tenants() {
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
                strangers: self.context.strangers.counts(),
                tenants: self
                    .context
                    .tenants()
                    .iter()
                    .map(|tenant| tenant.snapshot())
                    .collect(),
            })),
        }
    }

    fn upsert(&self, spec: TenantSpec, grace: Duration) {
        let old = self.context.tenant(&spec.id);
        let has_the_same_users = |old: &Rc<Tenant>| old.spec().access == spec.access;
        if !old.as_ref().is_some_and(has_the_same_users) {
            self.context.verifiers.forget(&spec.id);
        }
        if let Some(tenant) = &old
            && tenant.spec().same_database(&spec)
        {
            return tenant.amend(spec);
        }
        let stats = old.as_ref().map(|old| Rc::clone(&old.stats));
        let tenant = Tenant::new(
            spec,
            stats.unwrap_or_default(),
            &self.context.names,
            &self.context.settings.disguise,
        );
        tenant.dial_what_is_due();
        self.context.put(tenant);
        if let Some(old) = old {
            old.retire(grace);
        }
    }

    fn welcome(self: &Rc<Self>, arrival: Arrival) {
        match arrival {
            Arrival::Client(handoff) => sockets::spawn(Rc::clone(self).host(handoff)).detach(),
            Arrival::Cancel(handoff) => {
                sockets::spawn(Rc::clone(self).pass_cancel(handoff)).detach()
            }
        }
    }

    async fn pass_cancel(self: Rc<Self>, handoff: CancelHandoff) {
        let CancelHandoff {
            conn,
            peer,
            key,
            place: _place,
        } = handoff;
        log::debug!("cancel request from {peer}");
        self.context.cancels.pass_on(&key, conn).await;
    }

    async fn host(self: Rc<Self>, handoff: Box<Handoff>) {
        self.sessions.set(self.sessions.get() + 1);
        session::serve(&self.context, handoff).await;
        self.sessions.set(self.sessions.get() - 1);
    }

    async fn keep_up(self: Rc<Self>) {
        loop {
            sockets::sleep(UPKEEP_EVERY).await;
            self.context.upkeep();
        }
    }
}

/// How often pools are looked after.
const UPKEEP_EVERY: Duration = Duration::from_secs(1);

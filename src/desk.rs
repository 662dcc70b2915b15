//! Where everybody else asks the control thread for something.
//!
//! An errand is carried out on the control thread, which never waits for a shard: it sends, and the
//! answers that are on their way come back here, where whoever asked waits for them.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use shards::Silent;
use shards::contract::{
    Command, Door, Reply, SessionId, SessionSnapshot, ShardSnapshot, Steering, TenantId,
    TenantSnapshot,
};

use crate::api::{Operator, Put, Refused, Reloaded, When};
use crate::config::{Node, Settings};
use crate::control::Control;
use crate::fleet::Asked;
use crate::roster::Entry;

/// Where the control thread is asked for something. Clones are the same desk.
#[derive(Clone)]
pub struct Desk(Sender<Errand>);

/// Something for the control thread to do.
pub type Errand = Box<dyn FnOnce(&mut Control) + Send>;

impl Desk {
    /// A desk, and what is put on it.
    pub fn new() -> (Desk, Receiver<Errand>) {
        let (send, receive) = bounded(ERRANDS_WAITING);
        (Desk(send), receive)
    }

    fn ask<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&mut Control) -> T + Send + 'static,
    ) -> Result<T, Refused> {
        let (tell, told) = bounded(1);
        let errand: Errand = Box::new(move |control| {
            // Whoever has given up waiting does not need the answer.
            let _ = tell.send(ask(control));
        });
        self.0
            .send_timeout(errand, DESK_WITHIN)
            .map_err(|_| Refused::Busy)?;
        told.recv_timeout(DESK_WITHIN).map_err(|_| Refused::Busy)
    }
}

impl Operator for Desk {
    fn tenants(&self) -> Result<Vec<Entry>, Refused> {
        self.ask(|control| control.roster.iter().cloned().collect())
    }

    fn tenant(&self, id: &TenantId) -> Result<Entry, Refused> {
        let id = id.clone();
        self.ask(move |control| control.roster.get(&id).cloned())?
            .ok_or(Refused::NoTenant)
    }

    fn put(&self, id: &TenantId, written: Node, when: When) -> Result<Put, Refused> {
        let id = id.clone();
        let (put, answer) = self.ask(move |control| control.put(&id, written, &when))??;
        if let Some(answer) = answer {
            answer.within(CHANGE_WITHIN).map_err(Refused::Silent)?;
        }
        Ok(put)
    }

    fn remove(&self, id: &TenantId, when: When) -> Result<(), Refused> {
        let id = id.clone();
        let answer = self.ask(move |control| control.remove(&id, &when))??;
        answer.within(CHANGE_WITHIN).map_err(Refused::Silent)?;
        Ok(())
    }

    fn steer(&self, id: &TenantId, steering: Steering) -> Result<(), Refused> {
        let id = id.clone();
        let answer = self.ask(move |control| control.steer(&id, steering))??;
        match answer.within(CHANGE_WITHIN).map_err(Refused::Silent)? {
            Reply::Unknown => Err(Refused::NoTenant),
            _ => Ok(()),
        }
    }

    fn standing(&self, id: &TenantId) -> Result<Option<TenantSnapshot>, Refused> {
        let id = id.clone();
        let answer = self.ask(move |control| control.fleet.standing(&id))?;
        match answer.within(SNAPSHOT_WITHIN).map_err(Refused::Silent)? {
            Reply::Standing(now) => Ok(Some(*now)),
            _ => Ok(None),
        }
    }

    fn sessions(&self, id: &TenantId) -> Result<Vec<SessionSnapshot>, Refused> {
        let id = id.clone();
        let answer = self.ask(move |control| control.sessions(&id))??;
        match answer.within(CHANGE_WITHIN).map_err(Refused::Silent)? {
            Reply::Sessions(sessions) => Ok(sessions),
            _ => Err(Refused::NoTenant),
        }
    }

    fn end(&self, id: &TenantId, session: SessionId) -> Result<(), Refused> {
        let id = id.clone();
        let answer = self.ask(move |control| control.end(&id, session))??;
        match answer.within(CHANGE_WITHIN).map_err(Refused::Silent)? {
            Reply::Done => Ok(()),
            _ => Err(Refused::NoSession),
        }
    }

    fn reload(&self) -> Result<Reloaded, Refused> {
        self.ask(Control::reload)?.map_err(Refused::BadFile)
    }

    fn snapshots(&self) -> Result<Vec<Result<ShardSnapshot, Silent>>, Refused> {
        let asked: Asked = self.ask(|control| control.fleet.ask_all(|| Command::Snapshot))?;
        let replies = asked.within(SNAPSHOT_WITHIN).into_iter().enumerate();
        Ok(replies
            .map(|(shard, reply)| match reply? {
                Reply::Snapshot(snapshot) => Ok(*snapshot),
                _ => Err(Silent(shard)),
            })
            .collect())
    }

    fn door(&self) -> Result<Door, Refused> {
        self.ask(|control| control.fleet.plane().door())
    }

    fn settings(&self) -> Result<Arc<Settings>, Refused> {
        self.ask(|control| Arc::clone(&control.settings))
    }
}

/// How many errands may wait.
const ERRANDS_WAITING: usize = 64;
/// How long the control thread may take to come to an errand, and to do its own part of it.
const DESK_WITHIN: Duration = Duration::from_secs(5);
/// How long a shard may take to carry out a change.
const CHANGE_WITHIN: Duration = Duration::from_secs(5);
/// How long a shard may take to say how it stands.
const SNAPSHOT_WITHIN: Duration = Duration::from_secs(2);

//! The shards as the control plane sees them: told things, asked things, and sometimes silent.
//!
//! Nobody waits in here without a deadline, and telling never waits at all.

use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use shards::contract::{Command, Reply, SessionId, ShardId, Steering, TenantId, TenantSpec};
use shards::{Plane, Silent};

use crate::owed::News;
use crate::roster::Change;

/// The running shards.
pub struct Fleet {
    plane: Plane,
    /// How long clients of a tenant that goes may take to finish.
    pub grace: Duration,
}

/// The answers that are on their way, in the order of the shards.
pub struct Asked(Vec<Answer>);

/// One answer that is on its way.
pub struct Answer {
    shard: usize,
    reply: Result<Receiver<Reply>, Silent>,
}

impl Fleet {
    /// The shards of a running data plane.
    pub fn new(plane: Plane, grace: Duration) -> Fleet {
        Fleet { plane, grace }
    }

    /// The data plane itself, for its ports and its end.
    pub fn plane(&self) -> &Plane {
        &self.plane
    }

    /// Lets go of it.
    pub fn into_plane(self) -> Plane {
        self.plane
    }

    /// Tells a tenant's shard what has changed.
    pub fn tell(&self, change: &Change) -> Answer {
        let grace = self.grace;
        let command = match change {
            Change::Upsert(spec) => Command::Upsert {
                spec: Box::new(TenantSpec::clone(spec)),
                grace,
            },
            Change::Remove(id) => Command::Remove {
                id: id.clone(),
                grace,
            },
        };
        self.to_shard(self.plane.owner(change.tenant()), command)
    }

    /// Tells a tenant's shard to serve it in another way.
    pub fn steer(&self, id: &TenantId, steering: Steering) -> Answer {
        self.to_shard(self.plane.owner(id), Command::Steer(id.clone(), steering))
    }

    /// Asks a tenant's shard how it stands.
    pub fn standing(&self, id: &TenantId) -> Answer {
        self.to_shard(self.plane.owner(id), Command::Standing(id.clone()))
    }

    /// Asks a tenant's shard who is connected.
    pub fn sessions(&self, id: &TenantId) -> Answer {
        self.to_shard(self.plane.owner(id), Command::Sessions(id.clone()))
    }

    /// Tells a tenant's shard to end one of its sessions.
    pub fn end(&self, id: &TenantId, session: SessionId) -> Answer {
        self.to_shard(self.plane.owner(id), Command::End(id.clone(), session))
    }

    /// Passes news on to whom it concerns; answers whether all of them took it.
    pub fn pass_on(&self, news: &News) -> bool {
        match news {
            News::Tenant(change) => self.tell(change).is_sent(),
            News::Tls(tls) => self.plane.show(tls.as_ref()),
            News::Strangers(reception) => self.ask_all(|| Command::Receive(*reception)).is_sent(),
            News::Drain => self.ask_all(|| Command::Drain).is_sent(),
        }
    }

    /// Asks every shard the same.
    pub fn ask_all(&self, question: impl Fn() -> Command) -> Asked {
        let shards = 0..self.plane.shards();
        Asked(
            shards
                .map(|shard| self.to_shard(ShardId(shard), question()))
                .collect(),
        )
    }

    fn to_shard(&self, shard: ShardId, command: Command) -> Answer {
        Answer {
            shard: shard.0,
            reply: self.plane.tell(shard, command),
        }
    }
}

impl Asked {
    /// Whether every shard took the message.
    fn is_sent(&self) -> bool {
        self.0.iter().all(Answer::is_sent)
    }

    /// What came until `within` has passed; whoever said nothing by then is silent.
    pub fn within(self, within: Duration) -> Vec<Result<Reply, Silent>> {
        let deadline = Instant::now() + within;
        self.0
            .into_iter()
            .map(|answer| answer.until(deadline))
            .collect()
    }
}

impl Answer {
    /// What came until `within` has passed.
    pub fn within(self, within: Duration) -> Result<Reply, Silent> {
        self.until(Instant::now() + within)
    }

    /// Whether the shard took the message, so that an answer may come.
    pub fn is_sent(&self) -> bool {
        self.reply.is_ok()
    }

    fn until(self, deadline: Instant) -> Result<Reply, Silent> {
        self.reply?
            .recv_deadline(deadline)
            .map_err(|_| Silent(self.shard))
    }
}

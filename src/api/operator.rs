//! What the API asks of the process, and the ways in which that can be refused.
//!
//! The API knows nothing of shards' mailboxes, files or the thread that owns the tenants; whoever
//! does implements [`Operator`]. In tests that is a few lines.

use std::sync::Arc;

use shards::Silent;
use shards::contract::{
    Door, SessionId, SessionSnapshot, ShardSnapshot, Steering, TenantId, TenantSnapshot,
};

use crate::config::{Complaint, Node, Settings};
use crate::roster::Entry;

/// Whoever carries out what the API is asked for. Each call comes back in bounded time.
pub trait Operator: Send + Sync + 'static {
    /// All tenants, by name.
    fn tenants(&self) -> Result<Vec<Entry>, Refused>;
    /// One tenant.
    fn tenant(&self, id: &TenantId) -> Result<Entry, Refused>;
    /// The tenant shall be as written. It is in force when this comes back.
    fn put(&self, id: &TenantId, written: Node, when: When) -> Result<Put, Refused>;
    /// The tenant shall be gone. It takes no client any more when this comes back.
    fn remove(&self, id: &TenantId, when: When) -> Result<(), Refused>;
    /// The tenant's pool shall serve in another way.
    fn steer(&self, id: &TenantId, steering: Steering) -> Result<(), Refused>;
    /// How the tenant stands, as its shard alone is asked; `None` where that knows none of the name.
    fn standing(&self, id: &TenantId) -> Result<Option<TenantSnapshot>, Refused>;
    /// The tenant's sessions that are served, in no order.
    fn sessions(&self, id: &TenantId) -> Result<Vec<SessionSnapshot>, Refused>;
    /// One of them shall end, whatever it is at. It has been told when this comes back.
    fn end(&self, id: &TenantId, session: SessionId) -> Result<(), Refused>;
    /// The config file shall be read again.
    fn reload(&self) -> Result<Reloaded, Refused>;
    /// How everything stands, shard by shard.
    fn snapshots(&self) -> Result<Vec<Result<ShardSnapshot, Silent>>, Refused>;
    /// How it stands at the door, before any shard.
    fn door(&self) -> Result<Door, Refused>;
    /// The settings in force, and which shard owns a tenant.
    fn settings(&self) -> Result<Arc<Settings>, Refused>;
}

/// A tenant that is now as it was wanted.
pub struct Put {
    /// As it is.
    pub entry: Entry,
    /// Whether there was none of that name before.
    pub created: bool,
}

/// What a reload came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// Tenants that are new or different.
    pub changed: usize,
    /// Tenants that are gone.
    pub removed: usize,
    /// What differs in the file and needs a restart to come into force.
    pub after_restart: Vec<&'static str>,
    /// Why what is left of the API's tenants could not be kept in the state file; the load holds all the same.
    pub not_kept: Option<String>,
}

/// What must be true of a tenant for a change to be made: `If-Match` and `If-None-Match`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    /// Nothing.
    Always,
    /// There is none of that name.
    IsNew,
    /// There is one.
    Exists,
    /// It is at one of these revisions.
    IsAt(Vec<u64>),
}

impl When {
    /// Whether it is true of a tenant at this revision; `None` for no tenant.
    pub fn holds(&self, revision: Option<u64>) -> bool {
        match self {
            When::Always => true,
            When::IsNew => revision.is_none(),
            When::Exists => revision.is_some(),
            When::IsAt(revisions) => revision.is_some_and(|revision| revisions.contains(&revision)),
        }
    }
}

/// Why something was not done.
#[derive(Debug)]
pub enum Refused {
    /// There is no tenant of that name.
    NoTenant,
    /// The tenant has no session of that number (any more).
    NoSession,
    /// The tenant is not as the asker believed.
    NotWhen,
    /// The tenant as written makes no sense; keys are relative to it.
    Senseless(Vec<Complaint>),
    /// The file as written makes no sense; what ran runs on.
    BadFile(Vec<Complaint>),
    /// The change could not be kept, so it was not made.
    NotKept(String),
    /// The shard that owns the tenant does not answer. It may still do as asked.
    Silent(Silent),
    /// Nothing changes any more: the process is stopping.
    Stopping,
    /// Too much is asked at once.
    Busy,
}

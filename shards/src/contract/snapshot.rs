//! How shards stand at one moment, as they answer it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pool::Gauges;

use super::TenantId;
use super::counts::{Counts, EndKind};

/// The door at which acceptors stand, at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Door {
    /// Clients connected, from their first byte to their last.
    pub clients: usize,
    /// How many there may be.
    pub limit: usize,
    /// Those among them that have not proved who they are.
    pub unproven: usize,
    /// How many of those there may be; `None` is as many as come.
    pub unproven_limit: Option<usize>,
    /// Times that a connection could not be accepted, for want of descriptors mostly.
    pub accept_failures: u64,
    /// Clients that got no further than here, by [`EndKind`].
    pub refused: [u64; EndKind::ALL.len()],
}

/// A shard at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardSnapshot {
    /// Sessions that have not ended, those that are still logging in among them.
    pub clients: usize,
    /// Processor time that its thread has used.
    pub busy: Duration,
    /// What became of clients that named no tenant of this shard.
    pub strangers: Counts,
    /// Its tenants, in no order.
    pub tenants: Vec<TenantSnapshot>,
}

/// A tenant at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantSnapshot {
    /// Which.
    pub id: TenantId,
    /// Whether its pool serves.
    pub standing: Standing,
    /// Whether its database is well.
    pub health: Health,
    /// Clients that are let in, those that wait for a backend among them.
    pub clients: usize,
    /// Those among them that are pinned to their backend, in transaction mode.
    pub pinned: usize,
    /// Its backends, and who waits for one.
    pub backends: Gauges,
    /// What it all adds up to.
    pub counts: Counts,
}

/// A number that a session has for itself, in the life of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionId(pub u64);

/// Who a session's client is, as far as it has said or shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// Whom it has proved to be, without the tenant.
    pub user: Arc<str>,
    /// What it called itself when it logged in (`application_name`, `program_name`).
    pub application: Option<Arc<str>>,
    /// Where it comes from.
    pub peer: SocketAddr,
    /// When it was let in.
    pub since: Instant,
}

impl Who {
    /// A client that is let in now, with names of its own choice: of each, as much is kept as PostgreSQL would keep.
    pub fn new(user: &[u8], application: Option<&[u8]>, peer: SocketAddr, since: Instant) -> Who {
        Who {
            user: cut(user),
            application: application.map(cut),
            peer,
            since,
        }
    }

    /// The same client, who has proved to be another user.
    pub fn becomes(&self, user: &[u8]) -> Who {
        Who {
            user: cut(user),
            ..self.clone()
        }
    }
}

/// A name of at most [`NAME_LENGTH`] bytes, whole characters of it; what is no UTF-8 is replaced, each byte by three.
fn cut(name: &[u8]) -> Arc<str> {
    let shown = &name[..name.len().min(NAME_LENGTH)];
    let whole = match std::str::from_utf8(shown) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        _ => shown.len(),
    };
    String::from_utf8_lossy(&shown[..whole]).into()
}

/// The length of a name in PostgreSQL (`NAMEDATALEN`), in bytes.
const NAME_LENGTH: usize = 63;

/// A session that is served, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionSnapshot {
    /// Which.
    pub id: SessionId,
    /// Whose.
    pub who: Arc<Who>,
    /// How long it has been.
    pub connected: Duration,
    /// What it is at.
    pub state: SessionState,
    /// For how long; `None` where that is not known.
    pub in_state: Option<Duration>,
    /// How long its transaction has been open, or its single statement has run; `None` if there is none.
    pub in_transaction: Option<Duration>,
    /// The backend that it holds, by the number that the database has for it: PostgreSQL's process id, MySQL's
    /// connection id.
    pub backend: Option<u32>,
}

/// What a session is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// The client says nothing, and has no transaction open.
    Idle,
    /// The client waits for an answer.
    Active,
    /// The client says nothing, and has a transaction open.
    IdleInTransaction,
    /// The client waits for a backend.
    Waiting,
    /// Its answers could not be followed.
    Unknown,
}

/// Whether a tenant's pool serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// It serves.
    #[default]
    Active,
    /// Its clients wait until it is resumed.
    Paused,
    /// It gives out nothing until it is resumed.
    Draining,
}

/// Whether a tenant's database is well, as far as its health checks tell. It is until they say no.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// Nothing to the contrary is known.
    #[default]
    Well,
    /// It has failed too many checks in a row.
    Unwell {
        /// What the last one said.
        why: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_name_so_much_is_kept_as_postgresql_would_keep() {
        let kept = |name: &[u8]| {
            let who = Who::new(name, Some(name), ([127, 0, 0, 1], 5).into(), Instant::now());
            assert_eq!(who.application.as_ref(), Some(&who.user));
            who.user
        };
        assert_eq!(&*kept(b"app"), "app");
        assert_eq!(&*kept("\u{e4}".repeat(40).as_bytes()), "\u{e4}".repeat(31));
        for invalid in [0xff, 0x80] {
            assert_eq!(kept(&[invalid; 9_900]).chars().count(), 63);
        }
    }
}

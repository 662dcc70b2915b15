//! What crosses threads: tenants as the shards need them, commands and their replies.
//!
//! Everything here is plain, `Send` and already checked: there is no default to guess and no text
//! left to parse. The control plane makes these values, the shards consume them.

mod access;
mod counts;
mod networks;
mod snapshot;

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use crossbeam_channel::Sender;
pub use pool::{CloseReason, Gauges, Limits};
use sockets::Address;
pub use wire::pg::lookup::PG_AUTHID;
pub use wire::pg::pooling::Pin;
pub use wire::pg::pooling::{PreparedStatements, Reset, Rules};
pub use wire::{Secret, SqlstateClass, is_tenant_id};

use crate::tls::DatabaseTls;

pub use self::access::{Access, BackendUser, ClientAuth, Credential, Lookup, Users};
pub use self::counts::{BOUNDS, Counts, DialFault, Disproof, EndKind, Errors, Timings};
pub use self::networks::{IpNet, Neighbourhood, Networks};
pub use self::snapshot::{
    Door, Health, SessionId, SessionSnapshot, SessionState, ShardSnapshot, Standing,
    TenantSnapshot, Who,
};

/// The name of a tenant, as clients and operators write it.
///
/// 1 to 63 bytes of ASCII letters, digits, `.`, `-` and single inner underscores, so that
/// `tenant__user` can be split at its first `__` in one way only.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(Arc<str>);

impl TenantId {
    /// Checks the grammar; `None` where the text cannot be a tenant's name.
    pub fn parse(text: &str) -> Option<TenantId> {
        is_tenant_id(text).then(|| TenantId(text.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The place of a shard among its fellows: `0 .. shards`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ShardId(pub usize);

/// Which shard owns a tenant, of `shards` many.
///
/// The first eight bytes of the name's SHA-256: the same on every thread, in every process and
/// after every restart, so that acceptors need no table, and even however names are chosen.
pub fn shard_of(tenant: &TenantId, shards: usize) -> ShardId {
    let hash = digest::digest(&digest::SHA256, tenant.as_str().as_bytes());
    let place = hash.as_ref()[..8]
        .iter()
        .fold(0, |sum, &byte| (sum << 8) | u64::from(byte));
    ShardId((place % shards.max(1) as u64) as usize)
}

/// The protocol that a tenant's database and clients speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// PostgreSQL, protocol version 3.
    Postgres,
    /// MySQL and MariaDB.
    MySql,
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Dialect::Postgres => "postgres",
            Dialect::MySql => "mysql",
        })
    }
}

/// One database with its credentials and limits: the unit of routing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantSpec {
    /// Its name.
    pub id: TenantId,
    /// What it speaks.
    pub dialect: Dialect,
    /// Where its database listens: a host name or an address, resolved at each dial. With a slash at
    /// its beginning it is in the file system: the folder of PostgreSQL's socket, or MySQL's socket itself.
    pub host: String,
    /// The database's TCP port; of PostgreSQL also a part of its socket's name.
    pub port: u16,
    /// The database on that server that every backend is opened on.
    pub dbname: String,
    /// Whom backends log in as.
    pub username: String,
    /// What backends log in with; `None` where the database trusts us.
    pub password: Option<Secret>,
    /// Who may come in as a client.
    pub access: Access,
    /// How many backends, and for how long.
    pub limits: Limits,
    /// How many clients may be in at once; `None` is as many as come.
    pub max_clients: Option<usize>,
    /// When a client gives its backend back.
    pub pool_mode: PoolMode,
    /// How sessions are moved between backends, in transaction mode.
    pub rules: Rules,
    /// How long a client may wait for a backend; `None` is for ever.
    pub acquire_timeout: Option<Duration>,
    /// How long sessions may take over what they are at.
    pub timeouts: Timeouts,
    /// How long a dial may take, from the name's resolution to the end of the login.
    pub connect_timeout: Duration,
    /// How the database's health is watched; `None` if it is not.
    pub health_check: Option<HealthCheck>,
    /// What becomes of clients that need a database which fails its checks.
    pub when_unwell: WhenUnwell,
    /// TLS towards the database.
    pub tls: DatabaseTls,
}

impl TenantSpec {
    /// The database's socket in the file system, where it is spoken to by one. Its name in a folder is
    /// PostgreSQL's, by the documentation of `unix_socket_directories`.
    pub fn local(&self) -> Option<Address> {
        if !self.host.starts_with('/') {
            return None;
        }
        let path = match self.dialect {
            Dialect::Postgres => format!("{}/.s.PGSQL.{}", self.host, self.port),
            Dialect::MySql => self.host.clone(),
        };
        Some(Address::Local(Path::new(&path).into()))
    }

    /// Whether its host is a name, and may be elsewhere tomorrow.
    pub fn has_a_name(&self) -> bool {
        self.local().is_none() && self.host.parse::<IpAddr>().is_err()
    }

    /// Where its database is, for people to read.
    pub fn place(&self) -> String {
        match self.local() {
            Some(socket) => socket.to_string(),
            None => format!("{}:{}", self.host, self.port),
        }
    }

    /// The same with another account: a user's own, and its password where the config knows it.
    pub fn logged_in_as(&self, user: &str) -> TenantSpec {
        let password = match &self.access.users {
            Users::Any(password) => Some(password),
            Users::Named(users) => users.get(user).and_then(|credential| match credential {
                Credential::Password(password) => Some(password),
                Credential::Verifier(_) => None,
            }),
            Users::Unknown => None,
        };
        TenantSpec {
            username: user.to_owned(),
            password: password.cloned(),
            ..self.clone()
        }
    }

    /// Whether `other` means the same database with the same credentials, so that backends opened
    /// under one may serve under the other.
    pub fn same_database(&self, other: &TenantSpec) -> bool {
        self.dialect == other.dialect
            && self.host == other.host
            && self.port == other.port
            && self.dbname == other.dbname
            && self.username == other.username
            && self.password == other.password
            // In transaction mode backends are opened without any client's startup parameters.
            && self.pool_mode == other.pool_mode
            && self.access.backend_user == other.access.backend_user
            && self.tls.demands_the_same(&other.tls)
    }
}

/// How long a session may take over what it is at; `None` is for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// A query, from when a backend has it to the end of its answer.
    pub query: Option<Duration>,
    /// A transaction, that of a single statement among them.
    pub transaction: Option<Duration>,
    /// A client that has a transaction open, failed ones among them, and says nothing.
    pub idle_transaction: Option<Duration>,
    /// A client that has none open, and says nothing.
    pub client_idle: Option<Duration>,
}

impl Timeouts {
    /// The shortest of them; `None` if there are none.
    pub fn shortest(&self) -> Option<Duration> {
        let Timeouts {
            query,
            transaction,
            idle_transaction,
            client_idle,
        } = *self;
        [query, transaction, idle_transaction, client_idle]
            .into_iter()
            .flatten()
            .min()
    }
}

/// How a database's health is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// From one check to the next.
    pub interval: Duration,
    /// How long a check may take.
    pub timeout: Duration,
    /// How many checks in a row must fail until the database counts as unhealthy: 1 or more.
    pub failure_threshold: u32,
    /// How many checks in a row must pass until it counts as healthy again: 1 or more.
    pub success_threshold: u32,
}

/// What becomes of clients that need a backend while the database is unhealthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenUnwell {
    /// They are told at once.
    Fail,
    /// They wait, as long as their patience lasts.
    Queue,
}

/// When a client gives its backend back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolMode {
    /// When it leaves.
    Session,
    /// At the end of each transaction, unless something pins it. PostgreSQL only.
    Transaction,
}

/// All that the control plane can ask of a shard.
#[derive(Debug)]
pub enum Command {
    /// The tenant shall be as given: new, changed limits in place, or a fresh pool if its database changed.
    Upsert {
        /// What it shall be.
        spec: Box<TenantSpec>,
        /// How long clients of the database before it may take to finish.
        grace: Duration,
    },
    /// The tenant shall be gone: its clients are told at their next boundary.
    Remove {
        /// Which.
        id: TenantId,
        /// How long its clients may take to reach that boundary, before they are cut off.
        grace: Duration,
    },
    /// Change how a tenant's pool serves, and nothing of the tenant itself.
    Steer(TenantId, Steering),
    /// How does this tenant stand?
    Standing(TenantId),
    /// Who is connected to the tenant?
    Sessions(TenantId),
    /// End one session of the tenant's, whatever it is at.
    End(TenantId, SessionId),
    /// Receive clients whose tenant does not exist like this.
    Receive(Reception),
    /// Take no new clients; let those who are here go at their transaction's boundary (57P01; MySQL's without a word).
    Drain,
    /// How many clients are here?
    Census,
    /// How does everything stand?
    Snapshot,
}

/// How clients are received whose tenant does not exist: as the tenants' clients are, where these are like the
/// config's `defaults`, so that the one cannot be told from the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reception {
    /// What they are asked.
    pub method: ClientAuth,
    /// How long it is believed that there is no such user, where users are looked up.
    pub lookup_ttl: Option<Duration>,
}

impl Default for Reception {
    fn default() -> Reception {
        Reception {
            method: ClientAuth::Scram,
            lookup_ttl: None,
        }
    }
}

/// What an operator can do with the pool of one tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steering {
    /// Open nothing and close what comes back, while clients wait: the database is restarted.
    Pause,
    /// Give out nothing any more, and let clients go at their next boundary.
    Drain,
    /// Serve again, after a pause or a drain.
    Resume,
    /// Replace every backend: the idle ones now, the others when they come back.
    Reconnect,
}

/// A shard's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// As asked.
    Done,
    /// There is no such tenant here, or no such session of it.
    Unknown,
    /// Clients that are connected now.
    Census {
        /// Sessions that have not ended.
        clients: usize,
    },
    /// How the tenant stands.
    Standing(Box<TenantSnapshot>),
    /// The sessions that are served, in no order.
    Sessions(Vec<SessionSnapshot>),
    /// How everything stands.
    Snapshot(Box<ShardSnapshot>),
}

/// A command with the way back for its answer, so that nobody keeps a table of open questions.
#[derive(Debug)]
pub struct Envelope {
    /// What is asked.
    pub command: Command,
    /// Where the answer goes. Bounded by whoever asks; a full or closed channel loses the answer.
    pub reply: Sender<Reply>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_stays_on_its_shard_for_ever() {
        // Written down so that a change of the hash, which would move every tenant, is seen.
        let place =
            |name: &str, shards| shard_of(&TenantId::parse(name).expect("a valid name"), shards).0;
        assert_eq!(
            [
                place("tenant_1", 4),
                place("tenant_2", 4),
                place("acme", 4),
                place("a.b-c", 4)
            ],
            [1, 3, 0, 1]
        );
    }

    #[test]
    fn tenants_spread_evenly() {
        let mut load = [0u32; 8];
        for n in 0..8000 {
            let id = TenantId::parse(&format!("tenant_{n}")).expect("a valid name");
            load[shard_of(&id, 8).0] += 1;
        }
        assert!(load.iter().all(|&n| (800..1200).contains(&n)), "{load:?}");
    }
}

//! What is shown: one row for each tenant, as many as may have a label of their own, and the others
//! added up.

use std::collections::HashMap;
use std::time::SystemTime;

use shards::Silent;
use shards::contract::{Counts, Dialect, Health, ShardSnapshot, Standing, TenantSnapshot};

use crate::roster::Entry;

/// A tenant, or several added up.
pub struct Row {
    /// The tenant's name, or [`OTHER`].
    pub tenant: String,
    /// What it speaks.
    pub dialect: Dialect,
    /// Clients that are let in, those that wait for a backend among them.
    pub clients: usize,
    /// Those that are pinned to their backend.
    pub pinned: usize,
    /// Backends that serve a client.
    pub active: usize,
    /// Backends that nobody uses.
    pub idle: usize,
    /// Backends being opened.
    pub opening: usize,
    /// Clients that wait.
    pub waiting: usize,
    /// The most backends there may be.
    pub max: usize,
    /// Whether the database is well; of several, each one's.
    pub is_well: bool,
    /// Whether the pool serves; of several, each one.
    pub serves: bool,
    /// The end of the validity of the certificate that the database is shown; of several, the first.
    pub certificate_expires: Option<SystemTime>,
    /// What it adds up to.
    pub counts: Counts,
}

/// The rows in the order of names. Tenants whose shard said nothing are left out rather than shown
/// as idle. The first `limit` names stand for themselves, so that the same do at each scrape.
pub fn rows(tenants: &[Entry], shards: &[Result<ShardSnapshot, Silent>], limit: usize) -> Vec<Row> {
    let standing: HashMap<_, _> = shards
        .iter()
        .flatten()
        .flat_map(|shard| &shard.tenants)
        .map(|now| (&now.id, now))
        .collect();
    let mut rows = Vec::new();
    let mut others: Vec<Row> = Vec::new();
    for (position, entry) in tenants.iter().enumerate() {
        let Some(now) = standing.get(&entry.spec.id) else {
            continue;
        };
        let row = Row::of(entry, now);
        if position < limit {
            rows.push(row);
            continue;
        }
        match others.iter_mut().find(|other| other.dialect == row.dialect) {
            Some(other) => other.absorb(&row),
            None => others.push(Row {
                tenant: OTHER.to_owned(),
                ..row
            }),
        }
    }
    rows.extend(others);
    rows
}

impl Row {
    fn of(entry: &Entry, now: &TenantSnapshot) -> Row {
        Row {
            tenant: now.id.as_str().to_owned(),
            dialect: entry.spec.dialect,
            clients: now.clients,
            pinned: now.pinned,
            active: now.backends.leased,
            idle: now.backends.idle,
            opening: now.backends.opening,
            waiting: now.backends.waiting,
            max: entry.spec.limits.max,
            is_well: now.health == Health::Well,
            certificate_expires: entry.spec.tls.expires(),
            serves: now.standing == Standing::Active,
            counts: now.counts.clone(),
        }
    }

    fn absorb(&mut self, other: &Row) {
        self.clients += other.clients;
        self.pinned += other.pinned;
        self.active += other.active;
        self.idle += other.idle;
        self.opening += other.opening;
        self.waiting += other.waiting;
        self.max += other.max;
        self.is_well &= other.is_well;
        self.serves &= other.serves;
        let ends = [self.certificate_expires, other.certificate_expires];
        self.certificate_expires = ends.into_iter().flatten().min();
        self.counts += &other.counts;
    }
}

/// The label of tenants beyond the limit. No tenant's name begins with an underscore.
pub const OTHER: &str = "_other";

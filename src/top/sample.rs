//! What the API says at one moment, as far as `top` shows it.

use serde::Deserialize;

use super::sessions::Session;
use crate::client::{Client, Failure};

/// The whole of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    pub health: Process,
    pub tenants: Vec<Tenant>,
    pub shards: Vec<Shard>,
}

/// `/health`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Process {
    pub version: String,
    pub uptime_seconds: u64,
}

/// One tenant of `/tenants`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Tenant {
    pub id: String,
    pub db_type: String,
    pub pool_mode: String,
    pub state: String,
    pub shard: usize,
    pub max_connections: u64,
    /// Not there if its shard did not answer in time.
    pub stats: Option<Stats>,
}

/// How a tenant stands, and its sums.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Stats {
    pub clients: u64,
    pub pinned: u64,
    pub active: u64,
    pub idle: u64,
    pub waiting: u64,
    pub healthy: bool,
    pub unhealthy_because: Option<String>,
    pub queries: u64,
    pub errors: u64,
    pub query_duration: Timings,
}

/// A histogram: how many took at most as long as each bound, and longer than the one before.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub struct Timings {
    /// The bounds, in seconds.
    pub le: Vec<f64>,
    /// One more than there are bounds: the last are beyond all of them.
    pub counts: Vec<u64>,
}

/// One of `/shards`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Shard {
    pub shard: usize,
    pub answers: bool,
    #[serde(default)]
    pub clients: u64,
    #[serde(default)]
    pub tenants: u64,
    #[serde(default)]
    pub busy_seconds: f64,
}

/// What is to be asked, and done.
#[derive(Debug, Clone, PartialEq)]
pub enum Wish {
    /// From now on the sessions of this tenant, too.
    Watch(Option<String>),
    /// The end of a session of a tenant.
    End(String, Session),
}

/// The sessions of a tenant at one moment.
#[derive(Debug)]
pub struct SessionsOf {
    pub tenant: String,
    pub sessions: Vec<Session>,
}

impl SessionsOf {
    /// Asks for them.
    pub fn take(client: &Client, tenant: &str) -> Result<SessionsOf, Failure> {
        Ok(SessionsOf {
            tenant: tenant.to_owned(),
            sessions: client.document(&format!("/tenants/{tenant}/sessions"))?,
        })
    }
}

/// Ends a session; what there is to say of that.
pub fn end(client: &Client, tenant: &str, session: &Session) -> String {
    let Session { id, user, .. } = session;
    match client.delete(&format!("/tenants/{tenant}/sessions/{id}")) {
        Ok(()) => format!("session {id} of {user} has been told to end"),
        Err(failure) => failure.to_string(),
    }
}

impl Sample {
    /// Asks for all of it.
    pub fn take(client: &Client) -> Result<Sample, Failure> {
        Ok(Sample {
            health: client.document("/health")?,
            tenants: client.document("/tenants")?,
            shards: client.document("/shards")?,
        })
    }
}

impl Timings {
    /// What came since an earlier histogram with the same bounds.
    pub fn since(&self, before: &Timings) -> Timings {
        let counts = self.counts.iter().zip(&before.counts);
        Timings {
            le: self.le.clone(),
            counts: counts
                .map(|(now, before)| now.saturating_sub(*before))
                .collect(),
        }
    }

    /// Both together.
    pub fn and(&self, other: &Timings) -> Timings {
        if self.counts.is_empty() {
            return other.clone();
        }
        let counts = self.counts.iter().zip(&other.counts);
        Timings {
            le: self.le.clone(),
            counts: counts.map(|(a, b)| a + b).collect(),
        }
    }

    /// The time in seconds that this share of all stayed below: linear within a bucket, as
    /// Prometheus' `histogram_quantile` does it. `None` if there were none.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let total: u64 = self.counts.iter().sum();
        if total == 0 {
            return None;
        }
        let mut rest = share * total as f64;
        let mut low = 0.0;
        for (&high, &count) in self.le.iter().zip(&self.counts) {
            if rest <= count as f64 {
                return Some(low + (high - low) * (rest / count as f64));
            }
            rest -= count as f64;
            low = high;
        }
        self.le.last().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_lies_where_its_share_ends() {
        let of = |counts: [u64; 4]| Timings {
            le: vec![0.1, 0.2, 1.0],
            counts: counts.to_vec(),
        };
        assert_eq!(of([0, 0, 0, 0]).quantile(0.99), None);
        assert_eq!(of([10, 0, 0, 0]).quantile(0.5), Some(0.05));
        assert_eq!(of([50, 50, 0, 0]).quantile(0.75), Some(0.15000000000000002));
        // Beyond the last bound nothing is known but that.
        assert_eq!(of([0, 0, 0, 7]).quantile(0.99), Some(1.0));
        assert_eq!(of([5, 1, 0, 0]).since(&of([5, 0, 0, 0])), of([0, 1, 0, 0]));
        assert_eq!(Timings::default().and(&of([1, 2, 3, 4])), of([1, 2, 3, 4]));
    }
}

//! Clients that do the same at the same time: what they say, and what they have done.

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use crate::talk::Login;

/// Clients that do the same at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupId(pub usize);

/// What clients say.
pub struct Script {
    /// Right after connecting.
    pub login: Login,
    /// How they do TLS, if they do.
    pub tls: Option<Arc<ClientConfig>>,
    /// Once, after the login.
    pub preparation: Vec<u8>,
    /// Over and over.
    pub transaction: Vec<u8>,
}

/// What a group did in a while.
pub struct Tally {
    /// Transactions begun and answered.
    pub transactions: u64,
    /// From the first to the last.
    pub time: Duration,
    /// How long each took, in nanoseconds, sorted.
    pub latencies: Vec<u32>,
}

impl Tally {
    /// The latency that `share` of the transactions kept below, in microseconds.
    pub fn percentile(&self, share: f64) -> f64 {
        let last = self.latencies.len().saturating_sub(1);
        let index = (share * last as f64).ceil() as usize;
        f64::from(self.latencies.get(index).copied().unwrap_or(0)) / 1e3
    }
}

/// A group's clients, and what they have done.
pub struct Group {
    /// What they say.
    pub script: Script,
    /// Their numbers in the arena.
    pub clients: Vec<usize>,
    /// Who is answered asks again.
    pub running: bool,
    /// Clients that wait for an answer.
    pub outstanding: usize,
    /// Why it cannot go on: a client was refused, or lost.
    pub failed: Option<String>,
    transactions: u64,
    latencies: Vec<u32>,
}

impl Group {
    /// Without clients so far.
    pub fn new(script: Script) -> Group {
        Group {
            script,
            clients: Vec::new(),
            running: false,
            outstanding: 0,
            failed: None,
            transactions: 0,
            latencies: Vec::new(),
        }
    }

    /// Forgets what has been done so far.
    pub fn reset(&mut self) {
        self.transactions = 0;
        self.latencies.clear();
    }

    /// A client was answered.
    pub fn answered(&mut self, took: Duration) {
        self.transactions += 1;
        let took = took.as_nanos().min(u128::from(u32::MAX));
        self.latencies.push(took as u32);
    }

    /// What has been done in this time.
    pub fn tally(&mut self, time: Duration) -> Tally {
        let mut latencies = std::mem::take(&mut self.latencies);
        latencies.sort_unstable();
        Tally {
            transactions: self.transactions,
            time,
            latencies,
        }
    }
}

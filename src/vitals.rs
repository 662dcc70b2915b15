//! The process's signs of life, for the probes: read at any time, by any thread, without asking
//! anybody.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::roster::LeftOut;

/// The signs of life. The control thread writes them, probes read them.
pub struct Vitals {
    began: Instant,
    started: AtomicBool,
    stopping: AtomicBool,
    /// For each shard, when it was last heard, in milliseconds since the start.
    heard: Vec<AtomicU64>,
    reloads: AtomicU64,
    reload_failures: AtomicU64,
    /// When the certificate that clients see expires, in seconds since 1970; 0 if there is none.
    certificate_expires: AtomicU64,
    /// When the config in force was loaded, in seconds since 1970.
    loaded_at: AtomicU64,
    /// Whether the file was good when it was last read.
    file_is_good: AtomicBool,
    requests: Mutex<BTreeMap<Asked, u64>>,
    /// The tenants of the API that make no sense, each with what is said of it.
    left_out: Mutex<BTreeMap<String, Vec<String>>>,
}

/// A kind of request to the API, and how it was answered. There are few of them, whatever clients
/// ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked {
    /// The path as the API's description has it, such as `/tenants/{id}`.
    pub route: &'static str,
    /// The method.
    pub method: &'static str,
    /// The status of the answer.
    pub code: u16,
}

impl Vitals {
    /// Everybody is well, and nobody is served yet.
    pub fn new(shards: usize) -> Vitals {
        Vitals {
            began: Instant::now(),
            started: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            heard: (0..shards).map(|_| AtomicU64::new(0)).collect(),
            reloads: AtomicU64::new(0),
            reload_failures: AtomicU64::new(0),
            certificate_expires: AtomicU64::new(0),
            loaded_at: AtomicU64::new(now()),
            file_is_good: AtomicBool::new(true),
            requests: Mutex::default(),
            left_out: Mutex::default(),
        }
    }

    /// This shard has answered.
    pub fn heard(&self, shard: usize) {
        // Relaxed here and below: each value stands for itself and guards no other memory.
        let now = u64::try_from(self.uptime().as_millis()).unwrap_or(u64::MAX);
        self.heard[shard].store(now, Ordering::Relaxed);
    }

    /// The config file was loaded again, or found wrong.
    pub fn reloaded(&self, well: bool) {
        let counter = if well {
            &self.reloads
        } else {
            &self.reload_failures
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.file_is_good.store(well, Ordering::Relaxed);
        if well {
            self.loaded_at.store(now(), Ordering::Relaxed);
        }
    }

    /// Whether the config file was good when it was last read, and when the config in force was
    /// loaded, in seconds since 1970.
    pub fn config(&self) -> (bool, u64) {
        (
            self.file_is_good.load(Ordering::Relaxed),
            self.loaded_at.load(Ordering::Relaxed),
        )
    }

    /// The API has answered a request.
    pub fn answered(&self, asked: Asked) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        *requests.entry(asked).or_default() += 1;
    }

    /// What the API was asked so far.
    pub fn requests(&self) -> BTreeMap<Asked, u64> {
        let requests = self.requests.lock();
        requests.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// These tenants of the API are left out now.
    pub fn left_out<'a>(&self, left_out: impl Iterator<Item = &'a LeftOut>) {
        let said = |left: &LeftOut| left.complaints.iter().map(ToString::to_string).collect();
        let left_out = left_out.map(|left| (left.id.to_string(), said(left)));
        let mut told = self.left_out.lock().unwrap_or_else(PoisonError::into_inner);
        *told = left_out.collect();
    }

    /// Which tenants of the API are left out, and why.
    pub fn who_is_left_out(&self) -> BTreeMap<String, Vec<String>> {
        let told = self.left_out.lock();
        told.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often it was loaded again, and how often found wrong.
    pub fn reloads(&self) -> (u64, u64) {
        (
            self.reloads.load(Ordering::Relaxed),
            self.reload_failures.load(Ordering::Relaxed),
        )
    }

    /// The certificate that clients see from now on expires then; `None` if there is none.
    pub fn certificate(&self, expires: Option<SystemTime>) {
        let since = expires.and_then(|expires| expires.duration_since(UNIX_EPOCH).ok());
        let seconds = since.map_or(0, |since| since.as_secs());
        self.certificate_expires.store(seconds, Ordering::Relaxed);
    }

    /// When that certificate expires, in seconds since 1970.
    pub fn certificate_expires(&self) -> Option<u64> {
        Some(self.certificate_expires.load(Ordering::Relaxed)).filter(|&seconds| seconds > 0)
    }

    /// From now on clients are served.
    pub fn start(&self) {
        self.started.store(true, Ordering::Relaxed);
    }

    /// Whether clients are served yet.
    pub fn is_started(&self) -> bool {
        self.started.load(Ordering::Relaxed)
    }

    /// From now on the process is not ready for clients.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Whether it has been told to stop.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.heard.len()
    }

    /// The shards that have said nothing for [`SILENT_AFTER`]. All of them, if it is the control
    /// thread that does not ask any more.
    pub fn silent(&self) -> Vec<usize> {
        let uptime = self.uptime();
        let for_too_long = |heard: &AtomicU64| {
            let heard = Duration::from_millis(heard.load(Ordering::Relaxed));
            uptime.saturating_sub(heard) > SILENT_AFTER
        };
        (0..self.shards())
            .filter(|&shard| for_too_long(&self.heard[shard]))
            .collect()
    }

    /// How long the process has been running.
    pub fn uptime(&self) -> Duration {
        self.began.elapsed()
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// How long a shard may say nothing before it counts as dead. It is asked once a second.
pub const SILENT_AFTER: Duration = Duration::from_secs(10);

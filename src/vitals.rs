//! The process's signs of life, for the probes: read at any time, by any thread, without asking
//! anybody.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The signs of life. The control thread writes them, probes read them.
pub struct Vitals {
    began: Instant,
    started: AtomicBool,
    stopping: AtomicBool,
    /// For each shard, when it was last heard, in milliseconds since the start.
    heard: Vec<AtomicU64>,
    reloads: AtomicU64,
    reload_failures: AtomicU64,
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
    }

    /// How often it was loaded again, and how often found wrong.
    pub fn reloads(&self) -> (u64, u64) {
        (
            self.reloads.load(Ordering::Relaxed),
            self.reload_failures.load(Ordering::Relaxed),
        )
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

/// How long a shard may say nothing before it counts as dead. It is asked once a second.
pub const SILENT_AFTER: Duration = Duration::from_secs(10);

//! What the kernel tells of a process, and where it lets it run.

use std::fs;
use std::time::Duration;

use rustix::thread::{CpuSet, sched_setaffinity};

/// The processor of the proxy.
pub const PROXY_CPU: usize = 0;

/// The processor of clients and null backend.
pub const LOAD_CPU: usize = 1;

/// Keeps this thread, and those it starts, on one processor; where that is forbidden the numbers
/// are only noisier.
pub fn stay_on(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu);
    if let Err(error) = sched_setaffinity(None, &set) {
        eprintln!("the load cannot be kept on processor {cpu} ({error}): the numbers are noisier");
    }
}

/// The processor time that all threads of a process have used.
pub fn cpu_time(pid: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"));
    let threads = tasks.into_iter().flatten().flatten();
    let nanoseconds = threads
        .filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok())
        .filter_map(|line| line.split(' ').next()?.parse::<u64>().ok());
    Duration::from_nanos(nanoseconds.sum())
}

/// The memory that a process holds and shares with nobody, and what of shared pages is its own
/// part, in KiB.
pub fn memory_kib(pid: u32) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let field = |line: &str| {
        line.strip_prefix("Pss:")?
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    };
    rollup.lines().find_map(field).unwrap_or(0)
}

/// What machine this is, in one line.
pub fn describe() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    format!(
        "{} x {}, Linux {}",
        cpus,
        model.unwrap_or("unknown processor").trim(),
        release.split('-').next().unwrap_or_default().trim()
    )
}

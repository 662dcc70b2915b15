//! What the kernel tells of a process, and where it lets it run.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::Outcome;

/// The processor of the proxy.
pub const PROXY_CPU: usize = 0;

/// The processor of clients and null backend.
pub const LOAD_CPU: usize = 1;

/// Which processors a proxy with so many shards gets: one for each where there are enough, and never
/// the load's.
pub fn proxy_cpus(shards: usize) -> String {
    let others = (0..cpus()).filter(|&cpu| cpu != PROXY_CPU && cpu != LOAD_CPU);
    let cpus: Vec<String> = [PROXY_CPU]
        .into_iter()
        .chain(others)
        .take(shards)
        .map(|cpu| cpu.to_string())
        .collect();
    cpus.join(",")
}

/// Processors of this machine.
pub fn cpus() -> usize {
    let online = fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    let last = online.trim().rsplit(['-', ',']).next();
    last.and_then(|last| last.parse::<usize>().ok())
        .map_or(1, |last| last + 1)
}

/// Lets this process, and those it starts, open as many sockets as it may.
pub fn open_many() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(FILES, |most| most.min(FILES));
    let raised = Rlimit {
        current: Some(wanted),
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        eprintln!("no more files can be opened than before ({error})");
    }
}

/// The bench goes on, and ends with a failure.
pub fn fail() {
    FAILED.store(true, Ordering::Relaxed);
}

/// Whether [`fail`] was called.
pub fn has_failed() -> bool {
    FAILED.load(Ordering::Relaxed)
}

static FAILED: AtomicBool = AtomicBool::new(false);

/// Sockets of both sides of the largest number of clients, and some.
const FILES: u64 = 40_000;

/// Keeps this thread, and those it starts, on one processor; where that is forbidden the numbers
/// are only noisier.
pub fn stay_on(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu);
    if let Err(error) = sched_setaffinity(None, &set) {
        eprintln!("the load cannot be kept on processor {cpu} ({error}): the numbers are noisier");
    }
}

/// Lets this thread go before those of the same processor that have real-time priority, as far as
/// that is permitted.
pub fn go_first() {
    prefer(rustix::thread::gettid().as_raw_nonzero().get(), FIRST);
}

/// Puts the thread of a process whose name begins so on a processor, before all but those that go first.
pub fn put(pid: u32, name: &str, cpu: usize) -> Outcome<()> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))?;
    let named = |task: &fs::DirEntry| {
        let known = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        known.starts_with(name)
    };
    let thread = tasks.flatten().find(named).ok_or("no such thread")?;
    let thread: i32 = thread.file_name().to_string_lossy().parse()?;
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(Pid::from_raw(thread), &set)?;
    prefer(thread, SECOND);
    Ok(())
}

fn prefer(thread: i32, priority: u32) {
    let set = Command::new("chrt")
        .args(["-f", "-p", &priority.to_string(), &thread.to_string()])
        .status();
    if !set.is_ok_and(|status| status.success()) {
        eprintln!("no real-time priority for a thread: the numbers are noisier");
    }
}

/// Above the priority that scripts/bench gives to load and proxies.
const SECOND: u32 = 11;
const FIRST: u32 = 12;

/// The processor time that all threads of a process have used.
pub fn cpu_time(pid: u32) -> Duration {
    cpu_times(pid).into_values().sum()
}

/// The processor time of each thread of a process, by its number.
pub fn cpu_times(pid: u32) -> HashMap<OsString, Duration> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"));
    let threads = tasks.into_iter().flatten().flatten();
    let used = |thread: fs::DirEntry| {
        let line = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        let nanoseconds = line.split(' ').next()?.parse().ok()?;
        Some((thread.file_name(), Duration::from_nanos(nanoseconds)))
    };
    threads.filter_map(used).collect()
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
    format!(
        "{} x {}, Linux {}",
        cpus(),
        model.unwrap_or("unknown processor").trim(),
        release.split('-').next().unwrap_or_default().trim()
    )
}

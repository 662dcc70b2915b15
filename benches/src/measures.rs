//! What else users feel: logins, idle clients, big results, noisy neighbours.

use std::time::{Duration, Instant};

use crate::arena::{Arena, Script};
use crate::peers::{Kind, Peer, Setup, start_all, tenant};
use crate::postgres::{self, Mode};
use crate::report::median;
use crate::table::Table;
use crate::{Common, Outcome, host};

/// Connects, logs in by trust and leaves, over and over.
pub fn logins(common: &Common) -> Outcome<()> {
    let mut scene = Scene::set(common, |kind| kind.pools())?;
    let mut results = vec![(Vec::new(), Vec::new()); scene.peers.len()];
    for _ in 0..common.rounds {
        for (peer, (rate, cpu)) in scene.peers.iter().zip(&mut results) {
            let (pid, begun) = (peer.pid(), Instant::now());
            let before = pid.map(host::cpu_time);
            let mut count = 0;
            while begun.elapsed() < Duration::from_millis(common.round_ms) {
                let group = scene.arena.connect(peer.address, LOGINS_AT_ONCE, script)?;
                scene.arena.leave(group);
                count += LOGINS_AT_ONCE;
            }
            rate.push(count as f64 / begun.elapsed().as_secs_f64());
            let used = pid.map(host::cpu_time).zip(before);
            let used = used.map_or(f64::NAN, |(after, before)| (after - before).as_secs_f64());
            cpu.push(used * 1e6 / count as f64);
        }
    }
    let mut table = Table::new("logins by trust", &["per second", "CPU µs each"]);
    for (peer, (rate, cpu)) in scene.peers.iter().zip(results) {
        table.row(&peer.name, vec![median(rate), median(cpu)]);
    }
    table.write(&common.out, "logins")
}

/// Lets clients log in and do nothing.
pub fn idle(common: &Common, clients: &[usize]) -> Outcome<()> {
    let mut table = Table::new(
        "idle clients, logged in",
        &[
            "clients",
            "memory before, KiB",
            "with them, KiB",
            "bytes each",
        ],
    );
    for &count in clients {
        // Fresh processes: memory once used is not given back by all.
        let mut scene = Scene::set(common, |kind| kind.pools())?;
        for peer in &scene.peers {
            let Some(pid) = peer.pid() else { continue };
            // What is made at the first use of each tenant is no client's own.
            let first = scene.arena.connect(peer.address, 64, script)?;
            let before = host::memory_kib(pid);
            let group = scene.arena.connect(peer.address, count, script)?;
            let with = host::memory_kib(pid);
            let each = with.saturating_sub(before) as f64 * 1024.0 / count as f64;
            table.row(
                &peer.name,
                vec![count as f64, before as f64, with as f64, each],
            );
            scene.arena.leave(group);
            scene.arena.leave(first);
        }
    }
    table.write(&common.out, "idle")
}

/// One client reads a result of 100 MiB.
pub fn result(common: &Common) -> Outcome<()> {
    let mut scene = Scene::set(common, |_| true)?;
    let mut results = vec![(Vec::new(), Vec::new()); scene.peers.len()];
    for _ in 0..common.rounds {
        for (peer, (rate, cpu)) in scene.peers.iter().zip(&mut results) {
            let big = |number: usize| Script {
                transaction: postgres::query(postgres::BIG),
                ..script(number)
            };
            let group = scene.arena.connect(peer.address, 1, big)?;
            let (pid, begun) = (peer.pid(), Instant::now());
            let before = pid.map(host::cpu_time);
            scene.arena.start(group)?;
            scene.arena.rest(group)?;
            rate.push(100.0 / begun.elapsed().as_secs_f64());
            let used = pid.map(host::cpu_time).zip(before);
            let used = used.map_or(f64::NAN, |(after, before)| (after - before).as_secs_f64());
            cpu.push(used * 1e3);
            scene.arena.leave(group);
        }
    }
    let mut table = Table::new("result of 100 MiB", &["MiB/s", "CPU ms"]);
    for (peer, (rate, cpu)) in scene.peers.iter().zip(results) {
        table.row(&peer.name, vec![median(rate), median(cpu)]);
    }
    table.write(&common.out, "result")
}

/// A quiet tenant, alone, beside one that floods, and beside one whose database hangs.
pub fn neighbour(common: &Common) -> Outcome<()> {
    let mut scene = Scene::set(common, |kind| kind.pools())?;
    let mut table = Table::new(
        "a quiet tenant's latency, µs",
        &[
            "p50 alone",
            "p99 alone",
            "p50 flood",
            "p99 flood",
            "p50 hang",
            "p99 hang",
        ],
    );
    let of = |number: usize, transaction: Vec<u8>| Script {
        startup: postgres::startup(&tenant(number)),
        preparation: Vec::new(),
        transaction,
    };
    for peer in &scene.peers {
        let mut row = Vec::new();
        let quiet = |_| of(0, Mode::Simple.transaction());
        let quiet = scene.arena.connect(peer.address, 2, quiet)?;
        let floods = [
            None,
            Some(Mode::Simple.transaction()),
            Some(postgres::query(postgres::HANG)),
        ];
        for flood in floods {
            let noisy = flood
                .map(|request| {
                    let noisy = |_| of(1, request.clone());
                    scene.arena.connect(peer.address, FLOODERS, noisy)
                })
                .transpose()?;
            let (mut p50, mut p99) = (Vec::new(), Vec::new());
            if let Some(noisy) = noisy {
                scene.arena.start(noisy)?;
            }
            for _ in 0..common.rounds {
                scene.arena.start(quiet)?;
                scene.arena.run(Duration::from_millis(common.round_ms))?;
                let tally = scene.arena.tally(quiet, Duration::ZERO);
                p50.push(tally.percentile(0.5));
                p99.push(tally.percentile(0.99));
                scene.arena.rest(quiet)?;
            }
            row.extend([median(p50), median(p99)]);
            if let Some(noisy) = noisy {
                scene.arena.leave(noisy);
                scene.arena.settle()?;
            }
        }
        table.row(&peer.name, row);
    }
    table.write(&common.out, "neighbour")
}

struct Scene {
    arena: Arena,
    peers: Vec<Peer>,
}

impl Scene {
    fn set(common: &Common, wanted: impl Fn(Kind) -> bool) -> Outcome<Scene> {
        host::stay_on(host::LOAD_CPU);
        let arena = Arena::new()?;
        let setup = Setup {
            backend: arena.backend_address(),
            tenants: TENANTS,
            pool_size: 5,
        };
        let peers = start_all(common, &setup, wanted)?;
        Ok(Scene { arena, peers })
    }
}

fn script(number: usize) -> Script {
    Script {
        startup: postgres::startup(&tenant(number % TENANTS)),
        preparation: Vec::new(),
        transaction: Mode::Simple.transaction(),
    }
}

const TENANTS: usize = 4;
const LOGINS_AT_ONCE: usize = 16;
const FLOODERS: usize = 64;

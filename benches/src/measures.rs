//! What else users feel: logins, idle clients, big results.

use std::collections::HashMap;
use std::ffi::OsString;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;

use crate::arena::Arena;
use crate::group::Script;
use crate::link::Certificate;
use crate::peers::{Kind, Peer, Setup, TENANTS, left_out, start_all, tenant};
use crate::postgres;
use crate::report::median;
use crate::scram::Secret;
use crate::table::Table;
use crate::talk::{Dialect, Login, Mode};
use crate::{Common, Outcome, host};

/// Connects, logs in and leaves, over and over: by trust and by SCRAM, in clear and in TLS.
pub fn logins(common: &Common) -> Outcome<()> {
    let mut table = Table::new("logins", &LOGIN_COLUMNS);
    let certificate = Certificate::new()?;
    for (secret, tls) in [(false, false), (true, false), (false, true), (true, true)] {
        let secret = secret.then(Secret::of_all);
        let clients = tls.then(|| Arc::clone(&certificate.clients));
        let mut scene = Scene::set(common, |setup| {
            setup.secret = secret;
            if tls {
                let Certificate {
                    certificate, key, ..
                } = &certificate;
                setup.certificate = Some((certificate.clone(), key.clone()));
            }
        })?;
        let peers = scene.keep(Kind::greets);
        let script = |number| Script {
            tls: clients.clone(),
            ..asking(Some(number), secret, Mode::Simple)
        };
        let measured = scene.in_turn(common, &peers, |arena, peer| {
            log_in(arena, common, peer, &script)
        });
        let by = if secret.is_some() { "SCRAM" } else { "trust" };
        let inside = if tls { ", in TLS" } else { "" };
        for (peer, rounds) in &measured {
            let mut row = medians(rounds).to_vec();
            row.push(to(Kind::Pgbouncer, &measured, rounds));
            table.row(&format!("{}, {by}{inside}", peer.name), row);
        }
    }
    table.write(&common.out, "logins")
}

/// One round of logins: how many for each second, the processor time of each, and what of that is
/// the busiest thread's, which is what bounds the rate where there are processors for all.
fn log_in(
    arena: &mut Arena,
    common: &Common,
    peer: &Peer,
    script: &impl Fn(usize) -> Script,
) -> Outcome<[f64; 3]> {
    let (cpu, begun) = (Cpu::of(peer), Instant::now());
    let mut count = 0;
    while begun.elapsed() < Duration::from_millis(common.round_ms) {
        let group = arena.connect(peer.address, LOGINS_AT_ONCE, script)?;
        arena.leave(group);
        count += LOGINS_AT_ONCE;
    }
    let rate = count as f64 / begun.elapsed().as_secs_f64();
    let each = [cpu.used(), cpu.used_by_busiest()].map(|used| used * 1e6 / count as f64);
    arena.settle()?;
    Ok([rate, each[0], each[1]])
}

/// Lets clients log in and do nothing.
pub fn idle(common: &Common, clients: &[usize]) -> Outcome<()> {
    let columns = [
        "clients",
        "memory before, KiB",
        "with them, KiB",
        "bytes each",
    ];
    let mut table = Table::new("idle clients, logged in", &columns);
    let most = if common.quick { 1 } else { clients.len() };
    for &count in &clients[..most] {
        // Fresh processes: memory once used is not given back by all.
        let mut scene = Scene::set(common, |_| {})?;
        for peer in scene.keep(Kind::greets) {
            match let_in(&mut scene.arena, &peer, count) {
                Ok(row) => table.row(&peer.name, row),
                Err(why) => left_out(
                    peer.kind,
                    &format!("{}, {count} idle clients", peer.name),
                    &*why,
                ),
            }
        }
    }
    table.write(&common.out, "idle")
}

fn let_in(arena: &mut Arena, peer: &Peer, count: usize) -> Outcome<Vec<f64>> {
    let Some(pid) = peer.pid() else {
        return Err("it is no process".into());
    };
    let script = |number| asking(Some(number), None, Mode::Simple);
    // What is made at the first use of each tenant is no client's own.
    let first = arena.connect(peer.address, 64, script)?;
    let before = host::memory_kib(pid);
    let group = arena.connect(peer.address, count, script)?;
    let with = host::memory_kib(pid);
    let each = with.saturating_sub(before) as f64 * 1024.0 / count as f64;
    arena.leave(group);
    arena.leave(first);
    arena.settle()?;
    Ok(vec![count as f64, before as f64, with as f64, each])
}

/// One client reads a result of 100 MiB.
pub fn result(common: &Common) -> Outcome<()> {
    let mut scene = Scene::set(common, |_| {})?;
    let peers = scene.keep(|_| true);
    let measured = scene.in_turn(common, &peers, |arena, peer| {
        let big = |number| Script {
            transaction: postgres::query(postgres::BIG),
            ..asking(Some(number), None, Mode::Simple)
        };
        let group = arena.connect(peer.address, 1, big)?;
        let (cpu, begun) = (Cpu::of(peer), Instant::now());
        let read = arena.start(group).and_then(|()| arena.rest(group));
        let rate = 100.0 / begun.elapsed().as_secs_f64();
        let used = cpu.used() * 1e3;
        arena.leave(group);
        read.map(|()| [rate, used])
    });
    let mut table = Table::new("result of 100 MiB", &["MiB/s", "CPU ms", "to HAProxy"]);
    for (peer, rounds) in &measured {
        let mut row = medians(rounds).to_vec();
        row.push(to(Kind::Haproxy, &measured, rounds));
        table.row(&peer.name, row);
    }
    table.write(&common.out, "result")
}

/// The null backend and the peers before it.
struct Scene {
    arena: Arena,
    peers: Vec<Peer>,
}

impl Scene {
    fn set(common: &Common, change: impl FnOnce(&mut Setup)) -> Outcome<Scene> {
        host::stay_on(host::LOAD_CPU);
        let arena = Arena::new(Dialect::Postgres)?;
        let mut setup = Setup::of_null_backend(Dialect::Postgres, arena.backend_address());
        change(&mut setup);
        let peers = start_all(common, &setup, |_| true);
        Ok(Scene { arena, peers })
    }

    /// Those peers, taken out.
    fn keep(&mut self, wanted: impl Fn(Kind) -> bool) -> Vec<Peer> {
        self.peers.retain(|peer| wanted(peer.kind));
        std::mem::take(&mut self.peers)
    }

    /// Rounds, the peers taking turns; a peer that fails is left out.
    fn in_turn<'a, const COLUMNS: usize>(
        &mut self,
        common: &Common,
        peers: &'a [Peer],
        mut round: impl FnMut(&mut Arena, &Peer) -> Outcome<[f64; COLUMNS]>,
    ) -> Vec<(&'a Peer, Vec<[f64; COLUMNS]>)> {
        let mut measured: Vec<_> = peers.iter().map(|peer| (peer, Vec::new())).collect();
        for _ in 0..common.rounds {
            measured.retain_mut(|(peer, rounds)| match round(&mut self.arena, peer) {
                Ok(result) => {
                    rounds.push(result);
                    true
                }
                Err(why) => {
                    left_out(peer.kind, &peer.name, &*why);
                    false
                }
            });
        }
        measured
    }
}

/// A peer's processor time from some moment on.
struct Cpu(Option<(u32, HashMap<OsString, Duration>)>);

impl Cpu {
    fn of(peer: &Peer) -> Cpu {
        Cpu(peer.pid().map(|pid| (pid, host::cpu_times(pid))))
    }

    /// In seconds; not a number without a process.
    fn used(&self) -> f64 {
        let threads = self.of_threads();
        threads.map_or(f64::NAN, |threads| threads.iter().sum())
    }

    /// The same of the thread that has used most.
    fn used_by_busiest(&self) -> f64 {
        let threads = self.of_threads();
        threads.map_or(f64::NAN, |threads| threads.into_iter().fold(0.0, f64::max))
    }

    fn of_threads(&self) -> Option<Vec<f64>> {
        let (pid, before) = self.0.as_ref()?;
        let since = |(thread, now): (OsString, Duration)| {
            let before = before.get(&thread).copied().unwrap_or_default();
            (now - before).as_secs_f64()
        };
        Some(host::cpu_times(*pid).into_iter().map(since).collect())
    }
}

fn medians<const COLUMNS: usize>(rounds: &[[f64; COLUMNS]]) -> [f64; COLUMNS] {
    std::array::from_fn(|column| median(rounds.iter().map(|round| round[column]).collect()))
}

/// The first column to that of another peer: the median of each round's own ratio.
fn to<const COLUMNS: usize>(
    other: Kind,
    measured: &[(&Peer, Vec<[f64; COLUMNS]>)],
    rounds: &[[f64; COLUMNS]],
) -> f64 {
    let found = measured.iter().find(|(peer, _)| peer.kind == other);
    found.map_or(f64::NAN, |(_, theirs)| {
        let both = rounds.iter().zip(theirs);
        median(both.map(|(mine, theirs)| mine[0] / theirs[0]).collect())
    })
}

/// A client of one tenant after the other.
fn asking(number: Option<usize>, secret: Option<&'static Secret>, mode: Mode) -> Script {
    Script {
        login: Login {
            tenant: tenant(number.unwrap_or(0) % TENANTS),
            secret,
        },
        tls: None::<Arc<ClientConfig>>,
        preparation: Vec::new(),
        transaction: Dialect::Postgres.transaction(mode),
    }
}

const LOGIN_COLUMNS: [&str; 4] = [
    "per second",
    "CPU µs each",
    "busiest thread's",
    "to PgBouncer",
];
const LOGINS_AT_ONCE: usize = 16;

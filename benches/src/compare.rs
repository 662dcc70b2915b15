//! Transactions through each peer in turn: what they cost it, and how long they take.

use std::time::Duration;

use crate::arena::{Arena, GroupId, Script};
use crate::peers::{Kind, Peer, Setup, start_all, tenant};
use crate::postgres::{self, Mode};
use crate::report::{Cell, Report, Round};
use crate::{Common, Outcome, host};

/// Measures all of it and writes the report.
pub fn transactions(common: &Common, clients: &[usize], modes: &[Mode]) -> Outcome<()> {
    let mut clients = clients.to_vec();
    if common.quick {
        clients.retain(|count| [1, 16, 256].contains(count));
    }
    host::stay_on(host::LOAD_CPU);
    let mut arena = Arena::new()?;
    let setup = Setup {
        backend: arena.backend_address(),
        tenants: TENANTS,
        pool_size: POOL_SIZE,
    };
    let peers = start_all(common, &setup, |_| true)?;
    let mut report = Report::new(common, &setup);
    for &mode in modes {
        for &count in &clients {
            let able: Vec<&Peer> = peers.iter().filter(|peer| peer.kind.can(mode)).collect();
            let cells = measure(&mut arena, common, &able, mode, count)?;
            print!("{}", report.add(cells));
        }
    }
    report.write(&common.out, "transactions")
}

/// One mode and number of clients: the peers take turns, a round each.
fn measure(
    arena: &mut Arena,
    common: &Common,
    peers: &[&Peer],
    mode: Mode,
    clients: usize,
) -> Outcome<Vec<Cell>> {
    let mut groups = Vec::new();
    let mut cells = Vec::new();
    for peer in peers {
        let script = |number: usize| script(mode, number);
        let group = arena
            .connect(peer.address, clients, script)
            .map_err(|error| format!("{}, {clients} clients: {error}", peer.name))?;
        groups.push(group);
        cells.push(Cell::new(peer, mode, clients));
    }
    for round in 0..common.rounds {
        for turn in 0..peers.len() {
            let index = (round + turn) % peers.len();
            let result = one_round(arena, common, peers[index], groups[index]);
            let result = result.map_err(|error| format!("{}: {error}", peers[index].name))?;
            cells[index].rounds.push(result);
        }
    }
    for ((peer, cell), group) in peers.iter().zip(&mut cells).zip(groups) {
        cell.memory_kib = peer.pid().map(host::memory_kib);
        arena.leave(group);
    }
    arena.settle()?;
    Ok(cells)
}

fn one_round(arena: &mut Arena, common: &Common, peer: &Peer, group: GroupId) -> Outcome<Round> {
    let time = Duration::from_millis(common.round_ms);
    arena.start(group)?;
    arena.run(time / 5)?;
    arena.reset(group);
    let before = peer.pid().map(host::cpu_time);
    let begun = std::time::Instant::now();
    arena.run(time)?;
    let took = begun.elapsed();
    let cpu = peer.pid().map(host::cpu_time);
    let tally = arena.tally(group, took);
    arena.rest(group)?;
    let used = cpu.zip(before).map(|(cpu, before)| cpu - before);
    Ok(Round {
        per_second: tally.transactions as f64 / tally.time.as_secs_f64(),
        cpu: used.map(|used| used.as_secs_f64() * 1e6 / tally.transactions.max(1) as f64),
        p50: tally.percentile(0.5),
        p99: tally.percentile(0.99),
        p999: tally.percentile(0.999),
    })
}

fn script(mode: Mode, number: usize) -> Script {
    Script {
        startup: postgres::startup(&tenant(number % TENANTS)),
        preparation: mode.preparation(),
        transaction: mode.transaction(),
    }
}

/// Whom all others are compared with.
pub const REFERENCE: Kind = Kind::Pgbouncer;

/// What no proxy can do without.
pub const FLOOR: Kind = Kind::Epoll;

const TENANTS: usize = 4;
const POOL_SIZE: usize = 5;

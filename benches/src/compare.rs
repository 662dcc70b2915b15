//! Transactions through each peer in turn: what they cost it, and how long they take.

use std::time::{Duration, Instant};

use crate::arena::Arena;
use crate::group::{GroupId, Script};
use crate::peers::{Kind, Peer, Setup, TENANTS, left_out, start_all, tenant};
use crate::report::{Cell, Report, Round};
use crate::talk::{Dialect, Login, Mode};
use crate::{Common, Outcome, host};

/// Measures all of it and writes the report.
pub fn transactions(
    common: &Common,
    dialect: Dialect,
    clients: &[usize],
    modes: &[Mode],
) -> Outcome<()> {
    let mut clients = clients.to_vec();
    if common.quick {
        clients.retain(|count| [1, 16, 256].contains(count));
    }
    host::stay_on(host::LOAD_CPU);
    let mut arena = Arena::new(dialect)?;
    let mut setup = Setup::of_null_backend(dialect, arena.backend_address());
    if dialect == Dialect::Mysql {
        // MySQL is served by the session: each client has a backend of its own.
        setup.by_transaction = false;
        setup.pool_size = clients
            .iter()
            .max()
            .map_or(1, |most| most.div_ceil(TENANTS));
    }
    let peers = start_all(common, &setup, |_| true);
    let mut report = Report::new(common, &setup);
    for &mode in modes.iter().filter(|&&mode| dialect.has(mode)) {
        for &count in &clients {
            let able: Vec<&Peer> = peers.iter().filter(|peer| peer.kind.can(mode)).collect();
            let cells = measure(&mut arena, common, &able, (dialect, mode), count)?;
            print!("{}", report.add(cells));
        }
    }
    let name = match dialect {
        Dialect::Postgres => "transactions",
        Dialect::Mysql => "transactions-mysql",
    };
    report.write(&common.out, name)
}

/// One mode and number of clients: the peers take turns, a round each. Who fails is left out.
fn measure(
    arena: &mut Arena,
    common: &Common,
    peers: &[&Peer],
    (dialect, mode): (Dialect, Mode),
    clients: usize,
) -> Outcome<Vec<Cell>> {
    let mut able = Vec::new();
    for peer in peers {
        match arena.connect(peer.address, clients, |number| {
            script(dialect, mode, number)
        }) {
            Ok(group) => able.push((*peer, group, Cell::new(peer, mode, clients))),
            Err(why) => fails(peer, mode, clients, &*why),
        }
    }
    for round in 0..common.rounds {
        let mut broken = Vec::new();
        for turn in 0..able.len() {
            let index = (round + turn) % able.len();
            let (peer, group, cell) = &mut able[index];
            match one_round(arena, common, peer, *group) {
                Ok(result) => cell.rounds.push(result),
                Err(why) => {
                    fails(peer, mode, clients, &*why);
                    broken.push(index);
                }
            }
        }
        broken.sort_unstable();
        for index in broken.into_iter().rev() {
            let (_, group, _) = able.remove(index);
            arena.leave(group);
        }
    }
    let mut cells = Vec::new();
    for (peer, group, mut cell) in able {
        cell.memory_kib = peer.pid().map(host::memory_kib);
        arena.leave(group);
        cells.push(cell);
    }
    arena.settle()?;
    Ok(cells)
}

fn fails(peer: &Peer, mode: Mode, clients: usize, why: &dyn std::error::Error) {
    let what = format!("{}, {}, {clients} clients", peer.name, mode.name());
    left_out(peer.kind, &what, why);
}

fn one_round(arena: &mut Arena, common: &Common, peer: &Peer, group: GroupId) -> Outcome<Round> {
    let time = Duration::from_millis(common.round_ms);
    arena.start(group)?;
    arena.run(time / 5)?;
    arena.reset(group);
    let before = peer.pid().map(host::cpu_time);
    let begun = Instant::now();
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

fn script(dialect: Dialect, mode: Mode, number: usize) -> Script {
    Script {
        login: Login {
            tenant: tenant(number % TENANTS),
            secret: None,
        },
        tls: None,
        preparation: dialect.preparation(mode),
        transaction: dialect.transaction(mode),
    }
}

/// Whom all others are compared with.
pub fn reference(dialect: Dialect) -> Kind {
    match dialect {
        Dialect::Postgres => Kind::Pgbouncer,
        Dialect::Mysql => Kind::MysqlRouter,
    }
}

/// What no proxy can do without.
pub const FLOOR: Kind = Kind::Epoll;

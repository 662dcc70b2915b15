//! A quiet tenant beside a noisy one. Its clients and its database have a thread of their own, which
//! goes before the noise's: so what is measured is what it waits for in the proxy, not in the load.
//!
//! ```text
//!   CPU 1: quiet clients and their database, first        CPU 0: the proxy
//!          the quiet tenant's shard, second, where              (without that shard)
//!          it has one of its own and CPUs are few
//!          noisy clients and their database, last
//! ```

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::arena::Arena;
use crate::group::{GroupId, Script};
use crate::peers::{Kind, Peer, Setup, left_out, start_all, tenant};
use crate::postgres;
use crate::report::median;
use crate::table::Table;
use crate::talk::{Dialect, Login, Mode};
use crate::{Common, Outcome, host};

/// A quiet tenant, alone, beside one that floods, and beside one whose database hangs; and beside one
/// that floods on another shard.
pub fn neighbour(common: &Common) -> Outcome<()> {
    let columns = [
        "p50 alone",
        "p99 alone",
        "p50 flood",
        "p99 flood",
        "p50 hang",
        "p99 hang",
    ];
    let mut table = Table::new("a quiet tenant's latency, µs", &columns);
    let (mut scene, peers) = Scene::set(common, |_| {})?;
    for peer in peers {
        match scene.beside(common, &peer, 1) {
            Ok(row) => table.row(&peer.name, row),
            Err(why) => left_out(peer.kind, &format!("{}, neighbours", peer.name), &*why),
        }
    }
    let (mut scene, peers) = Scene::set(common, |setup| {
        setup.shards = 2;
        setup.tenants = MANY_TENANTS;
    })?;
    for peer in peers.iter().filter(|peer| peer.kind == Kind::Dbbouncer) {
        let name = match host::cpus() {
            2 => format!("{}, another shard, on the load's processor", peer.name),
            _ => format!("{}, another shard", peer.name),
        };
        match apart(peer).and_then(|noisy| scene.beside(common, peer, noisy)) {
            Ok(row) => table.row(&name, row),
            Err(why) => left_out(peer.kind, &name, &*why),
        }
    }
    table.write(&common.out, "neighbour")
}

/// The two loads, each with its null backend.
struct Scene {
    quiet: Arena,
    noise: Arena,
}

impl Scene {
    fn set(common: &Common, change: impl FnOnce(&mut Setup)) -> Outcome<(Scene, Vec<Peer>)> {
        host::stay_on(host::LOAD_CPU);
        let quiet = Arena::new(Dialect::Postgres)?;
        let noise = Arena::new(Dialect::Postgres)?;
        let mut setup = Setup::of_null_backend(Dialect::Postgres, noise.backend_address());
        setup.apart = Some((QUIET, quiet.backend_address()));
        change(&mut setup);
        let peers = start_all(common, &setup, Kind::greets);
        Ok((Scene { quiet, noise }, peers))
    }

    fn beside(&mut self, common: &Common, peer: &Peer, noisy: usize) -> Outcome<Vec<f64>> {
        let ask = || Dialect::Postgres.transaction(Mode::Simple);
        let quiet = self
            .quiet
            .connect(peer.address, 2, |_| script(QUIET, ask()))?;
        let mut row = Vec::new();
        for flood in [None, Some(ask()), Some(postgres::query(postgres::HANG))] {
            let measured = match flood {
                None => self.latency(common, quiet),
                Some(request) => {
                    self.latency_in(common, quiet, peer, |_| script(noisy, request.clone()))
                }
            };
            match measured {
                Ok(latency) => row.extend(latency),
                Err(why) => {
                    self.quiet.leave(quiet);
                    return Err(why);
                }
            }
        }
        self.quiet.leave(quiet);
        self.quiet.settle()?;
        Ok(row)
    }

    /// The same while others flood, who leave whatever comes of it.
    fn latency_in(
        &mut self,
        common: &Common,
        quiet: GroupId,
        peer: &Peer,
        flood: impl Fn(usize) -> Script,
    ) -> Outcome<[f64; 2]> {
        let flooders = self.noise.connect(peer.address, FLOODERS, flood)?;
        let measured = self.noise.start(flooders);
        let measured = measured.and_then(|()| self.latency(common, quiet));
        let checked = self.noise.check(flooders);
        self.noise.leave(flooders);
        self.noise.settle()?;
        checked.and(measured)
    }

    /// p50 and p99 of the quiet group, the noise going on meanwhile.
    fn latency(&mut self, common: &Common, group: GroupId) -> Outcome<[f64; 2]> {
        let Scene { quiet, noise } = self;
        // The noise waits for that: it would keep the processor from the program that gives priorities.
        let (ready, is_first) = mpsc::channel::<()>();
        thread::scope(|scope| {
            let measured = scope.spawn(move || {
                host::go_first();
                drop(ready);
                // Errors of any kind are not for other threads.
                latency(quiet, common, group).map_err(|why| why.to_string())
            });
            let _ = is_first.recv();
            while !measured.is_finished() {
                noise.run(TICK)?;
            }
            let measured = measured.join().map_err(|_| "the quiet load panicked")?;
            Ok(measured?)
        })
    }
}

fn latency(arena: &mut Arena, common: &Common, group: GroupId) -> Outcome<[f64; 2]> {
    let (mut p50, mut p99) = (Vec::new(), Vec::new());
    for _ in 0..common.rounds {
        arena.start(group)?;
        arena.run(Duration::from_millis(common.round_ms))?;
        let tally = arena.tally(group, Duration::ZERO);
        p50.push(tally.percentile(0.5));
        p99.push(tally.percentile(0.99));
        arena.rest(group)?;
    }
    Ok([median(p50), median(p99)])
}

fn script(number: usize, transaction: Vec<u8>) -> Script {
    Script {
        login: Login {
            tenant: tenant(number),
            secret: None,
        },
        tls: None,
        preparation: Vec::new(),
        transaction,
    }
}

/// A tenant on another shard than the quiet one, which gets a processor beside the noise if there is
/// none of its own.
fn apart(peer: &Peer) -> Outcome<usize> {
    let api = peer.api.ok_or("it answers no questions")?;
    let listed: Vec<serde_json::Value> = serde_json::from_str(&get(api, "/tenants")?)?;
    let shard = |number: usize| {
        let id = tenant(number);
        let found = listed.iter().find(|known| known["id"] == id[..]);
        found.and_then(|known| known["shard"].as_u64())
    };
    let quiet = shard(QUIET).ok_or("it does not say where tenants are")?;
    let other = (0..MANY_TENANTS).find(|&number| shard(number).is_some_and(|at| at != quiet));
    let other = other.ok_or("all tenants are on one shard")?;
    if host::cpus() == 2
        && let Some(pid) = peer.pid()
    {
        host::put(pid, &format!("shard-{quiet}-"), host::LOAD_CPU)?;
    }
    Ok(other)
}

fn get(from: SocketAddr, path: &str) -> Outcome<String> {
    let mut socket = TcpStream::connect(from)?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(socket, "GET {path} HTTP/1.0\r\nHost: {from}\r\n\r\n")?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    let body = answer.split_once("\r\n\r\n").ok_or("no answer")?.1;
    Ok(body.to_owned())
}

const QUIET: usize = 0;
const FLOODERS: usize = 64;
/// So many that not all of them are on one of two shards.
const MANY_TENANTS: usize = 16;
/// The noise looks so often whether the measurement is over.
const TICK: Duration = Duration::from_millis(20);

//! Many clients over few backends against each of them alone with the database: whatever is said in
//! whatever order, and however it is cut, each client must hear the same.
//!
//! Random dialogues, from a seed that is printed when one fails; `DBBOUNCER_MODEL_ROUNDS` runs more
//! of them, `DBBOUNCER_MODEL_SEED` a certain one.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fake_postgres;
mod pooling_client;
mod pooling_turns;

use std::rc::Rc;

use bytes::BytesMut;
use fake_postgres::FakePostgres;
use pooling_client::Client;
use pooling_turns::*;
use wire::pg::pooling::{
    BackendMemory, Commons, Outbound, Passage, PreparedStatements, Release, Reset, Rules,
};
use wire::{Exchange, Progress};

#[test]
fn every_client_hears_what_it_would_hear_alone() {
    let number = |name: &str| std::env::var(name).ok().map(|value| value.parse().unwrap());
    if let Some(seed) = number("DBBOUNCER_MODEL_SEED") {
        return World::new(seed).run();
    }
    for seed in 0..number("DBBOUNCER_MODEL_ROUNDS").unwrap_or(4000) {
        let round = std::panic::catch_unwind(|| World::new(seed).run());
        if let Err(panic) = round {
            eprintln!("failed with DBBOUNCER_MODEL_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

/// Some clients, a few backends, and what is between them.
struct World {
    random: Random,
    commons: Rc<Commons>,
    clients: Vec<Client>,
    backends: Vec<Backend>,
    limit: usize,
}

struct Backend {
    database: FakePostgres,
    memory: Option<BackendMemory>,
    client: Option<usize>,
}

impl World {
    fn new(seed: u64) -> World {
        let mut random = Random::new(seed);
        let limit = 1 + random.below(4);
        let commons = Commons::new(Rules {
            prepared_statements: match random.below(6) {
                0 => PreparedStatements::Pin,
                _ => PreparedStatements::Multiplex,
            },
            max_prepared_statements: limit,
            reset: match random.below(6) {
                0 => Reset::Always,
                _ => Reset::Smart,
            },
        });
        let backends = (0..1 + random.below(2)).map(|_| Backend::open(&commons));
        let backends = backends.collect();
        let clients = (0..2 + random.below(3)).map(|_| Client::new(&commons, &mut random));
        let clients = clients.collect();
        World {
            random,
            commons,
            clients,
            backends,
            limit,
        }
    }

    fn run(mut self) {
        while self.clients.iter().any(|client| !client.gone) {
            let mut moves = self.moves();
            if moves.is_empty() {
                self.explain_standstill();
            }
            let chosen = self.random.below(moves.len());
            self.make(moves.swap_remove(chosen));
        }
    }

    /// Everything that could happen next.
    fn moves(&self) -> Vec<Move> {
        let mut moves = Vec::new();
        for (at, client) in self.clients.iter().enumerate() {
            if client.gone {
                continue;
            }
            if !client.welcomed {
                if client.backend.is_none() {
                    moves.extend(self.idle_backend().map(|backend| Move::Attach(at, backend)));
                }
                continue;
            }
            if client.may_send() {
                moves.push(Move::Send(at));
            }
            if client.tracker.needs_backend() {
                moves.extend(self.idle_backend().map(|backend| Move::Attach(at, backend)));
            }
            let over = client.is_over();
            let leaves = client.leaves_early && client.heard.len() > client.alone.len() / 2;
            if over || leaves {
                moves.push(Move::Leave(at));
            }
            let quiet = |backend: &usize| self.backends[*backend].is_quiet();
            if client.backend.as_ref().is_some_and(quiet) && client.tracker.may_release() {
                moves.push(Move::Release(at));
            }
        }
        for (at, backend) in self.backends.iter().enumerate() {
            if backend.database.is_busy() {
                moves.push(Move::Step(at));
            }
            if backend.client.is_some() && backend.database.has_flushed() {
                moves.push(Move::Hear(at));
            }
        }
        moves
    }

    fn idle_backend(&self) -> Option<usize> {
        self.backends.iter().position(|one| one.memory.is_some())
    }

    fn make(&mut self, chosen: Move) {
        if std::env::var("TRACE").is_ok() {
            match &chosen {
                Move::Send(c) => eprintln!("send {c}"),
                Move::Attach(c, b) => eprintln!("attach {c} {b}"),
                Move::Step(_) => {}
                Move::Hear(_) => {}
                Move::Release(c) => eprintln!("release {c}"),
                Move::Leave(c) => eprintln!("leave {c}"),
            }
        }
        match chosen {
            Move::Send(client) => {
                let chunk = self.clients[client].next_chunk(&mut self.random);
                let mut out = Outbound::default();
                let tracker = &mut self.clients[client].tracker;
                if std::env::var("TRACE").is_ok() {
                    eprintln!("client {client} says:\n{}", readable(&chunk));
                }
                let passage = tracker.client_said(&chunk, &mut out).unwrap();
                if passage == Passage::Whole {
                    self.hand_to_backend(client, &chunk);
                }
                self.deliver(client, out);
            }
            Move::Attach(client, backend) => {
                let memory = self.backends[backend].memory.take().unwrap();
                self.backends[backend].client = Some(client);
                self.clients[client].backend = Some(backend);
                let mut out = Outbound::default();
                let tracker = &mut self.clients[client].tracker;
                tracker.attach(memory, &mut out).unwrap();
                self.deliver(client, out);
                self.welcome(client);
            }
            Move::Step(backend) => self.backends[backend].database.step(),
            Move::Hear(backend) => {
                let most = 1 + self.random.below(60);
                let chunk = self.backends[backend].database.receive(most);
                let client = self.backends[backend].client.unwrap();
                let mut out = Outbound::default();
                let tracker = &mut self.clients[client].tracker;
                if std::env::var("TRACE").is_ok() {
                    eprintln!(
                        "backend to {client}: {}",
                        String::from_utf8_lossy(&chunk).escape_debug()
                    );
                }
                let passage = tracker
                    .backend_said(&chunk, &mut out)
                    .unwrap_or_else(|fault| panic!("client {client}: {fault:?}"));
                if passage == Passage::Whole {
                    self.clients[client].heard.extend_from_slice(&chunk);
                }
                self.deliver(client, out);
                self.welcome(client);
                self.clients[client].check_heard();
            }
            Move::Release(client) => self.release(client),
            Move::Leave(client) => {
                if !self.clients[client].leaves_early {
                    self.clients[client].check_end();
                }
                self.release(client);
                self.clients[client].gone = true;
            }
        }
    }

    fn hand_to_backend(&mut self, client: usize, bytes: &[u8]) {
        if !bytes.is_empty() {
            if std::env::var("TRACE").is_ok() {
                eprintln!(
                    "to backend of {client}: {}",
                    String::from_utf8_lossy(bytes).escape_debug()
                );
            }
            let backend = self.clients[client].backend.unwrap();
            self.backends[backend].database.send(bytes);
        }
    }

    fn deliver(&mut self, client: usize, out: Outbound) {
        self.hand_to_backend(client, &out.to_backend);
        self.clients[client].heard.extend_from_slice(&out.to_client);
    }

    fn welcome(&mut self, client: usize) {
        let client = &mut self.clients[client];
        if !client.welcomed && !client.tracker.is_setting() {
            client.check_welcome();
        }
    }

    /// The client gives up its backend, if it has one.
    fn release(&mut self, client: usize) {
        let at = self.clients[client].backend.take();
        let release = self.clients[client].tracker.detach();
        assert_eq!(at.is_some(), release.is_some());
        let (Some(at), Some(release)) = (at, release) else {
            return;
        };
        let backend = &mut self.backends[at];
        backend.client = None;
        let memory = match release {
            Release::Clean(memory) => {
                backend.settle();
                memory
            }
            Release::Cleanup(cleanup) => {
                backend.settle();
                carry(cleanup, &mut backend.database)
            }
            Release::Close => {
                *backend = Backend::open(&self.commons);
                return;
            }
        };
        assert!(backend.is_quiet());
        assert_eq!(backend.database.leftovers(), [""; 0]);
        assert!(backend.database.prepared() <= self.limit + PIPELINED_STATEMENTS);
        backend.memory = Some(memory);
    }

    fn explain_standstill(&self) -> ! {
        for (at, client) in self.clients.iter().enumerate() {
            eprintln!(
                "client {at}: gone {}, heard {} of {}, awaits {}, backend {:?}, needs one {}, pins {:?}\n{:?}",
                client.gone,
                client.heard.len(),
                client.alone.len(),
                client.awaited,
                client.backend,
                client.tracker.needs_backend(),
                client.tracker.pins().iter().collect::<Vec<_>>(),
                client.tracker,
            );
        }
        panic!("nothing moves any more");
    }
}

/// What may happen next.
enum Move {
    Send(usize),
    Attach(usize, usize),
    Step(usize),
    Hear(usize),
    Release(usize),
    Leave(usize),
}

impl Backend {
    fn open(commons: &Commons) -> Backend {
        let database = FakePostgres::connect(&[]);
        let memory = commons.backend_opened(&parameters(&database));
        Backend {
            database,
            memory: Some(memory),
            client: None,
        }
    }

    /// Lets it read what has no answer: a Flush, late data.
    fn settle(&mut self) {
        while self.database.is_busy() {
            self.database.step();
        }
        assert!(!self.database.has_flushed());
    }

    fn is_quiet(&self) -> bool {
        !self.database.is_busy() && !self.database.has_flushed()
    }
}

/// Carries a cleanup to its end.
fn carry(mut cleanup: wire::pg::pooling::Cleanup, database: &mut FakePostgres) -> BackendMemory {
    let (mut inbound, mut outbound) = (BytesMut::new(), BytesMut::new());
    loop {
        let progress = cleanup.advance(&mut inbound, &mut outbound).unwrap();
        if let Progress::Done(memory) = progress {
            return memory;
        }
        database.send(&outbound.split());
        while database.is_busy() {
            database.step();
        }
        let said = database.receive(usize::MAX);
        assert!(!said.is_empty(), "the cleanup has no end");
        inbound.extend_from_slice(&said);
    }
}

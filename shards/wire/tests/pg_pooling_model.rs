//! Many clients over few backends against each of them alone with the database: whatever is said in
//! whatever order, and however it is cut, each client must hear the same.
//!
//! Random dialogues, from a seed that is printed when one fails; `DBBOUNCER_MODEL_ROUNDS` runs more
//! of them, `DBBOUNCER_MODEL_SEED` a certain one.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fake_postgres;

use std::collections::VecDeque;
use std::rc::Rc;

use bytes::BytesMut;
use fake_postgres::FakePostgres;
use wire::pg::Parameters;
use wire::pg::pooling::{
    BackendMemory, Commons, Outbound, Passage, PreparedStatements, Release, Reset, Rules, Tracker,
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

struct Client {
    startup: Vec<(String, String)>,
    tracker: Tracker,
    /// The frames of its turns that have not been sent.
    turns: VecDeque<Turn>,
    /// Bytes of turns that are begun.
    sending: Vec<u8>,
    heard: Vec<u8>,
    /// How much must have been heard before the next turn.
    awaited: usize,
    /// What it hears alone, and what the database reports to it at the end.
    alone: Vec<u8>,
    reported: Parameters,
    backend: Option<usize>,
    welcomed: bool,
    leaves_early: bool,
    gone: bool,
}

struct Turn {
    frames: Vec<u8>,
    /// How much has been heard, alone, when all of it has been answered.
    heard: usize,
    /// Whether the next turn may come before.
    pipelined: bool,
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
                    self.to_backend(client, &chunk);
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

    fn to_backend(&mut self, client: usize, bytes: &[u8]) {
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
        self.to_backend(client, &out.to_backend);
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
            Release::Close { .. } => {
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

impl Client {
    fn new(commons: &Rc<Commons>, random: &mut Random) -> Client {
        let mut startup = Vec::new();
        for (name, values) in STARTUP {
            if random.below(3) == 0 {
                let value = values[random.below(values.len())];
                startup.push((name.to_owned(), value.to_owned()));
            }
        }
        let mut alone = FakePostgres::connect(&startup);
        let mut turns = VecDeque::new();
        let mut heard = 0;
        let mut said = Vec::new();
        for at in 0..TURNS {
            let frames = if at + 1 < TURNS {
                turn(random)
            } else {
                last_turn()
            };
            alone.send(&frames);
            while alone.is_busy() {
                alone.step();
            }
            said.extend(alone.receive(usize::MAX));
            heard = heard.max(comparable(&said).len());
            turns.push_back(Turn {
                frames,
                heard,
                pipelined: random.below(3) == 0,
            });
        }
        let asked = startup.iter().cloned().collect();
        Client {
            startup,
            tracker: Tracker::new(Rc::clone(commons), &asked).unwrap(),
            turns,
            sending: Vec::new(),
            heard: Vec::new(),
            awaited: 0,
            reported: parameters(&alone),
            alone: comparable(&said),
            backend: None,
            welcomed: false,
            leaves_early: random.below(5) == 0,
            gone: false,
        }
    }

    fn may_send(&self) -> bool {
        !self.sending.is_empty()
            || !self.turns.is_empty() && comparable(&self.heard).len() >= self.awaited
    }

    fn is_over(&self) -> bool {
        self.turns.is_empty()
            && self.sending.is_empty()
            && comparable(&self.heard).len() >= self.alone.len()
    }

    /// The next bytes it sends: any part of what it has to say.
    fn next_chunk(&mut self, random: &mut Random) -> Vec<u8> {
        if self.sending.is_empty() || random.below(4) == 0 {
            while comparable(&self.heard).len() >= self.awaited
                && let Some(turn) = self.turns.pop_front()
            {
                self.sending.extend(turn.frames);
                if !turn.pipelined {
                    self.awaited = turn.heard;
                }
                if random.below(2) == 0 {
                    break;
                }
            }
        }
        let most = match random.below(3) {
            0 => 1 + random.below(12),
            _ => self.sending.len(),
        };
        self.sending.drain(..most.min(self.sending.len())).collect()
    }

    fn check_welcome(&mut self) {
        self.heard.clear();
        let told = self.tracker.welcome().expect("the backend has been set");
        let alone = parameters(&FakePostgres::connect(&self.startup));
        for (name, value) in alone.iter() {
            assert_eq!(told.get(name), Some(value), "{name}");
        }
        self.welcomed = true;
    }

    /// So far it has heard what it hears alone.
    fn check_heard(&self) {
        if !self.welcomed {
            return;
        }
        let heard = comparable(&self.heard);
        let same = self.alone.starts_with(&heard);
        assert!(
            same,
            "heard\n{}\nalone\n{}",
            readable(&heard),
            readable(&self.alone)
        );
    }

    fn check_end(&self) {
        self.check_heard();
        assert_eq!(comparable(&self.heard).len(), self.alone.len());
        // Wherever it was told of a setting, the last word was right.
        for (name, value) in told(&self.heard) {
            assert_eq!(self.reported.get(&name).map(|it| &it[..]), Some(&value[..]));
        }
    }
}

/// One turn of a client: a few messages, most often up to a Sync.
fn turn(random: &mut Random) -> Vec<u8> {
    let mut out = Vec::new();
    match random.below(14) {
        0..=4 => {
            let count = 1 + random.below(3);
            let mut texts: Vec<_> = (0..count).map(|_| random.pick(STATEMENTS)).collect();
            // What RESET has reset is put right behind the Query, not in the midst of it.
            texts.sort_by_key(|text| text.starts_with("RESET"));
            frame(&mut out, b'Q', format!("{}\0", texts.join("; ")).as_bytes());
        }
        5 => copy(random, &mut out),
        6 => frame(&mut out, b'F', &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0]),
        7 => {
            let text = match random.pick(STATEMENTS) {
                "EXECUTE a" | "PREPARE a AS SELECT one" => "RESET ALL",
                text => text,
            };
            frame(&mut out, b'P', format!("\0{text}\0\0\0").as_bytes());
            bind(&mut out, "", "");
            execute(&mut out, "", 0);
            frame(&mut out, b'S', b"");
        }
        _ => {
            for _ in 0..1 + random.below(7) {
                extended(random, &mut out);
            }
            match random.below(8) {
                0 => frame(&mut out, b'H', b""),
                1 => {
                    let text = format!("{}\0", random.pick(STATEMENTS));
                    frame(&mut out, b'Q', text.as_bytes());
                }
                _ => frame(&mut out, b'S', b""),
            }
        }
    }
    out
}

/// A message of the extended protocol, about one of few names.
fn extended(random: &mut Random, out: &mut Vec<u8>) {
    let name = random.pick(NAMES);
    let portal = random.pick(&["", "", "p"]);
    match random.below(10) {
        0..=2 => {
            let text = match preparable(random) {
                // EXECUTE of what names a statement itself is not followed.
                "DEALLOCATE a" if !name.is_empty() => "SELECT instead",
                text => text,
            };
            let types = random.pick(&["\0\0", "\0\u{1}\0\0\0\u{17}"]);
            frame(out, b'P', format!("{name}\0{text}\0{types}").as_bytes());
        }
        3 | 4 => bind(out, portal, name),
        5 => frame(out, b'D', format!("S{name}\0").as_bytes()),
        6 => frame(out, b'D', format!("P{portal}\0").as_bytes()),
        7 => frame(out, b'C', format!("S{name}\0").as_bytes()),
        8 => {
            // What drivers say most.
            let text = preparable(random);
            frame(out, b'P', format!("\0{text}\0\0\0").as_bytes());
            bind(out, "", "");
            execute(out, "", 0);
        }
        _ => {
            bind(out, "", name);
            execute(out, "", random.below(3) as u32);
        }
    }
}

/// A statement to be prepared. Not one that may execute itself, which would use up the database's
/// stack; nor PREPARE, whose name is taken for free if a shared statement has it; nor RESET,
/// which is put right behind the batch.
fn preparable(random: &mut Random) -> &'static str {
    match random.pick(STATEMENTS) {
        "EXECUTE a" | "PREPARE a AS SELECT one" => "SELECT instead",
        "RESET ALL" | "RESET timezone" | "DISCARD ALL" => "SELECT instead",
        text => text,
    }
}

fn bind(out: &mut Vec<u8>, portal: &str, name: &str) {
    let body = format!("{portal}\0{name}\0\0\0\0\0\0\0");
    frame(out, b'B', body.as_bytes());
}

fn execute(out: &mut Vec<u8>, portal: &str, most: u32) {
    let body = [portal.as_bytes(), b"\0", &most.to_be_bytes()].concat();
    frame(out, b'E', &body);
}

/// COPY FROM STDIN, with data that is good, bad, ended or not.
fn copy(random: &mut Random, out: &mut Vec<u8>) {
    let is_extended = random.below(2) == 0;
    if is_extended {
        frame(out, b'P', b"\0COPY t FROM STDIN\0\0\0");
        bind(out, "", "");
        execute(out, "", 0);
        frame(out, b'S', b"");
    } else {
        let text = random.pick(&[
            "COPY t FROM STDIN",
            "SELECT 1; COPY t FROM STDIN; SELECT 2",
            "COPY t FROM STDIN; COPY t FROM STDIN",
        ]);
        frame(out, b'Q', format!("{text}\0").as_bytes());
    }
    for _ in 0..random.below(3) {
        frame(
            out,
            b'd',
            random.pick(&["good\n", "good\n", "bad\n"]).as_bytes(),
        );
    }
    match random.below(5) {
        0 => frame(out, b'f', b"no more\0"),
        // Left open: the next message ends it with an error.
        1 => return,
        _ => frame(out, b'c', b""),
    }
    if is_extended {
        frame(out, b'S', b"");
    }
}

/// Ends whatever may be open.
fn last_turn() -> Vec<u8> {
    let mut out = Vec::new();
    frame(&mut out, b'c', b"");
    frame(&mut out, b'c', b"");
    frame(&mut out, b'S', b"");
    frame(&mut out, b'Q', b"ROLLBACK\0");
    for name in ["timezone", "application_name", "search_path", "app.tenant"] {
        frame(&mut out, b'Q', format!("SHOW {name}\0").as_bytes());
    }
    out
}

/// What is said in dialogues.
const STATEMENTS: &[&str] = &[
    "SELECT 1",
    "SELECT two",
    "SELECT three",
    "SELECT missing",
    "SELECT 1/0",
    "SYNTAX",
    "",
    "BEGIN",
    "BEGIN",
    "COMMIT",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT a",
    "SAVEPOINT b",
    "ROLLBACK TO a",
    "RELEASE a",
    "SHOW timezone",
    "SHOW search_path",
    "SHOW app.tenant",
    "SET timezone TO 'one'",
    "SET timezone TO 'two'",
    "SET search_path TO 'a', 'b'",
    "SET app.tenant TO 'seven'",
    "SET LOCAL app.tenant TO 'local'",
    "SELECT set_config('app.tenant', 'eight', false)",
    "SELECT set_config('app.tenant', 'nine', true)",
    "RESET timezone",
    "RESET ALL",
    "DISCARD ALL",
    "LISTEN news",
    "UNLISTEN *",
    "SELECT listens",
    "CREATE TEMP TABLE t (a int)",
    "DISCARD TEMP",
    "SELECT tables",
    "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
    "CLOSE ALL",
    "SELECT cursors",
    "SELECT pg_advisory_lock(1)",
    "SELECT pg_advisory_unlock_all()",
    "SELECT locks",
    "PREPARE a AS SELECT one",
    "EXECUTE a",
    "DEALLOCATE a",
    "DEALLOCATE ALL",
    "COPY t TO STDOUT",
];

/// Names of statements; few, so that they meet.
const NAMES: &[&str] = &["", "a", "b", "c"];

/// What startup packets ask for.
const STARTUP: [(&str, &[&str]); 4] = [
    ("TimeZone", &["one", "three"]),
    ("application_name", &["app", "other"]),
    ("search_path", &["mine"]),
    ("app.tenant", &["4711", "it\"s"]),
];

/// Turns of a client.
const TURNS: usize = 9;

/// How many statements one pipeline may prepare beyond the limit, by taking evictions back.
const PIPELINED_STATEMENTS: usize = 8;

fn parameters(database: &FakePostgres) -> Parameters {
    database.reports().into_iter().collect()
}

fn frame(out: &mut Vec<u8>, kind: u8, body: &[u8]) {
    out.push(kind);
    out.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
    out.extend_from_slice(body);
}

/// The messages of a stream, as far as they are whole, and where each ends.
fn messages(mut stream: &[u8]) -> Vec<&[u8]> {
    let mut messages = Vec::new();
    while let Some(header) = stream.first_chunk::<5>() {
        let length = 1 + u32::from_be_bytes(header[1..].try_into().unwrap()) as usize;
        if stream.len() < length {
            break;
        }
        let (message, rest) = stream.split_at(length);
        messages.push(message);
        stream = rest;
    }
    messages
}

/// What of a stream must be the same: not ParameterStatus, which may come a little earlier or later,
/// nor the words for what has no place in a COPY.
fn comparable(stream: &[u8]) -> Vec<u8> {
    let mut comparable = Vec::new();
    for message in messages(stream) {
        let body = String::from_utf8_lossy(&message[5..]);
        match message[0] {
            b'S' => {}
            b'E' if body.contains("during COPY from stdin") => comparable.extend(b"E\0\0\0\x04"),
            _ => comparable.extend(message),
        }
    }
    comparable
}

/// What a stream reports, in order.
fn told(stream: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut told: Vec<(String, Vec<u8>)> = Vec::new();
    for message in messages(stream)
        .into_iter()
        .filter(|message| message[0] == b'S')
    {
        let mut parts = message[5..].split(|&byte| byte == 0);
        let name = String::from_utf8(parts.next().unwrap().to_vec()).unwrap();
        told.retain(|(known, _)| *known != name);
        told.push((name, parts.next().unwrap().to_vec()));
    }
    told
}

fn readable(stream: &[u8]) -> String {
    let lines = messages(stream).into_iter().map(|message| {
        let body = String::from_utf8_lossy(message.get(5..).unwrap_or(b"?")).replace('\0', " ");
        format!("{} {body}", message[0] as char)
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// A small generator: splitmix64.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

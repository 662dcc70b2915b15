//! What a transaction allocates on its whole way through a shard, from the client's socket to the
//! database's and back, in a state that has gone on for a while.
//!
//! The shard runs on the test's own thread, whose allocations are counted; client and database are
//! on threads of their own. What starting takes is in a short run as well as in a long one.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use glommio::LocalExecutorBuilder;
use sockets::{Bell, PREEMPT_TIMER, RingLimits, doorbell};
use wire::pg::{NamedStartup, Parameters, Replication};

use crate::admission::{Gate, Places};
use crate::contract::{Envelope, TenantId, TenantSpec};
use crate::handoff::{Arrival, Handoff, Loose, Preface};
use crate::trial;

/// What a client says over and over, and what it is answered.
struct Talk {
    name: &'static str,
    /// Once, and how many bytes of an answer it has.
    before: (Vec<u8>, usize),
    request: Vec<u8>,
    /// Bytes of the answer.
    answer: usize,
}

#[test]
fn a_steady_transaction_allocates_nothing() {
    let query = message(b'Q', b"SELECT 1\0");
    let sync = message(b'S', b"");
    let parse = |name: &str| message(b'P', &[name.as_bytes(), b"\0SELECT 1\0\0\0"].concat());
    let bind = |name: &str| message(b'B', &[b"\0", name.as_bytes(), b"\0\0\0\0\0\0\0"].concat());
    let execute = message(b'E', b"\0\0\0\0\0");
    let one_row = ROW.len() + READY.len();
    let talks = [
        Talk {
            name: "simple",
            before: (Vec::new(), 0),
            request: query,
            answer: one_row,
        },
        Talk {
            name: "extended",
            before: (Vec::new(), 0),
            request: [&parse("")[..], &bind(""), &execute, &sync].concat(),
            answer: PARSED.len() + BOUND.len() + one_row,
        },
        Talk {
            name: "prepared",
            before: (
                [&parse("s")[..], &sync].concat(),
                PARSED.len() + READY.len(),
            ),
            request: [&bind("s")[..], &execute, &sync].concat(),
            answer: BOUND.len() + one_row,
        },
    ];
    for talk in talks {
        let (few, many) = (allocations(&talk, FEW), allocations(&talk, MANY));
        let each = many.saturating_sub(few) as f64 / (MANY - FEW) as f64;
        println!("{}: {each:.2} allocations for each transaction", talk.name);
        assert!(each <= NOISE, "{}: {each}", talk.name);
    }
}

/// What a shard allocates in a life in which one client makes so many transactions.
fn allocations(talk: &Talk, transactions: usize) -> u64 {
    let (database, address) = trial::listener();
    let (arrive, arrivals) = doorbell::<Arrival>(4).unwrap();
    let (tell, envelopes) = doorbell::<Envelope>(4).unwrap();
    let executor = LocalExecutorBuilder::default()
        .io_memory(64 << 10)
        .preempt_timer(PREEMPT_TIMER)
        .make()
        .unwrap();
    let counted = thread::scope(|scope| {
        scope.spawn(|| {
            // Dropped at the end, however it comes about: that ends the shard.
            let _tell = tell;
            work(talk, transactions, &database, &arrive);
        });
        let life = super::run(trial::shard(), vec![tenant(address)], arrivals, envelopes);
        let limits = RingLimits::default();
        allocation_counter::measure(|| executor.run(sockets::run(limits, life)).unwrap())
    });
    counted.count_total
}

/// Database and client in turn, since one waits for the other.
fn work(talk: &Talk, transactions: usize, database: &TcpListener, shard: &Bell<Arrival>) {
    // The backend that is opened ahead of need.
    let (mut backend, _) = database.accept().unwrap();
    backend.set_read_timeout(Some(PATIENCE)).unwrap();
    backend.set_nodelay(true).unwrap();
    let mut bytes = [0; 4096];
    let count = backend.read(&mut bytes).unwrap();
    assert!(count > 0, "a startup");
    backend.write_all(&[AUTHENTICATED, READY].concat()).unwrap();

    let (door, address) = trial::listener();
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.set_nodelay(true).unwrap();
    let (accepted, peer) = door.accept().unwrap();
    let _ = shard.ring(arrival(accepted, peer));
    let welcomed = read_until_ready(&mut client);
    assert!(welcomed > 0);

    let mut turn = |request: &[u8], answer: usize| {
        client.write_all(request).unwrap();
        answer_one(&mut backend);
        client.read_exact(&mut bytes[..answer]).unwrap();
        assert_eq!(bytes[answer - READY.len()], b'Z', "{}", talk.name);
    };
    let (before, answer) = &talk.before;
    if !before.is_empty() {
        turn(before, *answer);
    }
    for _ in 0..transactions {
        turn(&talk.request, talk.answer);
    }
}

/// Hears messages up to one that asks for ReadyForQuery, and answers all of them.
fn answer_one(backend: &mut TcpStream) {
    let mut answer = Vec::new();
    loop {
        let mut head = [0; 5];
        backend.read_exact(&mut head).unwrap();
        let len = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        backend.read_exact(&mut vec![0; len - 4]).unwrap();
        match head[0] {
            b'P' => answer.extend(PARSED),
            b'B' => answer.extend(BOUND),
            b'C' => answer.extend(CLOSED),
            b'E' => answer.extend(ROW),
            b'Q' => answer.extend([ROW, READY].concat()),
            b'S' => answer.extend(READY),
            other => panic!("the database was sent {}", char::from(other)),
        }
        if matches!(head[0], b'Q' | b'S') {
            return backend.write_all(&answer).unwrap();
        }
    }
}

fn read_until_ready(client: &mut TcpStream) -> usize {
    let mut heard = Vec::new();
    while !heard.ends_with(READY) {
        let mut bytes = [0; 512];
        let count = client.read(&mut bytes).unwrap();
        assert!(count > 0, "the shard hung up");
        heard.extend(&bytes[..count]);
    }
    heard.len()
}

fn arrival(socket: TcpStream, peer: SocketAddr) -> Arrival {
    let places = Places {
        clients: 4,
        unproven: None,
        per_address: None,
    };
    Arrival::Client(Box::new(Handoff {
        conn: Loose {
            socket: socket.into(),
            unread: Vec::new(),
            tls: None,
        },
        peer,
        proxied: false,
        preface: Preface::Postgres(NamedStartup {
            tenant: "t".to_owned(),
            user: "app".to_owned(),
            raw_user: "t__app".to_owned(),
            database: None,
            parameters: Parameters::default(),
            minor: 0,
            replication: Replication::No,
        }),
        tenant: TenantId::parse("t").unwrap(),
        login_deadline: Instant::now() + PATIENCE,
        place: Gate::new(places).enter().unwrap(),
    }))
}

/// Its connection is opened ahead of need.
fn tenant(database: SocketAddr) -> TenantSpec {
    let mut spec = trial::tenant("t", database);
    spec.limits.min = 1;
    spec
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let len = (body.len() + 4) as u32;
    [&[kind], &len.to_be_bytes()[..], body].concat()
}

const AUTHENTICATED: &[u8] = b"R\0\0\0\x08\0\0\0\0";
const PARSED: &[u8] = b"1\0\0\0\x04";
const BOUND: &[u8] = b"2\0\0\0\x04";
const CLOSED: &[u8] = b"3\0\0\0\x04";
const ROW: &[u8] = b"D\0\0\0\x0b\0\x01\0\0\0\x011C\0\0\0\x0dSELECT 1\0";
const READY: &[u8] = b"Z\0\0\0\x05I";

/// What is done by the clock, once a second, however many transactions there are.
const NOISE: f64 = 0.1;

const FEW: usize = 300;
const MANY: usize = 2300;

const PATIENCE: Duration = Duration::from_secs(60);

//! What following one transaction costs, held to limits that mean the same on any machine:
//! instructions, as callgrind counts them, and allocations.
//!
//! A limit that is broken on purpose is raised here; one that is broken by accident is found here.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::process::Command;
use std::rc::Rc;

use wire::pg::Parameters;
use wire::pg::pooling::{
    BackendMemory, Commons, Outbound, PreparedStatements, Release, Reset, Rules, Tracker,
};

/// What one transaction may cost in this build (optimised as tests are, with debug assertions).
struct Limit {
    mode: Mode,
    instructions: u64,
    allocations: u64,
}

const LIMITS: [Limit; 3] = [
    Limit {
        mode: Mode::Simple,
        instructions: 7_000,
        allocations: 0,
    },
    Limit {
        mode: Mode::Extended,
        instructions: 11_300,
        allocations: 3,
    },
    Limit {
        mode: Mode::Prepared,
        instructions: 9_000,
        allocations: 0,
    },
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Simple,
    Extended,
    Prepared,
}

#[test]
fn a_transaction_allocates_no_more_than_it_may() {
    for Limit {
        mode, allocations, ..
    } in LIMITS
    {
        let mut turns = Turns::new(mode);
        turns.take(WARM_UP);
        let counted = allocation_counter::measure(|| turns.take(TURNS));
        let each = counted.count_total as f64 / f64::from(TURNS);
        println!("{mode:?}: {each:.2} allocations for each transaction");
        assert!(
            each <= allocations as f64,
            "{mode:?}: {each} > {allocations}"
        );
        assert_eq!(
            counted.count_current, 0,
            "{mode:?}: what is taken is given back"
        );
    }
}

#[test]
fn a_transaction_takes_no_more_instructions_than_it_may() {
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("SKIPPED: valgrind is not here, so nobody counts instructions");
        return;
    }
    for Limit {
        mode, instructions, ..
    } in LIMITS
    {
        // What starting and warming up takes is in both counts.
        let each = (instructions_of(mode, TURNS) - instructions_of(mode, 0)) / u64::from(TURNS);
        println!("{mode:?}: {each} instructions for each transaction");
        assert!(each <= instructions, "{mode:?}: {each} > {instructions}");
    }
}

/// What callgrind counts for this program when it does no more than `work` below.
fn instructions_of(mode: Mode, turns: u32) -> u64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "work", "--ignored", "--test-threads=1"])
        .env("MODE", format!("{mode:?}"))
        .env("TURNS", turns.to_string())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let count = said
        .lines()
        .find_map(|line| line.split("Collected : ").nth(1));
    count
        .expect("callgrind says what it collected")
        .trim()
        .parse()
        .unwrap()
}

#[test]
#[ignore = "the work that is counted by another test"]
fn work() {
    let wanted = std::env::var("MODE").unwrap_or_default();
    let modes = [Mode::Simple, Mode::Extended, Mode::Prepared];
    let mode = modes.into_iter().find(|mode| format!("{mode:?}") == wanted);
    let mut turns = Turns::new(mode.unwrap_or(Mode::Simple));
    turns.take(WARM_UP);
    let count = std::env::var("TURNS").map_or(TURNS, |turns| turns.parse().unwrap());
    turns.take(count);
}

/// A client that takes a backend for each transaction.
struct Turns {
    tracker: Tracker,
    memory: Option<BackendMemory>,
    out: Outbound,
    request: Vec<u8>,
    reply: Vec<u8>,
}

impl Turns {
    fn new(mode: Mode) -> Turns {
        let commons = Commons::new(Rules {
            prepared_statements: PreparedStatements::Multiplex,
            max_prepared_statements: 500,
            reset: Reset::Smart,
        });
        let memory = commons.backend_opened(&Parameters::default());
        let tracker = Tracker::new(Rc::clone(&commons), &Parameters::default()).unwrap();
        let mut turns = Turns {
            tracker,
            memory: Some(memory),
            out: Outbound::default(),
            request: Vec::new(),
            reply: Vec::new(),
        };
        turns.tracker.welcome();
        if mode == Mode::Prepared {
            turns.request = [parse("s1"), SYNC.to_vec()].concat();
            turns.reply = [b"1\0\0\0\x04", READY].concat();
            turns.take(1);
        }
        turns.request = match mode {
            Mode::Simple => message(b'Q', &[QUERY, "\0"].concat()),
            Mode::Extended => {
                let describe = message(b'D', "P\0");
                [
                    parse(""),
                    bind(""),
                    describe,
                    EXECUTE.to_vec(),
                    SYNC.to_vec(),
                ]
                .concat()
            }
            Mode::Prepared => [bind("s1"), EXECUTE.to_vec(), SYNC.to_vec()].concat(),
        };
        turns.reply = match mode {
            Mode::Simple => [COLUMNS, ROW, READY].concat(),
            Mode::Extended => [b"1\0\0\0\x042\0\0\0\x04", COLUMNS, ROW, READY].concat(),
            Mode::Prepared => [b"2\0\0\0\x04", ROW, READY].concat(),
        };
        turns
    }

    fn take(&mut self, count: u32) {
        for _ in 0..count {
            self.say(true);
            let memory = self.memory.take().expect("the backend is back");
            assert!(self.tracker.needs_backend());
            self.tracker.attach(memory, &mut self.out).unwrap();
            assert!(!self.out.to_backend.is_empty(), "the request goes on");
            self.say(false);
            assert!(self.tracker.may_release());
            let Some(Release::Clean(memory)) = self.tracker.detach() else {
                panic!("nothing is left on the backend");
            };
            self.memory = Some(memory);
        }
    }

    fn say(&mut self, client: bool) {
        // What a session does with it: it is sent, and then forgotten.
        self.out.to_backend.clear();
        self.out.to_client.clear();
        let passage = match client {
            true => self.tracker.client_said(&self.request, &mut self.out),
            false => self.tracker.backend_said(&self.reply, &mut self.out),
        };
        let _ = passage.unwrap();
    }
}

fn message(kind: u8, body: &str) -> Vec<u8> {
    let len = (body.len() + 4) as u32;
    [&[kind], &len.to_be_bytes()[..], body.as_bytes()].concat()
}

fn parse(name: &str) -> Vec<u8> {
    message(b'P', &[name, "\0", QUERY, "\0\0\0"].concat())
}

fn bind(name: &str) -> Vec<u8> {
    message(b'B', &["\0", name, "\0\0\0\0\0\0\0"].concat())
}

const QUERY: &str = "SELECT abalance FROM pgbench_accounts WHERE aid = 4711";
const EXECUTE: &[u8] = b"E\0\0\0\x09\0\0\0\0\0";
const SYNC: &[u8] = b"S\0\0\0\x04";
const COLUMNS: &[u8] =
    b"T\0\0\0\x21\0\x01abalance\0\0\0\x40\0\0\x03\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0";
const ROW: &[u8] = b"D\0\0\0\x0e\0\x01\0\0\0\x044711C\0\0\0\x0dSELECT 1\0";
const READY: &[u8] = b"Z\0\0\0\x05I";

const WARM_UP: u32 = 100;
const TURNS: u32 = 1000;

//! A transaction as often as wanted: what its cost is counted on, in instructions, in allocations and
//! in time.

use std::rc::Rc;

use wire::pg::Parameters;
use wire::pg::pooling::{
    BackendMemory, Commons, Outbound, PreparedStatements, Release, Reset, Rules, Tracker,
};

/// How queries are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Simple,
    Extended,
    Prepared,
}

/// A client that takes a backend for each transaction.
pub struct Turns {
    tracker: Tracker,
    memory: Option<BackendMemory>,
    out: Outbound,
    request: Vec<u8>,
    reply: Vec<u8>,
}

impl Turns {
    pub fn new(mode: Mode) -> Turns {
        let commons = Commons::new(Rules {
            prepared_statements: PreparedStatements::Multiplex,
            max_prepared_statements: 500,
            reset: Reset::Smart,
        });
        let memory = commons.backend_opened(&REPORTED.into_iter().collect::<Parameters>());
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

    pub fn take(&mut self, count: u32) {
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

/// What PostgreSQL reports when it welcomes somebody.
const REPORTED: [(&str, &[u8]); 13] = [
    ("application_name", b""),
    ("client_encoding", b"UTF8"),
    ("DateStyle", b"ISO, MDY"),
    ("default_transaction_read_only", b"off"),
    ("in_hot_standby", b"off"),
    ("integer_datetimes", b"on"),
    ("IntervalStyle", b"postgres"),
    ("is_superuser", b"off"),
    ("server_encoding", b"UTF8"),
    ("server_version", b"15.14"),
    ("session_authorization", b"app"),
    ("standard_conforming_strings", b"on"),
    ("TimeZone", b"Etc/UTC"),
];

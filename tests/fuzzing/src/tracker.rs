//! A client in transaction mode and the backends it is given, in any order: sound messages, broken ones and garbage from
//! both, backends attached and taken away, everything cut anywhere.

mod backend;

use std::rc::Rc;
use std::sync::LazyLock;

use bytes::BytesMut;
use wire::pg::pooling::{
    BackendMemory, Commons, Fault, Outbound, Passage, PreparedStatements, Release, Reset, Rules,
    Tracker,
};
use wire::pg::{Parameters, Sender, Walker};
use wire::{Exchange, Progress, WireError};

use crate::Target;
use crate::dice::Dice;
use crate::pg_pair::message;

use self::backend::Backend;

/// A session. `[rules, startup, cut] (move …)…`; a move is its number, with what it needs behind it.
pub const TRACKER: Target = Target {
    name: "pg_tracker",
    samples,
    run: |input| {
        let whole = Session::new(input).run(usize::MAX);
        let mut dice = Dice::new(&input[input.len().min(2)..]);
        let size = 1 + dice.below(16);
        let cut = Session::new(input).run(size);
        // What has passed in front of an error depends on the pieces, too.
        if whole.dubious || whole.end.is_some() {
            return;
        }
        assert_eq!(cut.end, None, "in pieces of {size}");
        alike("client", size, &cut.to_client, &whole.to_client);
        alike("backend", size, &cut.to_backend, &whole.to_backend);
    },
    rounds: 200_000,
};

/// What both sides got.
struct Outcome {
    to_client: Vec<u8>,
    to_backend: Vec<u8>,
    end: Option<Fault>,
    /// The database has said what no database would, so that what comes of it may depend on the moment.
    dubious: bool,
}

struct Session<'a> {
    dice: Dice<'a>,
    commons: Rc<Commons>,
    tracker: Tracker,
    size: usize,
    /// Backends that nobody has.
    idle: Vec<BackendMemory>,
    backend: Backend,
    client_hears: Walker,
    /// The database said what makes no sense, and the client has some of it: by that the session must end.
    misled: Option<WireError>,
    said: usize,
    dubious: bool,
    /// The client has left in the middle of something.
    over: bool,
    to_client: Vec<u8>,
    to_backend: Vec<u8>,
}

impl<'a> Session<'a> {
    fn new(input: &'a [u8]) -> Session<'a> {
        let mut dice = Dice::new(input);
        let rules = dice.byte();
        let commons = Commons::new(Rules {
            prepared_statements: match rules & 1 {
                0 => PreparedStatements::Multiplex,
                _ => PreparedStatements::Pin,
            },
            max_prepared_statements: 1 + usize::from(rules >> 1 & 3),
            reset: [Reset::Smart, Reset::Always, Reset::Never, Reset::Smart]
                [usize::from(rules >> 3 & 3)],
        });
        let startup: Parameters = match dice.below(4) {
            0 => Parameters::default(),
            1 => [("application_name", "it's"), ("options", "-c app.x=1")]
                .into_iter()
                .collect(),
            2 => [("client_encoding", "SJIS"), ("search_path", "a, b")]
                .into_iter()
                .collect(),
            _ => [("role", "other"), ("jit", "off")].into_iter().collect(),
        };
        let _cut = dice.byte();
        let reported: Parameters = [
            ("client_encoding", "UTF8"),
            ("standard_conforming_strings", "on"),
        ]
        .into_iter()
        .collect();
        let idle = (0..2).map(|_| commons.backend_opened(&reported)).collect();
        Session {
            dice,
            tracker: Tracker::new(Rc::clone(&commons), &startup).unwrap(),
            commons,
            size: usize::MAX,
            idle,
            backend: Backend::new(),
            client_hears: Walker::new(Sender::Backend),
            misled: None,
            said: 0,
            dubious: false,
            over: false,
            to_client: Vec::new(),
            to_backend: Vec::new(),
        }
    }

    /// Makes all moves, chunks cut in pieces of this size.
    fn run(mut self, size: usize) -> Outcome {
        self.size = size;
        let mut end = None;
        for _ in 0..MOVES {
            if self.dice.is_empty() || self.over || end.is_some() {
                break;
            }
            end = self.make_a_move().err();
        }
        let is_backends_fault = matches!(end, Some(Fault::Backend(_)));
        assert!(
            self.misled.is_none() || is_backends_fault,
            "{:?} and {end:?}",
            self.misled
        );
        Outcome {
            to_client: self.to_client,
            to_backend: self.to_backend,
            end,
            dubious: self.dubious,
        }
    }

    fn make_a_move(&mut self) -> Result<(), Fault> {
        match self.dice.below(16) {
            0..=4 => {
                let chunk = self.clients_message();
                self.client_says(&chunk)
            }
            5 => {
                // Several at once, the way drivers send batches.
                let count = 1 + self.dice.below(4);
                let chunk: Vec<u8> = (0..count).flat_map(|_| self.clients_message()).collect();
                self.client_says(&chunk)
            }
            6 => {
                let chunk = self.dice.piece().to_vec();
                self.client_says(&chunk)
            }
            7..=11 => {
                let answer = self.backend.answer(&mut self.dice);
                self.backend_says(&answer)
            }
            12 => {
                let kind = self.dice.pick(b"ZECTD123nstINSAGHcdVvWRK");
                let body = self.dice.piece();
                self.dubious |= self.tracker.is_attached();
                self.backend_says(&message(kind, body))
            }
            13 if self.tracker.needs_backend() || self.dice.below(4) == 0 => self.attach(),
            14 if self.tracker.may_release() => self.detach(),
            15 if self.dice.below(4) == 3 => self.detach(),
            _ => {
                // Whatever is asked for is answered, until the client is at rest.
                if self.tracker.needs_backend() {
                    self.attach()?;
                }
                for _ in 0..self.backend.owes() {
                    let answer = self.backend.answer(&mut self.dice);
                    self.backend_says(&answer)?;
                }
                Ok(())
            }
        }
    }

    /// A client's message: most of them sound.
    fn clients_message(&mut self) -> Vec<u8> {
        let name = |dice: &mut Dice<'_>| dice.pick(&[&b"\0"[..], b"a\0", b"b\0", b"c\0"]);
        let dice = &mut self.dice;
        match dice.below(16) {
            0..=3 => {
                let text = dice.pick(TEXTS);
                message(b'Q', &[text, b"\0"].concat())
            }
            4 | 5 => {
                let (name, text) = (name(dice), dice.pick(TEXTS));
                message(b'P', &[name, text, b"\0\0\0"].concat())
            }
            6 => {
                let (portal, name) = (name(dice), name(dice));
                message(b'B', &[portal, name, b"\0\0\0\0\0\0"].concat())
            }
            7 => {
                let (what, name) = (dice.pick(&[&b"S"[..], b"P"]), name(dice));
                message(b'D', &[what, name].concat())
            }
            8 => message(b'E', &[name(dice), b"\0\0\0\0"].concat()),
            9 => {
                let (what, name) = (dice.pick(&[&b"S"[..], b"P"]), name(dice));
                message(b'C', &[what, name].concat())
            }
            10 | 11 => message(b'S', b""),
            12 => message(b'H', b""),
            13 => {
                let kind = dice.pick(b"dcfFX");
                message(kind, dice.piece())
            }
            14 => {
                let kind = dice.pick(b"QPBDECFdc");
                message(kind, dice.piece())
            }
            _ => {
                let text = dice.piece();
                message(b'Q', &[text, b"\0"].concat())
            }
        }
    }

    fn client_says(&mut self, chunk: &[u8]) -> Result<(), Fault> {
        self.said += chunk.len();
        for piece in chunk.chunks(self.size.max(1)) {
            let mut out = Outbound::default();
            let passage = self.tracker.client_said(piece, &mut out);
            trace("client", piece, &out);
            if passage == Ok(Passage::Whole) {
                self.hand_to_backend(piece);
            }
            self.deliver(&out);
            let _ = passage?;
        }
        Ok(())
    }

    fn backend_says(&mut self, chunk: &[u8]) -> Result<(), Fault> {
        if !self.tracker.is_attached() {
            return Ok(());
        }
        self.said += chunk.len();
        for piece in chunk.chunks(self.size.max(1)) {
            let mut out = Outbound::default();
            let passage = self.tracker.backend_said(piece, &mut out);
            trace("backend", piece, &out);
            if passage == Ok(Passage::Whole) {
                self.hand_to_client(piece);
            }
            self.deliver(&out);
            let _ = passage?;
        }
        Ok(())
    }

    fn attach(&mut self) -> Result<(), Fault> {
        if self.tracker.is_attached() {
            return Ok(());
        }
        let Some(memory) = self.idle.pop() else {
            return Ok(());
        };
        self.backend = Backend::new();
        let mut out = Outbound::default();
        let done = self.tracker.attach(memory, &mut out);
        self.deliver(&out);
        if done.is_ok() && !self.tracker.is_setting() {
            self.tracker.welcome();
        }
        done
    }

    fn detach(&mut self) -> Result<(), Fault> {
        let releasable = self.tracker.may_release();
        self.over = !releasable;
        let Some(release) = self.tracker.detach() else {
            return Ok(());
        };
        assert!(!self.tracker.is_attached());
        match release {
            Release::Clean(memory) => {
                assert!(
                    self.backend.is_at_boundary(),
                    "half a message was left on a clean backend"
                );
                self.idle.push(memory);
            }
            Release::Cleanup(cleanup) => {
                assert!(
                    self.backend.is_at_boundary(),
                    "half a message was left on a backend"
                );
                self.idle.extend(clean(cleanup));
            }
            Release::Close => {
                assert!(!releasable, "a backend that may be released is closed");
            }
        }
        if self.idle.is_empty() {
            self.idle
                .push(self.commons.backend_opened(&Parameters::default()));
        }
        Ok(())
    }

    fn deliver(&mut self, out: &Outbound) {
        self.hand_to_backend(&out.to_backend);
        self.hand_to_client(&out.to_client);
        let written = self.to_client.len() + self.to_backend.len();
        let bound = MARGIN + GROWTH * self.said;
        assert!(written <= bound, "{written} bytes came of {}", self.said);
    }

    fn hand_to_backend(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            assert!(
                self.tracker.is_attached(),
                "bytes for a backend that is not there: {}",
                shown(bytes)
            );
            self.backend.hear(bytes);
            self.to_backend.extend_from_slice(bytes);
        }
    }

    fn hand_to_client(&mut self, bytes: &[u8]) {
        assert!(self.misled.is_none(), "{:?}, and it goes on", self.misled);
        self.misled = self.client_hears.feed(bytes).err();
        self.to_client.extend_from_slice(bytes);
    }
}

/// Carries a cleanup out, with the replies of a database that does what it is told.
fn clean(mut cleanup: wire::pg::pooling::Cleanup) -> Option<BackendMemory> {
    let (mut inbound, mut outbound) = (BytesMut::new(), BytesMut::new());
    assert!(matches!(
        cleanup.advance(&mut inbound, &mut outbound),
        Ok(Progress::NeedMore)
    ));
    let mut hears = Walker::new(Sender::Frontend);
    assert!(hears.feed(&outbound).is_ok() && hears.at_boundary());
    inbound.extend_from_slice(&[message(b'C', b"X\0"), message(b'Z', b"I")].concat());
    match cleanup.advance(&mut inbound, &mut outbound) {
        Ok(Progress::Done(memory)) => Some(memory),
        other => panic!("{other:?}"),
    }
}

fn alike(whom: &str, size: usize, cut: &[u8], whole: &[u8]) {
    assert!(
        without_secrets(cut) == without_secrets(whole),
        "in pieces of {size}, to the {whom}:\n{}\nand at once:\n{}",
        shown(cut),
        shown(whole)
    );
}

/// With the names of shared statements, which nobody can guess, alike: those are sixteen digits behind `dbb_`, a number and `_`.
fn without_secrets(said: &[u8]) -> Vec<u8> {
    let mut said = said.to_vec();
    let mut at = 0;
    while let Some(found) = said[at..].windows(4).position(|part| part == b"dbb_") {
        at += found + 4;
        let number = said[at..].iter().take_while(|byte| byte.is_ascii_digit());
        let digits = at + number.count() + 1;
        if let Some(digits) = said.get_mut(digits..digits + 16)
            && digits.iter().all(u8::is_ascii_hexdigit)
        {
            digits.fill(b'0');
        }
    }
    said
}

/// With `FUZZ_TRACE`, for an input that failed.
fn trace(who: &str, said: &[u8], out: &Outbound) {
    static WANTED: LazyLock<bool> = LazyLock::new(|| std::env::var_os("FUZZ_TRACE").is_some());
    if *WANTED {
        let (to_client, to_backend) = (shown(&out.to_client), shown(&out.to_backend));
        eprintln!(
            "{who}: {}\n    to client: {to_client}\n    to backend: {to_backend}",
            shown(said)
        );
    }
}

fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

const TEXTS: &[&[u8]] = &[
    b"SELECT 1",
    b"BEGIN",
    b"COMMIT",
    b"ROLLBACK",
    b"SET jit TO off",
    b"SET app.x TO 'it''s'; SELECT 1",
    b"RESET ALL",
    b"DISCARD ALL",
    b"LISTEN c",
    b"UNLISTEN *",
    b"PREPARE p AS SELECT 1",
    b"EXECUTE p",
    b"DEALLOCATE p",
    b"DEALLOCATE a",
    b"DEALLOCATE ALL",
    b"COPY t FROM STDIN",
    b"SAVEPOINT s",
    b"ROLLBACK TO s",
    b"SELECT set_config('a.b', 'c', false)",
    b"DO $$ $$",
    b"SET client_encoding TO 'SJIS'",
    b"",
    b";;",
    b"SELECT 'open",
];

/// Sessions that go through much: moves as [`Session::make_a_move`] reads them.
fn samples() -> Vec<Vec<u8>> {
    let mut samples = Vec::new();
    for rules in [0, 1, 2, 8, 16] {
        for startup in 0..4 {
            // Query, answered, released, again on another backend.
            let head = [rules, startup, 5];
            let queries: &[u8] = &[
                0, 0, 4, 15, 0, 14, 0, 0, 5, 15, 0, 0, 0, 14, 0, 0, 6, 15, 0, 0, 14, 0, 0, 8, 15, 0,
            ];
            // Parse, Bind, Describe, Execute, Sync in one write, answered one by one.
            let batch: &[u8] = &[
                5, 3, 4, 1, 0, 6, 0, 1, 7, 0, 1, 8, 0, 0, 10, 13, 0, 7, 0, 7, 0, 7, 0, 7, 3, 0, 7,
                0, 14,
            ];
            // A COPY with data and its end.
            let copy: &[u8] = &[
                0, 0, 15, 13, 0, 12, 15, 3, 0, 0, 0, 0, 13, 0, 4, b'd', b'a', b't', b'a', 0, 13, 1,
                0, 12, 2, 7, b'C', b'O', b'P', b'Y', b' ', b'1', 0, 12, 0, 1, b'I',
            ];
            // An error in a batch, and what is behind it.
            let error: &[u8] = &[
                0, 4, 1, 5, 0, 0, 8, 1, 0, 10, 13, 0, 7, 7, 7, 7, 0, 14, 0, 9, 0, 1, 0, 10, 15, 0,
            ];
            for moves in [queries, batch, copy, error] {
                samples.push([&head[..], moves, queries].concat());
            }
        }
    }
    samples
}

/// The most moves of a session.
const MOVES: usize = 200;
/// What may be written beyond a multiple of what was said, in bytes: settings and statements brought to backends.
const MARGIN: usize = 64 * 1024;
const GROWTH: usize = 16;

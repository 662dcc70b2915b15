//! A PostgreSQL that fits in a test: no tables, but sessions, transactions, prepared statements,
//! portals, COPY and settings as the real one has them, message by message.
//!
//! It takes each message when it is told to, so that a test decides how far a backend has come when
//! the next message is sent. What it says can be received when the real one would have flushed it.

mod extended;
mod say;
mod sql;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use extended::{Portal, Statement};
use sql::{Outcome, Problem};

/// One session at the database.
#[derive(Default)]
pub struct FakePostgres {
    inbound: Vec<u8>,
    inbox: VecDeque<(u8, Vec<u8>)>,
    said: Vec<u8>,
    flushed: Vec<u8>,
    startup: BTreeMap<String, String>,
    reported: BTreeMap<String, String>,
    statements: HashMap<Vec<u8>, Statement>,
    portals: HashMap<Vec<u8>, Portal>,
    state: State,
    /// The state to go back to, of the transaction and of each of its savepoints.
    begun: Option<State>,
    savepoints: Vec<(String, State)>,
    status: Status,
    /// What a rollback does not undo.
    locks: u32,
    ignores_until_sync: bool,
    copy: Option<CopyIn>,
    pub closed: bool,
}

/// What a rollback undoes.
#[derive(Clone, Default)]
struct State {
    settings: BTreeMap<String, String>,
    local: BTreeMap<String, String>,
    listens: BTreeSet<String>,
    tables: BTreeSet<String>,
    cursors: BTreeSet<String>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Status {
    #[default]
    Idle,
    InBlock,
    Failed,
}

/// COPY FROM STDIN, and the statements of the Query behind it; `None` in the extended protocol.
struct CopyIn {
    behind: Option<Vec<String>>,
    rows: usize,
}

impl FakePostgres {
    /// A session whose startup packet asked for these settings.
    pub fn connect(startup: &[(String, String)]) -> FakePostgres {
        let mut session = FakePostgres::default();
        for (name, value) in startup {
            session.startup.insert(name.to_lowercase(), value.clone());
        }
        session.reported = session.reports();
        session
    }

    /// What it reports now, in canonical form.
    pub fn reports(&self) -> BTreeMap<String, String> {
        [
            "application_name",
            "TimeZone",
            "standard_conforming_strings",
        ]
        .into_iter()
        .map(|name| (name.to_owned(), self.show(&name.to_lowercase())))
        .collect()
    }

    /// Sends it bytes.
    pub fn send(&mut self, bytes: &[u8]) {
        self.inbound.extend_from_slice(bytes);
        while self.inbound.len() >= 5 {
            let length = u32::from_be_bytes(self.inbound[1..5].try_into().unwrap()) as usize;
            if self.inbound.len() < 1 + length {
                break;
            }
            let frame: Vec<u8> = self.inbound.drain(..1 + length).collect();
            self.inbox.push_back((frame[0], frame[5..].to_vec()));
        }
    }

    /// Whether a message waits to be taken.
    pub fn is_busy(&self) -> bool {
        !self.inbox.is_empty()
    }

    /// Takes one message.
    pub fn step(&mut self) {
        if let Some((kind, body)) = self.inbox.pop_front() {
            self.take(kind, &body);
        }
    }

    /// Up to so many of the bytes that it has flushed.
    pub fn receive(&mut self, most: usize) -> Vec<u8> {
        let count = most.min(self.flushed.len());
        self.flushed.drain(..count).collect()
    }

    pub fn has_flushed(&self) -> bool {
        !self.flushed.is_empty()
    }

    /// Whether a session would find anything here that it has not made.
    pub fn leftovers(&self) -> Vec<String> {
        let mut left = Vec::new();
        left.extend(
            self.state
                .listens
                .iter()
                .map(|it| format!("listens to {it}")),
        );
        left.extend(self.state.tables.iter().map(|it| format!("table {it}")));
        left.extend(self.state.cursors.iter().map(|it| format!("cursor {it}")));
        if self.locks > 0 {
            left.push(format!("{} locks", self.locks));
        }
        if self.status != Status::Idle {
            left.push("a transaction".to_owned());
        }
        for name in self.statements.keys() {
            if !name.is_empty() && !name.starts_with(b"dbb_") {
                left.push(format!("statement {}", String::from_utf8_lossy(name)));
            }
        }
        left
    }

    /// How many named statements it has.
    pub fn prepared(&self) -> usize {
        self.statements
            .keys()
            .filter(|name| !name.is_empty())
            .count()
    }

    fn take(&mut self, kind: u8, body: &[u8]) {
        if self.copy.is_some() {
            return self.take_in_copy(kind, body);
        }
        if self.ignores_until_sync && !matches!(kind, b'S' | b'X') {
            return;
        }
        match kind {
            b'Q' => {
                self.statements.remove(&b""[..]);
                // The real one would close the unnamed portal, too. It would then be missed where RESET
                // within a transaction is put right by a Query of the tracker's.
                let text = text(body);
                self.query(&text);
            }
            b'P' => {
                let done = self.parse(body);
                self.extended(done);
            }
            b'B' => {
                let done = self.bind(body);
                self.extended(done);
            }
            b'D' => {
                let done = self.describe(body);
                self.extended(done);
            }
            b'E' => {
                let done = self.execute(body);
                self.extended(done);
            }
            b'C' => {
                match body[0] {
                    b'S' => drop(self.statements.remove(&body[1..body.len() - 1])),
                    _ => drop(self.portals.remove(&body[1..body.len() - 1])),
                }
                self.say(b'3', b"");
            }
            b'F' => {
                self.begin_implicit();
                if self.status == Status::Failed {
                    self.error(&aborted());
                } else {
                    self.say(b'V', &[0, 0, 0, 1, b'1']);
                }
                self.ready();
            }
            b'S' => {
                self.ignores_until_sync = false;
                self.ready();
            }
            b'H' => self.flush(),
            b'X' => self.closed = true,
            b'd' | b'c' | b'f' => {}
            other => panic!("message {:?} to the database", other as char),
        }
    }

    fn take_in_copy(&mut self, kind: u8, body: &[u8]) {
        match kind {
            b'd' if body == b"bad\n" => self.copy_fails("22P02", "bad data"),
            b'd' => {
                if let Some(copy) = &mut self.copy {
                    copy.rows += 1;
                }
            }
            b'c' => {
                let Some(copy) = self.copy.take() else { return };
                self.complete(&format!("COPY {}", copy.rows));
                if let Some(behind) = copy.behind {
                    self.run_all(behind);
                }
            }
            b'f' => {
                let reason = text(body);
                self.copy_fails("57014", &format!("COPY from stdin failed: {reason}"));
            }
            b'S' | b'H' => {}
            other => self.copy_fails(
                "08P01",
                &format!("unexpected message type 0x{other:02X} during COPY from stdin"),
            ),
        }
    }

    fn copy_fails(&mut self, code: &'static str, message: &str) {
        let Some(copy) = self.copy.take() else { return };
        self.error(&Problem::new(code, message));
        match copy.behind {
            Some(_) => self.ready(),
            None => self.ignores_until_sync = true,
        }
    }

    fn query(&mut self, text: &str) {
        let statements = sql::split(text);
        self.begin_implicit();
        if statements.is_empty() {
            self.say(b'I', b"");
            return self.ready();
        }
        if let Some(problem) = statements.iter().find_map(|one| sql::refuses(one)) {
            self.error(&problem);
            return self.ready();
        }
        self.run_all(statements);
    }

    /// Runs the statements of a Query up to its end, an error, or a COPY.
    fn run_all(&mut self, statements: Vec<String>) {
        let several = statements.len() > 1;
        let mut statements = VecDeque::from(statements);
        while let Some(one) = statements.pop_front() {
            self.begin_implicit();
            if several && one.to_uppercase() == "DISCARD ALL" {
                self.error(&Problem::new("25001", "DISCARD ALL in a block"));
                return self.ready();
            }
            let outcome = self.allowed(&one).and_then(|()| self.run(&one));
            match outcome {
                Ok(Outcome::Rows { rows, tag }) => {
                    self.row_description();
                    for row in &rows {
                        self.row(row);
                    }
                    self.complete(&tag);
                }
                Ok(Outcome::Done(tag)) => self.complete(&tag),
                Ok(Outcome::CopyIn) => {
                    self.copy = Some(CopyIn {
                        behind: Some(statements.into()),
                        rows: 0,
                    });
                    self.say(b'G', &[0, 0, 0]);
                    return self.flush();
                }
                Ok(Outcome::CopyOut(rows)) => self.copy_out(&rows),
                Err(problem) => {
                    self.error(&problem);
                    return self.ready();
                }
            }
        }
        self.ready();
    }

    fn copy_out(&mut self, rows: &[String]) {
        self.say(b'H', &[0, 0, 0]);
        for row in rows {
            self.say(b'd', row.as_bytes());
        }
        self.say(b'c', b"");
        self.complete(&format!("COPY {}", rows.len()));
    }

    /// A failed transaction takes nothing but its end.
    fn allowed(&self, statement: &str) -> Result<(), Problem> {
        if self.status == Status::Failed
            && !sql::ends_transaction(statement)
            && !statement.is_empty()
        {
            return Err(aborted());
        }
        Ok(())
    }

    fn begin_implicit(&mut self) {
        if self.begun.is_none() {
            self.begun = Some(self.state.clone());
        }
    }

    fn commit(&mut self) {
        self.state.local.clear();
        self.end();
    }

    fn rollback(&mut self) {
        if let Some(begun) = self.begun.take() {
            self.state = begun;
        }
        self.state.local.clear();
        self.end();
    }

    fn end(&mut self) {
        self.begun = None;
        self.savepoints.clear();
        self.portals.clear();
        self.status = Status::Idle;
    }

    /// Ends what was implicit, and says that it is ready.
    fn ready(&mut self) {
        if self.status == Status::Idle {
            self.commit();
        }
        let reports = self.reports();
        for (name, value) in &reports {
            if self.reported.get(name) != Some(value) {
                let body = [name.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat();
                push(&mut self.said, b'S', &body);
            }
        }
        self.reported = reports;
        let status = match self.status {
            Status::Idle => b'I',
            Status::InBlock => b'T',
            Status::Failed => b'E',
        };
        self.say(b'Z', &[status]);
        self.flush();
    }

    fn error(&mut self, problem: &Problem) {
        match self.status {
            Status::Idle => self.rollback(),
            Status::InBlock | Status::Failed => {
                self.status = Status::Failed;
                self.portals.clear();
            }
        }
        let body = format!(
            "SERROR\0VERROR\0C{}\0M{}\0\0",
            problem.code, problem.message
        );
        self.say(b'E', body.as_bytes());
        self.flush();
    }
}

fn aborted() -> Problem {
    Problem::new("25P02", "current transaction is aborted")
}

fn push(out: &mut Vec<u8>, kind: u8, body: &[u8]) {
    out.push(kind);
    out.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
    out.extend_from_slice(body);
}

fn cut(body: &[u8]) -> (&[u8], &[u8]) {
    let end = body.iter().position(|&byte| byte == 0).unwrap();
    (&body[..end], &body[end + 1..])
}

fn text(body: &[u8]) -> String {
    String::from_utf8(cut(body).0.to_vec()).unwrap()
}

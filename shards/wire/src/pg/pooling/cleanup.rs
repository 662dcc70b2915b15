//! Making a backend fit for the next client.

use std::rc::Rc;

use bytes::{Bytes, BytesMut};

use super::BackendMemory;
use super::changes::Unnamed;
use super::pins::{Pin, Pins};
use super::prepared::own_name;
use super::request::{put_about_statement, put_query};
use super::restore;
use crate::pg::frame::{take_message, type_name};
use crate::pg::{TransactionStatus, error_response};
use crate::{Exchange, Progress, WireError};

/// What must become of a backend that a tracker gave up.
#[derive(Debug)]
#[must_use]
pub enum Release {
    /// Nothing is left on it: it may be parked or handed on at once.
    Clean(BackendMemory),
    /// Something may be left on it: carry this out first (with a time limit); it gives the memory
    /// back. If it fails, close the backend.
    Cleanup(Cleanup),
    /// It cannot be used again.
    Close,
}

/// The dialogue that takes away what a client left: Close of what stands under the client's own
/// names, one Query, and the replies up to a ReadyForQuery that says idle.
///
/// Statements that are shared stay, save where nobody knows how the session was set when they were
/// prepared, or whether they are still there, or where they take up more room than their tenant has.
#[derive(Debug)]
pub struct Cleanup {
    /// Taken when it is over.
    memory: Option<BackendMemory>,
    names: Vec<Bytes>,
    sql: String,
    resets: bool,
    deallocates: bool,
    all: bool,
    /// The values of sequences are forgotten.
    draws: bool,
    /// Temporary tables are gone.
    temporary: bool,
    asked: bool,
    /// The rows of the last question are names of statements.
    lists: bool,
    /// Statements by SQL PREPARE, which is done where nobody could see it.
    left: Vec<u8>,
}

impl Cleanup {
    /// What takes away what `left` names, or all there may be, and the shared statements if the backend `sheds` them;
    /// after a transaction that was left open, if one was.
    pub(super) fn new<'a>(
        mut memory: BackendMemory,
        open: bool,
        left: Pins,
        all: bool,
        sheds: bool,
        names: impl Iterator<Item = &'a Bytes>,
    ) -> Cleanup {
        let deallocates = sheds || left.contains(Pin::Unknown) || left.contains(Pin::Setting);
        let mut closed = Vec::new();
        if left.contains(Pin::PreparedStatement) && !deallocates {
            for name in names {
                let own = own_name(name);
                if own != name {
                    // By SQL PREPARE it stands under the name that it was given there, like one of ours.
                    memory.memory().prepared.forget_named(name);
                    closed.push(name.clone());
                }
                closed.push(own);
            }
        }
        let all = all || left.contains(Pin::Unknown);
        let resets = all || left.contains(Pin::Setting);
        let mut sql = String::new();
        if open {
            sql.push_str("ROLLBACK;");
        }
        sql.push_str(match resets {
            true => restore::NOT_DEFERRABLE,
            false => restore::begin(&memory.memory().settings),
        });
        if resets {
            sql.push_str("SET SESSION AUTHORIZATION DEFAULT;RESET ROLE;RESET ALL;");
        }
        if deallocates {
            sql.push_str("DEALLOCATE ALL;");
        }
        for (pin, statement) in REMEDIES {
            if all || left.contains(pin) {
                sql.push_str(statement);
            }
        }
        if all && !deallocates {
            sql.push_str(LEFT);
        }
        Cleanup {
            memory: Some(memory),
            names: closed,
            sql,
            resets,
            deallocates,
            all,
            draws: left.contains(Pin::SequenceValue),
            temporary: left.contains(Pin::TemporaryTable),
            asked: false,
            lists: false,
            left: Vec::new(),
        }
    }

    /// The statements that will be run, for the log.
    pub fn sql(&self) -> &str {
        &self.sql
    }

    fn ask(&mut self, outbound: &mut BytesMut) {
        for name in &self.names {
            put_about_statement(outbound, b'C', name);
        }
        put_query(outbound, self.sql.as_bytes());
        self.asked = true;
    }

    /// The memory of a backend that has been cleaned.
    fn finish(&mut self) -> Result<BackendMemory, WireError> {
        let mut backend = self.memory.take().ok_or(WireError::Unexpected {
            expected: "nothing more",
            got: "another turn of a cleanup that is over".to_owned(),
        })?;
        let memory = backend.memory();
        memory.unnamed = Unnamed::Absent;
        if self.deallocates {
            memory.prepared.clear();
        }
        if self.all {
            memory.user = 0;
        }
        if self.all || self.draws {
            memory.drawn_by = 0;
        }
        if self.temporary {
            // What was prepared meanwhile may have meant a temporary table.
            memory.prepared.age();
        }
        if self.resets {
            memory.settings = Rc::default();
            memory.prepared.is_certain_again();
        }
        Ok(backend)
    }
}

impl Exchange for Cleanup {
    type Outcome = BackendMemory;

    fn advance(
        &mut self,
        inbound: &mut BytesMut,
        outbound: &mut BytesMut,
    ) -> Result<Progress<BackendMemory>, WireError> {
        if !self.asked {
            self.ask(outbound);
        }
        while let Some(message) = take_message(inbound, MESSAGE_LIMIT)? {
            match message.kind {
                b'3' | b'C' | b'I' | b'N' | b'A' => {}
                b'T' => {
                    self.lists = message
                        .body
                        .get(2..)
                        .is_some_and(|rest| rest.starts_with(LISTED))
                }
                b'D' if self.lists => {
                    self.left.extend_from_slice(row_of_one(&message.body));
                    self.left.push(b';');
                }
                b'D' => {}
                b'S' => {
                    if let Some(backend) = &mut self.memory {
                        backend.memory().note_parameter(message.body);
                    }
                }
                b'E' => return Err(WireError::Refused(error_response::parse(message.body))),
                b'Z' => {
                    let idle = message.body[..] == [TransactionStatus::Idle.as_byte()];
                    if !idle || !inbound.is_empty() {
                        return Err(WireError::Unexpected {
                            expected: "ReadyForQuery, idle, and nothing behind it",
                            got: "something else".to_owned(),
                        });
                    }
                    if self.left.is_empty() {
                        return self.finish().map(Progress::Done);
                    }
                    put_query(outbound, &std::mem::take(&mut self.left));
                }
                kind => {
                    return Err(WireError::Unexpected {
                        expected: "a reply to the cleanup",
                        got: type_name(kind),
                    });
                }
            }
        }
        Ok(Progress::NeedMore)
    }
}

/// What takes away each kind of state.
const REMEDIES: [(Pin, &str); 5] = [
    (Pin::HoldCursor, "CLOSE ALL;"),
    (Pin::Listen, "UNLISTEN *;"),
    (
        Pin::AdvisoryLock,
        "SELECT pg_catalog.pg_advisory_unlock_all();",
    ),
    (Pin::SequenceValue, "DISCARD SEQUENCES;"),
    (Pin::TemporaryTable, "DISCARD TEMP;"),
];

/// Asks for the statements of SQL PREPARE: how each of them is deallocated. The shared ones are none.
const LEFT: &str = "SELECT pg_catalog.format('DEALLOCATE %I', name) AS dbb_left \
     FROM pg_catalog.pg_prepared_statements WHERE from_sql;";

/// How the description of the answer's rows goes on behind the count of columns.
const LISTED: &[u8] = b"dbb_left\0";

/// The value in a DataRow of one column.
fn row_of_one(body: &[u8]) -> &[u8] {
    const COUNT_AND_LENGTH: usize = 6;
    body.get(COUNT_AND_LENGTH..).unwrap_or_default()
}

/// Longest message in a cleanup, in bytes.
const MESSAGE_LIMIT: usize = 64 * 1024;

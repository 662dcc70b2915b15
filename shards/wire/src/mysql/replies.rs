//! Following what a server owes its client: which commands wait, and where their answers end.
//!
//! ```text
//!   watch::Watch ── asked, file_ended ──▶ Replies ◀── backend_said ── the server's bytes
//! ```
//!
//! Servers answer in the order of the commands, and clients may send several at once; so there is a
//! queue of the forms of answer that are due, and the first of them is being heard. A server that is
//! not understood is followed packet by packet from then on, and nothing is concluded from it: see
//! [`Replies::lost`].

use std::collections::{BTreeSet, VecDeque};

use super::answer::{Answer, Form, Heard, Lost};
use super::capability::{Capabilities, status};
use super::command::{COM_RESET_CONNECTION, COM_STMT_CLOSE, COM_STMT_PREPARE, Command};
use super::message::{ERR, OK};
use super::walker::{Front, Walker};
use crate::error::WireError;
use crate::sqlstate_class::SqlstateClass;

/// What a server owes, and the state of its session as far as it has said it.
#[derive(Debug, Clone)]
pub struct Replies {
    walker: Walker,
    /// The client has [`Capabilities::DEPRECATE_EOF`].
    deprecate_eof: bool,
    /// The answers that are due, in order; and behind them what has none, but is done in its turn.
    due: VecDeque<Question>,
    /// How many of `due` have none.
    silent: usize,
    /// The answer to the first of `due`.
    answer: Option<Answer>,
    /// Some of the answer has come.
    begun: bool,
    /// The sequence id that the answer's next packet will have.
    next: u8,
    /// The client is sending the file that the answer has asked for.
    wants_file: bool,
    /// The last status flags.
    status: u16,
    /// An ERR has come since, which has none.
    failed_since: bool,
    /// The statements in whose cursors the client has left rows; [`MAX_CURSORS`] at most. What the server says
    /// of one in other answers is of cursors that its procedures have had.
    cursors: BTreeSet<u32>,
    /// The statement that was prepared last; [`LAST_PREPARED`] if that failed.
    prepared: u32,
    lost: Option<Lost>,
}

impl Replies {
    /// Follows a server from its login on. `capabilities` are the client's and the server's,
    /// `status` is that of the login's OK.
    pub fn new(capabilities: Capabilities, status: u16) -> Replies {
        Replies {
            walker: Walker::default(),
            deprecate_eof: capabilities.has(Capabilities::DEPRECATE_EOF),
            due: VecDeque::new(),
            silent: 0,
            answer: None,
            begun: false,
            next: 0,
            wants_file: false,
            status,
            failed_since: false,
            cursors: BTreeSet::new(),
            prepared: LAST_PREPARED,
            lost: None,
        }
    }

    /// The client has sent `command`, in packets of which the last has this sequence id. To be told
    /// before the server can have answered.
    ///
    /// # Errors
    /// If more than [`MAX_AWAITED`] wait; the session ends by it.
    pub fn asked(&mut self, command: impl Into<Command>, sequence: u8) -> Result<(), WireError> {
        let Command { number, statement } = command.into();
        let is_answered = Form::of(number).is_some();
        if !is_answered && number != COM_STMT_CLOSE {
            return Ok(());
        }
        if self.lost.is_some() && self.due.len() >= KEPT {
            // None of them will be seen to be answered: that some are awaited is all that is known.
            return Ok(());
        }
        if self.due.len() == MAX_AWAITED {
            let what = format!("sending more than {MAX_AWAITED} commands ahead of their answers");
            return Err(WireError::Unsupported { what });
        }
        self.due.push_back(Question {
            number,
            sequence,
            statement,
        });
        self.silent += usize::from(!is_answered);
        if self.answer.is_none() {
            self.turn_to_next();
        }
        Ok(())
    }

    /// The sequence id of the first packet of the file that the server wants, if it wants one.
    pub(super) fn file_begins_at(&self) -> Option<u8> {
        self.wants_file.then_some(self.next)
    }

    /// The client has sent the file that the server wanted, in packets of which the last, the empty
    /// one, has this sequence id.
    pub fn file_ended(&mut self, sequence: u8) {
        if self.wants_file {
            self.wants_file = false;
            self.next = sequence.wrapping_add(1);
        }
    }

    /// The server has sent `chunk`, which may begin and end anywhere. Returns the class of
    /// each ERR packet that began in it; where there was none, that costs nothing.
    pub fn backend_said(&mut self, mut chunk: &[u8]) -> Vec<SqlstateClass> {
        let mut errors = Vec::new();
        while let Some(front) = self.walker.next(&mut chunk) {
            if !front.continues && front.bytes().first() == Some(&ERR) {
                errors.push(class_of(front.bytes()));
            }
            self.hear(&front);
        }
        errors
    }

    /// A dialogue that was not relayed has begun the session anew, and ended with this status.
    pub fn begun_anew(&mut self, status: u16) {
        self.status = status;
        self.failed_since = false;
        self.cursors.clear();
    }

    /// How many commands wait for an answer or for the rest of it.
    pub fn awaited(&self) -> usize {
        self.due.len() - self.silent
    }

    /// Whether everything has been answered.
    pub fn is_quiet(&self) -> bool {
        self.lost.is_none() && self.due.is_empty() && self.walker.at_boundary()
    }

    /// Whether a transaction is open, or may be.
    ///
    /// An ERR carries no flags. With autocommit off, the statement that failed may have opened a
    /// transaction. With autocommit on it may only if it was made of several, such as a call; nothing
    /// tells, and the session counts as outside of one.
    pub fn in_transaction(&self) -> bool {
        let autocommit = self.status & status::AUTOCOMMIT != 0;
        self.status & status::IN_TRANS != 0 || (self.failed_since && !autocommit)
    }

    /// Whether the session may end here without a loss: nothing is awaited, no transaction is open,
    /// and the client has left no rows in a cursor.
    pub fn at_rest(&self) -> bool {
        self.is_quiet() && !self.in_transaction() && self.cursors.is_empty()
    }

    /// The sequence id for a packet of our own in place of the server's next one; `None` where the
    /// client would take none: in the middle of a packet, or of a file that it is sending.
    ///
    /// A client that waits for nothing takes what comes for the answer to its next command, which
    /// has the number 1.
    pub fn next_sequence(&self) -> Option<u8> {
        let takes_one = self.walker.at_boundary() && !self.wants_file;
        let waits = !self.due.is_empty() || self.lost.is_some();
        takes_one.then_some(if waits { self.next } else { 1 })
    }

    /// Why the server is not understood any more, if so. Then nothing is known but the boundaries of
    /// its packets: the session is never at rest.
    pub fn lost(&self) -> Option<Lost> {
        self.lost
    }

    fn hear(&mut self, front: &Front) {
        let next = front.sequence.wrapping_add(1);
        if self.lost.is_some() {
            self.next = next;
        } else if front.continues {
            if self.begun {
                self.next = next;
            }
        } else if let Some(answer) = &mut self.answer {
            if !self.begun && self.due.front().is_some_and(Question::prepares) {
                self.prepared = statement_of(front.bytes());
            }
            self.next = next;
            self.begun = true;
            match answer.hear(front) {
                Ok(heard) => self.note(heard),
                Err(lost) => self.lose(lost),
            }
        } else if front.bytes().first() != Some(&ERR) {
            self.next = next;
            self.lose(Lost::Unasked);
        } // A server that gives up on a session says so where it stands (4031 after `wait_timeout`).
    }

    fn note(&mut self, heard: Heard) {
        match heard {
            Heard::Status(flags) | Heard::End(Some(flags)) | Heard::Cursor(flags) => {
                self.status = flags;
                self.failed_since = false;
            }
            Heard::Failed => self.failed_since = true,
            Heard::WantsFile => self.wants_file = true,
            Heard::Part | Heard::End(None) => {}
        }
        if matches!(heard, Heard::End(_) | Heard::Cursor(_) | Heard::Failed) {
            self.answered(matches!(heard, Heard::Cursor(_)));
            self.turn_to_next();
        }
    }

    /// The first of the answers has come, and has perhaps left rows in a cursor.
    fn answered(&mut self, left_rows: bool) {
        let Some(question) = self.due.pop_front() else {
            return;
        };
        let statement = self.meant_by(&question);
        if question.number == COM_RESET_CONNECTION {
            self.cursors.clear();
        } else if !left_rows {
            // An execution closes what the one before it has left open.
            self.cursors.remove(&statement);
        } else if self.cursors.len() < MAX_CURSORS {
            self.cursors.insert(statement);
        }
    }

    /// The statement that a command is about, by the number that the server has given it.
    fn meant_by(&self, question: &Question) -> u32 {
        match question.statement {
            LAST_PREPARED => self.prepared,
            statement => statement,
        }
    }

    /// Turns to the first of the answers that are due, past what has none.
    fn turn_to_next(&mut self) {
        self.begun = false;
        self.wants_file = false;
        self.answer = None;
        while let Some(question) = self.due.front() {
            if let Some(form) = Form::of(question.number) {
                self.next = question.sequence.wrapping_add(1);
                self.answer = Some(Answer::new(form, self.deprecate_eof));
                return;
            }
            let closed = self.meant_by(question);
            self.cursors.remove(&closed);
            self.due.pop_front();
            self.silent -= 1;
        }
        // Who has once asked for a great deal at once does not keep the room.
        self.due.shrink_to(KEPT);
    }

    fn lose(&mut self, why: Lost) {
        self.lost.get_or_insert(why);
        self.wants_file = false;
    }
}

/// The class of an ERR packet's SQLSTATE, which stands behind its number and a `#`.
fn class_of(packet: &[u8]) -> SqlstateClass {
    match packet {
        [ERR, _, _, b'#', sqlstate @ ..] => SqlstateClass::of(sqlstate),
        _ => SqlstateClass::OTHER,
    }
}

/// The number that the server has given a statement; [`LAST_PREPARED`] if it has failed.
fn statement_of(prepared: &[u8]) -> u32 {
    match *prepared {
        [OK, a, b, c, d, ..] => u32::from_le_bytes([a, b, c, d]),
        _ => LAST_PREPARED,
    }
}

/// A command that waits for its turn, and mostly for its answer.
#[derive(Debug, Clone, Copy)]
struct Question {
    /// The command's number.
    number: u8,
    /// The sequence id of the command's last packet.
    sequence: u8,
    /// The prepared statement that it is about; 0 if about none.
    statement: u32,
}

impl Question {
    fn prepares(&self) -> bool {
        self.number == COM_STMT_PREPARE
    }
}

/// What MariaDB's clients call the statement that they have prepared last, before they know its number.
const LAST_PREPARED: u32 = u32::MAX;

/// Most commands of a client that may wait for their answers, of eight bytes each. Drivers that send
/// without waiting have no limit of their own.
pub const MAX_AWAITED: usize = 1 << 16;

/// Most cursors of a client that are known to be open. Servers allow four times fewer statements as they come.
const MAX_CURSORS: usize = 1 << 16;

/// For so many the room is kept.
const KEPT: usize = 128;

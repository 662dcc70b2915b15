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

use super::answer::{Answer, Form, Heard, Lost};
use super::capability::{Capabilities, status};
use super::command::COM_STMT_CLOSE;
use super::message::ERR;
use super::walker::{Front, Walker};
use crate::sqlstate_class::SqlstateClass;

/// What a server owes, and the state of its session as far as it has said it.
#[derive(Debug, Clone)]
pub struct Replies {
    walker: Walker,
    /// The client has [`Capabilities::DEPRECATE_EOF`].
    deprecate_eof: bool,
    due: Due,
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
    /// The server has said unasked why it will close.
    explained: bool,
    lost: Option<Lost>,
}

impl Replies {
    /// Follows a server from its login on. `capabilities` are the client's and the server's,
    /// `status` is that of the login's OK.
    pub fn new(capabilities: Capabilities, status: u16) -> Replies {
        Replies {
            walker: Walker::default(),
            deprecate_eof: capabilities.has(Capabilities::DEPRECATE_EOF),
            due: Due::default(),
            answer: None,
            begun: false,
            next: 0,
            wants_file: false,
            status,
            failed_since: false,
            explained: false,
            lost: None,
        }
    }

    /// The client has sent `command`, in packets of which the last has this sequence id. To be told
    /// before the server can have answered.
    pub fn asked(&mut self, command: u8, sequence: u8) {
        let Some(form) = Form::of(command) else {
            if command == COM_STMT_CLOSE {
                self.status &= !status::CURSOR_EXISTS;
            }
            return;
        };
        if !self.due.push(Question { form, sequence }) {
            self.lose(Lost::TooManyAwaited);
        } else if self.answer.is_none() {
            self.turn_to_next();
        }
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
    }

    /// How many commands wait for an answer or for the rest of it.
    pub fn awaited(&self) -> usize {
        self.due.count
    }

    /// Whether a part of an answer has come, and not all of it.
    pub fn in_answer(&self) -> bool {
        self.begun || !self.walker.at_boundary()
    }

    /// Whether everything has been answered.
    pub fn is_quiet(&self) -> bool {
        self.lost.is_none() && self.due.count == 0 && self.walker.at_boundary()
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
    /// and no cursor is being read.
    pub fn at_rest(&self) -> bool {
        let reads_cursor = self.status & status::CURSOR_EXISTS != 0;
        self.is_quiet() && !self.in_transaction() && !reads_cursor
    }

    /// Whether the client waits for a packet, and has not been told why there will be none.
    pub fn client_waits(&self) -> bool {
        (self.due.count > 0 || self.lost.is_some()) && !self.explained
    }

    /// The sequence id for a packet of our own in place of the server's next one; `None` where the
    /// client would take none: in the middle of a packet, or of a file that it is sending.
    ///
    /// A client that waits for nothing takes what comes for the answer to its next command, which
    /// has the number 1.
    pub fn next_sequence(&self) -> Option<u8> {
        let takes_one = self.walker.at_boundary() && !self.wants_file;
        let waits = self.due.count > 0 || self.lost.is_some();
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
            self.next = next;
            self.begun = true;
            match answer.hear(front) {
                Ok(heard) => self.note(heard),
                Err(lost) => self.lose(lost),
            }
        } else if front.bytes().first() == Some(&ERR) {
            // A server that gives up on a session says so where it stands (4031 after `wait_timeout`).
            self.explained = true;
        } else {
            self.next = next;
            self.lose(Lost::Unasked);
        }
    }

    fn note(&mut self, heard: Heard) {
        match heard {
            Heard::Status(flags) | Heard::End(Some(flags)) => {
                self.status = flags;
                self.failed_since = false;
            }
            Heard::Failed => self.failed_since = true,
            Heard::WantsFile => self.wants_file = true,
            Heard::Part | Heard::End(None) => {}
        }
        if matches!(heard, Heard::End(_) | Heard::Failed) {
            self.due.pop();
            self.turn_to_next();
        }
    }

    /// Turns to the first of the answers that are due.
    fn turn_to_next(&mut self) {
        self.begun = false;
        self.wants_file = false;
        self.answer = self.due.first().map(|question| {
            self.next = question.sequence.wrapping_add(1);
            Answer::new(question.form, self.deprecate_eof)
        });
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

/// The answers that are due, in order: a ring.
#[derive(Debug, Clone)]
struct Due {
    questions: [Question; MAX_AWAITED],
    first: usize,
    count: usize,
}

#[derive(Debug, Clone, Copy)]
struct Question {
    form: Form,
    /// The sequence id of the command's last packet.
    sequence: u8,
}

impl Default for Due {
    fn default() -> Self {
        let unused = Question {
            form: Form::Word,
            sequence: 0,
        };
        Due {
            questions: [unused; MAX_AWAITED],
            first: 0,
            count: 0,
        }
    }
}

impl Due {
    /// Adds one; false if there is no room.
    fn push(&mut self, question: Question) -> bool {
        let has_room = self.count < MAX_AWAITED;
        if has_room {
            self.questions[(self.first + self.count) % MAX_AWAITED] = question;
            self.count += 1;
        }
        has_room
    }

    fn first(&self) -> Option<Question> {
        (self.count > 0).then(|| self.questions[self.first])
    }

    fn pop(&mut self) {
        if self.count > 0 {
            self.first = (self.first + 1) % MAX_AWAITED;
            self.count -= 1;
        }
    }
}

/// Most commands that may wait for their answers and be told apart; a client that sends more at once
/// makes its session [`Lost::TooManyAwaited`]. MariaDB's connectors send up to 100.
pub const MAX_AWAITED: usize = 128;

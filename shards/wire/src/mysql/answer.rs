//! One answer of a server: where in it we are, and with which packet it ends.
//!
//! ```text
//!            ┌──────────────────── MORE_RESULTS ────────────────────┐
//!            ▼                                                      │
//!        Beginning ── count ─▶ Definitions ─▶ [EOF] ─▶ Rows ─▶ OK/EOF ─▶ end
//!            │                     │                                │
//!            │                     └─ [EOF with CURSOR_EXISTS] ─────┤
//!            ├─ file wanted ─▶ Beginning                            │
//!            └─ OK ─────────────────────────────────────────────────┘
//!        ERR ends it, wherever it stands
//! ```
//!
//! Knows the front of each packet, not the rest of it. Of two servers' habits it takes either: what
//! is not to be understood is a [`Lost`], never a guess.

use std::fmt;

use super::capability::status;
use super::command as com;
use super::cursor::Cursor;
use super::message::{EOF, ERR, EofPacket, OK, OkPacket};
use super::packet::FRAGMENT;
use super::walker::Front;
use crate::error::WireError;

/// What the answer to a command looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One OK, EOF or ERR: nearly all commands, also those that no server knows.
    Word,
    /// One packet of text.
    Text,
    /// OK, a request for a file, or result sets.
    Results,
    /// The same, where a result set may be left in a cursor.
    Execution,
    /// A prepared statement's number, and definitions of its parameters and columns.
    Preparation,
    /// Packets up to an EOF or ERR: rows of a cursor, columns of a table, a binary log (which ends
    /// only if the server is asked to end it, or fails).
    Rows,
}

impl Form {
    /// The form of the answer to `command`; `None` if there is none from the server. That of
    /// COM_CHANGE_USER is a dialogue, which is not relayed.
    pub fn of(command: u8) -> Option<Form> {
        match command {
            com::COM_QUIT
            | com::COM_STMT_SEND_LONG_DATA
            | com::COM_STMT_CLOSE
            | com::COM_CHANGE_USER => None,
            com::COM_QUERY | com::COM_PROCESS_INFO => Some(Form::Results),
            com::COM_STMT_EXECUTE | com::COM_STMT_BULK_EXECUTE => Some(Form::Execution),
            com::COM_STMT_PREPARE => Some(Form::Preparation),
            com::COM_STMT_FETCH
            | com::COM_FIELD_LIST
            | com::COM_BINLOG_DUMP
            | com::COM_BINLOG_DUMP_GTID => Some(Form::Rows),
            com::COM_STATISTICS => Some(Form::Text),
            _ => Some(Form::Word),
        }
    }
}

/// An answer that has not ended.
#[derive(Debug, Clone)]
pub struct Answer {
    form: Form,
    place: Place,
    /// The client has [`Capabilities::DEPRECATE_EOF`](super::Capabilities::DEPRECATE_EOF).
    deprecate_eof: bool,
}

/// What a packet was to its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// A part of it.
    Part,
    /// A part with status flags in it.
    Status(u16),
    /// The server wants a file from the client before it goes on.
    WantsFile,
    /// Its end; the status flags, if the command's last packet has any.
    End(Option<u16>),
    /// Its end by an ERR, which has no status flags.
    Failed,
}

/// Why the server's packets cannot be followed any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// More commands wait for their answers than are remembered.
    TooManyAwaited,
    /// A packet came that no command asked for.
    Unasked,
    /// A packet came that an answer of this form does not have.
    Unexpected {
        /// The answer's form.
        form: Form,
        /// The packet's first byte, 0 if it is empty.
        first: u8,
        /// Its length in bytes.
        length: usize,
    },
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lost::TooManyAwaited => write!(f, "too many commands wait for their answers"),
            Lost::Unasked => write!(f, "a packet came that no command asked for"),
            Lost::Unexpected {
                form,
                first,
                length,
            } => write!(
                f,
                "a packet of {length} bytes that begins with {first:#04x} came in an answer of form {form:?}"
            ),
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Place {
    /// Before the first packet of the answer or of its next result.
    Beginning,
    /// So many definitions are due, one at least.
    Definitions { due: u64, then: Then },
    /// The EOF behind definitions is due.
    DefinitionsEnd { then: Then },
    /// Rows, up to their end.
    Rows,
}

/// What stands behind definitions.
#[derive(Debug, Clone, Copy)]
enum Then {
    Rows,
    /// Definitions of so many columns, behind those of the parameters.
    Columns(u16),
    Nothing,
}

impl Answer {
    /// An answer of which nothing has come.
    pub fn new(form: Form, deprecate_eof: bool) -> Answer {
        let place = match form {
            Form::Rows => Place::Rows,
            _ => Place::Beginning,
        };
        Answer {
            form,
            place,
            deprecate_eof,
        }
    }

    /// Takes the next packet, by its front. After an end, nothing is to be asked any more.
    pub fn hear(&mut self, front: &Front) -> Result<Heard, Lost> {
        match (self.place, front.bytes().first()) {
            // No row, no definition, no count and no OK begins like this.
            (_, Some(&ERR)) => Ok(Heard::Failed),
            (Place::Beginning, _) => self.begin(front),
            (Place::Definitions { due, then }, _) => {
                let due = due - 1;
                Ok(match (due, self.deprecate_eof) {
                    (0, true) => self.behind_definitions(then),
                    (0, false) => self.go_on(Place::DefinitionsEnd { then }),
                    (_, _) => self.go_on(Place::Definitions { due, then }),
                })
            }
            (Place::DefinitionsEnd { then }, Some(&EOF)) => {
                let flags = self.status(front)?;
                if self.form == Form::Execution && flags & status::CURSOR_EXISTS != 0 {
                    return Ok(self.end_result(flags));
                }
                Ok(match self.behind_definitions(then) {
                    Heard::Part => Heard::Status(flags),
                    end => end,
                })
            }
            (Place::Rows, Some(&EOF)) if self.ends_rows(front) => {
                let flags = self.status(front)?;
                Ok(self.end_result(flags))
            }
            (Place::Rows, _) => Ok(Heard::Part),
            (Place::DefinitionsEnd { .. }, _) => Err(self.lost(front)),
        }
    }

    fn begin(&mut self, front: &Front) -> Result<Heard, Lost> {
        match (self.form, front.bytes()) {
            (Form::Text, _) => Ok(Heard::End(None)),
            (Form::Preparation, &[OK, _, _, _, _, c0, c1, p0, p1, ..]) => {
                let columns = u16::from_le_bytes([c0, c1]);
                Ok(self.prepared(columns, u16::from_le_bytes([p0, p1])))
            }
            (Form::Preparation, _) => Err(self.lost(front)),
            // A few statements end with EOF instead of OK (MariaDB's SHUTDOWN).
            (_, [OK | EOF, ..]) => {
                let flags = self.status(front)?;
                Ok(self.end_result(flags))
            }
            (Form::Results | Form::Execution, [WANTS_FILE, ..]) => Ok(Heard::WantsFile),
            (Form::Results | Form::Execution, bytes) => {
                let mut count = Cursor::new(bytes);
                match count.lenenc("column count") {
                    Ok(due @ 1..) if count.is_empty() && front.length == bytes.len() => {
                        let then = Then::Rows;
                        Ok(self.go_on(Place::Definitions { due, then }))
                    }
                    _ => Err(self.lost(front)),
                }
            }
            (Form::Word | Form::Rows, _) => Err(self.lost(front)),
        }
    }

    fn prepared(&mut self, columns: u16, parameters: u16) -> Heard {
        match parameters {
            0 => self.behind_definitions(Then::Columns(columns)),
            _ => self.go_on(Place::Definitions {
                due: parameters.into(),
                then: Then::Columns(columns),
            }),
        }
    }

    fn behind_definitions(&mut self, then: Then) -> Heard {
        match then {
            Then::Rows => self.go_on(Place::Rows),
            Then::Nothing | Then::Columns(0) => Heard::End(None),
            Then::Columns(columns) => self.go_on(Place::Definitions {
                due: columns.into(),
                then: Then::Nothing,
            }),
        }
    }

    fn go_on(&mut self, place: Place) -> Heard {
        self.place = place;
        Heard::Part
    }

    /// A result has ended, and with the last of them the answer.
    fn end_result(&mut self, flags: u16) -> Heard {
        let has_results = matches!(self.form, Form::Results | Form::Execution);
        if has_results && flags & status::MORE_RESULTS != 0 {
            self.place = Place::Beginning;
            Heard::Status(flags)
        } else {
            Heard::End(Some(flags))
        }
    }

    /// Whether a packet that begins like an EOF is one. A row that does so begins with a value of
    /// 16 MiB or more.
    fn ends_rows(&self, front: &Front) -> bool {
        match self.deprecate_eof {
            true => front.length < FRAGMENT,
            false => front.length <= MAX_EOF,
        }
    }

    /// The status flags of an OK or EOF. Which of the two it is, the length tells better than the
    /// capability does: servers have sent EOF to clients that want OK (MySQL bug 83346).
    fn status(&self, front: &Front) -> Result<u16, Lost> {
        let parsed: Result<u16, WireError> = match front.bytes() {
            eof @ [EOF, _, _, _, _] => EofPacket::parse(eof).map(|eof| eof.status),
            ok => OkPacket::parse(ok).map(|ok| ok.status),
        };
        parsed.map_err(|_| self.lost(front))
    }

    fn lost(&self, front: &Front) -> Lost {
        Lost::Unexpected {
            form: self.form,
            first: front.bytes().first().copied().unwrap_or(0),
            length: front.length,
        }
    }
}

/// First byte of a LOCAL INFILE request.
const WANTS_FILE: u8 = 0xFB;

/// Longest payload of an EOF packet, in bytes, by the protocol's own rule for telling it from a row.
const MAX_EOF: usize = 8;

//! One answer of a server: where in it we are, and with which packet it ends.
//!
//! ```text
//!            ┌──────────────────── MORE_RESULTS ────────────────────┐
//!            ▼                                                      │
//!        Beginning ── count ─▶ Definitions ─▶ [EOF] ─▶ Rows ─▶ OK/EOF ─▶ end
//!            │                     │                                │
//!            │                     └─ [EOF of a cursor] ────────────┤
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
    /// Packets up to an EOF or ERR: columns of a table, a binary log (which ends only if the server
    /// is asked to end it, or fails).
    Rows,
    /// The same: rows of a cursor, of which there may be more.
    Fetch,
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
            com::COM_STMT_FETCH => Some(Form::Fetch),
            com::COM_FIELD_LIST | com::COM_BINLOG_DUMP | com::COM_BINLOG_DUMP_GTID => {
                Some(Form::Rows)
            }
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
    /// Its end, with rows left in a cursor of the client's; the status flags.
    Cursor(u16),
    /// Its end by an ERR, which has no status flags.
    Failed,
}

/// Why the server's packets cannot be followed any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
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
    Rows {
        /// Another result follows, whatever their end says of that.
        more: bool,
        /// Some have come, or would not come later.
        sent: bool,
    },
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
            Form::Rows | Form::Fetch => ROWS,
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
                if self.form == Form::Execution && is_of_cursor(flags) {
                    return Ok(Heard::Cursor(flags));
                }
                Ok(match self.behind_definitions(then) {
                    Heard::Part => {
                        if let Place::Rows { more, sent } = &mut self.place {
                            *more = is_of_out_parameters(flags);
                            // Of a cursor this packet would have said so.
                            *sent = true;
                        }
                        Heard::Status(flags)
                    }
                    end => end,
                })
            }
            (Place::Rows { more, sent }, Some(&EOF)) if self.ends_rows(front) => {
                let flags = self.status(front)?;
                // Rows that come with an execution are no cursor's, whatever a function in it has had open.
                let may_be_left = self.form == Form::Fetch || self.form == Form::Execution && !sent;
                Ok(match may_be_left && is_of_cursor(flags) {
                    true => Heard::Cursor(flags),
                    false => self.end_result(flags, more),
                })
            }
            (Place::Rows { more, .. }, _) => Ok(self.go_on(Place::Rows { more, sent: true })),
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
                Ok(self.end_result(flags, false))
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
            (Form::Word | Form::Rows | Form::Fetch, _) => Err(self.lost(front)),
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
            Then::Rows => self.go_on(ROWS),
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
    fn end_result(&mut self, flags: u16, more: bool) -> Heard {
        let has_results = matches!(self.form, Form::Results | Form::Execution);
        if has_results && (more || flags & status::MORE_RESULTS != 0) {
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

/// Before the first row.
const ROWS: Place = Place::Rows {
    more: false,
    sent: false,
};

/// Whether rows are left in a cursor of the client's. It opens one for a single SELECT, behind which no
/// result follows; while a procedure has one of its own open, servers say so in whatever it returns.
fn is_of_cursor(flags: u16) -> bool {
    const SAYS_SO: u16 = status::CURSOR_EXISTS;
    const ENDED: u16 = status::MORE_RESULTS | status::LAST_ROW_SENT;
    flags & (SAYS_SO | ENDED) == SAYS_SO
}

/// Whether the rows are what a procedure has put into its parameters. MySQL says in the EOF in front of
/// them that another result follows, and behind them that none does, when one does all the same.
fn is_of_out_parameters(flags: u16) -> bool {
    const BOTH: u16 = status::PS_OUT_PARAMS | status::MORE_RESULTS;
    flags & BOTH == BOTH
}

/// First byte of a LOCAL INFILE request.
const WANTS_FILE: u8 = 0xFB;

/// Longest payload of an EOF packet, in bytes, by the protocol's own rule for telling it from a row.
const MAX_EOF: usize = 8;

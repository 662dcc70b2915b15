//! Following message boundaries through a stream, by headers only.
//!
//! A relay feeds every chunk it forwards to one walker per direction. The walker keeps no body: at
//! most four bytes of a header that was cut, and two counters. It answers what passed, and whether
//! the stream now stands between two messages (only there may a message of ours be put in).

use super::{
    TransactionStatus,
    frame::{HEADER, type_name},
};
use crate::error::WireError;
use crate::sqlstate_class::SqlstateClass;

/// Whose messages a walker follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// A client, after its login.
    Frontend,
    /// A database.
    Backend,
}

/// What passed in one chunk. Messages count when their last byte has passed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Passed {
    /// Complete messages of any type.
    pub messages: u32,
    /// From a client: Query, Execute and FunctionCall.
    pub requests: u32,
    /// From a client: Query, FunctionCall and Sync, each of which asks for one ReadyForQuery (unless
    /// an error before it or a COPY swallows it).
    pub awaits_ready: u32,
    /// From a client: whether the last message that counts left a batch of the extended protocol
    /// open, so that a Sync is still to come.
    pub batch_open: Option<bool>,
    /// From a client: Terminate.
    pub terminate: bool,
    /// From a database: ReadyForQuery.
    pub ready: u32,
    /// From a database: ReadyForQuery that says idle, which is where a transaction has ended.
    pub transactions: u32,
    /// From a database: what the last ReadyForQuery of this chunk said.
    pub status: Option<TransactionStatus>,
    /// From a database: the class of each ErrorResponse. Costs nothing where there was none.
    pub errors: Vec<SqlstateClass>,
    /// From a database: CopyInResponse, after which it ignores Sync until the COPY has ended.
    pub copies: u32,
    /// From a database: an ErrorResponse of severity FATAL or PANIC, after which it closes.
    pub fatal: bool,
}

/// Follows one direction of a connection.
///
/// Invariant: `have < 5`, and `have == 0` while `remaining > 0`.
#[derive(Debug, Clone)]
pub struct Walker {
    kinds: &'static [Kind; 256],
    malformed: &'static str,
    header: [u8; HEADER],
    have: u8,
    class: Class,
    remaining: u32,
    field: ErrorField,
    /// From a client: how many Syncs have passed since the last Execute, if nothing else has but Flush.
    syncs_behind_execute: Option<u32>,
    /// Of the ErrorResponse that is passing.
    sqlstate: SqlstateClass,
}

impl Walker {
    /// Starts between two messages.
    pub fn new(sender: Sender) -> Self {
        let (kinds, malformed) = match sender {
            Sender::Frontend => (&FRONTEND, "message header from the client"),
            Sender::Backend => (&BACKEND, "message header from the database"),
        };
        Walker {
            kinds,
            malformed,
            header: [0; HEADER],
            have: 0,
            class: Class::Other,
            remaining: 0,
            field: ErrorField::Code,
            syncs_behind_execute: None,
            sqlstate: SqlstateClass::OTHER,
        }
    }

    /// Whether the stream stands between two messages.
    pub fn at_boundary(&self) -> bool {
        self.have == 0 && self.remaining == 0
    }

    /// From a client: how many Syncs stand behind its last Execute; `None` if more than Syncs do. Should that Execute
    /// begin a COPY, the database ignores them.
    pub fn syncs_behind_execute(&self) -> Option<u32> {
        self.syncs_behind_execute
    }

    /// Follows one chunk. After an error, which may lie behind messages that were sound, the
    /// boundaries are lost and the stream cannot go on.
    pub fn feed(&mut self, mut chunk: &[u8]) -> Result<Passed, WireError> {
        let mut passed = Passed::default();
        while !chunk.is_empty() {
            if self.remaining == 0 {
                let header = match chunk.split_first_chunk::<HEADER>() {
                    Some((header, rest)) if self.have == 0 => {
                        chunk = rest;
                        *header
                    }
                    _ => match self.gather_header(&mut chunk) {
                        Some(header) => header,
                        None => break,
                    },
                };
                self.begin(header)?;
            }
            let length = chunk.len().min(self.remaining as usize);
            let (body, rest) = chunk.split_at(length);
            chunk = rest;
            // `length` is at most `remaining`, a u32.
            self.remaining -= length as u32;
            match self.class {
                Class::ReadyForQuery => self.read_status(body, &mut passed)?,
                Class::ErrorResponse => self.read_error(body, &mut passed),
                _ => {}
            }
            if self.remaining == 0 {
                self.count(&mut passed);
            }
        }
        Ok(passed)
    }

    /// Moves bytes of a cut header from `chunk` into the store; the header, once it is whole.
    fn gather_header(&mut self, chunk: &mut &[u8]) -> Option<[u8; HEADER]> {
        let have = usize::from(self.have);
        let take = chunk.len().min(HEADER - have);
        let (bytes, rest) = chunk.split_at(take);
        self.header[have..have + take].copy_from_slice(bytes);
        *chunk = rest;
        if have + take < HEADER {
            self.have = (have + take) as u8;
            return None;
        }
        self.have = 0;
        Some(self.header)
    }

    /// Enters a message.
    fn begin(&mut self, [kind, length @ ..]: [u8; HEADER]) -> Result<(), WireError> {
        let length = u32::from_be_bytes(length);
        let Kind { class, limit } = self.kinds[usize::from(kind)];
        // The limit of an unknown type is 0: nothing fits.
        if length < LENGTH || length > limit {
            return Err(self.refuse_header(kind, length, limit));
        }
        if class == Class::ReadyForQuery && length != LENGTH + 1 {
            return Err(WireError::Malformed {
                what: "ReadyForQuery",
            });
        }
        self.class = class;
        self.remaining = length - LENGTH;
        self.field = ErrorField::Code;
        self.sqlstate = SqlstateClass::OTHER;
        Ok(())
    }

    #[cold]
    fn refuse_header(&self, kind: u8, length: u32, limit: u32) -> WireError {
        if limit == 0 {
            WireError::Unexpected {
                expected: "a message type",
                got: type_name(kind),
            }
        } else if length < LENGTH {
            WireError::Malformed {
                what: self.malformed,
            }
        } else {
            WireError::TooLarge {
                what: self.malformed,
                limit: limit as usize,
            }
        }
    }

    /// Notes the single byte of a ReadyForQuery.
    fn read_status(&self, body: &[u8], passed: &mut Passed) -> Result<(), WireError> {
        if let Some(&byte) = body.first() {
            let status = TransactionStatus::from_byte(byte).ok_or(WireError::Malformed {
                what: "ReadyForQuery",
            })?;
            passed.transactions += u32::from(status == TransactionStatus::Idle);
            passed.status = Some(status);
        }
        Ok(())
    }

    /// Looks for field `V`, the severity that is never translated, and `C`, the SQLSTATE. The first
    /// letter of a severity decides: the others (ERROR; warnings come in a NoticeResponse) begin
    /// differently.
    fn read_error(&mut self, body: &[u8], passed: &mut Passed) {
        for &byte in body {
            self.field = match (self.field, byte) {
                (ErrorField::Code, b'V') => ErrorField::Severity,
                (ErrorField::Code, b'C') => ErrorField::Sqlstate,
                (_, 0) => ErrorField::Code,
                (ErrorField::Sqlstate, first) => ErrorField::SqlstateAfter(first),
                (ErrorField::SqlstateAfter(first), second) => {
                    self.sqlstate = SqlstateClass::of(&[first, second]);
                    ErrorField::Text
                }
                (ErrorField::Severity, b'F' | b'P') => {
                    passed.fatal = true;
                    ErrorField::Text
                }
                _ => ErrorField::Text,
            };
        }
    }

    /// Counts the message that has just ended.
    fn count(&mut self, passed: &mut Passed) {
        passed.messages += 1;
        self.syncs_behind_execute = match (self.class, self.syncs_behind_execute) {
            (Class::Execute, _) => Some(0),
            (Class::Sync, Some(syncs)) => Some(syncs + 1),
            (Class::Flush, syncs) => syncs,
            _ => None,
        };
        match self.class {
            Class::Query => {
                passed.requests += 1;
                passed.awaits_ready += 1;
                passed.batch_open = Some(false);
            }
            Class::Sync => {
                passed.awaits_ready += 1;
                passed.batch_open = Some(false);
            }
            Class::Execute => {
                passed.requests += 1;
                passed.batch_open = Some(true);
            }
            Class::Extended => passed.batch_open = Some(true),
            Class::Terminate => passed.terminate = true,
            Class::ReadyForQuery => passed.ready += 1,
            Class::ErrorResponse => passed.errors.push(self.sqlstate),
            Class::CopyIn => passed.copies += 1,
            Class::Flush | Class::Other => {}
        }
    }
}

/// What a walker does with a message type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Query and FunctionCall.
    Query,
    /// Execute.
    Execute,
    /// The other messages of the extended protocol that ask for no ReadyForQuery.
    Extended,
    /// Sync.
    Sync,
    /// Flush.
    Flush,
    Terminate,
    ReadyForQuery,
    ErrorResponse,
    CopyIn,
    Other,
}

/// Where in an ErrorResponse the stream stands.
#[derive(Debug, Clone, Copy)]
enum ErrorField {
    /// At the byte that says which field follows.
    Code,
    /// At the first byte of field `V`.
    Severity,
    /// At the first byte of field `C`.
    Sqlstate,
    /// Behind that byte.
    SqlstateAfter(u8),
    /// In a value that does not matter.
    Text,
}

/// A message type: what to do with it, and the largest value of its length field.
#[derive(Debug, Clone, Copy)]
struct Kind {
    class: Class,
    limit: u32,
}

const fn kinds(groups: &[(&[u8], Class, u32)]) -> [Kind; 256] {
    let mut table = [Kind {
        class: Class::Other,
        limit: 0,
    }; 256];
    let mut group = 0;
    while group < groups.len() {
        let (letters, class, limit) = groups[group];
        let mut letter = 0;
        while letter < letters.len() {
            table[letters[letter] as usize] = Kind { class, limit };
            letter += 1;
        }
        group += 1;
    }
    table
}

/// What a client may send after its login, with the limits of PostgreSQL's `SocketBackend`.
static FRONTEND: [Kind; 256] = kinds(&[
    (b"QF", Class::Query, FRONTEND_LARGE_LIMIT),
    (b"PB", Class::Extended, FRONTEND_LARGE_LIMIT),
    (b"d", Class::Other, FRONTEND_LARGE_LIMIT),
    (b"E", Class::Execute, FRONTEND_SMALL_LIMIT),
    (b"CD", Class::Extended, FRONTEND_SMALL_LIMIT),
    (b"S", Class::Sync, FRONTEND_SMALL_LIMIT),
    (b"X", Class::Terminate, FRONTEND_SMALL_LIMIT),
    (b"H", Class::Flush, FRONTEND_SMALL_LIMIT),
    (b"cf", Class::Other, FRONTEND_SMALL_LIMIT),
]);

/// What a database may send.
static BACKEND: [Kind; 256] = kinds(&[
    (b"Z", Class::ReadyForQuery, BACKEND_LIMIT),
    (b"E", Class::ErrorResponse, BACKEND_LIMIT),
    (b"G", Class::CopyIn, BACKEND_LIMIT),
    (b"123ACDHIKNRSTVWcdnstv", Class::Other, BACKEND_LIMIT),
]);

/// Largest length field of Query, FunctionCall, Parse, Bind and CopyData, in bytes: PostgreSQL's
/// `PQ_LARGE_MESSAGE_LIMIT`.
pub const FRONTEND_LARGE_LIMIT: u32 = 0x3fff_fffe;

/// Largest length field of a client's other messages, in bytes: PostgreSQL's
/// `PQ_SMALL_MESSAGE_LIMIT`.
pub const FRONTEND_SMALL_LIMIT: u32 = 10_000;

/// Largest length field of a database's message, in bytes: the largest buffer PostgreSQL
/// allocates, and the length itself.
pub const BACKEND_LIMIT: u32 = 0x3fff_ffff + LENGTH;

/// Bytes of a length field, which counts itself.
const LENGTH: u32 = 4;

#[cfg(test)]
mod tests;

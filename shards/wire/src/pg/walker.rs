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
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn walk(sender: Sender, chunk: &[u8]) -> Result<Passed, WireError> {
        Walker::new(sender).feed(chunk)
    }

    #[test]
    fn replies_of_a_query_are_counted() {
        let replies = b"C\0\0\0\x0bSELECT\0Z\0\0\0\x05IE\0\0\0\x0cVERROR\0\0Z\0\0\0\x05T";
        let mut walker = Walker::new(Sender::Backend);
        let passed = walker.feed(replies).unwrap();
        assert!(walker.at_boundary());
        assert_eq!(
            passed,
            Passed {
                messages: 4,
                ready: 2,
                transactions: 1,
                status: Some(TransactionStatus::InBlock),
                errors: vec![SqlstateClass::OTHER],
                ..Passed::default()
            }
        );
    }

    #[test]
    fn what_asks_for_ready_for_query_is_counted() {
        let batch = b"P\0\0\0\x08\0\0\0\0B\0\0\0\x04E\0\0\0\x04";
        let passed = walk(Sender::Frontend, batch).unwrap();
        assert_eq!((passed.awaits_ready, passed.batch_open), (0, Some(true)));
        let synced = [&batch[..], b"S\0\0\0\x04Q\0\0\0\x05\0"].concat();
        let passed = walk(Sender::Frontend, &synced).unwrap();
        assert_eq!((passed.awaits_ready, passed.batch_open), (2, Some(false)));
        assert_eq!(
            walk(Sender::Frontend, b"d\0\0\0\x04").unwrap().batch_open,
            None
        );
    }

    #[test]
    fn syncs_behind_an_execute_are_counted() {
        let mut walker = Walker::new(Sender::Frontend);
        let mut syncs_behind = |said: &[u8]| {
            walker.feed(said).unwrap();
            walker.syncs_behind_execute()
        };
        assert_eq!(syncs_behind(b"S\0\0\0\x04"), None);
        assert_eq!(syncs_behind(b"E\0\0\0\x09\0\0\0\0\0S\0\0\0\x04"), Some(1));
        assert_eq!(syncs_behind(b"H\0\0\0\x04S\0\0\0\x04"), Some(2));
        assert_eq!(syncs_behind(b"d\0\0\0\x04S\0\0\0\x04"), None);
        assert_eq!(syncs_behind(b"E\0\0\0\x09\0\0\0\0\0"), Some(0));
        assert_eq!(syncs_behind(b"Q\0\0\0\x06;\0"), None);
    }

    #[test]
    fn fatal_is_seen_by_the_untranslated_severity() {
        for (body, fatal) in [
            (&b"SFATAL\0VFATAL\0C57P01\0Mbye\0\0"[..], true),
            (b"SPANIK\0VPANIC\0\0", true),
            (b"SFEHLER\0VERROR\0MVFATAL\0\0", false),
            (b"SFATAL\0\0", false),
            (b"", false),
            (b"V", false),
        ] {
            let mut message = vec![b'E'];
            message.extend(((body.len() + 4) as u32).to_be_bytes());
            message.extend(body);
            assert_eq!(
                walk(Sender::Backend, &message).unwrap().fatal,
                fatal,
                "{body:?}"
            );
        }
    }

    #[test]
    fn each_error_is_read_from_its_own_beginning() {
        let broken_then_fatal = b"E\0\0\0\x06C2E\0\0\0\x0cVFATAL\0\0";
        let passed = walk(Sender::Backend, broken_then_fatal).unwrap();
        assert!(passed.fatal);
        assert_eq!(passed.errors, [SqlstateClass::OTHER; 2]);
    }

    #[test]
    fn each_error_counts_by_its_class_wherever_it_is_cut() {
        let errors = b"E\0\0\0\x1aSERROR\0VERROR\0C23505\0\0E\0\0\0\x11C\0MC42\0C42P\0\0";
        let classes = [b"23", b"42"].map(|class| SqlstateClass::of(class));
        for cut in 0..=errors.len() {
            let mut walker = Walker::new(Sender::Backend);
            let (front, back) = errors.split_at(cut);
            let mut heard = walker.feed(front).unwrap().errors;
            heard.extend(walker.feed(back).unwrap().errors);
            assert!(walker.at_boundary());
            assert_eq!(heard, classes, "cut at {cut}");
        }
    }

    #[test]
    fn a_boundary_lies_only_between_messages() {
        let mut walker = Walker::new(Sender::Frontend);
        for (byte, boundary) in b"Q\0\0\0\x06;\0S\0\0\0\x04".iter().zip([
            false, false, false, false, false, false, true, false, false, false, false, true,
        ]) {
            let _ = walker.feed(&[*byte]).unwrap();
            assert_eq!(walker.at_boundary(), boundary);
        }
    }

    #[test]
    fn limits_are_those_of_the_server() {
        let header = |kind: u8, length: u32| {
            let mut header = vec![kind];
            header.extend(length.to_be_bytes());
            header
        };
        for (sender, kind, length, good) in [
            (Sender::Frontend, b'Q', FRONTEND_LARGE_LIMIT, true),
            (Sender::Frontend, b'Q', FRONTEND_LARGE_LIMIT + 1, false),
            (Sender::Frontend, b'Q', 3, false),
            (Sender::Frontend, b'Q', u32::MAX, false),
            (Sender::Frontend, b'S', 10_000, true),
            (Sender::Frontend, b'S', 10_001, false),
            (Sender::Frontend, b'p', 4, false),
            (Sender::Frontend, b'Z', 5, false),
            (Sender::Backend, b'D', BACKEND_LIMIT, true),
            (Sender::Backend, b'D', BACKEND_LIMIT + 1, false),
            (Sender::Backend, b'D', 0, false),
            (Sender::Backend, b'Z', 4, false),
            (Sender::Backend, b'Z', 6, false),
            (Sender::Backend, b'Q', 6, false),
        ] {
            assert_eq!(
                walk(sender, &header(kind, length)).is_ok(),
                good,
                "{kind} {length}"
            );
        }
        assert!(walk(Sender::Backend, b"Z\0\0\0\x05x").is_err());
    }

    #[test]
    fn requests_and_terminate_are_seen() {
        let passed = walk(
            Sender::Frontend,
            b"P\0\0\0\x08\0;\0\0B\0\0\0\x0a\0\0\0\0\0\0E\0\0\0\x09\0\0\0\0\0S\0\0\0\x04X\0\0\0\x04",
        )
        .unwrap();
        assert_eq!(
            (passed.messages, passed.requests, passed.terminate),
            (5, 1, true)
        );
    }
}

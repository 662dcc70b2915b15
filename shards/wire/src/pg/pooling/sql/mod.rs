//! As much SQL as is needed to see state being made: not what statements compute, but whether they
//! leave something behind in the session.
//!
//! [`read`] goes once through a text and gives one [`Step`] for each statement in it. Most texts
//! leave nothing behind; for them nothing is allocated. What it cannot tell for sure it takes for
//! the worst that it may be.

mod assign;
mod bound;
mod calls;
mod characteristics;
mod code;
mod interval;
mod lexer;
mod literal;
mod plain;
mod statement;
mod verdict;
mod vocabulary;
mod words;

use bound::Bound;
pub(super) use bound::SEED;
use lexer::{Lexer, Token};
pub(super) use literal::{Encoding, Value};
pub(super) use plain::PlainTexts;

use std::ops::Range;
use std::rc::Rc;

use bytes::Bytes;

use super::pins::{Pin, Pins};
use super::prepared::Key;
use statement::Reader;

/// What the statements of one text do to the session, in order.
///
/// A statement completes with one CommandComplete (or EmptyQueryResponse, if there is none at all),
/// so the n-th CommandComplete of a Query belongs to the n-th step.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// One for each statement that is not empty. A text too long to be read has none.
    pub steps: Vec<Step>,
}

impl Script {
    /// Whether it says nothing, because the text was too long or could not be read.
    pub fn is_unread(&self) -> bool {
        self.steps.is_empty()
    }

    /// Whether the client may be asked for data.
    pub fn may_copy(&self) -> bool {
        self.is_unread() || self.steps.iter().any(|step| step.act == Act::CopyIn)
    }
}

/// What one statement does to the session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Step {
    /// What it does when it succeeds.
    pub act: Act,
    /// What it may leave behind even if it fails or is rolled back.
    pub pins: Pins,
    /// It may give advisory locks back.
    pub unlocks: bool,
}

/// What a statement does to the session when it succeeds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Act {
    /// Nothing that outlives its transaction.
    #[default]
    Plain,
    /// COMMIT, END, PREPARE TRANSACTION: what was done since BEGIN stays.
    Commit,
    /// ROLLBACK, ABORT: it is undone.
    Rollback,
    /// SAVEPOINT.
    Savepoint(Bytes),
    /// ROLLBACK TO SAVEPOINT.
    RollbackTo(Bytes),
    /// RELEASE SAVEPOINT.
    Release(Bytes),
    /// SET in all its forms, RESET of one setting, `set_config` with literals, or with what a Bind has said.
    Assign(Vec<Assignment>),
    /// `set_config` with parameters: a Bind says what is set.
    AssignBound(Vec<Bound>),
    /// RESET ALL.
    ResetAll,
    /// State that a rollback takes away again: LISTEN, DECLARE … WITH HOLD, CREATE TEMPORARY; and whatever is made by
    /// statements that are not known, behind which the backend is cleaned in any case.
    Makes(Pin),
    /// UNLISTEN *, CLOSE ALL, DISCARD TEMP, DISCARD SEQUENCES.
    Ends(Pin),
    /// COPY … FROM STDIN, which asks the client for data before it completes.
    CopyIn,
    /// SQL PREPARE.
    Prepare(Bytes),
    /// DEALLOCATE of one statement; the key if the text was made to say a shared statement's name.
    Deallocate(Bytes, Option<Key>),
    /// DEALLOCATE ALL.
    DeallocateAll,
    /// DISCARD ALL.
    DiscardAll,
}

/// One setting set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// In lower case, made of [`is_setting_name`] bytes.
    pub name: Rc<str>,
    /// To what; `None` for the default.
    pub value: Option<Value>,
    /// Whether only until the end of the transaction.
    pub local: bool,
}

/// A place in the text where a prepared statement is named: by EXECUTE or DEALLOCATE.
#[derive(Debug, PartialEq, Eq)]
pub struct Mention {
    /// Where the name stands, quotes included.
    pub at: Range<usize>,
    /// The name that is meant.
    pub name: Bytes,
    /// In which step.
    pub step: usize,
}

/// What was read in a text.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// `None` if all steps are plain and pin nothing.
    pub script: Option<Script>,
    /// How many statements there are; 0 as well where the text was known to do nothing.
    pub count: usize,
    /// Prepared statements that are named, in order.
    pub mentions: Vec<Mention>,
    /// What may be left behind by what cannot be seen.
    pub traces: Traces,
}

impl Reading {
    /// Of a text that cannot be read.
    pub fn unread() -> Reading {
        Reading {
            script: Some(Script::default()),
            count: 0,
            mentions: Vec::new(),
            traces: Traces::ALL,
        }
    }
}

/// What a text may leave behind beside what its steps say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traces {
    /// It may draw values of sequences.
    pub draws: bool,
    /// It calls functions that are not PostgreSQL's own, which may do anything.
    pub calls: bool,
    /// It may set, to what cannot be told, what decides what statements mean: until the end of the transaction.
    pub obscures: bool,
    /// It may set, to what cannot be told, how texts are to be read, without calling such functions.
    pub respells: bool,
}

impl Traces {
    /// Of a text that leaves nothing.
    pub const NONE: Traces = Traces {
        draws: false,
        calls: false,
        obscures: false,
        respells: false,
    };

    /// Of a text that cannot be read.
    pub const ALL: Traces = Traces {
        draws: true,
        calls: true,
        obscures: true,
        respells: false,
    };
}

/// How the bytes of a text are to be read.
#[derive(Debug, Clone, Copy)]
pub struct Dialect<'a> {
    /// `standard_conforming_strings` is off: a backslash escapes in every literal.
    pub backslash_escapes: bool,
    /// The value of `client_encoding`.
    pub encoding: Encoding<'a>,
}

impl Dialect<'_> {
    /// The one that nearly all texts are in.
    pub const USUAL: Dialect<'static> = Dialect {
        backslash_escapes: false,
        encoding: Encoding::UTF8,
    };

    /// Whether it is the usual one, of which [`PlainTexts`] are kept.
    pub fn is_usual(self) -> bool {
        !self.backslash_escapes && self.encoding == Encoding::UTF8
    }
}

/// Reads a text.
pub fn read(text: &[u8], dialect: Dialect<'_>) -> Reading {
    if dialect.encoding.hides_ascii() && text.iter().any(|&byte| byte >= 0x80) {
        // In these encodings the second byte of a character may look like a backslash, so that the
        // end of a literal cannot be told without decoding.
        return Reading::unread();
    }
    Reader::new(text, dialect).read()
}

/// Whether a statement is one that PostgreSQL plans, and looks at again when what it names has changed. The others
/// (SHOW, FETCH, EXPLAIN, EXECUTE) return whatever they return when they are run.
pub fn is_planned(text: &[u8]) -> bool {
    let mut lexer = Lexer::new(text, false);
    loop {
        match lexer.next_token() {
            Some((Token::Symbol(b'('), _)) => {}
            Some((Token::Word(word), _)) => {
                return PLANNED.iter().any(|known| word.eq_ignore_ascii_case(known));
            }
            _ => return false,
        }
    }
}

/// How such statements begin.
const PLANNED: [&[u8]; 8] = [
    b"SELECT", b"WITH", b"VALUES", b"TABLE", b"INSERT", b"UPDATE", b"DELETE", b"MERGE",
];

/// Whether a byte may stand in the name of a setting that is followed. (PostgreSQL allows letters
/// beyond ASCII; such a name pins.)
pub(super) fn is_setting_name(name: &[u8]) -> bool {
    !name.is_empty()
        && name.len() <= SETTING_NAME_LIMIT
        && name
            .iter()
            .all(|&byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'$'))
}

/// The name that a setting has today, by one that it may be called by, both in lower case (`map_old_guc_names` in
/// `guc.c`).
pub(super) fn present_name(name: &str) -> &str {
    match name {
        "sort_mem" => "work_mem",
        "vacuum_mem" => "maintenance_work_mem",
        name => name,
    }
}

/// Longest name of a setting that is followed, in bytes.
const SETTING_NAME_LIMIT: usize = 256;

#[cfg(test)]
mod tests;

//! Whether what pins a client is still there: the database is asked, once something may have ended it.
//!
//! A cursor is closed by its name, a temporary table dropped (or gone with its transaction), a lock given back or
//! never got, one of several channels listened to no longer. What then is left, the database knows best. It is asked
//! when the client rests: so nobody waits for the answer, unless the client goes on in that very moment.

use super::super::changes::Unnamed;
use super::super::pins::{Pin, Pins};
use super::super::replies::{Owed, To, What};
use super::super::request::put_query;
use super::super::restore;
use super::super::sql::{Act, Step};
use super::Tracker;
use super::link::Link;
use crate::pg::TransactionStatus;

impl Link {
    /// Whether what the backend says now answers our question.
    pub(super) fn is_asking(&self) -> bool {
        let ours = |owed: &Owed| owed.what == What::Query && owed.to == To::Nobody;
        !self.asked_about.is_empty() && self.replies.front().is_some_and(ours)
    }
}

/// What may have ended with a statement that has this tag.
pub(super) fn ended_by(tag: &[u8]) -> Pins {
    let pin = match tag {
        [b'C', ..] if tag.starts_with(b"CLOSE CURSOR") => Pin::HoldCursor,
        [b'D', ..] if tag.starts_with(b"DROP ") => Pin::TemporaryTable,
        [b'U', ..] if tag.starts_with(b"UNLISTEN") => Pin::Listen,
        _ => return Pins::NONE,
    };
    Pins::from_iter([pin])
}

impl Step {
    /// What it may have ended, or made only so that it is gone by now: a lock that it did not get, a table that does
    /// not outlive the transaction.
    pub(super) fn may_have_ended(&self) -> Pins {
        let mut pins = Pins::NONE;
        if self.unlocks || self.pins.contains(Pin::AdvisoryLock) {
            pins.insert(Pin::AdvisoryLock);
        }
        if self.act == Act::Makes(Pin::TemporaryTable) {
            pins.insert(Pin::TemporaryTable);
        }
        pins
    }
}

impl Tracker {
    /// Asks, if the client rests and all that pins it may be asked about.
    pub(super) fn ask_what_is_left(&mut self, to_backend: &mut bytes::BytesMut) {
        let doubted = match &self.link {
            Some(link) if !link.doubted.is_empty() && link.is_done() => link.doubted,
            _ => return,
        };
        let idle = self.status == TransactionStatus::Idle;
        if !idle || self.tail.is_some() || !self.kept.is_empty() {
            return;
        }
        let pins = self.pins();
        let known = |pin| QUESTIONS.iter().any(|&(known, _)| known == pin);
        let asked: Pins = pins.iter().filter(|&pin| doubted.contains(pin)).collect();
        if !pins.iter().all(known) {
            return;
        }
        let Some(link) = &mut self.link else {
            return;
        };
        link.doubted = Pins::NONE;
        if asked.is_empty() {
            return;
        }
        let questions = QUESTIONS.iter().filter(|&&(pin, _)| asked.contains(pin));
        let questions: Vec<&str> = questions.map(|&(_, question)| question).collect();
        let begin = restore::begin(self.settings.actual());
        let sql = format!("{begin}SELECT {}", questions.join(", "));
        put_query(to_backend, sql.as_bytes());
        // As with every Query; the client still has its own.
        link.memory.unnamed = Unnamed::Absent;
        link.asked_about = asked;
        link.push(Owed::new(What::Query, To::Nobody));
    }

    /// The row that answers.
    pub(super) fn hear_what_is_left(&mut self, row: &[u8]) {
        let Some(link) = &mut self.link else {
            return;
        };
        let asked = std::mem::take(&mut link.asked_about);
        let mut values = row.get(2..).unwrap_or_default();
        for &(pin, _) in QUESTIONS.iter().filter(|&&(pin, _)| asked.contains(pin)) {
            let [0, 0, 0, 1, value, rest @ ..] = values else {
                break;
            };
            values = rest;
            if *value != b'f' {
                continue;
            }
            self.lasting.remove(pin);
            self.settings.end(pin);
            if let (Pin::TemporaryTable, Some(link)) = (pin, &mut self.link) {
                // What was prepared meanwhile may have meant it.
                link.memory.prepared.age();
            }
        }
        // No transaction is open: the client rested, and what it has said since is not answered yet.
        self.settings.commit();
    }
}

/// What there is left of each kind. The schema of temporary objects is depended on by all that is in it.
const QUESTIONS: [(Pin, &str); 4] = [
    (
        Pin::Listen,
        "EXISTS(SELECT FROM pg_catalog.pg_listening_channels())",
    ),
    (
        Pin::HoldCursor,
        "EXISTS(SELECT FROM pg_catalog.pg_cursors WHERE is_holdable)",
    ),
    (
        Pin::TemporaryTable,
        "EXISTS(SELECT FROM pg_catalog.pg_depend \
         WHERE refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass \
         AND refobjid = pg_catalog.pg_my_temp_schema())",
    ),
    (
        Pin::AdvisoryLock,
        "EXISTS(SELECT FROM pg_catalog.pg_locks \
         WHERE locktype = 'advisory' AND pid = pg_catalog.pg_backend_pid())",
    ),
];

/// How much of the answer is kept, in bytes.
pub(super) const ANSWER_LIMIT: usize = 64;

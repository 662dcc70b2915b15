//! What statements have done to the session, now that they have succeeded.

use super::super::changes::{Change, Values};
use super::super::names::Named;
use super::super::pins::{Pin, Pins};
use super::super::portals::Portals;
use super::super::prepared::PREFIX;
use super::super::replies::{Owed, To};
use super::super::sql::{Act, Step};
use super::Tracker;
use super::asking::ended_by;
use super::link::Link;
use crate::pg::TransactionStatus;

impl Tracker {
    /// CommandComplete, PortalSuspended or EmptyQueryResponse of what is at the front.
    pub(super) fn statement_done(&mut self, kind: u8, body: &[u8]) {
        if kind == b'C' && may_change_schema(body) {
            self.commons.schema_changed();
        }
        let made = self.may_create_temporary() && kind == b'C' && may_make_a_table(body);
        if made {
            self.settings.make(Pin::TemporaryTable);
        }
        let Some(link) = &mut self.link else {
            return;
        };
        if self.portals.are_touched() && kind == b'C' && may_have_run_one(body, &self.portals, link)
        {
            self.lasting.insert(Pin::Unknown);
        }
        let Some(front) = link.replies.front_mut() else {
            return;
        };
        // The end of a COPY is a CommandComplete.
        link.copy = super::link::Copy::No;
        if kind == b'C' {
            link.doubted = link.doubted.union(ended_by(body));
        }
        if made {
            // Whether it did, the database is asked.
            link.doubted = link.doubted.union(Pins::from_iter([Pin::TemporaryTable]));
        }
        if !front.is_followed() || kind == b'I' {
            return;
        }
        let Some((script, at)) = front.take_step() else {
            self.lasting.insert(Pin::Unknown);
            return;
        };
        let step = &script.steps[at];
        link.doubted = link.doubted.union(step.may_have_ended());
        let tag = body.strip_suffix(b"\0").unwrap_or(body);
        let as_read = kind == b's' || step.act.completes_with(tag);
        self.lasting = self.lasting.union(step.pins);
        if as_read {
            let pins = self.settings.pins();
            self.apply(step, tag);
            self.temporary_tables_gone_since(pins);
        } else {
            // The text was misread somewhere; then nothing is known of what it did.
            self.lasting.insert(Pin::Unknown);
        }
    }

    /// Whether what the client's statement at the front creates without a schema may be temporary: by the search path
    /// that is known, or because nobody knows which it is. (Behind functions of the tenant's own all is cleaned anyway, save with
    /// `reset: never`.)
    fn may_create_temporary(&self) -> bool {
        let Some(link) = &self.link else {
            return false;
        };
        let unknown = || {
            self.pins().contains(Pin::Setting) || link.memory.prepared.is_uncertain() && !link.calls
        };
        // What we ask makes nothing.
        let clients = || {
            let front = link.replies.front();
            front.is_some_and(|front| front.to == To::Client)
        };
        (self.settings.may_create_temporary() || unknown()) && clients()
    }

    fn apply(&mut self, step: &Step, tag: &[u8]) {
        match &step.act {
            Act::Plain | Act::CopyIn => {}
            Act::Commit if tag == b"ROLLBACK" => self.settings.rollback(),
            Act::Commit => self.settings.commit(),
            Act::Rollback => self.settings.rollback(),
            Act::Savepoint(name) => self.settings.savepoint(name),
            Act::RollbackTo(name) => self.settings.rollback_to(name),
            Act::Release(name) => self.settings.release_savepoint(name),
            Act::Assign(assignments) => {
                for assignment in assignments {
                    self.settings.assign(assignment);
                }
            }
            // What it is, nobody has told (EXECUTE), or not so that it could be read.
            Act::AssignBound(all) if all.iter().any(|one| !one.local) => {
                self.lasting.insert(Pin::Setting);
            }
            Act::AssignBound(_) => {}
            Act::ResetAll => self.settings.reset_all(),
            Act::Makes(pin) => {
                self.settings.make(*pin);
                if let (Pin::TemporaryTable, Some(link)) = (pin, &mut self.link) {
                    // It stands before a table of the same name that statements may mean.
                    link.memory.prepared.age();
                }
            }
            Act::Ends(pin) => {
                self.settings.end(*pin);
                self.lasting.remove(*pin);
                if *pin == Pin::SequenceValue {
                    self.forget_values();
                }
            }
            Act::Prepare(_) if self.is_full_of_names() => {
                self.lasting.insert(Pin::Unknown);
            }
            Act::Prepare(name) => {
                self.names.set(name, Some(Named::BySql));
            }
            Act::Deallocate(name, key) => {
                self.names.set(name, None);
                let Some(link) = &mut self.link else {
                    return;
                };
                match key {
                    Some(key) => {
                        link.memory.prepared.remove(key);
                    }
                    None if name.starts_with(PREFIX.as_bytes()) => {
                        link.memory.prepared.forget_named(name);
                    }
                    None => {}
                }
            }
            Act::DeallocateAll => self.deallocate_all(),
            Act::DiscardAll => {
                self.deallocate_all();
                self.settings.discard_all();
                // It is committed at once, whatever becomes of the batch that it stands in.
                self.settings.commit();
                self.portals.clear();
                self.lasting = self.lasting.for_good();
                self.forget_values();
                if let Some(link) = &mut self.link {
                    (link.calls, link.respells) = (false, false);
                }
            }
        }
    }

    /// ReadyForQuery: all that was asked by the message at the front is done, or has failed.
    pub(super) fn statements_over(&mut self) {
        let front = self.link.as_deref().and_then(|link| link.replies.front());
        if front.is_some_and(Owed::has_steps_left) {
            // The text was misread: there are fewer statements in it.
            self.lasting.insert(Pin::Unknown);
        }
        if self.status == TransactionStatus::Idle {
            let pins = self.settings.pins();
            self.settings.idle();
            self.temporary_tables_gone_since(pins);
        }
    }

    /// If temporary tables that there were have just gone, what was prepared meanwhile may have meant them.
    #[inline]
    fn temporary_tables_gone_since(&mut self, pins: Pins) {
        let were = pins.contains(Pin::TemporaryTable);
        if were
            && !self.settings.pins().contains(Pin::TemporaryTable)
            && let Some(link) = &mut self.link
        {
            link.memory.prepared.age();
        }
    }

    /// The backend has forgotten the values of sequences.
    fn forget_values(&mut self) {
        if let Some(link) = &mut self.link {
            link.strangers = false;
            // What the client has drawn since then, it keeps.
            if link.values == Values::Others {
                link.values = Values::Unknown;
            }
        }
    }

    fn deallocate_all(&mut self) {
        self.names.clear();
        if let Some(link) = &mut self.link {
            link.memory.prepared.clear();
        }
    }
}

/// Whether a statement with this tag may have run a portal of the protocol that does something, since SQL's cursors are
/// called by the same names; or have made another one of a name that SQL has closed.
fn may_have_run_one(tag: &[u8], portals: &Portals, link: &Link) -> bool {
    let tags: [&[u8]; 3] = [b"FETCH ", b"MOVE ", b"DECLARE CURSOR"];
    if !tags.iter().any(|begin| tag.starts_with(begin)) {
        return false;
    }
    // There is one, or has been when this was said.
    let was = |change: &Change| match change {
        Change::Portal { name, before } => !name.is_empty() && before.is_some(),
        _ => false,
    };
    portals.any_named() || link.replies.has_change(was)
}

/// Whether a statement with this tag may have made a table: CREATE TABLE AS and SELECT INTO say how many rows they
/// selected, EXPLAIN ANALYZE runs one of these, and code of a DO may hold any of them.
fn may_make_a_table(tag: &[u8]) -> bool {
    let tags: [&[u8]; 4] = [b"SELECT", b"CREATE ", b"EXPLAIN", b"DO"];
    tags.iter().any(|begin| tag.starts_with(begin))
}

/// Whether a statement with this tag may have changed what other statements mean.
fn may_change_schema(tag: &[u8]) -> bool {
    let words: &[&[u8]] = match tag.first() {
        Some(b'A') => &[b"ALTER "],
        Some(b'C') => &[b"CREATE ", b"CALL"],
        Some(b'D') => &[b"DROP ", b"DO"],
        Some(b'I') => &[b"IMPORT "],
        _ => &[],
    };
    words.iter().any(|word| tag.starts_with(word))
}

impl Act {
    /// Whether a statement that does this completes with such a tag.
    fn completes_with(&self, tag: &[u8]) -> bool {
        let starts = |words: &[&str]| words.iter().any(|word| tag.starts_with(word.as_bytes()));
        match self {
            Act::Plain | Act::CopyIn | Act::Makes(_) => true,
            Act::Commit => starts(&["COMMIT", "ROLLBACK", "PREPARE TRANSACTION"]),
            Act::Rollback | Act::RollbackTo(_) => starts(&["ROLLBACK"]),
            Act::Savepoint(_) => starts(&["SAVEPOINT"]),
            Act::Release(_) => starts(&["RELEASE"]),
            Act::Assign(_) | Act::AssignBound(_) => starts(&["SET", "RESET", "SELECT"]),
            Act::ResetAll => starts(&["RESET"]),
            Act::Ends(_) => starts(&["UNLISTEN", "CLOSE CURSOR", "DISCARD"]),
            Act::Prepare(_) => starts(&["PREPARE"]),
            Act::Deallocate(..) | Act::DeallocateAll => starts(&["DEALLOCATE"]),
            Act::DiscardAll => starts(&["DISCARD ALL"]),
        }
    }
}

impl Pins {
    /// What may stay even of a statement that failed, since no rollback takes it back: locks, libraries, connections of
    /// dblink's and the seed, wherever in it the error was; and what nobody knows, which may be any of these.
    pub(super) fn that_survive_errors(self) -> Pins {
        [Pin::AdvisoryLock, Pin::Load, Pin::RandomSeed, Pin::Unknown]
            .into_iter()
            .filter(|&pin| self.contains(pin))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::sql::{Dialect, read};
    use super::*;

    #[test]
    fn what_no_rollback_takes_back_survives_an_error() {
        for (text, stays) in [
            (
                "SELECT dblink_connect('c', 'dbname=x'), 1 / (a - a) FROM t",
                Pin::Load,
            ),
            ("SELECT setseed(0.5), 1 / (a - a) FROM t", Pin::RandomSeed),
            (
                "DO $$ BEGIN PERFORM dblink_connect('c', 'dbname=x'), 1 / 0; END $$",
                Pin::Load,
            ),
        ] {
            let script = read(text.as_bytes(), Dialect::USUAL).script;
            let steps = script.map_or_else(Vec::new, |script| script.steps);
            let survives = |step: &Step| step.pins.that_survive_errors().contains(stays);
            assert!(steps.iter().any(survives), "{text}");
        }
    }
}

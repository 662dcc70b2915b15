//! Seeing to it that the backend has the statement that a message names.

use std::rc::Rc;

use bytes::{Bytes, BytesMut};

use super::super::names::Named;
use super::super::outbound::Passing;
use super::super::pins::{Pin, Pins};
use super::super::prepared::{Key, PREFIX, own_name};
use super::super::replies::{Change, Owed, To, Unnamed, What};
use super::super::request::{put_about_statement, put_bare, put_parse, string};
use super::super::settings::CONTEXT;
use super::super::sql::{self, Act, Assignment, Dialect, Mention, Reading, Script, Step};
use super::super::statement::{Draft, Statement};
use super::Tracker;

/// What a client's name for a statement means on the attached backend.
pub(super) struct Meant {
    /// What it is called there, if otherwise than the client calls it.
    pub(super) server_name: Option<Bytes>,
    /// What its execution does to the session.
    pub(super) script: Option<Rc<Script>>,
}

impl Tracker {
    /// Sees to it that the backend has the statement that the client means by `name`. If there is
    /// none the backend will say so. `None` if a reply must come first.
    pub(super) fn provide(&mut self, name: &[u8], input: &mut Passing<'_>) -> Option<Meant> {
        if name.is_empty() {
            return self.provide_unnamed(input);
        }
        let concerned =
            |change: &Change| matches!(change, Change::Name { name: other, .. } if other == name);
        if self.is_undecided(concerned) {
            return None;
        }
        match self.names.get(name) {
            Some(Named::Shared(statement, epoch)) => {
                let (statement, epoch) = (Rc::clone(statement), *epoch);
                let key = self.key(&statement);
                if self.is_undecided(|change| is_about_key(change, &key)) {
                    return None;
                }
                if let Some(needed) = &statement.needs {
                    self.provide_here(needed, 0, input);
                }
                self.provide_here(&key, epoch, input);
                Some(Meant {
                    server_name: Some(key.server_name()),
                    script: statement.script.clone(),
                })
            }
            named => {
                let script = match named {
                    Some(Named::Own(script)) => script.clone(),
                    _ => None,
                };
                let own = own_name(name);
                Some(Meant {
                    server_name: (own != name).then_some(own),
                    script,
                })
            }
        }
    }

    fn provide_unnamed(&mut self, input: &mut Passing<'_>) -> Option<Meant> {
        if self.is_undecided(|change| matches!(change, Change::Unnamed { .. })) {
            return None;
        }
        let there = self.link.as_ref().map(|link| link.memory.unnamed.clone());
        let there = there.unwrap_or_default();
        let unnamed = self.unnamed.clone();
        let script = match &unnamed {
            Unnamed::Known(statement) => {
                if let Some(needed) = &statement.needs {
                    self.provide_here(needed, 0, input);
                }
                if there != unnamed {
                    put_parse(input.ours(), b"", &statement.source);
                    self.push_unnamed(What::Parse, unnamed.clone());
                }
                statement.script.clone()
            }
            Unnamed::Absent => {
                if there != Unnamed::Absent {
                    // Somebody else's; the client must hear that it has none.
                    put_about_statement(input.ours(), b'C', b"");
                    self.push_unnamed(What::Close, Unnamed::Absent);
                }
                None
            }
            Unnamed::Unknown => Some(Rc::default()),
        };
        Some(Meant {
            server_name: None,
            script,
        })
    }

    /// Notes a message of ours that changes the backend's unnamed statement to this.
    fn push_unnamed(&mut self, what: What, unnamed: Unnamed) {
        let mut owed = Owed::new(what, To::NobodyUnlessError);
        owed.changes
            .extend(self.change_unnamed(self.unnamed.clone(), unnamed));
        self.push_extended(owed);
    }

    /// Prepares a shared statement, as part of the client's batch, unless the backend has it.
    fn provide_here(&mut self, key: &Key, epoch: u64, input: &mut Passing<'_>) {
        if !self.has(key, epoch) {
            let now = self.commons.epoch();
            let owed = self.prepare(key, now, To::NobodyUnlessError, input.ours());
            self.push_extended(owed);
        }
    }

    /// Prepares a shared statement in a batch of its own, which may fail without consequences: the
    /// Query behind it will then fail by itself.
    pub(super) fn provide_apart(&mut self, key: &Key, input: &mut Passing<'_>) {
        let certain = !self.is_undecided(|change| is_about_key(change, key));
        if certain && self.has(key, 0) {
            return;
        }
        let Some(batch_open) = self.link.as_ref().map(|link| link.batch_open) else {
            return;
        };
        if batch_open {
            // A Sync would end the client's own batch.
            return self.provide_here(key, u64::MAX, input);
        }
        let owed = self.prepare(key, self.commons.epoch(), To::Nobody, input.ours());
        self.push(owed);
        put_bare(input.ours(), b'S');
        self.push(Owed::new(What::Sync, To::Nobody));
    }

    /// Whether the backend has a statement, prepared no earlier than this. Counts as a use.
    fn has(&mut self, key: &Key, epoch: u64) -> bool {
        let Some(link) = &mut self.link else {
            return false;
        };
        let entry = link.memory.prepared.touch(key);
        entry.is_some_and(|entry| entry.epoch >= epoch)
    }

    /// Sends a Parse of a shared statement, and whatever must go before it. What is owed for the
    /// Parse itself is the caller's to push.
    pub(super) fn prepare(
        &mut self,
        key: &Key,
        epoch: u64,
        to: To,
        to_backend: &mut BytesMut,
    ) -> Owed {
        let limit = self.commons.rules().max_prepared_statements.max(1);
        let undecided = self.is_undecided(|change| is_about_key(change, key));
        let mut owed = Owed::new(What::Parse, to);
        let Some(link) = &mut self.link else {
            return owed;
        };
        let prepared = &mut link.memory.prepared;
        let goes = if undecided || prepared.contains(key) {
            Some(key.clone())
        } else {
            prepared.surplus(limit)
        };
        if let Some(gone) = goes {
            put_about_statement(to_backend, b'C', &gone.server_name());
            let mut close = Owed::new(What::Close, quiet(to));
            close.changes.push(Change::Prepared {
                before: link.memory.prepared.remove(&gone),
                key: gone,
            });
            link.push(close);
        }
        put_parse(to_backend, &key.server_name(), &key.statement.source);
        owed.changes.push(Change::Prepared {
            before: link.memory.prepared.insert(key, epoch),
            key: key.clone(),
        });
        owed
    }

    /// A statement in the session's present context.
    pub(super) fn key(&self, statement: &Rc<Statement>) -> Key {
        Key {
            statement: Rc::clone(statement),
            context: self.settings.context(),
        }
    }

    /// Reads a Parse's text. `None` if a reply must come first.
    pub(super) fn draft(&mut self, source: &[u8]) -> Option<Draft> {
        let Some((text, types)) = string(source) else {
            return Some(Draft {
                source: Bytes::copy_from_slice(source),
                script: None,
                needs: None,
            });
        };
        let mut reading = sql::read(text, self.dialect());
        let shared = self.shared_among(&reading)?;
        let needs = shared.iter().flatten().next().cloned();
        let source = if needs.is_some() {
            note_shared(&mut reading, &shared);
            let mut renamed = renamed(text, &reading.mentions, &shared);
            renamed.push(0);
            renamed.extend_from_slice(types);
            renamed.into()
        } else {
            Bytes::copy_from_slice(source)
        };
        Some(Draft {
            source,
            script: reading.script.map(Rc::new),
            needs,
        })
    }

    /// For each statement that a text names, the shared one that is meant, if it is one. `None` if a
    /// reply must come first.
    pub(super) fn shared_among(&self, reading: &Reading) -> Option<Vec<Option<Key>>> {
        let mut shared = Vec::new();
        for mention in &reading.mentions {
            let concerned = |change: &Change| matches!(change, Change::Name { name, .. } if *name == mention.name);
            if self.is_undecided(concerned) {
                return None;
            }
            shared.push(match self.names.get(&mention.name) {
                Some(Named::Shared(statement, _)) if !is_gone_before(reading, mention) => {
                    Some(self.key(statement))
                }
                _ => None,
            });
        }
        Some(shared)
    }

    pub(super) fn dialect(&self) -> Dialect<'_> {
        let told = self.told.as_ref();
        let conforming = told.and_then(|told| told.get("standard_conforming_strings"));
        Dialect {
            backslash_escapes: conforming.is_some_and(|value| *value == b"off"[..]),
            encoding: self.encoding(),
        }
    }

    /// Whether what a statement does decides how later messages are to be understood.
    pub(super) fn is_barrier(&self, script: Option<&Script>) -> bool {
        let decides = |act: &Act| match act {
            Act::CopyIn
            | Act::Prepare(_)
            | Act::Deallocate(..)
            | Act::DeallocateAll
            | Act::DiscardAll => true,
            Act::ResetAll => self.settings.has_base() || self.settings.context() != 0,
            Act::Assign(assignments) => assignments.iter().any(|one| self.is_decisive(one)),
            Act::Commit | Act::Rollback | Act::RollbackTo(_) => self.settings.is_touched(),
            _ => false,
        };
        script.is_some_and(|script| {
            script.is_unread() || script.steps.iter().any(|step| decides(&step.act))
        })
    }

    fn is_decisive(&self, assignment: &Assignment) -> bool {
        let name = &*assignment.name;
        CONTEXT.contains(&name)
            || ["client_encoding", "standard_conforming_strings"].contains(&name)
            || assignment.value.is_none() && self.settings.has_base()
    }

    /// What a portal's execution will do to the session.
    pub(super) fn note_portal(&mut self, portal: &[u8], script: Option<Rc<Script>>) {
        if script.is_none() && self.portals.is_empty() {
            return;
        }
        self.portals.retain(|(name, _)| name != portal);
        if let Some(script) = script {
            self.portals.push((Bytes::copy_from_slice(portal), script));
        }
        if self.portals.len() > PORTALS_LIMIT {
            self.portals.clear();
            self.lasting.insert(Pin::Unknown);
        }
    }

    pub(super) fn is_undecided(&self, concerns: impl Fn(&Change) -> bool) -> bool {
        let link = self.link.as_ref();
        link.is_some_and(|link| link.replies.is_undecided(concerns))
    }

    /// Changes the unnamed statement, here and on the backend; the change, to be taken back if need
    /// be.
    pub(super) fn change_unnamed(&mut self, client: Unnamed, backend: Unnamed) -> Option<Change> {
        let link = self.link.as_mut()?;
        let nothing = self.unnamed == client && link.memory.unnamed == backend;
        if nothing && !link.replies.has_changes() {
            return None;
        }
        Some(Change::Unnamed {
            client: std::mem::replace(&mut self.unnamed, client),
            backend: std::mem::replace(&mut link.memory.unnamed, backend),
        })
    }
}

fn is_about_key(change: &Change, key: &Key) -> bool {
    matches!(change, Change::Prepared { key: other, .. } if other == key)
}

/// For whom a Close of ours is that goes before a Parse for somebody.
fn quiet(to: To) -> To {
    match to {
        To::Client => To::NobodyUnlessError,
        to => to,
    }
}

/// Whether a text deallocates a statement before it names it.
fn is_gone_before(reading: &Reading, mention: &Mention) -> bool {
    let steps = reading.script.iter().flat_map(|script| &script.steps);
    steps.take(mention.step).any(|step| match &step.act {
        Act::Deallocate(name, _) => *name == mention.name,
        Act::DeallocateAll | Act::DiscardAll => true,
        _ => false,
    })
}

/// Notes in a script which shared statements its text names: what it deallocates, and what it does by
/// executing them.
pub(super) fn note_shared(reading: &mut Reading, shared: &[Option<Key>]) {
    let count = reading.count;
    for (mention, key) in reading.mentions.iter().zip(shared) {
        let Some(key) = key else {
            continue;
        };
        let executed = key.statement.script.as_ref();
        if reading.script.is_none() && executed.is_none() {
            continue;
        }
        let steps = &mut reading.script.get_or_insert_default().steps;
        steps.resize_with(count.max(steps.len()), Step::default);
        let Some(step) = steps.get_mut(mention.step) else {
            continue;
        };
        match (&mut step.act, executed) {
            (Act::Deallocate(_, known), _) => *known = Some(key.clone()),
            (_, Some(executed)) => {
                let first = executed.steps.first().cloned();
                *step = first.unwrap_or_else(|| Step {
                    act: Act::Plain,
                    pins: Pins::from_iter([Pin::Unknown]),
                });
            }
            _ => {}
        }
    }
}

/// A text in which shared statements stand under their names on the backend.
pub(super) fn renamed(text: &[u8], mentions: &[Mention], shared: &[Option<Key>]) -> Vec<u8> {
    let mut renamed = Vec::with_capacity(text.len() + 2 * PREFIX.len() * mentions.len());
    let mut done = 0;
    for (mention, key) in mentions.iter().zip(shared) {
        if let Some(key) = key {
            renamed.extend_from_slice(&text[done..mention.at.start]);
            renamed.extend_from_slice(&key.server_name());
            done = mention.at.end;
        }
    }
    renamed.extend_from_slice(&text[done..]);
    renamed
}

/// How many open portals of statements that do something to the session are told apart.
const PORTALS_LIMIT: usize = 256;

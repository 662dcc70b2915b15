//! Seeing to it that the backend has the statement that a message names.

use std::rc::Rc;

use bytes::{Bytes, BytesMut};

use super::super::changes::{Change, Unnamed};
use super::super::names::Named;
use super::super::outbound::Passing;
use super::super::pins::Pin;
use super::super::prepared::{Key, own_name};
use super::super::replies::{Owed, To, What};
use super::super::request::{put_about_statement, put_bare, put_parse};
use super::super::settings::CONTEXT;
use super::super::sql::{Act, Assignment, Script, Traces};
use super::super::statement::Statement;
use super::Tracker;
use crate::pg::TransactionStatus;

/// What a client's name for a statement means on the attached backend.
pub(super) struct Meant {
    /// What it is called there, if otherwise than the client calls it.
    pub(super) server_name: Option<Bytes>,
    /// What its execution does to the session.
    pub(super) script: Option<Rc<Script>>,
    /// What it may leave behind beside that.
    pub(super) traces: Traces,
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
                if statement.names_others {
                    return self.provide_naming(&statement, epoch, input);
                }
                self.provide_shared(&statement, epoch, input)
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
                    // They were noted when it was prepared, on this backend.
                    traces: Traces::default(),
                })
            }
        }
    }

    fn provide_shared(
        &mut self,
        statement: &Rc<Statement>,
        epoch: u64,
        input: &mut Passing<'_>,
    ) -> Option<Meant> {
        let key = self.key(statement);
        if self.is_undecided(|change| is_about_key(change, &key)) {
            return None;
        }
        self.provide_here(&key, epoch, input);
        Some(Meant {
            server_name: Some(key.server_name()),
            script: statement.script.clone(),
            traces: statement.traces,
        })
    }

    /// A statement that names others: if they are shared, one that names them as the backend does is
    /// used in its stead.
    fn provide_naming(
        &mut self,
        statement: &Rc<Statement>,
        epoch: u64,
        input: &mut Passing<'_>,
    ) -> Option<Meant> {
        let resolved = self.resolve(statement)?;
        for key in &resolved.needs {
            if self.is_undecided(|change| is_about_key(change, key)) {
                return None;
            }
            self.provide_here(key, 0, input);
        }
        let used = resolved.instead.as_ref().unwrap_or(statement);
        let meant = self.provide_shared(used, epoch, input)?;
        Some(Meant {
            script: resolved.script,
            ..meant
        })
    }

    fn provide_unnamed(&mut self, input: &mut Passing<'_>) -> Option<Meant> {
        if self.is_undecided(|change| matches!(change, Change::Unnamed { .. })) {
            return None;
        }
        let there = self.link.as_deref().map(|link| link.memory.unnamed.clone());
        let there = there.unwrap_or_default();
        let unnamed = self.unnamed.clone();
        let traces = match &unnamed {
            Unnamed::Known(statement) => statement.traces,
            Unnamed::Unkept { traces, .. } => *traces,
            Unnamed::Absent => Traces::default(),
        };
        let script = match &unnamed {
            Unnamed::Known(statement) if statement.names_others => {
                let statement = Rc::clone(statement);
                return self.provide_naming(&statement, 0, input);
            }
            Unnamed::Known(statement) => {
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
            Unnamed::Unkept { script, .. } => script.clone(),
        };
        Some(Meant {
            server_name: None,
            script,
            traces,
        })
    }

    /// Notes a message of ours that changes the backend's unnamed statement to this.
    fn push_unnamed(&mut self, what: What, unnamed: Unnamed) {
        self.push_extended(Owed::new(what, To::NobodyUnlessError));
        self.change_unnamed(self.unnamed.clone(), unnamed);
    }

    /// Prepares a shared statement, as part of the client's batch, unless the backend has it.
    fn provide_here(&mut self, key: &Key, epoch: u64, input: &mut Passing<'_>) {
        if self.has(key, epoch) {
            self.tally.prepared_hits += 1;
        } else {
            let now = self.commons.epoch();
            self.prepare(key, now, To::NobodyUnlessError, input.ours());
        }
    }

    /// Prepares a shared statement in a batch of its own, which may fail without consequences: the
    /// Query behind it will then fail by itself.
    pub(super) fn provide_apart(&mut self, key: &Key, input: &mut Passing<'_>) {
        let certain = !self.is_undecided(|change| is_about_key(change, key));
        if certain && self.has(key, 0) {
            self.tally.prepared_hits += 1;
            return;
        }
        let in_batch = self.link.as_deref().is_some_and(|link| link.batch_open);
        if in_batch && self.status == TransactionStatus::Idle {
            // A Sync would commit what the client's own batch has done.
            return self.provide_here(key, u64::MAX, input);
        }
        self.prepare(key, self.commons.epoch(), To::Nobody, input.ours());
        put_bare(input.ours(), b'S');
        self.push(Owed::new(What::Sync, To::Nobody));
    }

    /// Whether the backend has a statement, prepared no earlier than this. Counts as a use.
    fn has(&mut self, key: &Key, epoch: u64) -> bool {
        let Some(link) = &mut self.link else {
            return false;
        };
        let entry = link.memory.prepared.touch(key);
        entry.is_some_and(|entry| entry.epoch >= epoch.max(1))
    }

    /// Sends a Parse of a shared statement, and whatever must go before it: as part of the client's batch, or, to nobody,
    /// of one of ours.
    pub(super) fn prepare(&mut self, key: &Key, epoch: u64, to: To, to_backend: &mut BytesMut) {
        let limit = self.commons.rules().max_prepared_statements.max(1);
        let undecided = self.is_undecided(|change| is_about_key(change, key));
        let Some(link) = &mut self.link else {
            return;
        };
        self.tally.prepared_misses += 1;
        let prepared = &mut link.memory.prepared;
        let goes = if undecided || prepared.contains(key) {
            Some(key.clone())
        } else {
            prepared.surplus(limit)
        };
        if let Some(gone) = goes {
            put_about_statement(to_backend, b'C', &gone.server_name());
            link.push(Owed::new(What::Close, quiet(to)));
            link.replies.note(Change::Prepared {
                before: link.memory.prepared.remove(&gone),
                key: gone,
            });
        }
        put_parse(to_backend, &key.server_name(), &key.statement.source);
        let owed = Owed::new(What::Parse, to);
        match to {
            To::Nobody => link.push(owed),
            _ => link.push_extended(owed),
        }
        link.replies.note(Change::Prepared {
            before: link.memory.prepared.insert(key, epoch),
            key: key.clone(),
        });
    }

    /// Finds out what a statement sets to which a Bind gives `values`, if that can be told.
    pub(super) fn bind_settings(&self, meant: &mut Meant, values: Option<&[u8]>) {
        let Some(script) = meant.script.as_deref().filter(|script| script.is_bound()) else {
            return;
        };
        let encoding = self.dialect().encoding;
        let values = values.filter(|_| self.is_legible());
        match values.and_then(|values| script.bound_with(values, encoding)) {
            Some(bound) => meant.script = Some(Rc::new(bound)),
            None => {
                meant.traces.obscures = true;
                meant.traces.respells |= script.may_respell();
            }
        }
    }

    /// Whether a Bind decides what the statement of this name sets. (Of one that names others nothing is told.)
    pub(super) fn is_bound(&self, name: &[u8]) -> bool {
        let script = match (&self.unnamed, self.names.get(name)) {
            (Unnamed::Known(statement), _) if name.is_empty() => &statement.script,
            (Unnamed::Unkept { script, .. }, _) if name.is_empty() => script,
            (_, Some(Named::Shared(statement, _))) => &statement.script,
            (_, Some(Named::Own(script))) => script,
            _ => &None,
        };
        script.as_deref().is_some_and(Script::is_bound)
    }

    /// A statement in the session's present context.
    pub(super) fn key(&self, statement: &Rc<Statement>) -> Key {
        Key {
            statement: Rc::clone(statement),
            context: self.settings.context(),
        }
    }

    /// Whether what a statement does decides how later messages are to be understood.
    pub(super) fn is_barrier(&self, script: Option<&Script>) -> bool {
        let decides = |act: &Act| match act {
            Act::CopyIn
            | Act::AssignBound(_)
            | Act::Prepare(_)
            | Act::Deallocate(..)
            | Act::DeallocateAll
            | Act::DiscardAll
            | Act::Makes(Pin::TemporaryTable) => true,
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
        CONTEXT.contains(&name) || assignment.value.is_none() && self.settings.has_base()
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
        let link = self.link.as_deref();
        link.is_some_and(|link| link.replies.is_undecided(concerns))
    }

    /// What was asked last changes the unnamed statement, here and on the backend.
    pub(super) fn change_unnamed(&mut self, client: Unnamed, backend: Unnamed) {
        let Some(link) = &mut self.link else {
            return;
        };
        let nothing = self.unnamed == client && link.memory.unnamed == backend;
        if nothing && client == Unnamed::Absent && !link.replies.has_changes() {
            return;
        }
        link.replies.note(Change::Unnamed {
            client: std::mem::replace(&mut self.unnamed, client),
            backend: std::mem::replace(&mut link.memory.unnamed, backend),
        });
    }

    /// What was asked last changes what a name means.
    pub(super) fn change_name(&mut self, name: Bytes, named: Option<Named>) {
        let before = self.names.set(&name, named);
        if let Some(link) = &mut self.link {
            link.replies.note(Change::Name { name, before });
        }
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

/// How many open portals of statements that do something to the session are told apart.
const PORTALS_LIMIT: usize = 256;

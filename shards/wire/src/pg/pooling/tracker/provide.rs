//! Seeing to it that the backend has the statement that a message names.

use std::rc::Rc;

use bytes::{Bytes, BytesMut};

use super::super::changes::{Change, Unnamed};
use super::super::names::{Named, Shared};
use super::super::outbound::Passing;
use super::super::pins::Pin;
use super::super::prepared::{Key, own_name};
use super::super::replies::{Owed, To, What};
use super::super::request::{put_about_statement, put_bare, put_parse};
use super::super::settings::CONTEXT;
use super::super::shape::Shape;
use super::super::sql::{Act, Assignment, Script, Traces};
use super::super::statement::Statement;
use super::Tracker;
use super::shapes::{Changed, REFUSED};
use crate::pg::TransactionStatus;

/// What a client's name for a statement means on the attached backend.
pub(super) struct Meant {
    /// What it is called there, if otherwise than the client calls it.
    pub(super) server_name: Option<Bytes>,
    /// What its execution does to the session.
    pub(super) script: Option<Rc<Script>>,
    /// What it may leave behind beside that.
    pub(super) traces: Traces,
    /// It is not what the client was told; the backend must refuse the message.
    pub(super) changed: Option<Changed>,
    /// The client's name for it, and when it was prepared, if the client has been told nothing yet of what that means.
    pub(super) untold: Option<(Bytes, u64)>,
}

impl Meant {
    /// What is not as the client was told.
    fn refused(changed: Changed) -> Meant {
        Meant {
            server_name: Some(REFUSED),
            script: None,
            traces: Traces::NONE,
            changed: Some(changed),
            untold: None,
        }
    }
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
        match self.names.find(name) {
            Some((name, Named::Shared(shared))) => {
                let untold = (shared.told.is_none()).then(|| (name.clone(), shared.epoch));
                let shared = shared.clone();
                if shared.statement.names_others {
                    return self.provide_naming(&shared, input);
                }
                let meant = self.provide_shared(&shared, input)?;
                Some(Meant { untold, ..meant })
            }
            named => {
                let (script, traces, own) = match named {
                    // What it does has pinned; but that may have ended since.
                    Some((name, Named::BySql)) => (None, Traces::ALL, name.clone()),
                    // It was noted when it was prepared, on this backend.
                    Some((_, Named::Own(script))) => (script.clone(), Traces::NONE, own_name(name)),
                    _ => (None, Traces::NONE, own_name(name)),
                };
                Some(Meant {
                    server_name: (own != name).then_some(own),
                    script,
                    traces,
                    changed: None,
                    untold: None,
                })
            }
        }
    }

    fn provide_shared(&mut self, shared: &Shared, input: &mut Passing<'_>) -> Option<Meant> {
        let key = self.key(&shared.statement);
        if self.is_undecided(|change| is_about_key(change, &key)) {
            return None;
        }
        if let Err(changed) = self.provide_as_told(&key, shared, input)? {
            return Some(Meant::refused(changed));
        }
        Some(Meant {
            server_name: Some(key.server_name()),
            script: shared.statement.script.clone(),
            traces: shared.statement.traces,
            changed: None,
            untold: None,
        })
    }

    /// A statement that names others: if they are shared, one that names them as the backend does is
    /// used in its stead.
    fn provide_naming(&mut self, shared: &Shared, input: &mut Passing<'_>) -> Option<Meant> {
        let resolved = self.resolve(&shared.statement)?;
        for key in &resolved.needs {
            if self.is_undecided(|change| is_about_key(change, key)) {
                return None;
            }
            self.provide_here(key, 0, input);
        }
        let used = Shared {
            statement: resolved
                .instead
                .unwrap_or_else(|| Rc::clone(&shared.statement)),
            ..shared.clone()
        };
        let meant = self.provide_shared(&used, input)?;
        Some(Meant {
            script: resolved.script,
            ..meant
        })
    }

    fn provide_unnamed(&mut self, input: &mut Passing<'_>) -> Option<Meant> {
        if self.is_undecided(|change| matches!(change, Change::Unnamed { .. })) {
            return None;
        }
        if let Some(meant) = self.has_unnamed() {
            return Some(meant);
        }
        let unnamed = self.unnamed.clone();
        let traces = match &unnamed {
            Unnamed::Known(statement, _) => statement.traces,
            Unnamed::Unkept { traces, .. } => *traces,
            Unnamed::Absent => Traces::default(),
        };
        let script = match &unnamed {
            Unnamed::Known(statement, _) if statement.names_others => {
                let shared = Shared {
                    statement: Rc::clone(statement),
                    epoch: 0,
                    told: None,
                };
                return self.provide_naming(&shared, input);
            }
            Unnamed::Known(statement, told) => {
                let provided = self.provide_unnamed_as_told(statement, told.as_ref(), input)?;
                if let Err(changed) = provided {
                    return Some(Meant::refused(changed));
                }
                statement.script.clone()
            }
            Unnamed::Absent => {
                let link = self.link.as_deref();
                if link.is_some_and(|link| link.memory.unnamed != Unnamed::Absent) {
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
            changed: None,
            untold: None,
        })
    }

    /// Prepares the client's unnamed statement where another one was, with the types of parameters that it was told.
    pub(super) fn prepare_unnamed(
        &mut self,
        statement: &Rc<Statement>,
        told: Option<&Rc<Shape>>,
        input: &mut Passing<'_>,
    ) {
        let typed = told.and_then(|told| told.typed(&statement.source));
        let source = typed.as_deref().unwrap_or(&statement.source);
        put_parse(input.ours(), b"", source);
        self.push_unnamed(What::Parse, self.unnamed.clone());
    }

    /// Notes a message of ours that changes the backend's unnamed statement to this.
    fn push_unnamed(&mut self, what: What, unnamed: Unnamed) {
        self.push_extended(Owed::new(what, To::NobodyUnlessError));
        self.change_unnamed(self.unnamed.clone(), unnamed);
    }

    /// Prepares a shared statement, as part of the client's batch, unless the backend has it.
    pub(super) fn provide_here(&mut self, key: &Key, epoch: u64, input: &mut Passing<'_>) {
        if self.has(key, epoch) {
            self.tally.prepared_hits += 1;
        } else {
            let now = self.commons.epoch();
            self.prepare(key, now, None, To::NobodyUnlessError, input.ours());
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
        let now = self.commons.epoch();
        self.prepare(key, now, None, To::Nobody, input.ours());
        put_bare(input.ours(), b'S');
        self.push(Owed::new(What::Sync, To::Nobody));
    }

    /// Whether the backend has a statement, prepared as its text says and no earlier than this. Counts as a use.
    fn has(&mut self, key: &Key, epoch: u64) -> bool {
        let Some(link) = &mut self.link else {
            return false;
        };
        let entry = link.memory.prepared.touch(key);
        entry.is_some_and(|entry| entry.epoch >= epoch.max(1) && !entry.typed)
    }

    /// Sends a Parse of a shared statement, with the types of parameters that its client was `told`, and whatever must go
    /// before it: as part of the client's batch, or, to nobody, of one of ours.
    pub(super) fn prepare(
        &mut self,
        key: &Key,
        epoch: u64,
        told: Option<&Rc<Shape>>,
        to: To,
        to_backend: &mut BytesMut,
    ) {
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
        let typed = told.and_then(|told| told.typed(&key.statement.source));
        let source = typed.as_deref().unwrap_or(&key.statement.source);
        put_parse(to_backend, &key.server_name(), source);
        let owed = Owed::new(What::Parse, to);
        match to {
            To::Nobody => link.push(owed),
            _ => link.push_extended(owed),
        }
        link.replies.note(Change::Prepared {
            before: link.memory.prepared.insert(key, epoch, typed.is_some()),
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
            (Unnamed::Known(statement, _), _) if name.is_empty() => &statement.script,
            (Unnamed::Unkept { script, .. }, _) if name.is_empty() => script,
            (_, Some(Named::Shared(shared))) => &shared.statement.script,
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

    /// What the execution of the portal that was asked for last will do to the session. (One of the same name stays if
    /// that fails.)
    pub(super) fn note_portal(&mut self, portal: &[u8], script: Option<Rc<Script>>) {
        if script.is_none() && self.portals.is_empty() {
            return;
        }
        let name = Bytes::copy_from_slice(portal);
        let before = self.portals.set(&name, script);
        if let Some(link) = &mut self.link {
            link.replies.note(Change::Portal { name, before });
        }
        if self.portals.are_too_many() {
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
        let is_absent = client == Unnamed::Absent && !link.replies.has_changes();
        if is_absent && self.unnamed == client && link.memory.unnamed == backend {
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

//! What the trackers of one tenant have in common on their shard.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use bytes::Bytes;

use super::BackendMemory;
use super::budget::{Budget, TENANT_LIMIT};
use super::settings::{BEYOND_RESET_ALL, Map};
use super::sql::{self, Dialect, PlainTexts, Reading, Value};
use super::statement::{Acceptance, Draft, Statement, Statements};
use crate::pg::Parameters;

/// How a tenant's sessions are pooled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// What becomes of named prepared statements.
    pub prepared_statements: PreparedStatements,
    /// How many shared statements a backend keeps prepared; at least 1.
    pub max_prepared_statements: usize,
    /// When a backend is cleaned.
    pub reset: Reset,
}

/// What becomes of statements that clients prepare by name in the extended protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PreparedStatements {
    /// They are prepared under shared names wherever they are used.
    Multiplex,
    /// They keep their names, and their client its backend.
    Pin,
}

/// When a backend is cleaned before somebody else may have it. (Its settings are followed and
/// restored in any case, and a transaction that was left open is rolled back.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reset {
    /// When something may have been left on it.
    Smart,
    /// After each lease.
    Always,
    /// Not at all: for those who know what they do.
    Never,
}

/// What the trackers of one tenant share: the rules, the shared statements, what backends report.
#[derive(Debug)]
pub struct Commons {
    rules: Cell<Rules>,
    budget: Rc<Budget>,
    statements: RefCell<Statements>,
    plain: RefCell<PlainTexts>,
    epoch: Cell<u64>,
    /// How often the schema has been changed, as far as that was seen.
    schema: Cell<u64>,
    sessions: Cell<u64>,
    /// A client has asked for the value of a sequence as its session has drawn it.
    values_matter: Cell<bool>,
    /// What clients have asked for when they connected, as they said it and what that means, the latest last.
    bases: RefCell<Vec<(Parameters, Rc<Map>)>>,
    /// What most sessions have set.
    nothing: Rc<Map>,
    /// What clients have been told at their welcome, the latest last, where that is not what a fresh
    /// backend reports.
    welcomes: RefCell<Vec<Rc<Parameters>>>,
    /// What the last backend reported when it had just been opened.
    fresh: RefCell<Option<Rc<Parameters>>>,
    /// Settings that a backend has accepted, and what it then reported of them.
    accepted: RefCell<Accepted>,
}

/// A setting's name and value, and what is then reported of it, if anything is.
type Accepted = HashMap<(Rc<str>, Value), Option<Bytes>>;

impl Commons {
    /// For a tenant that nobody uses yet.
    pub fn new(rules: Rules) -> Rc<Commons> {
        Commons::with_budget(rules, TENANT_LIMIT)
    }

    /// One whose clients may make us hold so many bytes.
    pub(super) fn with_budget(rules: Rules, limit: usize) -> Rc<Commons> {
        let budget = Budget::of(limit);
        Rc::new(Commons {
            rules: Cell::new(rules),
            statements: RefCell::new(Statements::charged_to(&budget)),
            budget,
            plain: RefCell::default(),
            epoch: Cell::new(0),
            schema: Cell::new(0),
            sessions: Cell::new(0),
            values_matter: Cell::new(false),
            bases: RefCell::default(),
            nothing: Rc::default(),
            welcomes: RefCell::default(),
            fresh: RefCell::default(),
            accepted: RefCell::default(),
        })
    }

    /// Takes new rules, for what is said from now on.
    pub fn amend(&self, rules: Rules) {
        self.rules.set(rules);
    }

    /// A backend that has just logged in, **without any startup parameters but user and database**,
    /// and what it reported. (A startup parameter would be what RESET goes back to, for everybody.)
    pub fn backend_opened(&self, reported: &Parameters) -> BackendMemory {
        let mut fresh = self.fresh.borrow_mut();
        let known = fresh
            .take()
            .filter(|known| **known == *reported)
            .unwrap_or_else(|| Rc::new(reported.clone()));
        *fresh = Some(Rc::clone(&known));
        BackendMemory::new(known)
    }

    /// What the tenant's clients make us hold.
    pub(super) fn budget(&self) -> &Rc<Budget> {
        &self.budget
    }

    pub(super) fn rules(&self) -> Rules {
        self.rules.get()
    }

    /// The number of a session that begins, which is never 0.
    pub(super) fn next_session(&self) -> u64 {
        let next = self.sessions.get() + 1;
        self.sessions.set(next);
        next
    }

    /// A client asks for the value of a sequence as its session has drawn it.
    pub(super) fn values_matter(&self) {
        self.values_matter.set(true);
    }

    /// Whether one ever has.
    pub(super) fn do_values_matter(&self) -> bool {
        self.values_matter.get()
    }

    /// Counts one more Parse.
    pub(super) fn next_epoch(&self) -> u64 {
        let next = self.epoch.get() + 1;
        self.epoch.set(next);
        next
    }

    /// How many have been counted.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.get()
    }

    /// Reads a text, if it is not known to do nothing.
    pub(super) fn read(&self, text: &[u8], dialect: Dialect<'_>) -> Reading {
        if dialect.is_usual() && self.plain.borrow().know(text) {
            return Reading::default();
        }
        let reading = sql::read(text, dialect);
        // Save for how many statements there are, which is of interest where others are named.
        let nothing = Reading {
            count: reading.count,
            ..Reading::default()
        };
        if dialect.is_usual() && reading == nothing {
            self.plain.borrow_mut().note(text);
        }
        reading
    }

    /// The statement of this source.
    pub(super) fn share(&self, draft: Draft) -> Rc<Statement> {
        self.statements.borrow_mut().share(draft)
    }

    /// Whether to share one costs nothing, or may cost something.
    pub(super) fn may_share(&self, draft: &Draft) -> bool {
        !self.budget.is_spent() || self.statements.borrow().known(draft).is_some()
    }

    /// The statement of this source, if a backend has accepted it in this context, and nobody has been
    /// seen to change the schema since.
    pub(super) fn accepted(&self, source: &[u8], context: u64) -> Option<Rc<Statement>> {
        let as_now = self.acceptance(context);
        self.statements.borrow().accepted(source, as_now)
    }

    /// What it means that a statement is accepted now.
    pub(super) fn acceptance(&self, context: u64) -> Acceptance {
        let schema = self.schema.get();
        Acceptance { context, schema }
    }

    /// Something was created, altered or dropped: what was accepted before may be refused now.
    pub(super) fn schema_changed(&self) {
        self.schema.set(self.schema.get() + 1);
    }

    /// A statement of one client only.
    pub(super) fn own(&self, draft: Draft) -> Rc<Statement> {
        self.statements.borrow_mut().own(draft)
    }

    /// What a client asks for when it connects, as one with all clients that have said the same: most
    /// of a tenant's do. What has not been said of late is `read`.
    pub(super) fn base<E>(
        &self,
        startup: &Parameters,
        read: impl FnOnce(&Parameters) -> Result<Map, E>,
    ) -> Result<Rc<Map>, E> {
        let mut bases = self.bases.borrow_mut();
        if let Some((_, known)) = bases.iter().find(|(said, _)| said == startup) {
            return Ok(Rc::clone(known));
        }
        let base = Rc::new(read(startup)?);
        // Copied, or a few words would keep all of the message.
        let said = startup
            .iter()
            .map(|(name, value)| (name, Bytes::copy_from_slice(value)))
            .collect();
        keep_latest(&mut bases, (said, Rc::clone(&base)));
        Ok(base)
    }

    /// An empty map, for all who have set nothing.
    pub(super) fn nothing(&self) -> Rc<Map> {
        Rc::clone(&self.nothing)
    }

    /// What a backend with these settings would report, if each of them has been accepted before. It
    /// is one with what others are told, as long as they differ in little: it is large, and each
    /// client keeps it.
    pub(super) fn foresee(&self, wanted: &Map) -> Option<Rc<Parameters>> {
        let fresh = self.fresh.borrow().clone()?;
        let accepted = self.accepted.borrow();
        let mut foreseen = fresh;
        for (name, value) in wanted {
            let key = (Rc::clone(name), value.clone());
            if let Some(canonical) = accepted.get(&key)?
                && foreseen.get(name) != Some(canonical)
            {
                Rc::make_mut(&mut foreseen).set(name, canonical.clone());
            }
        }
        match self.fresh.borrow().as_ref() {
            Some(fresh) if Rc::ptr_eq(fresh, &foreseen) => Some(foreseen),
            _ => Some(share(&mut self.welcomes.borrow_mut(), foreseen)),
        }
    }

    /// A backend has taken these settings, and reports this.
    pub(super) fn learn(&self, wanted: &Map, reported: &Parameters) {
        // What is reported under another role is not what the settings alone bring about.
        if BEYOND_RESET_ALL
            .iter()
            .any(|name| wanted.contains_key(*name))
        {
            return;
        }
        let mut accepted = self.accepted.borrow_mut();
        let short = wanted
            .iter()
            .filter(|(_, value)| value.as_sql().len() <= ACCEPTED_LENGTH);
        for (name, value) in short {
            if accepted.len() >= ACCEPTED_LIMIT {
                accepted.clear();
            }
            accepted.insert(
                (Rc::clone(name), value.clone()),
                reported.get(name).cloned(),
            );
        }
    }
}

/// The one among the latest that is equal, or this one, which is the latest then.
fn share<T: PartialEq>(latest: &mut Vec<Rc<T>>, one: Rc<T>) -> Rc<T> {
    if let Some(known) = latest.iter().find(|known| **known == one) {
        return Rc::clone(known);
    }
    keep_latest(latest, Rc::clone(&one));
    one
}

fn keep_latest<T>(latest: &mut Vec<T>, one: T) {
    if latest.len() == LATEST_LIMIT {
        latest.remove(0);
    }
    latest.push(one);
}

/// How many different startups, and answers to them, are remembered.
const LATEST_LIMIT: usize = 16;

/// How many settings are known to be accepted; then it is learnt anew.
const ACCEPTED_LIMIT: usize = 4096;

/// The longest value that is learnt, in bytes of SQL. Who wants a longer one at its login asks a backend.
const ACCEPTED_LENGTH: usize = 256;

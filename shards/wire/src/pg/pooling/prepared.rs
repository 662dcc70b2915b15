//! What is prepared on one backend: the shared statements, under names that are the same everywhere.

use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Bytes;

use super::shape::{Fit, Shape};
use super::statement::Statement;

/// A shared statement, as analysed in a context. Search path and role, time zone and encoding decide
/// what a text means; statements of different contexts are therefore different on a backend.
#[derive(Debug, Clone)]
pub struct Key {
    pub(super) statement: Rc<Statement>,
    /// A digest of what decides the analysis; 0 where nothing is set.
    pub(super) context: u64,
}

impl Key {
    /// What the statement is called on every backend: its number, and what no client can guess, or an EXECUTE of SQL might
    /// run what is another client's.
    pub(super) fn server_name(&self) -> Bytes {
        let Statement { id, secret, .. } = &*self.statement;
        let name = || format!("{PREFIX}{id}_{:016x}", self.context ^ secret).into();
        match self.context {
            0 => self.statement.server_name.get_or_init(name).clone(),
            _ => name(),
        }
    }

    fn id(&self) -> (u64, u64) {
        (self.statement.id, self.context)
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        self.id() == other.id()
    }
}

impl Eq for Key {}

/// When a shared statement was prepared on this backend.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    key: Key,
    /// The epoch of its Parse, or 0 if names in it may mean something else by now. A client that prepared it later must not meet the older one: its
    /// result type may have changed since.
    pub(super) epoch: u64,
    /// Its parameters have the types that a client was told, not those that its text gives.
    pub(super) typed: bool,
    /// What the backend has said of it.
    shape: Option<Rc<Shape>>,
    /// When it was put there.
    pub(super) made: u64,
    pub(super) used: u64,
}

impl Entry {
    /// How it stands to what a client has been told.
    pub(super) fn fit(&self, told: &Rc<Shape>) -> Fit {
        match &self.shape {
            Some(shape) if !self.typed && Rc::ptr_eq(shape, told) => Fit::Same,
            Some(shape) => shape.fit(told, self.typed),
            None if self.typed && told.parameters().is_none() => Fit::Otherwise,
            None => Fit::Unknown,
        }
    }

    /// Whether the backend has described it.
    pub(super) fn is_described(&self) -> bool {
        (self.shape.as_ref()).is_some_and(|shape| !shape.is_of_portal())
    }
}

/// The shared statements of a backend, as they will be when everything that has been sent succeeds.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    entries: BTreeMap<(u64, u64), Entry>,
    clock: u64,
    /// What has been used since then is needed by the message that is being dealt with.
    message_began: u64,
    /// Since then nobody knows how the session is set in which statements are prepared.
    uncertain_since: Option<u64>,
}

impl Prepared {
    /// The entry of a statement, which counts as a use.
    pub(super) fn touch(&mut self, key: &Key) -> Option<&Entry> {
        self.clock += 1;
        let entry = self.entries.get_mut(&key.id())?;
        entry.used = self.clock;
        Some(entry)
    }

    /// When a statement was used or put there last.
    pub(super) fn now(&self) -> u64 {
        self.clock
    }

    /// The entry of a statement, without using it.
    pub(super) fn get(&self, key: &Key) -> Option<&Entry> {
        self.entries.get(&key.id())
    }

    /// The backend has described the statement that was put there then.
    pub(super) fn describe(&mut self, key: &Key, made: u64, shape: &Rc<Shape>) {
        let entry = self.entries.get_mut(&key.id());
        if let Some(entry) = entry.filter(|entry| entry.made == made) {
            let known = entry.shape.as_ref();
            if known.is_none_or(|known| known.fit(shape, false) != Fit::Same) {
                entry.shape = Some(Rc::clone(shape));
            }
        }
    }

    /// Whether a statement is there, without using it.
    pub(super) fn contains(&self, key: &Key) -> bool {
        self.entries.contains_key(&key.id())
    }

    /// Puts a statement there; what was there before.
    pub(super) fn insert(&mut self, key: &Key, epoch: u64, typed: bool) -> Option<Entry> {
        self.clock += 1;
        let entry = Entry {
            key: key.clone(),
            epoch,
            typed,
            shape: None,
            made: self.clock,
            used: self.clock,
        };
        self.entries.insert(key.id(), entry)
    }

    /// Takes a statement away; what was there before.
    pub(super) fn remove(&mut self, key: &Key) -> Option<Entry> {
        self.entries.remove(&key.id())
    }

    /// Makes the place of a statement what it was.
    pub(super) fn restore(&mut self, key: &Key, before: Option<Entry>) {
        match before {
            Some(entry) => self.entries.insert(key.id(), entry),
            None => self.entries.remove(&key.id()),
        };
    }

    /// The next message is dealt with.
    pub(super) fn begin_message(&mut self) {
        self.message_began = self.clock;
    }

    /// The statement that has not been used for the longest time, if there are `limit` or more, and
    /// the message that is being dealt with does not need it.
    pub(super) fn surplus(&self, limit: usize) -> Option<Key> {
        if self.entries.len() < limit {
            return None;
        }
        self.entries
            .values()
            .filter(|entry| entry.used <= self.message_began)
            .min_by_key(|entry| entry.used)
            .map(|entry| entry.key.clone())
    }

    /// There is something that names in the statements may mean from now on: each is to be prepared
    /// anew before it is used.
    pub(super) fn age(&mut self) {
        for entry in self.entries.values_mut() {
            entry.epoch = 0;
        }
    }

    /// From now on something may have set the session that cannot be seen.
    pub(super) fn becomes_uncertain(&mut self) {
        self.uncertain_since.get_or_insert(self.clock);
    }

    /// Whether that is so.
    pub(super) fn is_uncertain(&self) -> bool {
        self.uncertain_since.is_some()
    }

    /// The session is set as one thinks again: what was prepared since that was not certain is to be prepared anew.
    pub(super) fn is_certain_again(&mut self) {
        if let Some(since) = self.uncertain_since.take() {
            let entries = self.entries.values_mut();
            for entry in entries.filter(|entry| entry.made > since) {
                entry.epoch = 0;
            }
        }
    }

    /// Forgets a statement that SQL has deallocated by its name here.
    pub(super) fn forget_named(&mut self, server_name: &[u8]) {
        self.entries
            .retain(|_, entry| entry.key.server_name() != server_name);
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Forgets all of them.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }
}

/// The name under which a client's own name stands on a backend, where it does: that name, unless it
/// could be mistaken for one of ours.
pub(super) fn own_name(name: &[u8]) -> Bytes {
    if name.starts_with(PREFIX.as_bytes()) {
        [PREFIX.as_bytes(), b"~", name].concat().into()
    } else {
        Bytes::copy_from_slice(name)
    }
}

/// The client's own name for a statement that stands under it on a backend; none if it is not such.
pub(super) fn clients_own(server_name: &[u8]) -> Option<&[u8]> {
    server_name
        .strip_prefix(PREFIX.as_bytes())?
        .strip_prefix(b"~")
}

/// What the names of shared statements begin with.
pub(super) const PREFIX: &str = "dbb_";

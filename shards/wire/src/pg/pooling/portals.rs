//! A client's open portals, as far as their execution does something to the session.

use std::rc::Rc;

use bytes::Bytes;

use super::sql::Script;

/// What the portals do, by their names, as it will be when everything that has been sent succeeds.
#[derive(Debug, Default)]
pub(super) struct Portals {
    known: Vec<(Bytes, Rc<Script>)>,
    touched: bool,
}

impl Portals {
    /// What a portal does; `None` for nothing, or if there is no such portal.
    pub(super) fn get(&self, name: &[u8]) -> Option<&Rc<Script>> {
        let known = self.known.iter().find(|(other, _)| other == name);
        known.map(|(_, script)| script)
    }

    /// Makes a portal do something, or nothing; what it did before.
    pub(super) fn set(&mut self, name: &Bytes, script: Option<Rc<Script>>) -> Option<Rc<Script>> {
        self.touched = true;
        let at = self.known.iter().position(|(other, _)| other == name);
        let before = at.map(|at| self.known.swap_remove(at).1);
        if let Some(script) = script {
            self.known.push((name.clone(), script));
        }
        before
    }

    /// Whether none does anything.
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Whether one does that may be named in SQL, where no name is empty.
    pub(super) fn any_named(&self) -> bool {
        self.known.iter().any(|(name, _)| !name.is_empty())
    }

    /// Whether any has done something since all were forgotten.
    pub(super) fn are_touched(&self) -> bool {
        self.touched
    }

    /// Whether there are more than are told apart.
    pub(super) fn are_too_many(&self) -> bool {
        self.known.len() > LIMIT
    }

    /// Forgets all of them.
    pub(super) fn clear(&mut self) {
        self.known.clear();
        self.touched = false;
    }
}

/// How many are told apart.
const LIMIT: usize = 256;

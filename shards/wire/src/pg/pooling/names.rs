//! A client's prepared statements, by the names it gave them.

use std::collections::HashMap;
use std::rc::Rc;

use bytes::Bytes;

use super::budget::{Budget, Share};
use super::shape::Shape;
use super::sql::Script;
use super::statement::Statement;

/// What a name of the client stands for.
#[derive(Debug, Clone)]
pub(super) enum Named {
    /// A shared statement.
    Shared(Shared),
    /// A statement that lives under its own name on the backend the client is pinned to, and what it does.
    Own(Option<Rc<Script>>),
    /// The same, made by SQL PREPARE: under its very name, and what it does was noted when it was made.
    BySql,
}

impl Named {
    /// Whether it lives under its own name on a backend.
    pub(super) fn is_own(&self) -> bool {
        !matches!(self, Named::Shared(_))
    }
}

/// A shared statement, as a client has it.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    pub(super) statement: Rc<Statement>,
    /// When the client has prepared it, which no other client has, nor this one another time.
    pub(super) epoch: u64,
    /// What the client has been told of it.
    pub(super) told: Option<Rc<Shape>>,
}

/// The names, as they will be when everything that has been sent succeeds.
#[derive(Debug)]
pub(super) struct Names {
    by_name: HashMap<Bytes, Named>,
    own: usize,
    bytes: usize,
    held: Share,
}

impl Names {
    /// None yet.
    pub(super) fn charged_to(budget: &Rc<Budget>) -> Names {
        Names {
            by_name: HashMap::new(),
            own: 0,
            bytes: 0,
            held: Share::of_names(budget),
        }
    }

    pub(super) fn get(&self, name: &[u8]) -> Option<&Named> {
        self.by_name.get(name)
    }

    /// What a name means, and the name itself.
    pub(super) fn find(&self, name: &[u8]) -> Option<(&Bytes, &Named)> {
        self.by_name.get_key_value(name)
    }

    /// Makes a name mean something, or nothing; what it meant before.
    pub(super) fn set(&mut self, name: &Bytes, named: Option<Named>) -> Option<Named> {
        if let Some(named) = &named {
            self.own += usize::from(named.is_own());
            self.bytes += cost(name, named);
            self.held.grow(name.len() + OVERHEAD);
        }
        let before = match named {
            Some(named) => self.by_name.insert(name.clone(), named),
            None => self.by_name.remove(name),
        };
        if let Some(before) = &before {
            self.own -= usize::from(before.is_own());
            self.bytes -= cost(name, before);
            self.held.shrink(name.len() + OVERHEAD);
        }
        before
    }

    /// A shared statement of this name, and the name itself.
    pub(super) fn shared(&self, name: &[u8]) -> Option<(&Bytes, &Shared)> {
        match self.find(name)? {
            (name, Named::Shared(shared)) => Some((name, shared)),
            _ => None,
        }
    }

    /// The client has been told this of what it has prepared by this name in this epoch.
    pub(super) fn tell(&mut self, name: &[u8], epoch: u64, shape: &Rc<Shape>) {
        if let Some(named) = self.by_name.get_mut(name) {
            named.tell(epoch, shape);
        }
    }

    /// All that there are.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Bytes, &Named)> {
        self.by_name.iter()
    }

    /// Forgets all of them.
    pub(super) fn clear(&mut self) {
        self.by_name = HashMap::new();
        (self.own, self.bytes) = (0, 0);
        self.held.clear();
    }

    /// Whether one lives under its own name on a backend.
    pub(super) fn any_own(&self) -> bool {
        self.own > 0
    }

    /// The names of those that do.
    pub(super) fn own(&self) -> impl Iterator<Item = &Bytes> {
        self.by_name
            .iter()
            .filter(|(_, named)| named.is_own())
            .map(|(name, _)| name)
    }

    /// Whether one more is too many.
    pub(super) fn is_full(&self) -> bool {
        self.by_name.len() >= NAMES_LIMIT || self.bytes >= BYTES_LIMIT
    }

    /// Whether one more is too many for all clients together.
    pub(super) fn are_too_many(&self) -> bool {
        self.held.is_too_much()
    }
}

impl Named {
    /// The client has been told this of what it has prepared in this epoch.
    pub(super) fn tell(&mut self, epoch: u64, shape: &Rc<Shape>) {
        match self {
            Named::Shared(shared) if shared.epoch == epoch => {
                shared.told = Some(Rc::clone(shape));
            }
            _ => {}
        }
    }
}

/// What a name costs: each client is charged for the whole text, shared or not.
fn cost(name: &Bytes, named: &Named) -> usize {
    let text = match named {
        Named::Shared(shared) => shared.statement.source.len(),
        Named::Own(_) | Named::BySql => 0,
    };
    name.len() + text
}

/// What a name takes beside its bytes, roughly.
const OVERHEAD: usize = 96;

/// How many statements one client may have prepared at a time.
pub(super) const NAMES_LIMIT: usize = 20_000;

/// How many bytes of statements one client may have prepared at a time.
pub(super) const BYTES_LIMIT: usize = 64 * 1024 * 1024;

//! What the trackers of one tenant have in common on their shard.

use std::cell::Cell;
use std::rc::Rc;

use super::BackendMemory;
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

/// When a backend is cleaned before somebody else may have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reset {
    /// When something may have been left on it.
    Smart,
    /// After each lease.
    Always,
    /// Not at all, not even of a transaction's settings; for those who know what they do.
    Never,
}

/// What the trackers of one tenant share: the rules, the shared statements, what backends report.
#[derive(Debug)]
pub struct Commons {
    rules: Cell<Rules>,
}

impl Commons {
    /// For a tenant that nobody uses yet.
    pub fn new(rules: Rules) -> Rc<Commons> {
        Rc::new(Commons {
            rules: Cell::new(rules),
        })
    }

    /// Takes new rules; they count from each tracker's next attachment on.
    pub fn amend(&self, rules: Rules) {
        self.rules.set(rules);
    }

    /// A backend that has just logged in, **without any startup parameters but user and database**,
    /// and what it reported. (A startup parameter would be what RESET goes back to, for everybody.)
    pub fn backend_opened(self: &Rc<Self>, reported: &Parameters) -> BackendMemory {
        let _ = reported;
        todo!()
    }
}

//! What messages change in our tables in the belief that they will succeed, and how that is taken back.

use std::rc::Rc;

use bytes::Bytes;

use super::names::{Named, Names};
use super::portals::Portals;
use super::prepared::{Entry, Key, Prepared};
use super::shape::Shape;
use super::sql::{Script, Traces};
use super::statement::Statement;

/// A change in our tables, with what was there before.
#[derive(Debug)]
pub(super) enum Change {
    /// What a name of the client means.
    Name { name: Bytes, before: Option<Named> },
    /// What a portal does to the session.
    Portal {
        name: Bytes,
        before: Option<Rc<Script>>,
    },
    /// What is prepared on the backend.
    Prepared { key: Key, before: Option<Entry> },
    /// The unnamed statement: the client's, and the one on the backend.
    Unnamed { client: Unnamed, backend: Unnamed },
    /// Whose values of sequences the backend knows.
    Values { before: Values },
}

/// An unnamed statement.
#[derive(Debug, Clone, Default)]
pub(super) enum Unnamed {
    /// There is none.
    #[default]
    Absent,
    /// This one; and what the client has been told of it.
    Known(Rc<Statement>, Option<Rc<Shape>>),
    /// One that is too long to be kept, or for which there is no room; it cannot be made again.
    Unkept {
        /// What its execution does to the session, if anything.
        script: Option<Rc<Script>>,
        /// What it may leave behind beside that.
        traces: Traces,
    },
}

impl Unnamed {
    /// One of which nobody knows what it is; it must not be used.
    pub(super) const SPOILT: Unnamed = Unnamed::Unkept {
        script: None,
        traces: Traces::NONE,
    };
}

/// They are the same if they are the same statement, whatever has been told of it.
impl PartialEq for Unnamed {
    fn eq(&self, other: &Unnamed) -> bool {
        match (self, other) {
            (Unnamed::Absent, Unnamed::Absent) => true,
            (Unnamed::Known(one, _), Unnamed::Known(other, _)) => one == other,
            (
                Unnamed::Unkept { script, traces },
                Unnamed::Unkept {
                    script: other_script,
                    traces: other_traces,
                },
            ) => script == other_script && traces == other_traces,
            _ => false,
        }
    }
}

/// Whose values of sequences a backend knows, as its client sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Values {
    /// None that somebody was seen to draw.
    Unknown,
    /// The client's own.
    Own,
    /// Somebody else's.
    Others,
}

/// The tables that changes are made in.
pub(super) struct Tables<'a> {
    pub(super) names: &'a mut Names,
    pub(super) portals: &'a mut Portals,
    pub(super) prepared: &'a mut Prepared,
    pub(super) client_unnamed: &'a mut Unnamed,
    pub(super) backend_unnamed: &'a mut Unnamed,
    pub(super) values: &'a mut Values,
}

impl Tables<'_> {
    pub(super) fn restore(&mut self, change: Change) {
        match change {
            Change::Name { name, before } => {
                self.names.set(&name, before);
            }
            Change::Portal { name, before } => {
                self.portals.set(&name, before);
            }
            Change::Prepared { key, before } => self.prepared.restore(&key, before),
            Change::Unnamed { client, backend } => {
                *self.client_unnamed = client;
                *self.backend_unnamed = backend;
            }
            Change::Values { before } => *self.values = before,
        }
    }
}

impl Change {
    pub(super) fn concerns_same(&self, other: &Change) -> bool {
        match (self, other) {
            (Change::Name { name: one, .. }, Change::Name { name: other, .. })
            | (Change::Portal { name: one, .. }, Change::Portal { name: other, .. }) => {
                one == other
            }
            (Change::Prepared { key: one, .. }, Change::Prepared { key: other, .. }) => {
                one == other
            }
            (Change::Unnamed { .. }, Change::Unnamed { .. })
            | (Change::Values { .. }, Change::Values { .. }) => true,
            _ => false,
        }
    }

    /// How long the text is of the statement that it puts on the backend, or takes from it.
    pub(super) fn text(&self) -> usize {
        match self {
            Change::Prepared { key, .. } => key.statement.source.len(),
            _ => 0,
        }
    }

    /// This change was made to what an earlier one left, which was never made.
    pub(super) fn found_instead(&mut self, earlier: Change) {
        // They concern the same, so all that a change is, besides, is what it found.
        *self = earlier;
    }
}

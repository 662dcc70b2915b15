//! How many clients may be here at once, counted across all threads, and who was refused at the
//! door.
//!
//! The acceptor asks before it reads a byte; the answer is a value that travels with the client
//! from thread to thread and gives its place back when it is dropped, wherever that happens.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::contract::{Door, EndKind};

/// Counts clients against a limit. Clones share the count.
#[derive(Clone, Debug)]
pub struct Gate {
    limit: usize,
    inside: Arc<AtomicUsize>,
    /// Clients that got no further than an acceptor, by [`EndKind`].
    refused: Arc<[AtomicU64; EndKind::ALL.len()]>,
}

/// A client's place. Dropping it makes room for another.
#[derive(Debug)]
#[must_use]
pub struct Place(Arc<AtomicUsize>);

impl Gate {
    /// A gate with `limit` places.
    pub fn new(limit: usize) -> Gate {
        Gate {
            limit,
            inside: Arc::default(),
            refused: Arc::new([const { AtomicU64::new(0) }; _]),
        }
    }

    /// A place, or `None` when all are taken.
    pub fn enter(&self) -> Option<Place> {
        // Relaxed: the count guards no other memory, and each enter and leave is one atomic step.
        let taken = self
            .inside
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |inside| {
                (inside < self.limit).then_some(inside + 1)
            });
        taken.ok().map(|_| Place(Arc::clone(&self.inside)))
    }

    /// A client goes no further.
    pub fn refuse(&self, kind: EndKind) {
        self.refused[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How it stands.
    pub fn door(&self) -> Door {
        Door {
            clients: self.inside(),
            limit: self.limit,
            refused: std::array::from_fn(|kind| self.refused[kind].load(Ordering::Relaxed)),
        }
    }

    /// How many are inside now.
    pub fn inside(&self) -> usize {
        self.inside.load(Ordering::Relaxed)
    }

    /// How many may be inside.
    pub fn limit(&self) -> usize {
        self.limit
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_given_back_when_dropped() {
        let gate = Gate::new(2);
        let (a, b) = (gate.enter(), gate.enter());
        assert!(a.is_some() && b.is_some() && gate.enter().is_none());
        drop(a);
        assert_eq!(gate.inside(), 1);
        assert!(gate.enter().is_some());
    }
}

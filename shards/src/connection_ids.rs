//! The connection ids that MySQL clients were told, and the backends' own ids behind them.
//!
//! A client learns its id from our greeting, before there is a backend; with it, it kills its own
//! query from another connection. Ids are known within their tenant only, so nobody can mean
//! another tenant's.

use std::cell::RefCell;
use std::collections::HashMap;

use crate::random;

/// The ids of one tenant's clients.
#[derive(Default)]
pub struct OwnIds(RefCell<HashMap<u32, u32>>);

/// An id that is in force until this is dropped.
pub struct Alias<'a> {
    ids: &'a OwnIds,
    own: u32,
}

impl OwnIds {
    /// From now on `own` means the connection that the database knows as `backend`.
    pub fn register(&self, own: u32, backend: u32) -> Alias<'_> {
        self.0.borrow_mut().insert(own, backend);
        Alias { ids: self, own }
    }

    /// The database's id for one of ours.
    pub fn backend_of(&self, own: u32) -> Option<u32> {
        self.0.borrow().get(&own).copied()
    }

    /// A fresh id for a greeting. Databases count theirs up from 1, so that the two kinds meet only
    /// at a database that has seen two thousand million connections.
    pub fn fresh() -> u32 {
        random::u32() | OURS
    }
}

impl Drop for Alias<'_> {
    fn drop(&mut self) {
        self.ids.0.borrow_mut().remove(&self.own);
    }
}

const OURS: u32 = 1 << 31;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_means_its_backend_while_the_session_lasts() {
        let ids = OwnIds::default();
        let own = OwnIds::fresh();
        let alias = ids.register(own, 42);
        assert_eq!(ids.backend_of(own), Some(42));
        drop(alias);
        assert_eq!(ids.backend_of(own), None);
    }
}

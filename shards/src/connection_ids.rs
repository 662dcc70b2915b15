//! The connection ids that MySQL clients were told, and the backends' own ids behind them.
//!
//! A client learns its id from our greeting, before there is a backend; with it, it kills its own
//! query from another connection. Ids are known within their tenant only, so nobody can mean
//! another tenant's.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use sockets::Address;

use crate::random;

/// The ids of one tenant's clients, and what stands behind each.
#[derive(Default)]
pub struct OwnIds(RefCell<HashMap<u32, Behind>>);

/// A client's backend.
struct Behind {
    server: Address,
    /// The id that the server has for it.
    backend: u32,
    /// A client of the tenant's has had it, or its query, killed.
    is_killed: bool,
}

/// An id that is in force until this is dropped.
pub struct Alias<'a> {
    ids: &'a OwnIds,
    own: u32,
}

impl OwnIds {
    /// From now on `own` means the connection that `server` knows as `backend`.
    pub fn register(&self, own: u32, server: Address, backend: u32) -> Alias<'_> {
        let behind = Behind {
            server,
            backend,
            is_killed: false,
        };
        self.0.borrow_mut().insert(own, behind);
        Alias { ids: self, own }
    }

    /// A client kills `id` at `server`. Answers the id that the server has for one of ours, if that is a connection
    /// to it. On another server, which a tenant's name may mean after a fail-over, the number is somebody else's.
    pub fn kill(&self, id: u32, server: &Address) -> Option<u32> {
        let mut ids = self.0.borrow_mut();
        if let Some(behind) = ids.get_mut(&id) {
            let is_there = behind.server == *server;
            behind.is_killed |= is_there;
            return is_there.then_some(behind.backend);
        }
        // It may be known by its real id, too, by which the server finds it without us.
        let mut all = ids.values_mut();
        if let Some(behind) = all.find(|it| it.backend == id && it.server == *server) {
            behind.is_killed = true;
        }
        None
    }

    /// An id for a greeting that no other client of this process has. Databases count theirs up from 1, so that the
    /// two kinds meet only at a database that has seen a thousand million connections. Where the count begins is
    /// random, lest an id of before a restart mean somebody of after it. None is too large for a number with a sign: there
    /// are drivers (MariaDB's for Java) that read it as one, and would kill another.
    pub fn fresh() -> u32 {
        static NEXT: LazyLock<AtomicU32> = LazyLock::new(|| AtomicU32::new(random::u32()));
        (NEXT.fetch_add(1, Ordering::Relaxed) % OURS) | OURS
    }
}

impl Alias<'_> {
    /// Whether a client of the tenant's has had the connection, or its query, killed.
    pub fn was_killed(&self) -> bool {
        let ids = self.ids.0.borrow();
        ids.get(&self.own).is_some_and(|behind| behind.is_killed)
    }
}

impl Drop for Alias<'_> {
    fn drop(&mut self) {
        self.ids.0.borrow_mut().remove(&self.own);
    }
}

const OURS: u32 = 1 << 30;

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    #[test]
    fn an_id_means_its_backend_while_the_session_lasts_and_at_its_own_server() {
        let ids = OwnIds::default();
        let own = OwnIds::fresh();
        let servers = [1, 2].map(|host| Address::from(SocketAddr::from(([10, 0, 0, host], 3306))));
        let alias = ids.register(own, servers[0].clone(), 42);
        assert_eq!(ids.kill(own, &servers[1]), None);
        assert!(!alias.was_killed());
        assert_eq!(ids.kill(own, &servers[0]), Some(42));
        assert!(alias.was_killed());
        drop(alias);
        assert_eq!(ids.kill(own, &servers[0]), None);
    }

    #[test]
    fn who_is_killed_by_its_real_id_is_known_to_be() {
        let ids = OwnIds::default();
        let servers = [1, 2].map(|host| Address::from(SocketAddr::from(([10, 0, 0, host], 3306))));
        let [one, other] = [0, 1].map(|it| ids.register(OwnIds::fresh(), servers[it].clone(), 42));
        assert_eq!(ids.kill(42, &servers[1]), None);
        assert!(!one.was_killed() && other.was_killed());
    }

    #[test]
    fn no_two_clients_are_told_the_same_id() {
        let (one, other) = (OwnIds::fresh(), OwnIds::fresh());
        assert!(one != other && one & other & OURS != 0);
        assert!([one, other].iter().all(|&id| i32::try_from(id).is_ok()));
    }
}

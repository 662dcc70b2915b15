//! How many clients may be here at once, counted across all threads, and who was refused at the
//! door.
//!
//! The acceptor asks before it reads a byte; the answer is a value that travels with the client
//! from thread to thread and gives its places back when it is dropped, wherever that happens.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::contract::{Door, EndKind, Neighbourhood};

/// How many clients may be here at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places {
    /// In all.
    pub clients: usize,
    /// Of those that have not proved who they are; `None` is as many as come.
    pub unproven: Option<usize>,
    /// From one address, in IPv6 from one /64; `None` is as many as come.
    pub per_address: Option<usize>,
}

/// Which places are all taken, and how many there are of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crowd {
    /// Those of all clients.
    Clients(usize),
    /// Those of clients that have not proved who they are.
    Logins(usize),
    /// Those of clients from one address.
    FromAddress(usize),
    /// Those of one tenant's clients.
    OfTenant(usize),
}

/// Counts clients against the limits. Clones share the counts.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Counted>);

#[derive(Debug)]
struct Counted {
    places: Places,
    inside: AtomicUsize,
    unproven: AtomicUsize,
    /// Empty where addresses are not counted. Locked at a client's coming and going, never while it
    /// is served.
    by_address: Mutex<HashMap<Neighbourhood, usize>>,
    /// Clients that got no further than an acceptor, by [`EndKind`].
    refused: [AtomicU64; EndKind::ALL.len()],
    accept_failures: AtomicU64,
}

/// A client's places. Dropping it makes room for another.
#[derive(Debug)]
#[must_use]
pub struct Place {
    counted: Arc<Counted>,
    unproven: bool,
    address: Option<Neighbourhood>,
}

impl Gate {
    /// A gate with so many places.
    pub fn new(places: Places) -> Gate {
        Gate(Arc::new(Counted {
            places,
            inside: AtomicUsize::default(),
            unproven: AtomicUsize::default(),
            by_address: Mutex::default(),
            refused: [const { AtomicU64::new(0) }; _],
            accept_failures: AtomicU64::default(),
        }))
    }

    /// A place for a client that has proved nothing yet. Where it comes from is
    /// [said later](Place::at), since a proxy in front may have to say it first.
    pub fn enter(&self) -> Result<Place, Crowd> {
        let Places {
            clients, unproven, ..
        } = self.0.places;
        if !take(&self.0.inside, clients) {
            return Err(Crowd::Clients(clients));
        }
        let mut place = Place {
            counted: Arc::clone(&self.0),
            unproven: false,
            address: None,
        };
        let most = unproven.unwrap_or(usize::MAX);
        place.unproven = take(&self.0.unproven, most);
        match place.unproven {
            true => Ok(place),
            false => Err(Crowd::Logins(most)),
        }
    }

    /// A client goes no further.
    pub fn refuse(&self, kind: EndKind) {
        self.0.refused[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// A connection could not be accepted.
    pub fn accept_failed(&self) {
        self.0.accept_failures.fetch_add(1, Ordering::Relaxed);
    }

    /// How it stands.
    pub fn door(&self) -> Door {
        let counted = &*self.0;
        Door {
            clients: counted.inside.load(Ordering::Relaxed),
            limit: counted.places.clients,
            unproven: counted.unproven.load(Ordering::Relaxed),
            unproven_limit: counted.places.unproven,
            accept_failures: counted.accept_failures.load(Ordering::Relaxed),
            refused: std::array::from_fn(|kind| counted.refused[kind].load(Ordering::Relaxed)),
        }
    }
}

impl Place {
    /// The client comes from there.
    pub fn at(&mut self, address: IpAddr) -> Result<(), Crowd> {
        let Some(most) = self.counted.places.per_address else {
            return Ok(());
        };
        let address = Neighbourhood::of(address);
        let mut by_address = self.counted.by_address();
        let taken = by_address.entry(address).or_default();
        if *taken >= most {
            return Err(Crowd::FromAddress(most));
        }
        *taken += 1;
        drop(by_address);
        self.address = Some(address);
        Ok(())
    }

    /// The client has proved who it is.
    pub fn proven(&mut self) {
        if std::mem::take(&mut self.unproven) {
            self.counted.unproven.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.proven();
        self.counted.inside.fetch_sub(1, Ordering::Relaxed);
        let Some(address) = self.address else {
            return;
        };
        let mut by_address = self.counted.by_address();
        if let Some(taken) = by_address.get_mut(&address) {
            *taken -= 1;
            if *taken == 0 {
                by_address.remove(&address);
            }
        }
    }
}

impl Counted {
    fn by_address(&self) -> MutexGuard<'_, HashMap<Neighbourhood, usize>> {
        // Whoever panics while it counts ends the process.
        self.by_address
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of so many, if not all are taken.
fn take(taken: &AtomicUsize, most: usize) -> bool {
    // Relaxed: the count guards no other memory, and each enter and leave is one atomic step.
    taken
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
            (taken < most).then_some(taken + 1)
        })
        .is_ok()
}

impl Crowd {
    /// What a refusal for its sake counts as.
    pub fn kind(self) -> EndKind {
        match self {
            Crowd::Clients(_) => EndKind::TooManyClients,
            Crowd::Logins(_) => EndKind::TooManyLogins,
            Crowd::FromAddress(_) => EndKind::TooManyFromAddress,
            Crowd::OfTenant(_) => EndKind::TooManyOfTenant,
        }
    }
}

impl fmt::Display for Crowd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (limit, whose) = match self {
            Crowd::Clients(limit) => (limit, ""),
            Crowd::Logins(limit) => (limit, " for logins under way"),
            Crowd::FromAddress(limit) => (limit, " for clients from one address"),
            Crowd::OfTenant(limit) => (limit, " of the tenant"),
        };
        write!(f, "too many clients: all {limit} places{whose} are taken")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn gate(clients: usize, unproven: usize, per_address: usize) -> Gate {
        Gate::new(Places {
            clients,
            unproven: Some(unproven),
            per_address: Some(per_address),
        })
    }

    #[test]
    fn places_are_given_back_when_dropped() {
        let gate = gate(2, 9, 9);
        let (a, b) = (gate.enter().unwrap(), gate.enter().unwrap());
        assert_eq!(gate.enter().unwrap_err(), Crowd::Clients(2));
        drop(a);
        let c = gate.enter().unwrap();
        drop((b, c));
        let door = gate.door();
        assert_eq!((door.clients, door.unproven), (0, 0));
    }

    #[test]
    fn who_has_proved_itself_takes_no_place_of_those_who_have_not() {
        let gate = gate(9, 1, 9);
        let mut first = gate.enter().unwrap();
        assert_eq!(gate.enter().unwrap_err(), Crowd::Logins(1));
        // The one that was refused left nothing behind.
        assert_eq!(gate.door().clients, 1);
        first.proven();
        first.proven();
        let second = gate.enter().unwrap();
        assert_eq!((gate.door().clients, gate.door().unproven), (2, 1));
        drop((first, second));
        assert_eq!((gate.door().clients, gate.door().unproven), (0, 0));
    }

    #[test]
    fn an_address_has_its_own_places_and_is_forgotten_when_nobody_is_there() {
        let gate = gate(9, 9, 1);
        let (here, there) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let mut first = gate.enter().unwrap();
        first.at(here).unwrap();
        let mut second = gate.enter().unwrap();
        assert_eq!(second.at(here), Err(Crowd::FromAddress(1)));
        second.at(there).unwrap();
        drop(first);
        gate.enter().unwrap().at(here).unwrap();
        drop(second);
        assert!(gate.0.by_address().is_empty());
    }
}

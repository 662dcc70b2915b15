//! A tenant's host name to addresses, off the shard's thread.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::rc::Rc;

use crate::seat::Seat;

/// The names that a shard is looking up.
///
/// A name is looked up for each dial (by the C library, on a helper thread), so that a database that
/// moved is found again; the C library's own cache and the rate of dials bound the cost. Whoever
/// wants a name that is being looked up waits for that answer: a name server that keeps silent for
/// longer than dials last would otherwise gather threads, and tenants with other names would wait
/// behind.
#[derive(Default)]
pub struct Names {
    under_way: RefCell<HashMap<String, Vec<Seat<Found>>>>,
}

/// What a look-up came to; for everybody who waited for it.
type Found = Result<Vec<IpAddr>, (ErrorKind, String)>;

impl Names {
    /// The addresses of `host`, in the resolver's order; never empty. A literal address costs
    /// nothing.
    pub async fn resolve(self: &Rc<Self>, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let (found, mine) = Seat::new();
        let is_first = {
            let mut under_way = self.under_way.borrow_mut();
            let waiting = under_way.entry(host.to_owned()).or_default();
            waiting.push(found);
            waiting.len() == 1
        };
        if is_first {
            // A task of its own: it goes on when those who wait have given up.
            sockets::spawn(Rc::clone(self).look_up(host.to_owned())).detach();
        }
        match mine.given().await {
            Ok(addresses) => Ok(addresses
                .into_iter()
                .map(|address| SocketAddr::new(address, port))
                .collect()),
            Err((kind, why)) => Err(io::Error::new(kind, why)),
        }
    }

    async fn look_up(self: Rc<Self>, host: String) {
        let name = host.clone();
        let found = sockets::blocking_on_others(move || ask(&name)).await;
        let waiting = self.under_way.borrow_mut().remove(&host);
        for seat in waiting.into_iter().flatten() {
            seat.give(found.clone());
        }
    }
}

fn ask(name: &str) -> Found {
    let told = |error: io::Error| (error.kind(), error.to_string());
    let addresses = (name, 0).to_socket_addrs().map_err(told)?;
    let addresses: Vec<_> = addresses.map(|address| address.ip()).collect();
    match addresses.is_empty() {
        true => Err((ErrorKind::NotFound, "the name has no address".to_owned())),
        false => Ok(addresses),
    }
}

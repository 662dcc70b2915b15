//! A tenant's host name to addresses, off the shard's thread.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::seat::Seat;

/// The names that a shard is looking up.
///
/// A name is looked up for each dial (by the C library, on a helper thread), so that a database that
/// moved is found again; the C library's own cache and the rate of dials bound the cost. Whoever
/// wants a name that is being looked up waits for that answer: a name server that keeps silent for
/// longer than dials last would otherwise gather threads, and tenants with other names would wait
/// behind. A look-up whose turn comes when everybody has given up is not made.
pub struct Names {
    under_way: RefCell<HashMap<String, LookUp>>,
    ask: fn(&str) -> Found,
}

/// What a look-up came to; for everybody who waited for it.
type Found = Result<Vec<IpAddr>, (ErrorKind, String)>;

/// One that is queued, or being made.
#[derive(Default)]
struct LookUp {
    seats: Vec<Seat<Found>>,
    /// How many wait still.
    wanted: Arc<AtomicUsize>,
}

impl Default for Names {
    fn default() -> Names {
        Names {
            under_way: RefCell::default(),
            ask,
        }
    }
}

impl Names {
    /// The addresses of `host`, in the resolver's order; never empty. A literal address costs
    /// nothing.
    pub async fn resolve(self: &Rc<Self>, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let (found, mine) = Seat::new();
        let (is_first, wanted) = {
            let mut under_way = self.under_way.borrow_mut();
            let look_up = under_way.entry(host.to_owned()).or_default();
            look_up.seats.push(found);
            (look_up.seats.len() == 1, Arc::clone(&look_up.wanted))
        };
        let _waits = Waits::new(&wanted);
        if is_first {
            // A task of its own: what is being asked for is asked to its end.
            sockets::spawn(Rc::clone(self).look_up(host.to_owned(), wanted)).detach();
        }
        match mine.given().await {
            Ok(addresses) => Ok(addresses
                .into_iter()
                .map(|address| SocketAddr::new(address, port))
                .collect()),
            Err((kind, why)) => Err(io::Error::new(kind, why)),
        }
    }

    async fn look_up(self: Rc<Self>, host: String, wanted: Arc<AtomicUsize>) {
        loop {
            let (name, ask) = (host.clone(), self.ask);
            let is_wanted = Arc::clone(&wanted);
            let found = sockets::blocking_on_others(move || {
                (is_wanted.load(Ordering::Relaxed) > 0).then(|| ask(&name))
            })
            .await;
            // Somebody else may have come when it had just been passed over.
            if found.is_none() && wanted.load(Ordering::Relaxed) > 0 {
                continue;
            }
            let look_up = self.under_way.borrow_mut().remove(&host);
            let seats = look_up.into_iter().flat_map(|look_up| look_up.seats);
            if let Some(found) = found {
                seats.for_each(|seat| seat.give(found.clone()));
            }
            return;
        }
    }
}

/// Somebody waits for an answer.
struct Waits(Arc<AtomicUsize>);

impl Waits {
    fn new(wanted: &Arc<AtomicUsize>) -> Waits {
        wanted.fetch_add(1, Ordering::Relaxed);
        Waits(Arc::clone(wanted))
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::Ipv4Addr;
    use std::sync::Mutex;
    use std::sync::atomic::AtomicBool;
    use std::time::Duration;

    use super::*;

    static ASKED: Mutex<Vec<String>> = Mutex::new(Vec::new());
    /// The name server says nothing.
    static SILENT: AtomicBool = AtomicBool::new(true);

    fn ask_slowly(name: &str) -> Found {
        ASKED.lock().unwrap().push(name.to_owned());
        while SILENT.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(vec![Ipv4Addr::LOCALHOST.into()])
    }

    #[test]
    fn a_name_that_nobody_waits_for_any_more_is_not_looked_up() {
        let test = async {
            let names = Rc::new(Names {
                under_way: RefCell::default(),
                ask: ask_slowly,
            });
            let busy: Vec<_> = (0..sockets::WAITERS)
                .map(|number| {
                    let names = Rc::clone(&names);
                    let name = format!("busy-{number}");
                    sockets::spawn(async move { names.resolve(&name, 1).await })
                })
                .collect();
            let asked = || ASKED.lock().unwrap().len();
            while asked() < sockets::WAITERS {
                sockets::sleep(Duration::from_millis(1)).await;
            }
            // All who can ask are at it. Of one name both who want it give up, of the other one does.
            for name in ["late", "late", "later"] {
                let given_up = sockets::timeout(Duration::ZERO, names.resolve(name, 1));
                assert!(given_up.await.is_err());
            }
            let stays = {
                let names = Rc::clone(&names);
                sockets::spawn(async move { names.resolve("later", 1).await })
            };
            sockets::sleep(Duration::from_millis(1)).await;
            SILENT.store(false, Ordering::Relaxed);
            for task in busy {
                task.await.unwrap();
            }
            assert_eq!(
                stays.await.unwrap(),
                [SocketAddr::from(([127, 0, 0, 1], 1))]
            );
            let of_the_late = |name: &&String| name.starts_with("late");
            let asked: Vec<_> = ASKED
                .lock()
                .unwrap()
                .iter()
                .filter(of_the_late)
                .cloned()
                .collect();
            assert_eq!(asked, ["later"]);
            // It is looked up when somebody wants it.
            names.resolve("late", 1).await.unwrap();
            assert!(names.under_way.borrow().is_empty());
        };
        crate::trial::run(test);
    }
}

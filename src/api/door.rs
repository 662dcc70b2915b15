//! The API's door: who comes in, how many at once, and who must go when it is full.
//!
//! One thread accepts; each connection has a thread of its own, of which there are at most
//! [`MAX_CONNECTIONS`]. Two things must not keep a probe out:
//!
//! - *Connections that say nothing.* When all places are taken, whoever has kept us waiting
//!   longest goes. A probe says all it has to say at once, so it is never that one.
//! - *A process without descriptors.* Some are kept back here, open on nothing. Accepting spends
//!   one, and a connection that ends becomes one again in a single step, so that nobody else gets it
//!   in between.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use log::{debug, warn};

use super::http::Request;
use super::intake::{Intake, Nothing};
use super::lanes::Lanes;
use super::route;
use crate::vitals::{Asked, Vitals};

/// Lets clients in until the process ends.
pub fn open(listener: TcpListener, lanes: Lanes, vitals: Arc<Vitals>) -> io::Result<()> {
    let door = Arc::new(Door {
        lanes,
        vitals,
        room: Mutex::new(Room::new()?),
        left: Condvar::new(),
    });
    thread::Builder::new()
        .name("api-door".into())
        .spawn(move || {
            loop {
                door.let_in(&listener);
            }
        })?;
    Ok(())
}

struct Door {
    lanes: Lanes,
    vitals: Arc<Vitals>,
    room: Mutex<Room>,
    /// Somebody has left the room.
    left: Condvar,
}

impl Door {
    fn let_in(self: &Arc<Self>, listener: &TcpListener) {
        match listener.accept() {
            Ok((stream, peer)) => self.seat(stream, peer),
            Err(error) if is_shortage(&error) => {
                // The place of a descriptor: one kept back, or that of whoever waits longest.
                let mut room = self.room();
                // Whoever is on his way out leaves one, too: on a busy machine all would be shown out meanwhile.
                if room.spares.pop().is_none() && room.leaving() == 0 {
                    room.show_out_the_slowest();
                }
                drop(room);
                // The connection is accepted at the next turn. Should another thread have been
                // quicker to take the descriptor, this keeps the loop from spinning.
                if self.room().spares.is_empty() {
                    thread::sleep(SHORTAGE_PAUSE);
                }
            }
            // The client left before it was accepted.
            Err(error) => debug!("API: accept: {error}"),
        }
    }

    /// Gives a connection a place and a thread.
    fn seat(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        let stream = Arc::new(stream);
        let number = {
            let mut room = self.room();
            if room.guests.len() - room.leaving() >= MAX_CONNECTIONS {
                room.show_out_the_slowest();
            }
            // Then all are being answered, or on their way out: one of them has left in a moment.
            let is_packed = |room: &mut Room| room.guests.len() >= MAX_CONNECTIONS + LEAVING;
            let waited = self.left.wait_timeout_while(room, PACKED_PAUSE, is_packed);
            room = waited.unwrap_or_else(PoisonError::into_inner).0;
            if is_packed(&mut room) {
                debug!("API: {peer} refused: all places are taken");
                return room.take_back(stream);
            }
            room.seat(&stream)
        };
        let door = Arc::clone(self);
        let host = thread::Builder::new()
            .stack_size(STACK)
            .name(format!("api-client-{number}"));
        let hosting = host.spawn(move || {
            door.host(&stream, number, peer);
            door.room().leave(number, stream);
            door.left.notify_one();
        });
        if let Err(error) = hosting {
            warn!("API: no thread for {peer}: {error}");
            self.room().guests.remove(&number);
        }
    }

    /// Serves one connection to its end.
    fn host(&self, stream: &TcpStream, number: u64, peer: SocketAddr) {
        let mut intake = Intake::new(stream);
        // What it has said already cannot have been heard before, so who talks slowly goes first, on however busy a machine.
        self.room().waits(number, true);
        loop {
            // The time that counts for being shown out begins with each request anew.
            let arrived = intake.next(|| self.room().waits(number, true));
            let (response, keep_alive, asked) = match arrived {
                Ok(mut arrived) => {
                    arrived.request.peer = Some(peer);
                    self.room().waits(number, false);
                    let response = self.lanes.exchange(&arrived.request);
                    self.room().waits(number, true);
                    let asked = asked(&arrived.request, response.status);
                    (response, arrived.keep_alive, asked)
                }
                Err(Nothing::Refused(problem)) => {
                    let response = problem.response();
                    let asked = asked(&Request::default(), response.status);
                    (response, false, asked)
                }
                Err(Nothing::Gone) => return,
            };
            self.vitals.answered(asked);
            let head_only = asked.method == "HEAD";
            debug!("API: {peer} {}", response.status);
            if intake.answer(&response, keep_alive, head_only).is_err() {
                return;
            }
            if !keep_alive {
                return intake.part();
            }
        }
    }

    fn room(&self) -> MutexGuard<'_, Room> {
        // Nothing in here can be left half done by a panic.
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who is inside, and the descriptors kept back.
struct Room {
    guests: HashMap<u64, Guest>,
    next: u64,
    nowhere: OwnedFd,
    spares: Vec<OwnedFd>,
}

struct Guest {
    /// Weak, so that the connection's own thread can take the descriptor back whole.
    stream: Weak<TcpStream>,
    /// Since when we wait for this client to say or to read something; `None` while it waits for
    /// us, be it for its thread to begin, and when it has been shown out.
    waiting_since: Option<Instant>,
    /// Its connection has been ended; its thread has yet to notice.
    is_leaving: bool,
}

impl Room {
    fn new() -> io::Result<Room> {
        let nowhere = OwnedFd::from(File::open("/dev/null")?);
        let spares = (0..SPARES).map(|_| nowhere.try_clone());
        let spares = spares.collect::<io::Result<_>>()?;
        Ok(Room {
            guests: HashMap::new(),
            next: 0,
            nowhere,
            spares,
        })
    }

    fn seat(&mut self, stream: &Arc<TcpStream>) -> u64 {
        self.next += 1;
        let stream = Arc::downgrade(stream);
        self.guests.insert(
            self.next,
            Guest {
                stream,
                waiting_since: None,
                is_leaving: false,
            },
        );
        self.next
    }

    fn waits(&mut self, number: u64, waits: bool) {
        if let Some(guest) = self.guests.get_mut(&number) {
            guest.waiting_since = (waits && !guest.is_leaving).then(Instant::now);
        }
    }

    /// How many have been shown out and have not left so far.
    fn leaving(&self) -> usize {
        self.guests
            .values()
            .filter(|guest| guest.is_leaving)
            .count()
    }

    /// Ends the connection that has kept us waiting longest. Its thread then finds it closed.
    fn show_out_the_slowest(&mut self) {
        let waiting = self
            .guests
            .values_mut()
            .filter(|guest| guest.waiting_since.is_some());
        if let Some(guest) = waiting.min_by_key(|guest| guest.waiting_since) {
            guest.waiting_since = None;
            guest.is_leaving = true;
            if let Some(stream) = guest.stream.upgrade() {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }

    fn leave(&mut self, number: u64, stream: Arc<TcpStream>) {
        self.guests.remove(&number);
        self.take_back(stream);
    }

    /// Ends a connection; its descriptor is kept back where one is missing.
    fn take_back(&mut self, stream: Arc<TcpStream>) {
        if let Some(stream) = Arc::into_inner(stream)
            && self.spares.len() < SPARES
        {
            let mut descriptor = OwnedFd::from(stream);
            // One step: the number is never free for another thread to take.
            if rustix::io::dup2(self.nowhere.as_fd(), &mut descriptor).is_ok() {
                self.spares.push(descriptor);
            }
        }
    }
}

/// What a request counts as.
fn asked(request: &Request, code: u16) -> Asked {
    let known = METHODS.iter().find(|method| **method == request.method);
    Asked {
        route: route::pattern(&request.path),
        method: known.copied().unwrap_or("other"),
        code,
    }
}

/// Whether accepting failed for want of descriptors or memory, which passes.
fn is_shortage(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let shortages = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    error
        .raw_os_error()
        .is_some_and(|code| shortages.iter().any(|errno| errno.raw_os_error() == code))
}

/// The methods that are counted by their names.
const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "DELETE"];
/// The most connections served at once.
const MAX_CONNECTIONS: usize = 64;
/// How many more there may be while those shown out are on their way.
const LEAVING: usize = 64;
/// Descriptors kept back for the API.
const SPARES: usize = 16;
/// How long a newcomer waits for one of these to have gone.
const PACKED_PAUSE: Duration = Duration::from_millis(100);
/// How long to wait when no descriptor is to be had.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(10);
/// The stack of a connection's thread, in bytes.
const STACK: usize = 256 << 10;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn nobody_is_shown_out_twice_and_who_has_been_is_leaving_until_then() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let mut room = Room::new().unwrap();
        let mut guests: Vec<_> = (0..3)
            .map(|_| Arc::new(TcpStream::connect(address).unwrap()))
            .collect();
        let numbers: Vec<_> = guests.iter().map(|guest| room.seat(guest)).collect();
        room.show_out_the_slowest();
        assert_eq!(room.leaving(), 0, "nobody has been listened to");
        numbers.iter().for_each(|&number| room.waits(number, true));
        room.show_out_the_slowest();
        assert_eq!(room.leaving(), 1);
        // Its thread has not noticed so far, and waits for the next request.
        room.waits(numbers[0], true);
        room.show_out_the_slowest();
        assert_eq!(room.leaving(), 2);
        room.leave(numbers[0], guests.remove(0));
        assert_eq!(room.leaving(), 1);
        assert_eq!(room.guests.len(), 2);
    }
}

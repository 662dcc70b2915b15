//! A bad network between two ends: forwards TCP until told to misbehave.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;

/// A forwarder to one address. Its threads end with the connections; dropped, it cuts them all.
#[derive(Debug)]
pub struct Middleman {
    address: SocketAddr,
    state: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Debug, Default)]
struct State {
    held: bool,
    /// How many pieces wait for the end of that.
    waiting: usize,
    refusing: bool,
    gone: bool,
    connections: Vec<TcpStream>,
    accepted: usize,
    openings: Vec<Vec<u8>>,
    snare: Option<Snare>,
}

/// What a connection must not bring.
#[derive(Debug, Clone)]
enum Snare {
    Words(Vec<u8>),
    Resumption,
}

impl Middleman {
    /// Listens on a free port and forwards to `target`.
    ///
    /// # Panics
    /// If no port can be had.
    #[must_use]
    pub fn before(target: SocketAddr) -> Middleman {
        Middleman::at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), target)
    }

    /// The same at an address of the caller's choice.
    ///
    /// # Panics
    /// If it cannot be had.
    #[must_use]
    pub fn at(address: SocketAddr, target: SocketAddr) -> Middleman {
        let listener = TcpListener::bind(address).expect("a port can be had");
        let address = listener.local_addr().expect("a listener has an address");
        let state = Arc::new((Mutex::new(State::default()), Condvar::new()));
        let shared = Arc::clone(&state);
        thread::spawn(move || accept(&listener, target, &shared));
        Middleman { address, state }
    }

    /// Where to connect instead.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections have come so far.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.lock().accepted
    }

    /// The first bytes that each connection has brought, up to [`OPENING`] of them.
    #[must_use]
    pub fn openings(&self) -> Vec<Vec<u8>> {
        self.lock().openings.clone()
    }

    /// Bytes stay where they are, as in a network that drops every packet.
    pub fn hold(&self) {
        self.lock().held = true;
    }

    /// Whether anything has come that stays where it is.
    #[must_use]
    pub fn is_holding(&self) -> bool {
        self.lock().waiting > 0
    }

    /// Bytes flow again.
    pub fn release(&self) {
        self.lock().held = false;
        self.state.1.notify_all();
    }

    /// Ends every connection there is.
    pub fn cut(&self) {
        for connection in self.lock().connections.drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    /// From now on a connection that brings this is cut before it is passed on.
    pub fn cut_at(&self, snare: &str) {
        self.lock().snare = Some(Snare::Words(snare.as_bytes().to_vec()));
    }

    /// The same of one that begins TLS with an offer to resume an earlier session.
    pub fn cut_who_resumes(&self) {
        self.lock().snare = Some(Snare::Resumption);
    }

    /// New connections are closed at once; false takes them again.
    pub fn refuse(&self, refusing: bool) {
        self.lock().refusing = refusing;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Drop for Middleman {
    fn drop(&mut self) {
        self.cut();
        self.lock().gone = true;
        self.state.1.notify_all();
        // Wakes the accepting thread, which then sees that it is done.
        let _ = TcpStream::connect(self.address);
    }
}

type Shared = Arc<(Mutex<State>, Condvar)>;

fn accept(listener: &TcpListener, target: SocketAddr, shared: &Shared) {
    for client in listener.incoming().flatten() {
        let mut state = shared
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if state.gone {
            return;
        }
        state.accepted += 1;
        if state.refusing {
            continue;
        }
        let Ok(server) = TcpStream::connect(target) else {
            continue;
        };
        let (Ok(client2), Ok(server2)) = (client.try_clone(), server.try_clone()) else {
            continue;
        };
        if let (Ok(a), Ok(b)) = (client.try_clone(), server.try_clone()) {
            state.connections.extend([a, b]);
        }
        let number = state.openings.len();
        state.openings.push(Vec::new());
        drop(state);
        let (there, back) = (Arc::clone(shared), Arc::clone(shared));
        thread::spawn(move || pass(client, server2, &there, Some(number)));
        thread::spawn(move || pass(server, client2, &back, None));
    }
}

/// Copies one way until either end closes, and then closes the other end's half. Notes how the connection of this number
/// begins.
fn pass(mut from: TcpStream, mut to: TcpStream, shared: &Shared, number: Option<usize>) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let got = from.read(&mut buffer).unwrap_or(0);
        let mut state = shared
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(opening) = number.and_then(|number| state.openings.get_mut(number)) {
            let room = OPENING.saturating_sub(opening.len());
            opening.extend_from_slice(&buffer[..got.min(room)]);
        }
        let is_held = usize::from(state.held && got > 0);
        state.waiting += is_held;
        let mut state = shared
            .1
            .wait_while(state, |state| state.held && !state.gone)
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        state.waiting -= is_held;
        let snare = state.snare.as_ref();
        let snared = snare.is_some_and(|snare| snare.catches(&buffer[..got]));
        drop(state);
        if snared {
            let _ = from.shutdown(Shutdown::Both);
        }
        if got == 0 || snared || to.write_all(&buffer[..got]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
    let _ = from.shutdown(Shutdown::Read);
}

impl Snare {
    fn catches(&self, bytes: &[u8]) -> bool {
        match self {
            Snare::Words(words) => bytes.windows(words.len()).any(|part| part == words),
            Snare::Resumption => {
                let hello = bytes.windows(6).position(begins_hello);
                hello.is_some_and(|at| resumes(&bytes[at..]).unwrap_or(false))
            }
        }
    }
}

/// A TLS record with a handshake in it that begins with a ClientHello.
fn begins_hello(front: &[u8]) -> bool {
    matches!(front, [0x16, 3, 1, _, _, 1])
}

/// Whether a ClientHello offers a session: TLS 1.3's `pre_shared_key` (RFC 8446, 4.2.11), or a ticket of TLS 1.2 with
/// something in it (RFC 5077). `None` if it is cut off.
fn resumes(hello: &[u8]) -> Option<bool> {
    let skipped = |at: usize, width: usize| {
        let length = hello.get(at..at + width)?;
        let length = length
            .iter()
            .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        Some(at + width + length)
    };
    // Headers of record and message, version and random; then session id, suites, compressions.
    let mut at = skipped(skipped(skipped(5 + 4 + 2 + 32, 1)?, 2)?, 1)? + 2;
    while at < hello.len() {
        let next = skipped(at + 2, 2)?;
        match hello[at..at + 2] {
            [0, 41] => return Some(true),
            [0, 35] if next > at + 4 => return Some(true),
            _ => at = next,
        }
    }
    Some(false)
}

/// How much is kept of what a connection begins with, in bytes.
pub const OPENING: usize = 64;

//! TLS sessions with a tenant's database, kept so that later connections resume them.
//!
//! A server that does not want that says so and goes on from the start. Some that stand in between do not:
//! they drop whoever offers a session.
//!
//! ```text
//!   a handshake from the start ──▶ sessions are kept ──▶ one that offers a session
//!        ▲                                                   │            │
//!        │                                               it fails    it comes to its end
//!        │                                                   ▼            ▼
//!        └───────────────────────────── all are forgotten: a strike    no strikes any more
//!                                                   │
//!                                           MAX_STRIKES: none is offered again
//! ```
//!
//! Under other terms than those of their making nothing is resumed: each [`DatabaseTls`](super::DatabaseTls)
//! has sessions of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use rustls::NamedGroup;
use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::pki_types::ServerName;

/// The sessions that were made on the same terms. The dials of a tenant share them, which are made on one thread.
#[derive(Debug)]
pub(super) struct Sessions {
    kept: ClientSessionMemoryCache,
    /// One has been given out, and nobody has asked yet.
    given_out: AtomicBool,
    /// Handshakes that offered a session and failed, each behind one from the start that did not.
    strikes: AtomicU8,
    /// A handshake has come to a good end since the last strike.
    has_succeeded: AtomicBool,
}

impl Sessions {
    pub(super) fn new() -> Arc<Sessions> {
        Arc::new(Sessions {
            kept: ClientSessionMemoryCache::new(KEPT),
            given_out: AtomicBool::new(false),
            strikes: AtomicU8::new(0),
            has_succeeded: AtomicBool::new(false),
        })
    }

    /// The offer that the connection which was just made will begin with, if it will.
    pub(super) fn offer(self: &Arc<Sessions>, name: ServerName<'static>) -> Option<Offer> {
        let is_offered = self.given_out.swap(false, Ordering::Relaxed);
        is_offered.then(|| Offer {
            sessions: Arc::clone(self),
            name,
            was_heard: false,
        })
    }

    /// Whether it has turned out, since this was last asked, that sessions had better not be offered here.
    pub(super) fn has_given_up(&self) -> bool {
        let given_up = |strikes| (strikes == MAX_STRIKES).then_some(TOLD);
        self.strikes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, given_up)
            .is_ok()
    }

    fn are_offered(&self) -> bool {
        self.strikes.load(Ordering::Relaxed) < MAX_STRIKES
    }

    /// A handshake that offered a session has come to nothing. Of many that fail at once, as when a server is
    /// stopped, only the first counts.
    fn failed(&self, name: &ServerName<'static>) {
        self.kept.remove_tls12_session(name);
        while self.kept.take_tls13_ticket(name).is_some() {}
        if self.has_succeeded.swap(false, Ordering::Relaxed) && self.are_offered() {
            self.strikes.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn give(&self, is_one: bool) {
        self.given_out.fetch_or(is_one, Ordering::Relaxed);
    }
}

/// A session offered in a handshake. Unless it is heard of a good end, however that comes, this one has failed by it.
#[derive(Debug)]
pub struct Offer {
    sessions: Arc<Sessions>,
    name: ServerName<'static>,
    was_heard: bool,
}

impl Offer {
    /// The handshake has come to a good end, whether the session was resumed or not.
    pub fn heard(mut self) {
        self.was_heard = true;
        self.sessions.strikes.store(0, Ordering::Relaxed);
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        if !self.was_heard {
            self.sessions.failed(&self.name);
        }
    }
}

/// What rustls keeps and asks for; it knows by itself whether a session has expired.
impl ClientSessionStore for Sessions {
    fn set_kx_hint(&self, name: ServerName<'static>, group: NamedGroup) {
        self.kept.set_kx_hint(name, group);
    }

    fn kx_hint(&self, name: &ServerName<'_>) -> Option<NamedGroup> {
        self.kept.kx_hint(name)
    }

    fn set_tls12_session(&self, name: ServerName<'static>, session: Tls12ClientSessionValue) {
        self.has_succeeded.store(true, Ordering::Relaxed);
        self.kept.set_tls12_session(name, session);
    }

    fn tls12_session(&self, name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        let session = self.kept.tls12_session(name).filter(|_| self.are_offered());
        self.give(session.is_some());
        session
    }

    fn remove_tls12_session(&self, name: &ServerName<'static>) {
        self.kept.remove_tls12_session(name);
    }

    fn insert_tls13_ticket(&self, name: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        self.has_succeeded.store(true, Ordering::Relaxed);
        self.kept.insert_tls13_ticket(name, ticket);
    }

    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        let ticket = self
            .kept
            .take_tls13_ticket(name)
            .filter(|_| self.are_offered());
        self.give(ticket.is_some());
        ticket
    }
}

/// How many sessions are kept: all that rustls keeps of one name.
const KEPT: usize = 8;

/// So many handshakes may fail by what they offer, none in between having come to its end.
const MAX_STRIKES: u8 = 3;
/// In place of [`MAX_STRIKES`], once somebody knows.
const TOLD: u8 = MAX_STRIKES + 1;

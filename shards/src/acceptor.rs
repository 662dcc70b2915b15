//! An acceptor: takes connections, reads each client's first words, finds the tenant's name in
//! them, and hands the socket to the shard that owns that name.
//!
//! It knows no tenants and no pools, so a storm of logins does not run on the shards' cores, and
//! nothing about tenants can be learned from how it answers. TLS handshakes are made here, too, so
//! a storm of those does not either. What is refused here is refused in the client's own protocol.

use std::cell::RefCell;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::warn;
use sockets::{Bell, Doorbell, Listener, Stream, timeout_at};
use wire::{Origin, ProxyHeader};

use crate::admission::{Gate, Place};
use crate::cancel::shard_of_key;
use crate::conn::{Broken, Conn};
use crate::contract::{Dialect, Networks, TenantId, shard_of};
use crate::disguise::Disguise;
use crate::farewell::SessionEnd;
use crate::handoff::{Arrival, CancelHandoff, Handoff, Loose, Preface};
use crate::preface::{AFTER_GREETING, FirstWords, NotTaken, read_handshake, read_startup};
use crate::tls::ClientsTls;

/// What an acceptor needs to know.
#[derive(Clone)]
pub struct AcceptorSettings {
    /// How long a client may take from its first byte to the end of its login.
    pub login_timeout: Duration,
    /// What MySQL clients are greeted as.
    pub disguise: Arc<Disguise>,
    /// Where proxies stand that say before each connection where it comes from.
    pub proxies: Networks,
    /// TLS towards clients, if there is any.
    pub tls: Option<ClientsTls>,
    /// The places for clients.
    pub gate: Gate,
    /// The way to each shard, in the order of their ids.
    pub steer: Vec<Bell<Arrival>>,
}

/// What an acceptor can be told.
#[derive(Debug)]
pub enum Order {
    /// Stop listening.
    Close,
    /// Show these certificates to those who come from now on.
    Tls(Option<ClientsTls>),
}

/// An acceptor's life, on its own executor: until it is told to close.
pub async fn run(
    settings: AcceptorSettings,
    listeners: Vec<(Dialect, TcpListener)>,
    mut orders: Doorbell<Order>,
) {
    let tls = RefCell::new(settings.tls.clone());
    let acceptor = Rc::new(Acceptor { settings, tls });
    for (dialect, listener) in listeners {
        match Listener::adopt(listener) {
            Ok(listener) => sockets::spawn(Rc::clone(&acceptor).accept(dialect, listener)).detach(),
            // A port that cannot be served must not look as if it were: this thread ends, and with
            // it the process.
            Err(error) => return log::error!("cannot accept {dialect} clients: {error}"),
        }
    }
    while let Some(Order::Tls(tls)) = orders.next().await {
        acceptor.tls.replace(tls);
    }
}

struct Acceptor {
    settings: AcceptorSettings,
    /// As it is now; a handshake goes on with what it began with.
    tls: RefCell<Option<ClientsTls>>,
}

/// A client, or the proxy before it, while nothing is known but where it comes from.
struct Newcomer {
    conn: Conn,
    /// Its address: the connection's, until a proxy says better.
    peer: SocketAddr,
    /// The connection is a proxy's.
    proxied: bool,
    login_deadline: Instant,
    place: Place,
}

/// A client that has said who it is and what it wants, off this ring.
struct Acquainted {
    conn: Loose,
    words: FirstWords,
    peer: SocketAddr,
    proxied: bool,
    login_deadline: Instant,
    place: Place,
}

impl Acceptor {
    /// Takes connections from one port for ever.
    async fn accept(self: Rc<Self>, dialect: Dialect, listener: Listener) {
        let mut failures = 0u32;
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    failures = 0;
                    self.admit(dialect, stream, peer);
                }
                // Out of descriptors, mostly. The listener pauses before it tries again, and the
                // log hears of ever fewer of many failures in a row.
                Err(error) => {
                    self.settings.gate.accept_failed();
                    failures = failures.saturating_add(1);
                    if failures.is_power_of_two() {
                        warn!(
                            "cannot accept {dialect} clients for now (attempt {failures} in a row): {error}"
                        );
                    }
                }
            }
        }
    }

    /// A place for a connection, or a word why there is none.
    fn admit(self: &Rc<Self>, dialect: Dialect, stream: Stream, peer: SocketAddr) {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let proxied = self.settings.proxies.contain(peer.ip());
        let admitted = self.settings.gate.enter().and_then(|mut place| {
            // How many a proxy brings is no matter: its clients are counted one by one.
            if !proxied {
                place.at(peer.ip())?;
            }
            Ok(place)
        });
        let conn = Conn::new(stream);
        match admitted {
            Ok(place) => {
                let newcomer = Newcomer {
                    conn,
                    peer,
                    proxied,
                    login_deadline: sockets::now() + self.settings.login_timeout,
                    place,
                };
                sockets::spawn(Rc::clone(self).receive(dialect, newcomer)).detach();
            }
            Err(crowd) => self.not_taken(
                NotTaken::Early(SessionEnd::TooMany(crowd)),
                dialect,
                conn,
                peer,
            ),
        }
    }

    /// One client from its first byte until it is handed over or refused.
    async fn receive(self: Rc<Self>, dialect: Dialect, mut newcomer: Newcomer) {
        let arrived = match newcomer.proxied {
            // Apart, like all that most clients do not come to: there may be many at the door.
            true => Box::pin(self.hear_proxy(&mut newcomer)).await,
            false => Ok(()),
        };
        let understood = match arrived {
            Ok(()) => self.understand(dialect, &mut newcomer).await,
            Err(not_taken) => Err(not_taken),
        };
        let words = match understood {
            Ok(words) => words,
            Err(not_taken) => {
                return self.not_taken(not_taken, dialect, newcomer.conn, newcomer.peer);
            }
        };
        let released = timeout_at(newcomer.login_deadline, newcomer.conn.release()).await;
        match released {
            Ok(Ok(loose)) => self.hand_over(Acquainted {
                conn: loose,
                words,
                peer: newcomer.peer,
                proxied: newcomer.proxied,
                login_deadline: newcomer.login_deadline,
                place: newcomer.place,
            }),
            Ok(Err(error)) => log::debug!(
                "{dialect} client {} was gone before it could be handed over: {error}",
                newcomer.peer
            ),
            Err(_) => self.refused(&self.too_slow(), dialect, newcomer.peer, None),
        }
    }

    /// Where a proxy's client comes from, and whether there is a place for one from there.
    async fn hear_proxy(&self, newcomer: &mut Newcomer) -> Result<(), NotTaken> {
        let deadline = newcomer.login_deadline;
        let heard = timeout_at(deadline, newcomer.conn.carry(&mut ProxyHeader)).await;
        let heard = heard.map_err(|_| NotTaken::Early(self.too_slow()))?;
        let origin = heard.map_err(|broken| match broken {
            Broken::Wire(error) => NotTaken::Early(SessionEnd::ClientMisbehaved(error)),
            gone => NotTaken::Gone(gone),
        })?;
        if let Origin::Client(peer) = origin {
            log::debug!("client {peer} comes through the proxy {}", newcomer.peer);
            newcomer.peer = peer;
            newcomer
                .place
                .at(peer.ip())
                .map_err(|crowd| NotTaken::Early(SessionEnd::TooMany(crowd)))?;
        }
        Ok(())
    }

    /// A client's first words.
    async fn understand(
        &self,
        dialect: Dialect,
        newcomer: &mut Newcomer,
    ) -> Result<FirstWords, NotTaken> {
        let (conn, version) = (&mut newcomer.conn, self.settings.disguise.version());
        let tls = self.tls.borrow().clone();
        let words = async {
            match dialect {
                Dialect::Postgres => read_startup(conn, tls.as_ref()).await,
                Dialect::MySql => read_handshake(conn, tls.as_ref(), version).await,
            }
        };
        timeout_at(newcomer.login_deadline, words)
            .await
            .unwrap_or_else(|_| Err(NotTaken::Tell(self.too_slow(), AFTER_GREETING)))
    }

    /// The time for a login is over.
    fn too_slow(&self) -> SessionEnd {
        SessionEnd::ClientTooSlow(self.settings.login_timeout)
    }

    /// The last words for a client that goes no further.
    fn not_taken(&self, not_taken: NotTaken, dialect: Dialect, conn: Conn, peer: SocketAddr) {
        let (end, words) = match not_taken {
            NotTaken::Gone(broken) => {
                return log::debug!("{dialect} client {peer} left before its login: {broken}");
            }
            NotTaken::Early(end) => {
                let words = end.before_greeting(dialect);
                (end, words)
            }
            NotTaken::Tell(end, sequence) => {
                let words = end.last_words(dialect, sequence);
                (end, words)
            }
        };
        self.refused(&end, dialect, peer, None);
        conn.close_with(words);
    }

    /// Rings the owner's doorbell with a client that is off this ring.
    fn hand_over(&self, client: Acquainted) {
        let Acquainted {
            conn,
            words,
            peer,
            proxied,
            login_deadline,
            place,
        } = client;
        let (shard, arrival) = match words {
            FirstWords::Client(tenant, preface) => {
                let shard = shard_of(&tenant, self.settings.steer.len());
                (
                    shard,
                    Arrival::Client(Box::new(Handoff {
                        conn,
                        peer,
                        proxied,
                        preface,
                        tenant,
                        login_deadline,
                        place,
                    })),
                )
            }
            FirstWords::Cancel(key) => (
                shard_of_key(&key, self.settings.steer.len()),
                Arrival::Cancel(CancelHandoff {
                    conn,
                    peer,
                    key,
                    place,
                }),
            ),
        };
        if let Err(refused) = self.settings.steer[shard.0].ring(arrival) {
            self.take_back(refused.into_inner());
        }
    }

    /// The shard's queue is full: the client is told so, a cancel request gets no answer anyway.
    fn take_back(&self, arrival: Arrival) {
        let Arrival::Client(handoff) = arrival else {
            return;
        };
        let (dialect, sequence) = match &handoff.preface {
            Preface::Postgres(_) => (Dialect::Postgres, 0),
            Preface::MySql(login, _) => (Dialect::MySql, login.sequence),
        };
        self.refused(
            &SessionEnd::ShardBusy,
            dialect,
            handoff.peer,
            Some(&handoff.tenant),
        );
        Conn::adopt(handoff.conn).close_with(SessionEnd::ShardBusy.last_words(dialect, sequence));
    }

    /// The line in the log, and the sums.
    fn refused(
        &self,
        end: &SessionEnd,
        dialect: Dialect,
        peer: SocketAddr,
        tenant: Option<&TenantId>,
    ) {
        end.log(dialect, peer, tenant);
        self.settings.gate.refuse(end.kind());
    }
}

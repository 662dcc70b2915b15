//! An acceptor: takes connections, reads each client's first words, finds the tenant's name in
//! them, and hands the socket to the shard that owns that name.
//!
//! It knows no tenants and no pools, so a storm of logins does not run on the shards' cores, and
//! nothing about tenants can be learned from how it answers. What is refused here is refused in
//! the client's own protocol.

use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::time::{Duration, Instant};

use log::warn;
use sockets::{Bell, Doorbell, Listener, Stream};
use wire::pg::{self, CancelKey, TlsOffer};
use wire::{Origin, ProxyHeader, WireError, mysql};

use crate::admission::{Gate, Place};
use crate::cancel::shard_of_key;
use crate::conn::{Broken, Conn};
use crate::contract::{Dialect, Networks, TenantId, shard_of};
use crate::farewell::{Misnamed, SessionEnd};
use crate::handoff::{Arrival, CancelHandoff, Handoff, Preface};
use crate::random;
use crate::threads::OwnIds;

/// What an acceptor needs to know.
pub struct AcceptorSettings {
    /// How long a client may take from its first byte to the end of its login.
    pub login_timeout: Duration,
    /// The version in the greeting of MySQL clients.
    pub mysql_version: String,
    /// Where proxies stand that say before each connection where it comes from.
    pub proxies: Networks,
    /// The places for clients.
    pub gate: Gate,
    /// The way to each shard, in the order of their ids.
    pub steer: Vec<Bell<Arrival>>,
}

/// Told to an acceptor: stop listening.
#[derive(Debug)]
pub struct Close;

/// An acceptor's life, on its own executor: until it is told to close.
pub async fn run(
    settings: AcceptorSettings,
    listeners: Vec<(Dialect, TcpListener)>,
    mut close: Doorbell<Close>,
) {
    let acceptor = Rc::new(Acceptor { settings });
    for (dialect, listener) in listeners {
        match Listener::adopt(listener) {
            Ok(listener) => sockets::spawn(Rc::clone(&acceptor).accept(dialect, listener)).detach(),
            // A port that cannot be served must not look as if it were: this thread ends, and with
            // it the process.
            Err(error) => return log::error!("cannot accept {dialect} clients: {error}"),
        }
    }
    let _ = close.next().await;
}

struct Acceptor {
    settings: AcceptorSettings,
}

/// What a client's first words were.
enum FirstWords {
    Client(TenantId, Preface),
    Cancel(CancelKey),
}

/// A client that goes no further.
enum NotTaken {
    /// It left, or never spoke: nothing to say, nothing to log above debug.
    Gone(Broken),
    /// It is to be told before we have said a word.
    Early(SessionEnd),
    /// It is to be told, with this MySQL sequence id.
    Tell(SessionEnd, u8),
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
                    login_deadline: Instant::now() + self.settings.login_timeout,
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
            true => self.hear_proxy(&mut newcomer).await,
            false => Ok(()),
        };
        let understood = match arrived {
            Ok(()) => self.understand(dialect, &mut newcomer).await,
            Err(not_taken) => Err(not_taken),
        };
        match understood {
            Ok(words) => self.hand_over(dialect, words, newcomer).await,
            Err(not_taken) => self.not_taken(not_taken, dialect, newcomer.conn, newcomer.peer),
        }
    }

    /// Where a proxy's client comes from, and whether there is a place for one from there.
    async fn hear_proxy(&self, newcomer: &mut Newcomer) -> Result<(), NotTaken> {
        let heard = self
            .in_time(
                newcomer.login_deadline,
                newcomer.conn.carry(&mut ProxyHeader),
            )
            .await
            .map_err(NotTaken::Early)?;
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
        let (conn, version) = (&mut newcomer.conn, &self.settings.mysql_version);
        let words = async {
            match dialect {
                Dialect::Postgres => read_startup(conn).await,
                Dialect::MySql => read_handshake(conn, version).await,
            }
        };
        self.in_time(newcomer.login_deadline, words)
            .await
            .unwrap_or_else(|late| Err(NotTaken::Tell(late, AFTER_GREETING)))
    }

    /// What comes within the time for a login.
    async fn in_time<T>(
        &self,
        deadline: Instant,
        what: impl Future<Output = T>,
    ) -> Result<T, SessionEnd> {
        let left = deadline.saturating_duration_since(Instant::now());
        sockets::timeout(left, what)
            .await
            .map_err(|_| SessionEnd::ClientTooSlow(self.settings.login_timeout))
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

    /// Takes the socket off this ring and rings the owner's doorbell.
    async fn hand_over(&self, dialect: Dialect, words: FirstWords, newcomer: Newcomer) {
        let Newcomer {
            conn,
            peer,
            proxied,
            login_deadline,
            place,
        } = newcomer;
        let loose = match conn.release().await {
            Ok(released) => released,
            Err(error) => {
                return log::debug!(
                    "{dialect} client {peer} was gone before it could be handed over: {error}"
                );
            }
        };
        let (shard, arrival) = match words {
            FirstWords::Client(tenant, preface) => {
                let shard = shard_of(&tenant, self.settings.steer.len());
                (
                    shard,
                    Arrival::Client(Box::new(Handoff {
                        conn: loose,
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
                    socket: loose.socket,
                    peer,
                    key,
                    place,
                }),
            ),
        };
        if let Err(refused) = self.settings.steer[shard.0].ring(arrival) {
            self.take_back(refused.into_inner()).await;
        }
    }

    /// The shard's queue is full: the client is told so, a cancel request gets no answer anyway.
    async fn take_back(&self, arrival: Arrival) {
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
        if let Ok(conn) = Conn::adopt(handoff.conn) {
            conn.close_with(SessionEnd::ShardBusy.last_words(dialect, sequence));
        }
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

/// A PostgreSQL client's first words.
async fn read_startup(conn: &mut Conn) -> Result<FirstWords, NotTaken> {
    match conn
        .carry(&mut pg::PrefaceReader::new(TlsOffer::Unavailable))
        .await
        .map_err(not_taken)?
    {
        pg::Preface::Cancel(key) => Ok(FirstWords::Cancel(key)),
        pg::Preface::Startup(startup) => {
            let misnamed =
                |error| NotTaken::Tell(SessionEnd::ClientMisnamed(Misnamed::Postgres(error)), 0);
            let named = pg::name_tenant(startup).map_err(misnamed)?;
            let tenant = TenantId::parse(&named.tenant);
            let tenant = tenant
                .ok_or_else(|| misnamed(pg::NamingError::InvalidTenant(named.tenant.clone())))?;
            Ok(FirstWords::Client(tenant, Preface::Postgres(named)))
        }
        // Not offered, so a client that begins it all the same speaks out of turn.
        pg::Preface::StartTls | pg::Preface::DirectTls => {
            Err(NotTaken::Tell(tls_unavailable(), AFTER_GREETING))
        }
    }
}

/// A MySQL client's first words, after ours.
async fn read_handshake(conn: &mut Conn, version: &str) -> Result<FirstWords, NotTaken> {
    let nonce = mysql::Nonce::from_random(random::bytes());
    let greeting = mysql::Greeting::to_client(version, OwnIds::fresh(), nonce, false);
    match conn
        .carry(&mut mysql::PrefaceReader::new(greeting))
        .await
        .map_err(not_taken)?
    {
        mysql::Preface::StartTls => Err(NotTaken::Tell(tls_unavailable(), AFTER_GREETING)),
        mysql::Preface::Login(mut login) => {
            let misnamed =
                |error| NotTaken::Tell(SessionEnd::ClientMisnamed(error), login.sequence);
            let named = mysql::name_tenant(&mut login.response)
                .map_err(|error| misnamed(Misnamed::MySql(error)))?;
            let tenant = named.tenant.as_deref().and_then(TenantId::parse);
            let tenant = tenant.ok_or_else(|| misnamed(Misnamed::MySqlNoTenant))?;
            Ok(FirstWords::Client(
                tenant,
                Preface::MySql(Box::new(login), named),
            ))
        }
    }
}

fn not_taken(broken: Broken) -> NotTaken {
    match broken {
        Broken::Wire(error) => NotTaken::Tell(SessionEnd::ClientMisbehaved(error), AFTER_GREETING),
        gone @ (Broken::Closed | Broken::Io(_)) => NotTaken::Gone(gone),
    }
}

fn tls_unavailable() -> SessionEnd {
    SessionEnd::ClientMisbehaved(WireError::Unsupported {
        what: "TLS without a certificate".into(),
    })
}

/// The sequence id of a MySQL server's packet behind its greeting and the client's response.
const AFTER_GREETING: u8 = 1;

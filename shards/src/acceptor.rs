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
use wire::{WireError, mysql};

use crate::admission::{Gate, Place};
use crate::cancel::shard_of_key;
use crate::conn::{Broken, Conn};
use crate::contract::{Dialect, TenantId, shard_of};
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
    /// It is to be told, with this MySQL sequence id.
    Tell(SessionEnd, u8),
}

impl Acceptor {
    /// Takes connections from one port for ever.
    async fn accept(self: Rc<Self>, dialect: Dialect, listener: Listener) {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => match self.settings.gate.enter() {
                    Some(place) => {
                        sockets::spawn(Rc::clone(&self).receive(dialect, stream, peer, place))
                            .detach()
                    }
                    None => self.turn_away(dialect, stream, peer),
                },
                // Out of descriptors, mostly. The listener pauses before it tries again.
                Err(error) => warn!("cannot accept {dialect} clients for now: {error}"),
            }
        }
    }

    /// One client from its first byte until it is handed over or refused.
    async fn receive(
        self: Rc<Self>,
        dialect: Dialect,
        stream: Stream,
        peer: SocketAddr,
        place: Place,
    ) {
        let login_deadline = Instant::now() + self.settings.login_timeout;
        let mut conn = Conn::new(stream);
        let understood = sockets::timeout(self.settings.login_timeout, async {
            match dialect {
                Dialect::Postgres => read_startup(&mut conn).await,
                Dialect::MySql => read_handshake(&mut conn, &self.settings.mysql_version).await,
            }
        });
        let not_taken = match understood.await {
            Ok(Ok(words)) => {
                return self
                    .hand_over(dialect, words, conn, peer, login_deadline, place)
                    .await;
            }
            Ok(Err(not_taken)) => not_taken,
            Err(_) => NotTaken::Tell(
                SessionEnd::ClientTooSlow(self.settings.login_timeout),
                AFTER_GREETING,
            ),
        };
        match not_taken {
            NotTaken::Gone(broken) => {
                log::debug!("{dialect} client {peer} left before its login: {broken}")
            }
            NotTaken::Tell(end, sequence) => {
                self.refused(&end, dialect, peer, None);
                conn.close_with(end.last_words(dialect, sequence));
            }
        }
    }

    /// Takes the socket off this ring and rings the owner's doorbell.
    async fn hand_over(
        &self,
        dialect: Dialect,
        words: FirstWords,
        conn: Conn,
        peer: SocketAddr,
        login_deadline: Instant,
        place: Place,
    ) {
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

    /// Beyond the limit of clients: a sentence, and the end.
    fn turn_away(&self, dialect: Dialect, stream: Stream, peer: SocketAddr) {
        let end = SessionEnd::TooManyClients(self.settings.gate.limit());
        self.refused(&end, dialect, peer, None);
        Conn::new(stream).close_with(end.before_greeting(dialect));
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

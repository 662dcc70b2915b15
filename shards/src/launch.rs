//! The data plane as a value: starts its threads with what each needs, speaks to them, notices when
//! one dies. Each shard and each acceptor is a thread of its own.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};
use socket2::{Domain, Protocol, Socket, Type};
use sockets::{Bell, Receives, RingLimits, accept_when_spoken, doorbell, keepalive};
use wire::pg::MockKey;

use crate::acceptor::{self, AcceptorSettings};
use crate::admission::{Gate, Places};
use crate::context::ShardSettings;
use crate::contract::{
    Command, Dialect, Door, Envelope, Networks, Reply, ShardId, TenantId, TenantSpec, shard_of,
};
use crate::disguise::Disguise;
use crate::executors::{Death, Executors, NotStarted, Starting};
use crate::handoff::Arrival;
use crate::tls::ClientsTls;
use crate::{random, shard};

/// How the data plane is laid out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaneSettings {
    /// Where PostgreSQL clients connect; `None` for no such port.
    pub postgres: Option<SocketAddr>,
    /// Where MySQL clients connect; `None` for no such port.
    pub mysql: Option<SocketAddr>,
    /// How many shards: 1 or more.
    pub shards: usize,
    /// How many acceptors: 1 or more.
    pub acceptors: usize,
    /// The CPUs to pin threads to, shards first; empty for no pinning.
    pub cpus: Vec<usize>,
    /// How many clients may be connected at once, over all tenants.
    pub places: Places,
    /// Where proxies stand that begin each connection with the PROXY protocol's header.
    pub proxies: Networks,
    /// How many logins at one tenant may fail in a minute from one address; `None` is any number.
    pub failed_logins: Option<usize>,
    /// How long a client may take from its first byte to the end of its login.
    pub login_timeout: Duration,
    /// How long a client may read nothing while bytes wait for it; `None` is for ever.
    pub client_stall_timeout: Option<Duration>,
    /// The server version that MySQL clients are greeted with, before their tenant is known; `None` goes by the databases.
    pub mysql_version: Option<String>,
}

/// Why the data plane could not start.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// A port could not be listened on.
    #[error("cannot listen on {address} for {dialect} clients: {error}")]
    Listen {
        /// What the port was for.
        dialect: Dialect,
        /// The address as configured.
        address: SocketAddr,
        /// The kernel's answer.
        error: io::Error,
    },
    /// A thread could not be made.
    #[error(transparent)]
    Thread(#[from] NotStarted),
}

/// The running data plane.
pub struct Plane {
    shards: Vec<Bell<Envelope>>,
    acceptors: Vec<Bell<acceptor::Order>>,
    executors: Executors,
    gate: Gate,
    listening: Vec<(Dialect, SocketAddr)>,
}

/// A shard that did not take a command.
#[derive(Debug, Clone, thiserror::Error)]
#[error("shard {0} does not answer")]
pub struct Silent(pub usize);

impl Plane {
    /// Binds the ports, starts the shards with their tenants, then the acceptors.
    pub fn launch(
        settings: PlaneSettings,
        tls: Option<ClientsTls>,
        tenants: Vec<TenantSpec>,
    ) -> Result<Plane, LaunchError> {
        let listeners = listen(&settings)?;
        let listening = listeners
            .iter()
            .map(|(dialect, listener)| Ok((*dialect, listener.local_addr()?)))
            .collect::<io::Result<_>>();
        let listening = listening.map_err(|error| not_started("listener", &error))?;
        let gate = Gate::new(settings.places);
        let mut starting = Starting::new();
        let disguise = Arc::new(Disguise::new(settings.mysql_version.clone()));
        let mut cpus = settings.cpus.iter().copied();
        let (shards, steer) =
            start_shards(&settings, &disguise, tenants, &mut cpus, &mut starting)?
                .into_iter()
                .unzip();
        let acceptor = AcceptorSettings {
            login_timeout: settings.login_timeout,
            disguise,
            proxies: settings.proxies,
            tls,
            gate: gate.clone(),
            steer,
        };
        let acceptors = (0..settings.acceptors)
            .map(|index| start_acceptor(index, &acceptor, &listeners, cpus.next(), &mut starting))
            .collect::<Result<_, _>>()?;
        Ok(Plane {
            shards,
            acceptors,
            executors: starting.all_up()?,
            gate,
            listening,
        })
    }

    /// Where clients can connect, with the ports that the kernel chose where 0 was asked for.
    pub fn listening(&self) -> &[(Dialect, SocketAddr)] {
        &self.listening
    }

    /// Who is in, and who was refused before any shard saw it.
    pub fn door(&self) -> Door {
        self.gate.door()
    }

    /// Threads that ended, as it happens.
    pub fn deaths(&self) -> &Receiver<Death> {
        self.executors.deaths()
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// The shard that owns a tenant.
    pub fn owner(&self, tenant: &TenantId) -> ShardId {
        shard_of(tenant, self.shards.len())
    }

    /// Tells one shard something; the answer comes on the receiver.
    pub fn tell(&self, shard: ShardId, command: Command) -> Result<Receiver<Reply>, Silent> {
        let (reply, answer) = bounded(1);
        self.shards[shard.0]
            .ring(Envelope { command, reply })
            .map_err(|_| Silent(shard.0))?;
        Ok(answer)
    }

    /// Tells every shard the same; answers come in the order of the shards.
    pub fn tell_all(&self, command: impl Fn() -> Command) -> Vec<Result<Receiver<Reply>, Silent>> {
        (0..self.shards.len())
            .map(|index| self.tell(ShardId(index), command()))
            .collect()
    }

    /// Shows other certificates to clients that come from now on; those who are here notice nothing. Answers
    /// whether every acceptor took it: one that is behind with its orders must be told again.
    pub fn show(&self, tls: Option<&ClientsTls>) -> bool {
        let told = |acceptor: &Bell<acceptor::Order>| {
            let order = acceptor::Order::Tls(tls.cloned());
            acceptor.ring(order).is_ok()
        };
        // Each of them, whatever the others say.
        let untold = self.acceptors.iter().filter(|acceptor| !told(acceptor));
        untold.count() == 0
    }

    /// Closes the ports: nobody comes in any more. Logins under way on an acceptor are ended.
    pub fn close_ports(&self) {
        for acceptor in &self.acceptors {
            // An acceptor that is gone or has been told already is closed.
            let _ = acceptor.ring(acceptor::Order::Close);
        }
    }

    /// Tells all threads to end; clients still here are cut off. Call [`Plane::close_ports`] and
    /// [`Command::Drain`] first to let them finish. What they were told last they have
    /// [`sockets::LINGER`] to read, for which the threads are to be waited for.
    pub fn stop(self) -> Executors {
        self.close_ports();
        self.executors
    }
}

/// To a shard: the way for commands, and that for clients.
type Ways = (Bell<Envelope>, Bell<Arrival>);

/// Starts the shards, each with the tenants it owns.
fn start_shards(
    settings: &PlaneSettings,
    disguise: &Arc<Disguise>,
    tenants: Vec<TenantSpec>,
    cpus: &mut impl Iterator<Item = usize>,
    starting: &mut Starting,
) -> Result<Vec<Ways>, LaunchError> {
    let mut owned: Vec<Vec<TenantSpec>> = (0..settings.shards).map(|_| Vec::new()).collect();
    for tenant in tenants {
        owned[shard_of(&tenant.id, settings.shards).0].push(tenant);
    }
    let mock = MockKey::new(random::bytes());
    let mut shards = Vec::new();
    for (index, tenants) in owned.into_iter().enumerate() {
        let (arrive, arrivals) = doorbell::<Arrival>(ARRIVALS_WAITING).map_err(no_doorbell)?;
        let (tell, envelopes) = doorbell::<Envelope>(ENVELOPES_WAITING).map_err(no_doorbell)?;
        let shard = ShardSettings {
            id: ShardId(index),
            shards: settings.shards,
            client_stall_timeout: settings.client_stall_timeout,
            login_timeout: settings.login_timeout,
            failed_logins: settings.failed_logins,
            disguise: Arc::clone(disguise),
            mock: mock.clone(),
        };
        let limits = RingLimits {
            spin_at_most: SPIN,
            ..RingLimits::default()
        };
        starting.thread(format!("shard-{index}"), cpus.next(), limits, move || {
            shard::run(shard, tenants, arrivals, envelopes)
        })?;
        shards.push((tell, arrive));
    }
    Ok(shards)
}

/// An acceptor on all ports, and the way to it.
fn start_acceptor(
    index: usize,
    settings: &AcceptorSettings,
    listeners: &[(Dialect, TcpListener)],
    cpu: Option<usize>,
    starting: &mut Starting,
) -> Result<Bell<acceptor::Order>, LaunchError> {
    let thread = format!("acceptor-{index}");
    let ours = listeners
        .iter()
        .map(|(dialect, listener)| Ok((*dialect, listener.try_clone()?)))
        .collect::<io::Result<_>>()
        .map_err(|error| not_started(&thread, &error))?;
    let (tell, orders) = doorbell(ORDERS_WAITING).map_err(no_doorbell)?;
    let settings = settings.clone();
    let limits = RingLimits {
        // Clients are handed over as soon as they have said who they are.
        receives: Receives::OnDemand,
        ..RingLimits::default()
    };
    starting.thread(thread, cpu, limits, move || {
        acceptor::run(settings, ours, orders)
    })?;
    Ok(tell)
}

/// Listeners for the ports that are configured.
fn listen(settings: &PlaneSettings) -> Result<Vec<(Dialect, TcpListener)>, LaunchError> {
    let ports = [
        (Dialect::Postgres, settings.postgres),
        (Dialect::MySql, settings.mysql),
    ];
    let wanted = ports
        .into_iter()
        .filter_map(|(dialect, address)| Some((dialect, address?)));
    wanted
        .map(|(dialect, address)| {
            listen_on(dialect, address)
                .map(|listener| (dialect, listener))
                .map_err(|error| LaunchError::Listen {
                    dialect,
                    address,
                    error,
                })
        })
        .collect()
}

/// A port, ready to be accepted from.
fn listen_on(dialect: Dialect, address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // A restart must not wait for connections of the process before it.
    socket.set_reuse_address(true)?;
    socket.set_tcp_keepalive(&keepalive())?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let listener = socket.into();
    // Of the two, the one in which the client speaks first.
    if dialect == Dialect::Postgres {
        // It saves something, and no more.
        if let Err(error) = accept_when_spoken(&listener) {
            log::warn!("clients are accepted before they say anything ({error})");
        }
    }
    Ok(listener)
}

fn no_doorbell(error: io::Error) -> NotStarted {
    not_started("a doorbell", &error)
}

fn not_started(what: &str, error: &io::Error) -> NotStarted {
    NotStarted {
        thread: what.into(),
        why: error.to_string(),
    }
}

/// How long a shard looks out for the next bytes instead of sleeping, while they follow each other
/// closely. An acceptor does not: what it waits for are clients.
const SPIN: Duration = Duration::from_micros(100);
/// How many connections may wait to be accepted; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;
/// How many clients may wait for a shard to take them over.
const ARRIVALS_WAITING: usize = 4096;
/// How many orders may wait for an acceptor.
const ORDERS_WAITING: usize = 64;
/// How many commands may wait for a shard.
const ENVELOPES_WAITING: usize = 1024;

//! The data plane as a value: starts the threads, speaks to them, notices when one dies.
//!
//! Each shard and each acceptor is a thread with a glommio executor and a ring of its own. They
//! start here and nowhere else; glommio is named in this file only.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};
use socket2::{Domain, Protocol, Socket, Type};
use sockets::{Bell, PREEMPT_TIMER, RingLimits, doorbell};
use wire::pg::MockKey;

use crate::acceptor::{self, AcceptorSettings};
use crate::admission::{Gate, Places};
use crate::context::ShardSettings;
use crate::contract::{
    Command, Dialect, Door, Envelope, Networks, Reply, ShardId, TenantId, TenantSpec, shard_of,
};
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
    /// The server version that MySQL clients are greeted with, before their tenant is known.
    pub mysql_version: String,
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
    #[error("cannot start {thread}: {why}")]
    Thread {
        /// Its name.
        thread: String,
        /// The executor's words.
        why: String,
    },
}

/// A thread of the data plane that is no more.
#[derive(Debug)]
pub struct Death {
    /// The name of the thread.
    pub thread: String,
    /// What it died of; `None` if it ended as told.
    pub cause: Option<String>,
}

/// The running data plane.
pub struct Plane {
    shards: Vec<Bell<Envelope>>,
    acceptors: Vec<Bell<acceptor::Order>>,
    threads: Vec<ExecutorJoinHandle<()>>,
    deaths: Receiver<Death>,
    gate: Gate,
    listening: Vec<(Dialect, SocketAddr)>,
}

/// A shard or acceptor that did not take a command.
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
        let listening = listening.map_err(|error| LaunchError::Thread {
            thread: "listener".into(),
            why: error.to_string(),
        })?;
        let (tell_death, deaths) = bounded(settings.shards + settings.acceptors);
        let mut plane = Plane {
            shards: Vec::new(),
            acceptors: Vec::new(),
            threads: Vec::new(),
            deaths,
            gate: Gate::new(settings.places),
            listening,
        };
        let mut cpus = settings.cpus.iter().copied();
        let steer = plane.start_shards(&settings, tenants, &mut cpus, &tell_death)?;
        plane.start_acceptors(&settings, tls, listeners, steer, &mut cpus, &tell_death)?;
        Ok(plane)
    }

    fn start_shards(
        &mut self,
        settings: &PlaneSettings,
        tenants: Vec<TenantSpec>,
        cpus: &mut impl Iterator<Item = usize>,
        deaths: &Sender<Death>,
    ) -> Result<Vec<Bell<Arrival>>, LaunchError> {
        let mut owned: Vec<Vec<TenantSpec>> = (0..settings.shards).map(|_| Vec::new()).collect();
        for tenant in tenants {
            owned[shard_of(&tenant.id, settings.shards).0].push(tenant);
        }
        let mock = MockKey::new(random::bytes());
        let mut steer = Vec::new();
        for (index, tenants) in owned.into_iter().enumerate() {
            let (arrive, arrivals) = doorbell::<Arrival>(ARRIVALS_WAITING).map_err(no_doorbell)?;
            let (tell, envelopes) = doorbell::<Envelope>(ENVELOPES_WAITING).map_err(no_doorbell)?;
            let shard = ShardSettings {
                id: ShardId(index),
                shards: settings.shards,
                client_stall_timeout: settings.client_stall_timeout,
                login_timeout: settings.login_timeout,
                failed_logins: settings.failed_logins,
                mock: mock.clone(),
            };
            self.start(format!("shard-{index}"), cpus.next(), deaths, move || {
                shard::run(shard, tenants, arrivals, envelopes)
            })?;
            self.shards.push(tell);
            steer.push(arrive);
        }
        Ok(steer)
    }

    fn start_acceptors(
        &mut self,
        settings: &PlaneSettings,
        tls: Option<ClientsTls>,
        listeners: Vec<(Dialect, TcpListener)>,
        steer: Vec<Bell<Arrival>>,
        cpus: &mut impl Iterator<Item = usize>,
        deaths: &Sender<Death>,
    ) -> Result<(), LaunchError> {
        for index in 0..settings.acceptors {
            let thread = format!("acceptor-{index}");
            let mut ours = Vec::new();
            for (dialect, listener) in &listeners {
                let listener = listener.try_clone().map_err(|error| LaunchError::Thread {
                    thread: thread.clone(),
                    why: error.to_string(),
                })?;
                ours.push((*dialect, listener));
            }
            let (tell, orders) = doorbell(ORDERS_WAITING).map_err(no_doorbell)?;
            let acceptor = AcceptorSettings {
                login_timeout: settings.login_timeout,
                mysql_version: settings.mysql_version.clone(),
                proxies: settings.proxies.clone(),
                tls: tls.clone(),
                gate: self.gate.clone(),
                steer: steer.clone(),
            };
            self.start(thread, cpus.next(), deaths, move || {
                acceptor::run(acceptor, ours, orders)
            })?;
            self.acceptors.push(tell);
        }
        Ok(())
    }

    /// One thread, one executor, one ring, running `main` to its end.
    fn start<F: Future<Output = ()> + 'static>(
        &mut self,
        name: String,
        cpu: Option<usize>,
        deaths: &Sender<Death>,
        main: impl FnOnce() -> F + Send + 'static,
    ) -> Result<(), LaunchError> {
        let cause = Some("it panicked, or its executor could not start".into());
        let obituary = Obituary {
            thread: name.clone(),
            deaths: deaths.clone(),
            cause,
        };
        let executor = LocalExecutorBuilder::new(cpu.map_or(Placement::Unbound, Placement::Fixed))
            .name(&name)
            // The executor's own file buffers, which a proxy never uses: the least that it takes,
            // since they count against the locked memory that the rings need.
            .io_memory(64 << 10)
            .preempt_timer(PREEMPT_TIMER)
            .spawn(move || async move {
                // The whole of it moves in here, to be told on every way out.
                let mut obituary = obituary;
                obituary.cause = sockets::run(RingLimits::default(), main())
                    .await
                    .err()
                    .map(|error| error.to_string());
            })
            .map_err(|error| LaunchError::Thread {
                thread: name,
                why: error.to_string(),
            })?;
        self.threads.push(executor);
        Ok(())
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
        &self.deaths
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

    /// Shows other certificates to clients that come from now on. Those who are here notice nothing.
    pub fn show(&self, tls: Option<&ClientsTls>) -> Result<(), Silent> {
        for (index, acceptor) in self.acceptors.iter().enumerate() {
            acceptor
                .ring(acceptor::Order::Tls(tls.cloned()))
                .map_err(|_| Silent(index))?;
        }
        Ok(())
    }

    /// Closes the ports: nobody comes in any more. Logins under way on an acceptor are ended.
    pub fn close_ports(&self) {
        for acceptor in &self.acceptors {
            // An acceptor that is gone or has been told already is closed.
            let _ = acceptor.ring(acceptor::Order::Close);
        }
    }

    /// Ends all threads; clients still here are cut off. Call [`Plane::close_ports`] and
    /// [`Command::Drain`] first to let them finish.
    pub fn stop(self) {
        self.close_ports();
        drop(self.shards);
        for thread in self.threads {
            // Its death, if it was one, has been told by its obituary.
            let _ = thread.join();
        }
    }
}

/// Tells of a thread's end when it is dropped, however that comes about.
struct Obituary {
    thread: String,
    deaths: Sender<Death>,
    cause: Option<String>,
}

impl Drop for Obituary {
    fn drop(&mut self) {
        // There is room for one of each thread.
        let _ = self.deaths.try_send(Death {
            thread: std::mem::take(&mut self.thread),
            cause: self.cause.take(),
        });
    }
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
            listen_on(address)
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
fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // A restart must not wait for connections of the process before it.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn no_doorbell(error: io::Error) -> LaunchError {
    LaunchError::Thread {
        thread: "a doorbell".into(),
        why: error.to_string(),
    }
}

/// How many connections may wait to be accepted; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;
/// How many clients may wait for a shard to take them over.
const ARRIVALS_WAITING: usize = 4096;
/// How many orders may wait for an acceptor.
const ORDERS_WAITING: usize = 64;
/// How many commands may wait for a shard.
const ENVELOPES_WAITING: usize = 1024;

//! The whole program as a value: started, waited for, shut down.
//!
//! The control plane's own thread is the one that calls [`Bouncer::run`]. It owns the data plane and
//! is the only one who speaks to it.

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, after, select, tick};
use log::{error, info, warn};
use shards::contract::{Command, Reply, TenantSpec};
use shards::{LaunchError, Plane, PlaneSettings};

/// What a running bouncer can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Stop: take no new clients, let those who are here finish until the grace period is over.
    /// Said a second time: stop at once.
    Stop,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// As told, and every client had left.
    Clean,
    /// As told, but clients had to be cut off.
    CutOff {
        /// How many.
        clients: usize,
    },
    /// A thread of the data plane died. Half a bouncer is worse than a restart.
    ThreadDied,
}

/// A running bouncer.
pub struct Bouncer {
    plane: Plane,
    shutdown_grace: Duration,
}

impl Bouncer {
    /// Binds the ports and starts the threads.
    pub fn start(
        settings: PlaneSettings,
        tenants: Vec<TenantSpec>,
        shutdown_grace: Duration,
    ) -> Result<Bouncer, LaunchError> {
        let count = tenants.len();
        let (shards, acceptors) = (settings.shards, settings.acceptors);
        let plane = Plane::launch(settings, tenants)?;
        for (dialect, address) in plane.listening() {
            info!("listening for {dialect} clients on {address}");
        }
        info!("ready: {count} tenants on {shards} shards, {acceptors} acceptors");
        Ok(Bouncer {
            plane,
            shutdown_grace,
        })
    }

    /// Runs until told to stop, or until a thread dies.
    pub fn run(self, signals: &Receiver<Signal>) -> Ending {
        select! {
            recv(signals) -> _ => {}
            recv(self.plane.deaths()) -> death => {
                if let Ok(death) = death {
                    error!("{} died: {}", death.thread, death.cause.unwrap_or_else(|| "it ended by itself".into()));
                }
                return Ending::ThreadDied;
            }
        }
        self.shut_down(signals)
    }

    /// Lets clients finish, then ends the threads.
    fn shut_down(self, signals: &Receiver<Signal>) -> Ending {
        info!(
            "stopping: no new clients; those connected may finish for {:?}",
            self.shutdown_grace
        );
        self.plane.close_ports();
        for silent in self
            .plane
            .tell_all(|| Command::Drain)
            .into_iter()
            .filter_map(Result::err)
        {
            warn!("{silent}");
        }
        let deadline = after(self.shutdown_grace);
        let look = tick(LOOK_EVERY);
        let left = loop {
            let clients = self.census();
            if clients == 0 {
                break 0;
            }
            select! {
                recv(look) -> _ => {}
                recv(deadline) -> _ => break clients,
                recv(signals) -> _ => {
                    warn!("told to stop again: stopping at once");
                    break clients;
                }
            }
        };
        self.plane.stop();
        match left {
            0 => {
                info!("stopped");
                Ending::Clean
            }
            clients => {
                warn!("stopped; {clients} clients were cut off");
                Ending::CutOff { clients }
            }
        }
    }

    /// Clients connected now, as the shards count them; one that does not answer counts as busy.
    fn census(&self) -> usize {
        let until = Instant::now() + CENSUS_WITHIN;
        let answers = self.plane.tell_all(|| Command::Census);
        answers
            .into_iter()
            .map(
                |answer| match answer.map(|answer| answer.recv_deadline(until)) {
                    Ok(Ok(Reply::Census { clients })) => clients,
                    _ => 1,
                },
            )
            .sum()
    }
}

/// How often the shards are asked whether everybody has left.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long a shard may take to count its clients.
const CENSUS_WITHIN: Duration = Duration::from_secs(1);

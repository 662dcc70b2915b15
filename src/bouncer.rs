//! The whole program as a value: started, run, shut down.
//!
//! ```text
//!            Arrival (bounded, doorbell)
//!  acceptor ────────────────────────────▶ shard N
//!            Envelope { command, reply }
//!  control  ────────────────────────────▶ shard N
//!           ◀──────────────────────────── Reply, on the sender inside
//!
//!  api-N, config-watch, signals ────────▶ control (errands, "the file changed", Signal)
//! ```
//!
//! The thread that calls [`Bouncer::run`] is the control thread. It owns the data plane, is the
//! only one who speaks to it, and never waits for it before the end.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvError, after, never, select, tick};
use log::{error, info, warn};
use shards::contract::{Command, Reply};
use shards::{LaunchError, Plane};

use crate::api::{self, InForce, Operator, Scope};
use crate::config::Settings;
use crate::control::Control;
use crate::desk::{Desk, Errand};
use crate::expiry::Expiry;
use crate::fleet::Fleet;
use crate::from_api::understand;
use crate::herald;
use crate::owed::{News, Owed};
use crate::roster::Roster;
use crate::state_error::StateError;
use crate::state_file::StateFile;
use crate::state_lock::NotOurs;
use crate::vitals::Vitals;
use crate::watch::Watch;

/// What a running bouncer can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Stop: take no new clients, let those who are here finish until the grace period is over.
    /// Said a second time: stop at once.
    Stop,
    /// Read the config file again.
    Reload,
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

/// Why it did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data plane.
    #[error(transparent)]
    Plane(#[from] LaunchError),
    /// The API.
    #[error("cannot serve the API on {0}: {1}")]
    Api(SocketAddr, io::Error),
    /// The file that keeps tenants of the API.
    #[error("{0}")]
    State(StateError),
}

/// A running bouncer.
pub struct Bouncer {
    control: Control,
    errands: Receiver<Errand>,
    changed: Receiver<()>,
}

impl Bouncer {
    /// Binds the ports and starts the threads. The settings were read from the file of `watch`, which is
    /// watched from now on.
    pub fn start(settings: Settings, watch: Watch) -> Result<Bouncer, StartError> {
        let (roster, state_file) = roster(&settings)?;
        let vitals = Arc::new(Vitals::new(settings.plane.shards));
        let (desk, errands) = Desk::new();
        let api = InForce::new(settings.api.clone());
        // Before the ports of clients, who could take every descriptor.
        let desk = Arc::new(desk);
        for (address, scope) in [
            (settings.api.address, Scope::Everything),
            (settings.api.metrics_address, Scope::ProbesAndMetrics),
        ] {
            let Some(address) = address else { continue };
            serve_api(address, scope, api.clone(), &desk, &vitals)
                .map_err(|error| StartError::Api(address, error))?;
        }
        let tenants: Vec<_> = roster.iter().map(|entry| (*entry.spec).clone()).collect();
        let count = tenants.len();
        let plane = Plane::launch(settings.plane.clone(), settings.tls.clone(), tenants)?;
        vitals.start();
        for (dialect, address) in plane.listening() {
            info!("listening for {dialect} clients on {address}");
        }
        info!(
            "ready: {count} tenants on {} shards, {} acceptors",
            plane.shards(),
            settings.plane.acceptors
        );
        let pulses = (0..plane.shards()).map(|_| None).collect();
        let mut control = Control {
            path: watch.path().to_owned(),
            fleet: Fleet::new(plane, settings.shutdown_grace),
            settings: Arc::new(settings),
            api,
            roster,
            state_file,
            vitals,
            owed: Owed::default(),
            pulses,
            expiry: Expiry::default(),
        };
        let reception = control.settings.defaults.access.reception();
        control.owed.note(News::Strangers(reception));
        control.deliver();
        control.note_certificate();
        control.say_who_is_left_out();
        herald::ready(&control.status());
        Ok(Bouncer {
            control,
            errands,
            changed: watch.start(),
        })
    }

    /// Runs until told to stop, or until a thread dies.
    pub fn run(mut self, signals: &Receiver<Signal>) -> Ending {
        let second = tick(PULSE_EVERY);
        let heartbeat = heartbeat();
        loop {
            let retry = if self.control.owed.is_empty() {
                never()
            } else {
                after(RETRY_AFTER)
            };
            select! {
                recv(signals) -> signal => match signal {
                    // A bad file has been told to the log, and what ran runs on.
                    Ok(Signal::Reload) => drop(self.control.reload()),
                    Ok(Signal::Stop) | Err(_) => break,
                },
                recv(self.changed) -> change => match change {
                    Ok(()) => drop(self.control.reload()),
                    Err(_) => self.changed = never(),
                },
                recv(self.errands) -> errand => self.run_errand(errand.ok()),
                recv(retry) -> _ => self.control.deliver(),
                recv(second) -> _ => {
                    // Where one errand follows the other closely, the time to retry never comes.
                    self.control.deliver();
                    self.control.feel_pulses();
                    self.control.claim_state_file();
                }
                recv(heartbeat) -> _ => self.control.show_life(),
                recv(self.control.fleet.plane().deaths()) -> death => {
                    if let Ok(death) = death {
                        error!("{} died: {}", death.thread, death.cause.unwrap_or_else(|| "it ended by itself".into()));
                    }
                    return Ending::ThreadDied;
                }
            }
        }
        self.shut_down(signals)
    }

    /// Does what the API asks for. Without an API there is nobody to ask: a channel that would tell
    /// so at once and for ever is not waited for.
    fn run_errand(&mut self, errand: Option<Errand>) {
        match errand {
            Some(errand) => errand(&mut self.control),
            None => self.errands = never(),
        }
    }

    /// Lets clients finish, then ends the threads. The API answers until the end. Told to stop a second time, it
    /// waits for nobody: the kernel ends with the process what is still open.
    fn shut_down(mut self, signals: &Receiver<Signal>) -> Ending {
        let grace = self.control.settings.shutdown_grace;
        self.control.vitals.stop();
        let status = format!("stopping: no new clients; those connected may finish for {grace:?}");
        info!("{status}");
        herald::stopping(grace + STOPPED_WITHIN, &status);
        self.control.fleet.plane().close_ports();
        // Like the ports: another process may go on from here.
        self.control.state_file.iter().for_each(StateFile::let_go);
        self.control.owed.note(News::Drain);
        self.control.deliver();
        let deadline = after(grace);
        let look = tick(LOOK_EVERY);
        let heartbeat = heartbeat();
        let mut is_told_again = false;
        let left = loop {
            select! {
                recv(look) -> _ => match self.census() {
                    0 => break 0,
                    _ => {
                        self.control.deliver();
                        self.control.feel_pulses();
                    }
                },
                recv(heartbeat) -> _ => self.control.show_life(),
                recv(self.errands) -> errand => self.run_errand(errand.ok()),
                recv(deadline) -> _ => break self.census(),
                recv(signals) -> signal => if is_stop(signal) {
                    is_told_again = true;
                    break self.census();
                },
            }
        };
        let mut threads = self.control.fleet.into_plane().stop();
        while !is_told_again {
            match threads.join(signals) {
                Ok(()) => break,
                Err(signal) => is_told_again = is_stop(signal),
            }
        }
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
        let answers = self
            .control
            .fleet
            .ask_all(|| Command::Census)
            .within(CENSUS_WITHIN);
        let clients = answers.into_iter().map(|answer| match answer {
            Ok(Reply::Census { clients }) => clients,
            _ => 1,
        });
        clients.sum()
    }
}

/// The tenants of the file, and those that the API made in an earlier life.
fn roster(settings: &Settings) -> Result<(Roster, Option<StateFile>), StartError> {
    let mut roster = Roster::of_file(settings.tenants.clone());
    let Some(path) = &settings.api.state_file else {
        return Ok((roster, None));
    };
    let (file, kept) = StateFile::open(path).map_err(StartError::State)?;
    let api = understand(kept.iter().map(|(id, written)| (id, written)), settings);
    for (spec, written) in api.tenants {
        roster.put(spec, written);
    }
    // One that an older version took, or older defaults, is no reason to serve nobody.
    for left in api.left_out {
        roster.leave_out(left);
    }
    // Written at once, so that a place that cannot be written to is found now. If it could be written once, its disk may
    // be full or for reading only today, or the process before this one may be about to stop: no reason to serve nobody.
    let kept = file.is_ours().and_then(|()| file.save(roster.of_api()));
    match kept.and_then(|()| file.may_be_written()) {
        Err(why @ StateError::NotOurs(_, NotOurs::Others(_) | NotOurs::LetGo)) => error!("{why}"),
        Err(why) if file.is_there() => error!("{why}"),
        kept => kept.map_err(StartError::State)?,
    }
    Ok((roster, Some(file)))
}

fn serve_api(
    address: SocketAddr,
    scope: Scope,
    settings: InForce,
    desk: &Arc<Desk>,
    vitals: &Arc<Vitals>,
) -> io::Result<()> {
    let listener = TcpListener::bind(address)?;
    let address = listener.local_addr()?;
    let operator = Arc::clone(desk) as Arc<dyn Operator>;
    api::serve(listener, scope, settings, operator, Arc::clone(vitals))?;
    match scope {
        Scope::Everything => info!("serving the API on {address}"),
        Scope::ProbesAndMetrics => info!("serving probes and metrics on {address}"),
    }
    Ok(())
}

/// Whether somebody wants an end at once, while stopping: as before, whoever could say so being gone is a reason, too.
fn is_stop(signal: Result<Signal, RecvError>) -> bool {
    let is_stop = signal != Ok(Signal::Reload);
    if is_stop {
        warn!("told to stop again: stopping at once");
    }
    is_stop
}

/// When the service manager is to be told that we live; never, if it does not ask.
fn heartbeat() -> Receiver<Instant> {
    herald::heartbeat().map_or_else(never, tick)
}

/// How often the shards are asked whether they live.
const PULSE_EVERY: Duration = Duration::from_secs(1);
/// When to tell a shard again what it had no room for.
const RETRY_AFTER: Duration = Duration::from_millis(20);
/// How often the shards are asked whether everybody has left.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long the threads may take to end after the grace period, as the service manager is told.
const STOPPED_WITHIN: Duration = Duration::from_secs(15);
/// How long a shard may take to count its clients.
const CENSUS_WITHIN: Duration = Duration::from_secs(1);

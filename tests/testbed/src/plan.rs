//! The list of scenarios: each runs on every kind of server it is written for, under a name such as
//! `mariadb::large_result`. What this machine has no server for is listed as ignored, and said aloud.

use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use libtest_mimic::{Arguments, Trial};

use crate::bouncer::PROGRAM;
use crate::{Kind, Server, direct, pool_mode, python};

/// Scenarios to run.
#[derive(Default)]
pub struct Plan {
    trials: Vec<Trial>,
    missing: Vec<Kind>,
    without_python: usize,
    without_haproxy: usize,
    /// What else this machine has not, one for each test that needs it.
    without: Vec<String>,
}

/// What the command line asks for. Tests mostly wait for somebody else: without another word, four times as many run at
/// once as there are processors.
pub fn arguments() -> Arguments {
    let mut arguments = Arguments::from_args();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    arguments.test_threads.get_or_insert(4 * processors);
    arguments
}

/// What a scenario needs to make sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum World {
    /// A database; through the bouncer or straight, the outcome is the same.
    Any,
    /// As `Any`, with a driver written in Python.
    Python,
    /// The bouncer: the scenario is about what it does itself.
    Bouncer,
    /// As `Bouncer`, with HAProxy before it.
    HaProxy,
    /// As `Bouncer`, about what clients of session mode have of their own; left out where tenants are told another.
    SessionMode,
}

impl Plan {
    /// Adds a scenario for each of these kinds of server.
    pub fn add<S>(&mut self, world: World, kinds: &[Kind], name: &str, scenario: S)
    where
        S: AsyncFn(&'static Server) + Clone + Send + Sync + 'static,
    {
        for &kind in kinds {
            let scenario = scenario.clone();
            let trial = Trial::test(format!("{}::{name}", kind.name()), move || {
                run(scenario(Server::shared(kind)));
                Ok(())
            });
            let possible = self.has(kind)
                & match world {
                    World::Any => true,
                    World::Python => self.has_python(),
                    World::Bouncer => !direct(),
                    World::HaProxy => !direct() && self.has_haproxy(),
                    World::SessionMode => {
                        !direct() && pool_mode().is_none_or(|mode| mode == "session")
                    }
                };
            self.trials.push(trial.with_ignored_flag(!possible));
        }
    }

    /// Adds a scenario about the bouncer that needs something which this machine may not have.
    pub fn add_if<S>(&mut self, is_here: bool, what: &str, kind: Kind, name: &str, scenario: S)
    where
        S: AsyncFn(&'static Server) + Clone + Send + Sync + 'static,
    {
        self.add(World::Bouncer, &[kind], name, scenario);
        if !is_here && let Some(trial) = self.trials.pop() {
            self.trials.push(trial.with_ignored_flag(true));
            self.without.push(what.to_owned());
        }
    }

    /// Runs them as the command line asks, with this program (`env!("CARGO_BIN_EXE_dbbouncer")`).
    #[must_use]
    pub fn run(self, program: &str) -> ExitCode {
        PROGRAM.get_or_init(|| program.to_owned());
        let arguments = arguments();
        if !arguments.list {
            for kind in &self.missing {
                let prefix = format!("{}::", kind.name());
                let count = self
                    .trials
                    .iter()
                    .filter(|trial| trial.name().starts_with(&prefix))
                    .count();
                eprintln!(
                    "\n*** NO {} SERVER ON THIS MACHINE: {count} tests are skipped. ***\n\
                     *** To have it: scripts/install-test-deps (as root)   ***\n",
                    kind.name().to_uppercase()
                );
            }
            if self.without_python > 0 {
                eprintln!(
                    "\n*** NO PYTHON DRIVERS ON THIS MACHINE: {} tests are skipped. ***\n\
                     *** To have them: scripts/install-test-deps             ***\n",
                    self.without_python
                );
            }
            if self.without_haproxy > 0 {
                eprintln!(
                    "\n*** NO HAPROXY ON THIS MACHINE: {} tests are skipped. ***\n\
                     *** To have it: scripts/install-test-deps (as root)   ***\n",
                    self.without_haproxy
                );
            }
            for what in &self.without {
                eprintln!(
                    "\n*** NO {} ON THIS MACHINE: 1 test is skipped. ***\n\
                     *** To have it: scripts/install-test-deps (as root) ***\n",
                    what.to_uppercase()
                );
            }
            if direct() {
                eprintln!(
                    "\n*** DIRECT=1: the scenarios speak to the databases, not to DBBouncer. ***\n"
                );
            }
        }
        libtest_mimic::run(&arguments, self.trials).exit_code()
    }

    fn has_python(&mut self) -> bool {
        let here = python("").is_some();
        self.without_python += usize::from(!here);
        here
    }

    fn has_haproxy(&mut self) -> bool {
        let here = Command::new("haproxy")
            .arg("-v")
            .stdout(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        self.without_haproxy += usize::from(!here);
        here
    }

    fn has(&mut self, kind: Kind) -> bool {
        static HERE: [std::sync::OnceLock<bool>; Kind::COUNT] =
            [const { std::sync::OnceLock::new() }; Kind::COUNT];
        let here = *HERE[kind as usize].get_or_init(|| kind.is_here());
        if !here && !self.missing.contains(&kind) {
            self.missing.push(kind);
        }
        here
    }
}

/// Drives a scenario to its end on this thread, within [`LIMIT`]. The drivers' connections go on beside it, so a scenario
/// may block where it waits for something outside.
fn run(scenario: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime can be made")
        .block_on(async {
            tokio::time::timeout(LIMIT, scenario)
                .await
                .unwrap_or_else(|_| panic!("not done within {LIMIT:?}"));
        });
}

/// The longest a scenario may take, on a busy machine.
const LIMIT: Duration = Duration::from_secs(300);

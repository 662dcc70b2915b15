//! The dbbouncer program: from the command line to an exit status.

#![forbid(unsafe_code)]

use std::io;
use std::path::Path;
use std::process::ExitCode;

use crossbeam_channel::Receiver;
use dbbouncer::bouncer::{Bouncer, Ending, Signal};
use dbbouncer::cli::{self, Exit, Task};
use dbbouncer::config::{self, Settings};
use dbbouncer::logging;
use dbbouncer::preflight::{Facts, Finding, Needs};
use log::{LevelFilter, error, warn};
use shards::LaunchError;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

fn main() -> ExitCode {
    let exit = match cli::parse(std::env::args_os()) {
        Ok(Task::Serve { config, log_level }) => serve(&config, log_level),
        Ok(Task::Check { config, system }) => check(config.as_deref(), system),
        Err(usage) => usage.exit(),
    };
    exit.unwrap_or_else(|exit| exit).into()
}

/// Serves clients until told to stop.
fn serve(path: &Path, log_level: Option<LevelFilter>) -> Result<Exit, Exit> {
    let settings = load(path)?;
    let advice = machine(Needs::of(&settings))?;
    logging::start(log_level);
    advice.iter().for_each(|advice| warn!("{advice}"));
    settings
        .warnings
        .iter()
        .for_each(|warning| warn!("{warning}"));
    let signals = signals().map_err(|error| {
        error!("cannot listen for signals: {error}");
        Exit::Machine
    })?;
    let Settings {
        plane,
        tenants,
        shutdown_grace,
        ..
    } = settings;
    let bouncer = Bouncer::start(plane, tenants, shutdown_grace).map_err(|error| {
        error!("{error}");
        match error {
            LaunchError::Listen { .. } => Exit::Failed,
            LaunchError::Thread { .. } => Exit::Machine,
        }
    })?;
    match bouncer.run(&signals) {
        Ending::Clean | Ending::CutOff { .. } => Ok(Exit::Done),
        Ending::ThreadDied => Err(Exit::ThreadDied),
    }
}

/// Says whether it could serve.
fn check(path: Option<&Path>, system: bool) -> Result<Exit, Exit> {
    let mut needs = Needs::LEAST;
    if let Some(path) = path {
        let settings = load(path)?;
        settings
            .warnings
            .iter()
            .for_each(|warning| eprintln!("warning: {warning}"));
        println!(
            "{}: good; tenants: {}",
            path.display(),
            settings.tenants.len()
        );
        needs = Needs::of(&settings);
    }
    if system {
        machine(needs)?
            .iter()
            .for_each(|advice| eprintln!("warning: {advice}"));
        println!("this machine: good");
    }
    Ok(Exit::Done)
}

/// The settings, or all complaints about them on standard error.
fn load(path: &Path) -> Result<Settings, Exit> {
    config::load(path).map_err(|complaints| {
        eprintln!("dbbouncer: cannot use {}:", path.display());
        complaints
            .iter()
            .for_each(|complaint| eprintln!("  {complaint}"));
        Exit::Config
    })
}

/// Advice on the machine, or on standard error all that makes running on it impossible.
fn machine(needs: Needs) -> Result<Vec<String>, Exit> {
    let (mut refusals, mut advice) = (Vec::new(), Vec::new());
    for finding in Facts::find().findings(needs) {
        match finding {
            Finding::Refusal(text) => refusals.push(text),
            Finding::Advice(text) => advice.push(text),
        }
    }
    if refusals.is_empty() {
        return Ok(advice);
    }
    eprintln!("dbbouncer: cannot run on this machine:");
    refusals.iter().for_each(|refusal| eprintln!("  {refusal}"));
    Err(Exit::Machine)
}

/// SIGTERM and SIGINT as values, from a thread of their own.
fn signals() -> io::Result<Receiver<Signal>> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let (send, receive) = crossbeam_channel::bounded(SIGNALS_KEPT);
    let forward = move || {
        for _ in signals.forever() {
            // Whoever has not heard those that are waiting needs no more of them.
            let _ = send.try_send(Signal::Stop);
        }
    };
    std::thread::Builder::new()
        .name("bouncer-signals".to_owned())
        .spawn(forward)?;
    Ok(receive)
}

/// Signals that wait to be heard: to stop, and to stop at once.
const SIGNALS_KEPT: usize = 2;

//! The dbbouncer program: from the command line to an exit status.

#![forbid(unsafe_code)]

use std::io;
use std::path::Path;
use std::process::ExitCode;

use crossbeam_channel::Receiver;
use dbbouncer::bouncer::{Bouncer, Ending, Signal, StartError};
use dbbouncer::cli::{self, Exit, Task};
use dbbouncer::config::{self, Settings};
use dbbouncer::logging;
use dbbouncer::preflight::{Facts, Finding, Needs};
use log::{LevelFilter, error, warn};
use shards::LaunchError;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

fn main() -> ExitCode {
    if cfg!(target_feature = "crt-static") {
        shards::look_names_up_without_plugins();
    }
    let exit = match cli::parse(std::env::args_os()) {
        Ok(Task::Serve { config, log_level }) => serve(&config, log_level),
        Ok(Task::Check { config, system }) => check(config.as_deref(), system),
        Err(usage) => usage.exit(),
    };
    logging::finish();
    exit.unwrap_or_else(|exit| exit).into()
}

/// Serves clients until told to stop.
fn serve(path: &Path, log_level: Option<LevelFilter>) -> Result<Exit, Exit> {
    let settings = load(path)?;
    let advice = machine(Needs::of(&settings))?;
    logging::start(log_level, settings.log_format);
    advice.iter().for_each(|advice| warn!("{advice}"));
    settings
        .warnings
        .iter()
        .for_each(|warning| warn!("{warning}"));
    let signals = signals().map_err(|error| {
        error!("cannot listen for signals: {error}");
        Exit::Machine
    })?;
    let bouncer = Bouncer::start(settings, path).map_err(|error| {
        error!("{error}");
        match error {
            StartError::Plane(LaunchError::Thread { .. }) => Exit::Machine,
            StartError::Plane(LaunchError::Listen { .. }) | StartError::Api(..) => Exit::Failed,
            StartError::State(_) | StartError::Tenant(_) => Exit::Config,
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

/// Signals as values, from a thread of their own.
fn signals() -> io::Result<Receiver<Signal>> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let (send, receive) = crossbeam_channel::unbounded();
    let forward = move || {
        signals.forever().try_for_each(|signal| {
            send.send(match signal {
                SIGHUP => Signal::Reload,
                _ => Signal::Stop,
            })
        })
    };
    std::thread::Builder::new()
        .name("bouncer-signals".to_owned())
        .spawn(forward)?;
    Ok(receive)
}

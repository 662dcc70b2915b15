//! The dbbouncer program: from the command line to an exit status.

#![forbid(unsafe_code)]

use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap_complete::Shell;
use crossbeam_channel::Receiver;
use dbbouncer::bouncer::{Bouncer, Ending, Signal, StartError};
use dbbouncer::cli::{self, About, Exit, Probe, Show, Task, WhichApi};
use dbbouncer::client::{Client, Target};
use dbbouncer::config::{self, Settings};
use dbbouncer::import;
use dbbouncer::logging;
use dbbouncer::may_be_written;
use dbbouncer::preflight::{Facts, Finding, Needs};
use dbbouncer::top;
use dbbouncer::watch::Watch;
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
        Ok(Task::Top { api, show }) => look(&api, show),
        Ok(Task::Healthcheck { api, probe }) => healthcheck(&api, &probe),
        Ok(Task::Import { ini, userlist }) => import(&ini, userlist.as_deref()),
        Ok(Task::Config(About::Example)) => print(config::EXAMPLE.as_bytes()),
        Ok(Task::Config(About::Reference)) => print(config::reference().as_bytes()),
        Ok(Task::Config(About::Schema)) => print(config::json_schema().as_bytes()),
        Ok(Task::Completions(shell)) => completions(shell),
        Ok(Task::Man(folder)) => manual(folder.as_deref()),
        Err(usage) => usage.exit(),
    };
    logging::finish();
    exit.unwrap_or_else(|exit| exit).into()
}

/// Serves clients until told to stop.
fn serve(path: &Path, log_level: Option<LevelFilter>) -> Result<Exit, Exit> {
    let watch = Watch::begin(path);
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
    let bouncer = Bouncer::start(settings, watch).map_err(|error| {
        error!("{error}");
        match error {
            StartError::Plane(LaunchError::Thread(_)) => Exit::Machine,
            StartError::Plane(LaunchError::Listen { .. }) | StartError::Api(..) => Exit::Failed,
            StartError::State(_) => Exit::Config,
        }
    })?;
    match bouncer.run(&signals) {
        Ending::Clean => Ok(Exit::Done),
        Ending::CutOff { .. } => Ok(Exit::CutOff),
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
        if let Some(Err(why)) = settings.api.state_file.as_deref().map(may_be_written) {
            let user = rustix::process::getuid();
            eprintln!("warning: {why} (for this user, {user}; DBBouncer's own counts)");
        }
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

/// Shows the tenants of a running DBBouncer.
fn look(api: &WhichApi, show: Show) -> Result<Exit, Exit> {
    let Show {
        interval,
        once,
        tenant,
        sort,
        filter,
    } = show;
    let options = top::Options {
        target: Target::find(api).map_err(failed)?,
        interval,
        once,
        tenant,
        sort,
        filter,
    };
    top::run(options).map_err(failed)?;
    Ok(Exit::Done)
}

/// Asks a running DBBouncer how it is.
fn healthcheck(api: &WhichApi, probe: &Probe) -> Result<Exit, Exit> {
    let path = if probe.ready { "/ready" } else { "/health" };
    let target = Target::find_probes(api).map_err(failed)?;
    let (status, body) = Client::new(target, probe.timeout)
        .get(path)
        .map_err(failed)?;
    let body = String::from_utf8_lossy(&body);
    match status {
        200 => {
            println!("{body}");
            Ok(Exit::Done)
        }
        status => Err(failed(format!("{path} answered {status}: {body}"))),
    }
}

/// Says in our words what a PgBouncer's config says.
fn import(ini: &Path, userlist: Option<&Path>) -> Result<Exit, Exit> {
    let read = |path: &Path| {
        std::fs::read_to_string(path)
            .map_err(|error| failed(format!("cannot read {}: {error}", path.display())))
    };
    let users = userlist.map(read).transpose()?;
    // Paths in the file are relative to where PgBouncer was started, which is its folder as a rule.
    let folder = ini.parent().unwrap_or(Path::new(""));
    let beside = |path: &str| std::fs::read_to_string(folder.join(path));
    let import = import::pgbouncer(&read(ini)?, users.as_deref(), &beside)
        .map_err(|why| failed(format!("{}: {why}", ini.display())))?;
    import
        .remarks
        .iter()
        .for_each(|remark| eprintln!("{remark}"));
    print(import.yaml.as_bytes())
}

fn print(text: &[u8]) -> Result<Exit, Exit> {
    io::stdout().write_all(text).map_err(failed)?;
    Ok(Exit::Done)
}

fn completions(shell: Shell) -> Result<Exit, Exit> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut cli::command(), "dbbouncer", &mut text);
    print(&text)
}

/// The manual page on standard output, or those of all subcommands in a folder.
fn manual(folder: Option<&Path>) -> Result<Exit, Exit> {
    let command = cli::command();
    match folder {
        Some(folder) => clap_mangen::generate_to(command, folder),
        None => clap_mangen::Man::new(command).render(&mut io::stdout()),
    }
    .map_err(failed)?;
    Ok(Exit::Done)
}

fn failed(why: impl Display) -> Exit {
    eprintln!("dbbouncer: {why}");
    Exit::Failed
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

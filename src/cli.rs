//! The command line: what was asked for, and the exit status that answers.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use log::LevelFilter;

/// What the program shall do.
#[derive(Debug, PartialEq, Eq)]
pub enum Task {
    /// Serve clients until told to stop.
    Serve {
        /// The config file.
        config: PathBuf,
        /// What is logged, if the command line says so.
        log_level: Option<LevelFilter>,
    },
    /// Say whether it could, and end.
    Check {
        /// The config file to check.
        config: Option<PathBuf>,
        /// Whether to check the machine, too.
        system: bool,
    },
}

/// How the program ended; the numbers are those of sysexits.h where it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// As asked.
    Done = 0,
    /// Something that could not be had while starting, such as a port.
    Failed = 1,
    /// A thread died (EX_SOFTWARE).
    ThreadDied = 70,
    /// The machine does not allow what is needed (EX_OSERR).
    Machine = 71,
    /// There are complaints about the config (EX_CONFIG).
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Reads the arguments, the program's own name among them. The error is what clap would print, and
/// knows its exit status: 0 for `--help` and `--version`, else 2.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Task, clap::Error> {
    let Arguments {
        config,
        log_level,
        command,
    } = Arguments::try_parse_from(arguments.into_iter().map(two_hyphens))?;
    let missing = |what| Err(Arguments::command().error(ErrorKind::MissingRequiredArgument, what));
    match (command, config) {
        (Some(Command::Check { system: false }), None) => {
            missing("say what to check: --config FILE, --system, or both")
        }
        (Some(Command::Check { system }), config) => Ok(Task::Check { config, system }),
        (None, Some(config)) => Ok(Task::Serve { config, log_level }),
        (None, None) => missing("say where the config is: --config FILE"),
    }
}

/// Multi-tenant connection pooler for PostgreSQL and MySQL.
///
/// Exit status: 0 done, 1 failed, 2 usage, 70 a thread died, 71 the machine does not allow it,
/// 78 the config is wrong.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = false)]
struct Arguments {
    /// The config file; configs/dbbouncer.yaml shows every key
    #[arg(
        short,
        long,
        global = true,
        value_name = "FILE",
        env = "DBBOUNCER_CONFIG"
    )]
    config: Option<PathBuf>,
    /// What is logged: error, warn, info, debug or trace [default: RUST_LOG, or info]
    #[arg(long, global = true, value_name = "LEVEL")]
    log_level: Option<LevelFilter>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Says what is wrong with a config or with this machine, and ends
    Check {
        /// Checks whether this machine allows what is needed
        #[arg(long)]
        system: bool,
    },
}

/// `-config` is how the first DBBouncer, a Go program, was told; charts and units still say so.
fn two_hyphens(argument: OsString) -> OsString {
    match argument.to_str() {
        Some(text) if text == "-config" || text.starts_with("-config=") => {
            format!("-{text}").into()
        }
        _ => argument,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(line: &str) -> Result<Task, clap::Error> {
        super::parse(
            format!("dbbouncer {line}")
                .split_whitespace()
                .map(OsString::from),
        )
    }

    #[test]
    fn the_config_is_named_in_each_way() {
        for line in [
            "--config a.yaml",
            "--config=a.yaml",
            "-c a.yaml",
            "-config a.yaml",
            "-config=a.yaml",
        ] {
            let expected = Task::Serve {
                config: "a.yaml".into(),
                log_level: None,
            };
            assert_eq!(parse(line).unwrap(), expected, "{line}");
        }
    }

    #[test]
    fn checks() {
        let check = |config: Option<&str>, system| Task::Check {
            config: config.map(PathBuf::from),
            system,
        };
        assert_eq!(parse("check --config a").unwrap(), check(Some("a"), false));
        assert_eq!(parse("--config a check").unwrap(), check(Some("a"), false));
        assert_eq!(
            parse("check -config a --system").unwrap(),
            check(Some("a"), true)
        );
        assert_eq!(parse("check --system").unwrap(), check(None, true));
    }

    #[test]
    fn levels() {
        let Task::Serve { log_level, .. } = parse("-c a --log-level debug").unwrap() else {
            panic!("no task to serve");
        };
        assert_eq!(log_level, Some(LevelFilter::Debug));
    }

    #[test]
    fn wrong_usage_is_said_with_status_2() {
        for line in [
            "",
            "check",
            "--log-level",
            "-c a --log-level loud",
            "serve",
            "-c a extra",
            "--configs a",
        ] {
            let error = parse(line).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}: {error}");
        }
        for line in ["--version", "--help", "check --help"] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 0, "{line}");
        }
    }

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }
}

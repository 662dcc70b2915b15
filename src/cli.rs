//! The command line: what was asked for, and the exit status that answers.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use log::LevelFilter;

use crate::config::{Span, time};
use crate::top::Column;

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
    /// Show the tenants of a running DBBouncer, live.
    Top {
        /// Where its API is.
        api: WhichApi,
        /// How they are shown.
        show: Show,
    },
    /// Say whether a running DBBouncer is well.
    Healthcheck {
        /// Where its API is.
        api: WhichApi,
        /// What is asked of it.
        probe: Probe,
    },
    /// Say in our words what a PgBouncer's config says.
    Import {
        /// Its pgbouncer.ini.
        ini: PathBuf,
        /// Its userlist.txt.
        userlist: Option<PathBuf>,
    },
    /// Print a text about the config.
    Config(About),
    /// Print the completions of a shell.
    Completions(Shell),
    /// Print the manual page, or write those of all subcommands into a folder.
    Man(Option<PathBuf>),
}

/// Where the API of a running DBBouncer is: said outright, or by its config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WhichApi {
    /// Its URL.
    pub url: Option<String>,
    /// The file with its key.
    pub key_file: Option<PathBuf>,
    /// The config file that it runs with.
    pub config: Option<PathBuf>,
}

/// How the program ended; the numbers are those of sysexits.h where it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// As asked.
    Done = 0,
    /// Something that could not be had while starting, such as a port; or the answer is no.
    Failed = 1,
    /// A thread died (EX_SOFTWARE).
    ThreadDied = 70,
    /// The machine does not allow what is needed (EX_OSERR).
    Machine = 71,
    /// As asked, but clients had to be cut off (EX_TEMPFAIL).
    CutOff = 75,
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
    let Some(command) = command else {
        return match config {
            Some(config) => Ok(Task::Serve { config, log_level }),
            None => missing("say where the config is: --config FILE"),
        };
    };
    Ok(match command {
        Command::Check { system: false } if config.is_none() => {
            return missing("say what to check: --config FILE, --system, or both");
        }
        Command::Check { system } => Task::Check { config, system },
        Command::Top { api, show } => Task::Top {
            api: api.with(config),
            show,
        },
        Command::Healthcheck { api, probe } => Task::Healthcheck {
            api: api.with(config),
            probe,
        },
        Command::Import { ini, userlist } => Task::Import { ini, userlist },
        Command::Config { about } => Task::Config(about),
        Command::Completions { shell } => Task::Completions(shell),
        Command::Man { dir } => Task::Man(dir),
    })
}

/// The command line's own description, for completions and manual pages.
pub fn command() -> clap::Command {
    Arguments::command()
}

/// Multi-tenant connection pooler for PostgreSQL and MySQL.
///
/// Exit status: 0 done, 1 failed, 2 usage, 70 a thread died, 71 the machine does not allow it,
/// 75 stopped and clients were cut off, 78 the config is wrong.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = false)]
struct Arguments {
    /// The config file; `dbbouncer config example` shows every key
    #[arg(
        short,
        long,
        global = true,
        value_name = "FILE",
        env = "DBBOUNCER_CONFIG"
    )]
    config: Option<PathBuf>,
    /// What is logged: error, warn, info, debug or trace [default: RUST_LOG, or info]
    #[arg(long, global = true, value_name = "LEVEL", value_parser = level())]
    #[arg(hide_possible_values = true, ignore_case = true)]
    log_level: Option<LevelFilter>,
    #[command(subcommand)]
    command: Option<Command>,
}

/// What is not a level is answered with those that are.
fn level() -> impl TypedValueParser<Value = LevelFilter> {
    let levels = ["off", "error", "warn", "info", "debug", "trace"];
    PossibleValuesParser::new(levels).try_map(|level| level.parse::<LevelFilter>())
}

#[derive(Subcommand)]
enum Command {
    /// Says what is wrong with a config or with this machine, and ends
    Check {
        /// Checks whether this machine allows what is needed
        #[arg(long)]
        system: bool,
    },
    /// Shows the tenants of a running DBBouncer, live
    ///
    /// Keys: q quits, / filters, < and > choose the column to sort by, r turns the order round, arrows and
    /// page keys move, space pauses.
    Top {
        #[command(flatten)]
        api: ApiArguments,
        #[command(flatten)]
        show: Show,
    },
    /// Asks a running DBBouncer whether it is well: exit status 0 if it is, 1 if not
    ///
    /// For probes in containers that have neither a shell nor curl.
    Healthcheck {
        #[command(flatten)]
        api: ApiArguments,
        #[command(flatten)]
        probe: Probe,
    },
    /// Says in our words what a pgbouncer.ini says: YAML on standard output, remarks on standard error
    ///
    /// A database with a forced user becomes a tenant of its name; one without becomes a tenant for each user that
    /// has a password in clear text, called DATABASE.USER (DATABASE alone if there is one user). Clients then name
    /// their tenant as the documentation says: TENANT__USER as the user's name is one way.
    Import {
        /// PgBouncer's config
        #[arg(value_name = "PGBOUNCER.INI")]
        ini: PathBuf,
        /// Its users [default: the auth_file that it names]
        #[arg(long, value_name = "USERLIST.TXT")]
        userlist: Option<PathBuf>,
    },
    /// Prints what there is to know about the config
    Config {
        /// What
        about: About,
    },
    /// Prints completions for a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Prints this program's manual page
    Man {
        /// Writes the pages of all subcommands into this folder instead
        #[arg(long, value_name = "FOLDER")]
        dir: Option<PathBuf>,
    },
}

#[derive(Args)]
struct ApiArguments {
    /// Where the API is [default: what --config says, or http://127.0.0.1:8080]
    #[arg(long, value_name = "URL", env = "DBBOUNCER_URL")]
    url: Option<String>,
    /// The file with the api_key [default: the variable DBBOUNCER_API_KEY, or what --config says]
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
}

impl ApiArguments {
    fn with(self, config: Option<PathBuf>) -> WhichApi {
        WhichApi {
            url: self.url,
            key_file: self.api_key_file,
            config,
        }
    }
}

/// A text about the config.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// A config with every key, its default and a sentence
    Example,
    /// The reference of all keys, in Markdown
    Reference,
    /// The JSON Schema, by which editors complete and check a config
    Schema,
}

/// How tenants are shown.
#[derive(Args, Debug, Clone, PartialEq, Eq)]
pub struct Show {
    /// How often it is asked
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = some_time)]
    pub interval: Duration,
    /// Prints one report, of what happened within one interval, and ends
    #[arg(long)]
    pub once: bool,
    /// The sessions of this tenant, rather than all tenants
    #[arg(long, value_name = "ID")]
    pub tenant: Option<String>,
    /// The column to sort tenants by
    #[arg(long, value_enum, value_name = "COLUMN", default_value_t = Column::Waiting)]
    pub sort: Column,
    /// Only tenants with these words in their name, state, health, type, mode or shard; or only sessions with these in their user, state, backend, client or application
    #[arg(long, value_name = "WORDS", default_value = "")]
    pub filter: String,
}

/// What is asked of a DBBouncer.
#[derive(Args, Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Whether it is ready for clients, rather than whether it lives
    #[arg(long)]
    pub ready: bool,
    /// How long it may take to answer
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = some_time)]
    pub timeout: Duration,
}

fn some_time(text: &str) -> Result<Duration, String> {
    time(Span::ASKING)(text)
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
        let told = parse("-c a --log-level loud").unwrap_err().to_string();
        assert!(told.contains("error, warn, info, debug, trace"), "{told}");
        for line in ["--version", "--help", "check --help"] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 0, "{line}");
        }
    }

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }
}

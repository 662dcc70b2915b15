//! Measures DBBouncer beside its peers: one load, one processor for the proxy, one for the load.
//!
//! ```text
//!   CPU 1: one thread, one epoll                 CPU 0: the proxy, a process of its own
//!   ┌───────────────────────────────┐            ┌──────────────────────────────────┐
//!   │ clients, closed loop  ────────┼───────────▶│ direct: none · epoll: copies     │
//!   │                               │            │ haproxy · pgbouncer · odyssey    │
//!   │ null backend: answers at once ◀────────────┤ dbbouncer                        │
//!   └───────────────────────────────┘            └──────────────────────────────────┘
//! ```
//!
//! The machine's noise hurts all alike, since the peers take turns in short rounds: compare the
//! ratios of one run, never numbers of two runs. What a proxy costs is read from the scheduler's
//! own account of its threads.
#![forbid(unsafe_code)]

mod arena;
mod compare;
mod forwarder;
mod group;
mod host;
mod link;
mod measures;
mod mysql;
mod neighbours;
mod peers;
mod plot;
mod poll;
mod postgres;
mod publish;
mod real;
mod recipes;
mod report;
mod scram;
mod table;
mod talk;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::peers::Kind;
use crate::talk::{Dialect, Mode};

/// Whatever goes wrong in a bench ends it with a sentence.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

#[derive(Parser)]
#[command(about = "Measures DBBouncer beside its peers")]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Transactions: CPU, latency and memory of each peer, for each number of clients
    Transactions {
        #[command(flatten)]
        common: Common,
        /// Whose protocol
        #[arg(long, default_value = "postgres")]
        dialect: Dialect,
        /// Numbers of clients
        #[arg(long, value_delimiter = ',', default_value = "1,16,64,256,1000")]
        clients: Vec<usize>,
        /// How queries are sent
        #[arg(
            long,
            value_delimiter = ',',
            default_value = "simple,extended,prepared"
        )]
        modes: Vec<Mode>,
    },
    /// Logins for each second: by trust and SCRAM, with and without TLS
    Logins {
        #[command(flatten)]
        common: Common,
    },
    /// Memory of idle clients
    Idle {
        #[command(flatten)]
        common: Common,
        /// Numbers of clients
        #[arg(long, value_delimiter = ',', default_value = "5000,15000")]
        clients: Vec<usize>,
    },
    /// A result of 100 MiB
    Result {
        #[command(flatten)]
        common: Common,
    },
    /// A quiet tenant's latency beside a noisy one
    Neighbour {
        #[command(flatten)]
        common: Common,
    },
    /// pgbench on a real PostgreSQL
    Pgbench {
        #[command(flatten)]
        common: Common,
    },
    /// sysbench on a real MariaDB
    Sysbench {
        #[command(flatten)]
        common: Common,
    },
    /// Writes what was measured last, and what that means for the targets, into a document
    Publish {
        /// Where the results are
        #[arg(long, default_value = "target/bench")]
        out: PathBuf,
        /// The document, with the marks between which tables go
        #[arg(long, default_value = "benches/RESULTS.md")]
        into: PathBuf,
    },
    /// The floor: copies bytes between two sockets, with epoll
    #[command(hide = true)]
    Forwarder {
        /// Where to listen, on the loopback
        #[arg(long)]
        listen: u16,
        /// Where to connect to
        #[arg(long)]
        to: SocketAddr,
    },
}

/// What all measurements share.
#[derive(Args, Clone)]
pub struct Common {
    /// Interleaved rounds of each measurement
    #[arg(long, default_value_t = 21)]
    pub rounds: usize,
    /// Milliseconds of one round
    #[arg(long, default_value_t = 120)]
    pub round_ms: u64,
    /// Fewer and shorter rounds, fewer numbers of clients: about three minutes for all
    #[arg(long)]
    pub quick: bool,
    /// Only these peers
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<Kind>,
    /// The program under test; several to compare builds, as NAME=PATH
    #[arg(long, default_value = "bin/dbbouncer")]
    pub dbbouncer: Vec<String>,
    /// Where the results go
    #[arg(long, default_value = "target/bench")]
    pub out: PathBuf,
}

impl Common {
    /// With the shortcuts of `quick`.
    fn settled(self) -> Common {
        match self.quick {
            false => self,
            true => Common {
                rounds: self.rounds.min(3),
                round_ms: self.round_ms.min(100),
                ..self
            },
        }
    }
}

fn main() -> ExitCode {
    host::open_many();
    let done = run(Cli::parse().what);
    if let Err(error) = &done {
        eprintln!("bench: {error}");
    }
    match done.is_err() || host::has_failed() {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    }
}

fn run(what: What) -> Outcome<()> {
    match what {
        What::Transactions {
            common,
            dialect,
            clients,
            modes,
        } => compare::transactions(&common.settled(), dialect, &clients, &modes),
        What::Logins { common } => measures::logins(&common.settled()),
        What::Idle { common, clients } => measures::idle(&common.settled(), &clients),
        What::Result { common } => measures::result(&common.settled()),
        What::Neighbour { common } => neighbours::neighbour(&common.settled()),
        What::Pgbench { common } => real::pgbench(&common.settled()),
        What::Sysbench { common } => real::sysbench(&common.settled()),
        What::Publish { out, into } => publish::publish(&out, &into),
        What::Forwarder { listen, to } => forwarder::run(listen, to),
    }
}

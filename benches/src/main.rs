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
mod host;
mod measures;
mod peers;
mod plot;
mod poll;
mod postgres;
mod report;
mod table;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::peers::Kind;
use crate::postgres::Mode;

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
    /// Logins for each second
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
    #[arg(long, default_value_t = 9)]
    pub rounds: usize,
    /// Milliseconds of one round
    #[arg(long, default_value_t = 250)]
    pub round_ms: u64,
    /// Fewer and shorter rounds, fewer numbers of clients: about two minutes for all
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
                rounds: self.rounds.min(5),
                round_ms: self.round_ms.min(150),
                ..self
            },
        }
    }
}

fn main() -> Outcome<()> {
    match Cli::parse().what {
        What::Transactions {
            common,
            clients,
            modes,
        } => compare::transactions(&common.settled(), &clients, &modes),
        What::Logins { common } => measures::logins(&common.settled()),
        What::Idle { common, clients } => measures::idle(&common.settled(), &clients),
        What::Result { common } => measures::result(&common.settled()),
        What::Neighbour { common } => measures::neighbour(&common.settled()),
        What::Forwarder { listen, to } => forwarder::run(listen, to),
    }
}

//! Private database servers: started by `scripts/private-server`, which knows how; shared by all tests of a process.
//!
//! Each hangs on a pipe held here: however this process ends, the script sees the pipe close, stops the server and
//! removes its data. An address in the environment (`DBBOUNCER_TEST_MYSQL=127.0.0.1:3306`, user and password `admin`)
//! is taken instead of a server of our own, which is handy while a scenario is being written.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use crate::{project, tool};

/// A database product. Its name is the script's word for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// PostgreSQL 15, from Debian 12.
    Postgres,
    /// PostgreSQL 17, from a Python wheel; unlike that of 18, it knows TLS.
    Postgres17,
    /// PostgreSQL 18, from a Python wheel.
    Postgres18,
    /// MariaDB 10.11, from Debian 12.
    MariaDb,
    /// MySQL 9, from Debian sid: it has no `mysql_native_password`.
    MySql,
}

impl Kind {
    /// How many there are.
    pub(crate) const COUNT: usize = Kind::MySql as usize + 1;

    /// The script's word, and the first part of a test's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Postgres => "postgres",
            Kind::Postgres17 => "postgres17",
            Kind::Postgres18 => "postgres18",
            Kind::MariaDb => "mariadb",
            Kind::MySql => "mysql",
        }
    }

    /// The config's word for the protocol it speaks.
    #[must_use]
    pub fn db_type(self) -> &'static str {
        if self.is_postgres() {
            "postgres"
        } else {
            "mysql"
        }
    }

    /// Whether it speaks PostgreSQL's protocol, rather than MySQL's.
    #[must_use]
    pub fn is_postgres(self) -> bool {
        matches!(self, Kind::Postgres | Kind::Postgres17 | Kind::Postgres18)
    }

    /// Whether this machine can run one.
    #[must_use]
    pub fn is_here(self) -> bool {
        self.given().is_some()
            || Command::new(project(SCRIPT))
                .args(["has", self.name()])
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success())
    }

    /// Whether it is somebody else's, by its address, rather than started here.
    #[must_use]
    pub fn is_given(self) -> bool {
        self.given().is_some()
    }

    fn given(self) -> Option<SocketAddr> {
        let variable = format!("DBBOUNCER_TEST_{}", self.name().to_uppercase());
        let address = std::env::var(&variable).ok()?;
        Some(
            address
                .parse()
                .unwrap_or_else(|_| panic!("{variable} is not an address: {address}")),
        )
    }
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    /// What it is.
    pub kind: Kind,
    /// Where it listens, on loopback.
    pub address: SocketAddr,
    /// Its socket in the file system, as a config's `host` names it; unknown of a server that was given.
    pub local: Option<String>,
    script: Option<Child>,
}

impl Server {
    /// The one server of this kind in this process; the first to ask starts it.
    ///
    /// # Panics
    /// If it cannot be started: ask [`Kind::is_here`] first.
    #[must_use]
    pub fn shared(kind: Kind) -> &'static Server {
        static SERVERS: [OnceLock<Server>; Kind::COUNT] = [const { OnceLock::new() }; Kind::COUNT];
        SERVERS[kind as usize].get_or_init(|| Server::start(kind))
    }

    /// A server for one test alone, which it may stop, and which ends with the value.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start(kind: Kind) -> Server {
        match kind.given() {
            Some(address) => Server {
                kind,
                address,
                local: None,
                script: None,
            },
            None => Server::run(kind, &[]),
        }
    }

    /// The same with TLS: it shows `server.crt` of this folder, has its key in `server.key`, and believes clients whom
    /// `ca.crt` has certified. PostgreSQL lets members of `by_tls` in over TLS only, of `by_cert` with a certificate only.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start_with_tls(kind: Kind, folder: &Path) -> Server {
        Server::run(kind, &["--tls".as_ref(), folder.as_os_str()])
    }

    fn run(kind: Kind, options: &[&OsStr]) -> Server {
        let mut script = Command::new(project(SCRIPT))
            .args(["run", kind.name()])
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("scripts/private-server can be run");
        let mut ready = String::new();
        let stdout = script
            .stdout
            .take()
            .expect("stdout is a pipe, as asked for above");
        BufReader::new(stdout)
            .read_line(&mut ready)
            .expect("the script writes text");
        let word = |key: &str| {
            ready
                .split_whitespace()
                .find_map(|word| word.strip_prefix(key))
        };
        let (Some(host), Some(port)) = (word("host="), word("port=")) else {
            panic!(
                "scripts/private-server run {} said {ready:?}; see its words above",
                kind.name()
            );
        };
        let address = format!("{host}:{port}")
            .parse()
            .expect("the script names an address");
        Server {
            kind,
            address,
            local: word("local=").map(str::to_owned),
            script: Some(script),
        }
    }

    /// Runs SQL as `admin` through the product's command line, and answers what it printed: columns parted by tabs.
    ///
    /// # Panics
    /// If any statement fails.
    pub fn sql(&self, database: &str, script: &str) -> String {
        let host = self.address.ip().to_string();
        let port = self.address.port().to_string();
        let said = if self.kind.is_postgres() {
            let database = if database.is_empty() {
                "postgres"
            } else {
                database
            };
            tool("psql")
                .args(["-X", "-A", "-t", "-q", "-F", "\t", "-v", "ON_ERROR_STOP=1"])
                .args(["-h", &host, "-p", &port, "-U", ADMIN, database])
                .env("PGPASSWORD", ADMIN)
                .fed(script)
        } else {
            tool("mariadb")
                .args([
                    "--no-defaults",
                    "--batch",
                    "--skip-column-names",
                    "--default-character-set=utf8mb4",
                ])
                .args([
                    "-h",
                    &host,
                    "-P",
                    &port,
                    "-u",
                    ADMIN,
                    &format!("-p{ADMIN}"),
                    database,
                ])
                .fed(script)
        };
        assert!(
            said.ok,
            "{} refused {script:?}: {}",
            self.kind.name(),
            said.err
        );
        said.out.trim_end().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(script) = &mut self.script {
            drop(script.stdin.take()); // the end of its life
            let _ = script.wait();
        }
    }
}

const SCRIPT: &str = "scripts/private-server";

/// Name and password of the account that may do everything.
pub(crate) const ADMIN: &str = "admin";

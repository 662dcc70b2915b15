//! The peers: how each is started and stopped. All of them get one processor, the same backend, and as
//! many connections to it for each tenant.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use serde::Serialize;

use crate::host;
use crate::recipes::recipe;
use crate::scram::Secret;
use crate::talk::{Dialect, Mode};
use crate::{Common, Outcome};

/// What stands between clients and backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Nothing
    Direct,
    /// A bare forwarder of bytes on epoll: the floor
    Epoll,
    /// HAProxy in TCP mode, of this Debian
    Haproxy,
    /// PgBouncer of this Debian
    PgbouncerStable,
    /// PgBouncer of Debian sid: the one to be compared with
    Pgbouncer,
    /// Odyssey of Debian sid
    Odyssey,
    /// MySQL Router of Debian sid
    MysqlRouter,
    /// The program under test
    Dbbouncer,
}

impl Kind {
    /// Whether clients log in to it, rather than to what is behind it.
    pub fn greets(self) -> bool {
        !matches!(
            self,
            Kind::Direct | Kind::Epoll | Kind::Haproxy | Kind::MysqlRouter
        )
    }

    /// Whether it speaks that dialect, or cares for none.
    pub fn speaks(self, dialect: Dialect) -> bool {
        match self {
            Kind::Direct | Kind::Epoll | Kind::Haproxy | Kind::Dbbouncer => true,
            Kind::PgbouncerStable | Kind::Pgbouncer | Kind::Odyssey => dialect == Dialect::Postgres,
            Kind::MysqlRouter => dialect == Dialect::Mysql,
        }
    }

    /// Whether it can do this in transaction mode at all.
    pub fn can(self, mode: Mode) -> bool {
        self != Kind::PgbouncerStable || mode != Mode::Prepared
    }
}

/// How the peers are set.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Whose protocol is spoken.
    pub dialect: Dialect,
    /// What is behind them.
    pub database: Database,
    /// Tenants, by the names of [`tenant`].
    pub tenants: usize,
    /// Connections to the backend for each tenant.
    pub pool_size: usize,
    /// A backend for each transaction, or for each client.
    pub by_transaction: bool,
    /// What clients must prove; nothing is trust.
    pub secret: Option<&'static Secret>,
    /// Certificate and key, in PEM, for those who speak TLS with clients.
    pub certificate: Option<(String, String)>,
    /// DBBouncer's shards.
    pub shards: usize,
    /// A tenant with a database elsewhere, and where.
    pub apart: Option<(usize, SocketAddr)>,
}

/// Where backends come from.
#[derive(Clone, Debug)]
pub struct Database {
    /// Its address.
    pub address: SocketAddr,
    /// Whom it lets in.
    pub user: String,
    /// With which password, if it asks.
    pub password: Option<String>,
    /// The database's name; none is the tenant's.
    pub name: Option<String>,
}

impl Setup {
    /// Four tenants with five connections each to the null backend, a backend for each transaction.
    pub fn of_null_backend(dialect: Dialect, address: SocketAddr) -> Setup {
        Setup {
            dialect,
            database: Database {
                address,
                user: "app".to_owned(),
                password: None,
                name: None,
            },
            tenants: TENANTS,
            pool_size: 5,
            by_transaction: true,
            secret: None,
            certificate: None,
            shards: 1,
            apart: None,
        }
    }

    /// Where a tenant's database is.
    pub fn address_of(&self, tenant: usize) -> SocketAddr {
        match self.apart {
            Some((number, elsewhere)) if number == tenant => elsewhere,
            _ => self.database.address,
        }
    }
}

/// Tenants of the null backend.
pub const TENANTS: usize = 4;

/// The name of a tenant.
pub fn tenant(number: usize) -> String {
    format!("t{number}")
}

/// A peer that runs. Dropped, it is stopped.
pub struct Peer {
    /// What it is.
    pub kind: Kind,
    /// Its name in the tables.
    pub name: String,
    /// Where clients connect to.
    pub address: SocketAddr,
    /// Where DBBouncer answers questions.
    pub api: Option<SocketAddr>,
    process: Option<(Child, PathBuf)>,
}

impl Peer {
    /// Its process, if it is one.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(|(child, _)| child.id())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some((child, folder)) = &mut self.process {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
            let _ = fs::remove_dir_all(folder);
        }
    }
}

/// Starts all peers that are wanted and can be had; says loudly which cannot.
pub fn start_all(common: &Common, setup: &Setup, wanted: impl Fn(Kind) -> bool) -> Vec<Peer> {
    let mut peers = Vec::new();
    for &kind in Kind::value_variants() {
        let asked_for = common.only.is_empty() || common.only.contains(&kind);
        if !asked_for || !wanted(kind) || !kind.speaks(setup.dialect) {
            continue;
        }
        let programs = match kind {
            Kind::Dbbouncer => &common.dbbouncer[..],
            _ => &[String::new()],
        };
        for program in programs {
            match start(kind, program, setup) {
                Ok(peer) => peers.push(peer),
                Err(error) => left_out(kind, &format!("{kind:?}"), &*error),
            }
        }
    }
    peers
}

/// Says that a peer is not measured, and why. Where it is the program under test, the bench goes on
/// and fails at its end.
pub fn left_out(kind: Kind, name: &str, why: &dyn std::error::Error) {
    eprintln!("LEFT OUT: {name}: {why}");
    if kind == Kind::Dbbouncer {
        host::fail();
    }
}

fn start(kind: Kind, program: &str, setup: &Setup) -> Outcome<Peer> {
    if kind == Kind::Direct {
        return Ok(Peer {
            kind,
            name: "direct".to_owned(),
            address: setup.database.address,
            api: None,
            process: None,
        });
    }
    let (port, api) = (free_port()?, free_port()?);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let recipe = recipe(kind, program, (port, api), setup)?;
    let inside = format!("/tmp/dbbouncer-bench-{}-{port}", std::process::id());
    let folder = match &recipe.root {
        Some(root) => root.join(inside.trim_start_matches('/')),
        None => PathBuf::from(&inside),
    };
    fs::create_dir_all(&folder)?;
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777))?;
    let write = |name: &str, text: &str| fs::write(folder.join(name), text);
    write("config", &recipe.config.replace("FOLDER", &inside))?;
    write("users", &recipe.users)?;
    if let Some((certificate, key)) = &setup.certificate {
        write("cert.pem", certificate)?;
        write("key.pem", key)?;
    }
    let log = fs::File::create(folder.join("log"))?;
    let mut words = launcher(recipe.root.as_deref(), recipe.unprivileged, setup.shards);
    words.extend(
        recipe
            .command
            .iter()
            .map(|word| word.replace("FOLDER", &inside)),
    );
    let child = Command::new(&words[0])
        .args(&words[1..])
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .map_err(|error| format!("{}: {error}", words[0]))?;
    let mut peer = Peer {
        kind,
        name: recipe.name,
        address,
        api: (kind == Kind::Dbbouncer).then(|| SocketAddr::from((Ipv4Addr::LOCALHOST, api))),
        process: Some((child, folder)),
    };
    wait_for(&mut peer)?;
    Ok(peer)
}

/// What to run before the program itself: in which root, as whom, where, and that it ends with us.
fn launcher(root: Option<&Path>, unprivileged: bool, shards: usize) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let nobody = unprivileged && rustix::process::getuid().is_root();
    match root {
        Some(root) => {
            words.push("chroot".to_owned());
            if nobody {
                words.push("--userspec=65534:65534".to_owned());
            }
            words.push(root.display().to_string());
        }
        None if nobody => {
            let drop = "setpriv --reuid=65534 --regid=65534 --clear-groups";
            words.extend(drop.split(' ').map(str::to_owned));
        }
        None => {}
    }
    // Behind the change of user, which would undo it.
    let cpus = host::proxy_cpus(shards);
    let tail = format!("setpriv --pdeathsig=KILL taskset -c {cpus}");
    words.extend(tail.split(' ').map(str::to_owned));
    words
}

fn wait_for(peer: &mut Peer) -> Outcome<()> {
    let patience = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(peer.address).is_err() {
        let Some((child, folder)) = &mut peer.process else {
            break;
        };
        let ended = child.try_wait()?;
        if ended.is_some() || Instant::now() > patience {
            let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
            let said: Vec<&str> = log.lines().rev().take(5).collect();
            return Err(format!("does not listen ({ended:?}): {}", said.join(" | ")).into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn free_port() -> Outcome<u16> {
    let probe = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(probe.local_addr()?.port())
}

//! The peers: how each is configured, started and stopped. All of them get one processor, the same
//! backend, and as many connections to it for each tenant.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use serde::Serialize;

use crate::host::PROXY_CPU;
use crate::postgres::Mode;
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
    /// The program under test
    Dbbouncer,
}

impl Kind {
    /// Whether clients share backends, so that transactions of many go over few connections.
    pub fn pools(self) -> bool {
        !matches!(self, Kind::Direct | Kind::Epoll | Kind::Haproxy)
    }

    /// Whether it can do this in transaction mode at all.
    pub fn can(self, mode: Mode) -> bool {
        self != Kind::PgbouncerStable || mode != Mode::Prepared
    }
}

/// How the peers are set.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// The null backend.
    pub backend: SocketAddr,
    /// Tenants, by the names of [`tenant`].
    pub tenants: usize,
    /// Connections to the backend for each tenant.
    pub pool_size: usize,
}

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
pub fn start_all(
    common: &Common,
    setup: &Setup,
    wanted: impl Fn(Kind) -> bool,
) -> Outcome<Vec<Peer>> {
    let mut peers = Vec::new();
    for &kind in Kind::value_variants() {
        if !wanted(kind) || !common.only.is_empty() && !common.only.contains(&kind) {
            continue;
        }
        let programs = match kind {
            Kind::Dbbouncer => &common.dbbouncer[..],
            _ => &[String::new()],
        };
        for program in programs {
            match start(kind, program, setup) {
                Ok(peer) => peers.push(peer),
                Err(error) if kind == Kind::Dbbouncer => return Err(error),
                Err(error) => eprintln!("LEFT OUT: {kind:?}: {error}"),
            }
        }
    }
    Ok(peers)
}

fn start(kind: Kind, program: &str, setup: &Setup) -> Outcome<Peer> {
    if kind == Kind::Direct {
        return Ok(Peer {
            kind,
            name: "direct".to_owned(),
            address: setup.backend,
            process: None,
        });
    }
    let port = free_port()?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let Recipe {
        name,
        root,
        unprivileged,
        config,
        command,
    } = recipe(kind, program, port, setup)?;
    let inside = format!("/tmp/dbbouncer-bench-{}-{port}", std::process::id());
    let folder = match &root {
        Some(root) => root.join(inside.trim_start_matches('/')),
        None => PathBuf::from(&inside),
    };
    fs::create_dir_all(&folder)?;
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777))?;
    fs::write(folder.join("config"), config.replace("FOLDER", &inside))?;
    let log = fs::File::create(folder.join("log"))?;
    let mut words = launcher(root.as_deref(), unprivileged);
    words.extend(command.iter().map(|word| word.replace("FOLDER", &inside)));
    let child = Command::new(&words[0])
        .args(&words[1..])
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .map_err(|error| format!("{}: {error}", words[0]))?;
    let mut peer = Peer {
        kind,
        name,
        address,
        process: Some((child, folder)),
    };
    wait_for(&mut peer)?;
    Ok(peer)
}

/// What to run before the program itself: in which root, as whom, where, and that it ends with us.
fn launcher(root: Option<&Path>, unprivileged: bool) -> Vec<String> {
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
    let tail = format!("setpriv --pdeathsig=KILL taskset -c {PROXY_CPU}");
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

/// How one peer is run.
struct Recipe {
    name: String,
    /// Another system's files, in which it lives.
    root: Option<PathBuf>,
    /// It refuses to be root.
    unprivileged: bool,
    /// Its config file, where FOLDER stands for the folder that the file lies in.
    config: String,
    command: Vec<String>,
}

fn recipe(kind: Kind, program: &str, port: u16, setup: &Setup) -> Outcome<Recipe> {
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    Ok(match kind {
        Kind::Direct => return Err("needs no program".into()),
        Kind::Epoll => {
            let this = std::env::current_exe()?.display().to_string();
            let to = setup.backend;
            Recipe {
                name: "epoll".to_owned(),
                root: None,
                unprivileged: false,
                config: String::new(),
                command: words(&format!("{this} forwarder --listen {port} --to {to}")),
            }
        }
        Kind::Haproxy => Recipe {
            name: named("haproxy", &version(None, &["haproxy", "-v"], 2)?),
            root: None,
            unprivileged: false,
            config: haproxy(port, setup),
            command: words("haproxy -db -f FOLDER/config"),
        },
        Kind::PgbouncerStable => Recipe {
            name: named("pgbouncer", &version(None, &["pgbouncer", "-V"], 1)?),
            root: None,
            unprivileged: true,
            config: pgbouncer(port, setup, false),
            command: words("pgbouncer FOLDER/config"),
        },
        Kind::Pgbouncer => {
            let root = sid()?;
            Recipe {
                name: named("pgbouncer", &version(Some(&root), &["pgbouncer", "-V"], 1)?),
                root: Some(root),
                unprivileged: true,
                config: pgbouncer(port, setup, true),
                command: words("pgbouncer FOLDER/config"),
            }
        }
        Kind::Odyssey => {
            let root = sid()?;
            Recipe {
                name: named(
                    "odyssey",
                    &version(Some(&root), &["odyssey", "--version"], 1)?,
                ),
                root: Some(root),
                unprivileged: true,
                config: odyssey(port, setup),
                command: words("odyssey FOLDER/config"),
            }
        }
        Kind::Dbbouncer => {
            let (name, path) = program.split_once('=').unwrap_or(("dbbouncer", program));
            let path = fs::canonicalize(path).map_err(|_| format!("{path}: run make build"))?;
            Recipe {
                name: name.to_owned(),
                root: None,
                unprivileged: false,
                config: dbbouncer(port, free_port()?, setup),
                command: vec![
                    path.display().to_string(),
                    "--config".to_owned(),
                    "FOLDER/config".to_owned(),
                ],
            }
        }
    })
}

fn named(name: &str, version: &str) -> String {
    let mut parts = version.split(['.', '-', '+']);
    let (major, minor) = (parts.next().unwrap_or("?"), parts.next().unwrap_or("?"));
    format!("{name} {major}.{minor}")
}

/// The word at `index` of the first line that says so.
fn version(root: Option<&Path>, command: &[&str], index: usize) -> Outcome<String> {
    let mut words: Vec<&str> = command.to_vec();
    let root = root.map(|root| root.display().to_string());
    if let Some(root) = &root {
        words.splice(0..0, ["chroot", root]);
    }
    let output = Command::new(words[0])
        .args(&words[1..])
        .output()
        .map_err(|error| format!("{}: {error}", words[0]))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let word = said.split_whitespace().nth(index);
    Ok(word.ok_or("does not say its version")?.to_owned())
}

/// The tree of Debian sid that scripts/install-bench-peers fills.
fn sid() -> Outcome<PathBuf> {
    let cache = std::env::var("DBBOUNCER_CACHE").map(PathBuf::from);
    let cache = cache
        .or_else(|_| std::env::var("HOME").map(|home| Path::new(&home).join(".cache/dbbouncer")))?;
    let tree = cache.join("mysql-sid");
    match tree.join("usr/sbin/pgbouncer").exists() && rustix::process::getuid().is_root() {
        true => Ok(tree),
        false => Err("run scripts/install-bench-peers as root".into()),
    }
}

fn haproxy(port: u16, setup: &Setup) -> String {
    format!(
        "global\n  nbthread 1\n  maxconn 9000\ndefaults\n  mode tcp\n  timeout connect 5s\n  \
         timeout client 1h\n  timeout server 1h\nlisten all\n  bind 127.0.0.1:{port}\n  \
         server null {}\n",
        setup.backend
    )
}

fn pgbouncer(port: u16, setup: &Setup, prepared: bool) -> String {
    let mut config = "[databases]\n".to_owned();
    let (host, to) = (setup.backend.ip(), setup.backend.port());
    for number in 0..setup.tenants {
        let (name, size) = (tenant(number), setup.pool_size);
        let _ = writeln!(
            config,
            "{name} = host={host} port={to} dbname={name} user=app pool_size={size}"
        );
    }
    let _ = write!(
        config,
        "[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
         auth_type = any\npool_mode = transaction\nmax_client_conn = 19000\n\
         listen_backlog = 4096\nlog_connections = 0\nlog_disconnections = 0\n"
    );
    if prepared {
        config.push_str("max_prepared_statements = 500\n");
    }
    config
}

fn odyssey(port: u16, setup: &Setup) -> String {
    let (host, to) = (setup.backend.ip(), setup.backend.port());
    let mut config = format!(
        "daemonize no\nlog_to_stdout yes\nlog_format \"%l %m\\n\"\nlog_session no\nlog_stats no\nworkers 1\nresolvers 1\n\
         client_max 19000\nunix_socket_dir \"FOLDER\"\nunix_socket_mode \"0700\"\nlocks_dir \"FOLDER\"\n\
         listen {{\n  host \"127.0.0.1\"\n  port {port}\n  backlog 4096\n}}\n\
         storage \"null\" {{\n  type \"remote\"\n  host \"{host}\"\n  port {to}\n}}\n"
    );
    for number in 0..setup.tenants {
        let (name, size) = (tenant(number), setup.pool_size);
        let _ = write!(
            config,
            "database \"{name}\" {{\n  user default {{\n    authentication \"none\"\n    \
             storage \"null\"\n    storage_db \"{name}\"\n    storage_user \"app\"\n    \
             pool \"transaction\"\n    pool_size {size}\n    pool_discard no\n    \
             pool_reserve_prepared_statement yes\n    pool_timeout 0\n  }}\n}}\n"
        );
    }
    config
}

fn dbbouncer(port: u16, api: u16, setup: &Setup) -> String {
    let (host, to) = (setup.backend.ip(), setup.backend.port());
    let mut config = format!(
        "listen: {{host: 127.0.0.1, postgres_port: {port}, mysql_port: 0, api_port: {api}}}\n\
         runtime: {{shards: 1, acceptors: 1}}\n\
         limits: {{client_connections: 19000}}\n\
         defaults: {{pool_mode: transaction, client_auth: trust, max_connections: {}}}\n\
         tenants:\n",
        setup.pool_size
    );
    for number in 0..setup.tenants {
        let name = tenant(number);
        let _ = writeln!(
            config,
            "  {name}: {{db_type: postgres, host: {host}, port: {to}, dbname: {name}, username: app}}"
        );
    }
    config
}

fn free_port() -> Outcome<u16> {
    let probe = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(probe.local_addr()?.port())
}

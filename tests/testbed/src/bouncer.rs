//! The real program, run with a config of the test's making, on ports of its own.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::{Door, Tenant, eventually};

/// A config file to be.
#[derive(Clone, Debug, Default)]
pub struct Config {
    tenants: Vec<Tenant>,
    lines: Vec<String>,
    environment: Vec<(String, String)>,
    descriptors: Option<u32>,
    host: Option<IpAddr>,
    files: Vec<(PathBuf, &'static str)>,
}

impl Config {
    /// These tenants and nothing else but free ports.
    #[must_use]
    pub fn for_tenants(tenants: &[Tenant]) -> Config {
        Config {
            tenants: tenants.to_vec(),
            ..Config::default()
        }
    }

    /// The same for these tenants.
    #[must_use]
    pub fn instead(mut self, tenants: &[Tenant]) -> Config {
        self.tenants = tenants.to_vec();
        self
    }

    /// Runs the program with this in its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Config {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a top-level entry in YAML, such as `limits: {login_timeout: 1s}`.
    #[must_use]
    pub fn with(mut self, line: &str) -> Config {
        self.lines.push(line.to_owned());
        self
    }

    /// Has clients come to this address instead of 127.0.0.1.
    #[must_use]
    pub fn listening_on(mut self, host: impl Into<IpAddr>) -> Config {
        self.host = Some(host.into());
        self
    }

    /// Lets the program have so many files and sockets open.
    #[must_use]
    pub fn with_descriptors(mut self, descriptors: u32) -> Config {
        self.descriptors = Some(descriptors);
        self
    }

    /// Shows the program a file of the test's at another path, such as `/etc/hosts`. Needs [`has_mounts`].
    #[must_use]
    pub fn with_file(mut self, file: PathBuf, at: &'static str) -> Config {
        self.files.push((file, at));
        self
    }

    /// The command that shows these files to another; nothing, if there are none.
    fn mounting(&self) -> Vec<OsString> {
        if self.files.is_empty() {
            return Vec::new();
        }
        let script =
            r#"while [ "$1" != -- ]; do mount --bind "$1" "$2"; shift 2; done; shift; exec "$@""#;
        let mut words: Vec<OsString> = ["unshare", "--mount", "sh", "-ec", script, "sh"]
            .map(Into::into)
            .into();
        for (file, at) in &self.files {
            words.extend([file.into(), at.into()]);
        }
        words.push("--".into());
        words
    }

    fn host(&self) -> IpAddr {
        self.host.unwrap_or(Ipv4Addr::LOCALHOST.into())
    }

    fn yaml(&self, ports: &Ports) -> String {
        let Ports {
            postgres,
            mysql,
            api,
        } = ports;
        let host = self.host();
        let mut yaml = format!(
            "listen: {{host: '{host}', postgres_port: {postgres}, mysql_port: {mysql}, api_port: {api}}}\n"
        );
        if !self.lines.iter().any(|line| line.starts_with("runtime:")) {
            let shards = std::env::var("DBBOUNCER_TEST_SHARDS").unwrap_or_else(|_| "2".to_owned());
            let _ = writeln!(yaml, "runtime: {{shards: {shards}}}");
        }
        // On a machine that stalls a login may take long, which only some tests are about.
        if !self.lines.iter().any(|line| line.starts_with("limits:")) {
            yaml.push_str("limits: {login_timeout: 60s}\n");
        }
        for line in &self.lines {
            let _ = writeln!(yaml, "{line}");
        }
        yaml.push_str("tenants:\n");
        for tenant in &self.tenants {
            let Tenant {
                id,
                address,
                dbname,
                username,
                password,
                ..
            } = tenant;
            let _ = writeln!(yaml, "  {id}:\n    db_type: {}", tenant.kind.db_type());
            if !tenant.settings.iter().any(|line| line.starts_with("host:")) {
                let _ = writeln!(yaml, "    host: {}", address.ip());
            }
            let _ = writeln!(yaml, "    port: {}", address.port());
            let _ = writeln!(
                yaml,
                "    dbname: {dbname}\n    username: {username}\n    password: {password:?}"
            );
            let settles_mode = tenant
                .settings
                .iter()
                .any(|it| it.starts_with("pool_mode:"));
            // Nor is the login at the database quick then.
            let settles_time = tenant
                .settings
                .iter()
                .any(|it| it.starts_with("connect_timeout:"));
            if !settles_time {
                let _ = writeln!(yaml, "    connect_timeout: 15s");
            }
            if let Some(mode) = pool_mode()
                && !settles_mode
            {
                let _ = writeln!(yaml, "    pool_mode: {mode}");
            }
            for setting in &tenant.settings {
                let _ = writeln!(yaml, "    {setting}");
            }
        }
        yaml
    }
}

/// Whether a test may have mounts of its own, for [`Config::with_file`]: root may, unless a container forbids it.
#[must_use]
pub fn has_mounts() -> bool {
    let status = Command::new("unshare")
        .args(["--mount", "mount", "-t", "tmpfs", "none"])
        .arg(std::env::temp_dir())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

/// In which pool mode the tenants of all tests are served, if the environment says so.
#[must_use]
pub fn pool_mode() -> Option<String> {
    std::env::var("DBBOUNCER_TEST_POOL_MODE").ok()
}

/// The program, running. Dropped, it is stopped; a test that fails first shows the end of its log.
#[derive(Debug)]
pub struct Bouncer {
    child: Child,
    folder: PathBuf,
    host: IpAddr,
    ports: Ports,
}

impl Bouncer {
    /// Starts it and waits until it says that it takes connections.
    ///
    /// # Panics
    /// If it ends instead, with its log.
    #[must_use]
    pub fn start(config: &Config) -> Bouncer {
        let folder = fresh_folder();
        let ports = Ports::free();
        fs::write(folder.join("config.yaml"), config.yaml(&ports))
            .expect("the temporary folder can be written to");
        let log = File::create(folder.join("log")).expect("the temporary folder can be written to");
        let limit = config
            .descriptors
            .map(|limit| format!("--nofile={limit}:{limit}"));
        let limited = limit.iter().flat_map(|limit| ["prlimit", limit]);
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .args(limited)
            .args(config.mounting())
            .args([&program(), "--config"])
            .arg(folder.join("config.yaml"))
            .env(
                "RUST_LOG",
                std::env::var("RUST_LOG").unwrap_or_else(|_| "info".to_owned()),
            )
            .envs(config.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be cloned"))
            .stderr(log)
            .spawn()
            .expect("setpriv (util-linux) is there");
        let mut bouncer = Bouncer {
            child,
            folder,
            host: config.host(),
            ports,
        };
        // Not by trying the ports: a probe takes a client's place, which some tests count.
        eventually("the bouncer is ready", || {
            if let Ok(Some(status)) = bouncer.child.try_wait() {
                panic!(
                    "the bouncer ended with {status} instead of listening:\n{}",
                    bouncer.log()
                );
            }
            bouncer.log().contains(READY).then_some(())
        });
        bouncer
    }

    /// The way to this tenant: its id before the user's name.
    #[must_use]
    pub fn door(&self, tenant: &Tenant) -> Door {
        Door {
            kind: tenant.kind,
            address: if tenant.kind.is_postgres() {
                self.postgres()
            } else {
                self.mysql()
            },
            user: format!("{}__app", tenant.id),
            password: tenant.password.clone(),
            dbname: tenant.dbname.clone(),
        }
    }

    /// Where PostgreSQL's protocol is spoken.
    #[must_use]
    pub fn postgres(&self) -> SocketAddr {
        SocketAddr::from((self.host, self.ports.postgres))
    }

    /// Where MySQL's protocol is spoken.
    #[must_use]
    pub fn mysql(&self) -> SocketAddr {
        SocketAddr::from((self.host, self.ports.mysql))
    }

    /// Where the management API listens.
    #[must_use]
    pub fn api(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports.api))
    }

    /// Writes another config in the place of its own, and answers its path.
    ///
    /// # Panics
    /// If the file cannot be written.
    pub fn rewrite(&self, config: &Config) -> PathBuf {
        let path = self.folder.join("config.yaml");
        // In one step, as a careful operator does it.
        let half = self.folder.join("config.yaml.half");
        fs::write(&half, config.yaml(&self.ports)).expect("the temporary folder can be written to");
        fs::rename(&half, &path).expect("a file can be renamed");
        path
    }

    /// Where the program lies.
    #[must_use]
    pub fn program(&self) -> String {
        program()
    }

    /// Everything it has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Waits for a log line with all these words in it, and answers it.
    ///
    /// # Panics
    /// If it does not come.
    #[track_caller]
    pub fn log_line(&self, words: &[&str]) -> String {
        eventually(&format!("a log line with {words:?}"), || {
            let log = self.log();
            let line = log
                .lines()
                .find(|line| words.iter().all(|word| line.contains(word)));
            line.map(ToOwned::to_owned)
        })
    }

    /// Its process's number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Asks it to stop as Kubernetes would, and waits for it as [`Bouncer::ended`] does.
    ///
    /// # Panics
    /// As [`Bouncer::ended`] does.
    pub fn stop(self) {
        self.tell_to_stop();
        self.ended();
    }

    /// Asks it to stop as Kubernetes would.
    pub fn tell_to_stop(&self) {
        let pid = self.child.id().to_string();
        // The shell's kill, since sending a signal from Rust needs unsafe code.
        let _ = Command::new("sh")
            .args(["-c", &format!("kill -TERM {pid}")])
            .stderr(Stdio::null())
            .status();
    }

    /// Waits for its end, after it has been told to stop.
    ///
    /// # Panics
    /// If it does not end with status 0, if a thread of it panicked in its life, or if it did not
    /// understand what a database said.
    pub fn ended(self) {
        self.ended_with(0);
    }

    /// The same, with another status: 75 says that clients were cut off.
    ///
    /// # Panics
    /// As [`Bouncer::ended`] does.
    pub fn ended_with(mut self, code: i32) {
        let status = eventually("the bouncer ends after SIGTERM", || {
            self.child.try_wait().ok().flatten()
        });
        let log = self.log();
        assert!(
            status.code() == Some(code),
            "the bouncer ended with {status}:\n{}",
            tail(&log)
        );
        for never in ["panicked at", "lost track"] {
            assert!(
                !log.contains(never),
                "{never:?} stands in the bouncer's log:\n{}",
                tail(&log)
            );
        }
    }
}

impl Drop for Bouncer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "--- the bouncer's log, its end ---\n{}---",
                tail(&self.log())
            );
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// What the log says, at level info, when both ports are open.
const READY: &str = "ready: ";

#[derive(Clone, Copy, Debug)]
struct Ports {
    postgres: u16,
    mysql: u16,
    api: u16,
}

impl Ports {
    fn free() -> Ports {
        Ports {
            postgres: free_port(),
            mysql: free_port(),
            api: free_port(),
        }
    }
}

/// A port that nobody listens on, and that is given to nobody else while this process lives. It lies below the range the
/// kernel gives to outgoing connections, lest a client take it before the bouncer does.
///
/// Ports are taken in blocks. Whoever holds the UDP port of a block's first number, has the block: that of a process that
/// has ended in whatever way is free again.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn free_port() -> u16 {
    const ALL: std::ops::Range<u16> = 10_000..15_000;
    const BLOCK: u16 = 50;
    static OURS: Mutex<(Vec<UdpSocket>, std::ops::Range<u16>)> = Mutex::new((Vec::new(), 0..0));
    let mut ours = OURS.lock().unwrap_or_else(PoisonError::into_inner);
    let (signs, ports) = &mut *ours;
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    loop {
        if let Some(port) = ports.find(is_free) {
            return port;
        }
        let mut firsts = ALL.step_by(BLOCK.into());
        let sign = firsts.find_map(|first| UdpSocket::bind((Ipv4Addr::LOCALHOST, first)).ok());
        // Where all are taken, what we had first is long free again.
        let sign = sign.unwrap_or_else(|| signs.remove(0));
        let first = sign.local_addr().expect("it is bound").port();
        *ports = first..first + BLOCK;
        signs.push(sign);
    }
}

fn fresh_folder() -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let folder =
        std::env::temp_dir().join(format!("dbbouncer-test-{}-{number}", std::process::id()));
    fs::create_dir_all(&folder).expect("the temporary folder can be written to");
    folder
}

/// The program under test: cargo names it to a test's process, and the environment may name another.
fn program() -> String {
    std::env::var("DBBOUNCER_TEST_PROGRAM")
        .ok()
        .or_else(|| PROGRAM.get().cloned())
        .expect("Plan::run names the program before any test starts it")
}

pub(crate) static PROGRAM: std::sync::OnceLock<String> = std::sync::OnceLock::new();

fn tail(log: &str) -> String {
    const LINES: usize = 60;
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(LINES)..]
        .iter()
        .map(|line| format!("{line}\n"))
        .collect()
}

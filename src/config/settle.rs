//! From a config as written to one as meant: every value in its range, or a list of complaints.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use shards::contract::{ClientAuth, Networks, Secret, TenantId, TenantSpec};
use shards::tls::ClientsTls;
use shards::{Places, PlaneSettings};

use super::cpus::Cpus;
use super::file::Node;
use super::section::{Reader, Section};
use super::tenant::{self, Habits};
use super::tls;
use super::units::{self, Span};
use super::{Complaint, Surroundings};

/// All settings of the process. Nothing is left to guess.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The ports, threads and limits of the data plane.
    pub plane: PlaneSettings,
    /// TLS towards clients, if there is any.
    pub tls: Option<ClientsTls>,
    /// The tenants, in the order of the file.
    pub tenants: Vec<TenantSpec>,
    /// What holds for tenants that do not say otherwise, those made by the API among them.
    pub defaults: Habits,
    /// How a line of the log looks.
    pub log_format: LogFormat,
    /// How the API behaves.
    pub api: Api,
    /// How long clients may take to finish after a SIGTERM.
    pub shutdown_grace: Duration,
    /// What is allowed and should be known, for the log.
    pub warnings: Vec<Complaint>,
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object for each line.
    Json,
}

/// The settings of the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Api {
    /// Where it listens; `None` for no API.
    pub address: Option<SocketAddr>,
    /// Where it answers probes and those who read metrics, and nobody else; `None` for nowhere.
    pub metrics_address: Option<SocketAddr>,
    /// The bearer token it asks for; `None` if it asks for none.
    pub key: Option<Secret>,
    /// Whether it asks those who read metrics, too.
    pub metrics_auth: bool,
    /// How many tenants have a label of their own in the metrics; the others are added up.
    pub metrics_tenant_limit: usize,
    /// Where tenants made by the API are kept over a restart; `None` if they are not.
    pub state_file: Option<PathBuf>,
}

/// Settles a config, or says everything that is wrong with it.
pub fn settle(written: &Node, surroundings: &Surroundings) -> Result<Settings, Vec<Complaint>> {
    let reader = Reader::new(surroundings);
    let settings = read_all(&reader, written);
    let (complaints, warnings) = reader.findings();
    if !complaints.is_empty() {
        return Err(complaints);
    }
    Ok(Settings {
        warnings,
        ..settings
    })
}

/// Reads every key there is. The settings count if there are no complaints.
pub fn read_all(reader: &Reader<'_>, written: &Node) -> Settings {
    let root = reader.root(written);
    let (listen, host) = listen(&root);
    let plane = plane(&root, &listen, host);
    let api = api(&root, &listen, host);
    complain_of_ports(&listen, &plane, &api);
    listen.finish();
    let shutdown_grace = root.value_or(
        "shutdown_grace",
        units::time(Span::PATIENCE),
        SHUTDOWN_GRACE,
    );
    let formats = [
        ("text", Some(LogFormat::Text)),
        ("json", Some(LogFormat::Json)),
    ];
    let log_format = root.value_or("log_format", units::choice(&formats), LogFormat::Text);
    let defaults = root.section("defaults");
    let habits = Habits::settle(&defaults, &Habits::BUILT_IN);
    defaults.finish();
    let tenants = tenants(&root.section("tenants"), &habits);
    let tls = tls::towards_clients(&root);
    if !root.has("tls_client_ca") {
        let by_cert = |tenant: &&TenantSpec| tenant.access.method == ClientAuth::Cert;
        for tenant in tenants.iter().filter(by_cert) {
            let text = format!(
                "is missing: nobody can connect to tenant {}, whose client_auth is cert",
                tenant.id
            );
            root.warn("tls_client_ca", text);
        }
    }
    root.finish();
    Settings {
        plane,
        tls,
        tenants,
        defaults: habits,
        log_format,
        api,
        shutdown_grace,
        warnings: Vec::new(),
    }
}

/// Settles what a config says of the API, and passes over whatever is wrong with it.
pub fn settle_api(written: &Node, surroundings: &Surroundings) -> Api {
    let reader = Reader::new(surroundings);
    let root = reader.root(written);
    let (listen, host) = listen(&root);
    api(&root, &listen, host)
}

/// The section of the ports, and the address that they share.
fn listen<'a>(root: &Section<'a>) -> (Section<'a>, IpAddr) {
    let listen = root.section("listen");
    let host = listen.value_or("host", units::address, IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    (listen, host)
}

/// Settles a tenant that somebody sent to us, or says everything that is wrong with it; keys are
/// relative to the tenant. The warnings come with it.
///
/// Its texts mean what they say: whoever may make tenants must not read our environment or our
/// files by it.
pub fn settle_tenant(
    id: &TenantId,
    written: &Node,
    defaults: &Habits,
) -> Result<(TenantSpec, Vec<Complaint>), Vec<Complaint>> {
    let no_files = || {
        let why = "only the config file may refer to files";
        io::Error::new(io::ErrorKind::Unsupported, why)
    };
    let surroundings = Surroundings {
        env: &|_| None,
        read: &|_| Err(no_files()),
        cpus: Cpus::ours(),
    };
    let reader = Reader::new(&surroundings);
    let written = written.taken_literally();
    let spec = tenant::settle(id.clone(), reader.root(&written), defaults);
    let (complaints, warnings) = reader.findings();
    match spec {
        Some(spec) if complaints.is_empty() => Ok((spec, warnings)),
        _ => Err(complaints),
    }
}

fn plane(root: &Section, listen: &Section, host: IpAddr) -> PlaneSettings {
    let at = |port: Option<u16>| port.map(|port| SocketAddr::new(host, port));
    let postgres = listen.value_or("postgres_port", units::own_port, Some(POSTGRES_PORT));
    let mysql = listen.value_or("mysql_port", units::own_port, Some(MYSQL_PORT));
    let mysql_version = listen
        .value("mysql_version", units::auto_or(mysql_version))
        .flatten();
    let runtime = root.section("runtime");
    let cpus = root.cpus();
    let shards = runtime
        .value("shards", units::auto_or(units::count(1..=MAX_SHARDS)))
        .flatten();
    let shards = shards.unwrap_or(cpus.parallelism.min(MAX_SHARDS));
    let acceptors = runtime.value_or("acceptors", units::count(1..=MAX_ACCEPTORS), 1);
    let pinned = pinned(&runtime, cpus, shards);
    runtime.finish();
    let limits = root.section("limits");
    let places = places(&limits);
    let login_timeout = limits.value_or("login_timeout", units::time(Span::LOGIN), LOGIN_TIMEOUT);
    let stall = limits.value_or(
        "client_stall_timeout",
        units::time(Span::PATIENCE),
        STALL_TIMEOUT,
    );
    let failed = limits.value("failed_logins_per_minute", units::count(0..=MOST_FAILURES));
    limits.finish();
    let proxy_protocol = root.section("proxy_protocol");
    let proxies = proxy_protocol.list("trusted", units::network);
    proxy_protocol.finish();
    PlaneSettings {
        postgres: at(postgres),
        mysql: at(mysql),
        shards,
        acceptors,
        cpus: pinned,
        places,
        proxies: Networks::new(proxies.unwrap_or_default()),
        failed_logins: units::unless_none(failed.unwrap_or(FAILURES)),
        login_timeout,
        client_stall_timeout: units::unless_zero(stall),
        mysql_version,
    }
}

/// How many clients may be connected at once.
fn places(limits: &Section) -> Places {
    let most = |key, least, otherwise| {
        let count = limits.value(key, units::count(least..=*CLIENT_CONNECTIONS.end()));
        count.unwrap_or(otherwise)
    };
    Places {
        clients: most("client_connections", 1, CLIENTS),
        unproven: units::unless_none(most("unauthenticated_connections", 0, UNPROVEN)),
        per_address: units::unless_none(most("client_connections_per_address", 0, 0)),
    }
}

/// The processors that the shards stay on; none if the kernel shall place them.
fn pinned(runtime: &Section, cpus: &Cpus, shards: usize) -> Vec<usize> {
    let words = [
        ("auto", Some(None)),
        ("true", Some(Some(true))),
        ("false", Some(Some(false))),
    ];
    let pin = runtime.value("pin_cores", units::choice(&words)).flatten();
    let enough = shards <= cpus.ours.len();
    if pin == Some(true) && !enough {
        let ours = cpus.ours.len();
        runtime.complain(
            "pin_cores",
            format!("{shards} shards need as many processors, and there are {ours}"),
        );
    }
    if enough && pin.unwrap_or(cpus.are_set_aside()) {
        cpus.ours.clone()
    } else {
        Vec::new()
    }
}

fn api(root: &Section, listen: &Section, host: IpAddr) -> Api {
    let key = root.secret("api_key");
    let port = listen.value_or("api_port", units::own_port, Some(API_PORT));
    let default_host = if key.is_some() {
        host
    } else {
        IpAddr::V4(Ipv4Addr::LOCALHOST)
    };
    let api_host = listen.value_or("api_host", units::address, default_host);
    if key.is_none() && port.is_some() && !api_host.is_loopback() {
        let text =
            format!("whoever reaches {api_host} can manage tenants, since there is no api_key");
        listen.warn("api_host", text);
    }
    let metrics_port = listen.value_or("metrics_port", units::own_port, None);
    let metrics_auth = root.value_or("metrics_auth", units::flag, false);
    if metrics_auth && key.is_none() {
        root.warn(
            "metrics_auth",
            "metrics are open to all: there is no api_key to ask for",
        );
    }
    Api {
        address: port.map(|port| SocketAddr::new(api_host, port)),
        metrics_address: metrics_port.map(|port| SocketAddr::new(host, port)),
        key,
        metrics_auth,
        metrics_tenant_limit: root
            .value("metrics_tenant_limit", units::count(0..=MAX_LABELLED))
            .unwrap_or(LABELLED),
        state_file: root.text("state_file", units::path),
    }
}

/// Two listeners cannot have one port, and one there must be.
fn complain_of_ports(listen: &Section, plane: &PlaneSettings, api: &Api) {
    if plane.postgres.is_none() && plane.mysql.is_none() {
        listen.complain(
            "",
            "postgres_port and mysql_port are both 0: there is nothing to do",
        );
    }
    let ports = [
        ("postgres_port", plane.postgres),
        ("mysql_port", plane.mysql),
        ("api_port", api.address),
        ("metrics_port", api.metrics_address),
    ];
    let ports: Vec<_> = ports
        .into_iter()
        .filter_map(|(key, at)| Some((key, at?)))
        .collect();
    for (position, (key, at)) in ports.iter().enumerate() {
        for (other, taken) in &ports[..position] {
            let same_host =
                at.ip() == taken.ip() || at.ip().is_unspecified() || taken.ip().is_unspecified();
            if same_host && at.port() == taken.port() {
                listen.complain(key, format!("{} is taken by {other} already", at.port()));
            }
        }
    }
}

fn tenants(section: &Section, habits: &Habits) -> Vec<TenantSpec> {
    let tenants = section
        .each()
        .filter_map(|(name, tenant)| match TenantId::parse(name) {
            Some(id) => tenant::settle(id, tenant, habits),
            None => {
                tenant.complain("", TENANT_GRAMMAR);
                None
            }
        });
    tenants.collect()
}

/// What a MySQL server may say its version is: drivers read the number in front.
fn mysql_version(text: &str) -> Result<String, String> {
    let is_version = text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_graphic())
        && text.len() <= LONGEST_VERSION;
    let says =
        format!("must be a version such as {A_VERSION}, of at most {LONGEST_VERSION} characters");
    if is_version {
        Ok(text.to_owned())
    } else {
        Err(says)
    }
}

/// What tenants may be called, in words.
const TENANT_GRAMMAR: &str = "is not a tenant's name: 1 to 63 letters, digits, dots, hyphens and \
     single underscores are allowed, with no underscore at either end";

const POSTGRES_PORT: u16 = 6432;
const MYSQL_PORT: u16 = 3307;
/// The API's port where a config says none.
pub const API_PORT: u16 = 8080;
/// For whoever has said none.
const A_VERSION: &str = "8.0.36-DBBouncer";
/// The longest such version, in bytes.
const LONGEST_VERSION: usize = 60;
const SHUTDOWN_GRACE: Duration = Duration::from_secs(30);
/// Tenants with a label of their own in the metrics. Each has about a hundred series.
const LABELLED: usize = 250;
/// The most of them that can be asked for; a scrape of so many is some hundred megabytes.
const MAX_LABELLED: usize = 20_000;
/// Clients at once, over all tenants.
const CLIENTS: usize = 20_000;
/// Those among them that have not proved who they are: enough for every application of a cluster to
/// come back at once, and not so many that strangers could take all places.
const UNPROVEN: usize = 5_000;
/// Logins that may fail in a minute, at one tenant from one address.
const FAILURES: usize = 30;
/// The most of them that can be asked for.
const MOST_FAILURES: usize = 100_000;
const LOGIN_TIMEOUT: Duration = Duration::from_secs(15);
/// Long enough for a person with a pager, short enough that the dead are found.
const STALL_TIMEOUT: Duration = Duration::from_secs(600);
/// The most shards, far above what one machine has processors for.
const MAX_SHARDS: usize = 256;
/// The most acceptors; one keeps several shards busy.
const MAX_ACCEPTORS: usize = 16;
/// How many clients at once can be asked for: each takes a descriptor.
pub const CLIENT_CONNECTIONS: RangeInclusive<usize> = 1..=1_000_000;

//! How each peer is configured, and by which command it runs.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Outcome;
use crate::peers::{Kind, Setup, tenant};
use crate::talk::Dialect;

/// How one peer is run.
#[derive(Default)]
pub struct Recipe {
    /// Its name in the tables.
    pub name: String,
    /// Another system's files, in which it lives.
    pub root: Option<PathBuf>,
    /// It refuses to be root.
    pub unprivileged: bool,
    /// Its config file, where FOLDER stands for the folder that the file lies in, as `config`; beside
    /// it lie `users`, and `cert.pem` and `key.pem` if clients speak TLS.
    pub config: String,
    /// Who may come in, for those who keep that in a file of its own.
    pub users: String,
    /// The program and its arguments.
    pub command: Vec<String>,
}

/// For a peer that listens on `port`, and answers questions on `api` if it can.
pub fn recipe(
    kind: Kind,
    program: &str,
    (port, api): (u16, u16),
    setup: &Setup,
) -> Outcome<Recipe> {
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    Ok(match kind {
        Kind::Direct => return Err("needs no program".into()),
        Kind::Epoll => {
            let this = std::env::current_exe()?.display().to_string();
            let to = setup.database.address;
            Recipe {
                name: "epoll".to_owned(),
                command: words(&format!("{this} forwarder --listen {port} --to {to}")),
                ..Recipe::default()
            }
        }
        Kind::Haproxy => Recipe {
            name: named("haproxy", &version(None, &["haproxy", "-v"], 2)?),
            config: haproxy(port, setup),
            command: words("haproxy -db -f FOLDER/config"),
            ..Recipe::default()
        },
        Kind::PgbouncerStable => Recipe {
            name: named("pgbouncer", &version(None, &["pgbouncer", "-V"], 1)?),
            unprivileged: true,
            config: pgbouncer(port, setup, false),
            users: userlist(setup),
            command: words("pgbouncer FOLDER/config"),
            ..Recipe::default()
        },
        Kind::Pgbouncer => {
            let root = sid()?;
            Recipe {
                name: named("pgbouncer", &version(Some(&root), &["pgbouncer", "-V"], 1)?),
                root: Some(root),
                unprivileged: true,
                config: pgbouncer(port, setup, true),
                users: userlist(setup),
                command: words("pgbouncer FOLDER/config"),
            }
        }
        Kind::Odyssey => {
            let root = sid()?;
            let said = version(Some(&root), &["odyssey", "--version"], 1)?;
            Recipe {
                name: named("odyssey", &said),
                root: Some(root),
                unprivileged: true,
                config: odyssey(port, setup),
                command: words("odyssey FOLDER/config"),
                ..Recipe::default()
            }
        }
        Kind::MysqlRouter => {
            let root = sid()?;
            let said = version(Some(&root), &["mysqlrouter", "--version"], 3)?;
            Recipe {
                name: named("mysql router", &said),
                root: Some(root),
                unprivileged: true,
                config: mysql_router(port, setup),
                command: words("mysqlrouter -c FOLDER/config"),
                ..Recipe::default()
            }
        }
        Kind::Dbbouncer => {
            let (name, path) = program.split_once('=').unwrap_or(("dbbouncer", program));
            let path = fs::canonicalize(path).map_err(|_| format!("{path}: run make build"))?;
            Recipe {
                name: name.to_owned(),
                config: dbbouncer((port, api), setup),
                command: words(&format!("{} --config FOLDER/config", path.display())),
                ..Recipe::default()
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

/// Each tenant's name, and its database's name and address.
fn databases(setup: &Setup) -> impl Iterator<Item = (String, String, SocketAddr)> {
    (0..setup.tenants).map(|number| {
        let name = tenant(number);
        let behind = setup.database.name.clone();
        let address = setup.address_of(number);
        (name.clone(), behind.unwrap_or(name), address)
    })
}

fn haproxy(port: u16, setup: &Setup) -> String {
    format!(
        "global\n  nbthread 1\n  maxconn 9000\ndefaults\n  mode tcp\n  timeout connect 5s\n  \
         timeout client 1h\n  timeout server 1h\nlisten all\n  bind 127.0.0.1:{port}\n  \
         server null {}\n",
        setup.database.address
    )
}

fn mysql_router(port: u16, setup: &Setup) -> String {
    format!(
        "[DEFAULT]\nlogging_folder=\nruntime_folder=FOLDER\ndata_folder=FOLDER\n\
         max_total_connections=9000\n[logger]\nlevel=WARNING\n[io]\nthreads=1\n[routing:null]\n\
         bind_address=127.0.0.1\nbind_port={port}\ndestinations={}\n\
         routing_strategy=first-available\nprotocol=classic\nmax_connections=9000\n\
         client_ssl_mode=DISABLED\nserver_ssl_mode=DISABLED\n",
        setup.database.address
    )
}

fn pgbouncer(port: u16, setup: &Setup, newest: bool) -> String {
    let mut config = "[databases]\n".to_owned();
    let database = &setup.database;
    for (name, behind, address) in databases(setup) {
        let (host, to) = (address.ip(), address.port());
        let (user, size) = (&database.user, setup.pool_size);
        let _ = write!(
            config,
            "{name} = host={host} port={to} dbname={behind} user={user} pool_size={size}"
        );
        if let Some(password) = &database.password {
            let _ = write!(config, " password={password}");
        }
        config.push('\n');
    }
    let mode = mode(setup);
    let auth = match setup.secret {
        None => "auth_type = any",
        Some(_) => "auth_type = scram-sha-256\nauth_file = FOLDER/users",
    };
    let _ = write!(
        config,
        "[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
         {auth}\npool_mode = {mode}\nmax_client_conn = 19000\n\
         listen_backlog = 4096\nlog_connections = 0\nlog_disconnections = 0\n"
    );
    if newest {
        config.push_str("max_prepared_statements = 500\n");
    }
    if setup.certificate.is_some() {
        config.push_str(
            "client_tls_sslmode = allow\nclient_tls_cert_file = FOLDER/cert.pem\n\
             client_tls_key_file = FOLDER/key.pem\nclient_tls_ca_file = FOLDER/cert.pem\n",
        );
    }
    config
}

/// PgBouncer's file of users.
fn userlist(setup: &Setup) -> String {
    let verifier = setup
        .secret
        .map_or_else(String::new, |secret| secret.verifier());
    let user = |number| format!("\"{}__app\" \"{verifier}\"\n", tenant(number));
    (0..setup.tenants).map(user).collect()
}

fn odyssey(port: u16, setup: &Setup) -> String {
    let database = &setup.database;
    let tls = match setup.certificate {
        None => "",
        Some(_) => {
            "  tls \"allow\"\n  tls_cert_file \"FOLDER/cert.pem\"\n  tls_key_file \"FOLDER/key.pem\"\n"
        }
    };
    let mut config = format!(
        "daemonize no\nlog_to_stdout yes\nlog_format \"%l %m\\n\"\nlog_session no\nlog_stats no\nworkers 1\nresolvers 1\n\
         client_max 19000\nunix_socket_dir \"FOLDER\"\nunix_socket_mode \"0700\"\nlocks_dir \"FOLDER\"\n\
         listen {{\n  host \"127.0.0.1\"\n  port {port}\n  backlog 4096\n{tls}}}\n"
    );
    let addresses: BTreeSet<SocketAddr> = databases(setup).map(|(_, _, at)| at).collect();
    for address in addresses {
        let (host, to) = (address.ip(), address.port());
        let _ = write!(
            config,
            "storage \"null-{to}\" {{\n  type \"remote\"\n  host \"{host}\"\n  port {to}\n}}\n"
        );
    }
    for (name, behind, address) in databases(setup) {
        let to = address.port();
        let (user, size, mode) = (&database.user, setup.pool_size, mode(setup));
        let auth = match setup.secret {
            None => "authentication \"none\"".to_owned(),
            Some(secret) => format!(
                "authentication \"scram-sha-256\"\n    password \"{}\"",
                secret.verifier()
            ),
        };
        let password = match &database.password {
            None => String::new(),
            Some(password) => format!("    storage_password \"{password}\"\n"),
        };
        let _ = write!(
            config,
            "database \"{name}\" {{\n  user \"{name}__app\" {{\n    {auth}\n    \
             storage \"null-{to}\"\n    storage_db \"{behind}\"\n    storage_user \"{user}\"\n{password}    \
             pool \"{mode}\"\n    pool_size {size}\n    pool_discard no\n    \
             pool_reserve_prepared_statement yes\n    pool_timeout 0\n  }}\n}}\n"
        );
    }
    config
}

fn dbbouncer((port, api): (u16, u16), setup: &Setup) -> String {
    let database = &setup.database;
    let (kind, ports) = match setup.dialect {
        Dialect::Postgres => ("postgres", format!("postgres_port: {port}, mysql_port: 0")),
        Dialect::Mysql => ("mysql", format!("postgres_port: 0, mysql_port: {port}")),
    };
    let (mode, size, shards) = (mode(setup), setup.pool_size, setup.shards);
    let auth = match setup.secret {
        None => "trust",
        Some(_) => "scram-sha-256",
    };
    let mut config = format!(
        "listen: {{host: 127.0.0.1, {ports}, api_port: {api}}}\n\
         runtime: {{shards: {shards}, acceptors: 1}}\n\
         limits: {{client_connections: 19000}}\n\
         defaults: {{pool_mode: {mode}, client_auth: {auth}, max_connections: {size}}}\n"
    );
    if setup.certificate.is_some() {
        config.push_str("tls_cert: FOLDER/cert.pem\ntls_key: FOLDER/key.pem\n");
    }
    config.push_str("tenants:\n");
    for (name, behind, address) in databases(setup) {
        let (user, host, to) = (&database.user, address.ip(), address.port());
        let _ = write!(
            config,
            "  {name}: {{db_type: {kind}, host: {host}, port: {to}, dbname: {behind}, username: {user}"
        );
        if let Some(password) = &database.password {
            let _ = write!(config, ", password: {password}");
        }
        if let Some(secret) = setup.secret {
            let _ = write!(
                config,
                ", users: {{app: {{verifier: \"{}\"}}}}",
                secret.verifier()
            );
        }
        config.push_str("}\n");
    }
    config
}

fn mode(setup: &Setup) -> &'static str {
    match setup.by_transaction {
        true => "transaction",
        false => "session",
    }
}

//! The section `[pgbouncer]`, key by key: what it is called here, or why it is left out.

use super::Remarks;
use super::offer::Offer;
use super::tls::Tls;
use super::yaml::Yaml;
use crate::config::{
    API_PORT, CLIENT_CONNECTIONS, CONNECTIONS, Habits, STATEMENTS, Span, TENANT_CLIENTS, objection,
};

/// What PgBouncer has for all databases.
#[derive(Default)]
pub struct Settings {
    /// Lines of our config, by section.
    pub listen: Yaml,
    /// Where clients come to.
    pub listen_addr: String,
    /// Where PgBouncer's own socket is, and those of databases that name no host.
    pub unix_socket_dir: Option<String>,
    pub limits: Yaml,
    pub defaults: Yaml,
    /// How clients prove themselves, in PgBouncer's word.
    pub auth_type: String,
    /// Where the users are.
    pub auth_file: Option<String>,
    /// From where who may come.
    pub auth_hba_file: Option<String>,
    /// How the database is asked for users, and by whom.
    pub auth_query: Option<String>,
    pub auth_user: Option<String>,
    /// Whether a connection is the client's for as long as it stays, where a database says nothing.
    pub is_session: bool,
    /// How many connections a pool has where a database says nothing, and how few.
    pub pool_size: Option<usize>,
    pub min_pool_size: Option<String>,
    pub client_tls: Tls,
    pub server_tls: Tls,
}

impl Settings {
    /// Takes one key in.
    pub fn take(&mut self, key: &str, value: &str, remarks: &mut Remarks) {
        let name = format!("[pgbouncer] {key}");
        if let Some(end) = key.strip_prefix("client_tls_") {
            return self.client_tls.take(end, value);
        }
        if let Some(end) = key.strip_prefix("server_tls_") {
            return self.server_tls.take(end, value);
        }
        let (limits, defaults) = (&mut self.limits, &mut self.defaults);
        let mut offer = Offer {
            name: &name,
            text: value,
            remarks,
        };
        match key {
            "listen_addr" => self.listen_addr = value.to_owned(),
            "listen_port" => {
                offer.port(&mut self.listen, 1, "postgres_port");
                if value.parse() == Ok(API_PORT) {
                    let api_port = API_PORT + 1;
                    self.listen.plain(1, "api_port", api_port);
                    remarks.add(format!(
                        "{name} = {value} is our API's port otherwise: api_port: {api_port} is written"
                    ));
                }
            }
            "auth_type" => self.auth_type = value.to_ascii_lowercase(),
            "auth_file" => self.auth_file = Some(value.to_owned()),
            "auth_hba_file" => self.auth_hba_file = Some(value.to_owned()),
            "auth_query" => self.auth_query = Some(value.to_owned()),
            "auth_user" => self.auth_user = Some(value.to_owned()),
            "max_client_conn" => {
                offer.number(limits, 1, "client_connections", &CLIENT_CONNECTIONS);
            }
            "client_login_timeout" => offer.time(limits, 1, "login_timeout", Span::LOGIN),
            "default_pool_size" => self.pool_size = offer.count("max_connections", &CONNECTIONS),
            "min_pool_size" => self.min_pool_size = Some(value.to_owned()),
            "pool_mode" => {
                self.is_session = is_session(value);
                defaults.plain(1, "pool_mode", pool_mode(&name, value, remarks));
            }
            "server_idle_timeout" => offer.time(defaults, 1, "idle_timeout", Span::AGE),
            "server_lifetime" => offer.lifetime(defaults, 1),
            "server_connect_timeout" => offer.time(defaults, 1, "connect_timeout", Span::ASKING),
            "query_wait_timeout" => offer.time(defaults, 1, "acquire_timeout", Span::PATIENCE),
            "query_timeout"
            | "transaction_timeout"
            | "idle_transaction_timeout"
            | "client_idle_timeout" => offer.time(defaults, 1, key, Span::WORK),
            "max_db_client_connections" if value != "0" => {
                offer.number(defaults, 1, "max_client_connections", &TENANT_CLIENTS);
            }
            "max_prepared_statements" if value != "0" => {
                offer.number(defaults, 1, key, &STATEMENTS);
            }
            "server_reset_query_always" if value == "1" => defaults.plain(1, "reset", "always"),
            "unix_socket_dir" => {
                self.unix_socket_dir = Some(value.to_owned());
                offer.leave_out(why_not(key));
            }
            // What it is is not known, and it may be a secret.
            "auth_ldap_options" => remarks.add(format!("{name} is left out: {}", why_not(key))),
            "max_prepared_statements" if value == "0" => offer.leave_out(
                "prepared statements are shared here, 500 for each connection by default, and need no switch",
            ),
            _ if why_not(key) == NO_COUNTERPART => {
                remarks.add(format!("{name} is left out: {NO_COUNTERPART}"));
            }
            _ => offer.leave_out(why_not(key)),
        }
    }

    /// Writes how many connections a pool has, which PgBouncer may say in any order.
    pub fn pool_sizes(&mut self, remarks: &mut Remarks) {
        let sizes = PoolSizes {
            place: "[pgbouncer]",
            depth: 1,
            most: self.pool_size,
            otherwise: Habits::BUILT_IN.limits.max,
            least: self.min_pool_size.as_deref(),
        };
        sizes.write(&mut self.defaults, remarks);
    }

    /// Writes where clients come to: the first address that is one, for only one can be listened on. Where there
    /// is none it is this machine alone, and not all that our own default would be.
    pub fn write_listen_addr(&mut self, remarks: &mut Remarks) {
        let said = self.listen_addr.split(',').map(str::trim);
        let said: Vec<_> = said.filter(|address| !address.is_empty()).collect();
        let addresses = said.iter().map(|address| match *address {
            "*" => "0.0.0.0",
            "localhost" => "127.0.0.1",
            address => address,
        });
        let ours = (addresses.enumerate())
            .find(|(_, address)| objection(&["listen", "host"], address).is_none());
        let Some((place, host)) = ours else {
            self.listen.text(1, "host", HERE_ALONE);
            let why = match said.is_empty() {
                true => "no TCP port is listened on without it, and here clients come by TCP only",
                false => "an address is wanted, not a name",
            };
            return remarks.add(format!(
                "[pgbouncer] listen_addr = {}: {why}: {HERE_ALONE} is taken, which other machines do not reach",
                self.listen_addr
            ));
        };
        self.listen.text(1, "host", host);
        let others: Vec<_> = (said.iter().enumerate())
            .filter_map(|(other, address)| (other != place).then_some(*address))
            .collect();
        if !others.is_empty() {
            remarks.add(format!(
                "[pgbouncer] listen_addr: one address is listened on, {host}; {} are left out (0.0.0.0 or :: is all)",
                others.join(", ")
            ));
        }
    }
}

/// How many connections a pool has, at the most and at the least.
pub struct PoolSizes<'a> {
    /// Where PgBouncer says so.
    pub place: &'a str,
    /// How deep it is written here.
    pub depth: usize,
    pub most: Option<usize>,
    /// How many it has where nothing is said.
    pub otherwise: usize,
    pub least: Option<&'a str>,
}

impl PoolSizes<'_> {
    pub fn write(&self, yaml: &mut Yaml, remarks: &mut Remarks) {
        if let Some(most) = self.most {
            yaml.plain(self.depth, "max_connections", most);
        }
        if let Some(least) = self.least {
            let mut offer = Offer {
                name: &format!("{} min_pool_size", self.place),
                text: least,
                remarks,
            };
            let bounds = 0..=self.most.unwrap_or(self.otherwise);
            offer.number(yaml, self.depth, "min_connections", &bounds);
        }
    }
}

/// Whether clients keep their connections in this pool mode. PgBouncer looks at no capitals.
pub fn is_session(value: &str) -> bool {
    !["transaction", "statement"].contains(&&*value.to_ascii_lowercase())
}

/// A pool mode; we have no mode that gives a connection back within a transaction.
pub fn pool_mode(name: &str, value: &str, remarks: &mut Remarks) -> &'static str {
    if is_session(value) {
        if !value.eq_ignore_ascii_case("session") {
            remarks.add(format!(
                "{name}: there is no pool mode {value:?}; session is taken, in which nobody shares"
            ));
        }
        return "session";
    }
    if !value.eq_ignore_ascii_case("transaction") {
        remarks.add(format!(
            "{name}: there is no pool mode {value:?}; transaction comes nearest, and allows transactions of several statements"
        ));
    }
    "transaction"
}

/// Why a key has no counterpart.
fn why_not(key: &str) -> &'static str {
    match key {
        "server_reset_query_always" => "it is how things are by default",
        "reserve_pool_size" | "reserve_pool_timeout" => {
            "there is no reserve: give the tenants larger max_connections where it was needed"
        }
        "max_db_connections" | "max_user_connections" => {
            "each tenant has one pool, and max_connections is all that it may have"
        }
        "server_reset_query" => {
            "what a client may have left is cleaned away by itself (reset: smart), without losing prepared statements"
        }
        "server_check_query" | "server_check_delay" => {
            "connections are watched while they are idle, and health_check asks the database"
        }
        "ignore_startup_parameters" => {
            "startup parameters are followed and restored; the database says which it does not know"
        }
        "admin_users" | "stats_users" | "stats_period" => {
            "the REST API, the page at / and /metrics take the place of the admin console; api_key says who may"
        }
        "auth_ident_file" => "who may connect is said by each tenant's users, or by cert_users",
        "auth_dbname" => "auth_query is asked in the tenant's own database",
        "auth_ldap_options" => "there is no LDAP here",
        "max_db_client_connections" => "it is how things are by default",
        "max_user_client_connections" => {
            "clients are counted by tenant: see max_client_connections"
        }
        "peer_id" => NO_PEERS,
        "track_extra_parameters" => "whatever a client sets is followed",
        "application_name_add_host" => "the log and the API name clients' addresses",
        "cancel_wait_timeout" | "suspend_timeout" | "client_idle_suspend" => "nobody waits there",
        "autodb_idle_timeout" => "each database needs a tenant",
        "server_fast_close" => {
            "POST /tenants/{id}/reconnect replaces connections as they become free"
        }
        "server_round_robin" => "the connection used last is used next, so that the others may end",
        "scram_iterations" => "the database's own verifiers can be copied",
        "pkt_buf" | "max_packet_size" | "listen_backlog" | "sbuf_loopcnt" | "disable_pqexec" => {
            "it is looked after by itself"
        }
        "unix_socket_dir" | "unix_socket_mode" | "unix_socket_group" => "clients come by TCP only",
        "logfile" | "pidfile" | "syslog" | "syslog_ident" | "syslog_facility" | "verbose"
        | "user" | "log_connections" | "log_disconnections" | "log_pooler_errors" | "log_stats" => {
            "the log goes to standard error, and the service manager does the rest"
        }
        "server_login_retry" => "a failed attempt is repeated after a pause that grows by itself",
        key if key.starts_with("tcp_") || key.starts_with("dns_") || key.starts_with("so_") => {
            "it is looked after by itself"
        }
        _ => NO_COUNTERPART,
    }
}

/// Of several processes.
pub const NO_PEERS: &str = "one process uses all processors; where there are several, a load balancer must bring a client's cancel request to the one that serves it";

const NO_COUNTERPART: &str = "it has no counterpart here";

/// An address that nobody reaches from another machine.
pub const HERE_ALONE: &str = "127.0.0.1";

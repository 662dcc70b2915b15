//! The sections `[databases]` and `[users]` with userlist.txt: which tenants they come to.

use std::collections::{BTreeMap, BTreeSet};

use shards::contract::{ClientAuth, Credential, Dialect, Secret, TenantId};

use super::hba::{Hba, Rules};
use super::host;
use super::lookup::Lookup;
use super::offer::Offer;
use super::settings::{PoolSizes, is_session, pool_mode};
use super::yaml::Yaml;
use super::{Remarks, ini};
use crate::config::{CONNECTIONS, TENANT_CLIENTS, objection};

/// A database, by its name.
pub type Databases = Vec<(String, BTreeMap<String, String>)>;

/// Takes a database's connection string apart.
pub fn database(name: &str, text: &str) -> Result<BTreeMap<String, String>, String> {
    let pairs = ini::connection(text).map_err(|why| format!("[databases] {name}: {why}"))?;
    Ok(pairs.into_iter().collect())
}

/// Those who may connect, and how they prove themselves.
pub struct Users<'a> {
    /// Names with what PgBouncer knows of their passwords.
    pub list: &'a [(String, String)],
    /// Our `client_auth`.
    pub auth: ClientAuth,
    /// How databases are asked for others, where they do not say otherwise.
    pub lookup: Lookup,
    /// Whether clients keep their connections, where a database does not say otherwise.
    pub are_sessions: bool,
    /// How many connections a pool has, where a database does not say otherwise.
    pub pool_size: usize,
    /// The folder of the sockets of databases that name no host, where it is said.
    pub sockets: Option<&'a str>,
    /// From where they may come; `None` is from anywhere.
    pub hba: Option<&'a Hba>,
}

impl Users<'_> {
    /// The password of a user, if it is known in clear text.
    pub fn password_of(&self, user: &str) -> Option<&String> {
        let (_, secret) = self.list.iter().find(|(name, _)| name == user)?;
        Some(secret).filter(|secret| is_plain(secret))
    }
}

/// Writes all tenants.
pub fn write(databases: &Databases, users: &Users<'_>, yaml: &mut Yaml, remarks: &mut Remarks) {
    let mut taken = BTreeSet::new();
    for (name, keys) in databases {
        match name.as_str() {
            "*" => remarks.add(
                "[databases] *: a database that is not listed is none here; each needs a tenant"
                    .into(),
            ),
            "pgbouncer" => remarks.add(
                "[databases] pgbouncer: the admin console's name is an ordinary one here".into(),
            ),
            _ => {}
        }
        if name == "*" {
            continue;
        }
        let asks_for_users = Lookup::of(keys, &users.lookup).asker().is_some();
        for (user, password) in whom_we_connect_as(name, keys, users, remarks) {
            let is_one = keys.contains_key("user") || asks_for_users || users.list.len() <= 1;
            let wanted = match is_one {
                true => name.clone(),
                false => format!("{name}.{user}"),
            };
            let id = free_id(&wanted, &mut taken, remarks);
            let made = Tenant {
                id,
                name,
                keys,
                user,
                password,
            };
            tenant(&made, users, yaml, remarks);
        }
    }
}

/// The users of a database's pools, with the passwords that open it. Without a forced user PgBouncer
/// connects as each client's own, and has a pool for each.
fn whom_we_connect_as(
    name: &str,
    keys: &BTreeMap<String, String>,
    users: &Users<'_>,
    remarks: &mut Remarks,
) -> Vec<(String, Option<String>)> {
    if let Some(user) = keys.get("user") {
        let password = keys.get("password").or(users.password_of(user)).cloned();
        if password.is_none() {
            remarks.add(format!(
                "[databases] {name}: the password of {user} is not known; add it to the tenant if the database asks for one"
            ));
        }
        return vec![(user.clone(), password)];
    }
    if let Some(asks) = Lookup::of(keys, &users.lookup).asker() {
        if logs_in_clients(name, keys, users) {
            return vec![(asks.to_owned(), users.password_of(asks).cloned())];
        }
        remarks.add(format!(
            "[databases] {name}: it has no user=, and connections that are shared, or given without a proof, need one account: the tenant says CHANGE-ME"
        ));
        return vec![("CHANGE-ME".into(), None)];
    }
    let mut found: Vec<_> = users
        .list
        .iter()
        .filter(|(_, secret)| is_plain(secret))
        .map(|(user, secret)| (user.clone(), Some(secret.clone())))
        .collect();
    let hashed = users.list.len() - found.len();
    if hashed > 0 {
        remarks.add(format!(
            "[databases] {name}: it has no user=, so PgBouncer connects as each client's own; {hashed} of the users have no password in clear text, which alone can open a database: no tenant is made for them"
        ));
    }
    if found.is_empty() {
        remarks.add(format!(
            "[databases] {name}: whom to connect as is not known; the tenant says CHANGE-ME"
        ));
        found.push(("CHANGE-ME".into(), None));
    }
    found
}

/// Whether connections are logged in as the clients that were looked up, which needs that they stay
/// with them, and a proof.
fn logs_in_clients(name: &str, keys: &BTreeMap<String, String>, users: &Users<'_>) -> bool {
    let stays = keys
        .get("pool_mode")
        .map_or(users.are_sessions, |mode| is_session(mode));
    let rules = users.hba.and_then(|hba| hba.rules(name));
    let proves = !matches!(users.auth, ClientAuth::Trust | ClientAuth::Cert)
        && rules.is_none_or(|rules| rules.trusted.is_empty());
    let asks = Lookup::of(keys, &users.lookup).asker().is_some();
    !keys.contains_key("user") && asks && stays && proves
}

/// A tenant to be.
struct Tenant<'a> {
    id: TenantId,
    /// The database, as PgBouncer's clients call it.
    name: &'a str,
    keys: &'a BTreeMap<String, String>,
    user: String,
    password: Option<String>,
}

fn tenant(tenant: &Tenant<'_>, users: &Users<'_>, yaml: &mut Yaml, remarks: &mut Remarks) {
    let Tenant {
        id,
        name,
        keys,
        user,
        password,
    } = tenant;
    let host = host::of(name, keys, users.sockets, remarks);
    let dbname = keys.get("dbname").map_or(*name, String::as_str);
    let needed = [("host", &*host), ("dbname", dbname), ("username", user)];
    for (key, text) in needed {
        if let Some(why) = objection(&["tenants", "NAME", key], text) {
            return remarks.add(format!(
                "[databases] {name}: no tenant is made of it: {key} {text:?} {why}"
            ));
        }
    }
    yaml.section(1, id.as_str());
    yaml.plain(2, "db_type", "postgres");
    yaml.text(2, "host", &host);
    if let Some(port) = keys.get("port") {
        let mut offer = Offer {
            name: &format!("[databases] {name}: port"),
            text: port,
            remarks,
        };
        offer.port(yaml, 2, "port");
    }
    yaml.text(2, "dbname", dbname);
    yaml.text(2, "username", user);
    if let Some(password) = password {
        match password.is_empty() {
            false => yaml.text(2, "password", password),
            true => remarks.add(format!(
                "[databases] {name}: the password is empty: left out"
            )),
        }
    }
    habits(name, keys, users, yaml, remarks);
    if keys.contains_key("auth_user") || keys.contains_key("auth_query") {
        let lookup = Lookup::of(keys, &users.lookup);
        lookup.write(2, users, yaml, remarks);
    }
    if logs_in_clients(name, keys, users) {
        yaml.plain(2, "backend_user", "client");
    }
    if let Some(hba) = users.hba {
        networks(name, hba.rules(name), yaml, remarks);
    }
    let is_for_all = keys.contains_key("user") || Lookup::of(keys, &users.lookup).asker().is_some();
    may_connect(user, is_for_all, users, yaml, remarks);
}

/// What a database says of itself, key by key.
fn habits(
    name: &str,
    keys: &BTreeMap<String, String>,
    users: &Users<'_>,
    yaml: &mut Yaml,
    remarks: &mut Remarks,
) {
    let mut most = None;
    for (key, value) in keys {
        let place = format!("[databases] {name}: {key}");
        let mut offer = Offer {
            name: &place,
            text: value,
            remarks,
        };
        match key.as_str() {
            "dbname" | "host" | "port" | "user" | "password" | "min_pool_size" => {}
            "pool_size" => most = offer.count("max_connections", &CONNECTIONS),
            "pool_mode" => yaml.plain(2, "pool_mode", pool_mode(&place, value, remarks)),
            // As [pgbouncer] has it.
            "server_lifetime" if value.parse() == Ok(0.0) => {}
            "server_lifetime" => offer.lifetime(yaml, 2),
            "application_name" | "client_encoding" | "datestyle" | "timezone" => offer.leave_out(
                "each client's own startup parameters are followed; ALTER ROLE ... SET does it for all",
            ),
            "connect_query" => offer.leave_out("ALTER ROLE ... SET or a login trigger does it"),
            "auth_user" | "auth_query" => {}
            "auth_dbname" => offer.leave_out("auth_query is asked in the tenant's own database"),
            "max_db_client_connections" => {
                offer.number(yaml, 2, "max_client_connections", &TENANT_CLIENTS);
            }
            "max_db_connections" | "reserve_pool" | "reserve_pool_size" => {
                offer.leave_out("max_connections is all that a tenant may have");
            }
            // What it is is not known, and it may be a secret.
            _ => remarks.add(format!("{place} is left out: it has no counterpart here")),
        }
    }
    let sizes = PoolSizes {
        place: &format!("[databases] {name}:"),
        depth: 2,
        most,
        otherwise: users.pool_size,
        least: keys.get("min_pool_size").map(String::as_str),
    };
    sizes.write(yaml, remarks);
}

/// From where clients may come.
fn networks(name: &str, rules: Option<Rules>, yaml: &mut Yaml, remarks: &mut Remarks) {
    let rules = rules.unwrap_or_else(|| {
        remarks.add(format!(
            "[databases] {name}: no line of auth_hba_file that can be said here lets anybody in: the tenant takes clients of its own machine"
        ));
        Rules {
            allowed: ["127.0.0.1/32", "::1/128"].map(ToOwned::to_owned).into(),
            ..Rules::default()
        }
    });
    if !rules.trusted.is_empty() {
        remarks.add("auth_hba_file: trust: whoever comes from trust_addresses gets in, by a name that auth_file has not, too".into());
    }
    for (key, networks) in [
        ("allowed_addresses", rules.allowed),
        ("trust_addresses", rules.trusted),
    ] {
        if !networks.is_empty() {
            // JSON's lists are YAML's.
            yaml.plain(2, key, serde_json::Value::from(networks));
        }
    }
}

/// Who may connect to the tenant: everybody of the list to a database with a forced user, else its
/// own user alone.
fn may_connect(
    own: &str,
    is_forced: bool,
    users: &Users<'_>,
    yaml: &mut Yaml,
    remarks: &mut Remarks,
) {
    if users.auth == ClientAuth::Trust {
        return;
    }
    let list: Vec<_> = users
        .list
        .iter()
        .filter(|(name, _)| is_forced || name == own)
        .collect();
    if list.is_empty() {
        return;
    }
    if users.auth == ClientAuth::Cert {
        // PgBouncer compares the certificate's common name with the user's.
        yaml.section(2, "cert_users");
        list.iter().for_each(|(name, _)| yaml.text(3, name, name));
        return;
    }
    yaml.section(2, "users");
    for (name, secret) in list {
        let verifier = Credential::Verifier(Secret::new(secret.clone()));
        let why_not = verifier.objection(name, Dialect::Postgres, users.auth);
        match (is_plain(secret), why_not) {
            (true, _) if secret.is_empty() => {
                yaml.comment(
                    3,
                    &format!("{name} has an empty password and cannot connect"),
                );
                remarks.add(format!("userlist: {name} has an empty password: left out"));
            }
            (true, _) => {
                yaml.section(3, name);
                yaml.text(4, "password", secret);
            }
            (false, None) => {
                yaml.section(3, name);
                yaml.text(4, "verifier", secret);
            }
            (false, Some(why)) => {
                yaml.comment(3, &format!("{name} is left out: {why}"));
                remarks.add(format!("userlist: {name}: {why}: left out"));
            }
        }
    }
}

/// A name for a tenant, like the database's: what may not be in it becomes a hyphen.
fn free_id(wanted: &str, taken: &mut BTreeSet<String>, remarks: &mut Remarks) -> TenantId {
    let allowed = |c: char| {
        if c.is_ascii_alphanumeric() || "._-".contains(c) {
            c
        } else {
            '-'
        }
    };
    let mut stem: String = wanted.chars().map(allowed).take(LONGEST_STEM).collect();
    while stem.contains("__") {
        stem = stem.replace("__", "_");
    }
    let stem = stem.trim_matches('_');
    let stem = if stem.is_empty() { "tenant" } else { stem };
    let mut id = stem.to_owned();
    for number in 2.. {
        if taken.insert(id.clone()) {
            break;
        }
        id = format!("{stem}-{number}");
    }
    if id != wanted {
        remarks.add(format!(
            "[databases] {wanted}: the tenant is called {id}, for a tenant's name has letters, digits, dots, hyphens and single underscores inside"
        ));
    }
    // The stem and its number keep to the grammar.
    TenantId::parse(&id).unwrap_or_else(|| unreachable!("{id} is a tenant's name"))
}

/// Whether it is a password itself, rather than a hash of one.
pub fn is_plain(secret: &str) -> bool {
    let is_md5 = secret
        .strip_prefix("md5")
        .is_some_and(|hash| hash.len() == 32 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()));
    !is_md5 && !secret.starts_with("SCRAM-SHA-256$")
}

/// Leaves room for a number behind it.
const LONGEST_STEM: usize = 56;

//! `dbbouncer import`: a PgBouncer's config, said in our words.
//!
//! | PgBouncer | here |
//! |---|---|
//! | a database with a forced user | a tenant of its name |
//! | a database without one | a tenant for each user with a password: `DATABASE.USER`, or `DATABASE` if there is one |
//! | userlist.txt | the tenants' `users` |
//! | default_pool_size, min_pool_size, pool_mode, time-outs | `defaults` |
//! | auth_query, auth_user, auth_hba_file | `auth_query`, `auth_user`; `allowed_addresses`, `trust_addresses` |
//! | client_tls_*, server_tls_* | `tls_*`; `sslmode` and its fellows |
//! | listen_addr, listen_port, max_client_conn | `listen`, `limits` |
//!
//! Whatever has no counterpart is said, never dropped in silence.

mod hba;
mod host;
mod ini;
mod lookup;
mod offer;
mod settings;
mod tenants;
mod tls;
mod yaml;

use std::io;

use shards::contract::ClientAuth;

use self::hba::Hba;
use self::ini::Entry;
use self::lookup::Lookup;
use self::settings::{NO_PEERS, Settings};
use self::tenants::{Users, is_plain};
use self::yaml::Yaml;
use crate::config::{Habits, objection};

/// What came of it.
pub struct Import {
    /// Our config.
    pub yaml: String,
    /// What is different now, or left out.
    pub remarks: Vec<String>,
}

/// Reads pgbouncer.ini, with the users in `userlist`, or else in the file that it names. `read` reads
/// a file by the path that the text gives.
pub fn pgbouncer(
    text: &str,
    userlist: Option<&str>,
    read: &dyn Fn(&str) -> io::Result<String>,
) -> Result<Import, String> {
    let mut remarks = Remarks::default();
    // PgBouncer's own default.
    let mut settings = Settings {
        is_session: true,
        ..Settings::default()
    };
    let mut databases = tenants::Databases::new();
    for entry in last_said(ini::parse(text, read)?, &mut remarks) {
        match entry.section.as_str() {
            "pgbouncer" => settings.take(&entry.key, &entry.value, &mut remarks),
            "databases" => {
                let keys = tenants::database(&entry.key, &entry.value)?;
                databases.push((entry.key, keys));
            }
            "users" => remarks.left_out(
                &format!("[users] {}", entry.key),
                &entry.value,
                "limits belong to tenants here",
            ),
            "peers" => remarks.add(format!("[peers] is left out: {NO_PEERS}")),
            other => return Err(format!("there is no section [{other}] in pgbouncer.ini")),
        }
    }
    let list = users(userlist, settings.auth_file.as_deref(), read, &mut remarks)?;
    let hba = hba(&settings, read, &mut remarks);
    let sockets = settings.unix_socket_dir.take();
    let users = Users {
        auth: client_auth(&settings.auth_type, &list, &mut remarks),
        list: &list,
        lookup: Lookup {
            query: settings.auth_query.take(),
            user: settings.auth_user.take(),
        },
        are_sessions: settings.is_session,
        pool_size: settings.pool_size.unwrap_or(Habits::BUILT_IN.limits.max),
        sockets: sockets.as_deref(),
        hba: hba.as_ref(),
    };
    settings.write_listen_addr(&mut remarks);
    settings.pool_sizes(&mut remarks);
    settings.defaults.plain(1, "client_auth", word(users.auth));
    users
        .lookup
        .write(1, &users, &mut settings.defaults, &mut remarks);
    let Settings {
        server_tls,
        defaults,
        ..
    } = &mut settings;
    server_tls.towards_databases(defaults, &mut remarks);
    let mut top = Yaml::default();
    let wants_tls = hba.as_ref().is_some_and(|hba| hba.wants_tls);
    (settings.client_tls).towards_clients(wants_tls, &mut top, &mut remarks);
    let mut tenants = Yaml::default();
    tenants::write(&databases, &users, &mut tenants, &mut remarks);
    Ok(Import {
        yaml: compose(top, settings, tenants),
        remarks: remarks.0,
    })
}

/// What is different now, or left out.
#[derive(Default)]
pub struct Remarks(Vec<String>);

impl Remarks {
    /// Says something, once.
    pub fn add(&mut self, text: String) {
        if !self.0.contains(&text) {
            self.0.push(text);
        }
    }

    /// Says that a key is left out.
    pub fn left_out(&mut self, name: &str, value: &str, why: &str) {
        self.add(format!("{name} = {value} is left out: {why}"));
    }
}

/// The entries that count: of a setting or a database that is said more than once the last, as with PgBouncer.
fn last_said(entries: Vec<Entry>, remarks: &mut Remarks) -> Vec<Entry> {
    let mut counting: Vec<Entry> = Vec::new();
    for entry in entries {
        let counts_once = ["pgbouncer", "databases"].contains(&entry.section.as_str());
        let same =
            |said: &Entry| counts_once && said.section == entry.section && said.key == entry.key;
        if let Some(before) = counting.iter().position(same) {
            let Entry { section, key, .. } = counting.remove(before);
            // Either may hold a password.
            remarks.add(format!(
                "[{section}] {key} is said more than once: the last counts"
            ));
        }
        counting.push(entry);
    }
    counting
}

fn users(
    userlist: Option<&str>,
    auth_file: Option<&str>,
    read: &dyn Fn(&str) -> io::Result<String>,
    remarks: &mut Remarks,
) -> Result<Vec<(String, String)>, String> {
    let text = match (userlist, auth_file) {
        (Some(text), _) => text.to_owned(),
        (None, Some(path)) => match read(path) {
            Ok(text) => text,
            Err(error) => {
                remarks.add(format!(
                    "[pgbouncer] auth_file: cannot read {path}: {error}; say --userlist FILE to have the users"
                ));
                String::new()
            }
        },
        (None, None) => String::new(),
    };
    let said = ini::userlist(&text).map_err(|why| format!("userlist: {why}"))?;
    let mut users: Vec<(String, String)> = Vec::new();
    for (name, secret) in said {
        if let Some(why) = objection(&["tenants", "NAME", "username"], &name) {
            remarks.add(format!("userlist: {name:?} {why}: left out"));
            continue;
        }
        match users.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => {
                remarks.add(format!(
                    "userlist: {name} is there more than once: the last counts"
                ));
                *known = secret;
            }
            None => users.push((name, secret)),
        }
    }
    Ok(users)
}

/// What auth_hba_file says, if it counts.
fn hba(
    settings: &Settings,
    read: &dyn Fn(&str) -> io::Result<String>,
    remarks: &mut Remarks,
) -> Option<Hba> {
    let path = settings.auth_hba_file.as_deref();
    if settings.auth_type != "hba" {
        if let Some(path) = path {
            let why = "auth_type is not hba, so nothing looks at it";
            remarks.left_out("[pgbouncer] auth_hba_file", path, why);
        }
        return None;
    }
    let text = match path.map(|path| (path, read(path))) {
        Some((_, Ok(text))) => text,
        Some((path, Err(error))) => {
            remarks.add(format!(
                "[pgbouncer] auth_hba_file: cannot read {path}: {error}"
            ));
            String::new()
        }
        None => String::new(),
    };
    Some(Hba::parse(&text, settings.client_tls.is_spoken(), remarks))
}

/// How clients prove themselves. PgBouncer's md5 takes whatever the list has for a user; here a
/// method is one for all.
fn client_auth(auth_type: &str, users: &[(String, String)], remarks: &mut Remarks) -> ClientAuth {
    let has_md5 = users
        .iter()
        .any(|(_, secret)| !is_plain(secret) && secret.starts_with("md5"));
    match auth_type {
        "trust" | "any" => {
            let names = match auth_type {
                "trust" => ", by a name that auth_file has not, too",
                _ => "",
            };
            remarks.add(format!("[pgbouncer] auth_type = {auth_type} becomes client_auth: trust: whoever reaches a tenant gets in{names}"));
            ClientAuth::Trust
        }
        "plain" => ClientAuth::Password,
        "scram-sha-256" => ClientAuth::Scram,
        "cert" => ClientAuth::Cert,
        "hba" if has_md5 => ClientAuth::Md5,
        "hba" => ClientAuth::Scram,
        // PgBouncer's own default.
        "md5" | "" if has_md5 => ClientAuth::Md5,
        "md5" | "" => {
            remarks.add("[pgbouncer] auth_type = md5 becomes client_auth: scram-sha-256, since no md5 hash asks for the weaker one".into());
            ClientAuth::Scram
        }
        other => {
            remarks.left_out(
                "[pgbouncer] auth_type",
                other,
                "client_auth: scram-sha-256 is taken; see what else there is in docs/configuration.md",
            );
            ClientAuth::Scram
        }
    }
}

fn word(auth: ClientAuth) -> &'static str {
    match auth {
        ClientAuth::Md5 => "md5",
        ClientAuth::Password => "password",
        ClientAuth::Trust => "trust",
        ClientAuth::Cert => "cert",
        _ => "scram-sha-256",
    }
}

fn compose(top: Yaml, settings: Settings, tenants: Yaml) -> String {
    let mut text = String::from(
        "# Made from pgbouncer.ini by `dbbouncer import`. It may hold passwords: keep it from other eyes.\n\n",
    );
    let top = top.into_text();
    if !top.is_empty() {
        text.push_str(&top);
        text.push('\n');
    }
    let mut listen = settings.listen;
    // PgBouncer speaks one protocol.
    listen.plain(1, "mysql_port", 0);
    for (name, yaml) in [
        ("listen", listen),
        ("limits", settings.limits),
        ("defaults", settings.defaults),
        ("tenants", tenants),
    ] {
        let inside = yaml.into_text();
        match inside.is_empty() {
            true if name == "tenants" => text.push_str("tenants: {}\n"),
            true => {}
            false => {
                text.push_str(name);
                text.push_str(":\n");
                text.push_str(&inside);
                text.push('\n');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests;

//! `dbbouncer import`: a PgBouncer's config, said in our words.
//!
//! | PgBouncer | here |
//! |---|---|
//! | a database with a forced user | a tenant of its name |
//! | a database without one | a tenant for each user with a password: `DATABASE.USER`, or `DATABASE` if there is one |
//! | userlist.txt | the tenants' `users` |
//! | default_pool_size, min_pool_size, pool_mode, time-outs | `defaults` |
//! | listen_addr, listen_port, max_client_conn | `listen`, `limits` |
//!
//! Whatever has no counterpart is said, never dropped in silence.

mod ini;
mod settings;
mod tenants;
mod yaml;

use std::io;

use shards::contract::ClientAuth;

use self::settings::Settings;
use self::tenants::{Users, is_plain};
use self::yaml::Yaml;

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
    let mut settings = Settings::default();
    let mut databases = tenants::Databases::new();
    for entry in ini::parse(text, read)? {
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
            "peers" => remarks.add("[peers]: several processes need not know each other".into()),
            other => return Err(format!("there is no section [{other}] in pgbouncer.ini")),
        }
    }
    let list = users(userlist, settings.auth_file.as_deref(), read, &mut remarks)?;
    let users = Users {
        auth: client_auth(&settings.auth_type, &list, &mut remarks),
        list: &list,
    };
    settings.defaults.plain(1, "client_auth", word(users.auth));
    let mut tenants = Yaml::default();
    tenants::write(&databases, &users, &mut tenants, &mut remarks);
    Ok(Import {
        yaml: compose(settings, tenants),
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
    ini::userlist(&text).map_err(|why| format!("userlist: {why}"))
}

/// How clients prove themselves. PgBouncer's md5 takes whatever the list has for a user; here a
/// method is one for all.
fn client_auth(auth_type: &str, users: &[(String, String)], remarks: &mut Remarks) -> ClientAuth {
    let has_md5 = users
        .iter()
        .any(|(_, secret)| !is_plain(secret) && secret.starts_with("md5"));
    match auth_type {
        "trust" => ClientAuth::Trust,
        "any" => {
            remarks.add("[pgbouncer] auth_type = any becomes client_auth: trust: whoever reaches a tenant gets in".into());
            ClientAuth::Trust
        }
        "plain" => ClientAuth::Password,
        "scram-sha-256" => ClientAuth::Scram,
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
        _ => "scram-sha-256",
    }
}

fn compose(settings: Settings, tenants: Yaml) -> String {
    let mut text = String::from(
        "# Made from pgbouncer.ini by `dbbouncer import`. It may hold passwords: keep it from other eyes.\n\n",
    );
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

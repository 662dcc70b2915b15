//! `client_tls_*` and `server_tls_*`: what they are called here.

use std::collections::BTreeMap;

use super::Remarks;
use super::yaml::Yaml;
use crate::config::objection;

/// What PgBouncer says of TLS on one side, by the ends of its keys.
#[derive(Default)]
pub struct Tls(BTreeMap<String, String>);

impl Tls {
    /// Takes one key in. PgBouncer looks at no capitals in its words.
    pub fn take(&mut self, key: &str, value: &str) {
        let value = match key {
            "sslmode" => value.to_ascii_lowercase(),
            _ => value.to_owned(),
        };
        self.0.insert(key.to_owned(), value);
    }

    fn get(&self, key: &str) -> Option<&str> {
        let value = self.0.get(key).map(String::as_str);
        value.filter(|value| !value.is_empty())
    }

    /// Whether there is TLS on this side.
    pub fn is_spoken(&self) -> bool {
        self.get("sslmode").is_some_and(|mode| mode != "disable")
            && self.get("cert_file").is_some()
            && self.get("key_file").is_some()
    }

    /// Towards clients: keys of the top level. Whether it `is_demanded` is said elsewhere, too.
    pub fn towards_clients(&self, is_demanded: bool, yaml: &mut Yaml, remarks: &mut Remarks) {
        let mode = self.get("sslmode").unwrap_or("disable");
        if let (Some(certificate), Some(key)) = (self.get("cert_file"), self.get("key_file")) {
            yaml.text(0, "tls_cert", certificate);
            yaml.text(0, "tls_key", key);
            yaml.plain(
                0,
                "tls_mode",
                match mode {
                    "disable" => "disable",
                    "allow" | "prefer" if !is_demanded => "allow",
                    _ => "require",
                },
            );
            if let Some(authority) = self.get("ca_file") {
                yaml.text(0, "tls_client_ca", authority);
            }
            if self.get("protocols") == Some("tlsv1.3") {
                yaml.plain(0, "tls_min_version", "\"1.3\"");
            }
        } else if mode != "disable" {
            let why = "there is no TLS without client_tls_cert_file and client_tls_key_file";
            remarks.left_out("[pgbouncer] client_tls_sslmode", mode, why);
        }
        if mode.starts_with("verify-") {
            remarks.add(format!(
                "[pgbouncer] client_tls_sslmode = {mode}: tls_mode require lets clients in without a certificate, save where a tenant has client_auth: cert"
            ));
        }
        self.say_the_rest("client", remarks);
    }

    /// Towards databases: keys of `defaults`.
    pub fn towards_databases(&self, yaml: &mut Yaml, remarks: &mut Remarks) {
        let authority = self.get("ca_file");
        let mode = match (self.get("sslmode"), authority) {
            (Some("allow"), _) => {
                remarks.add("[pgbouncer] server_tls_sslmode = allow becomes sslmode: prefer, which tries TLS first".into());
                Some("prefer")
            }
            (Some("verify-ca"), None) => {
                remarks.add("[pgbouncer] server_tls_sslmode = verify-ca becomes verify-full, since without server_tls_ca_file public authorities are believed, and these certify names".into());
                Some("verify-full")
            }
            // Never less than what somebody may have meant.
            (Some(mode), _) if objection(&["defaults", "sslmode"], mode).is_some() => {
                remarks.add(format!("[pgbouncer] server_tls_sslmode = {mode} is none: sslmode: verify-full is taken, the strictest"));
                Some("verify-full")
            }
            (mode, _) => mode,
        };
        if let Some(mode) = mode {
            yaml.text(1, "sslmode", mode);
        }
        match (mode, authority) {
            (Some("verify-ca" | "verify-full"), Some(authority)) => {
                yaml.text(1, "sslrootcert", authority);
            }
            // Here, as in libpq, it would be verified by its mere being there.
            (_, Some(authority)) => remarks.left_out(
                "[pgbouncer] server_tls_ca_file",
                authority,
                "nobody is verified by it under this server_tls_sslmode; say sslmode: verify-full and sslrootcert to do so",
            ),
            _ => {}
        }
        if let (Some(certificate), Some(key)) = (self.get("cert_file"), self.get("key_file")) {
            yaml.text(1, "sslcert", certificate);
            yaml.text(1, "sslkey", key);
        }
        self.say_the_rest("server", remarks);
    }

    fn say_the_rest(&self, side: &str, remarks: &mut Remarks) {
        for (key, value) in &self.0 {
            let is_pair = self.get("cert_file").is_some() && self.get("key_file").is_some();
            let why = match key.as_str() {
                _ if value.is_empty() => continue,
                "cert_file" | "key_file" if !is_pair => "it is of no use without its other half",
                "ca_file" if side == "client" && !is_pair => {
                    "there is no TLS without client_tls_cert_file and client_tls_key_file"
                }
                "sslmode" | "cert_file" | "key_file" | "ca_file" => continue,
                "protocols" if side == "client" && value == "tlsv1.3" => continue,
                "protocols" if ["", "secure", "tlsv1.2,tlsv1.3"].contains(&value.as_str()) => {
                    continue;
                }
                "protocols" => "TLS 1.2 and 1.3 are spoken",
                _ => "only ciphers and curves that are held for safe are offered",
            };
            remarks.left_out(&format!("[pgbouncer] {side}_tls_{key}"), value, why);
        }
    }
}

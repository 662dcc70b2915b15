//! Who may connect to a tenant, how they prove who they are, and as whom they are served.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use wire::Secret;
use wire::pg::Stored;

use super::{Dialect, Networks, TenantId};

/// Who may connect to a tenant, and how they prove it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// What is asked of a client.
    pub method: ClientAuth,
    /// Whom we know.
    pub users: Users,
    /// How users are looked up that are not among these; `None` if they are not.
    pub lookup: Option<Lookup>,
    /// Whom a client's backend is logged in as.
    pub backend_user: BackendUser,
    /// Where clients may come from; no network at all is anywhere. To the others the tenant does not
    /// exist.
    pub allowed: Networks,
    /// Where clients come from of whom nothing is asked, whatever the method.
    pub trusted: Networks,
    /// For [`ClientAuth::Cert`]: who is let in as which user, by a name in the certificate; `None`
    /// where it must be `TENANT__USER`, however the client says the two.
    pub cert_users: Option<HashMap<String, String>>,
}

/// How a tenant's database is asked for a user's secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// The query, whose `$1` is the user's name.
    pub query: String,
    /// Who asks, with which password; `None` is the tenant's own user.
    pub account: Option<(String, Option<Secret>)>,
    /// How long an answer is believed, that there is no such user among them.
    pub ttl: Duration,
}

/// Whom a client's backend is logged in as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendUser {
    /// The tenant's own user.
    Tenant,
    /// The user that the client has proved to be. PostgreSQL in session mode only.
    Client,
}

impl Access {
    /// Whether a client from there may come in at all.
    pub fn allows(&self, address: IpAddr) -> bool {
        self.allowed.is_empty() || self.allowed.contain(address)
    }

    /// What is asked of a client from there.
    pub fn method_for(&self, address: IpAddr) -> ClientAuth {
        match self.trusted.contain(address) {
            true => ClientAuth::Trust,
            false => self.method,
        }
    }

    /// Whether the holder of a certificate with these names may come in as `user` of `tenant`,
    /// however the client has named the two. A bare user's name is not enough without the operator's
    /// word: a certificate for one tenant must not open another's.
    pub fn lets_in(&self, names: &[String], tenant: &TenantId, user: &str) -> bool {
        let is_known = match &self.users {
            Users::Named(users) => users.contains_key(user) || self.lookup.is_some(),
            Users::Any(_) | Users::Unknown => true,
        };
        let mut names = names.iter();
        is_known
            && match &self.cert_users {
                Some(users) => names.any(|name| users.get(name).is_some_and(|is| is == user)),
                None => names.any(|name| {
                    let of_user = name.strip_suffix(user);
                    of_user.and_then(|name| name.strip_suffix("__")) == Some(tenant.as_str())
                }),
            }
    }
}

/// What is asked of a PostgreSQL client. MySQL clients prove themselves by the plugin they speak,
/// so there only `Trust` and `Cert` differ from the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// SASL SCRAM-SHA-256.
    Scram,
    /// Salted MD5.
    Md5,
    /// Clear text; only where nobody can listen (loopback, or TLS).
    Password,
    /// Nothing is asked.
    Trust,
    /// Nothing is asked: a certificate, shown in the TLS handshake, must name the user.
    Cert,
    /// Whatever the database asks: the login is passed on to it. Session mode only.
    Passthrough,
}

/// The users of a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Users {
    /// Any name, with this one password: the tenant's own.
    Any(Secret),
    /// These names only, each with its own secret.
    Named(HashMap<String, Credential>),
    /// No secret is known, so only `ClientAuth::Trust` lets anybody in.
    Unknown,
}

/// What we know of a user's secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// The secret itself.
    Password(Secret),
    /// What the database would store of it: `SCRAM-SHA-256$...`, `md5...`; for MySQL `*...`, or
    /// `$A$...` in hexadecimal.
    Verifier(Secret),
}

impl Credential {
    /// Why no client of this name could prove anything against this; `None` if one can.
    pub fn objection(
        &self,
        user: &str,
        dialect: Dialect,
        method: ClientAuth,
    ) -> Option<&'static str> {
        let Credential::Verifier(stored) = self else {
            return None;
        };
        if dialect == Dialect::MySql {
            let is_known = wire::mysql::Verifier::parse(stored.expose()).is_some();
            let must = "must be * and 40 hexadecimal digits, or SHA256$ and 64 of them, or what MySQL keeps for \
                        caching_sha2_password ($A$005$..., or in hexadecimal: 0x2441...), or one of either method";
            return (!is_known).then_some(must);
        }
        match (Stored::parse(stored.expose(), user), method) {
            (Stored::Plain(_), _) => {
                Some("must be SCRAM-SHA-256$... or md5... as pg_authid holds it")
            }
            (Stored::Md5 { .. }, ClientAuth::Scram) => {
                Some("an md5 hash proves nothing to client_auth scram-sha-256")
            }
            (Stored::Scram(_), ClientAuth::Md5) => {
                Some("a SCRAM verifier proves nothing to client_auth md5")
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn tenant(name: &str) -> TenantId {
        TenantId::parse(name).unwrap()
    }

    #[test]
    fn a_certificate_lets_in_whom_it_names_and_whom_the_operator_says() {
        let access = |cert_users| Access {
            method: ClientAuth::Cert,
            users: Users::Unknown,
            lookup: None,
            backend_user: BackendUser::Tenant,
            allowed: Networks::NONE,
            trusted: Networks::NONE,
            cert_users,
        };
        let names = ["app".to_owned(), "acme__app".to_owned()];
        let (acme, globex) = (tenant("acme"), tenant("globex"));
        assert!(access(None).lets_in(&names, &acme, "app"));
        assert!(!access(None).lets_in(&names[..1], &acme, "app"));
        assert!(!access(None).lets_in(&names, &globex, "app"));
        assert!(!access(None).lets_in(&names, &acme, "me__app"));
        assert!(!access(None).lets_in(&names, &acme, ""));
        let map = HashMap::from([("app".to_owned(), "reader".to_owned())]);
        assert!(access(Some(map.clone())).lets_in(&names, &acme, "reader"));
        assert!(!access(Some(map.clone())).lets_in(&names, &acme, "app"));
        let listed = Access {
            users: Users::Named(HashMap::new()),
            ..access(Some(map))
        };
        assert!(!listed.lets_in(&names, &acme, "reader"));
    }
}

//! Which tenant a StartupMessage means, and what remains of the message without it.
//!
//! A client may say its tenant in `options`, as a startup parameter, in front of its user name, or by
//! the host it connects to inside TLS.
//! It may say it more than once but not differently: of two ids, one would be checked and the other
//! used.

use bytes::Bytes;

use super::{
    ErrorResponse, Parameters, Replication, StartupMessage, options, options::OptionsError,
    sqlstate,
};
use crate::tenant_id::{ByHost, is_tenant_id};

/// A StartupMessage whose tenant is known, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedStartup {
    /// Obeys [`is_tenant_id`].
    pub tenant: String,
    /// The user without the tenant in front of it.
    pub user: String,
    /// The user as the client wrote it; what it is told about itself names this one.
    pub raw_user: String,
    /// The database asked for; none stands for "the one of my name".
    pub database: Option<String>,
    /// All other parameters in the client's order, without the tenant; `options` re-encoded, or
    /// gone if nothing is left of it. `replication` is among them.
    pub parameters: Parameters,
    /// The minor version of the protocol that this session speaks: at most 2.
    pub minor: u16,
    /// Whether the client wants to stream the log of the database instead of asking queries.
    pub replication: Replication,
}

/// Why the tenant of a StartupMessage cannot be told, or the message cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NamingError {
    /// No user, or an empty one.
    #[error("no PostgreSQL user name specified in startup packet")]
    NoUser,
    /// No tenant anywhere.
    #[error("no tenant specified")]
    NoTenant,
    /// A tenant that obeys no grammar.
    #[error("invalid tenant id \"{0}\"")]
    InvalidTenant(String),
    /// Two different tenants.
    #[error("conflicting tenant ids \"{0}\" and \"{1}\"")]
    Conflict(String, String),
    /// `options` that PostgreSQL would refuse, too.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// A value of `replication` that PostgreSQL would refuse, too.
    #[error("invalid value for parameter \"replication\": \"{0}\"")]
    InvalidReplication(String),
    /// A name that is not UTF-8.
    #[error("the {0} name is not valid UTF-8")]
    NotUtf8(&'static str),
}

impl NamingError {
    /// What the client is told.
    pub fn response(&self) -> ErrorResponse {
        let response = |code| ErrorResponse::fatal(code, self.to_string());
        match self {
            NamingError::NoUser => response(sqlstate::INVALID_AUTHORIZATION_SPECIFICATION),
            NamingError::NoTenant => response(sqlstate::INVALID_AUTHORIZATION_SPECIFICATION).hint(
                "Connect with options='-c dbbouncer.tenant_id=TENANT', or as user TENANT__USER.",
            ),
            NamingError::InvalidTenant(_) => {
                response(sqlstate::INVALID_AUTHORIZATION_SPECIFICATION).hint(
                    "A tenant id has 1 to 63 letters, digits, dots, hyphens and single inner \
                     underscores.",
                )
            }
            NamingError::Conflict(..) => response(sqlstate::INVALID_AUTHORIZATION_SPECIFICATION)
                .hint(
                    "Say the tenant once: in options, as a startup parameter, or as TENANT__USER.",
                ),
            NamingError::Options(_) => response(sqlstate::SYNTAX_ERROR),
            NamingError::InvalidReplication(_) => response(sqlstate::INVALID_PARAMETER_VALUE)
                .hint("Valid values are: \"false\", 0, \"true\", 1, \"database\"."),
            NamingError::NotUtf8(_) => response(sqlstate::CHARACTER_NOT_IN_REPERTOIRE),
        }
    }
}

/// Finds the tenant of a StartupMessage and takes the message apart.
///
/// Of several parameters of one name the last counts, as with PostgreSQL; the earlier ones of
/// `user`, `database`, `options` and `replication` are dropped.
pub fn name_tenant(startup: StartupMessage) -> Result<NamedStartup, NamingError> {
    name_tenant_at(startup, None)
}

/// The same for a client that has said its host.
pub fn name_tenant_at(
    startup: StartupMessage,
    host: Option<&ByHost>,
) -> Result<NamedStartup, NamingError> {
    let minor = startup.negotiated().minor;
    let mut claim = Claim::default();

    let raw_user = text(startup.parameters.get("user"), "user")?.ok_or(NamingError::NoUser)?;
    let database = text(startup.parameters.get("database"), "database")?;
    let replication = match startup.parameters.get("replication") {
        Some(value) => Replication::parse(value)
            .ok_or_else(|| NamingError::InvalidReplication(shown(value)))?,
        None => Replication::No,
    };
    let options = match startup.parameters.get("options") {
        Some(options) => strip_options(options, &mut claim)?,
        None => Bytes::new(),
    };
    let mut parameters = Parameters::default();
    for (name, value) in startup.parameters {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        if is("user") || is("database") || is("options") && options.is_empty() {
            continue;
        }
        if is("options") {
            parameters.set(&name, options.clone());
        } else if is("replication") {
            parameters.set(&name, value);
        } else if TENANT_KEYS.into_iter().any(is) {
            claim.say(&value)?;
        } else {
            parameters.push(name, value);
        }
    }
    let user = match split_user(&raw_user) {
        Some((tenant, user)) => {
            claim.say(tenant.as_bytes())?;
            user.to_owned()
        }
        None => raw_user.clone(),
    };
    match host {
        Some(ByHost::Names(tenant)) => claim.say(tenant.as_bytes())?,
        Some(ByHost::MayName(tenant)) if claim.tenant.is_none() => claim.say(tenant.as_bytes())?,
        Some(ByHost::MayName(_)) | None => {}
    }
    let tenant = claim.tenant.ok_or(NamingError::NoTenant)?;
    Ok(NamedStartup {
        tenant,
        user,
        raw_user,
        database,
        parameters,
        minor,
        replication,
    })
}

/// The tenant said so far.
#[derive(Default)]
struct Claim {
    tenant: Option<String>,
}

impl Claim {
    fn say(&mut self, value: &[u8]) -> Result<(), NamingError> {
        let said = match std::str::from_utf8(value) {
            Ok(said) if is_tenant_id(said) => said,
            _ => return Err(NamingError::InvalidTenant(shown(value))),
        };
        match &self.tenant {
            Some(tenant) if tenant != said => {
                Err(NamingError::Conflict(tenant.clone(), said.to_owned()))
            }
            _ => {
                self.tenant = Some(said.to_owned());
                Ok(())
            }
        }
    }
}

/// Takes every word about the tenant out of `options`.
fn strip_options(text: &[u8], claim: &mut Claim) -> Result<Bytes, NamingError> {
    let mut rest = Vec::new();
    for switch in options::parse(text)? {
        match switch.setting() {
            Some(setting) if TENANT_KEYS.contains(&&*setting.name) => claim.say(&setting.value)?,
            _ => rest.push(switch),
        }
    }
    Ok(options::encode(&rest))
}

/// Splits `tenant__user` at its first `__`. A name whose front cannot be a tenant is just a name.
fn split_user(raw: &str) -> Option<(&str, &str)> {
    raw.split_once("__")
        .filter(|(tenant, user)| is_tenant_id(tenant) && !user.is_empty())
}

/// A parameter as text; an empty one counts as absent, as with PostgreSQL.
fn text(value: Option<&Bytes>, what: &'static str) -> Result<Option<String>, NamingError> {
    match value {
        Some(value) if !value.is_empty() => match std::str::from_utf8(value) {
            Ok(text) => Ok(Some(text.to_owned())),
            Err(_) => Err(NamingError::NotUtf8(what)),
        },
        _ => Ok(None),
    }
}

/// A client's word inside a message to it.
fn shown(value: &[u8]) -> String {
    let mut shown = String::from_utf8_lossy(value).into_owned();
    shown.truncate(shown.floor_char_boundary(SHOWN_LIMIT));
    shown
}

/// Names by which a tenant may be said, in `options` and as startup parameters. PostgreSQL itself
/// accepts the qualified one, so that a client with it works without the proxy too.
const TENANT_KEYS: [&str; 2] = ["tenant_id", "dbbouncer.tenant_id"];

/// Most bytes of a client's word that are repeated to it.
const SHOWN_LIMIT: usize = 64;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::pg::ProtocolVersion;

    fn name(parameters: &[(&str, &str)]) -> Result<NamedStartup, NamingError> {
        let bytes = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
        let version = ProtocolVersion {
            major: 3,
            minor: 9999,
        };
        name_tenant(StartupMessage::new(
            version,
            parameters.iter().map(bytes).collect(),
        ))
    }

    fn tenant(parameters: &[(&str, &str)]) -> String {
        name(parameters).unwrap().tenant
    }

    #[test]
    fn a_host_that_is_a_tenants_must_agree_and_one_that_may_be_only_helps_out() {
        let version = ProtocolVersion { major: 3, minor: 0 };
        let named = |user: &str, host: &ByHost| {
            let parameters = [("user".to_owned(), user.to_owned())];
            let startup = StartupMessage::new(version, parameters.into_iter().collect());
            name_tenant_at(startup, Some(host)).map(|named| named.tenant)
        };
        let (names, may) = (
            ByHost::Names("acme".to_owned()),
            ByHost::MayName("acme".to_owned()),
        );
        let conflict = NamingError::Conflict("globex".to_owned(), "acme".to_owned());
        assert_eq!(named("u", &names), Ok("acme".to_owned()));
        assert_eq!(named("u", &may), Ok("acme".to_owned()));
        assert_eq!(named("acme__u", &names), Ok("acme".to_owned()));
        assert_eq!(named("globex__u", &names), Err(conflict));
        assert_eq!(named("globex__u", &may), Ok("globex".to_owned()));
    }

    #[test]
    fn a_tenant_may_be_said_in_many_ways() {
        for parameters in [
            &[("user", "u"), ("options", "-c tenant_id=acme")][..],
            &[("user", "u"), ("options", "-c dbbouncer.Tenant-ID=acme")],
            &[("user", "u"), ("options", "--tenant-id=acme")],
            &[("user", "u"), ("tenant_id", "acme")],
            &[("user", "u"), ("DBBouncer.tenant_id", "acme")],
            &[("user", "acme__u")],
            &[
                ("user", "acme__u"),
                ("tenant_id", "acme"),
                ("options", "--tenant_id=acme -c tenant_id=acme"),
            ],
        ] {
            let named = name(parameters).unwrap();
            assert_eq!(
                (&named.tenant[..], &named.user[..]),
                ("acme", "u"),
                "{parameters:?}"
            );
            assert!(named.parameters.is_empty(), "{parameters:?}");
            assert_eq!(named.minor, 2);
        }
    }

    #[test]
    fn the_rest_is_kept_in_order_and_re_encoded() {
        let named = name(&[
            ("application_name", "psql"),
            ("user", "acme__u__v"),
            (
                "options",
                "-c work_mem=1MB\t-ec tenant_id=acme --search-path=a\\ b",
            ),
            ("database", "shop"),
            ("client_encoding", "UTF8"),
        ])
        .unwrap();
        assert_eq!(
            (&named.user[..], &named.raw_user[..]),
            ("u__v", "acme__u__v")
        );
        assert_eq!(named.database.as_deref(), Some("shop"));
        let rest: Parameters = [
            ("application_name", "psql"),
            ("options", "-c work_mem=1MB -e --search-path=a\\ b"),
            ("client_encoding", "UTF8"),
        ]
        .into_iter()
        .collect();
        assert_eq!(named.parameters, rest);
    }

    #[test]
    fn different_tenants_are_refused() {
        for parameters in [
            &[("user", "a__u"), ("tenant_id", "b")][..],
            &[("user", "u"), ("options", "-c tenant_id=a -c TENANT_ID=b")],
            &[
                ("user", "u"),
                ("options", "-c tenant_id=a"),
                ("tenant_id", "b"),
            ],
            &[
                ("user", "u"),
                ("tenant_id", "a"),
                ("dbbouncer.tenant_id", "A"),
            ],
        ] {
            let error = name(parameters).unwrap_err();
            assert!(
                matches!(error, NamingError::Conflict(..)),
                "{parameters:?}: {error}"
            );
            assert_eq!(error.response().code(), "28000");
        }
    }

    #[test]
    fn tenants_obey_the_grammar() {
        for bad in ["", "a b", "_a", "a__b", "\u{e4}", "a/b", &"x".repeat(64)] {
            let error = name(&[("user", "u"), ("tenant_id", bad)]).unwrap_err();
            assert!(
                matches!(error, NamingError::InvalidTenant(_)),
                "{bad}: {error}"
            );
        }
    }

    #[test]
    fn a_user_name_that_holds_no_tenant_stays_whole() {
        for user in ["__u", "a__", "_a__u", "a b__u"] {
            assert_eq!(
                name(&[("user", user)]),
                Err(NamingError::NoTenant),
                "{user}"
            );
            let named = name(&[("user", user), ("tenant_id", "t")]).unwrap();
            assert_eq!((&named.tenant[..], &named.user[..]), ("t", user));
        }
    }

    #[test]
    fn of_one_name_the_last_counts() {
        let parameters = [
            ("user", "x"),
            ("options", "-c tenant_id=gone -c a=b"),
            ("user", "acme__u"),
            ("options", "-c a=c"),
        ];
        let named = name(&parameters).unwrap();
        assert_eq!(tenant(&parameters), "acme");
        assert_eq!(
            named.parameters,
            [("options", "-c a=c")].into_iter().collect()
        );
    }

    #[test]
    fn replication_is_recognised_and_kept() {
        let named = name(&[("user", "t__u"), ("replication", "database")]).unwrap();
        assert_eq!(named.replication, Replication::Database);
        assert_eq!(
            named.parameters,
            [("replication", "database")].into_iter().collect()
        );
        let error = name(&[("user", "t__u"), ("replication", "bogus")]).unwrap_err();
        assert_eq!(error.response().code(), "22023");
    }

    #[test]
    fn a_user_is_required() {
        assert_eq!(name(&[("tenant_id", "a")]), Err(NamingError::NoUser));
        assert_eq!(
            name(&[("tenant_id", "a"), ("user", "")]),
            Err(NamingError::NoUser)
        );
        let latin1 = [("user", Bytes::from_static(b"m\xfcller"))]
            .into_iter()
            .collect();
        let startup = StartupMessage::new(ProtocolVersion { major: 3, minor: 0 }, latin1);
        assert_eq!(name_tenant(startup), Err(NamingError::NotUtf8("user")));
    }
}

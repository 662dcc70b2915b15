//! Which tenant a client means: the user name `tenant__user`, the connection attribute `tenant_id`,
//! the database `tenant__db`, or the host it connects to inside TLS.
//!
//! Knows the grammar of tenant ids, not which tenants exist: an unknown one is refused later, and
//! like a wrong password.

use super::response::{Attribute, HandshakeResponse};
use crate::tenant_id::{ByHost, is_tenant_id};

/// What a client's names mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The tenant's id, by its grammar; `None` if the client named none in any way.
    pub tenant: Option<String>,
    /// The user without the tenant.
    pub user: String,
    /// The user as sent, for logs and refusals.
    pub raw_user: String,
    /// The database without the tenant, if one was named.
    pub database: Option<String>,
}

/// A client's names contradict each other or the grammar. The text is for the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NamingError {
    /// Two places name two tenants.
    #[error("Tenant '{first}' by the {first_place}, but '{second}' by the {second_place}")]
    Conflict {
        /// The tenant named first, in the order of the module's first sentence.
        first: String,
        /// Where.
        first_place: &'static str,
        /// The other one.
        second: String,
        /// Where.
        second_place: &'static str,
    },
    /// What stands in the tenant's place is none.
    #[error(
        "The {place} names no valid tenant (1 to 63 letters, digits, '.', '-' and single inner '_')"
    )]
    BadTenant {
        /// Where.
        place: &'static str,
    },
    /// A tenant and nothing behind it.
    #[error("The {place} ends behind 'tenant__'")]
    NothingBehind {
        /// Where.
        place: &'static str,
    },
}

/// Finds the tenant in a client's response. The attribute is taken out of what will be forwarded.
pub fn name_tenant(response: &mut HandshakeResponse) -> Result<Named, NamingError> {
    name_tenant_at(response, None)
}

/// The same for a client that has said its host.
pub fn name_tenant_at(
    response: &mut HandshakeResponse,
    host: Option<&ByHost>,
) -> Result<Named, NamingError> {
    let tenant_attribute = take_tenant_attribute(&mut response.attributes);
    let mut named = resolve(
        &response.user,
        tenant_attribute,
        response.database.as_deref(),
    )?;
    match (host, &named.tenant) {
        (Some(ByHost::Names(second)), Some(first)) if first != second => {
            return Err(NamingError::Conflict {
                first: first.clone(),
                first_place: "client's names",
                second: second.clone(),
                second_place: HOST,
            });
        }
        (Some(ByHost::Names(tenant) | ByHost::MayName(tenant)), None) => {
            named.tenant = Some(tenant.clone());
        }
        _ => {}
    }
    Ok(named)
}

/// The same for the names of a later COM_CHANGE_USER.
pub(super) fn resolve(
    raw_user: &str,
    attributes: Vec<Vec<u8>>,
    raw_database: Option<&str>,
) -> Result<Named, NamingError> {
    let mut tenant = Tenant::default();
    let user = match raw_user.split_once(SEPARATOR) {
        Some((id, user)) => {
            tenant.is(id, USER)?;
            behind(user, USER)?
        }
        None => raw_user,
    };
    for value in attributes {
        tenant.is(&String::from_utf8_lossy(&value), ATTRIBUTE)?;
    }
    // What cannot be a tenant before the `__` makes it a database's own name. (One such as
    // `shop__archive` is reached as `tenant__shop__archive`.)
    let database = match raw_database.map(|name| (name, name.split_once(SEPARATOR))) {
        Some((_, Some((id, name)))) if is_tenant_id(id) => {
            tenant.is(id, DATABASE)?;
            Some(behind(name, DATABASE)?)
        }
        Some((name, _)) => Some(name),
        None => None,
    };
    Ok(Named {
        tenant: tenant.0.map(|(id, _)| id),
        user: user.to_owned(),
        raw_user: raw_user.to_owned(),
        database: database.map(str::to_owned),
    })
}

/// Takes every attribute that names a tenant out of `attributes`.
pub(super) fn take_tenant_attribute(attributes: &mut Vec<Attribute>) -> Vec<Vec<u8>> {
    attributes
        .extract_if(.., |(name, _)| name == TENANT_ATTRIBUTE)
        .map(|(_, value)| value)
        .collect()
}

/// The tenant as far as it is known, and what named it.
#[derive(Default)]
struct Tenant(Option<(String, &'static str)>);

impl Tenant {
    fn is(&mut self, id: &str, place: &'static str) -> Result<(), NamingError> {
        if !is_tenant_id(id) {
            return Err(NamingError::BadTenant { place });
        }
        match &self.0 {
            Some((first, first_place)) if first != id => Err(NamingError::Conflict {
                first: first.clone(),
                first_place,
                second: id.to_owned(),
                second_place: place,
            }),
            Some(_) => Ok(()),
            None => {
                self.0 = Some((id.to_owned(), place));
                Ok(())
            }
        }
    }
}

fn behind<'a>(rest: &'a str, place: &'static str) -> Result<&'a str, NamingError> {
    if rest.is_empty() {
        Err(NamingError::NothingBehind { place })
    } else {
        Ok(rest)
    }
}

/// The connection attribute that names a tenant.
pub const TENANT_ATTRIBUTE: &[u8] = b"tenant_id";

const SEPARATOR: &str = "__";
const USER: &str = "user name";
const ATTRIBUTE: &str = "connection attribute tenant_id";
const DATABASE: &str = "database name";
const HOST: &str = "host name";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::capability::Capabilities;
    use super::*;

    fn named(
        user: &str,
        attribute: Option<&str>,
        database: Option<&str>,
    ) -> Result<Named, NamingError> {
        resolve(
            user,
            attribute
                .map(|value| value.as_bytes().to_vec())
                .into_iter()
                .collect(),
            database,
        )
    }

    #[test]
    fn the_user_splits_at_the_first_double_underscore() {
        for (raw, tenant, user) in [
            ("acme__app", Some("acme"), "app"),
            ("acme__app__ro", Some("acme"), "app__ro"),
            ("acme___x", Some("acme"), "_x"),
            ("tenant_1__app_user", Some("tenant_1"), "app_user"),
            ("app", None, "app"),
            ("", None, ""),
        ] {
            let named = named(raw, None, None).unwrap();
            assert_eq!(
                (named.tenant.as_deref(), named.user.as_str()),
                (tenant, user),
                "{raw}"
            );
            assert_eq!(named.raw_user, raw);
        }
    }

    #[test]
    fn a_host_that_is_a_tenants_must_agree_and_one_that_may_be_only_helps_out() {
        let named = |user: &str, host: &ByHost| {
            let mut response = HandshakeResponse {
                capabilities: Capabilities::OFFERED,
                charset: 45,
                user: user.to_owned(),
                token: Vec::new().into(),
                database: None,
                plugin: None,
                attributes: Vec::new(),
            };
            name_tenant_at(&mut response, Some(host)).map(|named| named.tenant)
        };
        let acme = || "acme".to_owned();
        assert_eq!(named("app", &ByHost::Names(acme())), Ok(Some(acme())));
        assert_eq!(named("app", &ByHost::MayName(acme())), Ok(Some(acme())));
        assert!(named("globex__app", &ByHost::Names(acme())).is_err());
        let globex = named("globex__app", &ByHost::MayName(acme()));
        assert_eq!(globex, Ok(Some("globex".to_owned())));
    }

    #[test]
    fn attribute_and_database_name_a_tenant_too_and_may_repeat_it() {
        let by_attribute = named("app", Some("acme"), Some("shop")).unwrap();
        assert_eq!(by_attribute.tenant.as_deref(), Some("acme"));
        assert_eq!(by_attribute.database.as_deref(), Some("shop"));

        let by_database = named("app", None, Some("acme__shop__old")).unwrap();
        assert_eq!(by_database.tenant.as_deref(), Some("acme"));
        assert_eq!(by_database.database.as_deref(), Some("shop__old"));

        let thrice = named("acme__app", Some("acme"), Some("acme__shop")).unwrap();
        assert_eq!(
            (thrice.user.as_str(), thrice.database.as_deref()),
            ("app", Some("shop"))
        );

        let own_name = named("acme__app", None, Some("_x__y")).unwrap();
        assert_eq!(own_name.database.as_deref(), Some("_x__y"));
    }

    #[test]
    fn different_tenants_are_refused_wherever_they_stand() {
        for (user, attribute, database) in [
            ("acme__app", Some("beta"), None),
            ("acme__app", None, Some("beta__shop")),
            ("app", Some("acme"), Some("beta__shop")),
        ] {
            let refused = named(user, attribute, database);
            assert!(
                matches!(refused, Err(NamingError::Conflict { .. })),
                "{refused:?}"
            );
        }
    }

    #[test]
    fn what_is_no_tenant_id_is_refused_with_its_place() {
        for (user, attribute, database) in [
            ("__app", None, None),
            ("a b__app", None, None),
            ("_a__app", None, None),
            ("app", Some(""), None),
            ("app", Some("a__b"), None),
        ] {
            let refused = named(user, attribute, database);
            assert!(
                matches!(refused, Err(NamingError::BadTenant { .. })),
                "{refused:?}"
            );
        }
        for (user, database) in [("acme__", None), ("app", Some("acme__"))] {
            let refused = named(user, None, database);
            assert!(
                matches!(refused, Err(NamingError::NothingBehind { .. })),
                "{refused:?}"
            );
        }
    }

    #[test]
    fn the_attribute_is_not_forwarded() {
        let pair = |name: &[u8], value: &[u8]| (name.to_vec(), value.to_vec());
        let mut attributes = vec![
            pair(b"_os", b"Linux"),
            pair(b"tenant_id", b"acme"),
            pair(b"tenant_id", b"acme"),
        ];
        assert_eq!(take_tenant_attribute(&mut attributes), [b"acme", b"acme"]);
        assert_eq!(attributes, [pair(b"_os", b"Linux")]);
    }
}

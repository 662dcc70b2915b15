//! COM_CHANGE_USER: read from a client, and what must be known to send our own to its backend.
//!
//! It cannot be relayed. The client proves the password it has with *us*, for a nonce of ours; the
//! backend wants the tenant's, for a nonce of its own. So the client is authenticated by
//! [`super::greet::Greet::change_user`], and the backend by
//! [`super::login::BackendChangeUser`] with the tenant's credentials.
//!
//! Both are dialogues, so everything before must have been answered. The protocol makes the client
//! wait for that; one that does not confuses its own session and no other.

use zeroize::Zeroizing;

use super::capability::Capabilities;
use super::command;
use super::cursor::Cursor;
use super::naming::{Named, NamingError, resolve, take_tenant_attribute};
use super::response::{Attribute, parse_attributes, text};
use crate::error::WireError;

/// What a client asks for with COM_CHANGE_USER.
#[derive(Clone, PartialEq, Eq)]
pub struct ChangeUser {
    /// The user name as sent, tenant included.
    pub user: String,
    /// A proof that is not looked at; only whether there is one.
    pub token: Zeroizing<Vec<u8>>,
    /// The database, if one was named.
    pub database: Option<String>,
    /// The collation; `None` keeps the session's.
    pub charset: Option<u16>,
    /// The method the token is of.
    pub plugin: Option<String>,
    /// What the client tells of itself.
    pub attributes: Vec<Attribute>,
}

impl ChangeUser {
    /// Reads the payload, command byte included, of a client that has `capabilities`.
    pub fn parse(payload: &[u8], capabilities: Capabilities) -> Result<Self, WireError> {
        let mut cursor = Cursor::new(payload);
        if cursor.u8(WHAT)? != command::COM_CHANGE_USER {
            return Err(WireError::Malformed { what: WHAT });
        }
        let user = text(cursor.nul_bytes("user name")?, "user name")?;
        let length = cursor.u8("auth response")?;
        let token = cursor.bytes(usize::from(length), "auth response")?.to_vec();
        let database = text(cursor.nul_or_end(), "database name")?;
        // What follows came with later versions, and any of it may be left out.
        let charset = if cursor.is_empty() {
            None
        } else {
            Some(cursor.u16("collation")?)
        };
        let plugin = match capabilities.has(Capabilities::PLUGIN_AUTH) {
            true => text(cursor.nul_or_end(), "authentication method")?,
            false => String::new(),
        };
        let attributes = match capabilities.has(Capabilities::CONNECT_ATTRS) {
            true => parse_attributes(&mut cursor)?,
            false => Vec::new(),
        };
        Ok(ChangeUser {
            user,
            token: Zeroizing::new(token),
            database: Some(database).filter(|name| !name.is_empty()),
            charset,
            plugin: Some(plugin).filter(|name| !name.is_empty()),
            attributes,
        })
    }

    /// Finds the tenant that is meant, as at the login. Whoever holds the session must refuse one
    /// that is not its own; none named means the session's.
    pub fn name_tenant(&mut self) -> Result<Named, NamingError> {
        let tenant_attribute = take_tenant_attribute(&mut self.attributes);
        resolve(&self.user, tenant_attribute, self.database.as_deref())
    }
}

impl std::fmt::Debug for ChangeUser {
    /// Leaves out the token, which proves a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChangeUser")
            .field("user", &self.user)
            .field("database", &self.database)
            .field("charset", &self.charset)
            .field("plugin", &self.plugin)
            .finish_non_exhaustive()
    }
}

const WHAT: &str = "COM_CHANGE_USER";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const WHOLE: &[u8] =
        b"\x11acme__app\0\x03abcshop\0\x2D\x00mysql_native_password\0\x04\x01a\x01b";

    #[test]
    fn all_fields_are_read() {
        let request = ChangeUser::parse(WHOLE, Capabilities::OFFERED).unwrap();
        assert_eq!(
            request,
            ChangeUser {
                user: "acme__app".to_owned(),
                token: b"abc".to_vec().into(),
                database: Some("shop".to_owned()),
                charset: Some(45),
                plugin: Some("mysql_native_password".to_owned()),
                attributes: vec![(b"a".to_vec(), b"b".to_vec())],
            }
        );
    }

    #[test]
    fn what_later_versions_added_may_be_missing_but_not_half_there() {
        let request = ChangeUser::parse(b"\x11u\0\0\0", Capabilities::OFFERED).unwrap();
        assert_eq!(
            (request.charset, request.plugin, request.database),
            (None, None, None)
        );
        for short in [
            &b""[..],
            b"\x11",
            b"\x11u",
            b"\x11u\0",
            b"\x11u\0\x05abc",
            b"\x11u\0\0\0\x2D",
        ] {
            assert!(
                ChangeUser::parse(short, Capabilities::OFFERED).is_err(),
                "{short:?}"
            );
        }
        assert!(ChangeUser::parse(b"\x03select 1", Capabilities::OFFERED).is_err());
    }

    #[test]
    fn another_tenants_user_is_told_apart() {
        let mut request = ChangeUser::parse(WHOLE, Capabilities::OFFERED).unwrap();
        let named = request.name_tenant().unwrap();
        assert_eq!(
            (named.tenant.as_deref(), named.user.as_str()),
            (Some("acme"), "app")
        );
    }
}

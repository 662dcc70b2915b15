//! COM_CHANGE_USER: read from a client, and our own to its backend.
//!
//! It cannot be relayed. The client proves the password it has with *us*, for a nonce of ours; the
//! backend wants the tenant's, for a nonce of its own. So the client is authenticated by
//! [`super::greet::Greet::change_user`], and the backend by [`BackendChangeUser`] with the tenant's
//! credentials.
//!
//! Both are dialogues, so everything before must have been answered. The protocol makes the client
//! wait for that; one that does not confuses its own session and no other.

use bytes::{BufMut, Bytes, BytesMut};
use zeroize::Zeroizing;

use super::capability::Capabilities;
use super::command::COM_CHANGE_USER;
use super::cursor::{Cursor, put_nul_bytes};
use super::greeting::{Flavour, Nonce, charset_at};
use super::login::{LoggedIn, LoginRequest, Tls};
use super::message::OkPacket;
use super::naming::{Named, NamingError, resolve, take_tenant_attribute};
use super::packet;
use super::prove::{Privacy, Proof};
use super::response::{Attribute, parse_attributes, put_attributes, text};
use super::verifier::Plugin;
use crate::error::WireError;
use crate::exchange::{Derived, Exchange, Progress};

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
        if cursor.u8(WHAT)? != COM_CHANGE_USER {
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

/// COM_CHANGE_USER on a backend: its session begins anew, as the tenant's user, in another shape.
///
/// The backend must be between commands. A refusal leaves MariaDB with the old session and makes
/// MySQL close; a caller that cannot tell closes too.
#[derive(Debug)]
pub struct BackendChangeUser {
    request: LoginRequest,
    capabilities: Capabilities,
    proof: Proof,
    begun: bool,
}

/// A backend's session has begun anew.
#[derive(Debug, Clone)]
pub struct UserChanged {
    /// Status flags of the server's OK.
    pub status: u16,
    /// The payload of the server's OK, as in [`LoggedIn::ok`].
    pub ok: Bytes,
}

impl BackendChangeUser {
    /// `backend` is the login's outcome, `secured` whether it is under TLS. Of `request`'s shape the
    /// capabilities are not looked at: they stay as they are.
    pub fn new(request: LoginRequest, backend: &LoggedIn, secured: bool) -> Self {
        let plugin = match backend.flavour {
            Flavour::MySql => Plugin::CachingSha2,
            Flavour::MariaDb => Plugin::Native,
        };
        let charset = charset_at(&backend.server_version, request.shape.charset);
        // No token is sent before the server has sent a new nonce, so this one is never used.
        let proof = Proof::new(
            request.password.clone(),
            Privacy::of(secured, request.tls == Tls::Needless),
            plugin,
            Nonce::from_random([0; 20]),
            request.scramble,
        );
        let mut request = request;
        request.shape.charset = charset;
        BackendChangeUser {
            request,
            capabilities: backend.capabilities,
            proof,
            begun: false,
        }
    }

    fn begin(&mut self, outbound: &mut BytesMut) {
        let mut payload = BytesMut::with_capacity(256);
        payload.put_u8(COM_CHANGE_USER);
        put_nul_bytes(&mut payload, self.request.user.as_bytes());
        payload.put_u8(0);
        put_nul_bytes(
            &mut payload,
            self.request
                .shape
                .database
                .as_deref()
                .unwrap_or("")
                .as_bytes(),
        );
        payload.put_u16_le(self.request.shape.charset);
        if self.capabilities.has(Capabilities::PLUGIN_AUTH) {
            put_nul_bytes(&mut payload, self.proof.plugin().name().as_bytes());
        }
        if self.capabilities.has(Capabilities::CONNECT_ATTRS) {
            put_attributes(&mut payload, &self.request.attributes);
        }
        self.proof.sequence = packet::put(outbound, 0, &payload);
    }
}

impl Exchange for BackendChangeUser {
    type Outcome = UserChanged;

    fn advance(
        &mut self,
        inbound: &mut BytesMut,
        outbound: &mut BytesMut,
    ) -> Result<Progress<UserChanged>, WireError> {
        if !std::mem::replace(&mut self.begun, true) {
            self.begin(outbound);
        }
        match self.proof.advance(inbound, outbound)? {
            Progress::Done(ok) => {
                let status = OkPacket::parse(&ok)?.status;
                Ok(Progress::Done(UserChanged { status, ok }))
            }
            Progress::Derive(derivation) => Ok(Progress::Derive(derivation)),
            Progress::NeedMore => Ok(Progress::NeedMore),
        }
    }

    fn derived(&mut self, derived: Derived) {
        self.proof.derived(derived);
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

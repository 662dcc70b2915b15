//! The client's answer to a greeting (`HandshakeResponse41`), and the `SSLRequest` before it;
//! parsed from clients, composed for databases.

use bytes::{BufMut, BytesMut};
use zeroize::Zeroizing;

use super::capability::Capabilities;
use super::cursor::{Cursor, lenenc_size, put_lenenc, put_lenenc_bytes, put_nul_bytes};
use super::packet;
use crate::error::WireError;

/// A connection attribute: name and value, in the client's character set.
pub type Attribute = (Vec<u8>, Vec<u8>);

/// What a client says of itself.
#[derive(Clone, PartialEq, Eq)]
pub struct HandshakeResponse {
    /// What both sides can do: the client's flags, masked by what it was offered.
    pub capabilities: Capabilities,
    /// The client's collation. Drivers fill one byte; the second is kept as it came.
    pub charset: u16,
    /// The user name as sent, tenant included.
    pub user: String,
    /// The proof of the password, of whatever method; empty for no password.
    pub token: Zeroizing<Vec<u8>>,
    /// The database, if one was named.
    pub database: Option<String>,
    /// The method the token is of, if the client names methods.
    pub plugin: Option<String>,
    /// What the client tells of itself, in its order.
    pub attributes: Vec<Attribute>,
}

/// The first packet of a client.
#[derive(Debug, PartialEq, Eq)]
pub enum FirstPacket {
    /// TLS is to begin; the response follows inside.
    SslRequest,
    /// The response itself.
    Response(HandshakeResponse),
}

impl FirstPacket {
    /// Reads a client's packet behind a greeting that offered `offered`.
    pub fn parse(payload: &[u8], offered: Capabilities) -> Result<Self, WireError> {
        let mut cursor = Cursor::new(payload);
        let said = Capabilities(cursor.u32(WHAT)?);
        if !said.has(Capabilities::PROTOCOL_41 | Capabilities::SECURE_CONNECTION) {
            let what = "a client older than MySQL 4.1".to_owned();
            return Err(WireError::Unsupported { what });
        }
        // The largest packet the client takes; two drivers say 0, and no server heeds it.
        cursor.u32(WHAT)?;
        let charset = cursor.u16(WHAT)?;
        cursor.bytes(22, WHAT)?;
        if cursor.is_empty() && said.has(Capabilities::SSL) {
            return Ok(FirstPacket::SslRequest);
        }
        // PHP's driver and MySQL's for Python take for granted what they want, and compress behind the login.
        if (said & Capabilities::COMPRESS).without(offered) != Capabilities(0) {
            let what = "compression, which was not offered,".to_owned();
            return Err(WireError::Unsupported { what });
        }
        let capabilities = said & offered;
        HandshakeResponse::parse_rest(cursor, capabilities, charset).map(FirstPacket::Response)
    }
}

impl HandshakeResponse {
    fn parse_rest(
        mut cursor: Cursor<'_>,
        capabilities: Capabilities,
        charset: u16,
    ) -> Result<Self, WireError> {
        let user = text(cursor.nul_bytes("user name")?, "user name")?;
        let token = if capabilities.has(Capabilities::PLUGIN_AUTH_LENENC) {
            cursor.lenenc_bytes("auth response")?
        } else {
            let length = cursor.u8("auth response")?;
            cursor.bytes(usize::from(length), "auth response")?
        };
        // Many drivers set CONNECT_WITH_DB and name none.
        let database = match capabilities.has(Capabilities::CONNECT_WITH_DB) {
            true => text(cursor.nul_or_end(), "database name")?,
            false => String::new(),
        };
        let plugin = match capabilities.has(Capabilities::PLUGIN_AUTH) {
            true => text(cursor.nul_or_end(), "authentication method")?,
            false => String::new(),
        };
        let attributes = match capabilities.has(Capabilities::CONNECT_ATTRS) {
            true => parse_attributes(&mut cursor)?,
            false => Vec::new(),
        };
        Ok(HandshakeResponse {
            capabilities,
            charset,
            user,
            token: Zeroizing::new(token.to_vec()),
            database: Some(database).filter(|name| !name.is_empty()),
            plugin: Some(plugin).filter(|name| !name.is_empty()),
            attributes,
        })
    }

    /// Appends the packet and answers the next sequence id. The flags of [`Capabilities::LOGIN_ONLY`]
    /// must fit the fields that are filled.
    pub fn put(&self, out: &mut BytesMut, sequence: u8) -> u8 {
        let mut payload = BytesMut::with_capacity(256);
        put_fixed_part(&mut payload, self.capabilities, self.charset);
        put_nul_bytes(&mut payload, self.user.as_bytes());
        if self.capabilities.has(Capabilities::PLUGIN_AUTH_LENENC) {
            put_lenenc_bytes(&mut payload, &self.token);
        } else {
            let token = &self.token[..self.token.len().min(0xFF)];
            payload.put_u8(token.len() as u8);
            payload.put_slice(token);
        }
        if self.capabilities.has(Capabilities::CONNECT_WITH_DB) {
            put_nul_bytes(
                &mut payload,
                self.database.as_deref().unwrap_or("").as_bytes(),
            );
        }
        if self.capabilities.has(Capabilities::PLUGIN_AUTH) {
            put_nul_bytes(
                &mut payload,
                self.plugin.as_deref().unwrap_or("").as_bytes(),
            );
        }
        if self.capabilities.has(Capabilities::CONNECT_ATTRS) {
            put_attributes(&mut payload, &self.attributes);
        }
        packet::put(out, sequence, &payload)
    }
}

/// Appends an SSLRequest and answers the next sequence id.
pub fn put_ssl_request(
    out: &mut BytesMut,
    sequence: u8,
    capabilities: Capabilities,
    charset: u16,
) -> u8 {
    let mut payload = BytesMut::with_capacity(32);
    put_fixed_part(&mut payload, capabilities | Capabilities::SSL, charset);
    packet::put(out, sequence, &payload)
}

fn put_fixed_part(payload: &mut BytesMut, capabilities: Capabilities, charset: u16) {
    payload.put_u32_le(capabilities.0);
    payload.put_u32_le(MAX_ALLOWED_PACKET);
    payload.put_u16_le(charset);
    payload.put_bytes(0, 22);
}

/// Reads connection attributes; absent ones are none, as some drivers set the flag only.
pub(super) fn parse_attributes(cursor: &mut Cursor<'_>) -> Result<Vec<Attribute>, WireError> {
    if cursor.is_empty() {
        return Ok(Vec::new());
    }
    let mut block = Cursor::new(cursor.lenenc_bytes(ATTRIBUTES)?);
    let mut attributes = Vec::new();
    while !block.is_empty() {
        if attributes.len() == MAX_ATTRIBUTES {
            return Err(WireError::Malformed {
                what: "connection attributes (too many)",
            });
        }
        let name = block.lenenc_bytes(ATTRIBUTES)?.to_vec();
        attributes.push((name, block.lenenc_bytes(ATTRIBUTES)?.to_vec()));
    }
    Ok(attributes)
}

/// Appends connection attributes behind their length.
pub(super) fn put_attributes(payload: &mut BytesMut, attributes: &[Attribute]) {
    let size: usize = attributes
        .iter()
        .map(|(name, value)| lenenc_size(name.len()) + lenenc_size(value.len()))
        .sum();
    put_lenenc(payload, size as u64);
    for (name, value) in attributes {
        put_lenenc_bytes(payload, name);
        put_lenenc_bytes(payload, value);
    }
}

/// A name of at most [`MAX_NAME`] bytes. It must be UTF-8, since it is compared with the config's:
/// from a client in another character set that means ASCII.
pub(super) fn text(bytes: &[u8], what: &'static str) -> Result<String, WireError> {
    if bytes.len() > MAX_NAME {
        return Err(WireError::TooLarge {
            what,
            limit: MAX_NAME,
        });
    }
    String::from_utf8(bytes.to_vec()).map_err(|_| WireError::Malformed { what })
}

impl std::fmt::Debug for HandshakeResponse {
    /// Leaves out the token, which proves a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HandshakeResponse")
            .field("capabilities", &self.capabilities)
            .field("charset", &self.charset)
            .field("user", &self.user)
            .field("database", &self.database)
            .field("plugin", &self.plugin)
            .finish_non_exhaustive()
    }
}

/// Longest name of a user, a database or a method, in bytes. Servers stop at 128 characters; a
/// tenant's id may stand before it.
pub const MAX_NAME: usize = 1024;

/// Most connection attributes of a client. Drivers send about ten.
pub const MAX_ATTRIBUTES: usize = 128;

/// What we say is the largest packet we take: the largest `max_allowed_packet` a server can have.
const MAX_ALLOWED_PACKET: u32 = 1 << 30;

const WHAT: &str = "handshake response";
const ATTRIBUTES: &str = "connection attributes";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn response() -> HandshakeResponse {
        HandshakeResponse {
            capabilities: Capabilities::OFFERED,
            charset: 45,
            user: "acme__app".to_owned(),
            token: vec![9; 32].into(),
            database: Some("shop".to_owned()),
            plugin: Some("caching_sha2_password".to_owned()),
            attributes: vec![(b"_client_name".to_vec(), b"libmysql".to_vec())],
        }
    }

    fn payload(response: &HandshakeResponse) -> BytesMut {
        let mut out = BytesMut::new();
        assert_eq!(response.put(&mut out, 1), 2);
        out.split_off(4)
    }

    fn parse(payload: &[u8]) -> Result<HandshakeResponse, WireError> {
        match FirstPacket::parse(payload, Capabilities::OFFERED)? {
            FirstPacket::Response(response) => Ok(response),
            FirstPacket::SslRequest => panic!("an SSLRequest"),
        }
    }

    #[test]
    fn a_response_is_read_back_as_it_was_meant() {
        assert_eq!(parse(&payload(&response())).unwrap(), response());

        let plain = HandshakeResponse {
            capabilities: Capabilities::PROTOCOL_41 | Capabilities::SECURE_CONNECTION,
            database: None,
            plugin: None,
            attributes: Vec::new(),
            ..response()
        };
        assert_eq!(parse(&payload(&plain)).unwrap(), plain);
    }

    #[test]
    fn what_was_not_offered_is_not_in_force() {
        let mut response = response();
        response.capabilities = Capabilities::OFFERED | Capabilities::QUERY_ATTRIBUTES;
        assert_eq!(
            parse(&payload(&response)).unwrap().capabilities,
            Capabilities::OFFERED
        );
    }

    #[test]
    fn who_would_compress_unasked_is_told_that_nobody_would_understand() {
        let mut response = response();
        response.capabilities = Capabilities::OFFERED | Capabilities::COMPRESS;
        assert!(matches!(
            parse(&payload(&response)),
            Err(WireError::Unsupported { .. })
        ));
    }

    #[test]
    fn a_database_may_be_announced_and_left_out_and_the_last_nul_missing() {
        let mut response = response();
        response.database = None;
        response.attributes.clear();
        let payload = payload(&response);
        let without_attributes = &payload[..payload.len() - 1];
        assert_eq!(parse(without_attributes).unwrap(), response);
        let without_nul = &payload[..payload.len() - 2];
        assert_eq!(parse(without_nul).unwrap(), response);
    }

    #[test]
    fn an_ssl_request_is_the_fixed_part_alone() {
        let mut out = BytesMut::new();
        put_ssl_request(&mut out, 1, Capabilities::OFFERED, 45);
        let first = FirstPacket::parse(&out[4..], Capabilities::OFFERED).unwrap();
        assert_eq!(first, FirstPacket::SslRequest);
    }

    #[test]
    fn a_client_before_4_1_and_names_that_are_no_text_are_refused() {
        let mut old = payload(&response());
        old[1] = 0;
        assert!(matches!(parse(&old), Err(WireError::Unsupported { .. })));

        let mut latin1 = payload(&response());
        latin1[32] = 0xE4;
        assert!(matches!(parse(&latin1), Err(WireError::Malformed { .. })));
    }

    #[test]
    fn names_and_attributes_have_their_limits() {
        let mut long = response();
        long.user = "u".repeat(MAX_NAME + 1);
        assert!(matches!(
            parse(&payload(&long)),
            Err(WireError::TooLarge { .. })
        ));
        let mut many = response();
        many.attributes = vec![(Vec::new(), Vec::new()); MAX_ATTRIBUTES];
        assert_eq!(parse(&payload(&many)).unwrap(), many);
        many.attributes.push((Vec::new(), Vec::new()));
        assert!(matches!(
            parse(&payload(&many)),
            Err(WireError::Malformed { .. })
        ));
    }

    #[test]
    fn lengths_that_lie_are_malformed() {
        let whole = payload(&response());
        for cut in 0..41 {
            assert!(parse(&whole[..cut]).is_err(), "cut at {cut}");
        }
        let mut token = whole.clone();
        token[42] = 0xFA;
        assert!(parse(&token).is_err());
    }
}

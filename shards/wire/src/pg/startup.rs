//! StartupMessage: what a client wants to be connected to.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{
    LoginRequest, Parameters, backend,
    frame::{compose_untyped, cut_string, put_string},
};
use crate::error::WireError;

/// A version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProtocolVersion {
    /// 3 for everything spoken here.
    pub major: u16,
    /// 0, or 2 where cancel keys may be long.
    pub minor: u16,
}

/// A StartupMessage of protocol 3, as it was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartupMessage {
    /// What the client asked for; it may be newer than [`NEWEST`].
    pub version: ProtocolVersion,
    /// Everything but the protocol options, `user` and `options` included, in the client's order.
    pub parameters: Parameters,
    /// Names of the protocol options (`_pq_.…`) the client asked for. None is known here.
    pub protocol_options: Vec<String>,
}

impl StartupMessage {
    /// A message that asks for no protocol options.
    pub fn new(version: ProtocolVersion, parameters: Parameters) -> Self {
        StartupMessage {
            version,
            parameters,
            protocol_options: Vec::new(),
        }
    }

    /// Reads what follows the length field. The version's major number must be 3.
    pub(crate) fn parse(mut body: Bytes) -> Result<Self, WireError> {
        if body.len() < 4 {
            return Err(LAYOUT);
        }
        let version = ProtocolVersion {
            major: body.get_u16(),
            minor: body.get_u16(),
        };
        if version.major != NEWEST.major {
            let ProtocolVersion { major, minor } = version;
            return Err(WireError::Unsupported {
                what: format!(
                    "protocol {major}.{minor} (spoken are 3.0 to 3.{})",
                    NEWEST.minor
                ),
            });
        }
        let mut parameters = Parameters::default();
        let mut protocol_options = Vec::new();
        loop {
            let name = cut_string(&mut body).ok_or(LAYOUT)?;
            if name.is_empty() {
                break;
            }
            let value = cut_string(&mut body).ok_or(LAYOUT)?;
            let name = std::str::from_utf8(&name).map_err(|_| WireError::Malformed {
                what: "name of a startup parameter",
            })?;
            if name.starts_with(PROTOCOL_OPTION_PREFIX) {
                protocol_options.push(name.to_owned());
            } else {
                parameters.push(name, value);
            }
        }
        if body.is_empty() {
            Ok(StartupMessage {
                version,
                parameters,
                protocol_options,
            })
        } else {
            Err(LAYOUT)
        }
    }

    /// The version that both sides will speak.
    pub fn negotiated(&self) -> ProtocolVersion {
        self.version.min(NEWEST)
    }

    /// Appends a NegotiateProtocolVersion if the client asked for more than is spoken here. It
    /// must be the first message the client gets.
    pub(crate) fn negotiate(&self, out: &mut BytesMut) {
        if self.version > NEWEST || !self.protocol_options.is_empty() {
            let unrecognized = self.protocol_options.iter().map(String::as_str);
            backend::negotiate_protocol_version(self.negotiated(), unrecognized, out);
        }
    }

    /// Appends the message.
    pub fn write(&self, out: &mut BytesMut) {
        let options = self
            .protocol_options
            .iter()
            .map(|name| (name.as_str(), &b""[..]));
        let parameters = self
            .parameters
            .iter()
            .map(|(name, value)| (name, &value[..]));
        compose_untyped(out, |body| {
            body.put_u16(self.version.major);
            body.put_u16(self.version.minor);
            for (name, value) in parameters.chain(options) {
                put_string(body, name.as_bytes());
                put_string(body, value);
            }
            body.put_u8(0);
        });
    }
}

/// Reads the NegotiateProtocolVersion of a database, which must not be about anything but the
/// version we asked for: options we asked for none.
pub(crate) fn accept_negotiation(mut body: Bytes) -> Result<(), WireError> {
    let malformed = WireError::Malformed {
        what: "NegotiateProtocolVersion",
    };
    if body.len() != 8 {
        return Err(malformed);
    }
    let version = ProtocolVersion {
        major: body.get_u16(),
        minor: body.get_u16(),
    };
    // PostgreSQL sends the whole version; its documentation speaks of the minor number alone.
    let is_ours = matches!(version.major, 0 | 3) && version.minor == WITH_DATABASES.minor;
    if is_ours && body.get_u32() == 0 {
        Ok(())
    } else {
        Err(malformed)
    }
}

/// The newest protocol spoken with clients.
pub const NEWEST: ProtocolVersion = ProtocolVersion { major: 3, minor: 2 };

/// The protocol spoken with databases: all of them know it, and its only lack is long cancel keys.
pub const WITH_DATABASES: ProtocolVersion = ProtocolVersion { major: 3, minor: 0 };

/// What the names of protocol options begin with.
const PROTOCOL_OPTION_PREFIX: &str = "_pq_.";

const LAYOUT: WireError = WireError::Malformed {
    what: "startup packet: expected terminator as last byte",
};

impl LoginRequest {
    /// What begins the login.
    pub(super) fn startup(&self) -> StartupMessage {
        let who = [("user", &self.user), ("database", &self.database)];
        let who = who.map(|(name, value)| (name, Bytes::from(value.clone())));
        let rest = self.parameters.iter();
        let rest = rest.map(|(name, value)| (name, value.clone()));
        StartupMessage::new(WITH_DATABASES, who.into_iter().chain(rest).collect())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(body: &[u8]) -> Result<StartupMessage, WireError> {
        StartupMessage::parse(Bytes::copy_from_slice(body))
    }

    #[test]
    fn parameters_keep_their_order_and_protocol_options_stand_apart() {
        let startup = parse(b"\0\x03\0\0user\0u\0_pq_.x\x001\0a\0\0\0").unwrap();
        assert_eq!(
            startup.parameters,
            [("user", "u"), ("a", "")].into_iter().collect()
        );
        assert_eq!(startup.protocol_options, ["_pq_.x"]);
    }

    #[test]
    fn layouts_that_postgresql_refuses_are_refused() {
        for body in [
            &b""[..],
            b"\0\x03\0\0",
            b"\0\x03\0\0user",
            b"\0\x03\0\0user\0",
            b"\0\x03\0\0user\0u\0",
            b"\0\x03\0\0user\0u\0\0x",
            b"\0\x03\0\0us\xffer\0u\0\0",
        ] {
            assert!(
                matches!(parse(body), Err(WireError::Malformed { .. })),
                "{body:?}"
            );
        }
        for body in [b"\0\x02\0\0\0", b"\0\x04\0\0\0", b"\x04\xd2\x16\x30\0"] {
            assert!(
                matches!(parse(body), Err(WireError::Unsupported { .. })),
                "{body:?}"
            );
        }
    }

    #[test]
    fn what_is_not_spoken_is_said_at_once() {
        let answer = |body| {
            let mut out = BytesMut::new();
            parse(body).unwrap().negotiate(&mut out);
            out.to_vec()
        };
        assert_eq!(answer(b"\0\x03\0\x00user\0u\0\0"), b"");
        assert_eq!(answer(b"\0\x03\0\x02user\0u\0\0"), b"");
        assert_eq!(
            answer(b"\0\x03\x27\x0fuser\0u\0\0"),
            b"v\0\0\0\x0c\0\x03\0\x02\0\0\0\0"
        );
        assert_eq!(
            answer(b"\0\x03\0\0user\0u\0_pq_.x\0\0\0"),
            b"v\0\0\0\x13\0\x03\0\0\0\0\0\x01_pq_.x\0"
        );
    }

    #[test]
    fn what_is_written_is_read_back() {
        let startup = parse(b"\0\x03\0\0user\0u\0database\0d\0_pq_.x\0\0\0").unwrap();
        let mut out = BytesMut::new();
        startup.write(&mut out);
        assert_eq!(out.get_u32() as usize, out.len() + 4);
        assert_eq!(parse(&out), Ok(startup));
    }
}

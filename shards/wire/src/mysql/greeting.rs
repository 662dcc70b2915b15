//! The greeting (`HandshakeV10`): a server's first packet, composed and parsed.
//!
//! Knows both flavours of it: MySQL's, and MariaDB's with its extended capabilities in the filler
//! and, before 11.0, the prefix `5.5.5-` in its version.

use bytes::{BufMut, BytesMut};

use super::capability::Capabilities;
use super::cursor::{Cursor, put_nul_bytes};
use super::message::{self, parse_err};
use super::packet;
use super::verifier::Plugin;
use crate::error::WireError;

/// Twenty bytes that make each proof of a password good for one dialogue only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nonce([u8; NONCE]);

impl Nonce {
    /// A nonce to send, from twenty random bytes. Each becomes one of `0x21..=0x7E`, as MaxScale
    /// does it too: a NUL would end the nonce for most clients, and Connector/J mishandles some of
    /// the rest. The slight bias costs nothing, a nonce need only not repeat.
    pub fn from_random(random: [u8; NONCE]) -> Self {
        Nonce(random.map(|byte| 0x21 + byte % (0x7F - 0x21)))
    }

    /// A nonce that a server sent: twenty bytes, perhaps with a NUL behind them.
    pub fn received(bytes: &[u8]) -> Result<Self, WireError> {
        match bytes.split_first_chunk::<NONCE>() {
            Some((nonce, [] | [0])) => Ok(Nonce(*nonce)),
            _ => Err(WireError::Malformed {
                what: "nonce of the server",
            }),
        }
    }

    /// The twenty bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Which of the two servers it is: they differ in collations, extended capabilities and plugins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flavour {
    /// MySQL, or whatever does not say that it is MariaDB.
    MySql,
    /// MariaDB.
    MariaDb,
}

impl Flavour {
    /// What a version says, as it stands in a greeting: drivers read it so.
    pub fn of_version(version: &str) -> Flavour {
        if version.contains("MariaDB") || version.starts_with(REPLICATION_PREFIX) {
            Flavour::MariaDb
        } else {
            Flavour::MySql
        }
    }
}

/// What the greeting says, to a client or from a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting {
    /// The version as it stands on the wire. Clients choose their character set by it.
    pub version: String,
    /// The connection's id: what KILL names.
    pub connection_id: u32,
    /// What proofs are made for.
    pub nonce: Nonce,
    /// What the server can do.
    pub capabilities: Capabilities,
    /// The server's default collation, its low byte.
    pub charset: u8,
    /// Status flags.
    pub status: u16,
    /// The method the first proof is expected in, as named on the wire.
    pub plugin: String,
}

impl Greeting {
    /// Our greeting to a client: `caching_sha2_password`, the one first choice that all drivers get
    /// along with (those without it answer with a native token for the same nonce).
    ///
    /// `tls` says whether this listener has a certificate. `version` must not hold a NUL; that of a MariaDB before 11.0
    /// gets its prefix, without which MySQL's Connector/Python takes it for a MySQL 10, and asks for MySQL's collations.
    pub fn to_client(version: &str, connection_id: u32, nonce: Nonce, tls: bool) -> Self {
        let is_prefixed = version.starts_with("10.") && version.contains("MariaDB");
        let prefix = if is_prefixed { REPLICATION_PREFIX } else { "" };
        Greeting {
            version: format!("{prefix}{version}"),
            connection_id,
            nonce,
            capabilities: Capabilities::OFFERED.with_if(Capabilities::SSL, tls),
            charset: UTF8MB4_GENERAL_CI as u8,
            status: super::capability::status::AUTOCOMMIT,
            plugin: Plugin::CachingSha2.name().to_owned(),
        }
    }

    /// Appends the packet, with sequence id 0.
    pub fn put(&self, out: &mut BytesMut) {
        let mut payload = BytesMut::with_capacity(80 + self.version.len());
        payload.put_u8(PROTOCOL_VERSION);
        put_nul_bytes(&mut payload, self.version.as_bytes());
        payload.put_u32_le(self.connection_id);
        payload.put_slice(&self.nonce.0[..NONCE_PART_1]);
        payload.put_u8(0);
        payload.put_u16_le(self.capabilities.0 as u16);
        payload.put_u8(self.charset);
        payload.put_u16_le(self.status);
        payload.put_u16_le((self.capabilities.0 >> 16) as u16);
        payload.put_u8(NONCE as u8 + 1);
        payload.put_bytes(0, FILLER);
        payload.put_slice(&self.nonce.0[NONCE_PART_1..]);
        payload.put_u8(0);
        put_nul_bytes(&mut payload, self.plugin.as_bytes());
        packet::put(out, 0, &payload);
    }

    /// Reads a database's first packet. An ERR in its place is [`WireError::Refused`].
    pub fn parse(payload: &[u8]) -> Result<Self, WireError> {
        let mut cursor = Cursor::new(payload);
        match cursor.u8(WHAT)? {
            PROTOCOL_VERSION => {}
            message::ERR => return Err(WireError::Refused(parse_err(payload)?)),
            other => {
                let what = format!("protocol version {other} of the database");
                return Err(WireError::Unsupported { what });
            }
        }
        let version = String::from_utf8_lossy(cursor.nul_bytes("server version")?).into_owned();
        let connection_id = cursor.u32("connection id")?;
        let mut nonce = BytesMut::from(cursor.bytes(NONCE_PART_1, "nonce of the server")?);
        cursor.u8(WHAT)?;
        let low = cursor.u16("capabilities of the server")?;
        let charset = cursor.u8(WHAT)?;
        let status = cursor.u16(WHAT)?;
        let high = cursor.u16("capabilities of the server")?;
        let capabilities = Capabilities(u32::from(low) | u32::from(high) << 16);
        let nonce_length = usize::from(cursor.u8(WHAT)?);
        cursor.bytes(FILLER, WHAT)?;
        // The length counts both parts and a NUL; the second part takes 13 bytes even if less is said.
        let second = nonce_length.saturating_sub(NONCE_PART_1).max(13);
        nonce.put_slice(cursor.bytes(second, "nonce of the server")?);
        let plugin = if capabilities.has(Capabilities::PLUGIN_AUTH) {
            String::from_utf8_lossy(cursor.nul_or_end()).into_owned()
        } else {
            Plugin::Native.name().to_owned()
        };
        Ok(Greeting {
            version,
            connection_id,
            nonce: Nonce::received(&nonce)?,
            capabilities,
            charset,
            status,
            plugin,
        })
    }

    /// Which server this is.
    pub fn flavour(&self) -> Flavour {
        Flavour::of_version(&self.version)
    }

    /// The version without the prefix that MariaDB before 11.0 puts before it.
    pub fn server_version(&self) -> &str {
        self.version
            .strip_prefix(REPLICATION_PREFIX)
            .unwrap_or(&self.version)
    }
}

/// The collation to ask a server of this version for when the client asked for `charset`.
///
/// MySQL's UCA 9.0.0 collations do not exist at MariaDB, which silently takes latin1 for an id it
/// does not know, and looks at one byte of it; a client of utf8mb4 gets utf8mb4's general collation there
/// instead. The first of them newer ones do know (11.8.9 does).
pub fn charset_at(version: &str, charset: u16) -> u16 {
    match (Flavour::of_version(version), charset) {
        (Flavour::MariaDb, UTF8MB4_0900_AI_CI) if is_since_11_8(version) => charset,
        (Flavour::MariaDb, UTF8MB4_0900_AI_CI..=UTF8MB4_0900_LAST) => UTF8MB4_GENERAL_CI,
        _ => charset,
    }
}

/// Whether a MariaDB is that or newer.
fn is_since_11_8(version: &str) -> bool {
    let mut numbers = version.split(['.', '-']).map(str::parse::<u32>);
    matches!((numbers.next(), numbers.next()), (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= (11, 8))
}

/// Bytes of a nonce.
pub const NONCE: usize = 20;

const NONCE_PART_1: usize = 8;
const PROTOCOL_VERSION: u8 = 10;
/// Bytes that say nothing, from MySQL; in the last four MariaDB offers extensions, of which we take none.
const FILLER: usize = 10;
const REPLICATION_PREFIX: &str = "5.5.5-";
const UTF8MB4_GENERAL_CI: u16 = 45;
const UTF8MB4_0900_AI_CI: u16 = 255;
const UTF8MB4_0900_LAST: u16 = 323;
const WHAT: &str = "greeting of the database";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn ours() -> Greeting {
        let nonce = Nonce::from_random(std::array::from_fn(|i| i as u8 * 13));
        Greeting::to_client("8.0.36-DBBouncer", 0x8000_0007, nonce, false)
    }

    #[test]
    fn our_greeting_is_read_back_as_it_was_meant() {
        let mut out = BytesMut::new();
        ours().put(&mut out);
        assert_eq!(Greeting::parse(&out[4..]).unwrap(), ours());
        assert_eq!(ours().flavour(), Flavour::MySql);
    }

    #[test]
    fn drivers_can_tell_a_mariadb_of_before_11_by_its_prefix() {
        for (version, said) in [
            ("10.11.14-MariaDB", "5.5.5-10.11.14-MariaDB"),
            ("11.8.9-MariaDB", "11.8.9-MariaDB"),
            ("8.0.36-DBBouncer", "8.0.36-DBBouncer"),
            ("10.4.0", "10.4.0"),
            ("5.5.5-10.11.14-MariaDB", "5.5.5-10.11.14-MariaDB"),
        ] {
            let greeting = Greeting::to_client(version, 1, Nonce::from_random([0; NONCE]), false);
            assert_eq!(greeting.version, said);
        }
    }

    #[test]
    fn a_greeting_cut_anywhere_is_malformed_until_the_plugin_name() {
        let mut out = BytesMut::new();
        ours().put(&mut out);
        let payload = &out[4..];
        let plugin_at = payload.len() - "caching_sha2_password\0".len();
        for cut in 0..plugin_at {
            assert!(Greeting::parse(&payload[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn mariadb_10_11_greets_with_a_prefix_and_with_extensions_that_are_not_taken() {
        let mut greeting = ours();
        greeting.version = "5.5.5-10.11.19-MariaDB-0+deb12u1".to_owned();
        greeting.capabilities = Capabilities(0x81FF_F7FE);
        greeting.plugin = Plugin::Native.name().to_owned();
        let mut out = BytesMut::new();
        greeting.put(&mut out);
        let nonce_at = out.len() - "mysql_native_password\0".len() - (NONCE - NONCE_PART_1 + 1);
        out[nonce_at - 4] = 0x1D;
        let read = Greeting::parse(&out[4..]).unwrap();
        assert_eq!(read, greeting);
        assert_eq!(read.flavour(), Flavour::MariaDb);
        assert_eq!(read.server_version(), "10.11.19-MariaDB-0+deb12u1");
    }

    #[test]
    fn an_err_in_place_of_the_greeting_is_the_databases_refusal() {
        match Greeting::parse(b"\xFF\x10\x04Too many connections") {
            Err(WireError::Refused(refusal)) => assert_eq!(refusal.number, 1040),
            other => panic!("{other:?}"),
        }
        assert!(matches!(
            Greeting::parse(b"\x09x"),
            Err(WireError::Unsupported { .. })
        ));
    }

    #[test]
    fn nonces_are_printable_whatever_the_randomness() {
        for byte in 0..=255 {
            let nonce = Nonce::from_random([byte; NONCE]);
            assert!(nonce.as_bytes().iter().all(|b| (0x21..=0x7E).contains(b)));
        }
    }

    #[test]
    fn a_collation_mariadb_does_not_know_becomes_one_it_knows() {
        for (version, asked, expected) in [
            ("10.11.19-MariaDB-0+deb12u1", 255, 45),
            ("5.5.5-10.11.19-MariaDB", 255, 45),
            ("10.11.19-MariaDB", 33, 33),
            ("11.4.2-MariaDB", 255, 45),
            ("11.8.9-MariaDB-4 from Debian", 255, 255),
            ("11.8.9-MariaDB-4 from Debian", 303, 45),
            ("12.0.1-MariaDB", 255, 255),
            ("8.0.36", 255, 255),
            ("9.7.4", 303, 303),
        ] {
            assert_eq!(charset_at(version, asked), expected, "{version} {asked}");
        }
    }
}

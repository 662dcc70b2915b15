//! Capability flags: what client and server agree to speak.
//!
//! The relay passes bytes after the login, so a client and its backend must have agreed to the same
//! thing. We greet before the backend is known; hence we offer what *every* supported server carries
//! (MariaDB 10.11 and newer, MySQL 8 and 9), and log in at the backend with what the client took.

use std::fmt;
use std::ops::{BitAnd, BitOr};

/// A set of capability flags, as on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Capabilities(pub u32);

impl Capabilities {
    /// `CLIENT_LONG_PASSWORD`. MariaDB calls it `CLIENT_MYSQL` and, where it is clear, reads and
    /// writes extended capabilities in a filler.
    pub const LONG_PASSWORD: Self = Self(1);
    /// `CLIENT_FOUND_ROWS`: affected rows are the rows found, not the rows changed.
    pub const FOUND_ROWS: Self = Self(1 << 1);
    /// `CLIENT_LONG_FLAG`: column flags of two bytes.
    pub const LONG_FLAG: Self = Self(1 << 2);
    /// `CLIENT_CONNECT_WITH_DB`: the response names a database.
    pub const CONNECT_WITH_DB: Self = Self(1 << 3);
    /// `CLIENT_NO_SCHEMA`: `database.table.column` is not allowed.
    pub const NO_SCHEMA: Self = Self(1 << 4);
    /// `CLIENT_COMPRESS`: not offered, the relay would have to inflate to see headers.
    pub const COMPRESS: Self = Self(1 << 5);
    /// `CLIENT_ODBC`: no meaning since 3.22.
    pub const ODBC: Self = Self(1 << 6);
    /// `CLIENT_LOCAL_FILES`: the server may ask for a file of the client.
    pub const LOCAL_FILES: Self = Self(1 << 7);
    /// `CLIENT_IGNORE_SPACE`: a space may stand before the parenthesis of a function.
    pub const IGNORE_SPACE: Self = Self(1 << 8);
    /// `CLIENT_PROTOCOL_41`: the protocol since 4.1, the only one spoken here.
    pub const PROTOCOL_41: Self = Self(1 << 9);
    /// `CLIENT_INTERACTIVE`: `interactive_timeout` counts instead of `wait_timeout`.
    pub const INTERACTIVE: Self = Self(1 << 10);
    /// `CLIENT_SSL`: the client may ask for TLS before its response.
    pub const SSL: Self = Self(1 << 11);
    /// `CLIENT_IGNORE_SIGPIPE`: the client's own affair.
    pub const IGNORE_SIGPIPE: Self = Self(1 << 12);
    /// `CLIENT_TRANSACTIONS`: OK and EOF carry status flags.
    pub const TRANSACTIONS: Self = Self(1 << 13);
    /// `CLIENT_RESERVED`: no meaning.
    pub const RESERVED: Self = Self(1 << 14);
    /// `CLIENT_SECURE_CONNECTION` (`CLIENT_RESERVED2`): the auth response has a length.
    pub const SECURE_CONNECTION: Self = Self(1 << 15);
    /// `CLIENT_MULTI_STATEMENTS`: one query may hold several statements.
    pub const MULTI_STATEMENTS: Self = Self(1 << 16);
    /// `CLIENT_MULTI_RESULTS`: one query may have several results.
    pub const MULTI_RESULTS: Self = Self(1 << 17);
    /// `CLIENT_PS_MULTI_RESULTS`: so may an executed statement.
    pub const PS_MULTI_RESULTS: Self = Self(1 << 18);
    /// `CLIENT_PLUGIN_AUTH`: authentication methods have names and can be switched.
    pub const PLUGIN_AUTH: Self = Self(1 << 19);
    /// `CLIENT_CONNECT_ATTRS`: the response carries connection attributes.
    pub const CONNECT_ATTRS: Self = Self(1 << 20);
    /// `CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA`: the auth response may be longer than 255 bytes.
    pub const PLUGIN_AUTH_LENENC: Self = Self(1 << 21);
    /// `CLIENT_CAN_HANDLE_EXPIRED_PASSWORDS`: not offered. A tenant whose password at the database
    /// has expired must fail at the login, with the server's words, not at the first query.
    pub const CAN_HANDLE_EXPIRED_PASSWORDS: Self = Self(1 << 22);
    /// `CLIENT_SESSION_TRACK`: OK may carry what changed in the session.
    pub const SESSION_TRACK: Self = Self(1 << 23);
    /// `CLIENT_DEPRECATE_EOF`: result sets end with OK instead of EOF.
    pub const DEPRECATE_EOF: Self = Self(1 << 24);
    /// `CLIENT_OPTIONAL_RESULTSET_METADATA`: MySQL only, not offered.
    pub const OPTIONAL_RESULTSET_METADATA: Self = Self(1 << 25);
    /// `CLIENT_ZSTD_COMPRESSION_ALGORITHM`: MySQL only, not offered.
    pub const ZSTD_COMPRESSION: Self = Self(1 << 26);
    /// `CLIENT_QUERY_ATTRIBUTES`: MySQL only and it changes the layout of COM_QUERY, not offered.
    pub const QUERY_ATTRIBUTES: Self = Self(1 << 27);

    /// What a client is offered in session mode. TLS is added by the listener that has a certificate.
    pub const OFFERED: Self = Self(
        Self::LONG_PASSWORD.0
            | Self::FOUND_ROWS.0
            | Self::LONG_FLAG.0
            | Self::CONNECT_WITH_DB.0
            | Self::NO_SCHEMA.0
            | Self::ODBC.0
            | Self::LOCAL_FILES.0
            | Self::IGNORE_SPACE.0
            | Self::PROTOCOL_41.0
            | Self::INTERACTIVE.0
            | Self::IGNORE_SIGPIPE.0
            | Self::TRANSACTIONS.0
            | Self::RESERVED.0
            | Self::SECURE_CONNECTION.0
            | Self::MULTI_STATEMENTS.0
            | Self::MULTI_RESULTS.0
            | Self::PS_MULTI_RESULTS.0
            | Self::PLUGIN_AUTH.0
            | Self::CONNECT_ATTRS.0
            | Self::PLUGIN_AUTH_LENENC.0
            | Self::SESSION_TRACK.0
            | Self::DEPRECATE_EOF.0,
    );

    /// Flags that say how the login itself is written. Each side of us sets its own.
    pub const LOGIN_ONLY: Self = Self(
        Self::CONNECT_WITH_DB.0
            | Self::SSL.0
            | Self::SECURE_CONNECTION.0
            | Self::PLUGIN_AUTH.0
            | Self::CONNECT_ATTRS.0
            | Self::PLUGIN_AUTH_LENENC.0,
    );

    /// Flags that change the bytes of what a server answers: a backend without one of those that
    /// its client has would be misread, and is refused.
    pub const ANSWER_LAYOUT: Self = Self(
        Self::PROTOCOL_41.0
            | Self::TRANSACTIONS.0
            | Self::MULTI_RESULTS.0
            | Self::PS_MULTI_RESULTS.0
            | Self::SESSION_TRACK.0
            | Self::DEPRECATE_EOF.0,
    );

    /// Whether every flag of `other` is set.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The set without the flags of `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The set with the flags of `other` if `wanted`, else without them.
    #[must_use]
    pub const fn with_if(self, other: Self, wanted: bool) -> Self {
        if wanted {
            Self(self.0 | other.0)
        } else {
            self.without(other)
        }
    }

    /// The flags that matter after the login: what a client's session and a backend must share.
    #[must_use]
    pub const fn of_session(self) -> Self {
        self.without(Self::LOGIN_ONLY)
    }
}

impl BitOr for Capabilities {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitAnd for Capabilities {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl fmt::Debug for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Capabilities({:#010x})", self.0)
    }
}

/// Status flags of OK and EOF.
pub mod status {
    /// A transaction is open.
    pub const IN_TRANS: u16 = 0x0001;
    /// Each statement commits itself.
    pub const AUTOCOMMIT: u16 = 0x0002;
    /// Another result follows.
    pub const MORE_RESULTS: u16 = 0x0008;
    /// The rows of this statement are fetched through a cursor, and there may be more.
    pub const CURSOR_EXISTS: u16 = 0x0040;
    /// The cursor has been read to its end.
    pub const LAST_ROW_SENT: u16 = 0x0080;
    /// The result is what a procedure has put into its parameters.
    pub const PS_OUT_PARAMS: u16 = 0x1000;
    /// Behind the status flags stands what changed in the session.
    pub const SESSION_STATE_CHANGED: u16 = 0x4000;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the servers we support say in their greetings (10.11.14; 8.0.36).
    const MARIADB_10_11: Capabilities = Capabilities(0x81FF_F7FE);
    const MYSQL_8_0: Capabilities = Capabilities(0xDFFF_FFFF);

    #[test]
    fn nothing_is_offered_that_a_supported_server_lacks() {
        assert!(MYSQL_8_0.has(Capabilities::OFFERED));
        // MariaDB clears bit 0 to say that it is MariaDB, and takes it from clients all the same.
        assert!(MARIADB_10_11.has(Capabilities::OFFERED.without(Capabilities::LONG_PASSWORD)));
    }

    #[test]
    fn nothing_is_offered_that_a_raw_relay_cannot_carry() {
        for never in [
            Capabilities::COMPRESS,
            Capabilities::ZSTD_COMPRESSION,
            Capabilities::QUERY_ATTRIBUTES,
            Capabilities::OPTIONAL_RESULTSET_METADATA,
            Capabilities::SSL,
        ] {
            assert_eq!(Capabilities::OFFERED & never, Capabilities(0), "{never:?}");
        }
    }
}

//! What can go wrong on the wire, named by whose fault it is.
//!
//! Wire errors know no I/O: a connection that breaks is the business of whoever holds the socket.

/// The peer of a dialogue did something that ends it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The peer's bytes cannot be a message of the protocol.
    #[error("malformed {what}")]
    Malformed {
        /// The message or field, in the protocol's own words.
        what: &'static str,
    },
    /// A well-formed message that is not allowed now.
    #[error("expected {expected}, got {got}")]
    Unexpected {
        /// What would have been right.
        expected: &'static str,
        /// What came.
        got: String,
    },
    /// A message beyond the limit for this moment; nothing of that size was allocated.
    #[error("{what} exceeds the limit of {limit} bytes")]
    TooLarge {
        /// The message or field.
        what: &'static str,
        /// The limit in bytes.
        limit: usize,
    },
    /// The peer asks for something legitimate that is not spoken here.
    #[error("{what} is not supported")]
    Unsupported {
        /// What was asked for.
        what: String,
    },
    /// The first bytes belong to another protocol; the text says which, as far as can be told.
    #[error("{found} where the {expected} protocol was expected")]
    WrongProtocol {
        /// The protocol of this port.
        expected: &'static str,
        /// What the bytes look like.
        found: &'static str,
    },
    /// The client did not prove that it knows the secret (or is nobody we know; by design the two
    /// cannot be told apart).
    #[error("authentication failed")]
    BadCredentials,
    /// The database refused us, in its own words.
    #[error("the database refused: {0}")]
    Refused(Refusal),
}

/// An error that a database sent instead of what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Five characters, from the standard's table; `HY000` where the server named none.
    pub sqlstate: String,
    /// MySQL's error number; 0 for PostgreSQL.
    pub number: u16,
    /// The server's primary message, cut to a bounded length.
    pub message: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.number != 0 {
            write!(f, "{} ({}, {})", self.message, self.number, self.sqlstate)
        } else {
            write!(f, "{} ({})", self.message, self.sqlstate)
        }
    }
}

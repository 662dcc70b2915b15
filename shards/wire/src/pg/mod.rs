//! The PostgreSQL protocol, version 3: its messages, and those of its dialogues that have an end.
//!
//! It knows both ends. As a server it reads a client's first bytes ([`preface`]), finds out which
//! tenant is meant ([`tenant`]) and authenticates the client ([`greet`]); as a client it logs in to
//! a database ([`login`]). Between the two it follows message boundaries ([`walker`]). It knows no
//! socket, no clock and no pool, and of SQL what [`pooling`] needs; nonces and salts are arguments.
//!
//! Facts about PostgreSQL's own behaviour were checked against PostgreSQL 15.

pub mod backend;
pub mod cancel;
pub mod error_response;
mod foreign;
pub mod frame;
pub mod frontend;
pub mod greet;
pub mod login;
pub mod lookup;
pub mod md5;
pub mod options;
pub mod parameters;
pub mod passthrough;
pub mod ping;
pub mod pooling;
pub mod preface;
pub mod replication;
pub mod scram;
pub mod sqlstate;
pub mod startup;
pub mod stored;
pub mod tenant;
pub mod tls_request;
pub mod walker;

pub use cancel::CancelKey;
pub use error_response::ErrorResponse;
pub use greet::{Challenge, Greet};
pub use login::{LoggedIn, Login, LoginRequest};
pub use lookup::{Found, Lookup};
pub use parameters::Parameters;
pub use ping::Ping;
pub use preface::{Preface, PrefaceReader, TlsOffer};
pub use replication::Replication;
pub use startup::{ProtocolVersion, StartupMessage};
pub use stored::{MockKey, Stored};
pub use tenant::{NamedStartup, NamingError, name_tenant, name_tenant_at};
pub use tls_request::{TlsAnswer, TlsRequest};
pub use walker::{Passed, Sender, Walker};

/// Where a session stands, as ReadyForQuery says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TransactionStatus {
    /// `I`: not in a transaction block.
    Idle,
    /// `T`: in a transaction block.
    InBlock,
    /// `E`: in a failed transaction block; only its end is accepted.
    Failed,
}

impl TransactionStatus {
    /// The status that a byte stands for, if it stands for one.
    pub fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            b'I' => Some(TransactionStatus::Idle),
            b'T' => Some(TransactionStatus::InBlock),
            b'E' => Some(TransactionStatus::Failed),
            _ => None,
        }
    }

    /// The byte that stands for this status.
    pub fn as_byte(self) -> u8 {
        match self {
            TransactionStatus::Idle => b'I',
            TransactionStatus::InBlock => b'T',
            TransactionStatus::Failed => b'E',
        }
    }
}

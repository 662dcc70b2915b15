//! TLS as bytes in and bytes out: what each side shows, what it asks to see, and the session.
//!
//! Knows certificates and rustls, neither sockets nor who speaks inside. A session is a value: it is
//! fed what arrived and tells what must be sent, so it can move between threads with its socket.

mod certificate;
mod clients;
mod database;
mod fingerprint;
mod identity;
mod resumption;
mod session;
mod verify;

use std::sync::{Arc, OnceLock};

use rustls::crypto::{CryptoProvider, aws_lc_rs};

pub use self::certificate::{Certificate, end_point};
pub use self::clients::{ClientsTls, ClientsTlsText, Mode};
pub use self::database::{DatabaseTls, DatabaseTlsText, Negotiation, Roots, SslMode};
pub use self::identity::IdentityText;
pub use self::resumption::Offer;
pub use self::session::{Session, TlsError};

/// The cryptography of every session.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(aws_lc_rs::default_provider())))
}

/// The name of PostgreSQL's protocol in ALPN, since version 17.
pub const ALPN_POSTGRESQL: &[u8] = b"postgresql";

#[cfg(test)]
mod tests;

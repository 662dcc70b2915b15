//! SCRAM-SHA-256 (RFC 5802, RFC 7677) as PostgreSQL speaks it, both sides.
//!
//! ```text
//! client-first   n,,n=,r=CLIENTNONCE               ──▶
//!                                                  ◀── r=CLIENTNONCE+SERVERNONCE,s=SALT,i=ROUNDS   server-first
//! client-final   c=biws,r=BOTHNONCES,p=PROOF       ──▶
//!                                                  ◀── v=SIGNATURE                                 server-final
//! ```
//!
//! Each side is a chain of values: a message consumes the one and gives the next, so none can be
//! said twice. The user name inside is ignored, as by PostgreSQL: StartupMessage has said it.

mod client;
mod message;
mod server;
mod verifier;

pub use client::ClientKeys;
pub(crate) use client::{Client, ClientChallenged, ClientResponded};
pub(crate) use server::ServerChallenged;
pub use server::{ChannelBinding, ScramServer};
pub use verifier::Verifier;

use std::num::NonZeroU32;

use aws_lc_rs::{digest, hmac, pbkdf2};
use zeroize::Zeroizing;

/// A SHA-256, or an HMAC with it.
pub(crate) type Key = [u8; 32];

/// Random bytes for a nonce; as many as PostgreSQL takes.
pub type Nonce = [u8; 18];

/// PBKDF2 over the password: the costly step. The password is prepared by SASLprep; one that
/// SASLprep forbids is taken as it is, as PostgreSQL does.
pub(crate) fn salted_password(
    password: &str,
    salt: &[u8],
    iterations: Iterations,
) -> Zeroizing<Key> {
    let prepared = stringprep::saslprep(password);
    let password = prepared.as_deref().unwrap_or(password);
    let mut salted = Zeroizing::new([0; 32]);
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA256,
        iterations.0,
        salt,
        password.as_bytes(),
        &mut salted[..],
    );
    salted
}

/// How often PBKDF2 goes round: 1 to [`ITERATIONS_LIMIT`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Iterations(NonZeroU32);

impl Iterations {
    pub(crate) const DEFAULT: Iterations =
        Iterations(NonZeroU32::MIN.saturating_add(DEFAULT_ITERATIONS - 1));

    pub(crate) fn new(iterations: u32) -> Option<Self> {
        NonZeroU32::new(iterations)
            .filter(|iterations| iterations.get() <= ITERATIONS_LIMIT)
            .map(Iterations)
    }

    /// Reads decimal digits and nothing else.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        is_number
            .then(|| text.parse().ok())
            .flatten()
            .and_then(Self::new)
    }
}

impl std::fmt::Display for Iterations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

pub(crate) fn hmac_sha256(key: &[u8], data: &[u8]) -> Key {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data);
    let mut key = [0; 32];
    key.copy_from_slice(tag.as_ref());
    key
}

pub(crate) fn sha256(data: &[u8]) -> Key {
    let mut key = [0; 32];
    key.copy_from_slice(digest::digest(&digest::SHA256, data).as_ref());
    key
}

/// `a XOR b`: how a proof hides the client key.
pub(crate) fn xor(a: &Key, b: &Key) -> Zeroizing<Key> {
    Zeroizing::new(std::array::from_fn(|at| a[at] ^ b[at]))
}

/// The name of the mechanism.
pub(crate) const SCRAM_SHA_256: &str = "SCRAM-SHA-256";

/// The name of the mechanism when it is bound to the TLS channel.
pub(crate) const SCRAM_SHA_256_PLUS: &str = "SCRAM-SHA-256-PLUS";

/// PostgreSQL's own number of iterations.
pub const DEFAULT_ITERATIONS: u32 = 4096;

/// Most iterations that are computed for anybody: about a quarter of a second. A database that
/// asks for more would keep our threads busy.
pub const ITERATIONS_LIMIT: u32 = 1_000_000;

/// Largest SASL message, in bytes. Those of PostgreSQL have about a hundred.
pub const SASL_MESSAGE_LIMIT: usize = 4096;

#[cfg(test)]
mod tests;

//! What a server stores to recognise a user by: RFC 5803 in PostgreSQL's form.

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{
    Iterations, Key, SCRAM_SHA_256, hmac_sha256,
    message::{decode, decode_key, encode},
    salted_password, sha256,
};
use crate::error::WireError;

/// A stored verifier. With it a client can be recognised and a server can be impersonated, but
/// nobody can log in.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    pub(super) iterations: Iterations,
    pub(super) salt: Vec<u8>,
    pub(super) stored_key: Zeroizing<Key>,
    pub(super) server_key: Zeroizing<Key>,
}

impl Verifier {
    /// Makes one from a password. Takes as long as `iterations` says: a millisecond or so for
    /// [`DEFAULT_ITERATIONS`](super::DEFAULT_ITERATIONS); do it off the executor's thread, once.
    pub fn derive(password: &str, salt: &[u8], iterations: u32) -> Result<Self, WireError> {
        let iterations = Iterations::new(iterations).ok_or(WireError::Malformed {
            what: "iteration count of a SCRAM verifier",
        })?;
        let salted = salted_password(password, salt, iterations);
        Ok(Verifier {
            iterations,
            salt: salt.to_vec(),
            stored_key: Zeroizing::new(stored_key(&salted[..])),
            server_key: Zeroizing::new(hmac_sha256(&salted[..], b"Server Key")),
        })
    }

    /// Wraps keys that nobody made of a password: a verifier that accepts nobody.
    pub(crate) fn unmatched(salt: &[u8], stored_key: Key, server_key: Key) -> Self {
        Verifier {
            iterations: Iterations::DEFAULT,
            salt: salt.to_vec(),
            stored_key: Zeroizing::new(stored_key),
            server_key: Zeroizing::new(server_key),
        }
    }

    /// Reads it as `pg_authid` holds it: `SCRAM-SHA-256$iterations:salt$stored key:server key`.
    pub fn parse(text: &str) -> Option<Self> {
        let (mechanism, rest) = text.split_once('$')?;
        let (cost, keys) = rest.split_once('$')?;
        let (iterations, salt) = cost.split_once(':')?;
        let (stored_key, server_key) = keys.split_once(':')?;
        if mechanism != SCRAM_SHA_256 {
            return None;
        }
        Some(Verifier {
            iterations: Iterations::parse(iterations)?,
            salt: decode(salt)?,
            stored_key: Zeroizing::new(decode_key(stored_key)?),
            server_key: Zeroizing::new(decode_key(server_key)?),
        })
    }

    /// Writes it as [`Verifier::parse`] reads it. It is a secret.
    pub fn to_text(&self) -> String {
        format!(
            "{SCRAM_SHA_256}${}:{}${}:{}",
            self.iterations,
            encode(&self.salt),
            encode(&self.stored_key[..]),
            encode(&self.server_key[..])
        )
    }

    /// The costly half of checking a password said in clear.
    pub(crate) fn salt_password(&self, password: &str) -> Vec<u8> {
        salted_password(password, &self.salt, self.iterations).to_vec()
    }

    /// The other half.
    pub(crate) fn accepts_salted(&self, salted: &[u8]) -> bool {
        stored_key(salted)[..].ct_eq(&self.stored_key[..]).into()
    }
}

fn stored_key(salted: &[u8]) -> Key {
    sha256(&Zeroizing::new(hmac_sha256(salted, b"Client Key"))[..])
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Verifier(..)")
    }
}

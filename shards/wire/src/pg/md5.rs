//! md5 authentication: an old method, kept for old drivers and old databases.
//!
//! What is stored is md5(password + user); what is sent is md5(that, in hex + salt).

use md5::{Digest, Md5};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// md5 of a password and the user it belongs to. It is as good as the password itself.
#[derive(Clone)]
pub struct Md5Hash(Zeroizing<[u8; 32]>);

impl Md5Hash {
    /// Makes it from a password.
    pub fn of(password: &str, user: &str) -> Self {
        Md5Hash(Zeroizing::new(hex_md5(&[
            password.as_bytes(),
            user.as_bytes(),
        ])))
    }

    /// Reads it as `pg_authid` holds it: `md5` and 32 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let digits: [u8; 32] = text.strip_prefix(PREFIX)?.as_bytes().try_into().ok()?;
        let is_hex = digits
            .iter()
            .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        is_hex.then(|| Md5Hash(Zeroizing::new(digits)))
    }

    /// Wraps 16 bytes that nobody made of a password.
    pub(crate) fn from_bytes(bytes: [u8; 16]) -> Self {
        Md5Hash(Zeroizing::new(hex(&bytes)))
    }

    /// What a client answers to an AuthenticationMD5Password with this salt.
    pub(crate) fn response(&self, salt: [u8; 4]) -> [u8; 35] {
        let mut response = [0; 35];
        response[..3].copy_from_slice(PREFIX.as_bytes());
        response[3..].copy_from_slice(&hex_md5(&[&self.0[..], &salt]));
        response
    }

    /// Whether a client's answer is right; takes the same time wherever it is wrong.
    pub(crate) fn accepts(&self, salt: [u8; 4], answer: &[u8]) -> bool {
        self.response(salt)[..].ct_eq(answer).into()
    }
}

impl PartialEq for Md5Hash {
    fn eq(&self, other: &Self) -> bool {
        self.0[..].ct_eq(&other.0[..]).into()
    }
}

impl Eq for Md5Hash {}

impl std::fmt::Debug for Md5Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Md5Hash(..)")
    }
}

fn hex_md5(parts: &[&[u8]]) -> [u8; 32] {
    let mut digest = Md5::new();
    for part in parts {
        digest.update(part);
    }
    hex(&digest.finalize().into())
}

fn hex(bytes: &[u8; 16]) -> [u8; 32] {
    let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble)];
    std::array::from_fn(|at| {
        let byte = bytes[at / 2];
        digit(if at % 2 == 0 { byte >> 4 } else { byte & 15 })
    })
}

const PREFIX: &str = "md5";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_hash_is_the_one_that_postgresql_stores() {
        // CREATE ROLE md5u PASSWORD 'secret' with password_encryption = md5.
        let stored = Md5Hash::parse("md5ad16ab8cb9f9946be08171afa599199d").unwrap();
        assert_eq!(Md5Hash::of("secret", "md5u"), stored);
        for bad in [
            "",
            "md5",
            "md5AD16ab8cb9f9946be08171afa599199d",
            "ad16ab8cb9f9946be08171afa599199d",
        ] {
            assert_eq!(Md5Hash::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_response_depends_on_the_salt() {
        // A salt of PostgreSQL 15, and the answer that it accepted.
        let hash = Md5Hash::of("secret", "md5u");
        let salt = [0x99, 0xdf, 0xfb, 0xb3];
        let response = hash.response(salt);
        assert_eq!(&response[..], b"md52a9bde6ba2d5ab524cc6a680eb4310eb");
        assert!(hash.accepts(salt, &response));
        assert!(!hash.accepts([0; 4], &response));
        assert!(!hash.accepts(salt, &response[..34]));
    }
}

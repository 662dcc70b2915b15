//! What is stored to recognise a client by, and what stands in its place for clients nobody knows.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use super::{
    md5::Md5Hash,
    scram::{Verifier, hmac_sha256},
};
use crate::secret::Secret;

/// A password or what was made of one, in the forms that `pg_authid` knows.
#[derive(Debug, Clone)]
pub enum Stored {
    /// The password itself.
    Plain(Secret),
    /// `md5…`, which only says something together with the user it was made for.
    Md5 {
        /// The hash.
        hash: Md5Hash,
        /// The user's name inside the hash.
        user: String,
    },
    /// `SCRAM-SHA-256$…`
    Scram(Verifier),
}

impl Stored {
    /// Reads a user's secret as PostgreSQL's `get_password_type` does: what has the form of a hash
    /// or a verifier is one, all else is a password.
    pub fn parse(text: &str, user: &str) -> Self {
        if let Some(hash) = Md5Hash::parse(text) {
            Stored::Md5 {
                hash,
                user: user.to_owned(),
            }
        } else if let Some(verifier) = Verifier::parse(text) {
            Stored::Scram(verifier)
        } else {
            Stored::Plain(Secret::new(text))
        }
    }
}

/// A random key of this process, from which come the secrets of users that do not exist.
///
/// Such a secret is always the same for the same name, so that asking twice gives nothing away,
/// and the login goes the same way as one with a wrong password. Where all users of a tenant share
/// one password, and so one salt, leave the user empty.
#[derive(Clone)]
pub struct MockKey(Zeroizing<[u8; 32]>);

impl MockKey {
    /// Takes 32 random bytes. All shards must have the same ones.
    pub fn new(random: [u8; 32]) -> Self {
        MockKey(Zeroizing::new(random))
    }

    /// The salt for this name. Salting the passwords of real users with it as well makes them
    /// look like the others.
    pub fn salt(&self, tenant: &str, user: &str) -> [u8; 16] {
        self.bytes("salt", tenant, user)
    }

    /// A verifier that accepts nobody.
    pub fn verifier(&self, tenant: &str, user: &str) -> Verifier {
        let key = |label| self.key(label, tenant, user);
        Verifier::unmatched(
            &self.salt(tenant, user),
            key("stored key"),
            key("server key"),
        )
    }

    /// A hash that accepts nobody.
    pub fn md5(&self, tenant: &str, user: &str) -> Md5Hash {
        Md5Hash::from_bytes(self.bytes("md5", tenant, user))
    }

    /// A password that nobody knows.
    pub fn password(&self, tenant: &str, user: &str) -> Secret {
        Secret::new(STANDARD.encode(self.key("password", tenant, user)))
    }

    fn bytes(&self, label: &str, tenant: &str, user: &str) -> [u8; 16] {
        let key = self.key(label, tenant, user);
        std::array::from_fn(|at| key[at])
    }

    /// Neither a tenant nor a user has a NUL in its name.
    fn key(&self, label: &str, tenant: &str, user: &str) -> [u8; 32] {
        hmac_sha256(&self.0[..], format!("{label}\0{tenant}\0{user}").as_bytes())
    }
}

impl fmt::Debug for MockKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MockKey(..)")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// From a PostgreSQL 15: `CREATE ROLE scramu PASSWORD 'secret'`.
    const VERIFIER: &str = "SCRAM-SHA-256$4096:s6pcpOrqMWGqBVwoJNe/bg==$UrGVgYZEcvN2VQYDGTYXjLoxxsVkOVSyS\
                            EO1Px1/eBY=:4gWQf+4Bl5fsC559iP5/Y/CKQUhQJZGNSEDUMWdZN6U=";

    #[test]
    fn the_form_of_a_secret_says_what_it_is() {
        assert!(matches!(Stored::parse(VERIFIER, "u"), Stored::Scram(_)));
        let md5 = "md5ad16ab8cb9f9946be08171afa599199d";
        assert!(matches!(Stored::parse(md5, "u"), Stored::Md5 { .. }));
        for plain in [
            "",
            "md5x",
            "SCRAM-SHA-256$4096:x",
            &VERIFIER[..VERIFIER.len() - 1],
        ] {
            assert!(
                matches!(Stored::parse(plain, "u"), Stored::Plain(_)),
                "{plain}"
            );
        }
    }

    #[test]
    fn a_verifier_of_postgresql_accepts_its_password() {
        let verifier = Verifier::parse(VERIFIER).unwrap();
        assert_eq!(verifier.to_text(), VERIFIER);
        assert!(verifier.accepts_salted(&verifier.salt_password("secret")));
        assert!(!verifier.accepts_salted(&verifier.salt_password("Secret")));
    }

    #[test]
    fn mock_secrets_are_stable_and_differ_by_name_and_key() {
        let key = MockKey::new([1; 32]);
        assert_eq!(key.verifier("t", "u"), key.verifier("t", "u"));
        assert_ne!(key.verifier("t", "u"), key.verifier("t", "v"));
        assert_ne!(key.salt("t", "u"), MockKey::new([2; 32]).salt("t", "u"));
        assert_ne!(key.md5("t", "u"), key.md5("s", "u"));
        assert_eq!(key.password("t", "u"), key.password("t", "u"));
    }
}

//! MariaDB's `parsec` (since 11.6): as [`super::ed25519`], with a salt, a slow hash, and something to sign of either side's.
//!
//! ```text
//!   database                                  us
//!   AuthSwitchRequest, 32 bytes     ─────▶
//!                                   ◀─────    nothing: asks for the salt
//!   AuthMoreData 'P', rounds, salt  ─────▶
//!                                   ◀─────    32 bytes of ours, the signature of the two scrambles
//! ```
//!
//! The signature is the Ed25519 of RFC 8032, its seed PBKDF2 (RFC 8018) of the password by HMAC with SHA-512. From MariaDB's
//! documentation, "Authentication Plugin - PARSEC"; where it leaves the layout open, as MariaDB 11.8 has it.

use std::num::NonZeroU32;

use aws_lc_rs::pbkdf2::{self, PBKDF2_HMAC_SHA512};
use aws_lc_rs::signature::Ed25519KeyPair;
use zeroize::Zeroizing;

use super::ed25519::{SCRAMBLE, SIGNATURE};
use crate::exchange::Derivation;
use crate::secret::Secret;

/// How the password becomes a seed ("ext-salt").
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Salt {
    rounds: NonZeroU32,
    salt: Vec<u8>,
}

impl Salt {
    /// From what AuthMoreData holds: `P` for PBKDF2, how often 1024 rounds are doubled, and the salt. None where it is nothing of the
    /// kind, or wants more than [`MOST_DOUBLED`].
    pub(super) fn parse(held: &[u8]) -> Option<Salt> {
        match held {
            [PBKDF2, doubled @ ..=MOST_DOUBLED, salt @ ..] if !salt.is_empty() => Some(Salt {
                rounds: NonZeroU32::new(FEWEST_ROUNDS << doubled)?,
                salt: salt.to_vec(),
            }),
            _ => None,
        }
    }

    /// The answer to `theirs`, the server's scramble; `ours` must be unpredictable. Empty if the library cannot sign at all.
    pub(super) fn answer(
        self,
        password: Secret,
        theirs: [u8; SCRAMBLE],
        ours: [u8; SCRAMBLE],
    ) -> Derivation {
        Derivation::new(move || {
            let mut seed = Zeroizing::new([0; 32]);
            let password = password.expose().as_bytes();
            pbkdf2::derive(
                PBKDF2_HMAC_SHA512,
                self.rounds,
                &self.salt,
                password,
                &mut *seed,
            );
            let mut answer = Vec::with_capacity(SCRAMBLE + SIGNATURE);
            if let Ok(key) = Ed25519KeyPair::from_seed_unchecked(&*seed) {
                answer.extend_from_slice(&ours);
                answer.extend_from_slice(key.sign(&[theirs, ours].concat()).as_ref());
            }
            answer
        })
    }
}

/// What an ext-salt begins with, for the only hash there is.
pub(super) const PBKDF2: u8 = b'P';
const FEWEST_ROUNDS: u32 = 1024;

/// 8,192 rounds, the most that MariaDB's own connectors take. The threads that do it are shared by all tenants, so a database must not
/// keep one for long.
const MOST_DOUBLED: u8 = 3;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD_NO_PAD;

    use super::*;

    fn salt(doubled: u8) -> Vec<u8> {
        let salt = STANDARD_NO_PAD.decode("i86eQiH1Y3DbiZR4iOl2s5cO").unwrap();
        [&[b'P', doubled][..], &salt].concat()
    }

    /// What MariaDB 11.8 has put into `mysql.user` for the password `secret`.
    #[test]
    fn what_is_signed_is_believed_by_who_has_the_key_that_mariadb_keeps() {
        let kept = STANDARD_NO_PAD.decode("ekOdtrTHspWzZQwMBbJKObueoI1WiuOav6ocmGVa35w");
        let key = UnparsedPublicKey::new(&ED25519, kept.unwrap());
        let (theirs, ours) = ([1; SCRAMBLE], [2; SCRAMBLE]);
        for (password, doubled, is_right) in [
            ("secret", 0, true),
            ("Secret", 0, false),
            ("secret", 1, false),
        ] {
            let parsed = Salt::parse(&salt(doubled)).unwrap();
            let answer = parsed.answer(Secret::new(password), theirs, ours).run().0;
            assert_eq!(answer[..SCRAMBLE], ours);
            let signed = [theirs, ours].concat();
            let verified = key.verify(&signed, &answer[SCRAMBLE..]);
            assert_eq!(verified.is_ok(), is_right, "{password} {doubled}");
        }
    }

    #[test]
    fn what_is_no_salt_or_wants_too_much_is_refused() {
        assert_eq!(Salt::parse(&salt(2)).unwrap().rounds.get(), 4096);
        assert!(Salt::parse(&salt(MOST_DOUBLED)).is_some());
        for bad in [&salt(MOST_DOUBLED + 1)[..], b"", b"P", b"P\0", b"Q\0salt"] {
            assert_eq!(Salt::parse(bad), None, "{bad:?}");
        }
    }
}

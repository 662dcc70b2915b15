//! MariaDB's `ed25519`, which clients call `client_ed25519`: a server keeps a public key, and its client signs what the
//! server says.
//!
//! It is the Ed25519 of RFC 8032 save for the first step: the secret scalar and the prefix are hashed from the password as
//! it is, and not from a seed of 32 bytes. Libraries that sign want the seed; hence the steps of RFC 8032, 5.1.6, here, on
//! top of a library's curve. MariaDB's documentation tells of it under "Authentication Plugin - ed25519"; the keys of the tests
//! are what MariaDB 11.8 has put into `mysql.user`.

use aws_lc_rs::digest::{Context, SHA512};
use curve25519_dalek::scalar::clamp_integer;
use curve25519_dalek::{EdwardsPoint, Scalar};
use zeroize::Zeroizing;

/// Bytes that a server sends to be signed: for `ed25519`, and for [`super::parsec`].
pub(super) const SCRAMBLE: usize = 32;

/// Bytes of a signature.
pub(super) const SIGNATURE: usize = 64;

/// Proves `password` to the server that sent `scramble`. Takes some 50 microseconds.
pub(super) fn sign(password: &[u8], scramble: &[u8; SCRAMBLE]) -> [u8; SIGNATURE] {
    let hashed = sha512(&[password]);
    let (secret, prefix) = secret_of(&hashed);
    let public = EdwardsPoint::mul_base(&secret).compress();
    let once = wide(&[prefix, scramble]);
    let commitment = EdwardsPoint::mul_base(&once).compress();
    let challenge = wide(&[commitment.as_bytes(), public.as_bytes(), scramble]);
    let proof = *challenge * *secret + *once;
    let mut signature = [0; SIGNATURE];
    let (first, second) = signature.split_at_mut(SIGNATURE / 2);
    first.copy_from_slice(commitment.as_bytes());
    second.copy_from_slice(proof.as_bytes());
    signature
}

/// The secret scalar, and the prefix of what the signature's own scalar is hashed from.
fn secret_of(hashed: &[u8; 64]) -> (Zeroizing<Scalar>, &[u8]) {
    let (scalar, prefix) = hashed.split_at(32);
    let mut clamped = Zeroizing::new([0; 32]);
    clamped.copy_from_slice(scalar);
    *clamped = clamp_integer(*clamped);
    let secret = Scalar::from_bytes_mod_order(*clamped);
    (Zeroizing::new(secret), prefix)
}

fn wide(parts: &[&[u8]]) -> Zeroizing<Scalar> {
    Zeroizing::new(Scalar::from_bytes_mod_order_wide(&sha512(parts)))
}

fn sha512(parts: &[&[u8]]) -> Zeroizing<[u8; 64]> {
    let mut context = Context::new(&SHA512);
    for part in parts {
        context.update(part);
    }
    let mut hash = Zeroizing::new([0; 64]);
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD_NO_PAD;

    use super::*;

    /// By a library's Ed25519, whose verifying is the usual one.
    #[test]
    fn what_is_signed_is_believed_by_who_has_the_key_that_mariadb_keeps() {
        for (password, kept) in [
            ("secret", "ZIgUREUg5PVgQ6LskhXmO+eZLS0nC8be6HPjYWR4YJY"),
            ("foo bar", "Y5fV74JAVRMOK2cdnUsYS+WW9sXaaL/o+6WGKOgqnzc"),
        ] {
            let key = UnparsedPublicKey::new(&ED25519, STANDARD_NO_PAD.decode(kept).unwrap());
            for scramble in [[0; SCRAMBLE], [0xA5; SCRAMBLE]] {
                let signature = sign(password.as_bytes(), &scramble);
                key.verify(&scramble, &signature).unwrap();
                assert!(key.verify(&[7; SCRAMBLE], &signature).is_err());
                let other = sign(b"Foo", &scramble);
                assert!(key.verify(&scramble, &other).is_err());
            }
        }
    }
}

//! A password under a server's RSA key: what `caching_sha2_password` and `sha256_password` ask for
//! where there is no TLS.
//!
//! The key comes over the same connection, so this keeps the password from who listens, not from
//! who stands in the middle; only TLS does that.

use aws_lc_rs::rsa::{OAEP_SHA1_MGF1SHA1, OaepPublicEncryptingKey, PublicEncryptingKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::greeting::Nonce;
use crate::error::WireError;

/// Encrypts `password` and its NUL, masked by the nonce, for the key in `pem`
/// (`SubjectPublicKeyInfo`), by OAEP with SHA-1.
pub(super) fn seal(password: &[u8], nonce: &Nonce, pem: &[u8]) -> Result<Vec<u8>, WireError> {
    const KEY: WireError = WireError::Malformed {
        what: "RSA key of the database",
    };
    let der = decode_pem(pem).ok_or(KEY)?;
    let key = PublicEncryptingKey::from_der(&der)
        .and_then(|key| OaepPublicEncryptingKey::new(key).map_err(Into::into))
        .map_err(|_| KEY)?;

    let mut masked = Zeroizing::new(Vec::with_capacity(password.len() + 1));
    let bytes = password.iter().chain(&[0]);
    masked.extend(
        bytes
            .zip(nonce.as_bytes().iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );

    let limit = key.max_plaintext_size(&OAEP_SHA1_MGF1SHA1);
    if masked.len() > limit {
        return Err(WireError::TooLarge {
            what: "password under the database's RSA key",
            limit,
        });
    }
    let mut sealed = vec![0; key.ciphertext_size()];
    let length = key
        .encrypt(&OAEP_SHA1_MGF1SHA1, &masked, &mut sealed, None)
        .map_err(|_| KEY)?
        .len();
    sealed.truncate(length);
    Ok(sealed)
}

/// The bytes between the lines `-----BEGIN PUBLIC KEY-----` and `-----END PUBLIC KEY-----`.
fn decode_pem(pem: &[u8]) -> Option<Vec<u8>> {
    let (_, rest) = std::str::from_utf8(pem)
        .ok()?
        .split_once("-----BEGIN PUBLIC KEY-----")?;
    let (body, _) = rest.split_once("-----END PUBLIC KEY-----")?;
    let digits: String = body.split_ascii_whitespace().collect();
    STANDARD.decode(digits).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use aws_lc_rs::encoding::AsDer;
    use aws_lc_rs::rsa::{KeySize, OaepPrivateDecryptingKey, PrivateDecryptingKey};

    use super::*;

    fn pem(key: &PrivateDecryptingKey) -> String {
        let der = key.public_key().as_der().unwrap();
        let mut pem = "-----BEGIN PUBLIC KEY-----\n".to_owned();
        for line in STANDARD.encode(der.as_ref()).as_bytes().chunks(64) {
            pem.push_str(std::str::from_utf8(line).unwrap());
            pem.push('\n');
        }
        pem + "-----END PUBLIC KEY-----\n"
    }

    #[test]
    fn the_owner_of_the_key_gets_password_and_nul_back() {
        let key = PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap();
        let nonce = Nonce::from_random([3; 20]);
        let password = "correct horse battery staple";
        let sealed = seal(password.as_bytes(), &nonce, pem(&key).as_bytes()).unwrap();

        let key = OaepPrivateDecryptingKey::new(key).unwrap();
        let mut plain = vec![0; key.min_output_size()];
        let plain = key
            .decrypt(&OAEP_SHA1_MGF1SHA1, &sealed, &mut plain, None)
            .unwrap();
        let mask = nonce.as_bytes().iter().cycle();
        let opened: Vec<u8> = plain
            .iter()
            .zip(mask)
            .map(|(byte, mask)| byte ^ mask)
            .collect();
        assert_eq!(opened, format!("{password}\0").as_bytes());
    }

    #[test]
    fn a_key_that_is_none_and_a_password_beyond_it_are_errors() {
        let nonce = Nonce::from_random([3; 20]);
        let no_key = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----";
        for bad in ["", "garbage", no_key] {
            let refused = seal(b"x", &nonce, bad.as_bytes());
            assert!(matches!(refused, Err(WireError::Malformed { .. })), "{bad}");
        }
        let key = PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap();
        let refused = seal(&[b'x'; 300], &nonce, pem(&key).as_bytes());
        assert!(matches!(refused, Err(WireError::TooLarge { .. })));
    }
}

//! A password under a server's RSA key: what `caching_sha2_password` and `sha256_password` ask for
//! where there is no TLS. Towards a database the key is its own, towards clients it is ours.
//!
//! The key comes over the same connection, so this keeps the password from who listens, not from
//! who stands in the middle; only TLS does that.

use std::sync::{Arc, OnceLock};

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{
    KeySize, OAEP_SHA1_MGF1SHA1, OaepPrivateDecryptingKey, OaepPublicEncryptingKey,
    PrivateDecryptingKey, PublicEncryptingKey,
};
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

    let masked = mask(password.iter().chain(&[0]), nonce);
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

fn mask<'a>(bytes: impl Iterator<Item = &'a u8>, nonce: &Nonce) -> Zeroizing<Vec<u8>> {
    let masks = nonce.as_bytes().iter().cycle();
    Zeroizing::new(bytes.zip(masks).map(|(byte, mask)| byte ^ mask).collect())
}

/// The key under which clients send their passwords to us; all clones are the same one. It is made when it is first
/// asked for, and lives as long as the process.
#[derive(Clone, Default)]
pub struct OwnKey(Arc<OnceLock<Option<Pair>>>);

struct Pair {
    private: OaepPrivateDecryptingKey,
    /// As it is sent.
    public: Vec<u8>,
}

impl OwnKey {
    /// The public key as PEM, `SubjectPublicKeyInfo`; empty if none could be made. The first call takes a tenth of a
    /// second.
    pub(super) fn pem(&self) -> &[u8] {
        self.pair().map_or(&[], |pair| &pair.public)
    }

    /// The password that was sealed with the public key for this nonce, without its NUL; `None` if it was not.
    pub(super) fn open(&self, sealed: &[u8], nonce: &Nonce) -> Option<Zeroizing<Vec<u8>>> {
        let private = &self.pair()?.private;
        let mut plain = Zeroizing::new(vec![0; private.min_output_size()]);
        let plain = private.decrypt(&OAEP_SHA1_MGF1SHA1, sealed, &mut plain, None);
        let mut opened = mask(plain.ok()?.iter(), nonce);
        (opened.pop() == Some(0)).then_some(opened)
    }

    fn pair(&self) -> Option<&Pair> {
        self.0.get_or_init(Pair::generate).as_ref()
    }
}

impl Pair {
    fn generate() -> Option<Pair> {
        let private = PrivateDecryptingKey::generate(KeySize::Rsa2048).ok()?;
        let der = private.public_key().as_der().ok()?;
        Some(Pair {
            public: encode_pem(der.as_ref()),
            private: OaepPrivateDecryptingKey::new(private).ok()?,
        })
    }
}

impl std::fmt::Debug for OwnKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OwnKey(..)")
    }
}

fn encode_pem(der: &[u8]) -> Vec<u8> {
    let digits = STANDARD.encode(der);
    let mut pem = b"-----BEGIN PUBLIC KEY-----\n".to_vec();
    for line in digits.as_bytes().chunks(64) {
        pem.extend_from_slice(line);
        pem.push(b'\n');
    }
    pem.extend_from_slice(b"-----END PUBLIC KEY-----\n");
    pem
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
    use super::*;

    #[test]
    fn the_owner_of_the_key_gets_the_password_back() {
        let key = OwnKey::default();
        let (nonce, other) = (Nonce::from_random([3; 20]), Nonce::from_random([4; 20]));
        let password = "correct horse battery staple";
        let sealed = seal(password.as_bytes(), &nonce, key.clone().pem()).unwrap();
        assert_eq!(*key.open(&sealed, &nonce).unwrap(), password.as_bytes());
        assert_eq!(key.open(&sealed, &other), None);
        assert_eq!(key.open(&sealed[1..], &nonce), None);
        assert_eq!(OwnKey::default().open(&sealed, &nonce), None);
    }

    #[test]
    fn a_key_that_is_none_and_a_password_beyond_it_are_errors() {
        let nonce = Nonce::from_random([3; 20]);
        let no_key = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----";
        for bad in ["", "garbage", no_key] {
            let refused = seal(b"x", &nonce, bad.as_bytes());
            assert!(matches!(refused, Err(WireError::Malformed { .. })), "{bad}");
        }
        let refused = seal(&[b'x'; 300], &nonce, OwnKey::default().pem());
        assert!(matches!(refused, Err(WireError::TooLarge { .. })));
    }
}

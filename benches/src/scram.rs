//! A client's SCRAM-SHA-256 without its price: every client has the same password, so what is
//! derived from it is derived once. RFC 5802 and 7677; no channel binding.

use std::num::NonZeroU32;

use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A password that was worked on.
#[derive(Debug)]
pub struct Secret {
    client_key: [u8; 32],
    stored_key: [u8; 32],
    server_key: [u8; 32],
}

impl Secret {
    /// The one of all clients, made once and kept to the end.
    pub fn of_all() -> &'static Secret {
        static SECRET: std::sync::OnceLock<Secret> = std::sync::OnceLock::new();
        SECRET.get_or_init(|| {
            let mut salted = [0; 32];
            let iterations = NonZeroU32::new(ITERATIONS).unwrap_or(NonZeroU32::MIN);
            pbkdf2::derive(
                pbkdf2::PBKDF2_HMAC_SHA256,
                iterations,
                SALT,
                PASSWORD,
                &mut salted,
            );
            let client_key = mac(&salted, b"Client Key");
            let mut stored_key = [0; 32];
            stored_key.copy_from_slice(digest::digest(&digest::SHA256, &client_key).as_ref());
            Secret {
                client_key,
                stored_key,
                server_key: mac(&salted, b"Server Key"),
            }
        })
    }

    /// As PostgreSQL keeps it.
    pub fn verifier(&self) -> String {
        let parts = [&SALT[..], &self.stored_key, &self.server_key];
        let [salt, stored, server] = parts.map(|bytes| STANDARD.encode(bytes));
        format!("SCRAM-SHA-256${ITERATIONS}:{salt}${stored}:{server}")
    }

    /// The client's first message.
    pub fn first(&self) -> String {
        format!("n,,{FIRST_BARE}")
    }

    /// The client's last message, to the server's first one.
    pub fn last(&self, server_first: &str) -> Result<String, String> {
        let salt = STANDARD.encode(SALT);
        if !server_first.ends_with(&format!(",s={salt},i={ITERATIONS}")) {
            return Err(format!("another salt than the verifier's: {server_first}"));
        }
        let nonce = server_first.split(',').next().unwrap_or_default();
        let without_proof = format!("c=biws,{nonce}");
        let whole = format!("{FIRST_BARE},{server_first},{without_proof}");
        let signature = mac(&self.stored_key, whole.as_bytes());
        let mut proof = self.client_key;
        proof
            .iter_mut()
            .zip(signature)
            .for_each(|(byte, other)| *byte ^= other);
        Ok(format!("{without_proof},p={}", STANDARD.encode(proof)))
    }
}

fn mac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let mut mac = [0; 32];
    mac.copy_from_slice(hmac::sign(&key, text).as_ref());
    mac
}

/// Nobody listens to a benchmark, so its nonce may be known.
const FIRST_BARE: &str = "n=,r=fyko+d2lbbFgONRv9qkxdawL";
const PASSWORD: &[u8] = b"bench";
const SALT: &[u8; 16] = b"a bench's salt!!";
/// PostgreSQL's default.
const ITERATIONS: u32 = 4096;

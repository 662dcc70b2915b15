//! The server's side: recognising a client.

use subtle::ConstantTimeEq;

use super::{
    ClientKeys, Nonce, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, Verifier, hmac_sha256,
    message::{Attributes, decode_key, encode},
    sha256, xor,
};
use crate::error::WireError;

/// Whether a client's login can be bound to the TLS channel that carries it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChannelBinding {
    /// No TLS, or TLS that does not end here.
    None,
    /// `tls-server-end-point` (RFC 5929): the hash of our certificate. SCRAM-SHA-256-PLUS is
    /// offered, and a client that thinks it is not was lied to by somebody in the middle.
    ServerEndPoint(Vec<u8>),
}

/// Ready to recognise one client.
#[derive(Debug)]
pub struct ScramServer {
    pub(super) verifier: Verifier,
    pub(super) nonce: String,
    pub(super) binding: ChannelBinding,
}

/// Has sent server-first, waits for client-final.
#[derive(Debug)]
pub(crate) struct ServerChallenged {
    verifier: Verifier,
    client_first_bare: String,
    server_first: String,
    nonce: String,
    /// What `c=` must say: the client's own header, and the certificate if it is bound.
    pub(super) binding: String,
}

impl ScramServer {
    /// `nonce` must be random and never used before.
    pub fn new(verifier: Verifier, nonce: Nonce, binding: ChannelBinding) -> Self {
        ScramServer {
            verifier,
            nonce: encode(&nonce),
            binding,
        }
    }

    /// The mechanisms to offer, best first.
    pub(crate) fn mechanisms(&self) -> &'static [&'static str] {
        match self.binding {
            ChannelBinding::None => &[SCRAM_SHA_256],
            ChannelBinding::ServerEndPoint(_) => &[SCRAM_SHA_256_PLUS, SCRAM_SHA_256],
        }
    }

    /// Takes client-first; gives server-first, which the next state holds.
    pub(crate) fn challenge(
        self,
        mechanism: &[u8],
        client_first: &[u8],
    ) -> Result<ServerChallenged, WireError> {
        let is_plus = self.chosen(mechanism)?;
        let mut message = Attributes::new(client_first, "SCRAM client-first message")?;
        let flag = message.cut()?;
        let authzid = message.cut()?;
        let bound = self
            .check_flag(flag, is_plus)
            .map_err(|error| error.unwrap_or(message.error()))?;
        if !authzid.is_empty() {
            return Err(WireError::Unsupported {
                what: "a SCRAM authorization identity".to_owned(),
            });
        }
        let client_first_bare = message.rest().to_owned();
        message.no_mandatory_extension()?;
        message.attribute('n')?;
        let nonce = format!("{}{}", message.nonce()?, self.nonce);
        let server_first = format!(
            "r={nonce},s={},i={}",
            encode(&self.verifier.salt),
            self.verifier.iterations
        );
        let binding = encode(&[format!("{flag},,").as_bytes(), bound].concat());
        Ok(ServerChallenged {
            verifier: self.verifier.clone(),
            client_first_bare,
            server_first,
            nonce,
            binding,
        })
    }

    /// Whether the chosen mechanism, which must be one of those offered, is the bound one.
    fn chosen(&self, mechanism: &[u8]) -> Result<bool, WireError> {
        let offered = self
            .mechanisms()
            .iter()
            .find(|offered| offered.as_bytes() == mechanism);
        match offered {
            Some(&name) => Ok(name == SCRAM_SHA_256_PLUS),
            None => Err(WireError::Unexpected {
                expected: "one of the offered SASL mechanisms",
                got: "another mechanism".to_owned(),
            }),
        }
    }

    /// What the client must bind to, by its flag. `Err(None)` stands for a flag that does not fit.
    fn check_flag(&self, flag: &str, is_plus: bool) -> Result<&[u8], Option<WireError>> {
        match (flag, &self.binding) {
            ("n", _) if !is_plus => Ok(&[]),
            ("y", ChannelBinding::None) => Ok(&[]),
            ("y", ChannelBinding::ServerEndPoint(_)) if !is_plus => {
                Err(Some(WireError::Unexpected {
                    expected: "SCRAM-SHA-256-PLUS, which was offered",
                    got: "a client that says it was not: the offer was changed on its way"
                        .to_owned(),
                }))
            }
            ("p=tls-server-end-point", ChannelBinding::ServerEndPoint(hash)) if is_plus => Ok(hash),
            _ => Err(None),
        }
    }
}

impl ServerChallenged {
    /// The message to send.
    pub(crate) fn server_first(&self) -> &str {
        &self.server_first
    }

    /// Takes client-final; gives server-final if the client knows the password, and the keys that its
    /// proof has shown: with them one can log in wherever the same verifier is stored.
    pub(crate) fn finish(self, client_final: &[u8]) -> Result<(String, ClientKeys), WireError> {
        let mut message = Attributes::new(client_final, "SCRAM client-final message")?;
        let (without_proof, proof) = message.rest().rsplit_once(",p=").ok_or(message.error())?;
        let proof = decode_key(proof).ok_or(message.error())?;
        if message.attribute('c')? != self.binding || message.nonce()? != self.nonce {
            return Err(message.error());
        }
        message.no_mandatory_extension()?;
        let auth_message = format!(
            "{},{},{without_proof}",
            self.client_first_bare, self.server_first
        );
        let signature = hmac_sha256(&self.verifier.stored_key[..], auth_message.as_bytes());
        let client_key = xor(&proof, &signature);
        if !bool::from(sha256(&client_key[..])[..].ct_eq(&self.verifier.stored_key[..])) {
            return Err(WireError::BadCredentials);
        }
        let signature = hmac_sha256(&self.verifier.server_key[..], auth_message.as_bytes());
        let keys = ClientKeys {
            salt: self.verifier.salt,
            iterations: self.verifier.iterations,
            client_key,
            server_key: self.verifier.server_key,
        };
        Ok((format!("v={}", encode(&signature)), keys))
    }
}

//! The client's side: logging in to a database.

use bytes::Bytes;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{
    Iterations, Key, Nonce, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, hmac_sha256,
    message::{Attributes, decode, decode_key, encode},
    salted_password, sha256, xor,
};
use crate::{
    error::{Refusal, WireError},
    pg::{error_response::TEXT_LIMIT, frame::cut_string, sqlstate},
    secret::Secret,
};

/// Knows its nonce; client-first is due.
#[derive(Debug)]
pub(crate) struct Client {
    pub(super) client_first_bare: String,
    pub(super) nonce: String,
    pub(super) binding: Binding,
}

/// Whether the login is bound to the TLS connection it is made on.
#[derive(Debug)]
pub(super) enum Binding {
    /// It cannot be: there is no TLS, or its certificate has no defined hash.
    Impossible,
    /// It could be, and the database did not offer it. It is told so, lest somebody in the middle
    /// took the offer away.
    NotOffered,
    /// It is, to this `tls-server-end-point`.
    ServerEndPoint(Vec<u8>),
}

/// Has read server-first; keys are due.
#[derive(Debug)]
pub(crate) struct ClientChallenged {
    client_first_bare: String,
    server_first: String,
    nonce: String,
    binding: Binding,
    salt: Vec<u8>,
    iterations: Iterations,
}

/// Has sent client-final; knows what a server that knows the verifier must say.
#[derive(Debug)]
pub(crate) struct ClientResponded {
    signature: Key,
}

/// What PBKDF2 made of a password, for one salt and iteration count. Whoever logs in often to
/// one account keeps them; they are as good as the password there.
#[derive(Clone)]
pub struct ClientKeys {
    pub(super) salt: Vec<u8>,
    pub(super) iterations: Iterations,
    pub(super) client_key: Zeroizing<Key>,
    pub(super) server_key: Zeroizing<Key>,
}

impl Client {
    /// Takes the list of mechanisms in an AuthenticationSASL, which must have one of ours. `nonce`
    /// must be random and never used before; `end_point` is the database's `tls-server-end-point`.
    pub(crate) fn choose(
        mut offered: Bytes,
        nonce: Nonce,
        end_point: Option<Vec<u8>>,
    ) -> Result<Self, WireError> {
        let mut names = Vec::new();
        while let Some(name) = cut_string(&mut offered).filter(|name| !name.is_empty()) {
            names.push(String::from_utf8_lossy(&name).into_owned());
        }
        let offers = |name| names.iter().any(|offered| offered == name);
        let binding = match end_point {
            Some(hash) if offers(SCRAM_SHA_256_PLUS) => Some(Binding::ServerEndPoint(hash)),
            Some(_) if offers(SCRAM_SHA_256) => Some(Binding::NotOffered),
            None if offers(SCRAM_SHA_256) => Some(Binding::Impossible),
            _ => None,
        };
        if let Some(binding) = binding {
            return Ok(Self::new(nonce, binding));
        }
        let mut others = names.join(", ");
        others.truncate(others.floor_char_boundary(TEXT_LIMIT));
        Err(WireError::Unsupported {
            what: format!("SASL mechanism of the database ({others})"),
        })
    }

    pub(super) fn new(nonce: Nonce, binding: Binding) -> Self {
        let nonce = encode(&nonce);
        Client {
            client_first_bare: format!("n=,r={nonce}"),
            nonce,
            binding,
        }
    }

    /// The mechanism chosen.
    pub(crate) fn mechanism(&self) -> &'static str {
        match self.binding {
            Binding::Impossible | Binding::NotOffered => SCRAM_SHA_256,
            Binding::ServerEndPoint(_) => SCRAM_SHA_256_PLUS,
        }
    }

    pub(crate) fn client_first(&self) -> String {
        format!("{}{}", self.binding.header(), self.client_first_bare)
    }

    /// Takes server-first.
    pub(crate) fn challenged(self, server_first: &[u8]) -> Result<ClientChallenged, WireError> {
        let mut message = Attributes::new(server_first, "SCRAM server-first message")?;
        let whole = message.rest().to_owned();
        message.no_mandatory_extension()?;
        let nonce = message.nonce()?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err(WireError::Malformed {
                what: "SCRAM nonce of the database",
            });
        }
        let salt = decode(message.attribute('s')?).ok_or(message.error())?;
        let iterations = message.attribute('i')?;
        let iterations = Iterations::parse(iterations).ok_or(WireError::Malformed {
            what: "SCRAM iteration count of the database",
        })?;
        Ok(ClientChallenged {
            client_first_bare: self.client_first_bare,
            nonce: nonce.to_owned(),
            binding: self.binding,
            server_first: whole,
            salt,
            iterations,
        })
    }
}

impl ClientChallenged {
    /// Whether these keys are for this salt and iteration count.
    pub(crate) fn fits(&self, keys: &ClientKeys) -> bool {
        keys.salt == self.salt && keys.iterations == self.iterations
    }

    /// The computation whose result [`ClientChallenged::keys`] wants.
    pub(crate) fn salting(&self, password: Secret) -> impl FnOnce() -> Vec<u8> + Send + 'static {
        let (salt, iterations) = (self.salt.clone(), self.iterations);
        move || salted_password(password.expose(), &salt, iterations).to_vec()
    }

    /// Makes keys of a salted password.
    pub(crate) fn keys(&self, salted: &[u8]) -> ClientKeys {
        ClientKeys {
            salt: self.salt.clone(),
            iterations: self.iterations,
            client_key: Zeroizing::new(hmac_sha256(salted, b"Client Key")),
            server_key: Zeroizing::new(hmac_sha256(salted, b"Server Key")),
        }
    }

    /// client-final, and the state that checks the answer to it.
    pub(crate) fn respond(self, keys: &ClientKeys) -> (String, ClientResponded) {
        let binding = encode(&self.binding.proof());
        let without_proof = format!("c={binding},r={}", self.nonce);
        let auth_message = format!(
            "{},{},{without_proof}",
            self.client_first_bare, self.server_first
        );
        let stored_key = sha256(&keys.client_key[..]);
        let signature = hmac_sha256(&stored_key, auth_message.as_bytes());
        let proof = encode(&xor(&keys.client_key, &signature)[..]);
        let signature = hmac_sha256(&keys.server_key[..], auth_message.as_bytes());
        (
            format!("{without_proof},p={proof}"),
            ClientResponded { signature },
        )
    }
}

impl ClientResponded {
    /// Takes server-final: the proof that the database knows us, too.
    pub(crate) fn verify(self, server_final: &[u8]) -> Result<(), WireError> {
        let mut message = Attributes::new(server_final, "SCRAM server-final message")?;
        if let Some(error) = message.rest().strip_prefix("e=") {
            return Err(WireError::Refused(Refusal {
                sqlstate: sqlstate::INVALID_PASSWORD.to_owned(),
                number: 0,
                message: format!("SCRAM: {error}"),
            }));
        }
        let signature = decode_key(message.attribute('v')?).ok_or(message.error())?;
        match bool::from(signature[..].ct_eq(&self.signature[..])) {
            true => Ok(()),
            false => Err(WireError::Malformed {
                what: "SCRAM signature: the database does not know this account's verifier",
            }),
        }
    }
}

impl std::fmt::Debug for ClientKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClientKeys(..)")
    }
}

impl Binding {
    /// The beginning of client-first, which says how it is; without an authorization identity.
    fn header(&self) -> &'static str {
        match self {
            Binding::Impossible => "n,,",
            Binding::NotOffered => "y,,",
            Binding::ServerEndPoint(_) => "p=tls-server-end-point,,",
        }
    }

    /// What client-final repeats, under the proof: the header, and what is bound to.
    fn proof(&self) -> Vec<u8> {
        let bound: &[u8] = match self {
            Binding::Impossible | Binding::NotOffered => &[],
            Binding::ServerEndPoint(hash) => hash,
        };
        [self.header().as_bytes(), bound].concat()
    }
}

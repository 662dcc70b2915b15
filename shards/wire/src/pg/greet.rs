//! Authenticating a client: from its StartupMessage to AuthenticationOk.
//!
//! ```text
//! Opening ──▶ Asked ─────────────────────▶ Judged ──▶ AuthenticationOk
//!    │         ▲ │ └──▶ Salt ──▶ Salting ───▲ ▲ └─────▶ BadCredentials, which the caller tells
//!    │   SCRAM └─┘                            │
//!    └── Trust ───────────────────────────────┘
//! ```
//!
//! What to ask is the caller's policy, and so is what an unknown name is compared with: take it
//! from a [`MockKey`](super::MockKey), and the unknown go the same way as the known.

use bytes::{Bytes, BytesMut};
use subtle::ConstantTimeEq;

use super::{
    ErrorResponse, Stored,
    backend::authentication,
    frame::{cut_i32, cut_string, take_message, type_name},
    md5::Md5Hash,
    scram::{ClientKeys, ScramServer, ServerChallenged, Verifier, sha256},
};
use crate::{
    error::WireError,
    exchange::{Derivation, Derived, Exchange, Progress},
    secret::Secret,
};

/// What to ask a client, and what to compare its answer with.
#[derive(Debug)]
pub enum Challenge {
    /// Nothing.
    Trust,
    /// The password in clear. Only to be asked inside TLS.
    Password(Stored),
    /// md5 of the password, the user and a salt.
    Md5 {
        /// What is stored; made for the user name *as the client wrote it*, for so it will hash.
        hash: Md5Hash,
        /// Four random bytes.
        salt: [u8; 4],
    },
    /// SCRAM-SHA-256.
    ScramSha256(ScramServer),
}

/// The dialogue with one client. On an error, what it should be told is outbound; but a client that
/// has not proved who it is ([`WireError::BadCredentials`]) is the caller's to tell, when it sees fit.
#[derive(Debug)]
pub struct Greet {
    state: State,
}

#[derive(Debug)]
enum State {
    /// Nothing is said yet.
    Opening(Challenge),
    /// Something is asked, and the answer is awaited.
    Asked(Question),
    /// A password in clear is here; it must be salted to be compared with a verifier.
    Salt(Verifier, Secret),
    /// The salting goes on elsewhere.
    Salting(Verifier),
    /// The client is who it says, or not.
    Judged(bool),
    /// It is, and its proof has shown these.
    Shown(ClientKeys),
    /// The verdict is said.
    Over,
}

/// What an answer is compared with. All answers have the type `p`.
#[derive(Debug)]
enum Question {
    /// PasswordMessage, in clear.
    Password(Stored),
    /// PasswordMessage, md5 of this hash and this salt.
    Md5(Md5Hash, [u8; 4]),
    /// SASLInitialResponse.
    SaslInitial(ScramServer),
    /// SASLResponse.
    SaslFinal(ServerChallenged),
}

impl Greet {
    /// Begins with a question.
    pub fn new(challenge: Challenge) -> Self {
        Greet {
            state: State::Opening(challenge),
        }
    }

    fn run(
        &mut self,
        inbound: &mut BytesMut,
        outbound: &mut BytesMut,
    ) -> Result<Progress<Option<ClientKeys>>, WireError> {
        loop {
            self.state = match std::mem::replace(&mut self.state, State::Over) {
                State::Opening(challenge) => open(challenge, outbound),
                State::Salt(verifier, password) => {
                    self.state = State::Salting(verifier.clone());
                    return Ok(Progress::Derive(Derivation::new(move || {
                        verifier.salt_password(password.expose())
                    })));
                }
                State::Salting(verifier) => {
                    self.state = State::Salting(verifier);
                    return Ok(Progress::NeedMore);
                }
                State::Judged(true) => {
                    authentication::write(authentication::OK, &[], outbound);
                    return Ok(Progress::Done(None));
                }
                State::Shown(keys) => {
                    authentication::write(authentication::OK, &[], outbound);
                    return Ok(Progress::Done(Some(keys)));
                }
                State::Judged(false) => return Err(WireError::BadCredentials),
                State::Over => {
                    return Err(WireError::Unexpected {
                        expected: "the end of the login",
                        got: "one more step".to_owned(),
                    });
                }
                State::Asked(question) => match take_answer(inbound)? {
                    Some(answer) => question.answered(answer, outbound)?,
                    None => {
                        self.state = State::Asked(question);
                        return Ok(Progress::NeedMore);
                    }
                },
            };
        }
    }
}

impl Exchange for Greet {
    /// What the client's proof has shown, by which one can log in for it where the same verifier is
    /// stored. Only SCRAM shows something.
    type Outcome = Option<ClientKeys>;

    fn advance(
        &mut self,
        inbound: &mut BytesMut,
        outbound: &mut BytesMut,
    ) -> Result<Progress<Option<ClientKeys>>, WireError> {
        let progress = self.run(inbound, outbound);
        match &progress {
            Ok(_) | Err(WireError::BadCredentials) => {}
            Err(error) => ErrorResponse::from(error).write(outbound),
        }
        progress
    }

    fn derived(&mut self, derived: Derived) {
        if let State::Salting(verifier) = &self.state {
            self.state = State::Judged(verifier.accepts_salted(&derived.0));
        }
    }
}

impl Question {
    /// Compares; where there is more to ask, asks it.
    fn answered(self, mut answer: Bytes, outbound: &mut BytesMut) -> Result<State, WireError> {
        use authentication::{SASL_CONTINUE, SASL_FINAL};
        match self {
            Question::Password(stored) => compare(stored, &password(answer)?),
            Question::Md5(hash, salt) => Ok(State::Judged(hash.accepts(salt, &password(answer)?))),
            Question::SaslInitial(server) => {
                let mechanism = cut_string(&mut answer).ok_or(SASL_INITIAL_RESPONSE)?;
                let length = cut_i32(&mut answer).ok_or(SASL_INITIAL_RESPONSE)?;
                if usize::try_from(length) != Ok(answer.len()) {
                    return Err(SASL_INITIAL_RESPONSE);
                }
                let challenged = server.challenge(&mechanism, &answer)?;
                let server_first = challenged.server_first().as_bytes();
                authentication::write(SASL_CONTINUE, server_first, outbound);
                Ok(State::Asked(Question::SaslFinal(challenged)))
            }
            Question::SaslFinal(challenged) => {
                let (server_final, keys) = challenged.finish(&answer)?;
                authentication::write(SASL_FINAL, server_final.as_bytes(), outbound);
                Ok(State::Shown(keys))
            }
        }
    }
}

/// Asks.
fn open(challenge: Challenge, outbound: &mut BytesMut) -> State {
    match challenge {
        Challenge::Trust => State::Judged(true),
        Challenge::Password(stored) => {
            authentication::write(authentication::CLEARTEXT_PASSWORD, &[], outbound);
            State::Asked(Question::Password(stored))
        }
        Challenge::Md5 { hash, salt } => {
            authentication::write(authentication::MD5_PASSWORD, &salt, outbound);
            State::Asked(Question::Md5(hash, salt))
        }
        Challenge::ScramSha256(server) => {
            authentication::write_sasl(server.mechanisms(), outbound);
            State::Asked(Question::SaslInitial(server))
        }
    }
}

/// Takes a message of type `p`: which one it is, the state knows.
fn take_answer(inbound: &mut BytesMut) -> Result<Option<Bytes>, WireError> {
    match inbound.first() {
        None => Ok(None),
        Some(b'p') => Ok(take_message(inbound, ANSWER_LIMIT)?.map(|message| message.body)),
        Some(&other) => Err(WireError::Unexpected {
            expected: "an answer to the authentication request",
            got: type_name(other),
        }),
    }
}

/// The string of a PasswordMessage, and nothing behind it. An empty one is never right, not even
/// where an empty one is stored.
fn password(mut answer: Bytes) -> Result<Bytes, WireError> {
    match cut_string(&mut answer) {
        Some(password) if answer.is_empty() => {
            if password.is_empty() {
                Err(WireError::BadCredentials)
            } else {
                Ok(password)
            }
        }
        _ => Err(WireError::Malformed {
            what: "PasswordMessage",
        }),
    }
}

/// Compares a password said in clear; of two plain ones not even the length shows in the time.
fn compare(stored: Stored, password: &[u8]) -> Result<State, WireError> {
    let text = std::str::from_utf8(password).map_err(|_| WireError::BadCredentials);
    Ok(match stored {
        Stored::Plain(secret) => {
            let equal = sha256(secret.expose().as_bytes()).ct_eq(&sha256(password));
            State::Judged(equal.into())
        }
        Stored::Md5 { hash, user } => State::Judged(Md5Hash::of(text?, &user) == hash),
        Stored::Scram(verifier) => State::Salt(verifier, Secret::new(text?)),
    })
}

const SASL_INITIAL_RESPONSE: WireError = WireError::Malformed {
    what: "SASLInitialResponse",
};

/// Largest length field of a client's answer, in bytes.
pub const ANSWER_LIMIT: usize = 8192;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::pg::{MockKey, scram::ChannelBinding};

    type Outcome = Result<Progress<Option<ClientKeys>>, WireError>;

    fn greet(challenge: Challenge, answer: &[u8]) -> (Outcome, Vec<u8>) {
        let (mut inbound, mut outbound) = (BytesMut::from(answer), BytesMut::new());
        let progress = Greet::new(challenge).advance(&mut inbound, &mut outbound);
        (progress, outbound.to_vec())
    }

    fn plain(password: &str) -> Challenge {
        Challenge::Password(Stored::Plain(Secret::new(password)))
    }

    #[test]
    fn trust_says_ok_at_once() {
        let (progress, said) = greet(Challenge::Trust, b"");
        assert!(matches!(progress, Ok(Progress::Done(None))));
        assert_eq!(said, b"R\0\0\0\x08\0\0\0\0");
    }

    #[test]
    fn a_password_in_clear_is_compared() {
        let (progress, said) = greet(plain("secret"), b"p\0\0\0\x0bsecret\0");
        assert!(matches!(progress, Ok(Progress::Done(None))));
        assert_eq!(said, b"R\0\0\0\x08\0\0\0\x03R\0\0\0\x08\0\0\0\0");
        let (progress, said) = greet(plain("secret"), b"p\0\0\0\x0bsecreT\0");
        assert!(matches!(progress, Err(WireError::BadCredentials)));
        assert_eq!(
            said, b"R\0\0\0\x08\0\0\0\x03",
            "the verdict is the caller's to tell"
        );
    }

    #[test]
    fn an_empty_password_is_never_right() {
        let (progress, _) = greet(plain(""), b"p\0\0\0\x05\0");
        assert!(matches!(progress, Err(WireError::BadCredentials)));
    }

    #[test]
    fn a_password_is_salted_elsewhere_to_meet_a_verifier() {
        let verifier = Verifier::derive("secret", b"salt", 1).unwrap();
        for (password, right) in [(&b"secret"[..], true), (b"Secret", false)] {
            let mut greet = Greet::new(Challenge::Password(Stored::Scram(verifier.clone())));
            let (mut inbound, mut outbound) = (BytesMut::new(), BytesMut::new());
            crate::pg::frontend::password_message(password, &mut inbound);
            let Ok(Progress::Derive(salting)) = greet.advance(&mut inbound, &mut outbound) else {
                panic!("no derivation")
            };
            let early = greet.advance(&mut inbound, &mut outbound);
            assert!(matches!(early, Ok(Progress::NeedMore)));
            greet.derived(salting.run());
            let progress = greet.advance(&mut inbound, &mut outbound);
            assert_eq!(matches!(progress, Ok(Progress::Done(None))), right);
        }
    }

    #[test]
    fn answers_that_postgresql_15_refuses_are_protocol_violations() {
        let scram = || {
            let verifier = MockKey::new([0; 32]).verifier("t", "u");
            Challenge::ScramSha256(ScramServer::new(verifier, [0; 18], ChannelBinding::None))
        };
        let initial = |body: &[u8]| {
            let mut message = vec![b'p', 0, 0, 0, body.len() as u8 + 4];
            message.extend(body);
            message
        };
        for (challenge, answer) in [
            (plain("x"), b"p\0\0\0\x0asecret".to_vec()),
            (plain("x"), b"p\0\0\0\x0dsecret\0x\0".to_vec()),
            (plain("x"), b"p\0\0\0\x03".to_vec()),
            (plain("x"), b"p\0\x01\0\0".to_vec()),
            (plain("x"), b"X\0\0\0\x04".to_vec()),
            (scram(), initial(b"FOO\0\0\0\0\x0bn,,n=,r=abc")),
            (
                scram(),
                initial(b"SCRAM-SHA-256-PLUS\0\0\0\0\x0bn,,n=,r=abc"),
            ),
            (scram(), initial(b"SCRAM-SHA-256\0\0\0\0\x0an,,n=,r=abc")),
            (scram(), initial(b"SCRAM-SHA-256\0\xff\xff\xff\xff")),
            (scram(), initial(b"SCRAM-SHA-256\0\0\0\0\x0bx,,n=,r=abc")),
            (scram(), initial(b"SCRAM-SHA-256\0\0\0\0\x0bn,,n=,r=a b")),
            (scram(), initial(b"SCRAM-SHA-256\0\0\0\0\x05n,,n=")),
        ] {
            let (progress, said) = greet(challenge, &answer);
            assert!(progress.is_err(), "{answer:?}");
            assert!(
                String::from_utf8_lossy(&said).contains("C08P01\0"),
                "{answer:?}"
            );
        }
    }
}

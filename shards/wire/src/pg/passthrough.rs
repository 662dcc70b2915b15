//! A client's login passed on to its database: we carry the questions and the answers, and know neither
//! the password nor what would recognise it.
//!
//! ```text
//!   client            us               database
//!              StartupMessage ──────▶             of our making: its user, the tenant's database
//!          ◀────── question ◀──────
//!          ─────── answer ─────────▶              as often as the database asks
//!          ◀── AuthenticationOk ◀───
//!              (what follows is for us alone: see [`Login`](super::Login))
//! ```
//!
//! Channel binding ends where TLS ends, which is here: it is taken out of what a database offers.

use bytes::{Bytes, BytesMut};

use super::backend::authentication as auth;
use super::frame::{compose, cut_i32, cut_string, take_message, type_name};
use super::greet::ANSWER_LIMIT;
use super::login::{LOGIN_LIMIT, LoginRequest};
use super::scram::SCRAM_SHA_256;
use super::{ErrorResponse, error_response};
use crate::error::WireError;
use crate::exchange::{Exchange, Progress};

/// What a database says next in a login, for its client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// A question; the client's answer is awaited.
    Asks {
        /// The message for the client.
        message: Bytes,
        /// Its answer is the password in clear.
        in_clear: bool,
    },
    /// Something to be passed on, and more to be heard.
    Tells(Bytes),
    /// AuthenticationOk, to be passed on.
    LetsIn(Bytes),
}

/// Hears what the database says next.
#[derive(Debug)]
pub struct Hearing {
    opening: Option<LoginRequest>,
    heard: usize,
}

impl Hearing {
    /// Begins the login of this account; its password is not looked at.
    pub fn begin(request: LoginRequest) -> Hearing {
        Hearing {
            opening: Some(request),
            heard: 0,
        }
    }
}

impl Exchange for Hearing {
    type Outcome = Said;

    fn advance(
        &mut self,
        inbound: &mut BytesMut,
        outbound: &mut BytesMut,
    ) -> Result<Progress<Said>, WireError> {
        if let Some(request) = self.opening.take() {
            request.startup().write(outbound);
        }
        loop {
            match inbound.first() {
                None => return Ok(Progress::NeedMore),
                Some(b'R' | b'E' | b'N') => {}
                Some(&other) => return Err(unexpected(type_name(other))),
            }
            let Some(message) = take_message(inbound, LOGIN_LIMIT)? else {
                return Ok(Progress::NeedMore);
            };
            self.heard += message.body.len();
            if self.heard > LOGIN_LIMIT {
                return Err(WireError::TooLarge {
                    what: "what the database says at login",
                    limit: LOGIN_LIMIT,
                });
            }
            match message.kind {
                b'R' => return understand(message.body).map(Progress::Done),
                b'E' => return Err(WireError::Refused(error_response::parse(message.body))),
                // A notice; the client would not know what to make of it yet.
                _ => {}
            }
        }
    }
}

fn understand(mut body: Bytes) -> Result<Said, WireError> {
    let whole = frame(&body);
    let asks = |in_clear| Said::Asks {
        message: whole.clone(),
        in_clear,
    };
    match cut_i32(&mut body) {
        Some(auth::OK) => Ok(Said::LetsIn(whole)),
        Some(auth::CLEARTEXT_PASSWORD) => Ok(asks(true)),
        Some(auth::MD5_PASSWORD | auth::SASL_CONTINUE) => Ok(asks(false)),
        Some(auth::SASL_FINAL) => Ok(Said::Tells(whole)),
        Some(auth::SASL) => {
            offers_scram(body)?;
            let mut message = BytesMut::new();
            auth::write_sasl(&[SCRAM_SHA_256], &mut message);
            Ok(Said::Asks {
                message: message.freeze(),
                in_clear: false,
            })
        }
        Some(number) => Err(WireError::Unsupported {
            what: format!("authentication method {number} of the database"),
        }),
        None => Err(WireError::Malformed {
            what: "Authentication message",
        }),
    }
}

fn offers_scram(mut offered: Bytes) -> Result<(), WireError> {
    while let Some(name) = cut_string(&mut offered).filter(|name| !name.is_empty()) {
        if name == SCRAM_SHA_256.as_bytes() {
            return Ok(());
        }
    }
    Err(WireError::Unsupported {
        what: "a login at a database that offers no SCRAM-SHA-256".to_owned(),
    })
}

fn frame(body: &[u8]) -> Bytes {
    let mut message = BytesMut::with_capacity(body.len() + 5);
    compose(&mut message, b'R', |out| out.extend_from_slice(body));
    message.freeze()
}

/// Hears a client's answer, whole, for the database.
#[derive(Debug, Default)]
pub struct Answer;

impl Exchange for Answer {
    type Outcome = Bytes;

    fn advance(
        &mut self,
        inbound: &mut BytesMut,
        outbound: &mut BytesMut,
    ) -> Result<Progress<Bytes>, WireError> {
        let heard = match inbound.first() {
            None => Ok(None),
            Some(b'p') => take_message(inbound, ANSWER_LIMIT),
            Some(&other) => Err(WireError::Unexpected {
                expected: "an answer to the authentication request",
                got: type_name(other),
            }),
        };
        match heard {
            Ok(None) => Ok(Progress::NeedMore),
            Ok(Some(message)) => {
                let mut whole = BytesMut::with_capacity(message.body.len() + 5);
                compose(&mut whole, b'p', |out| out.extend_from_slice(&message.body));
                Ok(Progress::Done(whole.freeze()))
            }
            Err(error) => {
                ErrorResponse::from(&error).write(outbound);
                Err(error)
            }
        }
    }
}

fn unexpected(got: String) -> WireError {
    WireError::Unexpected {
        expected: "an authentication request",
        got,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    fn said(bytes: &[u8]) -> Result<Said, WireError> {
        let mut hearing = Hearing {
            opening: None,
            heard: 0,
        };
        match hearing.advance(&mut BytesMut::from(bytes), &mut BytesMut::new())? {
            Progress::Done(said) => Ok(said),
            other => panic!("{other:?}"),
        }
    }

    fn asks(message: &'static [u8], in_clear: bool) -> Said {
        Said::Asks {
            message: Bytes::from_static(message),
            in_clear,
        }
    }

    #[test]
    fn questions_pass_as_they_are_and_the_offer_without_channel_binding() {
        let ok = b"R\0\0\0\x08\0\0\0\0";
        assert_eq!(said(ok), Ok(Said::LetsIn(Bytes::from_static(ok))));
        let clear = b"R\0\0\0\x08\0\0\0\x03";
        assert_eq!(said(clear), Ok(asks(clear, true)));
        let md5 = b"R\0\0\0\x0c\0\0\0\x05salt";
        assert_eq!(said(md5), Ok(asks(md5, false)));
        let both = b"R\0\0\0\x2a\0\0\0\x0aSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0";
        let scram = b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0";
        assert_eq!(said(both), Ok(asks(scram, false)));
        let last = b"R\0\0\0\x0b\0\0\0\x0cv=x";
        assert_eq!(said(last), Ok(Said::Tells(Bytes::from_static(last))));
    }

    #[test]
    fn what_cannot_be_passed_on_is_refused() {
        for bad in [
            &b"R\0\0\0\x08\0\0\0\x07"[..],
            b"R\0\0\0\x06\0\0",
            b"R\0\0\0\x1c\0\0\0\x0aSCRAM-SHA-256-PLUS\0\0",
            b"Z\0\0\0\x05I",
            b"E\0\0\0\x0dC28P01\0\0\0",
        ] {
            assert!(said(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_answer_is_one_message_and_nothing_else() {
        let mut inbound = BytesMut::from(&b"p\0\0\0\x06abX"[..]);
        let answer = Answer.advance(&mut inbound, &mut BytesMut::new()).unwrap();
        assert!(matches!(answer, Progress::Done(answer) if answer == b"p\0\0\0\x06ab"[..]));
        assert_eq!(&inbound[..], b"X");
        let mut out = BytesMut::new();
        for bad in [&b"Q\0\0\0\x04"[..], b"p\0\x01\0\0"] {
            out.clear();
            assert!(Answer.advance(&mut BytesMut::from(bad), &mut out).is_err());
            assert!(out.starts_with(b"E"));
        }
    }
}

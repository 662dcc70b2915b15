//! ErrorResponse: composing our own, and reading a database's.
//!
//! Our texts are bounded. They are ASCII save where they quote a client's own words; those go back
//! as they came.

use std::borrow::Cow;

use bytes::{BufMut, Bytes, BytesMut};

use super::{
    frame::{compose, cut_string, put_string},
    sqlstate,
};
use crate::error::{Refusal, WireError};

/// How bad an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Severity {
    /// The statement failed; the session goes on.
    Error,
    /// The session ends.
    Fatal,
}

/// An error as a client is told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorResponse {
    severity: Severity,
    code: Cow<'static, str>,
    message: String,
    detail: Option<String>,
    hint: Option<String>,
}

impl ErrorResponse {
    /// An error that ends the session. `code` is one of [`sqlstate`].
    pub fn fatal(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        ErrorResponse {
            severity: Severity::Fatal,
            code: code.into(),
            message: message.into(),
            detail: None,
            hint: None,
        }
    }

    /// An error after which the session goes on.
    pub fn error(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        ErrorResponse {
            severity: Severity::Error,
            ..Self::fatal(code, message)
        }
    }

    /// Adds a second sentence: the circumstances.
    pub fn detail(self, detail: impl Into<String>) -> Self {
        ErrorResponse {
            detail: Some(detail.into()),
            ..self
        }
    }

    /// Adds what to do about it.
    pub fn hint(self, hint: impl Into<String>) -> Self {
        ErrorResponse {
            hint: Some(hint.into()),
            ..self
        }
    }

    /// The five characters of its code.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// Its first sentence.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Appends the message, fields in PostgreSQL's order.
    pub fn write(&self, out: &mut BytesMut) {
        let severity = match self.severity {
            Severity::Error => "ERROR",
            Severity::Fatal => "FATAL",
        };
        compose(out, b'E', |body| {
            let mut field = |code: u8, text: &str| {
                body.put_u8(code);
                put_string(
                    body,
                    &text.as_bytes()[..text.floor_char_boundary(TEXT_LIMIT)],
                );
            };
            field(b'S', severity);
            field(b'V', severity);
            field(b'C', &self.code);
            field(b'M', &self.message);
            if let Some(detail) = &self.detail {
                field(b'D', detail);
            }
            if let Some(hint) = &self.hint {
                field(b'H', hint);
            }
            body.put_u8(0);
        });
    }
}

/// What a client is told when its own dialogue with us failed. (What a *database* did wrong is not
/// the client's fault; the caller words that one.)
impl From<&WireError> for ErrorResponse {
    fn from(error: &WireError) -> Self {
        let code = match error {
            WireError::Unsupported { .. } => sqlstate::FEATURE_NOT_SUPPORTED,
            WireError::BadCredentials => sqlstate::INVALID_PASSWORD,
            WireError::Refused(refusal) => {
                return ErrorResponse::fatal(refusal.sqlstate.clone(), refusal.message.clone());
            }
            _ => sqlstate::PROTOCOL_VIOLATION,
        };
        ErrorResponse::fatal(code, error.to_string())
    }
}

/// Reads the fields of an ErrorResponse that matter to us. A database may leave out any of them;
/// it may also send text in another encoding, which is then shown as far as it is UTF-8.
pub fn parse(mut body: Bytes) -> Refusal {
    let mut sqlstate = None;
    let mut message = None;
    while let Some((&code, _)) = body.split_first() {
        let _ = body.split_to(1);
        let Some(text) = cut_string(&mut body) else {
            break;
        };
        match code {
            b'C' => sqlstate = Some(text),
            b'M' => message = Some(text),
            _ => {}
        }
    }
    let sqlstate = match sqlstate {
        Some(code) if code.len() == 5 && code.iter().all(u8::is_ascii_alphanumeric) => {
            String::from_utf8_lossy(&code).into_owned()
        }
        _ => UNNAMED_SQLSTATE.to_owned(),
    };
    let message = match message {
        Some(text) => {
            let mut text = String::from_utf8_lossy(&text).into_owned();
            text.truncate(text.floor_char_boundary(TEXT_LIMIT));
            text
        }
        None => "(the database gave no message)".to_owned(),
    };
    Refusal {
        sqlstate,
        number: 0,
        message,
    }
}

/// Largest text of one field of an ErrorResponse, in bytes.
pub const TEXT_LIMIT: usize = 1024;

/// The general code for a database that names none, as [`Refusal`] prescribes.
const UNNAMED_SQLSTATE: &str = "HY000";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_stand_in_the_order_of_the_server() {
        let mut out = BytesMut::new();
        ErrorResponse::fatal(sqlstate::INVALID_PASSWORD, "no")
            .detail("d")
            .hint("h")
            .write(&mut out);
        assert_eq!(
            &out[..],
            b"E\0\0\0\x24SFATAL\0VFATAL\0C28P01\0Mno\0Dd\0Hh\0\0"
        );
    }

    #[test]
    fn texts_are_bounded_and_end_at_a_nul() {
        let mut out = BytesMut::new();
        ErrorResponse::error("XX000", "\u{e4}".repeat(5000))
            .hint("a\0Mforged")
            .write(&mut out);
        assert!(out.len() < TEXT_LIMIT + 64);
        let refusal = parse(out.freeze().slice(5..));
        assert_eq!(refusal.message, "\u{e4}".repeat(TEXT_LIMIT / 2));
    }

    #[test]
    fn a_refusal_may_lack_anything() {
        for body in [
            &b""[..],
            b"\0",
            b"C",
            b"C\0\0",
            b"C28P0",
            b"S\0M",
            b"Cab\0cd\0\0",
        ] {
            let refusal = parse(Bytes::copy_from_slice(body));
            assert_eq!(refusal.sqlstate, "HY000", "{body:?}");
        }
        let refusal = parse(Bytes::from_static(b"SFATAL\0C57P03\0Mstarting up\0\0"));
        assert_eq!(refusal.to_string(), "starting up (57P03)");
    }
}

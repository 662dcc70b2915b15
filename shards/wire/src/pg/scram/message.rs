//! The text of SCRAM messages: attributes `a=value` with commas between.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::SASL_MESSAGE_LIMIT;
use crate::error::WireError;

/// What is left of a message, cut from the front attribute by attribute.
pub(super) struct Attributes<'a> {
    rest: Option<&'a str>,
    malformed: &'static str,
}

impl<'a> Attributes<'a> {
    /// Begins with a message; `malformed` is what it is called if it cannot be read.
    pub(super) fn new(message: &'a [u8], malformed: &'static str) -> Result<Self, WireError> {
        if message.len() > SASL_MESSAGE_LIMIT {
            return Err(WireError::TooLarge {
                what: malformed,
                limit: SASL_MESSAGE_LIMIT,
            });
        }
        match std::str::from_utf8(message) {
            Ok(text) if !text.contains('\0') => Ok(Attributes {
                rest: Some(text),
                malformed,
            }),
            _ => Err(WireError::Malformed { what: malformed }),
        }
    }

    /// What has not been cut yet.
    pub(super) fn rest(&self) -> &'a str {
        self.rest.unwrap_or_default()
    }

    /// Cuts up to the next comma, whatever stands there.
    pub(super) fn cut(&mut self) -> Result<&'a str, WireError> {
        let rest = self.rest.ok_or_else(|| self.error())?;
        match rest.split_once(',') {
            Some((cut, rest)) => {
                self.rest = Some(rest);
                Ok(cut)
            }
            None => {
                self.rest = None;
                Ok(rest)
            }
        }
    }

    /// Cuts the attribute of this name, which must be the next; its value.
    pub(super) fn attribute(&mut self, name: char) -> Result<&'a str, WireError> {
        let attribute = self.cut()?;
        attribute
            .strip_prefix(name)
            .and_then(|value| value.strip_prefix('='))
            .ok_or_else(|| self.error())
    }

    /// Cuts a nonce: printable ASCII.
    pub(super) fn nonce(&mut self) -> Result<&'a str, WireError> {
        let nonce = self.attribute('r')?;
        match nonce.bytes().all(|byte| byte.is_ascii_graphic()) {
            true => Ok(nonce),
            false => Err(self.error()),
        }
    }

    /// Refuses an extension that both sides would have to know.
    pub(super) fn no_mandatory_extension(&self) -> Result<(), WireError> {
        match self.rest().starts_with("m=") {
            true => Err(WireError::Unsupported {
                what: "a mandatory SCRAM extension".to_owned(),
            }),
            false => Ok(()),
        }
    }

    pub(super) fn error(&self) -> WireError {
        WireError::Malformed {
            what: self.malformed,
        }
    }
}

pub(super) fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// A base64 of exactly 32 bytes.
pub(super) fn decode_key(text: &str) -> Option<super::Key> {
    decode(text)?.try_into().ok()
}

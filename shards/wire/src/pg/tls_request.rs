//! Asking a database for TLS: SSLRequest and its one-byte answer.

use bytes::BytesMut;

use super::{frame::type_name, frontend};
use crate::{
    error::WireError,
    exchange::{Exchange, Progress},
};

/// What the database said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsAnswer {
    /// `S`: begin TLS.
    Accepted,
    /// `N`: go on without, or give up, as the tenant's `sslmode` says.
    Refused,
}

/// The dialogue. It is over after one byte.
#[derive(Debug, Default)]
pub struct TlsRequest {
    asked: bool,
}

impl Exchange for TlsRequest {
    type Outcome = TlsAnswer;

    fn advance(
        &mut self,
        inbound: &mut BytesMut,
        outbound: &mut BytesMut,
    ) -> Result<Progress<TlsAnswer>, WireError> {
        if !self.asked {
            self.asked = true;
            frontend::ssl_request(outbound);
        }
        let answer = match inbound[..] {
            [] => return Ok(Progress::NeedMore),
            [b'S'] => TlsAnswer::Accepted,
            [b'N'] => TlsAnswer::Refused,
            // Whatever follows is not authenticated, and must not be read as if it came later.
            [b'S' | b'N', ..] => {
                return Err(WireError::Unexpected {
                    expected: "a single byte in answer to SSLRequest",
                    got: "unencrypted data behind it".to_owned(),
                });
            }
            // Also an ErrorResponse: anybody in the middle could have written its text.
            [other, ..] => {
                return Err(WireError::Unexpected {
                    expected: "S or N in answer to SSLRequest",
                    got: type_name(other),
                });
            }
        };
        inbound.clear();
        Ok(Progress::Done(answer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(bytes: &[u8]) -> Result<Progress<TlsAnswer>, WireError> {
        TlsRequest::default().advance(&mut BytesMut::from(bytes), &mut BytesMut::new())
    }

    #[test]
    fn one_byte_answers_and_nothing_may_follow() {
        assert!(matches!(answer(b""), Ok(Progress::NeedMore)));
        assert!(matches!(
            answer(b"S"),
            Ok(Progress::Done(TlsAnswer::Accepted))
        ));
        assert!(matches!(
            answer(b"N"),
            Ok(Progress::Done(TlsAnswer::Refused))
        ));
        for bytes in [
            &b"SE\0\0\0\x04"[..],
            b"NR",
            b"E\0\0\0\x10Mforged\0",
            b"G",
            b"\x4a\0",
        ] {
            assert!(answer(bytes).is_err(), "{bytes:?}");
        }
    }
}

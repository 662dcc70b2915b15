//! Asking a database whether it answers: PostgreSQL's counterpart to MySQL's COM_PING.
//!
//! A Sync with nothing before it, which is answered by ReadyForQuery. A `SELECT 1` would say no more
//! and would drop the backend's unnamed statement, which belongs to somebody.

use bytes::BytesMut;

use super::frame::{compose, take_message, type_name};
use super::{TransactionStatus, error_response};
use crate::error::WireError;
use crate::exchange::{Exchange, Progress};

/// Sync, up to its ReadyForQuery. The backend must be idle and outside of a transaction.
#[derive(Debug, Default)]
pub struct Ping {
    asked: bool,
}

impl Exchange for Ping {
    type Outcome = ();

    fn advance(
        &mut self,
        inbound: &mut BytesMut,
        outbound: &mut BytesMut,
    ) -> Result<Progress<()>, WireError> {
        if !std::mem::replace(&mut self.asked, true) {
            compose(outbound, b'S', |_| {});
        }
        while let Some(message) = take_message(inbound, MAX_ANSWER)? {
            match (message.kind, &message.body[..]) {
                (b'Z', [status]) if *status == TransactionStatus::Idle.as_byte() => {
                    return Ok(Progress::Done(()));
                }
                // NoticeResponse, which concerns nobody.
                (b'N', _) => {}
                // An idle backend has no other error than its last words, such as 57P01.
                (b'E', _) => {
                    return Err(WireError::Refused(error_response::parse(message.body)));
                }
                // A ParameterStatus among them: nobody takes note of it here, so this backend is
                // no longer what its pool believes it to be.
                (kind, _) => {
                    return Err(WireError::Unexpected {
                        expected: "ReadyForQuery, outside of a transaction",
                        got: type_name(kind),
                    });
                }
            }
        }
        Ok(Progress::NeedMore)
    }
}

/// The largest message in the answer, in bytes; a notice may be long.
const MAX_ANSWER: usize = 64 << 10;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn feed(ping: &mut Ping, bytes: &[u8]) -> Result<Progress<()>, WireError> {
        ping.advance(&mut BytesMut::from(bytes), &mut BytesMut::new())
    }

    #[test]
    fn it_asks_once_and_is_done_with_ready_wherever_the_answer_is_cut() {
        let answer = b"N\0\0\0\x0bSNOTE\0\0Z\0\0\0\x05I";
        for cut in 0..answer.len() {
            let (mut ping, mut out) = (Ping::default(), BytesMut::new());
            let mut inbound = BytesMut::from(&answer[..cut]);
            let first = ping.advance(&mut inbound, &mut out).unwrap();
            assert!(matches!(first, Progress::NeedMore), "cut at {cut}");
            inbound.extend_from_slice(&answer[cut..]);
            let second = ping.advance(&mut inbound, &mut out).unwrap();
            assert!(matches!(second, Progress::Done(())), "cut at {cut}");
            assert_eq!(&out[..], b"S\0\0\0\x04");
        }
    }

    #[test]
    fn last_words_are_told() {
        let words = b"E\0\0\0\x12SFATAL\0C57P01\0\0";
        match feed(&mut Ping::default(), words) {
            Err(WireError::Refused(refusal)) => assert_eq!(refusal.sqlstate, "57P01"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_connection_that_is_out_of_step_or_in_a_transaction_is_no_answer() {
        for strange in [
            &b"Z\0\0\0\x05T"[..],
            b"2\0\0\0\x04",
            b"S\0\0\0\x08a\0b\0",
            b"G\0\0\0\x07\0\0\0",
        ] {
            let error = feed(&mut Ping::default(), strange).unwrap_err();
            assert!(matches!(error, WireError::Unexpected { .. }), "{error}");
        }
    }
}

//! Asking a database whether it answers: the shortest query there is, on a connection at rest.

use bytes::BytesMut;

use super::frame::{compose, put_string, take_message, type_name};
use super::{TransactionStatus, error_response};
use crate::error::WireError;
use crate::exchange::{Exchange, Progress};

/// `SELECT 1`, up to its ReadyForQuery. The backend must be idle and outside of a transaction.
#[derive(Debug, Default)]
pub struct Ping {
    asked: bool,
    /// The database answered with an error; its ReadyForQuery is still to come.
    refused: Option<WireError>,
}

impl Exchange for Ping {
    type Outcome = ();

    fn advance(
        &mut self,
        inbound: &mut BytesMut,
        outbound: &mut BytesMut,
    ) -> Result<Progress<()>, WireError> {
        if !std::mem::replace(&mut self.asked, true) {
            compose(outbound, b'Q', |body| put_string(body, b"SELECT 1"));
        }
        while let Some(message) = take_message(inbound, MAX_ANSWER)? {
            match (message.kind, &message.body[..]) {
                (b'Z', [status]) if *status == TransactionStatus::Idle.as_byte() => {
                    return self.refused.take().map_or(Ok(Progress::Done(())), Err);
                }
                // RowDescription, DataRow, CommandComplete; and what may come at any time:
                // NoticeResponse, ParameterStatus, NotificationResponse.
                (b'T' | b'D' | b'C' | b'N' | b'S' | b'A', _) => {}
                (b'E', _) => {
                    self.refused = Some(WireError::Refused(error_response::parse(message.body)));
                }
                (kind, _) => {
                    return Err(WireError::Unexpected {
                        expected: "the answer to SELECT 1, outside of a transaction",
                        got: type_name(kind),
                    });
                }
            }
        }
        // A FATAL error is the last thing that is said: no ReadyForQuery follows, but the end.
        Ok(Progress::NeedMore)
    }
}

/// The largest message in the answer, in bytes; a notice may be long.
const MAX_ANSWER: usize = 64 << 10;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const ANSWER: &[u8] =
        b"T\0\0\0\x21\0\x01?column?\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0\
        D\0\0\0\x0b\0\x01\0\0\0\x011C\0\0\0\x0dSELECT 1\0Z\0\0\0\x05I";

    fn feed(ping: &mut Ping, bytes: &[u8]) -> Result<Progress<()>, WireError> {
        ping.advance(&mut BytesMut::from(bytes), &mut BytesMut::new())
    }

    #[test]
    fn it_asks_once_and_is_done_with_ready_wherever_the_answer_is_cut() {
        for cut in 0..ANSWER.len() {
            let (mut ping, mut out) = (Ping::default(), BytesMut::new());
            let mut inbound = BytesMut::from(&ANSWER[..cut]);
            let first = ping.advance(&mut inbound, &mut out).unwrap();
            assert!(matches!(first, Progress::NeedMore), "cut at {cut}");
            inbound.extend_from_slice(&ANSWER[cut..]);
            let second = ping.advance(&mut inbound, &mut out).unwrap();
            assert!(matches!(second, Progress::Done(())), "cut at {cut}");
            assert_eq!(&out[..], b"Q\0\0\0\x0dSELECT 1\0");
        }
    }

    #[test]
    fn an_error_is_the_outcome_once_the_database_is_ready_again() {
        let mut ping = Ping::default();
        let error = b"E\0\0\0\x12SERROR\0C53100\0\0";
        assert!(matches!(feed(&mut ping, error), Ok(Progress::NeedMore)));
        match feed(&mut ping, b"Z\0\0\0\x05I") {
            Err(WireError::Refused(refusal)) => assert_eq!(refusal.sqlstate, "53100"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_connection_that_is_out_of_step_or_in_a_transaction_is_no_answer() {
        for strange in [&b"Z\0\0\0\x05T"[..], b"2\0\0\0\x04", b"G\0\0\0\x07\0\0\0"] {
            let error = feed(&mut Ping::default(), strange).unwrap_err();
            assert!(matches!(error, WireError::Unexpected { .. }), "{error}");
        }
    }
}

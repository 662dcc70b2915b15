//! Messages as frames: a type byte, a length that counts itself, a body.
//!
//! Whole small messages for the dialogues that have an end; nothing is allocated by announced
//! length. Long-lived traffic is followed by the [`walker`](super::walker), which keeps no bodies.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::error::WireError;

/// One complete message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The type byte.
    pub kind: u8,
    /// What follows the length.
    pub body: Bytes,
}

/// Takes the next complete message off the front of `inbound`, or nothing if it is not all here.
///
/// `limit` bounds the length field, which counts its own four bytes but not the type byte, as
/// PostgreSQL's own limits do.
pub fn take_message(inbound: &mut BytesMut, limit: usize) -> Result<Option<Message>, WireError> {
    let Some(header) = inbound.first_chunk::<HEADER>() else {
        return Ok(None);
    };
    let [kind, length @ ..] = *header;
    let length = u32::from_be_bytes(length) as usize;
    if length < LENGTH {
        return Err(WireError::Malformed {
            what: "message length",
        });
    }
    if length > limit {
        return Err(WireError::TooLarge {
            what: "message",
            limit,
        });
    }
    if inbound.len() < 1 + length {
        return Ok(None);
    }
    let mut frame = inbound.split_to(1 + length);
    frame.advance(HEADER);
    Ok(Some(Message {
        kind,
        body: frame.freeze(),
    }))
}

/// Appends a message: its type, its length, and the body that `write` appends.
pub(crate) fn compose(out: &mut BytesMut, kind: u8, write: impl FnOnce(&mut BytesMut)) {
    out.put_u8(kind);
    compose_untyped(out, write);
}

/// Appends a message without a type byte, which only a client's first messages are.
pub(crate) fn compose_untyped(out: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_u32(0);
    write(out);
    // Every composed body is bounded far below 4 GiB by the limits of its parts.
    let length = (out.len() - start) as u32;
    out[start..start + LENGTH].copy_from_slice(&length.to_be_bytes());
}

/// Appends a string and its NUL. A NUL inside would let the rest be read as another field, so the
/// string ends at its first one.
pub(crate) fn put_string(out: &mut BytesMut, text: &[u8]) {
    let end = text
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(text.len());
    out.put_slice(&text[..end]);
    out.put_u8(0);
}

/// Cuts a NUL-terminated string off the front of `rest`, without its NUL.
pub(crate) fn cut_string(rest: &mut Bytes) -> Option<Bytes> {
    let end = rest.iter().position(|&byte| byte == 0)?;
    let text = rest.split_to(end);
    rest.advance(1);
    Some(text)
}

/// Cuts a big-endian 32-bit number off the front of `rest`.
pub(crate) fn cut_i32(rest: &mut Bytes) -> Option<i32> {
    (rest.len() >= 4).then(|| rest.get_i32())
}

/// A type byte as text for an error: the letter, or its number when it is not printable.
pub(crate) fn type_name(kind: u8) -> String {
    if kind.is_ascii_graphic() {
        format!("message type '{}'", kind as char)
    } else {
        format!("message type {kind}")
    }
}

/// Bytes of a type byte and a length.
pub(crate) const HEADER: usize = 5;

/// Bytes of a length field.
const LENGTH: usize = 4;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_message_is_taken_when_it_is_whole() {
        let mut inbound = BytesMut::from(&b"Z\0\0\0\x05"[..]);
        assert_eq!(take_message(&mut inbound, 100), Ok(None));
        inbound.put_slice(b"Irest");
        let message = take_message(&mut inbound, 100).unwrap().unwrap();
        assert_eq!((message.kind, &message.body[..]), (b'Z', &b"I"[..]));
        assert_eq!(&inbound[..], b"rest");
    }

    #[test]
    fn lengths_that_cannot_be_are_errors_before_the_body_comes() {
        for (length, limit) in [(3_u32, 100), (0, 100), (101, 100), (u32::MAX, 100)] {
            let mut inbound = BytesMut::from(&b"p"[..]);
            inbound.put_u32(length);
            assert!(take_message(&mut inbound, limit).is_err(), "{length}");
        }
    }

    #[test]
    fn composing_writes_the_length_and_no_inner_nul() {
        let mut out = BytesMut::new();
        compose(&mut out, b'p', |body| put_string(body, b"ab\0cd"));
        assert_eq!(&out[..], b"p\0\0\0\x07ab\0");
    }
}

//! Packets: the three-byte length, the sequence id, and the fragments of long payloads.
//!
//! Knows where a packet begins and ends, not what it says. Whole payloads are cut here for
//! dialogues only, under a limit; the relay follows packets by their fronts (`walker`) and never
//! holds a payload.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::error::WireError;

/// A complete packet of a dialogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Counts the packets of one exchange, from 0, around at 255.
    pub sequence: u8,
    /// What stands behind the header.
    pub payload: Bytes,
}

/// The first four bytes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Bytes of payload that follow, 0 to [`FRAGMENT`].
    pub length: usize,
    /// The sequence id.
    pub sequence: u8,
}

impl Header {
    /// Reads the header at the front of `bytes`; `None` if fewer than four have arrived.
    pub fn peek(bytes: &[u8]) -> Option<Header> {
        match bytes {
            [low, middle, high, sequence, ..] => Some(Header {
                length: usize::from(*low) | usize::from(*middle) << 8 | usize::from(*high) << 16,
                sequence: *sequence,
            }),
            _ => None,
        }
    }
}

/// Takes one complete packet from the front of `inbound`, or nothing while it is incomplete.
///
/// Refuses by the header alone a payload above `limit` (which is below [`FRAGMENT`], so no dialogue
/// ever joins fragments) and a sequence id other than `expected`.
pub fn take(
    inbound: &mut BytesMut,
    limit: usize,
    expected: u8,
) -> Result<Option<Packet>, WireError> {
    debug_assert!(limit < FRAGMENT);
    let Some(header) = Header::peek(inbound) else {
        return Ok(None);
    };
    if header.sequence != expected {
        return Err(WireError::Unexpected {
            expected: "the next sequence id",
            got: format!("{} instead of {expected}", header.sequence),
        });
    }
    if header.length > limit {
        return Err(WireError::TooLarge {
            what: "packet",
            limit,
        });
    }
    if inbound.len() < HEADER + header.length {
        return Ok(None);
    }
    inbound.advance(HEADER);
    let payload = inbound.split_to(header.length).freeze();
    Ok(Some(Packet {
        sequence: header.sequence,
        payload,
    }))
}

/// Appends `payload` as one packet, or as several if it is long, and answers the sequence id that
/// follows. A payload whose length is a multiple of [`FRAGMENT`] ends with an empty packet.
pub fn put(out: &mut BytesMut, sequence: u8, payload: &[u8]) -> u8 {
    let mut sequence = sequence;
    let mut rest = payload;
    loop {
        let (fragment, tail) = rest.split_at(rest.len().min(FRAGMENT));
        out.reserve(HEADER + fragment.len());
        out.put_uint_le(fragment.len() as u64, 3);
        out.put_u8(sequence);
        out.put_slice(fragment);
        sequence = sequence.wrapping_add(1);
        rest = tail;
        if fragment.len() < FRAGMENT {
            return sequence;
        }
    }
}

/// Bytes of a packet's header.
pub const HEADER: usize = 4;

/// Payload of a full fragment; a packet of this length is continued in the next one.
pub const FRAGMENT: usize = 0xFF_FFFF;

/// Largest payload accepted before a login is complete, in either direction. Connection attributes
/// may take 64 KiB by themselves at a server; what real drivers send stays below 4 KiB.
pub const MAX_LOGIN_PACKET: usize = 0xFFFF;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_packet_is_taken_once_complete_and_what_follows_stays() {
        let mut inbound = BytesMut::from(&b"\x03\x00\x00\x01ab"[..]);
        assert_eq!(take(&mut inbound, 100, 1).unwrap(), None);
        inbound.extend_from_slice(b"cNEXT");
        let packet = take(&mut inbound, 100, 1).unwrap().unwrap();
        assert_eq!((packet.sequence, &packet.payload[..]), (1, &b"abc"[..]));
        assert_eq!(&inbound[..], b"NEXT");
    }

    #[test]
    fn size_and_order_are_judged_by_the_header_alone() {
        let mut inbound = BytesMut::from(&b"\x65\x00\x00\x01"[..]);
        assert!(matches!(
            take(&mut inbound, 100, 1),
            Err(WireError::TooLarge { limit: 100, .. })
        ));
        assert!(matches!(
            take(&mut inbound, 200, 2),
            Err(WireError::Unexpected { .. })
        ));
    }

    #[test]
    fn long_payloads_are_fragmented_and_an_exact_multiple_ends_empty() {
        let mut out = BytesMut::new();
        assert_eq!(put(&mut out, 255, &vec![7; FRAGMENT]), 1);
        assert_eq!(&out[..4], &[0xFF, 0xFF, 0xFF, 255]);
        assert_eq!(&out[HEADER + FRAGMENT..], &[0, 0, 0, 0]);

        out.clear();
        assert_eq!(put(&mut out, 0, &vec![7; FRAGMENT + 2]), 2);
        assert_eq!(&out[HEADER + FRAGMENT..], &[2, 0, 0, 1, 7, 7]);
    }
}

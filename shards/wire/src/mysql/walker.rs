//! Cutting a stream of packets into their fronts, without holding it.
//!
//! The relay's hot path: no allocation, one step for each packet however long. Used on the bytes a
//! database sends; what they mean is [`super::replies`]'s business. What a client sends goes through
//! [`super::watch`], which must be able to stop before a command.

use super::packet::{FRAGMENT, HEADER, Header};

/// Where a stream of packets stands between two chunks.
#[derive(Debug, Clone)]
pub struct Walker {
    /// The header and the front of a packet that a chunk's end cut.
    held: [u8; HEADER + FRONT],
    /// How many of these bytes there are.
    count: usize,
    /// Bytes of the current packet, behind its front, that have not come.
    remaining: usize,
    /// The last packet was a full fragment: the next one continues it.
    continues: bool,
}

/// The beginning of a packet: all that is ever looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Front {
    /// Bytes of the whole payload.
    pub length: usize,
    /// The sequence id.
    pub sequence: u8,
    /// This is no packet of its own but goes on with the one before; its bytes say nothing.
    pub continues: bool,
    /// The first bytes of the payload, and zeros behind its end.
    bytes: [u8; FRONT],
}

impl Front {
    /// The first bytes of the payload, [`FRONT`] at most.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length.min(FRONT)]
    }
}

impl Default for Walker {
    fn default() -> Self {
        Walker {
            held: [0; HEADER + FRONT],
            count: 0,
            remaining: 0,
            continues: false,
        }
    }
}

impl Walker {
    /// The next front that `chunk` completes; it advances behind what was looked at, to its end if
    /// there is none. Chunks may be cut anywhere, and every byte sequence is a stream of packets, so
    /// nothing can be wrong here.
    pub fn next(&mut self, chunk: &mut &[u8]) -> Option<Front> {
        loop {
            let passed = chunk.len().min(self.remaining);
            self.remaining -= passed;
            *chunk = &chunk[passed..];
            if chunk.is_empty() {
                return None;
            }
            let taken = chunk.len().min(self.wanted() - self.count);
            self.held[self.count..][..taken].copy_from_slice(&chunk[..taken]);
            self.count += taken;
            *chunk = &chunk[taken..];
            // A complete header makes the wanted bytes more, unless the packet is empty.
            if let Some(header) = Header::peek(&self.held[..self.count])
                && self.count == self.wanted()
            {
                return Some(self.begin(header));
            }
        }
    }

    /// Whether the last byte looked at was the last one of a packet: here, and only here, may a
    /// packet of our own be put into the stream.
    pub fn at_boundary(&self) -> bool {
        self.count == 0 && self.remaining == 0 && !self.continues
    }

    /// How many bytes make the current packet's front complete, its header included.
    fn wanted(&self) -> usize {
        match Header::peek(&self.held[..self.count]) {
            Some(header) if !self.continues => HEADER + header.length.min(FRONT),
            _ => HEADER,
        }
    }

    fn begin(&mut self, Header { length, sequence }: Header) -> Front {
        let mut bytes = [0; FRONT];
        let known = self.count - HEADER;
        bytes[..known].copy_from_slice(&self.held[HEADER..][..known]);
        let continues = self.continues;
        self.count = 0;
        self.remaining = length - known;
        self.continues = length == FRAGMENT;
        Front {
            length,
            sequence,
            continues,
            bytes,
        }
    }
}

/// Bytes of a payload that are looked at: the longest front of an OK packet up to its text, which is
/// its first byte, two numbers of nine bytes, and two of two bytes.
pub const FRONT: usize = 1 + 9 + 9 + 2 + 2;

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::mysql::packet::put;

    fn stream() -> BytesMut {
        let mut out = BytesMut::new();
        put(&mut out, 1, b"\x02");
        put(&mut out, 2, b"\xFF\x00\x00#a text longer than any front");
        put(&mut out, 3, b"");
        put(&mut out, 4, b"\x00\x00\x00\x02\x00\x00\x00");
        out
    }

    fn fronts<'a>(walker: &mut Walker, chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Front> {
        let mut fronts = Vec::new();
        for mut chunk in chunks {
            fronts.extend(std::iter::from_fn(|| walker.next(&mut chunk)));
            assert!(chunk.is_empty());
        }
        fronts
    }

    #[test]
    fn fronts_are_the_same_however_the_stream_is_cut() {
        let stream = stream();
        let whole = fronts(&mut Walker::default(), [&stream[..]]);
        let seen: Vec<_> = whole
            .iter()
            .map(|front| (front.sequence, front.length, front.bytes()))
            .collect();
        let second = b"\xFF\x00\x00#a text longer than any front";
        assert_eq!(
            seen,
            [
                (1, 1, &b"\x02"[..]),
                (2, second.len(), &second[..FRONT]),
                (3, 0, b""),
                (4, 7, b"\x00\x00\x00\x02\x00\x00\x00"),
            ]
        );
        for cut in 0..=stream.len() {
            let mut walker = Walker::default();
            assert_eq!(fronts(&mut walker, [&stream[..cut], &stream[cut..]]), whole);
            assert!(walker.at_boundary(), "cut at {cut}");
        }
        assert_eq!(fronts(&mut Walker::default(), stream.chunks(1)), whole);
    }

    #[test]
    fn a_boundary_is_where_a_packet_has_ended_and_nowhere_else() {
        let stream = stream();
        let mut walker = Walker::default();
        let boundaries: Vec<usize> = (1..=stream.len())
            .filter(|&at| {
                fronts(&mut walker, [&stream[at - 1..at]]);
                walker.at_boundary()
            })
            .collect();
        assert_eq!(boundaries, [5, 41, 45, 56]);
    }

    #[test]
    fn a_full_fragment_is_no_boundary_and_what_continues_it_says_nothing() {
        let mut long = BytesMut::new();
        let mut payload = vec![b'a'; FRAGMENT];
        payload.push(0xFF);
        put(&mut long, 255, &payload);
        let (mut walker, half) = (Walker::default(), HEADER + FRAGMENT);
        let first = fronts(&mut walker, [&long[..half]]);
        assert!(!walker.at_boundary());
        let second = fronts(&mut walker, [&long[half..]]);
        assert!(walker.at_boundary());
        assert_eq!((first.len(), second.len()), (1, 1));
        assert_eq!((first[0].sequence, first[0].continues), (255, false));
        assert_eq!((second[0].sequence, second[0].continues), (0, true));
    }
}

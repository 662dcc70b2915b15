//! Following packet headers through a stream without holding it.
//!
//! The relay's hot path: no allocation, eight bytes of state, one step for each packet however
//! long. Used on the bytes a database sends; what a client sends goes through [`super::watch`],
//! which must be able to stop before a command.

use super::packet::{FRAGMENT, HEADER, Header};

/// Where a stream of packets stands between two chunks.
#[derive(Debug, Clone, Default)]
pub struct Walker {
    /// The bytes of a header that a chunk's end cut.
    header: [u8; HEADER],
    /// How many of them there are; 4 while the header is whole but the packet's first byte is due.
    held: u8,
    /// Bytes of the current packet's payload that have not come.
    remaining: u32,
    /// The sequence id of the last header seen.
    sequence: u8,
    /// The last packet was a full fragment: the next one continues it.
    continues: bool,
}

/// What passed in one chunk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Walked {
    /// Headers that were completed, fragments counted singly.
    pub packets: u32,
    /// ERR packets among them. No row and no OK begins with `0xFF`, so the first byte tells.
    pub errors: u32,
}

impl Walker {
    /// Follows `chunk`, which may begin and end anywhere. Every byte sequence is a stream of
    /// packets, so nothing can be wrong here; what the packets mean is their receiver's business.
    pub fn feed(&mut self, mut chunk: &[u8]) -> Walked {
        let mut walked = Walked::default();
        while !chunk.is_empty() {
            if self.remaining > 0 && usize::from(self.held) < HEADER {
                let passed = chunk.len().min(self.remaining as usize);
                self.remaining -= passed as u32;
                chunk = &chunk[passed..];
            } else if usize::from(self.held) == HEADER {
                walked.errors += u32::from(chunk[0] == ERR);
                self.held = 0;
            } else {
                let passed = chunk.len().min(HEADER - usize::from(self.held));
                self.header[usize::from(self.held)..][..passed].copy_from_slice(&chunk[..passed]);
                self.held += passed as u8;
                chunk = &chunk[passed..];
                if usize::from(self.held) == HEADER {
                    walked.packets += 1;
                    self.begin();
                }
            }
        }
        walked
    }

    /// Whether the last byte fed was the last one of a packet: here, and only here, may a packet of
    /// our own be put into the stream.
    pub fn at_boundary(&self) -> bool {
        self.held == 0 && self.remaining == 0 && !self.continues
    }

    /// The sequence id for a packet of our own behind the last one seen.
    pub fn next_sequence(&self) -> u8 {
        self.sequence.wrapping_add(1)
    }

    /// Takes the header that has just been completed.
    fn begin(&mut self) {
        let Header { length, sequence } = Header::peek(&self.header).unwrap_or(Header {
            length: 0,
            sequence: 0,
        });
        let first_byte_matters = length > 0 && !self.continues;
        self.held = if first_byte_matters { HEADER as u8 } else { 0 };
        self.remaining = length as u32;
        self.sequence = sequence;
        self.continues = length == FRAGMENT;
    }
}

const ERR: u8 = 0xFF;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mysql::packet::put;
    use bytes::BytesMut;

    fn stream() -> BytesMut {
        let mut out = BytesMut::new();
        put(&mut out, 1, b"\x02");
        put(&mut out, 2, b"\xFF\x00\x00oops");
        put(&mut out, 3, b"");
        put(&mut out, 4, b"\x00\x00\x00\x02\x00\x00\x00");
        out
    }

    #[test]
    fn packets_and_errors_are_counted_the_same_however_the_stream_is_cut() {
        let stream = stream();
        for cut in 0..=stream.len() {
            let mut walker = Walker::default();
            let (a, b) = (walker.feed(&stream[..cut]), walker.feed(&stream[cut..]));
            assert_eq!(
                (a.packets + b.packets, a.errors + b.errors),
                (4, 1),
                "cut at {cut}"
            );
            assert!(walker.at_boundary());
            assert_eq!(walker.next_sequence(), 5);
        }
    }

    #[test]
    fn a_boundary_is_where_a_packet_has_ended_and_nowhere_else() {
        let stream = stream();
        let mut walker = Walker::default();
        let boundaries: Vec<usize> = (1..=stream.len())
            .filter(|&at| {
                walker.feed(&stream[at - 1..at]);
                walker.at_boundary()
            })
            .collect();
        assert_eq!(boundaries, [5, 16, 20, 31]);
    }

    #[test]
    fn a_full_fragment_is_no_boundary_and_its_continuation_has_no_type() {
        let mut long = BytesMut::new();
        let mut payload = vec![b'a'; FRAGMENT];
        payload.push(ERR);
        put(&mut long, 0, &payload);
        let mut walker = Walker::default();
        assert_eq!(
            walker.feed(&long[..HEADER + FRAGMENT]),
            Walked {
                packets: 1,
                errors: 0
            }
        );
        assert!(!walker.at_boundary());
        assert_eq!(
            walker.feed(&long[HEADER + FRAGMENT..]),
            Walked {
                packets: 1,
                errors: 0
            }
        );
        assert!(walker.at_boundary());
    }
}

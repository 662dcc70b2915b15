//! KILL: found in what a client sends, and pointed at the backend that is meant.
//!
//! A client knows its connections by ids of ours. Knows the statement's grammar
//! (`KILL [HARD|SOFT] [CONNECTION|QUERY] id`), not whose ids they are.

use std::ops::Range;

use bytes::BytesMut;

use super::command::{COM_PROCESS_KILL, COM_QUERY};
use super::packet;

/// A KILL with a number in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kill {
    /// The id that stands there.
    pub id: u32,
    payload: Vec<u8>,
    /// Where in the payload the id stands, in digits or in four bytes.
    place: Range<usize>,
}

impl Kill {
    /// Reads the payload of a COM_QUERY or COM_PROCESS_KILL; `None` if it is no KILL, or one whose
    /// id is no plain number: that is then the server's to judge.
    pub fn parse(payload: &[u8]) -> Option<Kill> {
        match payload {
            [COM_PROCESS_KILL, id @ ..] => Some(Kill {
                id: u32::from_le_bytes(id.try_into().ok()?),
                payload: payload.to_vec(),
                place: 1..5,
            }),
            [COM_QUERY, ..] => parse_statement(payload),
            _ => None,
        }
    }

    /// Appends the command with another id in the place of its own.
    pub fn put_with(&self, id: u32, out: &mut BytesMut) {
        let mut payload = self.payload[..self.place.start].to_vec();
        match self.payload[0] {
            COM_PROCESS_KILL => payload.extend_from_slice(&id.to_le_bytes()),
            _ => payload.extend_from_slice(id.to_string().as_bytes()),
        }
        payload.extend_from_slice(&self.payload[self.place.end..]);
        packet::put(out, 0, &payload);
    }
}

/// Whether a COM_QUERY whose text begins with `first` may be a KILL: by that word, or by what may
/// stand before it.
pub(super) fn may_begin(first: u8) -> bool {
    matches!(first, b'k' | b'K' | b'/' | b'-' | b'#') || first.is_ascii_whitespace()
}

fn parse_statement(payload: &[u8]) -> Option<Kill> {
    let mut words = Words {
        text: payload,
        at: 1,
    };
    words.next().filter(|word| words.is(word, "KILL"))?;
    let mut word = words.next()?;
    for options in [["HARD", "SOFT"], ["CONNECTION", "QUERY"]] {
        if options.iter().any(|option| words.is(&word, option)) {
            word = words.next()?;
        }
    }
    let digits = std::str::from_utf8(&payload[word.clone()]).ok()?;
    let id = digits
        .parse()
        .ok()
        .filter(|_| digits.bytes().all(|b| b.is_ascii_digit()))?;
    let rest = words.next();
    let end_of_statement = match rest {
        None => true,
        Some(rest) => &payload[rest] == b";" && words.next().is_none(),
    };
    end_of_statement.then(|| Kill {
        id,
        payload: payload.to_vec(),
        place: word,
    })
}

/// Splits a statement into words, without spaces and comments. A comment with code in it (`/*!`) is
/// a word, and so is a comment that does not end: neither is any word of KILL's.
struct Words<'a> {
    text: &'a [u8],
    at: usize,
}

impl Words<'_> {
    fn next(&mut self) -> Option<Range<usize>> {
        self.skip_blank();
        let rest = &self.text[self.at..];
        let length = match rest.first()? {
            b if is_word(*b) => rest.iter().take_while(|b| is_word(**b)).count(),
            _ => 1,
        };
        let word = self.at..self.at + length;
        self.at = word.end;
        Some(word)
    }

    fn is(&self, word: &Range<usize>, keyword: &str) -> bool {
        self.text[word.clone()].eq_ignore_ascii_case(keyword.as_bytes())
    }

    fn skip_blank(&mut self) {
        loop {
            let rest = &self.text[self.at..];
            let skipped = match rest {
                [b, ..] if b.is_ascii_whitespace() => Some(1),
                [b'/', b'*', b'!', ..] | [b'/', b'*', b'M', b'!', ..] => None,
                [b'/', b'*', body @ ..] => body
                    .windows(2)
                    .position(|pair| pair == b"*/")
                    .map(|end| 2 + end + 2),
                [b'#', ..] => Some(line(rest)),
                [b'-', b'-', b, ..] if b.is_ascii_whitespace() => Some(line(rest)),
                _ => None,
            };
            match skipped {
                Some(count) => self.at += count,
                None => return,
            }
        }
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || !byte.is_ascii()
}

/// The length of a line, its end included.
fn line(text: &[u8]) -> usize {
    text.iter()
        .position(|&b| b == b'\n')
        .map_or(text.len(), |end| end + 1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn query(text: &str) -> Option<Kill> {
        Kill::parse(format!("\x03{text}").as_bytes())
    }

    #[test]
    fn kill_is_found_in_every_spelling() {
        for text in [
            "KILL 5",
            "kill query 5",
            "Kill Connection 5;",
            "KILL HARD QUERY 5",
            "kill soft connection 5 ; ",
            "  \n\tKILL\n5",
            "/* app */ KILL /* it */ 5 -- now",
            "-- a line\nKILL 5 # end",
            "#x\nkill 5",
        ] {
            let kill = query(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(kill.id, 5, "{text}");
            assert!(may_begin(text.as_bytes()[0]), "{text}");
        }
    }

    #[test]
    fn what_is_no_plain_kill_is_left_to_the_server() {
        for text in [
            "",
            "KILL",
            "KILL QUERY",
            "KILL @x",
            "KILL 5 + 1",
            "KILL 5, 6",
            "KILL 5; KILL 6",
            "KILL QUERY ID 5",
            "KILL USER bob",
            "KILL '5'",
            "KILL 0x5",
            "KILL -5",
            "KILL +5",
            "KILL 99999999999",
            "KILLER 5",
            "SELECT 'KILL 5'",
            "/*! KILL 5 */",
            "/* KILL 5",
            "--KILL 5",
            "KILL CONNECTION HARD 5",
        ] {
            assert_eq!(query(text), None, "{text}");
        }
        assert_eq!(Kill::parse(b""), None);
        assert_eq!(Kill::parse(b"\x0C\x05\x00\x00"), None);
    }

    #[test]
    fn only_the_id_is_rewritten() {
        let mut out = BytesMut::new();
        query("/* 5 */ KILL QUERY 5; -- 5")
            .unwrap()
            .put_with(123, &mut out);
        assert_eq!(&out[3..], b"\x00\x03/* 5 */ KILL QUERY 123; -- 5");

        out.clear();
        let kill = Kill::parse(b"\x0C\x05\x00\x00\x80").unwrap();
        assert_eq!(kill.id, 0x8000_0005);
        kill.put_with(7, &mut out);
        assert_eq!(&out[..], b"\x05\x00\x00\x00\x0C\x07\x00\x00\x00");
    }
}

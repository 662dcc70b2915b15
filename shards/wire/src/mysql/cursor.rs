//! Integers and strings inside a payload: fixed, NUL-terminated and length-encoded.
//!
//! Every read is checked against what is left; a failure names the field that was being read.

use bytes::{BufMut, BytesMut};

use crate::error::WireError;

/// Reads a payload from front to back.
#[derive(Debug, Clone)]
pub struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// Starts at the first byte of `payload`.
    pub fn new(payload: &'a [u8]) -> Self {
        Cursor { rest: payload }
    }

    /// What has not been read.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether everything has been read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `count` bytes.
    pub fn bytes(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or(WireError::Malformed { what })?;
        self.rest = rest;
        Ok(taken)
    }

    /// One byte.
    pub fn u8(&mut self, what: &'static str) -> Result<u8, WireError> {
        self.uint(1, what).map(|value| value as u8)
    }

    /// Two bytes, little-endian.
    pub fn u16(&mut self, what: &'static str) -> Result<u16, WireError> {
        self.uint(2, what).map(|value| value as u16)
    }

    /// Four bytes, little-endian.
    pub fn u32(&mut self, what: &'static str) -> Result<u32, WireError> {
        self.uint(4, what).map(|value| value as u32)
    }

    /// A length-encoded integer. `0xFB` (NULL) and `0xFF` (ERR) are not integers.
    pub fn lenenc(&mut self, what: &'static str) -> Result<u64, WireError> {
        match self.u8(what)? {
            small @ 0..=0xFA => Ok(u64::from(small)),
            0xFC => self.uint(2, what),
            0xFD => self.uint(3, what),
            0xFE => self.uint(8, what),
            0xFB | 0xFF => Err(WireError::Malformed { what }),
        }
    }

    /// A string behind its length-encoded length.
    pub fn lenenc_bytes(&mut self, what: &'static str) -> Result<&'a [u8], WireError> {
        let length = self.lenenc(what)?;
        self.bytes(usize::try_from(length).unwrap_or(usize::MAX), what)
    }

    /// A string up to its NUL, which is read and left out.
    pub fn nul_bytes(&mut self, what: &'static str) -> Result<&'a [u8], WireError> {
        let end = self
            .rest
            .iter()
            .position(|&b| b == 0)
            .ok_or(WireError::Malformed { what })?;
        let text = &self.rest[..end];
        self.rest = &self.rest[end + 1..];
        Ok(text)
    }

    /// A string up to its NUL or, where some peers leave that out, to the end of the packet.
    pub fn nul_or_end(&mut self) -> &'a [u8] {
        let end = self.rest.iter().position(|&b| b == 0);
        let text = &self.rest[..end.unwrap_or(self.rest.len())];
        self.rest = end.map_or(&[], |end| &self.rest[end + 1..]);
        text
    }

    fn uint(&mut self, width: usize, what: &'static str) -> Result<u64, WireError> {
        let bytes = self.bytes(width, what)?;
        Ok(bytes
            .iter()
            .rev()
            .fold(0, |value, &byte| value << 8 | u64::from(byte)))
    }
}

/// Appends a length-encoded integer.
pub fn put_lenenc(out: &mut BytesMut, value: u64) {
    match value {
        0..=0xFA => out.put_u8(value as u8),
        0xFB..=0xFFFF => {
            out.put_u8(0xFC);
            out.put_u16_le(value as u16);
        }
        0x1_0000..=0xFF_FFFF => {
            out.put_u8(0xFD);
            out.put_uint_le(value, 3);
        }
        _ => {
            out.put_u8(0xFE);
            out.put_u64_le(value);
        }
    }
}

/// Appends a string behind its length-encoded length.
pub fn put_lenenc_bytes(out: &mut BytesMut, text: &[u8]) {
    put_lenenc(out, text.len() as u64);
    out.put_slice(text);
}

/// Appends a string and its NUL. A NUL inside the text would end it early for the reader, so the
/// text is cut there.
pub fn put_nul_bytes(out: &mut BytesMut, text: &[u8]) {
    out.put_slice(Cursor::new(text).nul_or_end());
    out.put_u8(0);
}

/// The bytes a length-encoded string of `length` takes, its own length included.
pub fn lenenc_size(length: usize) -> usize {
    length
        + match length {
            0..=0xFA => 1,
            0xFB..=0xFFFF => 3,
            0x1_0000..=0xFF_FFFF => 4,
            _ => 9,
        }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lenenc_integers_survive_the_way_there_and_back_at_every_edge() {
        for value in [
            0,
            0xFA,
            0xFB,
            0xFFFF,
            0x1_0000,
            0xFF_FFFF,
            0x100_0000,
            u64::from(u32::MAX),
            u64::MAX,
        ] {
            let mut out = BytesMut::new();
            put_lenenc(&mut out, value);
            let mut cursor = Cursor::new(&out);
            assert_eq!(cursor.lenenc("value").unwrap(), value);
            assert!(cursor.is_empty());
            for cut in 0..out.len() {
                assert!(
                    Cursor::new(&out[..cut]).lenenc("value").is_err(),
                    "{value} cut at {cut}"
                );
            }
        }
    }

    #[test]
    fn a_length_beyond_the_payload_is_malformed_whatever_its_size() {
        assert!(Cursor::new(b"\x05abcd").lenenc_bytes("text").is_err());
        assert!(
            Cursor::new(b"\xFE\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFFabcd")
                .lenenc_bytes("x")
                .is_err()
        );
        assert!(Cursor::new(b"\xFB").lenenc("NULL").is_err());
        assert!(Cursor::new(b"\xFF").lenenc("ERR").is_err());
    }

    #[test]
    fn the_size_of_a_lenenc_string_is_what_it_takes() {
        for length in [0, 0xFA, 0xFB, 0xFFFF, 0x1_0000] {
            let mut out = BytesMut::new();
            put_lenenc_bytes(&mut out, &vec![b'x'; length]);
            assert_eq!(out.len(), lenenc_size(length));
        }
    }

    #[test]
    fn a_nul_may_be_missing_only_where_the_reader_says_so() {
        assert!(Cursor::new(b"abc").nul_bytes("user").is_err());
        let mut cursor = Cursor::new(b"abc");
        assert_eq!(
            (cursor.nul_or_end(), cursor.is_empty()),
            (&b"abc"[..], true)
        );
        let mut cursor = Cursor::new(b"ab\0c");
        assert_eq!(
            (cursor.nul_or_end(), cursor.rest()),
            (&b"ab"[..], &b"c"[..])
        );
    }
}

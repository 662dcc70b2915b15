//! OK, ERR and EOF: the packets that end a command, composed and parsed.
//!
//! They take the capabilities as an argument since their layout depends on them. Payloads only;
//! [`super::packet`] puts the header in front.

use bytes::{BufMut, BytesMut};

use super::code::Code;
use super::cursor::Cursor;
use super::packet;
use crate::error::{Refusal, WireError};

/// An OK packet, as far as its receiver decides anything by it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OkPacket {
    /// The flags of [`status`](super::status).
    pub status: u16,
}

impl OkPacket {
    /// Reads the payload of an OK packet, whatever its first byte (`0x00`, or `0xFE` at the end of a
    /// result set): rows changed, last insert id, status, warnings; text and session changes are left unread. Protocol 4.1 is
    /// presupposed.
    pub fn parse(payload: &[u8]) -> Result<OkPacket, WireError> {
        let mut cursor = Cursor::new(payload);
        cursor.u8("OK packet")?;
        cursor.lenenc("affected rows of OK")?;
        cursor.lenenc("last insert id of OK")?;
        let status = cursor.u16("status flags of OK")?;
        cursor.u16("warnings of OK")?;
        Ok(OkPacket { status })
    }
}

/// An EOF packet: the end of definitions or rows for clients without
/// [`Capabilities::DEPRECATE_EOF`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EofPacket {
    /// How many warnings wait.
    pub warnings: u16,
    /// The flags of [`status`](super::status).
    pub status: u16,
}

impl EofPacket {
    /// Reads the five bytes of an EOF packet.
    pub fn parse(payload: &[u8]) -> Result<EofPacket, WireError> {
        let mut cursor = Cursor::new(payload);
        if cursor.u8("EOF packet")? != EOF {
            return Err(WireError::Malformed { what: "EOF packet" });
        }
        Ok(EofPacket {
            warnings: cursor.u16("EOF packet")?,
            status: cursor.u16("EOF packet")?,
        })
    }
}

/// Appends an ERR packet with its SQLSTATE, and answers the next sequence id. The text is cut to
/// [`MAX_ERROR_TEXT`].
pub fn put_err(out: &mut BytesMut, sequence: u8, code: Code, text: &str) -> u8 {
    put_error(out, sequence, code, text, true)
}

/// Appends an ERR packet in place of the greeting. Nothing has been agreed then, so there is no
/// SQLSTATE: clients would take it for text.
pub fn put_err_before_greeting(out: &mut BytesMut, code: Code, text: &str) -> u8 {
    put_error(out, 0, code, text, false)
}

fn put_error(out: &mut BytesMut, sequence: u8, code: Code, text: &str, with_state: bool) -> u8 {
    let text = &text[..text.floor_char_boundary(MAX_ERROR_TEXT)];
    let mut payload = BytesMut::with_capacity(9 + text.len());
    payload.put_u8(ERR);
    payload.put_u16_le(code.number);
    if with_state {
        payload.put_u8(b'#');
        payload.put_slice(code.sqlstate.as_bytes());
    }
    payload.put_slice(text.as_bytes());
    packet::put(out, sequence, &payload)
}

/// Reads the payload of an ERR packet, with or without its SQLSTATE. The text is cut to
/// [`MAX_ERROR_TEXT`] and what is not UTF-8 in it is replaced.
pub fn parse_err(payload: &[u8]) -> Result<Refusal, WireError> {
    let mut cursor = Cursor::new(payload);
    if cursor.u8("ERR packet")? != ERR {
        return Err(WireError::Malformed { what: "ERR packet" });
    }
    let number = cursor.u16("number of ERR")?;
    let (sqlstate, text) = match cursor.rest() {
        [b'#', rest @ ..] if rest.len() >= 5 && rest[..5].is_ascii() => rest.split_at(5),
        rest => (&b"HY000"[..], rest),
    };
    let text = &text[..text.len().min(MAX_ERROR_TEXT)];
    Ok(Refusal {
        sqlstate: String::from_utf8_lossy(sqlstate).into_owned(),
        number,
        message: String::from_utf8_lossy(text).into_owned(),
    })
}

/// First byte of an OK packet.
pub const OK: u8 = 0x00;
/// First byte of an ERR packet.
pub const ERR: u8 = 0xFF;
/// First byte of EOF, of the OK that ends a result set, and of an AuthSwitchRequest.
pub const EOF: u8 = 0xFE;

/// Longest text of an error, in bytes, sent or kept: MySQL's own `MYSQL_ERRMSG_SIZE`.
pub const MAX_ERROR_TEXT: usize = 512;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::{code, status};
    use super::*;

    #[test]
    fn ok_says_its_status_behind_numbers_of_any_length() {
        for numbers in [
            &b"\0\0"[..],
            b"\xFC\x2C\x01\x07",
            b"\0\xFE\0\0\0\0\x01\0\0\0",
        ] {
            let payload = [b"\0", numbers, b"\x02\0\x01\0text"].concat();
            let status = status::AUTOCOMMIT;
            assert_eq!(OkPacket::parse(&payload), Ok(OkPacket { status }));
        }
    }

    #[test]
    fn err_says_number_sqlstate_and_a_bounded_text() {
        let mut out = BytesMut::new();
        put_err(
            &mut out,
            3,
            code::ER_SERVER_SHUTDOWN,
            &"ä".repeat(MAX_ERROR_TEXT),
        );
        assert_eq!(&out[3..13], b"\x03\xFF\x1D\x04#08S01");
        let refusal = parse_err(&out[4..]).unwrap();
        assert_eq!((refusal.number, refusal.sqlstate.as_str()), (1053, "08S01"));
        assert_eq!(refusal.message.len(), MAX_ERROR_TEXT);
    }

    #[test]
    fn err_in_place_of_a_greeting_has_no_sqlstate() {
        let mut out = BytesMut::new();
        put_err_before_greeting(&mut out, code::ER_CON_COUNT_ERROR, "Too many connections");
        assert_eq!(
            &out[..],
            b"\x17\x00\x00\x00\xFF\x10\x04Too many connections"
        );
        let refusal = parse_err(&out[4..]).unwrap();
        assert_eq!((refusal.number, refusal.sqlstate.as_str()), (1040, "HY000"));
        assert_eq!(refusal.message, "Too many connections");
    }

    #[test]
    fn short_packets_are_malformed() {
        for cut in 0..7 {
            assert!(OkPacket::parse(&b"\x00\x00\x00\x02\x00\x00\x00"[..cut]).is_err());
        }
        assert!(parse_err(b"\xFF\x10").is_err());
        assert!(EofPacket::parse(b"\xFE\x00\x00\x02").is_err());
        assert_eq!(
            EofPacket::parse(b"\xFE\x01\x00\x02\x00").unwrap(),
            EofPacket {
                warnings: 1,
                status: status::AUTOCOMMIT
            }
        );
    }
}

//! Values of settings: from how a client wrote them to how they are said again.
//!
//! They are said again on another connection, perhaps under another `client_encoding` and
//! `standard_conforming_strings`. So whatever is not plain ASCII is said in hexadecimal: there is no
//! encoding in which the text of a [`Value`] could end its literal too early.

use std::fmt::Write;
use std::rc::Rc;

use super::lexer::{Quoting, Text};

/// A value as SQL that means the same on every connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Value {
    /// An expression of type text, for `set_config`.
    Expression(Rc<str>),
    /// What stands behind SET … TO, where the server must put the list together itself.
    Arguments(Rc<str>),
}

impl Value {
    /// A value given as the bytes of a string in the client's encoding.
    pub fn of_bytes(bytes: &[u8], encoding: Encoding<'_>) -> Value {
        let mut sql = String::with_capacity(bytes.len() + 2);
        if is_plain(bytes) {
            push_literal(&mut sql, bytes);
        } else {
            sql.push_str(DECODED);
            for byte in bytes {
                // Writing to a String cannot fail.
                let _ = write!(sql, "{byte:02x}");
            }
            sql.push_str("', 'hex'), ");
            push_literal(&mut sql, encoding.0.as_bytes());
            sql.push(')');
        }
        Value::Expression(sql.into())
    }

    /// The SQL.
    pub fn as_sql(&self) -> &str {
        match self {
            Value::Expression(sql) | Value::Arguments(sql) => sql,
        }
    }

    /// Whether it is a string in bytes beyond plain ASCII, which the server decodes.
    pub fn is_encoded(&self) -> bool {
        self.as_sql().starts_with(DECODED)
    }

    /// A list of strings, to be quoted as a list of names by the server itself; `None` if it
    /// cannot be said in plain ASCII.
    pub fn of_list(items: &[Vec<u8>]) -> Option<Value> {
        let mut sql = String::new();
        for item in items {
            if !is_plain(item) {
                return None;
            }
            if !sql.is_empty() {
                sql.push_str(", ");
            }
            push_literal(&mut sql, item);
        }
        Some(Value::Arguments(sql.into()))
    }
}

/// A client's `client_encoding`, as the server reported it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoding<'a>(&'a str);

impl<'a> Encoding<'a> {
    /// What is taken for the encoding as long as nothing has been reported.
    pub const UTF8: Encoding<'static> = Encoding("UTF8");

    /// By its name. One that is no plain word is not an encoding, and reads as SQL_ASCII.
    pub fn named(name: &'a [u8]) -> Encoding<'a> {
        match std::str::from_utf8(name) {
            Ok(name) if is_plain(name.as_bytes()) && name.len() < 64 => Encoding(name),
            _ => Encoding("SQL_ASCII"),
        }
    }

    /// Whether a byte that looks like ASCII may be the second half of a character.
    pub fn hides_ascii(self) -> bool {
        HIDE_ASCII
            .iter()
            .any(|name| name.eq_ignore_ascii_case(self.0))
    }
}

/// The string that a literal stands for; `None` if that is not worked out here.
pub(super) fn decode(text: Text<'_>) -> Option<Vec<u8>> {
    let Text { inside, quoting } = text;
    match quoting {
        Quoting::Dollar => Some(inside.to_vec()),
        Quoting::Plain => Some(undouble(inside, b'\'')),
        Quoting::Escapes => unescape(inside),
        Quoting::Other => None,
    }
}

/// How many of at most so many bytes are whole characters; without UTF-8 it is taken that each is a byte.
pub(super) fn whole_characters(text: &[u8], limit: usize) -> usize {
    match std::str::from_utf8(text) {
        Ok(text) => text.floor_char_boundary(limit),
        Err(_) => limit,
    }
}

/// Takes one of two quotes away.
pub(super) fn undouble(inside: &[u8], quote: u8) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(inside.len());
    let mut bytes = inside.iter();
    while let Some(&byte) = bytes.next() {
        decoded.push(byte);
        if byte == quote {
            bytes.next();
        }
    }
    decoded
}

/// Reads the simple escapes. Numbers (`\x41`, `\101`, `\u0041`) are rare in settings: `None`.
fn unescape(inside: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(inside.len());
    let mut bytes = inside.iter();
    while let Some(&byte) = bytes.next() {
        decoded.push(match byte {
            b'\'' => *bytes.next()?,
            b'\\' => match *bytes.next()? {
                b'x' | b'u' | b'U' | b'0'..=b'9' => return None,
                b'b' => 0x08,
                b'f' => 0x0c,
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                other => other,
            },
            byte => byte,
        });
    }
    Some(decoded)
}

/// Whether bytes mean the same in every encoding and under both readings of a backslash.
fn is_plain(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .all(|&byte| matches!(byte, 0x20..=0x7e) && byte != b'\\')
}

/// Appends plain bytes as a literal.
fn push_literal(sql: &mut String, plain: &[u8]) {
    sql.push('\'');
    for &byte in plain {
        if byte == b'\'' {
            sql.push('\'');
        }
        sql.push(char::from(byte));
    }
    sql.push('\'');
}

/// The client encodings of PostgreSQL that are no server encodings, for just this reason.
const HIDE_ASCII: [&str; 7] = [
    "BIG5",
    "GB18030",
    "GBK",
    "JOHAB",
    "SHIFT_JIS_2004",
    "SJIS",
    "UHC",
];

/// How a string begins that is said in hexadecimal.
const DECODED: &str = "pg_catalog.convert_from(pg_catalog.decode('";

#[cfg(test)]
mod tests {
    use super::*;

    fn said(bytes: &[u8]) -> String {
        match Value::of_bytes(bytes, Encoding::named(b"LATIN1")) {
            Value::Expression(sql) | Value::Arguments(sql) => sql.to_string(),
        }
    }

    #[test]
    fn no_value_can_end_its_literal() {
        assert_eq!(said(b"it's; --"), "'it''s; --'");
        assert_eq!(
            said(b"\\'\xe4"),
            "pg_catalog.convert_from(pg_catalog.decode('5c27e4', 'hex'), 'LATIN1')"
        );
        assert_eq!(Value::of_list(&[b"a\\".to_vec()]), None);
        assert_eq!(
            Value::of_list(&[b"$user".to_vec(), b"it's".to_vec()]),
            Some(Value::Arguments("'$user', 'it''s'".into()))
        );
        assert_eq!(Encoding::named(b"x'); DROP").0, "x'); DROP");
        assert_eq!(Encoding::named(b"\\").0, "SQL_ASCII");
    }

    #[test]
    fn literals_are_read_as_the_server_reads_them() {
        let decoded = |inside: &'static [u8], quoting| decode(Text { inside, quoting });
        assert_eq!(decoded(b"a''b\\", Quoting::Plain), Some(b"a'b\\".to_vec()));
        assert_eq!(
            decoded(b"a\\'b''\\n\\q", Quoting::Escapes),
            Some(b"a'b'\nq".to_vec())
        );
        assert_eq!(decoded(b"\\x41", Quoting::Escapes), None);
        assert_eq!(decoded(b"a''", Quoting::Dollar), Some(b"a''".to_vec()));
    }
}

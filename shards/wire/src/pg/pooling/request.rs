//! A client's messages: their headers, and the few fields of them that matter here.

use std::ffi::CStr;

use bytes::{BufMut, BytesMut};

use super::prepared::PREFIX;
use crate::error::WireError;
use crate::pg::frame::type_name;
use crate::pg::walker::{FRONTEND_LARGE_LIMIT, FRONTEND_SMALL_LIMIT};

/// A message of the client, as much of it as has come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) kind: u8,
    /// Bytes of the whole message, its header included.
    pub(super) total: usize,
    /// What of it is here; at least the header.
    pub(super) seen: &'a [u8],
}

impl<'a> Request<'a> {
    /// The message at the front of `input`; `None` if not even its header is there.
    pub(super) fn read(input: &'a [u8]) -> Result<Option<Request<'a>>, WireError> {
        let Some(&[kind, ref length @ ..]) = input.first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*length);
        let limit = match kind {
            b'Q' | b'P' | b'B' | b'F' | b'd' => FRONTEND_LARGE_LIMIT,
            b'E' | b'C' | b'D' | b'H' | b'S' | b'X' | b'c' | b'f' => FRONTEND_SMALL_LIMIT,
            kind => {
                return Err(WireError::Unexpected {
                    expected: "a message type",
                    got: type_name(kind),
                });
            }
        };
        if length < LENGTH || length > limit {
            return Err(WireError::Malformed {
                what: "message length",
            });
        }
        let total = 1 + length as usize;
        Ok(Some(Request {
            kind,
            total,
            seen: &input[..total.min(input.len())],
        }))
    }

    pub(super) fn is_whole(&self) -> bool {
        self.seen.len() == self.total
    }

    /// Whether the message is longer than what is read as a whole.
    pub(super) fn is_long(&self) -> bool {
        self.total > READ_LIMIT
    }

    /// What of the body is here.
    pub(super) fn body(&self) -> &'a [u8] {
        &self.seen[HEADER..]
    }
}

/// A string of the protocol at the front of `body`, and what stands behind its NUL.
pub(super) fn string(body: &[u8]) -> Option<(&[u8], &[u8])> {
    // Most portals have no name, and many statements.
    if let [0, rest @ ..] = body {
        return Some((b"", rest));
    }
    // It looks at several bytes at a time.
    let string = CStr::from_bytes_until_nul(body).ok()?.to_bytes();
    Some((string, &body[string.len() + 1..]))
}

/// Appends the header of a message whose body has `length` bytes.
pub(super) fn put_header(out: &mut BytesMut, kind: u8, length: usize) {
    // Bodies are made of a client's messages, which are below 1 GiB, and of names of ours.
    let [a, b, c, d] = (length as u32).saturating_add(LENGTH).to_be_bytes();
    out.put_slice(&[kind, a, b, c, d]);
}

/// Appends a Parse.
pub(super) fn put_parse(out: &mut BytesMut, name: &[u8], source: &[u8]) {
    put_header(out, b'P', name.len() + 1 + source.len());
    out.put_slice(name);
    out.put_u8(0);
    out.put_slice(source);
}

/// Appends a Close or Describe of a statement.
pub(super) fn put_about_statement(out: &mut BytesMut, kind: u8, name: &[u8]) {
    put_header(out, kind, 1 + name.len() + 1);
    out.put_u8(b'S');
    out.put_slice(name);
    out.put_u8(0);
}

/// Appends a message without a body: Sync, Flush, CloseComplete.
pub(super) fn put_bare(out: &mut BytesMut, kind: u8) {
    put_header(out, kind, 0);
}

/// Appends a CopyFail.
pub(super) fn put_copy_fail(out: &mut BytesMut, reason: &str) {
    put_header(out, b'f', reason.len() + 1);
    out.put_slice(reason.as_bytes());
    out.put_u8(0);
}

/// Appends Parse, Bind, Execute and two Closes that run a statement under names nobody else uses.
pub(super) fn put_run(out: &mut BytesMut, sql: &str) {
    let name = format!("{PREFIX}~");
    let name = name.as_bytes();
    put_parse(out, name, &[sql.as_bytes(), b"\0\0\0"].concat());
    let bind = [name, b"\0", name, b"\0\0\0\0\0\0\0"].concat();
    put_header(out, b'B', bind.len());
    out.put_slice(&bind);
    let execute = [name, b"\0\0\0\0\0"].concat();
    put_header(out, b'E', execute.len());
    out.put_slice(&execute);
    put_header(out, b'C', 1 + name.len() + 1);
    out.put_slice(&[b"P", name, b"\0"].concat());
    put_about_statement(out, b'C', name);
}

/// Appends a Query.
pub(super) fn put_query(out: &mut BytesMut, sql: &[u8]) {
    put_header(out, b'Q', sql.len() + 1);
    out.put_slice(sql);
    out.put_u8(0);
}

/// Bytes of a type byte and a length.
pub(super) const HEADER: usize = 5;

/// Bytes of a length field, which counts itself.
const LENGTH: u32 = 4;

/// Longest Query or Parse that is read and kept, in bytes. A longer one passes as it comes, and pins
/// its client to the backend, since nobody knows what it does.
pub(super) const READ_LIMIT: usize = 1024 * 1024;

/// Longest name of a statement or portal in a Bind, in bytes.
pub(super) const NAME_LIMIT: usize = 64 * 1024;

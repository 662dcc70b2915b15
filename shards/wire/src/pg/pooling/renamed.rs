//! Errors in the client's words: where a text or a name was changed on its way to the backend, the
//! backend's complaint speaks of what it was changed to.

use std::rc::Rc;

use bytes::{BufMut, Bytes, BytesMut};

/// Where the text that was sent is longer or shorter than the client's: behind so many characters of
/// it, by so many characters.
pub(super) type Shifts = Rc<[(usize, isize)]>;

/// The body of an ErrorResponse as the client must hear it; `None` if it need not be changed.
/// `clients` says what the client calls a statement that the backend calls so.
pub(super) fn in_clients_words(
    body: &[u8],
    shifts: Option<&Shifts>,
    clients: impl Fn(&[u8]) -> Option<Bytes>,
) -> Option<BytesMut> {
    let named = find(body, NAMED).is_some();
    if shifts.is_none() && !named {
        return None;
    }
    let mut said = BytesMut::with_capacity(body.len());
    for field in body.split_inclusive(|&byte| byte == 0) {
        match (field, shifts) {
            ([b'P', position @ .., 0], Some(shifts)) => put_position(&mut said, position, shifts),
            ([b'M' | b'D' | b'H' | b'W', ..], _) if named => put_names(&mut said, field, &clients),
            _ => said.put_slice(field),
        }
    }
    Some(said)
}

/// The field that says where in the text the error is.
fn put_position(said: &mut BytesMut, position: &[u8], shifts: &Shifts) {
    let digits = std::str::from_utf8(position).unwrap_or_default();
    let moved = digits.parse().map(|number: isize| {
        let passed = shifts
            .iter()
            .filter(|(at, _)| number > at.cast_signed() + 1);
        number - passed.map(|(_, by)| by).sum::<isize>()
    });
    said.put_u8(b'P');
    match moved {
        Ok(moved) => said.put_slice(moved.max(1).to_string().as_bytes()),
        Err(_) => said.put_slice(position),
    }
    said.put_u8(0);
}

/// A field with the client's names in the place of ours.
fn put_names(said: &mut BytesMut, mut field: &[u8], clients: impl Fn(&[u8]) -> Option<Bytes>) {
    while let Some(at) = find(field, NAMED) {
        let (before, rest) = field.split_at(at + 1);
        said.put_slice(before);
        let end = find(rest, b"\"").unwrap_or(rest.len());
        let (ours, behind) = rest.split_at(end);
        said.put_slice(clients(ours).as_deref().unwrap_or(ours));
        field = behind;
    }
    said.put_slice(field);
}

fn find(body: &[u8], what: &[u8]) -> Option<usize> {
    body.windows(what.len()).position(|part| part == what)
}

/// How names of ours stand in messages: in quotes, beginning with [`PREFIX`](super::prepared::PREFIX).
const NAMED: &[u8] = b"\"dbb_";

#[cfg(test)]
mod tests {
    use super::super::prepared::PREFIX;
    use super::*;

    fn told(body: &str, shifts: &[(usize, isize)]) -> Option<String> {
        let shifts = (!shifts.is_empty()).then(|| Shifts::from(shifts));
        let clients = |ours: &[u8]| (ours == b"dbb_7").then(|| Bytes::from_static(b"mine"));
        let said = in_clients_words(body.as_bytes(), shifts.as_ref(), clients)?;
        Some(String::from_utf8(said.to_vec()).unwrap())
    }

    #[test]
    fn names_are_the_clients() {
        assert_eq!(&NAMED[1..], PREFIX.as_bytes());
        let body = "SERROR\0Mno \"dbb_7\" nor \"dbb_8\"\0F\"dbb_7\"\0\0";
        let wanted = "SERROR\0Mno \"mine\" nor \"dbb_8\"\0F\"dbb_7\"\0\0";
        assert_eq!(told(body, &[]).as_deref(), Some(wanted));
        assert_eq!(told("SERROR\0Mno \"mine\"\0\0", &[]), None);
    }

    #[test]
    fn positions_are_those_of_the_clients_text() {
        // EXECUTE s (x); EXECUTE t (y), where s is four characters longer, t two shorter.
        let shifts = [(8, 4), (25, -2)];
        for (there, here) in [
            ("8", "8"),
            ("15", "11"),
            ("25", "21"),
            ("30", "28"),
            ("?", "?"),
        ] {
            let wanted = format!("P{here}\0Mx\0\0");
            assert_eq!(told(&format!("P{there}\0Mx\0\0"), &shifts), Some(wanted));
        }
    }
}

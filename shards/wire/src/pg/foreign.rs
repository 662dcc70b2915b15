//! How other protocols look to somebody who expects PostgreSQL: for the error that says so.

use crate::proxy_protocol;

/// What a client's first four bytes look like, when they cannot be the length of a packet.
pub(crate) fn client(first: &[u8]) -> &'static str {
    if proxy_protocol::is_begun_by(first) {
        return proxy_protocol::UNTRUSTED;
    }
    match *first {
        [b'G', b'E', b'T', b' ', ..]
        | [b'P', b'O' | b'U' | b'A' | b'R', ..]
        | [b'H', b'E', b'A', b'D', ..]
        | [b'D', b'E', b'L', b'E', ..]
        | [b'O', b'P', b'T', b'I', ..] => HTTP,
        [b'S', b'S', b'H', b'-', ..] => SSH,
        // A small packet of MySQL: three bytes of length, lowest first, then its number.
        [_, _, 0, 0 | 1, ..] => MYSQL,
        _ => "unknown bytes",
    }
}

/// What a server's first five bytes look like, if like another protocol.
pub(crate) fn server(first: [u8; 5]) -> Option<&'static str> {
    match first {
        // A small packet number 0 of MySQL: a greeting of protocol 10, or an error.
        [_, _, 0, 0, 10 | 255] => Some(MYSQL),
        [b'H', b'T', b'T', b'P', _] => Some(HTTP),
        [b'S', b'S', b'H', b'-', _] => Some(SSH),
        _ => None,
    }
}

pub(crate) const HTTP: &str = "HTTP";
const MYSQL: &str = "MySQL";
const SSH: &str = "SSH";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greetings_of_other_servers_are_known() {
        assert_eq!(server(*b"\x4a\0\0\0\x0a"), Some(MYSQL));
        assert_eq!(server(*b"\x10\0\0\0\xff"), Some(MYSQL));
        assert_eq!(server(*b"HTTP/"), Some(HTTP));
        assert_eq!(server(*b"SSH-2"), Some(SSH));
        for own in [
            b"R\0\0\0\x08",
            b"E\0\0\0\x64",
            b"v\0\0\0\x0c",
            b"N\0\0\x01\x00",
        ] {
            assert_eq!(server(*own), None);
        }
    }
}

//! The PROXY protocol's header, which stands before everything else a client says.

use wire::proxy_protocol::ProxyHeader;

use crate::Target;
use crate::dice::Dice;
use crate::feed::feed_both;

/// A header, and what is behind it. `[cut] bytes`
pub const HEADER: Target = Target {
    name: "proxy_header",
    samples: || {
        let binary = |rest: &[u8]| [&b"\x05\x0d\x0a\x0d\x0a\0\x0d\x0aQUIT\x0a"[..], rest].concat();
        vec![
            b"\x05PROXY TCP4 192.0.2.1 198.51.100.1 56324 5432\r\nbehind".to_vec(),
            b"\x09PROXY TCP6 2001:db8::1 ::1 1 65535\r\n".to_vec(),
            b"\x01PROXY UNKNOWN anything at all\r\n".to_vec(),
            binary(b"\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x01\xdc\x04\x15\x38behind"),
            binary(b"\x21\x21\0\x27\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\x01\0\x02\x04\0\0"),
            binary(b"\x20\0\0\0"),
            binary(b"\x21\x31\xff\xff"),
        ]
    },
    run: |input| {
        let mut dice = Dice::new(input);
        let size = 1 + dice.below(16);
        let bytes = dice.rest();
        let read = feed_both(ProxyHeader::default, bytes, size, HELD, false);
        assert!(read.said.is_empty(), "a proxy is told nothing");
        assert!(
            bytes.ends_with(&read.left),
            "what is behind a header is somebody else's"
        );
        if read.end.contains("Client(") || read.end == "Proxy" {
            let more = [bytes, b"more"].concat();
            let again = feed_both(ProxyHeader::default, &more, size, HELD, false);
            assert_eq!(
                (again.end, again.left.len()),
                (read.end, read.left.len() + 4)
            );
        }
    },
    rounds: 100_000,
};

/// The longest header, in bytes.
const HELD: usize = 16 + 65_535;

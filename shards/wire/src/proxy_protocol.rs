//! The PROXY protocol, versions 1 and 2: what a load balancer says of a client before the client's own first byte.
//!
//! From HAProxy's specification (`proxy-protocol.txt`). It is a word to be believed: only whoever is known to be a
//! proxy is asked for it, and then it must come, for a server that speaks first cannot wait for what may not come.
//!
//! ```text
//!  version 1   PROXY TCP4 192.0.2.1 198.51.100.1 56324 5432\r\n
//!  version 2   signature (12) │ version, command │ family │ length (2) │ addresses, then TLVs (length)
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::{Buf, BytesMut};

use crate::error::WireError;
use crate::exchange::{Exchange, Progress};

/// Where a connection comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A client at this address. One of IPv4 inside IPv6 is told as one of IPv4.
    Client(SocketAddr),
    /// The proxy itself (a health check), or it does not know: the connection's own address counts.
    Proxy,
}

/// Reads the header, and nothing behind it.
#[derive(Debug, Default)]
pub struct ProxyHeader;

impl Exchange for ProxyHeader {
    type Outcome = Origin;

    fn advance(
        &mut self,
        inbound: &mut BytesMut,
        _outbound: &mut BytesMut,
    ) -> Result<Progress<Origin>, WireError> {
        match read(inbound)? {
            Some((origin, length)) => {
                inbound.advance(length);
                Ok(Progress::Done(origin))
            }
            None => Ok(Progress::NeedMore),
        }
    }
}

/// Whether bytes that should begin another protocol begin this one.
pub(crate) fn is_begun_by(first: &[u8]) -> bool {
    first.starts_with(&WORD[..4]) || first.starts_with(&SIGNATURE[..4])
}

/// The header at the front of these bytes, and its length; `None` if it has not all come yet.
fn read(bytes: &[u8]) -> Result<Option<(Origin, usize)>, WireError> {
    if begins(bytes, WORD) {
        read_text(bytes)
    } else if begins(bytes, SIGNATURE) {
        read_binary(bytes)
    } else {
        Err(WireError::Unexpected {
            expected: "a PROXY protocol header, since the address is in proxy_protocol.trusted",
            got: "other bytes".to_owned(),
        })
    }
}

/// Whether the bytes are the beginning, or as much of it as has come.
fn begins(bytes: &[u8], beginning: &[u8]) -> bool {
    bytes.iter().zip(beginning).all(|(a, b)| a == b)
}

/// Version 1: one line.
fn read_text(bytes: &[u8]) -> Result<Option<(Origin, usize)>, WireError> {
    let head = &bytes[..bytes.len().min(LONGEST_LINE)];
    let Some(end) = head.windows(2).position(|pair| pair == b"\r\n") else {
        return match head.len() < LONGEST_LINE {
            true => Ok(None),
            false => Err(MALFORMED),
        };
    };
    let line = std::str::from_utf8(&head[WORD.len()..end]).map_err(|_| MALFORMED)?;
    let mut words = line.split(' ');
    let origin = match words.next() {
        // What stands behind it is to be passed over.
        Some("UNKNOWN") => Origin::Proxy,
        Some("TCP4") => addresses::<Ipv4Addr>(words).ok_or(MALFORMED)?,
        Some("TCP6") => addresses::<Ipv6Addr>(words).ok_or(MALFORMED)?,
        _ => return Err(MALFORMED),
    };
    Ok(Some((origin, end + 2)))
}

/// Source and destination address, source and destination port.
fn addresses<'a, A>(words: impl Iterator<Item = &'a str>) -> Option<Origin>
where
    A: std::str::FromStr + Into<IpAddr>,
{
    let words: Vec<_> = words.take(5).collect();
    let [source, destination, source_port, destination_port] = words[..] else {
        return None;
    };
    let _: A = destination.parse().ok()?;
    port(destination_port)?;
    let source: A = source.parse().ok()?;
    Some(client(source.into(), port(source_port)?))
}

/// Decimal digits without a sign or a leading zero.
fn port(text: &str) -> Option<u16> {
    let plain =
        text == "0" || text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    plain.then(|| text.parse().ok()).flatten()
}

/// Version 2: a head of fixed length says how much follows.
fn read_binary(bytes: &[u8]) -> Result<Option<(Origin, usize)>, WireError> {
    let Some(&[command, family, high, low]) = bytes
        .get(SIGNATURE.len()..)
        .and_then(|rest| rest.first_chunk())
    else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > LONGEST_BODY {
        return Err(WireError::TooLarge {
            what: "PROXY protocol header",
            limit: LONGEST_BODY,
        });
    }
    let Some(body) = bytes.get(HEAD..HEAD + length) else {
        return Ok(None);
    };
    let origin = match (command, family) {
        (LOCAL, _) | (PROXY, UNSPECIFIED | UNIX_STREAM) => Origin::Proxy,
        (PROXY, TCP_OVER_IPV4) => {
            let &[a, b, c, d, _, _, _, _, high, low, _, _] =
                body.first_chunk::<12>().ok_or(MALFORMED)?;
            let address = Ipv4Addr::new(a, b, c, d).into();
            client(address, u16::from_be_bytes([high, low]))
        }
        (PROXY, TCP_OVER_IPV6) => {
            let body = body.first_chunk::<36>().ok_or(MALFORMED)?;
            let address: [u8; 16] = std::array::from_fn(|at| body[at]);
            client(
                Ipv6Addr::from(address).into(),
                u16::from_be_bytes([body[32], body[33]]),
            )
        }
        _ => return Err(MALFORMED),
    };
    Ok(Some((origin, HEAD + length)))
}

fn client(address: IpAddr, port: u16) -> Origin {
    Origin::Client(SocketAddr::new(address.to_canonical(), port))
}

/// What such bytes are called where they are not to be believed.
pub(crate) const UNTRUSTED: &str =
    "a PROXY protocol header from an address that is not in proxy_protocol.trusted";

const WORD: &[u8] = b"PROXY ";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest line of version 1, its end included.
const LONGEST_LINE: usize = 107;
/// Signature, version and command, family, length.
const HEAD: usize = 16;
/// The longest rest of a version 2 header that is taken, in bytes. Addresses have 36; TLVs of known proxies a few
/// hundred.
const LONGEST_BODY: usize = 4096;
/// Version 2, command LOCAL.
const LOCAL: u8 = 0x20;
/// Version 2, command PROXY.
const PROXY: u8 = 0x21;
const UNSPECIFIED: u8 = 0x00;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;
const UNIX_STREAM: u8 = 0x31;
const MALFORMED: WireError = WireError::Malformed {
    what: "PROXY protocol header",
};

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    fn binary(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = (body.len() as u16).to_be_bytes();
        [SIGNATURE, &[command, family], &length, body].concat()
    }

    fn at(text: &str) -> Origin {
        Origin::Client(text.parse().unwrap())
    }

    /// Each good header with what it means.
    fn good() -> Vec<(Vec<u8>, Origin)> {
        let v4 = [192, 0, 2, 1, 198, 51, 100, 1, 0xdc, 0x04, 0x15, 0x38];
        let mut v6 = [0; 36];
        v6[..16].copy_from_slice(&"2001:db8::7".parse::<Ipv6Addr>().unwrap().octets());
        v6[32..].copy_from_slice(&[0xdc, 0x04, 0x15, 0x38]);
        let mut mapped = [0; 36];
        mapped[..16].copy_from_slice(&"::ffff:192.0.2.1".parse::<Ipv6Addr>().unwrap().octets());
        let with_tlv = [&v4[..], &[0x04, 0, 1, 0xff]].concat();
        vec![
            (
                b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 5432\r\n".to_vec(),
                at("192.0.2.1:56324"),
            ),
            (
                b"PROXY TCP6 2001:db8::7 2001:db8::8 56324 5432\r\n".to_vec(),
                at("[2001:db8::7]:56324"),
            ),
            (
                b"PROXY TCP6 ::ffff:192.0.2.1 ::1 0 65535\r\n".to_vec(),
                at("192.0.2.1:0"),
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), Origin::Proxy),
            (
                b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n".to_vec(),
                Origin::Proxy,
            ),
            (binary(0x21, 0x11, &v4), at("192.0.2.1:56324")),
            (binary(0x21, 0x11, &with_tlv), at("192.0.2.1:56324")),
            (binary(0x21, 0x21, &v6), at("[2001:db8::7]:56324")),
            (binary(0x21, 0x21, &mapped), at("192.0.2.1:0")),
            (binary(0x20, 0x00, &[]), Origin::Proxy),
            (binary(0x20, 0x11, &v4), Origin::Proxy),
            (binary(0x21, 0x00, &[]), Origin::Proxy),
            (binary(0x21, 0x31, &[0; 216]), Origin::Proxy),
        ]
    }

    #[test]
    fn a_header_means_the_same_wherever_it_is_cut() {
        for (header, origin) in good() {
            for cut in 0..=header.len() {
                let (mut inbound, mut out) = (BytesMut::from(&header[..cut]), BytesMut::new());
                let early = ProxyHeader.advance(&mut inbound, &mut out).unwrap();
                if cut < header.len() {
                    assert!(matches!(early, Progress::NeedMore), "{header:?} at {cut}");
                    inbound.extend_from_slice(&header[cut..]);
                    inbound.extend_from_slice(b"behind");
                    match ProxyHeader.advance(&mut inbound, &mut out).unwrap() {
                        Progress::Done(read) => assert_eq!(read, origin),
                        other => panic!("{other:?}"),
                    }
                    assert_eq!(&inbound[..], b"behind");
                }
                assert!(out.is_empty());
            }
        }
    }

    #[test]
    fn what_is_no_header_is_refused_as_soon_as_it_shows() {
        for bad in [
            &b"\0\0\0\x08"[..],
            b"X",
            b"PROXX",
            b"GET / HTTP/1.1\r\n",
            b"\r\n\r\n\0\r\nQUIX",
            b"PROXY \r\n",
            b"PROXY TCP4\r\n",
            b"PROXY TCP5 1.1.1.1 1.1.1.1 1 1\r\n",
            b"PROXY TCP4 ::1 ::1 1 1\r\n",
            b"PROXY TCP6 1.1.1.1 1.1.1.1 1 1\r\n",
            b"PROXY TCP4 1.1.1.1 1.1.1 1 1\r\n",
            b"PROXY TCP4 1.1.1.1 1.1.1.1 1\r\n",
            b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1 \r\n",
            b"PROXY TCP4 1.1.1.1  1.1.1.1 1 1\r\n",
            b"PROXY TCP4 1.1.1.1 1.1.1.1 65536 1\r\n",
            b"PROXY TCP4 1.1.1.1 1.1.1.1 +1 1\r\n",
            b"PROXY TCP4 1.1.1.1 1.1.1.1 01 1\r\n",
            b"PROXY TCP4 1.1.1.1 1.1.1.1 1 \r\n",
            b"PROXY TCP4 1.1.1.\xff 1.1.1.1 1 1\r\n",
            &[b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 93]].concat(),
            &binary(0x11, 0x11, &[0; 12]),
            &binary(0x22, 0x11, &[0; 12]),
            &binary(0x21, 0x11, &[0; 11]),
            &binary(0x21, 0x21, &[0; 35]),
            &binary(0x21, 0x12, &[0; 12]),
            &binary(0x21, 0x41, &[0; 12]),
            &binary(0x21, 0x11, &[0; LONGEST_BODY + 1])[..HEAD],
        ] {
            let progress = ProxyHeader.advance(&mut BytesMut::from(bad), &mut BytesMut::new());
            assert!(progress.is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
    }
}

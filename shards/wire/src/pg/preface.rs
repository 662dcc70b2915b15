//! A client's first bytes, until it is known what it wants.
//!
//! ```text
//!            ┌── SSLRequest: N, or S and then TLS ──┐
//! first ─────┼── GSSENCRequest: N ──────────────────┼──▶ StartupMessage, or CancelRequest
//! bytes      └── (nothing) ─────────────────────────┘
//!            └── ClientHello: TLS at once
//! ```
//!
//! The reader answers requests for encryption and protocol versions, and refuses what cannot be
//! PostgreSQL by name. It knows no tenants.

use bytes::{Buf, BytesMut};

use super::{
    CancelKey, ErrorResponse, StartupMessage,
    cancel::{CANCEL_REQUEST_CODE, SECRET_LIMIT},
    foreign,
    frontend::{GSSENC_REQUEST_CODE, SSL_REQUEST_CODE},
};
use crate::{
    error::WireError,
    exchange::{Exchange, Progress},
};

/// What a client wants.
#[derive(Debug)]
pub enum Preface {
    /// It asked for TLS and was answered `S`: everything that comes from now on belongs to TLS.
    /// Then read a new preface inside it with [`TlsOffer::Started`].
    StartTls,
    /// It began TLS without asking. Its ClientHello is still inbound. PostgreSQL demands that such
    /// a client names the protocol `postgresql` by ALPN.
    DirectTls,
    /// It wants to cancel a query on another connection. It gets no answer.
    Cancel(CancelKey),
    /// It wants a session.
    Startup(StartupMessage),
    /// It takes its leave: drivers say Terminate on whatever connection they give up. It gets no answer, as from PostgreSQL.
    Terminate,
}

/// Whether TLS can be had on this connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsOffer {
    /// No certificate: a request is answered `N`.
    Unavailable,
    /// A request is answered `S`.
    Available,
    /// The bytes come from inside TLS.
    Started,
}

/// Reads a [`Preface`]. On an error, what the client should be told is outbound.
#[derive(Debug)]
pub struct PrefaceReader {
    tls: TlsOffer,
    ssl_asked: bool,
    gss_asked: bool,
}

impl PrefaceReader {
    /// Starts at a connection's first byte, or at the first byte inside TLS.
    pub fn new(tls: TlsOffer) -> Self {
        PrefaceReader {
            tls,
            ssl_asked: false,
            gss_asked: false,
        }
    }

    fn read(
        &mut self,
        inbound: &mut BytesMut,
        outbound: &mut BytesMut,
    ) -> Result<Progress<Preface>, WireError> {
        loop {
            if inbound.first() == Some(&TLS_HANDSHAKE) {
                return self.direct_tls();
            }
            if inbound.starts_with(TERMINATE) {
                inbound.clear();
                return Ok(Progress::Done(Preface::Terminate));
            }
            let may_terminate = TERMINATE.starts_with(inbound);
            let Some(length) = inbound.first_chunk::<4>().filter(|_| !may_terminate) else {
                return Ok(Progress::NeedMore);
            };
            let length = u32::from_be_bytes(*length) as usize;
            check_length(length, inbound)?;
            let Some(code) = inbound.get(4..8).and_then(|code| code.first_chunk::<4>()) else {
                return Ok(Progress::NeedMore);
            };
            let code = i32::from_be_bytes(*code);
            if code == CANCEL_REQUEST_CODE && length > CANCEL_REQUEST_LIMIT {
                return Err(WireError::Malformed {
                    what: "CancelRequest",
                });
            }
            if inbound.len() < length {
                return Ok(Progress::NeedMore);
            }
            let mut packet = inbound.split_to(length).freeze();
            packet.advance(4);
            match code {
                SSL_REQUEST_CODE if length == REQUEST_LENGTH => {
                    if self.ssl_request(inbound, outbound)? {
                        return Ok(Progress::Done(Preface::StartTls));
                    }
                }
                GSSENC_REQUEST_CODE if length == REQUEST_LENGTH => {
                    self.gss_request(inbound, outbound)?
                }
                CANCEL_REQUEST_CODE => {
                    packet.advance(4);
                    if packet.len() < 4 {
                        return Err(WireError::Malformed {
                            what: "CancelRequest",
                        });
                    }
                    let process_id = packet.get_i32();
                    let key = CancelKey::new(process_id, packet)?;
                    return Ok(Progress::Done(Preface::Cancel(key)));
                }
                _ => {
                    let startup = StartupMessage::parse(packet)?;
                    startup.negotiate(outbound);
                    return Ok(Progress::Done(Preface::Startup(startup)));
                }
            }
        }
    }

    /// Answers an SSLRequest; true if TLS begins.
    fn ssl_request(
        &mut self,
        inbound: &BytesMut,
        outbound: &mut BytesMut,
    ) -> Result<bool, WireError> {
        if self.ssl_asked || self.tls == TlsOffer::Started {
            return Err(asked_twice("a second SSLRequest"));
        }
        self.ssl_asked = true;
        nothing_behind(inbound)?;
        match self.tls {
            TlsOffer::Available => {
                outbound.extend_from_slice(b"S");
                Ok(true)
            }
            _ => {
                outbound.extend_from_slice(b"N");
                Ok(false)
            }
        }
    }

    /// Declines a GSSENCRequest.
    fn gss_request(
        &mut self,
        inbound: &BytesMut,
        outbound: &mut BytesMut,
    ) -> Result<(), WireError> {
        if self.gss_asked || self.tls == TlsOffer::Started {
            return Err(asked_twice("a second GSSENCRequest"));
        }
        self.gss_asked = true;
        nothing_behind(inbound)?;
        outbound.extend_from_slice(b"N");
        Ok(())
    }

    /// A ClientHello stands where a packet would.
    fn direct_tls(&self) -> Result<Progress<Preface>, WireError> {
        match self.tls {
            TlsOffer::Available if !self.ssl_asked => Ok(Progress::Done(Preface::DirectTls)),
            TlsOffer::Started => Err(WireError::WrongProtocol {
                expected: POSTGRESQL,
                found: "TLS inside TLS",
            }),
            _ => Err(WireError::WrongProtocol {
                expected: "plain PostgreSQL",
                found: "a TLS handshake, which was not agreed on,",
            }),
        }
    }
}

/// A client waits for the answer to its request. What stands behind the request came unencrypted,
/// perhaps from somebody in the middle, and would be taken for the client's own; PostgreSQL
/// disconnects whatever its answer would have been, and so do we.
fn nothing_behind(inbound: &BytesMut) -> Result<(), WireError> {
    if inbound.is_empty() {
        return Ok(());
    }
    Err(WireError::Unexpected {
        expected: "to be asked for more",
        got: HASTE.to_owned(),
    })
}

impl Exchange for PrefaceReader {
    type Outcome = Preface;

    fn advance(
        &mut self,
        inbound: &mut BytesMut,
        outbound: &mut BytesMut,
    ) -> Result<Progress<Preface>, WireError> {
        let progress = self.read(inbound, outbound);
        match &progress {
            Err(WireError::WrongProtocol {
                found: foreign::HTTP,
                ..
            }) => {
                outbound.extend_from_slice(HTTP_ANSWER);
            }
            Err(WireError::WrongProtocol { .. }) | Ok(_) => {}
            Err(error) => ErrorResponse::from(error).write(outbound),
        }
        progress
    }
}

/// Whether a packet of this length can be; if not, what the bytes look like.
fn check_length(length: usize, inbound: &[u8]) -> Result<(), WireError> {
    if (REQUEST_LENGTH..=PACKET_LIMIT).contains(&length) {
        return Ok(());
    }
    match inbound.first() {
        Some(0) if length > PACKET_LIMIT => Err(WireError::TooLarge {
            what: "startup packet",
            limit: PACKET_LIMIT,
        }),
        Some(0) => Err(WireError::Malformed {
            what: "length of startup packet",
        }),
        _ => {
            let found = foreign::client(inbound);
            Err(WireError::WrongProtocol {
                expected: POSTGRESQL,
                found,
            })
        }
    }
}

fn asked_twice(got: &str) -> WireError {
    WireError::Unexpected {
        expected: "StartupMessage",
        got: got.to_owned(),
    }
}

/// Largest length field of a StartupMessage: PostgreSQL's `MAX_STARTUP_PACKET_LENGTH` of 10,000
/// bytes, and the field itself.
pub const PACKET_LIMIT: usize = 10_000 + 4;

/// Length field of an SSLRequest and a GSSENCRequest, which is also the least of any first packet.
const REQUEST_LENGTH: usize = 8;

/// Largest length field of a CancelRequest.
const CANCEL_REQUEST_LIMIT: usize = 12 + SECRET_LIMIT;

/// The first byte of a TLS connection. A StartupMessage that began so would have 350 MB.
const TLS_HANDSHAKE: u8 = 0x16;

/// A message that ends a session. As the head of a packet it would be that of one of 1.4 GB.
const TERMINATE: &[u8] = b"X\0\0\0\x04";

const POSTGRESQL: &str = "PostgreSQL";

/// What a web browser, a scraper or a probe on the wrong port gets to read.
const HTTP_ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n\
Content-Length: 39\r\nConnection: close\r\n\r\nThis port speaks PostgreSQL, not HTTP.\n";

/// What a client did that sent more before it had the answer to a request for encryption.
pub const HASTE: &str = "unencrypted data behind a request for encryption";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    const SSL: &[u8] = b"\0\0\0\x08\x04\xd2\x16\x2f";
    const GSS: &[u8] = b"\0\0\0\x08\x04\xd2\x16\x30";
    const STARTUP: &[u8] = b"\0\0\0\x10\0\x03\0\0user\0u\0\0";

    fn read(tls: TlsOffer, bytes: &[u8]) -> (Result<Progress<Preface>, WireError>, Vec<u8>) {
        let (mut inbound, mut outbound) = (BytesMut::from(bytes), BytesMut::new());
        let progress = PrefaceReader::new(tls).advance(&mut inbound, &mut outbound);
        (progress, outbound.to_vec())
    }

    /// Reads pieces, each after the answer to the one before.
    fn read_each(
        tls: TlsOffer,
        pieces: &[&[u8]],
    ) -> (Result<Progress<Preface>, WireError>, Vec<u8>) {
        let (mut reader, mut outbound) = (PrefaceReader::new(tls), BytesMut::new());
        let mut progress = Ok(Progress::NeedMore);
        for piece in pieces {
            progress = reader.advance(&mut BytesMut::from(*piece), &mut outbound);
        }
        (progress, outbound.to_vec())
    }

    #[test]
    fn encryption_is_declined_once_each_in_either_order() {
        for first in [[SSL, GSS], [GSS, SSL]] {
            let pieces = [first[0], first[1], STARTUP];
            let (progress, answer) = read_each(TlsOffer::Unavailable, &pieces);
            assert!(matches!(progress, Ok(Progress::Done(Preface::Startup(_)))));
            assert_eq!(answer, b"NN");
        }
        for twice in [[SSL, SSL], [GSS, GSS]] {
            let (progress, answer) = read_each(TlsOffer::Unavailable, &twice);
            assert!(matches!(progress, Err(WireError::Unexpected { .. })));
            assert!(answer.starts_with(b"NE"));
        }
    }

    #[test]
    fn nothing_may_stand_behind_a_request_for_encryption() {
        let (progress, answer) = read_each(TlsOffer::Available, &[GSS, SSL]);
        assert!(matches!(progress, Ok(Progress::Done(Preface::StartTls))));
        assert_eq!(answer, b"NS");
        for tls in [TlsOffer::Available, TlsOffer::Unavailable] {
            for request in [SSL, GSS] {
                let (progress, answer) = read(tls, &[request, STARTUP].concat());
                assert!(matches!(progress, Err(WireError::Unexpected { .. })));
                assert!(answer.starts_with(b"E"));
            }
        }
        for request in [SSL, GSS] {
            let (progress, _) = read(TlsOffer::Started, request);
            assert!(progress.is_err());
        }
    }

    #[test]
    fn direct_tls_is_recognised_by_its_first_byte() {
        let (progress, _) = read(TlsOffer::Available, b"\x16");
        assert!(matches!(progress, Ok(Progress::Done(Preface::DirectTls))));
        for tls in [TlsOffer::Unavailable, TlsOffer::Started] {
            let (progress, answer) = read(tls, b"\x16\x03\x01");
            assert!(matches!(progress, Err(WireError::WrongProtocol { .. })));
            assert!(answer.is_empty());
        }
    }

    #[test]
    fn who_leaves_before_a_session_hears_nothing() {
        for pieces in [&[TERMINATE][..], &[SSL, TERMINATE], &[b"X\0\0\0\x04behind"]] {
            let (progress, answer) = read_each(TlsOffer::Unavailable, pieces);
            assert!(matches!(progress, Ok(Progress::Done(Preface::Terminate))));
            assert_eq!(answer, &b"N"[..pieces.len() - 1]);
        }
        for begun in [&TERMINATE[..1], &TERMINATE[..4]] {
            let (progress, answer) = read(TlsOffer::Unavailable, begun);
            assert!(matches!(progress, Ok(Progress::NeedMore)) && answer.is_empty());
        }
        assert!(read(TlsOffer::Unavailable, b"X\0\0\0\x05").0.is_err());
    }

    #[test]
    fn cancel_requests_have_short_and_long_keys() {
        for secret in [4, 32, 256] {
            let key = CancelKey::new(-7, vec![9; secret]).unwrap();
            let mut request = BytesMut::new();
            key.write_cancel_request(&mut request);
            match read(TlsOffer::Available, &request).0 {
                Ok(Progress::Done(Preface::Cancel(read))) => assert_eq!(read, key),
                other => panic!("{other:?}"),
            }
        }
        for length in [8_u32, 11, 12, 15, 269, 10_000] {
            let mut request = length.to_be_bytes().to_vec();
            request.extend(CANCEL_REQUEST_CODE.to_be_bytes());
            request.resize(length as usize, 0);
            assert!(read(TlsOffer::Available, &request).0.is_err(), "{length}");
        }
    }

    #[test]
    fn the_size_of_a_startup_packet_is_postgresql_s() {
        for (length, good) in [(7, false), (9_999, true), (10_004, true), (10_005, false)] {
            let mut packet = (length as u32).to_be_bytes().to_vec();
            packet.extend(b"\0\x03\0\0user\0u\0a\0");
            packet.resize(length - 2, b'x');
            packet.extend(b"\0\0");
            assert_eq!(
                read(TlsOffer::Unavailable, &packet).0.is_ok(),
                good,
                "{length}"
            );
        }
    }

    #[test]
    fn other_protocols_are_called_by_name() {
        for (bytes, name) in [
            (&b"GET / HTTP/1.1\r\n"[..], "HTTP"),
            (b"POST /tenants", "HTTP"),
            (b"\x54\0\0\x01\x8d\xa6\xff\x19", "MySQL"),
            (b"SSH-2.0-x", "SSH"),
            (b"\xff\xff\xff\xff", "unknown bytes"),
        ] {
            match read(TlsOffer::Available, bytes).0 {
                Err(WireError::WrongProtocol { found, .. }) => assert_eq!(found, name),
                other => panic!("{bytes:?}: {other:?}"),
            }
        }
        let (_, answer) = read(TlsOffer::Unavailable, b"GET / HTTP/1.1\r\n");
        let text = String::from_utf8(answer).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())));
    }

    #[test]
    fn another_major_version_is_refused_with_the_code_of_the_standard() {
        let (progress, answer) = read(TlsOffer::Unavailable, b"\0\0\0\x09\0\x02\0\0\0");
        assert!(matches!(progress, Err(WireError::Unsupported { .. })));
        assert!(String::from_utf8(answer).unwrap().contains("C0A000\0"));
    }
}

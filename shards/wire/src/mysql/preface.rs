//! A client's preface: our greeting, its answer, TLS in between if it asks for it.
//!
//! Knows no tenants and checks no password. What comes out says everything that the tenant's owner
//! needs to authenticate the client ([`super::greet`]), wherever that is done.
//!
//! ```text
//!   us                      client
//!   greeting (0)  ───────▶
//!                 ◀───────  SSLRequest (1)            then TLS, then
//!                 ◀───────  HandshakeResponse (1 or 2)
//! ```

use bytes::BytesMut;

use super::code;
use super::greeting::{Greeting, Nonce};
use super::message::put_err;
use super::packet::{self, Header, MAX_LOGIN_PACKET};
use super::response::{FirstPacket, HandshakeResponse};
use crate::error::WireError;
use crate::exchange::{Exchange, Progress};
use crate::proxy_protocol;

/// Greets a client and reads its answer.
#[derive(Debug)]
pub struct PrefaceReader {
    greeting: Greeting,
    greeted: bool,
    secured: bool,
    /// The sequence id that the client's next packet must have.
    awaited: u8,
}

/// What a preface came to.
#[derive(Debug)]
pub enum Preface {
    /// The client begins TLS; unlike in PostgreSQL nothing is answered. What is left in `inbound`
    /// belongs to TLS, none of it may be read as plain text. After the handshake call
    /// [`PrefaceReader::secured`] and go on with what TLS deciphers.
    StartTls,
    /// The client has said who it is.
    Login(ClientLogin),
}

/// A client that has said who it is and has proved nothing yet. Plain data, to be sent to the
/// owner of its tenant.
#[derive(Debug, Clone)]
pub struct ClientLogin {
    /// What it said.
    pub response: HandshakeResponse,
    /// The nonce its token was made for.
    pub nonce: Nonce,
    /// The connection id it was told.
    pub connection_id: u32,
    /// Whether it said so inside TLS.
    pub secured: bool,
    /// The sequence id of our next packet.
    pub sequence: u8,
}

impl PrefaceReader {
    /// `greeting` is what the client will be told; see [`Greeting::to_client`].
    pub fn new(greeting: Greeting) -> Self {
        PrefaceReader {
            greeting,
            greeted: false,
            secured: false,
            awaited: 1,
        }
    }

    /// TLS stands: what comes from now on came through it.
    pub fn secured(&mut self) {
        self.secured = true;
    }

    fn read(&mut self, inbound: &mut BytesMut) -> Result<Progress<Preface>, WireError> {
        recognise(inbound, self.awaited)?;
        let Some(packet) = packet::take(inbound, MAX_LOGIN_PACKET, self.awaited)? else {
            return Ok(Progress::NeedMore);
        };
        match FirstPacket::parse(&packet.payload, self.greeting.capabilities)? {
            FirstPacket::SslRequest if self.secured => Err(WireError::Unexpected {
                expected: "HandshakeResponse",
                got: "a second SSLRequest".to_owned(),
            }),
            FirstPacket::SslRequest
                if !self.greeting.capabilities.has(super::Capabilities::SSL) =>
            {
                Err(WireError::Unsupported {
                    what: "TLS, which was not offered,".to_owned(),
                })
            }
            FirstPacket::SslRequest => {
                self.awaited += 1;
                Ok(Progress::Done(Preface::StartTls))
            }
            FirstPacket::Response(response) => Ok(Progress::Done(Preface::Login(ClientLogin {
                response,
                nonce: self.greeting.nonce,
                connection_id: self.greeting.connection_id,
                secured: self.secured,
                sequence: self.awaited + 1,
            }))),
        }
    }
}

impl Exchange for PrefaceReader {
    type Outcome = Preface;

    /// On an error, `outbound` ends with the ERR packet that the client should get.
    fn advance(
        &mut self,
        inbound: &mut BytesMut,
        outbound: &mut BytesMut,
    ) -> Result<Progress<Preface>, WireError> {
        if !self.greeted {
            self.greeting.put(outbound);
            self.greeted = true;
        }
        self.read(inbound).inspect_err(|error| {
            let code = match error {
                WireError::Unsupported { .. } => code::ER_NOT_SUPPORTED_AUTH_MODE,
                WireError::TooLarge { .. } => code::ER_NET_PACKET_TOO_LARGE,
                _ => code::ER_HANDSHAKE_ERROR,
            };
            put_err(
                outbound,
                self.awaited + 1,
                code,
                &format!("Bad handshake: {error}"),
            );
        })
    }
}

/// Refuses bytes that are no MySQL client's, as soon as the first header tells.
fn recognise(inbound: &[u8], expected_sequence: u8) -> Result<(), WireError> {
    let Some(header) = Header::peek(inbound) else {
        return Ok(());
    };
    if header.sequence == expected_sequence && header.length <= MAX_LOGIN_PACKET {
        return Ok(());
    }
    match foreign(inbound) {
        Some(found) => Err(WireError::WrongProtocol {
            expected: "MySQL",
            found,
        }),
        // A well-formed header out of bounds or out of turn: `take` says which.
        None => Ok(()),
    }
}

/// What other protocol these first bytes look like.
pub(super) fn foreign(bytes: &[u8]) -> Option<&'static str> {
    const HTTP: [&[u8; 4]; 6] = [b"GET ", b"POST", b"PUT ", b"HEAD", b"HTTP", b"OPTI"];
    if proxy_protocol::is_begun_by(bytes) {
        return Some(proxy_protocol::UNTRUSTED);
    }
    match bytes.first_chunk::<4>()? {
        // PostgreSQL's length comes first and is big-endian: 8 to 10,000 for a first message.
        [0, 0, _, _] => Some("PostgreSQL"),
        [0x16, 3, _, _] => Some("TLS"),
        b"SSH-" => Some("SSH"),
        start if HTTP.contains(&start) => Some("HTTP"),
        start
            if start
                .iter()
                .all(|b| b.is_ascii_graphic() || b" \r\n".contains(b)) =>
        {
            Some("text")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::Capabilities;
    use super::super::message::parse_err;
    use super::super::response::put_ssl_request;
    use super::*;

    fn reader(tls: bool) -> PrefaceReader {
        let nonce = Nonce::from_random([5; 20]);
        PrefaceReader::new(Greeting::to_client("8.0.36-DBBouncer", 7, nonce, tls))
    }

    fn greeted(tls: bool) -> PrefaceReader {
        let mut reader = reader(tls);
        let mut greeting = BytesMut::new();
        let progress = reader.advance(&mut BytesMut::new(), &mut greeting).unwrap();
        assert!(matches!(progress, Progress::NeedMore));
        assert!(Greeting::parse(&greeting[4..]).is_ok());
        reader
    }

    fn response() -> HandshakeResponse {
        HandshakeResponse {
            capabilities: Capabilities::OFFERED,
            charset: 45,
            user: "acme__app".to_owned(),
            token: vec![1; 32].into(),
            database: None,
            plugin: Some("caching_sha2_password".to_owned()),
            attributes: Vec::new(),
        }
    }

    #[test]
    fn the_answer_to_our_greeting_is_a_login_and_what_follows_it_stays() {
        let mut inbound = BytesMut::new();
        response().put(&mut inbound, 1);
        inbound.extend_from_slice(b"behind");
        match greeted(false)
            .advance(&mut inbound, &mut BytesMut::new())
            .unwrap()
        {
            Progress::Done(Preface::Login(login)) => {
                assert_eq!(
                    (login.sequence, login.secured, login.connection_id),
                    (2, false, 7)
                );
                assert_eq!(login.response, response());
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(&inbound[..], b"behind");
    }

    #[test]
    fn tls_begins_behind_the_ssl_request_and_the_login_goes_on_inside() {
        let mut reader = greeted(true);
        let mut inbound = BytesMut::new();
        put_ssl_request(&mut inbound, 1, Capabilities::OFFERED, 45);
        inbound.extend_from_slice(b"\x16\x03\x01ClientHello");
        let progress = reader.advance(&mut inbound, &mut BytesMut::new()).unwrap();
        assert!(matches!(progress, Progress::Done(Preface::StartTls)));
        assert_eq!(&inbound[..], b"\x16\x03\x01ClientHello");

        reader.secured();
        let mut deciphered = BytesMut::new();
        response().put(&mut deciphered, 2);
        match reader
            .advance(&mut deciphered, &mut BytesMut::new())
            .unwrap()
        {
            Progress::Done(Preface::Login(login)) => {
                assert_eq!((login.sequence, login.secured), (3, true));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn tls_that_was_not_offered_is_refused_in_words() {
        let mut inbound = BytesMut::new();
        put_ssl_request(&mut inbound, 1, Capabilities::OFFERED, 45);
        let mut out = BytesMut::new();
        assert!(greeted(false).advance(&mut inbound, &mut out).is_err());
        let refusal = parse_err(&out[4..]).unwrap();
        assert_eq!(
            (out[3], refusal.number),
            (2, code::ER_NOT_SUPPORTED_AUTH_MODE.number)
        );
        assert!(
            refusal.message.contains("TLS, which was not offered"),
            "{}",
            refusal.message
        );
    }

    #[test]
    fn other_protocols_are_recognised_by_their_first_four_bytes() {
        for (bytes, protocol) in [
            (&b"\x00\x00\x00\x08\x04\xD2\x16\x2F"[..], "PostgreSQL"),
            (b"\x00\x00\x01\x01\x00\x03\x00\x00", "PostgreSQL"),
            (b"GET / HTTP/1.1\r\n", "HTTP"),
            (b"\x16\x03\x01\x02", "TLS"),
            (b"SSH-2.0-x", "SSH"),
            (b"help\r\n", "text"),
        ] {
            let mut out = BytesMut::new();
            let error = greeted(false)
                .advance(&mut BytesMut::from(bytes), &mut out)
                .unwrap_err();
            assert_eq!(
                error,
                WireError::WrongProtocol {
                    expected: "MySQL",
                    found: protocol
                }
            );
            assert_eq!(
                parse_err(&out[4..]).unwrap().number,
                code::ER_HANDSHAKE_ERROR.number
            );
        }
    }

    #[test]
    fn a_login_above_the_limit_is_refused_by_its_header() {
        let mut inbound = BytesMut::from(&b"\x00\x10\x01\x01"[..]);
        let mut out = BytesMut::new();
        let error = greeted(false).advance(&mut inbound, &mut out).unwrap_err();
        assert!(matches!(error, WireError::TooLarge { .. }));
    }
}

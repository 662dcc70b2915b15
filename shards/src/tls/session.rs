//! One side of one TLS connection.
//!
//! ```text
//!   received ──▶ arrived ──▶ incoming ──▶ deciphered ──▶ take
//!                   │        (less than a record)
//!                   ▼
//!   to be sent ◀── outgoing ◀────────────────────────── say
//! ```
//!
//! Between two records nothing is held here but keys: an idle connection has no buffers.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, OnceLock};

use bytes::{Buf, Bytes, BytesMut};
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::CertificateDer;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
};

/// Why a TLS connection cannot go on.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TlsError {
    /// What rustls says: about the peer's certificate, its alert, or its bytes.
    #[error("TLS: {0}")]
    Rustls(#[from] rustls::Error),
    /// More has been sent under one key than is safe.
    #[error("TLS: the keys are used up")]
    Exhausted,
    /// The peer did not choose PostgreSQL's protocol where it must.
    #[error(
        "TLS: no protocol was agreed on by ALPN, which direct TLS demands (it must be postgresql)"
    )]
    NoAlpn,
}

impl From<TlsError> for io::Error {
    fn from(error: TlsError) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }
}

/// The state of a TLS connection. `Send`: it travels with its socket.
pub struct Session {
    side: Side,
    /// Received, and not yet a whole record.
    incoming: BytesMut,
    /// What the peer said and nobody has taken.
    deciphered: VecDeque<Bytes>,
    peer_closed: bool,
    failure: Option<TlsError>,
    /// What ties a login to this connection, if our certificate allows it (RFC 5929).
    end_point: Option<Arc<[u8]>>,
    /// The host that a client wants to speak to.
    sni: Option<Arc<OnceLock<String>>>,
}

enum Side {
    Client(UnbufferedClientConnection),
    Server(UnbufferedServerConnection),
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Session(..)")
    }
}

/// What is to be said once the session lets us.
enum Words<'a> {
    Nothing,
    Say(&'a [u8]),
    Close,
}

/// What one step came to.
enum Step {
    /// There may be more to do.
    On,
    /// Nothing more before more arrives.
    Rest,
}

impl Session {
    /// The side that connected.
    pub fn client(connection: UnbufferedClientConnection) -> Session {
        Session::new(Side::Client(connection), None, None)
    }

    /// The side that was connected to. `sni` is set when the client has named a host.
    pub fn server(
        connection: UnbufferedServerConnection,
        end_point: Option<Arc<[u8]>>,
        sni: Arc<OnceLock<String>>,
    ) -> Session {
        Session::new(Side::Server(connection), end_point, Some(sni))
    }

    fn new(
        side: Side,
        end_point: Option<Arc<[u8]>>,
        sni: Option<Arc<OnceLock<String>>>,
    ) -> Session {
        Session {
            side,
            incoming: BytesMut::new(),
            deciphered: VecDeque::new(),
            peer_closed: false,
            failure: None,
            end_point,
            sni,
        }
    }

    /// Takes what was received, and appends what must be sent for it to `outgoing`. A failure stays;
    /// what was understood before it can still be taken, and the peer's alert is in `outgoing`.
    pub fn arrived(&mut self, received: &[u8], outgoing: &mut BytesMut) {
        if self.failure.is_none() {
            self.incoming.extend_from_slice(received);
            self.run(Words::Nothing, outgoing);
        }
    }

    /// Keeps what was received for later, where nothing can be sent for it now.
    pub fn keep(&mut self, received: &[u8]) {
        self.incoming.extend_from_slice(received);
    }

    /// Enciphers; dropped if the session has failed, which receiving tells.
    pub fn say(&mut self, words: &[u8], outgoing: &mut BytesMut) {
        if self.failure.is_none() && !words.is_empty() {
            self.run(Words::Say(words), outgoing);
        }
    }

    /// Says that nothing more will be said.
    pub fn close(&mut self, outgoing: &mut BytesMut) {
        if self.failure.is_none() && !self.is_handshaking() {
            self.run(Words::Close, outgoing);
        }
    }

    /// The next of what the peer said.
    pub fn take(&mut self) -> Option<Bytes> {
        self.deciphered.pop_front()
    }

    /// Neither words nor an end, nor the beginning of either, wait here.
    pub fn is_quiet(&self) -> bool {
        self.deciphered.is_empty()
            && self.incoming.is_empty()
            && !self.peer_closed
            && self.failure.is_none()
    }

    /// The peer will say nothing more.
    pub fn is_closed(&self) -> bool {
        self.peer_closed
    }

    /// Why the session cannot go on.
    pub fn failure(&self) -> Option<&TlsError> {
        self.failure.as_ref()
    }

    /// Whether it has not been agreed on yet how to speak.
    pub fn is_handshaking(&self) -> bool {
        match &self.side {
            Side::Client(connection) => connection.is_handshaking(),
            Side::Server(connection) => connection.is_handshaking(),
        }
    }

    /// The protocol agreed on by ALPN.
    pub fn alpn(&self) -> Option<&[u8]> {
        match &self.side {
            Side::Client(connection) => connection.alpn_protocol(),
            Side::Server(connection) => connection.alpn_protocol(),
        }
    }

    /// The certificate that the peer has shown, checked as its side's terms say.
    pub fn peer_certificate(&self) -> Option<&CertificateDer<'static>> {
        let chain = match &self.side {
            Side::Client(connection) => connection.peer_certificates(),
            Side::Server(connection) => connection.peer_certificates(),
        };
        chain?.first()
    }

    /// What ties a login to this connection: `tls-server-end-point`, the hash of the server's
    /// certificate, whichever side that is.
    pub fn end_point(&self) -> Option<Vec<u8>> {
        match &self.side {
            Side::Client(_) => super::end_point(self.peer_certificate()?),
            Side::Server(_) => self.end_point.as_deref().map(<[u8]>::to_vec),
        }
    }

    /// The host that a client said it connects to.
    pub fn server_name(&self) -> Option<&str> {
        self.sni.as_ref()?.get().map(String::as_str)
    }

    /// Whether records of TLS itself wait to be sent.
    fn has_to_say(&self) -> bool {
        match &self.side {
            Side::Client(connection) => connection.wants_write(),
            Side::Server(connection) => connection.wants_write(),
        }
    }

    /// Steps until nothing more can be done with what is here.
    fn run(&mut self, mut words: Words, outgoing: &mut BytesMut) {
        // After a failure nothing that has come in may be looked at again, but the alert that tells
        // the peer is still to be had.
        while self.failure.is_none() || self.has_to_say() {
            let Session {
                incoming,
                deciphered,
                peer_closed,
                ..
            } = self;
            let mut hands = Hands {
                deciphered,
                peer_closed,
                words: &mut words,
                outgoing,
            };
            let (discard, step) = match &mut self.side {
                Side::Client(connection) => hands.step(connection.process_tls_records(incoming)),
                Side::Server(connection) => hands.step(connection.process_tls_records(incoming)),
            };
            self.incoming.advance(discard);
            match step {
                Ok(Step::On) => {}
                Ok(Step::Rest) => break,
                Err(error) => {
                    self.failure.get_or_insert(error);
                    words = Words::Nothing;
                }
            }
        }
        if self.incoming.is_empty() {
            self.incoming = BytesMut::new();
        }
    }
}

/// What a step works on, apart from the connection itself.
struct Hands<'a, 'w> {
    deciphered: &'a mut VecDeque<Bytes>,
    peer_closed: &'a mut bool,
    words: &'a mut Words<'w>,
    outgoing: &'a mut BytesMut,
}

impl Hands<'_, '_> {
    /// Does what the connection asks for; how many bytes of `incoming` are done with.
    fn step<D>(&mut self, status: UnbufferedStatus<'_, '_, D>) -> (usize, Result<Step, TlsError>) {
        let mut discard = status.discard;
        let step = match status.state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
                match traffic.next_record() {
                    Some(Ok(record)) => {
                        discard += record.discard;
                        if !record.payload.is_empty() {
                            self.deciphered
                                .push_back(Bytes::copy_from_slice(record.payload));
                        }
                    }
                    Some(Err(error)) => break Err(error.into()),
                    None => break Ok(Step::On),
                }
            },
            Ok(ConnectionState::EncodeTlsData(mut record)) => self.append(0, |room| {
                record.encode(room).map_err(|error| match error {
                    EncodeError::InsufficientSize(size) => Short::By(size),
                    EncodeError::AlreadyEncoded => Short::Never,
                })
            }),
            Ok(ConnectionState::TransmitTlsData(sent)) => {
                sent.done();
                Ok(Step::On)
            }
            Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                match std::mem::replace(self.words, Words::Nothing) {
                    Words::Nothing => Ok(Step::Rest),
                    Words::Say(words) => self.append(enciphered(words.len()), |room| {
                        traffic.encrypt(words, room).map_err(Short::from)
                    }),
                    Words::Close => self.append(enciphered(ALERT), |room| {
                        traffic.queue_close_notify(room).map_err(Short::from)
                    }),
                }
            }
            Ok(ConnectionState::PeerClosed) => {
                *self.peer_closed = true;
                Ok(Step::On)
            }
            Ok(ConnectionState::Closed | ConnectionState::BlockedHandshake) => Ok(Step::Rest),
            // Early data, which is never offered.
            Ok(_) => Err(rustls::Error::HandshakeNotComplete.into()),
            Err(error) => Err(error.into()),
        };
        (discard, step)
    }

    /// Appends what `write` writes into the room it is given, `room` bytes at first.
    fn append(
        &mut self,
        mut room: usize,
        mut write: impl FnMut(&mut [u8]) -> Result<usize, Short>,
    ) -> Result<Step, TlsError> {
        let start = self.outgoing.len();
        loop {
            self.outgoing.resize(start + room, 0);
            match write(&mut self.outgoing[start..]) {
                Ok(written) => {
                    self.outgoing.truncate(start + written);
                    return Ok(Step::On);
                }
                Err(Short::By(size)) if size.required_size > room => room = size.required_size,
                Err(_) => {
                    self.outgoing.truncate(start);
                    return Err(TlsError::Exhausted);
                }
            }
        }
    }
}

/// Why nothing was written.
enum Short {
    By(InsufficientSizeError),
    Never,
}

impl From<EncryptError> for Short {
    fn from(error: EncryptError) -> Short {
        match error {
            EncryptError::InsufficientSize(size) => Short::By(size),
            EncryptError::EncryptExhausted => Short::Never,
        }
    }
}

/// Bytes that so many take up when they are enciphered, or a little more.
fn enciphered(length: usize) -> usize {
    length + (length / RECORD + 1) * RECORD_OVERHEAD
}

/// Most bytes in a record (RFC 8446, 5.1).
const RECORD: usize = 1 << 14;
/// Header, nonce, type and tag of a record, in any suite that rustls knows, and some to spare.
const RECORD_OVERHEAD: usize = 48;
/// Bytes of an alert.
const ALERT: usize = 2;

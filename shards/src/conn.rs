//! A connection with what has come in and not been understood yet: the carrier of exchanges.

use std::io;
use std::task::{Context, Poll};

use bytes::BytesMut;
use sockets::{Chunk, Stream};
use wire::{Exchange, Progress, WireError};

use crate::channel::{Channel, NotSecured};
use crate::contract::TenantId;
use crate::handoff::Loose;
use crate::tls::{Certificate, Session};

/// A channel and its unread bytes.
pub struct Conn {
    channel: Channel,
    /// Received behind the last exchange; whoever relays must take it first.
    unread: BytesMut,
    /// A failed exchange has told the peer why already.
    told: bool,
}

/// Why an exchange did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The peer closed its end.
    #[error("the connection was closed in the middle of the dialogue")]
    Closed,
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The peer said something wrong, or refused.
    #[error(transparent)]
    Wire(#[from] WireError),
}

impl Conn {
    /// A connection on which nothing has been said yet.
    pub fn new(stream: Stream) -> Conn {
        Conn {
            channel: stream.into(),
            unread: BytesMut::new(),
            told: false,
        }
    }

    /// A connection that comes from another executor.
    pub fn adopt(loose: Loose) -> Conn {
        let (channel, unread) = Channel::adopt(loose);
        Conn {
            channel,
            unread: BytesMut::from(&unread[..]),
            told: false,
        }
    }

    /// Begins TLS. What has been received and not understood belongs to it, none of it is read as
    /// plain text any more.
    pub async fn secure(&mut self, session: Session) -> Result<(), NotSecured> {
        let received = std::mem::take(&mut self.unread);
        self.channel.secure(session, &received).await
    }

    /// Whether nobody on the way can read what is said.
    pub fn is_secured(&self) -> bool {
        self.channel.session().is_some()
    }

    /// The protocol that TLS was begun for, where its client has said so.
    pub fn alpn(&self) -> Option<Vec<u8>> {
        self.channel.session()?.alpn().map(<[u8]>::to_vec)
    }

    /// The host that the client took us for.
    pub fn server_name(&self) -> Option<String> {
        self.channel.session()?.server_name().map(str::to_owned)
    }

    /// Whom the certificate names that the peer has shown; nobody if it has shown none.
    pub fn peer_names(&self) -> Vec<String> {
        let session = self.channel.session();
        let shown = session
            .as_ref()
            .and_then(|session| session.peer_certificate());
        let certificate = shown.and_then(Certificate::read);
        let names = certificate
            .as_ref()
            .map(Certificate::names)
            .unwrap_or_default();
        names.into_iter().map(str::to_owned).collect()
    }

    /// What ties a login to this connection, if it is inside TLS and that is defined.
    pub fn end_point(&self) -> Option<Vec<u8>> {
        self.channel.session()?.end_point()
    }

    /// Carries an exchange to its end. Bytes behind it stay here for whoever comes next.
    ///
    /// Cancel-safe towards the socket: what was received and not understood stays in `self`.
    pub async fn carry<E: Exchange>(&mut self, exchange: &mut E) -> Result<E::Outcome, Broken> {
        let (outcome, last_words) = self.drive(None, exchange).await?;
        self.say(last_words);
        Ok(outcome)
    }

    /// The same with a database of this tenant's, which may have us compute for long, one thing after the other.
    pub async fn carry_for<E: Exchange>(
        &mut self,
        tenant: &TenantId,
        exchange: &mut E,
    ) -> Result<E::Outcome, Broken> {
        let (outcome, last_words) = self.drive(Some(tenant.as_str()), exchange).await?;
        self.say(last_words);
        Ok(outcome)
    }

    /// The same as [`carry`](Conn::carry); but what it says at its end, by which the peer would know of it, is the
    /// caller's to say.
    pub async fn carry_silently<E: Exchange>(
        &mut self,
        exchange: &mut E,
    ) -> Result<(E::Outcome, BytesMut), Broken> {
        self.drive(None, exchange).await
    }

    async fn drive<E: Exchange>(
        &mut self,
        owner: Option<&str>,
        exchange: &mut E,
    ) -> Result<(E::Outcome, BytesMut), Broken> {
        let mut outbound = BytesMut::new();
        loop {
            let progress = exchange.advance(&mut self.unread, &mut outbound);
            // Who is wrong about itself is told so at the end, whatever it was asked in between.
            let is_disproof = matches!(progress, Err(WireError::BadCredentials));
            self.told = progress.is_err() && !is_disproof && !outbound.is_empty();
            match progress {
                Ok(Progress::Done(outcome)) => return Ok((outcome, outbound)),
                Ok(Progress::Derive(derivation)) => {
                    self.say(outbound.split());
                    let work = move || derivation.run();
                    let derived = match owner {
                        Some(owner) => sockets::blocking_in_turn(owner, work).await,
                        None => sockets::blocking(work).await,
                    };
                    exchange.derived(derived);
                }
                Ok(Progress::NeedMore) => {
                    self.say(outbound.split());
                    let chunk = self.channel.recv().await?;
                    if chunk.is_empty() {
                        return Err(Broken::Closed);
                    }
                    self.unread.extend_from_slice(&chunk);
                }
                Err(error) => {
                    self.say(outbound);
                    return Err(error.into());
                }
            }
        }
    }

    /// Ready when the peer is gone. What it says meanwhile is kept for whoever comes next; more
    /// than [`EARLY_LIMIT`] bytes of it are not waited for.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        while self.unread.len() < EARLY_LIMIT {
            match self.channel.poll_recv(cx) {
                Poll::Pending => break,
                Poll::Ready(Ok(chunk)) if chunk.is_empty() => return Poll::Ready(Broken::Closed),
                Poll::Ready(Ok(chunk)) => self.unread.extend_from_slice(&chunk),
                Poll::Ready(Err(error)) => return Poll::Ready(error.into()),
            }
        }
        Poll::Pending
    }

    /// Queues bytes to be sent; an error shows at the next receive or flush.
    pub fn say(&self, bytes: BytesMut) {
        if !bytes.is_empty() {
            self.channel.send(bytes);
        }
    }

    /// What carries the bytes, for relaying.
    pub fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Bytes that the relay had taken and that begin another dialogue, to be understood next.
    pub fn put_back(&mut self, bytes: BytesMut) {
        let behind = std::mem::replace(&mut self.unread, bytes);
        self.unread.unsplit(behind);
    }

    /// Takes the socket off this executor's ring, with everything received and not understood.
    pub async fn release(self) -> io::Result<Loose> {
        let loose = self.channel.release().await?;
        Ok(Loose {
            unread: [&self.unread[..], &loose.unread[..]].concat(),
            ..loose
        })
    }

    /// What came behind the last exchange, to be relayed before anything else.
    pub fn take_unread(&mut self) -> Option<Chunk> {
        let waiting = !self.unread.is_empty();
        waiting.then(|| Chunk::from(self.unread.split()))
    }

    /// Whether nothing has come since the last exchange; an idle backend that is not quiet is not
    /// to be trusted.
    pub fn is_quiet(&self) -> bool {
        self.unread.is_empty() && self.channel.is_quiet()
    }

    /// Nothing more may be said: the peer stands in the middle of a message.
    pub fn say_no_more(&mut self) {
        self.told = true;
    }

    /// Ends the connection with a last message, unless a failed exchange has sent one. The socket stays in the background for the few
    /// seconds that the peer may take to read it ([`sockets::LINGER`]).
    pub fn close_with(self, last: BytesMut) {
        if !self.told {
            self.say(last);
        }
        self.channel.close_notify();
    }
}

/// What a client may say before it has been welcomed, in bytes; the rest stays in the kernel.
const EARLY_LIMIT: usize = 64 << 10;

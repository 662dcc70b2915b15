//! What carries a connection's bytes: the socket itself, or TLS on it.
//!
//! Whoever relays speaks to a channel, not to the socket below it: what is received is what the
//! peer said, and what is sent is what it shall read, whatever travels on the wire between. Without
//! TLS nothing is touched on the way.

use std::cell::{Ref, RefCell};
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};

use bytes::BytesMut;
use sockets::{Chunk, Stream};

use crate::handoff::Loose;
use crate::tls::{Session, TlsError};

/// A connected socket, and what is spoken on it.
pub struct Channel {
    stream: Stream,
    /// Whatever arrives is deciphered at once as far as it goes, so between two calls the session
    /// holds less than a record. Borrowed for one expression at a time.
    tls: Option<Box<RefCell<Session>>>,
}

/// Why a connection was not secured.
#[derive(Debug, thiserror::Error)]
pub enum NotSecured {
    /// The peer closed its end.
    #[error("TLS: the connection was closed during the handshake")]
    Closed,
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// There was no agreement.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl Channel {
    /// A connection that comes from another executor, and what its peer has said already.
    pub fn adopt(loose: Loose) -> (Channel, Vec<u8>) {
        let channel = Channel {
            stream: Stream::adopt(loose.socket),
            tls: loose.tls.map(|session| Box::new(RefCell::new(*session))),
        };
        // What came in last on the other ring has not been deciphered there.
        channel.arrived(&[]);
        (channel, loose.unread)
    }

    /// Begins TLS, of which `received` has come in already, and sees the handshake through. Where
    /// that fails, nothing more can be said or heard.
    pub async fn secure(&mut self, session: Session, received: &[u8]) -> Result<(), NotSecured> {
        self.tls = Some(Box::new(RefCell::new(session)));
        self.arrived(received);
        loop {
            if let Some(failure) = self.session().and_then(|tls| tls.failure().cloned()) {
                return Err(failure.into());
            }
            if !self.session().is_some_and(|tls| tls.is_handshaking()) {
                return Ok(());
            }
            let chunk = self.stream.recv().await?;
            if chunk.is_empty() {
                return Err(NotSecured::Closed);
            }
            self.arrived(&chunk);
        }
    }

    /// The TLS session, if there is one. Not to be held across an await.
    pub fn session(&self) -> Option<Ref<'_, Session>> {
        self.tls.as_ref().map(|tls| tls.borrow())
    }

    /// The next bytes the peer said; an empty chunk at the end, and again after that. An error comes
    /// after everything said before it, and stays.
    pub fn poll_recv(&self, cx: &mut Context<'_>) -> Poll<io::Result<Chunk>> {
        let Some(tls) = &self.tls else {
            return self.stream.poll_recv(cx);
        };
        loop {
            if let Some(settled) = settled(&mut tls.borrow_mut()) {
                return Poll::Ready(settled);
            }
            match self.stream.poll_recv(cx) {
                Poll::Ready(Ok(chunk)) if !chunk.is_empty() => self.arrived(&chunk),
                // Some peers just close: whether all has been said, the protocol inside knows.
                other => return other,
            }
        }
    }

    /// Like [`poll_recv`](Channel::poll_recv). Cancel-safe.
    pub async fn recv(&self) -> io::Result<Chunk> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// What is here already; none also at the end, which `recv` tells.
    pub fn try_recv(&self) -> Option<Chunk> {
        let Some(tls) = &self.tls else {
            return self.stream.try_recv();
        };
        self.hear_all();
        tls.borrow_mut().take().map(Chunk::from)
    }

    /// Whether nothing waits to be received: no bytes, no end, no error.
    pub fn is_quiet(&self) -> bool {
        if let Some(tls) = &self.tls {
            // TLS has words of its own, such as new keys, which are none of the peer's.
            self.hear_all();
            return tls.borrow().is_quiet() && self.stream.is_quiet();
        }
        self.stream.is_quiet()
    }

    /// Queues bytes for the peer. Never waits and never fails: see [`Stream::send`].
    pub fn send(&self, data: impl Into<Chunk>) {
        match &self.tls {
            None => self.stream.send(data),
            Some(_) => self.with_session(|tls, out| tls.say(&data.into(), out)),
        }
    }

    /// Ready while less than `high` bytes wait to be sent; else wakes when no more than `low` do.
    pub fn poll_room(&self, high: usize, low: usize, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.stream.queued() < high {
            Poll::Ready(Ok(()))
        } else {
            self.stream.poll_drained(low, cx)
        }
    }

    /// Whether sending to the peer has failed; see [`Stream::has_failed`].
    pub fn has_failed(&self) -> bool {
        self.stream.has_failed()
    }

    /// Closes the writing side after what is queued; receiving goes on. TLS is not told: a session that
    /// has said goodbye must not be asked to say anything more, such as that it was answered garbage.
    pub fn shutdown_write(&self) {
        self.stream.shutdown_write();
    }

    /// Says that nothing more will be said, where there is a word for it.
    pub fn close_notify(&self) {
        self.with_session(Session::close);
    }

    /// Takes the connection off this executor's ring, with everything received and not taken.
    pub async fn release(self) -> io::Result<Loose> {
        let Channel { stream, tls } = self;
        let mut tls = tls.map(|tls| Box::new(tls.into_inner()));
        let (socket, received) = stream.release().await?;
        let unread = match &mut tls {
            None => received,
            Some(tls) => {
                received.iter().for_each(|bytes| tls.keep(bytes));
                std::iter::from_fn(|| tls.take()).collect()
            }
        };
        Ok(Loose {
            socket,
            unread: unread.concat(),
            tls,
        })
    }

    /// Takes in what the socket has received.
    fn hear_all(&self) {
        while let Some(chunk) = self.stream.try_recv() {
            self.arrived(&chunk);
        }
    }

    /// Has the session take in what was received.
    fn arrived(&self, received: &[u8]) {
        self.with_session(|tls, out| tls.arrived(received, out));
    }

    /// Works on the session, and sends what it has to say to that.
    fn with_session(&self, work: impl FnOnce(&mut Session, &mut BytesMut)) {
        if let Some(tls) = &self.tls {
            let mut outgoing = BytesMut::new();
            work(&mut tls.borrow_mut(), &mut outgoing);
            if !outgoing.is_empty() {
                self.stream.send(outgoing);
            }
        }
    }
}

impl From<Stream> for Channel {
    fn from(stream: Stream) -> Channel {
        Channel { stream, tls: None }
    }
}

/// What the session says without anything more from the socket.
fn settled(tls: &mut Session) -> Option<io::Result<Chunk>> {
    if let Some(said) = tls.take() {
        return Some(Ok(said.into()));
    }
    if let Some(failure) = tls.failure() {
        return Some(Err(failure.clone().into()));
    }
    tls.is_closed().then(|| Ok(Chunk::new()))
}

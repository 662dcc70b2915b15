//! What carries a connection's bytes.
//!
//! Whoever relays speaks to a channel, not to the socket below it: what is received is what the
//! peer said, and what is sent is what it shall read, whatever travels on the wire between.

use std::io;
use std::task::{Context, Poll};

use sockets::{Chunk, Stream};

use crate::handoff::Loose;

/// A connected socket and what is spoken on it.
pub enum Channel {
    /// The bytes as they are.
    Plain(Stream),
}

impl Channel {
    /// The next bytes the peer said; an empty chunk at the end, and again after that.
    pub fn poll_recv(&self, cx: &mut Context<'_>) -> Poll<io::Result<Chunk>> {
        match self {
            Channel::Plain(stream) => stream.poll_recv(cx),
        }
    }

    /// Like [`poll_recv`](Channel::poll_recv). Cancel-safe.
    pub async fn recv(&self) -> io::Result<Chunk> {
        std::future::poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// What is here already; none also at the end, which `recv` tells.
    pub fn try_recv(&self) -> Option<Chunk> {
        match self {
            Channel::Plain(stream) => stream.try_recv(),
        }
    }

    /// Whether nothing waits to be received: no bytes, no end, no error.
    pub fn is_quiet(&self) -> bool {
        match self {
            Channel::Plain(stream) => stream.is_quiet(),
        }
    }

    /// Queues bytes for the peer. Never waits and never fails: see [`Stream::send`].
    pub fn send(&self, data: impl Into<Chunk>) {
        match self {
            Channel::Plain(stream) => stream.send(data),
        }
    }

    /// Ready while less than `high` bytes wait to be sent; else wakes when no more than `low` do.
    pub fn poll_room(&self, high: usize, low: usize, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = self.stream();
        if stream.queued() < high {
            Poll::Ready(Ok(()))
        } else {
            stream.poll_drained(low, cx)
        }
    }

    /// Closes the writing side after what is queued; receiving goes on.
    pub fn shutdown_write(&self) {
        match self {
            Channel::Plain(stream) => stream.shutdown_write(),
        }
    }

    /// Takes the connection off this executor's ring, with everything received and not taken.
    pub async fn release(self) -> io::Result<Loose> {
        match self {
            Channel::Plain(stream) => {
                let (socket, received) = stream.release().await?;
                Ok(Loose {
                    socket,
                    unread: received.concat(),
                })
            }
        }
    }

    fn stream(&self) -> &Stream {
        match self {
            Channel::Plain(stream) => stream,
        }
    }
}

impl From<Stream> for Channel {
    fn from(stream: Stream) -> Channel {
        Channel::Plain(stream)
    }
}

//! A connected TCP socket, as tasks use it.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::mem::ManuallyDrop;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use socket2::SockRef;

use crate::address::Address;
use crate::chunk::Chunk;
use crate::connect::connect;
use crate::lingering::Lingering;
use crate::options::SocketOptions;
use crate::run::current;
use crate::socket::Socket;
use crate::task::{Stage, spawn_until};

/// A connected TCP or local socket on this executor's ring.
///
/// It receives from the start, into a bounded queue, whether or not somebody waits, or on demand
/// ([`Receives`](crate::Receives)); a dropped [`recv`](Stream::recv) loses nothing. One task at a time waits for receiving and one for
/// draining; a second one takes the first one's place.
///
/// Dropped with bytes unsent, it sends them, closes its side and waits for the peer to close, at
/// most [`LINGER`](crate::LINGER) in all, and as long as not too many others do; so a last message can simply be
/// sent before dropping.
/// [`abort`](Stream::abort) ends it at once.
pub struct Stream {
    socket: Rc<Socket>,
}

impl Stream {
    /// Takes over a connected socket in blocking mode, which the ring needs: one that a listener has
    /// accepted, or that a stream of another executor has [released](Stream::release). Its options stand.
    pub fn adopt(fd: OwnedFd) -> Stream {
        Stream::open(fd)
    }

    /// Connects. Dropping the future ends the attempt; a time limit is the caller's.
    pub async fn connect(to: impl Into<Address>, options: &SocketOptions) -> io::Result<Stream> {
        connect(&to.into(), options).await.map(Stream::open)
    }

    /// The next bytes received; an empty chunk at the end of the stream, and again after that. An
    /// error comes after everything received before it, and stays.
    pub fn poll_recv(&self, cx: &mut Context<'_>) -> Poll<io::Result<Chunk>> {
        self.socket.poll_recv(cx)
    }

    /// Like [`poll_recv`](Stream::poll_recv). Cancel-safe.
    pub async fn recv(&self) -> io::Result<Chunk> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// What is here already; none also at the end, which `recv` tells.
    pub fn try_recv(&self) -> Option<Chunk> {
        self.socket.try_recv()
    }

    /// Whether nothing waits to be received: no bytes, no end, no error. For an idle connection
    /// that receives ahead, that it is still alive as far as is known.
    pub fn is_quiet(&self) -> bool {
        self.socket.is_quiet()
    }

    /// Queues bytes to be sent with everything else that this pass of the executor queues. Never
    /// waits and never fails: an error shows in `drained`, `flush` and `recv`. Watch
    /// [`queued`](Stream::queued).
    pub fn send(&self, data: impl Into<Chunk>) {
        self.socket.send(data.into());
    }

    /// Bytes queued and not yet known to be in the kernel's send buffer.
    pub fn queued(&self) -> usize {
        self.socket.queued()
    }

    /// Whether sending has failed. The kernel tells of a reset once: where a send has heard of it,
    /// receiving shows no more than an end.
    pub fn has_failed(&self) -> bool {
        self.socket.has_failed()
    }

    /// Ready when at most `at_most` bytes are queued, or sending failed.
    pub fn poll_drained(&self, at_most: usize, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_drained(at_most, cx)
    }

    /// Like [`poll_drained`](Stream::poll_drained). Cancel-safe.
    pub async fn drained(&self, at_most: usize) -> io::Result<()> {
        poll_fn(|cx| self.poll_drained(at_most, cx)).await
    }

    /// Waits until everything queued was given to the kernel. Cancel-safe.
    pub async fn flush(&self) -> io::Result<()> {
        self.drained(0).await
    }

    /// Closes the writing side after what is queued; receiving goes on. Nothing may be sent after
    /// it.
    pub fn shutdown_write(&self) {
        self.socket.shutdown_write();
    }

    /// Gives the socket away, to another executor: what is queued is sent first, then receiving
    /// stops. Returns the descriptor and, in order, everything received and not taken. Nothing is
    /// lost, except if the future is dropped: then the stream is.
    pub async fn release(self) -> io::Result<(OwnedFd, Vec<Bytes>)> {
        self.flush().await?;
        self.socket.hold();
        poll_fn(|cx| self.socket.poll_off(cx)).await;
        let (fd, received) = self.into_socket().give_away()?;
        Ok((fd, received.into_iter().map(Chunk::into_bytes).collect()))
    }

    /// Closes at once and drops what is queued, also in the kernel: the peer sees a reset.
    pub fn abort(self) {
        // Fails only on a socket that is gone anyway.
        let _ = self.socket.options().set_linger(Some(Duration::ZERO));
        self.into_socket().close();
    }

    /// The address of the other side; an error for a local socket, which has none.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.options().peer_addr().and_then(internet)
    }

    /// The address of this side; an error for a local socket.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.options().local_addr().and_then(internet)
    }

    /// The socket's options, to read or set them.
    pub fn options(&self) -> SockRef<'_> {
        self.socket.options()
    }

    fn open(fd: OwnedFd) -> Stream {
        Stream {
            socket: Socket::open(&current(), fd),
        }
    }

    /// Takes the stream apart without its drop.
    fn into_socket(self) -> Rc<Socket> {
        let this = ManuallyDrop::new(self);
        // SAFETY: `this` is never used nor dropped again, so the Rc is moved out once.
        unsafe { std::ptr::read(&this.socket) }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stream({} bytes queued)", self.queued())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.queued() == 0 || self.socket.reactor().tasks.stage() == Stage::Over {
            return self.socket.close();
        }
        let lingering = Lingering::new(&self.socket);
        spawn_until(Stage::Over, lingering.see_out()).detach();
    }
}

pub(crate) fn internet(addr: socket2::SockAddr) -> io::Result<SocketAddr> {
    addr.as_socket()
        .ok_or_else(|| io::Error::new(io::ErrorKind::Unsupported, "not an internet address"))
}

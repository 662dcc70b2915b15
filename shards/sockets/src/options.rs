//! What the caller may choose: the limits of a ring and the options of a socket it dials.

use std::io;
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::time::Duration;

use socket2::TcpKeepalive;

use crate::lingering::LINGER;

/// The limits of one executor's ring.
#[derive(Debug, Clone)]
pub struct RingLimits {
    /// Submission entries; a power of two, which the kernel rounds up to. The completion queue is
    /// [`RingLimits::COMPLETIONS_PER_ENTRY`] times as long.
    pub entries: u32,
    /// Receive buffers lent to the kernel and to the tasks; a power of two, at least 4.
    pub buffers: u16,
    /// Bytes of one receive buffer: the larger, the fewer receives for a large result; a page that
    /// nothing was ever written to costs no memory.
    pub buffer_size: u32,
    /// Bytes received on one socket and not taken, from which on its receiving pauses; what one
    /// batch of completions brings (at most a quarter of all buffers) may come on top. Each chunk
    /// counts [`RingLimits::CHUNK_COST`] bytes more than it holds, so that one-byte segments are
    /// bounded too.
    pub receive_high_water: usize,
    /// The longest sleep of an idle executor. It matters only to wakes this crate does not know of
    /// (another thread using a task's waker, glommio's own timers), which then come late but are
    /// not lost.
    pub park_at_most: Duration,
    /// How long an idle executor looks out for a completion before it sleeps, while completions have
    /// been following each other so closely that falling asleep and being woken would take longer
    /// than the wait. Zero is never.
    pub spin_at_most: Duration,
    /// When bytes are received.
    pub receives: Receives,
    /// How long a stream that was dropped with bytes unsent may take to its end.
    pub linger: Duration,
    /// How many of them may be at it at once; the one that began first makes room for one more.
    pub lingering: usize,
}

/// When bytes are received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receives {
    /// As they come, whether or not somebody waits for them: for sockets that stay.
    Ahead,
    /// When somebody waits for them, once each time: for sockets that are given away soon, since
    /// nothing is to be cancelled then.
    OnDemand,
}

impl RingLimits {
    /// Completion entries for each submission entry: multishot operations complete often and are
    /// submitted once.
    pub const COMPLETIONS_PER_ENTRY: u32 = 8;

    /// What a received chunk counts against `receive_high_water` beyond its bytes.
    pub const CHUNK_COST: usize = 256;
}

impl Default for RingLimits {
    fn default() -> Self {
        RingLimits {
            entries: 256,
            buffers: 256,
            buffer_size: 16 * 1024,
            receive_high_water: 64 * 1024,
            park_at_most: Duration::from_secs(1),
            spin_at_most: Duration::ZERO,
            receives: Receives::Ahead,
            linger: LINGER,
            lingering: 1024,
        }
    }
}

/// How it is noticed that the machine at the other end of a silent connection is gone: after a
/// minute of silence it is asked, and given up 30 seconds later. The kernel does it alone. For a
/// listener, from which accepted sockets have it.
pub fn keepalive() -> TcpKeepalive {
    TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(10))
        .with_retries(3)
}

/// Lets a listening socket tell of a connection only when its client has said something or has
/// left, or after about a second of silence: for protocols in which the client speaks first. Then one wake
/// does for both. From tcp(7): TCP_DEFER_ACCEPT.
pub fn accept_when_spoken(listener: &TcpListener) -> io::Result<()> {
    let seconds: libc::c_int = 1;
    // SAFETY: the value is an int that lives through the call, and its size is said.
    let set = unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            (&raw const seconds).cast(),
            size_of_val(&seconds) as libc::socklen_t,
        )
    };
    match set {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Options of a socket made by [`Stream::connect`](crate::Stream::connect), beyond [`keepalive`].
#[derive(Debug, Clone, Default)]
pub struct SocketOptions {
    /// TCP_USER_TIMEOUT: how long sent bytes may stay unacknowledged before the connection is given
    /// up. None is as long as the kernel does: a peer that lives and reads nothing would count as
    /// gone, too.
    pub user_timeout: Option<Duration>,
}

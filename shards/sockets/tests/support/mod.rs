//! What all tests here share: executors, loopback pairs, seeded randomness.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::future::Future;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::task::Poll;
use std::time::Duration;

use glommio::{LocalExecutorBuilder, Placement};
use sockets::{Listener, RingLimits, SocketOptions, Stream};

/// Limits under which a lost wake hangs, instead of coming late: an idle executor sleeps for an
/// hour.
pub fn patient() -> RingLimits {
    RingLimits {
        park_at_most: Duration::from_secs(3600),
        ..RingLimits::default()
    }
}

/// Runs a test on an executor of its own thread; what hangs is reported.
pub fn executor<F, T>(limits: RingLimits, main: impl FnOnce() -> F + Send + 'static) -> T
where
    F: Future<Output = T> + 'static,
    T: Send + 'static,
{
    let (done, outcome) = mpsc::channel();
    let thread = LocalExecutorBuilder::new(Placement::Unbound)
        .preempt_timer(sockets::PREEMPT_TIMER)
        .io_memory(64 << 10)
        .spawn(move || async move {
            let outcome = sockets::run(limits, main()).await.unwrap();
            let _ = done.send(outcome);
        })
        .unwrap();
    match outcome.recv_timeout(HUNG) {
        Ok(outcome) => {
            thread.join().unwrap();
            outcome
        }
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("the executor hangs"),
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            panic!("the executor failed: {:?}", thread.join().map(|_| ()))
        }
    }
}

/// A listener on a free port of this executor.
pub fn listen() -> (Listener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    (Listener::adopt(listener).unwrap(), addr)
}

/// Two ends on this executor.
pub async fn pair() -> (Stream, Stream) {
    let (listener, addr) = listen();
    let near = Stream::connect(addr, &SocketOptions::default())
        .await
        .unwrap();
    let (far, peer) = listener.accept().await.unwrap();
    assert_eq!(peer, near.local_addr().unwrap());
    (near, far)
}

/// One end on this executor, the other one plain and blocking.
pub async fn half_pair() -> (Stream, TcpStream) {
    let (listener, addr) = listen();
    let plain = TcpStream::connect(addr).unwrap();
    plain.set_nodelay(true).unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    (stream, plain)
}

/// Goes to the tail of the queue once.
pub async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Receives exactly so many bytes.
pub async fn recv_exactly(stream: &Stream, count: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < count {
        let chunk = stream.recv().await.unwrap();
        assert!(
            !chunk.is_empty(),
            "the stream ended after {} of {count} bytes",
            bytes.len()
        );
        bytes.extend_from_slice(&chunk);
    }
    assert_eq!(bytes.len(), count, "more bytes than were sent");
    bytes
}

/// The byte at a position of the endless test stream; positions cannot be mistaken for each other.
pub fn byte_at(position: usize) -> u8 {
    ((position as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

/// A piece of the endless test stream.
pub fn stream_of(range: std::ops::Range<usize>) -> Vec<u8> {
    range.map(byte_at).collect()
}

/// Small, seeded randomness (xorshift); the seed is printed, `SEED` sets it.
pub struct Random(u64);

impl Random {
    pub fn new() -> Random {
        let clock = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        let seed = match std::env::var("SEED") {
            Ok(seed) => seed.parse().expect("SEED is a number"),
            Err(_) => clock.as_nanos() as u64 | 1,
        };
        println!("SEED={seed}");
        Random(seed)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % limit
    }
}

/// Nothing here takes that long, on however slow a machine.
const HUNG: Duration = Duration::from_secs(40);

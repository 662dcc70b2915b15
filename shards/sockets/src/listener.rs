//! Accepting connections.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use io_uring::{opcode, types};
use socket2::SockRef;

use crate::reactor::{Reactor, os_error, remember};
use crate::run::current;
use crate::source::{Operation, Outcome, SlotId, Source};
use crate::stream::{Stream, internet};
use crate::timer::sleep_until;

/// A listening TCP socket on this executor's ring.
pub struct Listener {
    listening: Rc<Listening>,
}

impl Listener {
    /// Takes over a listening socket; several executors may each have one of their own on the same
    /// port.
    pub fn adopt(listener: std::net::TcpListener) -> io::Result<Listener> {
        // The ring does the waiting: on a non-blocking socket it would only try.
        listener.set_nonblocking(false)?;
        // The sockets accepted from it have that from it.
        SockRef::from(&listener).set_tcp_nodelay(true)?;
        let reactor = current();
        let fd = OwnedFd::from(listener);
        let listening = reactor.register(|slot| {
            Rc::new(Listening {
                reactor: Rc::clone(&reactor),
                slot,
                fd,
                desk: RefCell::default(),
            })
        });
        listening.steer();
        Ok(Listener { listening })
    }

    /// The next connection. Cancel-safe; for one task at a time.
    ///
    /// An error (no descriptors left, no memory) is told once; accepting goes on [`ACCEPT_PAUSE`]
    /// later, so calling again at once never spins. Connections that were gone before they were
    /// accepted are passed over.
    pub async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        loop {
            let pause = self.listening.desk.borrow().pause_until;
            if let Some(until) = pause {
                sleep_until(until).await;
                self.listening.desk.borrow_mut().pause_until = None;
                self.listening.steer();
            }
            let fd = poll_fn(|cx| self.listening.poll(cx)).await?;
            let Ok(peer) = SockRef::from(&fd).peer_addr().and_then(internet) else {
                continue;
            };
            return Ok((Stream::adopt(fd), peer));
        }
    }

    /// The address listened on.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        SockRef::from(&self.listening.fd)
            .local_addr()
            .and_then(internet)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.listening.close();
        self.listening.reactor.retire(self.listening.slot);
    }
}

struct Listening {
    reactor: Rc<Reactor>,
    slot: SlotId,
    fd: OwnedFd,
    desk: RefCell<Desk>,
}

/// Connections accepted ahead, and whether accepting goes on.
#[derive(Default)]
struct Desk {
    queue: VecDeque<OwnedFd>,
    armed: bool,
    /// Armed, but cancelled.
    stopping: bool,
    closed: bool,
    error: Option<i32>,
    pause_until: Option<Instant>,
    waker: Option<Waker>,
}

impl Listening {
    fn poll(&self, cx: &Context<'_>) -> Poll<io::Result<OwnedFd>> {
        let mut desk = self.desk.borrow_mut();
        if let Some(fd) = desk.queue.pop_front() {
            drop(desk);
            self.steer();
            return Poll::Ready(Ok(fd));
        }
        if let Some(errno) = desk.error.take() {
            desk.pause_until = Some(Instant::now() + ACCEPT_PAUSE);
            return Poll::Ready(Err(os_error(errno)));
        }
        if desk.closed {
            return Poll::Ready(Err(os_error(-libc::ECANCELED)));
        }
        remember(&mut desk.waker, cx);
        Poll::Pending
    }

    /// Arms or cancels the accept, by how many wait.
    fn steer(&self) {
        let mut desk = self.desk.borrow_mut();
        let wanted = !desk.closed && desk.error.is_none() && desk.pause_until.is_none();
        if desk.armed && !desk.stopping && (desk.closed || desk.queue.len() >= ACCEPTED_AHEAD) {
            desk.stopping = true;
            self.reactor.cancel(self.slot, Operation::Accept);
        } else if wanted && !desk.armed && desk.queue.len() <= ACCEPTED_AHEAD / 2 {
            desk.armed = true;
            let entry = opcode::AcceptMulti::new(types::Fd(self.fd.as_raw_fd()))
                .flags(libc::SOCK_CLOEXEC)
                .build();
            // SAFETY: the entry points to nothing; the descriptor belongs to this source.
            unsafe { self.reactor.submit(self.slot, Operation::Accept, entry) };
        }
    }

    fn close(&self) {
        let mut desk = self.desk.borrow_mut();
        desk.closed = true;
        desk.queue.clear();
        drop(desk);
        self.steer();
    }
}

impl Source for Listening {
    fn completed(&self, _: Operation, outcome: Outcome) {
        // SAFETY: a result that is not negative is a descriptor made by this accept, which nobody
        // else owns.
        let accepted =
            (outcome.result >= 0).then(|| unsafe { OwnedFd::from_raw_fd(outcome.result) });
        let mut desk = self.desk.borrow_mut();
        if !outcome.more() {
            desk.armed = false;
            desk.stopping = false;
        }
        match accepted {
            Some(_) if desk.closed => {}
            Some(fd) => desk.queue.push_back(fd),
            // The client was gone before it was accepted, or we cancelled.
            None if [
                libc::ECANCELED,
                libc::ECONNABORTED,
                libc::EINTR,
                libc::EAGAIN,
            ]
            .contains(&-outcome.result) => {}
            None => desk.error = Some(outcome.result),
        }
        let waker = desk.waker.take();
        drop(desk);
        self.steer();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn ended(&self) {
        self.close();
        if let Some(waker) = self.desk.borrow_mut().waker.take() {
            waker.wake();
        }
    }
}

/// Accepting pauses so long after an error.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections accepted before somebody takes them.
const ACCEPTED_AHEAD: usize = 128;

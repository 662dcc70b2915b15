//! Connecting: a socket that is not a stream yet.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use io_uring::{opcode, types};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::address::Address;
use crate::options::{SocketOptions, keepalive};
use crate::reactor::{Reactor, os_error, remember};
use crate::run::current;
use crate::source::{Operation, Outcome, SlotId, Source};

/// A connected socket. Dropping the future cancels the attempt and closes the socket.
pub(crate) async fn connect(address: &Address, options: &SocketOptions) -> io::Result<OwnedFd> {
    let (fd, addr) = prepare(address, options)?;
    let reactor = current();
    let attempt = Attempt(reactor.register(|slot| {
        Rc::new(Dial {
            reactor: Rc::clone(&reactor),
            slot,
            fd: RefCell::new(Some(fd)),
            addr,
            result: Cell::new(None),
            waker: RefCell::default(),
        })
    }));
    attempt.0.start();
    poll_fn(|cx| attempt.0.poll(cx)).await
}

/// Whether an attempt to connect failed for want of something here: descriptors, memory, addresses
/// or ports of our own. It says nothing about whom it was meant for.
#[must_use]
pub fn is_our_lack(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM | libc::EADDRNOTAVAIL)
    )
}

/// A socket with its options, not connected, and what to connect it to.
fn prepare(address: &Address, options: &SocketOptions) -> io::Result<(OwnedFd, SockAddr)> {
    let addr = match address {
        Address::Internet(addr) => *addr,
        Address::Local(path) => {
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
            return Ok((socket.into(), SockAddr::unix(path)?));
        }
    };
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&keepalive())?;
    if let Some(longest) = options.user_timeout {
        socket.set_tcp_user_timeout(Some(longest))?;
    }
    Ok((socket.into(), addr.into()))
}

/// The caller's hold on an attempt.
struct Attempt(Rc<Dial>);

impl Drop for Attempt {
    fn drop(&mut self) {
        if self.0.result.get().is_none() {
            self.0.reactor.cancel(self.0.slot, Operation::Connect);
        }
        self.0.reactor.retire(self.0.slot);
    }
}

/// A connect in flight.
struct Dial {
    reactor: Rc<Reactor>,
    slot: SlotId,
    fd: RefCell<Option<OwnedFd>>,
    addr: SockAddr,
    result: Cell<Option<i32>>,
    waker: RefCell<Option<Waker>>,
}

impl Dial {
    fn start(&self) {
        let fd = self.fd.borrow().as_ref().map_or(-1, AsRawFd::as_raw_fd);
        let entry =
            opcode::Connect::new(types::Fd(fd), self.addr.as_ptr().cast(), self.addr.len()).build();
        // SAFETY: address and descriptor belong to this source, which stays in place behind its Rc;
        // the descriptor is taken only after the completion.
        unsafe { self.reactor.submit(self.slot, Operation::Connect, entry) };
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<io::Result<OwnedFd>> {
        match self.result.get() {
            None => {
                remember(&mut self.waker.borrow_mut(), cx);
                Poll::Pending
            }
            Some(result) if result < 0 => Poll::Ready(Err(os_error(result))),
            Some(_) => Poll::Ready(
                self.fd
                    .borrow_mut()
                    .take()
                    .ok_or_else(|| io::ErrorKind::NotConnected.into()),
            ),
        }
    }

    fn finish(&self, result: i32) {
        self.result.set(Some(result));
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

impl Source for Dial {
    fn completed(&self, _: Operation, outcome: Outcome) {
        self.finish(outcome.result);
    }

    fn ended(&self) {
        self.reactor.cancel(self.slot, Operation::Connect);
    }
}

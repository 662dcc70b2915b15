//! A connected socket as the reactor sees it: a descriptor, its two halves, and the operations
//! between.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Poll};

use io_uring::{opcode, squeue, types};
use socket2::SockRef;

use crate::buffers::Buffers;
use crate::chunk::Chunk;
use crate::inbox::{Advice, Inbox};
use crate::options::Receives;
use crate::outbox::{Manner, Outbox};
use crate::prefetch::prefetch_task;
use crate::reactor::Reactor;
use crate::source::{Operation, Outcome, SlotId, Source};

/// A socket in the table. Its operations borrow the halves for one expression each; wakers run
/// after that.
pub(crate) struct Socket {
    reactor: Rc<Reactor>,
    slot: SlotId,
    fd: OwnedFd,
    inbox: RefCell<Inbox>,
    outbox: RefCell<Outbox>,
    /// The stream is gone: nothing is taken in or sent any more, operations in flight end.
    closed: Cell<bool>,
}

impl Socket {
    /// Takes over a connected, blocking socket and starts to receive, unless that is done on demand.
    pub(crate) fn open(reactor: &Rc<Reactor>, fd: OwnedFd) -> Rc<Socket> {
        let socket = reactor.register(|slot| {
            Rc::new(Socket {
                reactor: Rc::clone(reactor),
                slot,
                fd,
                inbox: RefCell::new(Inbox::new(
                    reactor.limits.receive_high_water,
                    reactor.limits.receives,
                )),
                outbox: RefCell::default(),
                closed: Cell::new(false),
            })
        });
        socket.steer();
        socket
    }

    pub(crate) fn poll_recv(&self, cx: &Context<'_>) -> Poll<io::Result<Chunk>> {
        let polled = self.inbox.borrow_mut().poll(cx);
        if polled.is_ready() || self.receives() == Receives::OnDemand {
            self.go_on();
        }
        polled
    }

    pub(crate) fn try_recv(&self) -> Option<Chunk> {
        let chunk = self.inbox.borrow_mut().take();
        self.go_on();
        chunk
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.inbox.borrow().is_quiet()
    }

    pub(crate) fn send(&self, chunk: Chunk) {
        if self.outbox.borrow_mut().queue(chunk) {
            self.reactor.prepare_later(self.slot);
        }
    }

    pub(crate) fn queued(&self) -> usize {
        self.outbox.borrow().queued()
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.outbox.borrow().has_failed()
    }

    pub(crate) fn poll_drained(&self, at_most: usize, cx: &Context<'_>) -> Poll<io::Result<()>> {
        self.outbox.borrow_mut().poll_drained(at_most, cx)
    }

    pub(crate) fn shutdown_write(&self) {
        self.outbox.borrow_mut().want_shutdown();
        self.shut_if_due();
    }

    /// Stops receiving, to give the socket away.
    pub(crate) fn hold(&self) {
        self.inbox.borrow_mut().hold();
        self.steer();
    }

    pub(crate) fn poll_off(&self, cx: &Context<'_>) -> Poll<()> {
        self.inbox.borrow_mut().poll_off(cx)
    }

    /// The descriptor and what was received, once nothing is in flight.
    pub(crate) fn give_away(self: Rc<Self>) -> io::Result<(OwnedFd, Vec<Chunk>)> {
        let received = self.inbox.borrow_mut().take_all();
        // Whatever that came to: nobody else will let go of it.
        self.closed.set(true);
        self.reactor.retire(self.slot);
        let received = received?;
        // With nothing in flight the table's share is gone, and this one is the last.
        let alone = Rc::into_inner(self);
        let socket = alone.ok_or_else(|| io::Error::other("an operation is in flight"))?;
        Ok((socket.fd, received))
    }

    /// Ends everything; the descriptor is closed after the last completion.
    pub(crate) fn close(&self) {
        if self.closed.replace(true) {
            return;
        }
        self.inbox.borrow_mut().close();
        self.steer();
        let mut outbox = self.outbox.borrow_mut();
        outbox.close();
        if outbox.in_flight() > 0 {
            self.reactor.cancel(self.slot, Operation::Send);
        }
        drop(outbox);
        self.reactor.retire(self.slot);
    }

    pub(crate) fn reactor(&self) -> &Rc<Reactor> {
        &self.reactor
    }

    pub(crate) fn options(&self) -> SockRef<'_> {
        SockRef::from(&self.fd)
    }

    /// Arms the receive if it may go on. That it must stop is seen before the ring is entered, for
    /// much may come in one go, and be taken at once.
    fn go_on(&self) {
        if !self.inbox.borrow().is_heavy() {
            self.steer();
        }
    }

    fn receives(&self) -> Receives {
        self.reactor.limits.receives
    }

    /// Arms or cancels the receive, as the inbox advises.
    fn steer(&self) {
        let advice = self.inbox.borrow_mut().advise();
        match advice {
            Advice::Nothing => {}
            Advice::Cancel => self.reactor.cancel(self.slot, Operation::Receive),
            Advice::Arm => {
                let fd = types::Fd(self.fd.as_raw_fd());
                let entry = match self.receives() {
                    Receives::Ahead => opcode::RecvMulti::new(fd, Buffers::GROUP).build(),
                    // Into a buffer of the kernel's choice, and as much as that holds.
                    Receives::OnDemand => opcode::Recv::new(fd, std::ptr::null_mut(), 0)
                        .buf_group(Buffers::GROUP)
                        .build()
                        .flags(squeue::Flags::BUFFER_SELECT),
                };
                // SAFETY: the descriptor belongs to this source; the bytes go to the reactor's own
                // buffers.
                unsafe { self.reactor.submit(self.slot, Operation::Receive, entry) };
            }
        }
    }

    fn received(&self, outcome: Outcome) {
        // A completion without bytes may carry a buffer too, which must not be lost.
        let chunk = self.reactor.received(outcome);
        if self.closed.get() {
            drop(chunk);
            let _ = self
                .inbox
                .borrow_mut()
                .received(-libc::ECANCELED, None, outcome.more());
            return;
        }
        let waker = self
            .inbox
            .borrow_mut()
            .received(outcome.result, chunk, outcome.more());
        if self.inbox.borrow().is_starved() {
            self.reactor.starve(self.slot);
        }
        self.go_on();
        if self.inbox.borrow().is_heavy() {
            self.reactor.prepare_later(self.slot);
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn sent(&self, result: i32) {
        let mut outbox = self.outbox.borrow_mut();
        let waker = outbox.sent(result);
        if self.closed.get() {
            outbox.close();
        }
        let more = outbox.queued() > 0;
        drop(outbox);
        if more {
            self.reactor.prepare_later(self.slot);
        } else {
            self.shut_if_due();
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn shut_if_due(&self) {
        if self.outbox.borrow_mut().take_shutdown() {
            // Fails only if the connection is gone, which receiving reports.
            let _ = self.options().shutdown(std::net::Shutdown::Write);
        }
    }
}

impl Source for Socket {
    fn completed(&self, operation: Operation, outcome: Outcome) {
        match operation {
            Operation::Receive => self.received(outcome),
            Operation::Send | Operation::QuickSend => self.sent(outcome.result),
            other => debug_assert!(false, "a socket has no {other:?}"),
        }
    }

    fn prefetch(&self) {
        if let Some(waker) = self.inbox.borrow().waiting() {
            prefetch_task(waker);
        }
    }

    fn prepare(&self) {
        if self.closed.get() {
            return;
        }
        if self.inbox.borrow().hoards() {
            self.reactor.hoards(self.slot);
        }
        self.steer();
        let next = self.outbox.borrow_mut().next_send(self.fd.as_raw_fd());
        // SAFETY: what the entry points to is in the outbox's queue (heap or receive buffer) and
        // message, which the outbox leaves alone until the send is done; the descriptor belongs to
        // this source.
        unsafe {
            match next {
                None => {}
                Some((entry, Manner::Quick)) => self.reactor.submit_quick(self.slot, entry),
                Some((entry, Manner::Patient)) => {
                    self.reactor.submit(self.slot, Operation::Send, entry);
                }
            }
        }
    }

    fn went_through(&self) {
        let whole = self.outbox.borrow().in_flight();
        self.sent(whole as i32);
    }

    fn hoards(&self) -> bool {
        self.inbox.borrow().hoards()
    }

    fn share(&self) {
        self.inbox.borrow_mut().lighten();
    }

    fn buffers_came_back(&self) {
        self.inbox.borrow_mut().fed();
        self.steer();
    }

    fn ended(&self) {
        let receiver = self.inbox.borrow_mut().fail(libc::ECANCELED);
        let sender = self.outbox.borrow_mut().fail(libc::ECANCELED);
        self.close();
        receiver
            .into_iter()
            .chain(sender)
            .for_each(std::task::Waker::wake);
    }
}

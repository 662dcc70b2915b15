//! What is to be sent on a socket, and the one send in flight. Knows no ring.
//!
//! Invariant: `in_flight <= queued`, and the first `in_flight` bytes of the queue are not touched
//! until the send's completion.

use std::io;
use std::task::{Context, Poll, Waker};

use io_uring::{opcode, squeue, types};

use crate::chunk::Chunk;
use crate::chunks::Chunks;
use crate::reactor::{os_error, remember};

/// How a send is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// All or as much as goes at once; only falling short is reported.
    Quick,
    /// It waits for room until everything is sent, and reports.
    Patient,
}

/// The sending half of a socket.
#[derive(Default)]
pub(crate) struct Outbox {
    queue: Chunks,
    queued: usize,
    in_flight: usize,
    /// The last send fell short: the kernel's buffer is full, and a quick one would not do better.
    full: bool,
    error: Option<i32>,
    /// Shut the writing side when everything is sent; done when false again.
    shutdown: bool,
    waiting: Option<(usize, Waker)>,
    message: Option<Box<Message>>,
}

/// The vectored form of a send: the kernel reads it when the entry is submitted.
struct Message {
    header: libc::msghdr,
    pieces: [libc::iovec; PIECES_PER_SEND],
}

impl Outbox {
    /// Queues bytes; after an error they are dropped. Whether a send is to be prepared.
    pub(crate) fn queue(&mut self, chunk: Chunk) -> bool {
        if self.error.is_some() || chunk.is_empty() {
            return false;
        }
        let first = self.queue.is_empty();
        self.queued += chunk.len();
        self.queue.push_back(chunk);
        first
    }

    pub(crate) fn queued(&self) -> usize {
        self.queued
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.error.is_some()
    }

    /// Ready when at most so many bytes are unsent, or the connection failed.
    pub(crate) fn poll_drained(
        &mut self,
        at_most: usize,
        cx: &Context<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(errno) = self.error {
            return Poll::Ready(Err(os_error(errno)));
        }
        if self.queued <= at_most {
            return Poll::Ready(Ok(()));
        }
        let mut waker = self.waiting.take().map(|(_, waker)| waker);
        remember(&mut waker, cx);
        self.waiting = waker.map(|waker| (at_most, waker));
        Poll::Pending
    }

    /// The next send, if there is something to send and nothing in flight. Its entry points into the
    /// queue.
    pub(crate) fn next_send(&mut self, fd: i32) -> Option<(squeue::Entry, Manner)> {
        if self.in_flight > 0 || self.queue.is_empty() {
            return None;
        }
        let count = self.gather();
        let all = self.in_flight == self.queued;
        let awaited = self.waiting.is_some() || self.shutdown;
        let (manner, wait) = match all && !awaited && !self.full {
            true => (Manner::Quick, libc::MSG_DONTWAIT),
            false => (Manner::Patient, 0),
        };
        let flags = libc::MSG_NOSIGNAL | libc::MSG_WAITALL | wait;
        let fd = types::Fd(fd);
        let entry = match &mut self.message {
            Some(message) if count > 1 => {
                message.header.msg_iov = message.pieces.as_mut_ptr();
                message.header.msg_iovlen = count;
                opcode::SendMsg::new(fd, &raw const message.header)
                    .flags(flags as u32)
                    .build()
            }
            _ => {
                let start = self.queue.front()?.as_ptr();
                opcode::Send::new(fd, start, self.in_flight as u32)
                    .flags(flags)
                    .build()
            }
        };
        Some((entry, manner))
    }

    /// Sets what is in flight from now on, as pieces if it is more than one chunk; how many chunks.
    fn gather(&mut self) -> usize {
        if self.queue.len() == 1 {
            self.in_flight = self.queued.min(BYTES_PER_SEND);
            return 1;
        }
        let message = self.message.get_or_insert_with(Message::new);
        let mut count = 0;
        for (chunk, piece) in self.queue.iter().zip(&mut message.pieces) {
            let len = chunk.len().min(BYTES_PER_SEND - self.in_flight);
            if len == 0 {
                break;
            }
            let start = chunk.as_ptr().cast_mut().cast();
            *piece = libc::iovec {
                iov_base: start,
                iov_len: len,
            };
            self.in_flight += len;
            count += 1;
        }
        count
    }

    /// Takes in the completion of a send: what was sent is forgotten, an error drops the rest.
    pub(crate) fn sent(&mut self, result: i32) -> Option<Waker> {
        let submitted = std::mem::take(&mut self.in_flight);
        self.full = (0..submitted as i32).contains(&result) || result == -libc::EAGAIN;
        match -result {
            libc::EINTR | libc::EAGAIN => {}
            errno if errno > 0 => {
                self.error = Some(result);
                self.clear();
            }
            _ => self.forget(result as usize),
        }
        let settled = self
            .waiting
            .take_if(|(at_most, _)| self.queued <= *at_most || self.error.is_some());
        settled.map(|(_, waker)| waker)
    }

    /// Whether everything is sent and the writing side is to be shut now; asked and answered once.
    pub(crate) fn take_shutdown(&mut self) -> bool {
        self.queue.is_empty() && std::mem::take(&mut self.shutdown)
    }

    pub(crate) fn want_shutdown(&mut self) {
        self.shutdown = true;
    }

    /// Bytes of the send under way.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Forgets what is queued, except for what the kernel is reading.
    pub(crate) fn close(&mut self) {
        self.shutdown = false;
        if self.in_flight == 0 {
            self.clear();
        }
    }

    /// The end came from elsewhere: the run is over.
    pub(crate) fn fail(&mut self, errno: i32) -> Option<Waker> {
        self.error.get_or_insert(-errno);
        self.close();
        self.waiting.take().map(|(_, waker)| waker)
    }

    fn forget(&mut self, sent: usize) {
        self.queued -= sent;
        let mut rest = sent;
        while let Some(first) = self.queue.front_mut() {
            if first.len() > rest {
                first.advance(rest);
                return;
            }
            rest -= first.len();
            self.queue.pop_front();
        }
        // Of use again only to who queues much.
        self.message = None;
    }

    fn clear(&mut self) {
        self.queue.clear();
        self.queued = 0;
    }
}

impl Message {
    fn new() -> Box<Message> {
        let empty = libc::iovec {
            iov_base: std::ptr::null_mut(),
            iov_len: 0,
        };
        // SAFETY: all fields of a msghdr are integers and pointers, for which zero is "none".
        let header = unsafe { std::mem::zeroed() };
        Box::new(Message {
            header,
            pieces: [empty; PIECES_PER_SEND],
        })
    }
}

/// Chunks gathered into one send.
const PIECES_PER_SEND: usize = 16;

/// Bytes of one send, so that a slow peer's progress shows in `queued`.
const BYTES_PER_SEND: usize = 256 * 1024;

//! What a socket received and nobody took yet, and whether its receiving goes on. Knows no ring.
//!
//! Invariant: `cost` is the sum of the costs of what is queued.

use std::io;
use std::task::{Context, Poll, Waker};

use crate::chunk::Chunk;
use crate::chunks::Chunks;
use crate::options::{Receives, RingLimits};
use crate::reactor::{os_error, remember};

/// Where a socket's receiving stands.
///
/// ```text
///         arm                  too much queued, or hold
///   Off -------> Armed ----------------------------------> Stopping
///    ^             |  no buffer left                          |
///    |             +-----------------> Starved                |
///    |   last completion  |               | hold, close       |
///    +--------------------+---------------+-------------------+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arm {
    /// Nothing in flight.
    Off,
    /// A receive is in flight.
    Armed,
    /// It is in flight and was cancelled.
    Stopping,
    /// It ended for want of a buffer; it goes on when one comes back.
    Starved,
}

/// What the socket has to do about its receiving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Advice {
    Nothing,
    Arm,
    Cancel,
}

/// The receiving half of a socket.
pub(crate) struct Inbox {
    queue: Chunks,
    cost: usize,
    high_water: usize,
    receives: Receives,
    arm: Arm,
    /// Nothing more is wanted: the stream is being released, closed, or its run is over.
    held: bool,
    end: Option<End>,
    waker: Option<Waker>,
}

/// What comes after everything that was received: end of stream, or an errno.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Eof,
    Error(i32),
}

impl Inbox {
    pub(crate) fn new(high_water: usize, receives: Receives) -> Inbox {
        Inbox {
            queue: Chunks::default(),
            cost: 0,
            high_water,
            receives,
            arm: Arm::Off,
            held: false,
            end: None,
            waker: None,
        }
    }

    /// Neither bytes nor an end is waiting to be noticed.
    pub(crate) fn is_quiet(&self) -> bool {
        self.queue.is_empty() && self.end.is_none()
    }

    /// Who waits for something to come.
    pub(crate) fn waiting(&self) -> Option<&Waker> {
        self.waker.as_ref()
    }

    pub(crate) fn take(&mut self) -> Option<Chunk> {
        let chunk = self.queue.pop_front()?;
        self.cost -= cost(&chunk);
        Some(chunk)
    }

    /// The next chunk, or the end, which stays; else whoever waits is remembered.
    pub(crate) fn poll(&mut self, cx: &Context<'_>) -> Poll<io::Result<Chunk>> {
        if let Some(chunk) = self.take() {
            return Poll::Ready(Ok(chunk));
        }
        match self.end {
            Some(End::Eof) => Poll::Ready(Ok(Chunk::new())),
            Some(End::Error(errno)) => Poll::Ready(Err(os_error(errno))),
            None => {
                remember(&mut self.waker, cx);
                Poll::Pending
            }
        }
    }

    /// Ready when no receive is in flight.
    pub(crate) fn poll_off(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.arm == Arm::Off {
            return Poll::Ready(());
        }
        remember(&mut self.waker, cx);
        Poll::Pending
    }

    /// Everything received, when it is to be given away with the descriptor.
    pub(crate) fn take_all(&mut self) -> io::Result<Vec<Chunk>> {
        if let Some(End::Error(errno)) = self.end {
            return Err(os_error(errno));
        }
        self.cost = 0;
        Ok(self.queue.take_all())
    }

    /// Takes in a completion: its result and bytes, and whether the receive goes on.
    pub(crate) fn received(
        &mut self,
        result: i32,
        chunk: Option<Chunk>,
        more: bool,
    ) -> Option<Waker> {
        if !more {
            self.arm = Arm::Off;
        }
        match -result {
            // Cancelled, or interrupted before anything came: it may be armed again.
            libc::ECANCELED | libc::EINTR | libc::EAGAIN => {}
            libc::ENOBUFS => self.arm = if self.held { Arm::Off } else { Arm::Starved },
            0 => self.end = Some(End::Eof),
            errno if errno > 0 => self.end = Some(End::Error(-errno)),
            _ => {
                if let Some(chunk) = chunk {
                    self.cost += cost(&chunk);
                    self.queue.push_back(chunk);
                }
            }
        }
        let someone_cares =
            !self.queue.is_empty() || self.end.is_some() || (self.held && self.arm == Arm::Off);
        if someone_cares {
            self.waker.take()
        } else {
            None
        }
    }

    /// Whether to start or stop receiving, given what is queued.
    pub(crate) fn advise(&mut self) -> Advice {
        let asked_for = match self.receives {
            Receives::Ahead => true,
            Receives::OnDemand => self.queue.is_empty() && self.waker.is_some(),
        };
        let wanted = asked_for && !self.held && self.end.is_none();
        match self.arm {
            Arm::Off if wanted && self.cost <= self.high_water / 2 => {
                self.arm = Arm::Armed;
                Advice::Arm
            }
            Arm::Armed if self.held || self.cost >= self.high_water => {
                self.arm = Arm::Stopping;
                Advice::Cancel
            }
            _ => Advice::Nothing,
        }
    }

    /// Whether so much is queued that something must be done about it, unless it is taken soon.
    pub(crate) fn is_heavy(&self) -> bool {
        self.hoards() || self.cost >= self.high_water
    }

    /// Whether more receive buffers are held than one socket should hold for long.
    pub(crate) fn hoards(&self) -> bool {
        let loans = || self.queue.iter().filter(|chunk| chunk.is_loan());
        self.queue.len() > LOANS_PER_SOCKET && loans().nth(LOANS_PER_SOCKET).is_some()
    }

    /// Gives receive buffers back, where more are held than one socket should hold for long.
    pub(crate) fn lighten(&mut self) {
        for chunk in self.queue.iter_mut().skip(LOANS_PER_SOCKET) {
            chunk.leave_loan();
        }
    }

    /// A buffer is there for a starved socket.
    pub(crate) fn fed(&mut self) {
        if self.arm == Arm::Starved {
            self.arm = Arm::Off;
        }
    }

    pub(crate) fn is_starved(&self) -> bool {
        self.arm == Arm::Starved
    }

    /// Nothing more is wanted from the kernel; what is in flight is still taken in.
    pub(crate) fn hold(&mut self) {
        self.held = true;
        self.fed();
    }

    /// Drops what is queued and takes in nothing more.
    pub(crate) fn close(&mut self) {
        self.hold();
        self.queue.clear();
        self.cost = 0;
    }

    /// The end came from elsewhere: the run is over.
    pub(crate) fn fail(&mut self, errno: i32) -> Option<Waker> {
        self.hold();
        self.end.get_or_insert(End::Error(-errno));
        self.waker.take()
    }
}

fn cost(chunk: &Chunk) -> usize {
    chunk.len() + RingLimits::CHUNK_COST
}

/// Receive buffers that one socket's unread bytes may hold for long.
const LOANS_PER_SOCKET: usize = 8;

//! Who has operations in flight, and how its completions find it.

use io_uring::cqueue;

#[cfg(doc)]
use crate::reactor::Reactor;

/// Who has operations in flight: a socket, a listener, a connect, a doorbell.
pub(crate) trait Source {
    /// A completion of an operation that this source submitted.
    fn completed(&self, operation: Operation, outcome: Outcome);

    /// A completion will be given to it in a moment: asks for the memory of who will be woken.
    fn prefetch(&self) {}

    /// Asked for by [`Reactor::prepare_later`]: the ring is about to be entered.
    fn prepare(&self) {}

    /// The operation given to [`Reactor::submit_quick`] went through.
    fn went_through(&self) {}

    /// Asked for by [`Reactor::starve`]: receive buffers came back.
    fn buffers_came_back(&self) {}

    /// Whether it holds more receive buffers than one source should hold for long.
    fn hoards(&self) -> bool {
        false
    }

    /// Receive buffers are scarce: gives back what it hoards.
    fn share(&self) {}

    /// The run is over: stop, wake who waits with an error. The table retires the slot itself.
    fn ended(&self);
}

/// What was submitted, told apart in the completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Operation {
    /// Multishot receive of a socket.
    Receive,
    /// Send of a socket.
    Send,
    /// Send that never waits, and completes only if it fails or falls short.
    QuickSend,
    /// Multishot accept of a listener.
    Accept,
    /// Connect of a socket to be.
    Connect,
    /// Read of a doorbell's eventfd.
    Listen,
}

/// What a completion says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome {
    /// A count or a descriptor, or a negated errno.
    pub(crate) result: i32,
    flags: u32,
}

impl Outcome {
    pub(crate) fn of(entry: &cqueue::Entry) -> Outcome {
        Outcome {
            result: entry.result(),
            flags: entry.flags(),
        }
    }

    /// The number of the receive buffer that comes with it.
    pub(crate) fn buffer(self) -> Option<u16> {
        cqueue::buffer_select(self.flags)
    }

    /// Whether the multishot operation goes on.
    pub(crate) fn more(self) -> bool {
        cqueue::more(self.flags)
    }
}

/// A source's place in the table, valid for this use of it only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SlotId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl SlotId {
    /// The mark of an operation: index, generation, operation from the high to the low bits.
    pub(crate) fn token(self, operation: Operation) -> u64 {
        u64::from(self.index) << 32 | u64::from(self.generation) << 8 | operation as u64
    }

    pub(crate) fn of_token(token: u64) -> (SlotId, Option<Operation>) {
        let slot = SlotId {
            index: (token >> 32) as u32,
            generation: (token >> 8) as u32 & GENERATIONS,
        };
        let operation = match token as u8 {
            0 => Some(Operation::Receive),
            1 => Some(Operation::Send),
            2 => Some(Operation::QuickSend),
            3 => Some(Operation::Accept),
            4 => Some(Operation::Connect),
            5 => Some(Operation::Listen),
            _ => None,
        };
        (slot, operation)
    }
}

/// The generation has 24 bits in a token.
pub(crate) const GENERATIONS: u32 = 0x00ff_ffff;

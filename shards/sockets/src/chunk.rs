//! Bytes received or to be sent: a receive buffer on loan, or heap memory.

use std::fmt;
use std::ops::Deref;

use bytes::{Bytes, BytesMut};

use crate::buffers::Loan;

/// A run of bytes, cheap to split and to hand on without copying.
///
/// A received chunk may stand on a receive buffer of the ring, which goes back when the last part
/// of it is dropped. What is to be kept for long belongs on the heap: see [`Chunk::into_bytes`].
#[derive(Default)]
pub struct Chunk(Place);

enum Place {
    Loan(Loan),
    Heap(Bytes),
}

impl Chunk {
    /// No bytes: what [`Stream::recv`](crate::Stream::recv) gives at the end of the stream.
    pub const fn new() -> Chunk {
        Chunk(Place::Heap(Bytes::new()))
    }

    /// Cuts the first `at` bytes off and returns them. Panics if there are fewer.
    pub fn split_to(&mut self, at: usize) -> Chunk {
        match &mut self.0 {
            Place::Loan(loan) => Chunk(Place::Loan(loan.split_to(at))),
            Place::Heap(bytes) => Chunk(Place::Heap(bytes.split_to(at))),
        }
    }

    /// Keeps the first `at` bytes and returns the rest. Panics if there are fewer.
    pub fn split_off(&mut self, at: usize) -> Chunk {
        let head = self.split_to(at);
        std::mem::replace(self, head)
    }

    /// Forgets the first `count` bytes. Panics if there are fewer.
    pub fn advance(&mut self, count: usize) {
        match &mut self.0 {
            Place::Loan(loan) => loan.advance(count),
            Place::Heap(bytes) => bytes::Buf::advance(bytes, count),
        }
    }

    /// The bytes on the heap, copied if they stand on a receive buffer, so that they may be kept or
    /// sent to another thread.
    pub fn into_bytes(self) -> Bytes {
        match self.0 {
            Place::Loan(loan) => Bytes::copy_from_slice(loan.bytes()),
            Place::Heap(bytes) => bytes,
        }
    }

    /// Whether a receive buffer of the ring is held.
    pub fn is_loan(&self) -> bool {
        matches!(self.0, Place::Loan(_))
    }

    /// Moves the bytes to the heap, if they stand on a receive buffer.
    pub(crate) fn leave_loan(&mut self) {
        if self.is_loan() {
            *self = std::mem::take(self).into_bytes().into();
        }
    }

    pub(crate) fn lent(loan: Loan) -> Chunk {
        Chunk(Place::Loan(loan))
    }
}

impl Default for Place {
    fn default() -> Self {
        Place::Heap(Bytes::new())
    }
}

impl Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Place::Loan(loan) => loan.bytes(),
            Place::Heap(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

/// Shows the length only: the bytes may be a secret.
impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chunk({} bytes)", self.len())
    }
}

impl From<Bytes> for Chunk {
    fn from(bytes: Bytes) -> Self {
        Chunk(Place::Heap(bytes))
    }
}

impl From<BytesMut> for Chunk {
    fn from(bytes: BytesMut) -> Self {
        bytes.freeze().into()
    }
}

impl From<Vec<u8>> for Chunk {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<&'static [u8]> for Chunk {
    fn from(bytes: &'static [u8]) -> Self {
        Bytes::from_static(bytes).into()
    }
}

impl From<Chunk> for Bytes {
    fn from(chunk: Chunk) -> Self {
        chunk.into_bytes()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::buffers::Buffers;

    #[test]
    fn splitting_means_the_same_on_both_places() {
        let buffers = Rc::new(Buffers::new(8, 16).unwrap());
        for mut chunk in [Chunk::lent(buffers.lend(0, 8)), Chunk::from(vec![0; 8])] {
            let head = chunk.split_to(3);
            let mut tail = chunk.split_off(2);
            tail.advance(1);
            assert_eq!((head.len(), chunk.len(), tail.len()), (3, 2, 2));
            assert_eq!(tail.into_bytes(), vec![0; 2]);
        }
    }
}

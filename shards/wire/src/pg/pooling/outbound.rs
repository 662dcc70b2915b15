//! Where a tracker puts bytes: beside the chunk that it was given, so that most chunks pass uncopied.

use bytes::BytesMut;

/// What must be sent, behind the chunk that passed whole (if it did).
#[derive(Debug, Default)]
pub struct Outbound {
    /// For the client.
    pub to_client: BytesMut,
    /// For the backend that the tracker is attached to.
    pub to_backend: BytesMut,
}

/// What became of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Passage {
    /// Forward the chunk as it is, then send what is outbound.
    Whole,
    /// Drop the chunk; what is to be sent of it has been copied to what is outbound.
    Copied,
}

/// Goes through bytes from one side, and decides for each run of them whether the other side gets
/// it. Nothing is copied as long as everything passes.
///
/// Invariant: `from <= at <= input.len()`; what stands between passes and is not copied yet.
#[derive(Debug)]
pub(super) struct Passing<'a> {
    input: &'a [u8],
    from: usize,
    at: usize,
    edited: bool,
    out: &'a mut BytesMut,
}

impl<'a> Passing<'a> {
    pub(super) fn new(input: &'a [u8], out: &'a mut BytesMut) -> Self {
        Passing {
            input,
            from: 0,
            at: 0,
            edited: false,
            out,
        }
    }

    /// What has not been decided on.
    pub(super) fn rest(&self) -> &'a [u8] {
        &self.input[self.at..]
    }

    /// Lets the next bytes pass.
    pub(super) fn keep(&mut self, count: usize) {
        self.at += count;
    }

    /// Holds the next bytes back.
    pub(super) fn skip(&mut self, count: usize) {
        self.settle();
        self.at += count;
        self.from = self.at;
    }

    /// Where bytes of ours go, which are not in the input.
    pub(super) fn ours(&mut self) -> &mut BytesMut {
        self.settle();
        self.out
    }

    /// Ends. What has not been decided on is the caller's to keep.
    pub(super) fn end(mut self) -> Passage {
        if !self.edited && self.from == 0 && self.at == self.input.len() {
            return Passage::Whole;
        }
        self.settle();
        Passage::Copied
    }

    /// Ends, where the input is nothing that could be forwarded as it is.
    pub(super) fn end_copied(mut self) {
        self.settle();
    }

    /// Copies what passes.
    fn settle(&mut self) {
        self.edited = true;
        if self.from < self.at {
            self.out.extend_from_slice(&self.input[self.from..self.at]);
            self.from = self.at;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_that_passes_is_not_copied() {
        let mut out = BytesMut::new();
        let mut passing = Passing::new(b"abcdef", &mut out);
        passing.keep(2);
        passing.keep(4);
        assert_eq!(passing.end(), Passage::Whole);
        assert!(out.is_empty());
    }

    #[test]
    fn what_is_edited_is_copied_in_order() {
        let mut out = BytesMut::new();
        let mut passing = Passing::new(b"abcdef", &mut out);
        passing.keep(2);
        passing.skip(1);
        passing.ours().extend_from_slice(b"XY");
        passing.keep(2);
        assert_eq!(passing.rest(), b"f");
        assert_eq!(passing.end(), Passage::Copied);
        assert_eq!(&out[..], b"abXYde");
    }
}

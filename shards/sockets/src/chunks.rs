//! Chunks in a row. Most rows hold one at a time, and those of idle sockets none: so the first has
//! its place here, and memory for more is held only while there are more.

use std::collections::VecDeque;

use crate::chunk::Chunk;

/// A queue of chunks, first in first out.
///
/// Invariant: while there is no first, there is no rest.
#[derive(Default)]
pub(crate) struct Chunks {
    first: Option<Chunk>,
    rest: VecDeque<Chunk>,
}

impl Chunks {
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(crate) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.len()
    }

    pub(crate) fn push_back(&mut self, chunk: Chunk) {
        match self.first {
            None => self.first = Some(chunk),
            Some(_) => self.rest.push_back(chunk),
        }
    }

    pub(crate) fn pop_front(&mut self) -> Option<Chunk> {
        let next = self.rest.pop_front();
        if next.is_none() && self.rest.capacity() > 0 {
            self.rest = VecDeque::new();
        }
        std::mem::replace(&mut self.first, next)
    }

    pub(crate) fn front(&self) -> Option<&Chunk> {
        self.first.as_ref()
    }

    pub(crate) fn front_mut(&mut self) -> Option<&mut Chunk> {
        self.first.as_mut()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Chunk> {
        self.first.iter().chain(&self.rest)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Chunk> {
        self.first.iter_mut().chain(&mut self.rest)
    }

    pub(crate) fn clear(&mut self) {
        *self = Chunks::default();
    }

    /// Everything, in order.
    pub(crate) fn take_all(&mut self) -> Vec<Chunk> {
        let Chunks { first, rest } = std::mem::take(self);
        first.into_iter().chain(rest).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out_in_order_and_the_memory_goes_too() {
        let mut chunks = Chunks::default();
        for round in 0..3 {
            for len in 1..=5 {
                chunks.push_back(vec![0; len].into());
            }
            assert_eq!(chunks.len(), 5);
            let lens: Vec<usize> = chunks.iter().map(|chunk| chunk.len()).collect();
            assert_eq!(lens, [1, 2, 3, 4, 5]);
            for len in 1..=5 {
                assert_eq!(chunks.front().map(|chunk| chunk.len()), Some(len));
                assert_eq!(chunks.pop_front().map(|chunk| chunk.len()), Some(len));
            }
            assert!(chunks.is_empty() && chunks.pop_front().is_none(), "{round}");
            assert_eq!(chunks.rest.capacity(), 0);
        }
    }
}

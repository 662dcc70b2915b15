//! The receive buffers of one ring: offered to the kernel, on loan to tasks, or free.
//!
//! Invariant: every buffer is in exactly one place: `offered + free + (uses > 0) == count`.
//!
//! The kernel takes offered buffers first in first out. To keep few of them warm, only a part is
//! offered at a time, refilled from a stack: what came back last is offered next.

use std::cell::{Cell, RefCell};
use std::io;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

/// All receive buffers of a ring.
pub(crate) struct Buffers {
    entries: Area,
    memory: Area,
    size: u32,
    count: u16,
    /// Where the next offered buffer is written; wraps.
    tail: Cell<u16>,
    /// Buffers the kernel may take, as far as reaped completions tell.
    offered: Cell<u16>,
    /// Buffers nobody holds; the last one in is the first one out.
    free: RefCell<Vec<u16>>,
    /// How many loans share each buffer.
    uses: Box<[Cell<u32>]>,
}

impl Buffers {
    /// The buffer group's number in this ring: there is one.
    pub(crate) const GROUP: u16 = 0;

    pub(crate) fn new(count: u16, size: u32) -> io::Result<Buffers> {
        if !count.is_power_of_two() || count < 4 || size == 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "buffers: a power of two from 4 on, of at least one byte",
            ));
        }
        let buffers = Buffers {
            entries: Area::new(usize::from(count) * size_of::<BufRingEntry>())?,
            memory: Area::new(usize::from(count) * stride(size))?,
            size,
            count,
            tail: Cell::new(0),
            offered: Cell::new(0),
            free: RefCell::new((0..count).rev().collect()),
            uses: (0..count).map(|_| Cell::new(0)).collect(),
        };
        buffers.offer();
        Ok(buffers)
    }

    pub(crate) fn count(&self) -> u16 {
        self.count
    }

    pub(crate) fn ring_address(&self) -> u64 {
        self.entries.start.as_ptr() as u64
    }

    /// How many receives can be filled before the next `offer`.
    pub(crate) fn offered(&self) -> u16 {
        self.offered.get()
    }

    /// Whether so few are left that received bytes must be copied, lest one socket's loans starve
    /// the others.
    pub(crate) fn scarce(&self) -> bool {
        self.free.borrow().len() + usize::from(self.offered.get())
            < usize::from(self.count / SCARCE_BELOW)
    }

    /// Offers free buffers to the kernel, up to this pool's window.
    pub(crate) fn offer(&self) {
        let window = self.count / WINDOW;
        let mut free = self.free.borrow_mut();
        let mut tail = self.tail.get();
        while self.offered.get() < window {
            let Some(id) = free.pop() else { break };
            self.write_entry(tail, id);
            tail = tail.wrapping_add(1);
            self.offered.set(self.offered.get() + 1);
        }
        if tail != self.tail.replace(tail) {
            // SAFETY: the ring's first entry lies at the area's start and holds the tail; the
            // kernel reads it with acquire order, hence the atomic store after the entries were
            // written.
            unsafe {
                let tail_place = BufRingEntry::tail(self.entries.start.as_ptr().cast()) as *mut u16;
                AtomicU16::from_ptr(tail_place).store(tail, Ordering::Release);
            }
        }
    }

    /// A completion says that the kernel filled `len` bytes of a buffer: it is ours again, as a
    /// loan.
    pub(crate) fn lend(self: &Rc<Self>, id: u16, len: u32) -> Loan {
        self.offered.set(self.offered.get() - 1);
        self.uses[usize::from(id)].set(1);
        Loan {
            buffers: Rc::clone(self),
            id,
            start: 0,
            len: len.min(self.size),
        }
    }

    fn write_entry(&self, position: u16, id: u16) {
        let index = usize::from(position & (self.count - 1));
        // SAFETY: the index is below `count`, so entry and buffer lie inside their areas. The
        // kernel does not read an entry before the tail has passed it. The fields are set one by
        // one because the first entry's last field is the tail.
        unsafe {
            let entry = &mut *self
                .entries
                .start
                .as_ptr()
                .cast::<BufRingEntry>()
                .add(index);
            entry.set_addr(self.start_of(id) as u64);
            entry.set_len(self.size);
            entry.set_bid(id);
        }
    }

    fn start_of(&self, id: u16) -> *mut u8 {
        debug_assert!(id < self.count);
        // SAFETY: `id < count`, so the offset is inside the area.
        unsafe {
            self.memory
                .start
                .as_ptr()
                .add(usize::from(id) * stride(self.size))
        }
    }
}

/// A part of a receive buffer, shared with the other parts split from it. The last one gives the
/// buffer back.
pub(crate) struct Loan {
    buffers: Rc<Buffers>,
    id: u16,
    start: u32,
    len: u32,
}

impl Loan {
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: `start + len <= size` is kept by all methods, so the range lies inside the
        // buffer; while a loan lives its buffer is not offered, so nobody writes to it; the memory
        // is initialised (mapped zeroed).
        unsafe {
            std::slice::from_raw_parts(
                self.buffers.start_of(self.id).add(self.start as usize),
                self.len as usize,
            )
        }
    }

    /// Cuts the first `at` bytes off as a loan of their own.
    pub(crate) fn split_to(&mut self, at: usize) -> Loan {
        assert!(
            at <= self.len as usize,
            "split at {at} of {} bytes",
            self.len
        );
        let at = at as u32;
        let uses = &self.buffers.uses[usize::from(self.id)];
        uses.set(uses.get() + 1);
        let head = Loan {
            buffers: Rc::clone(&self.buffers),
            id: self.id,
            start: self.start,
            len: at,
        };
        self.start += at;
        self.len -= at;
        head
    }

    /// Forgets the first `count` bytes.
    pub(crate) fn advance(&mut self, count: usize) {
        assert!(
            count <= self.len as usize,
            "advance by {count} of {} bytes",
            self.len
        );
        self.start += count as u32;
        self.len -= count as u32;
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        let uses = &self.buffers.uses[usize::from(self.id)];
        uses.set(uses.get() - 1);
        if uses.get() == 0 {
            self.buffers.free.borrow_mut().push(self.id);
        }
    }
}

/// Page-aligned memory, zeroed.
struct Area {
    start: NonNull<u8>,
    len: usize,
}

impl Area {
    fn new(len: usize) -> io::Result<Area> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a fresh anonymous mapping touches no existing memory.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        match NonNull::new(start.cast()) {
            Some(start) => Ok(Area { start, len }),
            None => Err(io::Error::other("mmap gave the null page")),
        }
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        // SAFETY: start and length are those of the mapping made in `new`; its users are gone.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// From one buffer to the next, in bytes. Most messages are short: if all buffers began at the same
/// place within a page, those messages would push each other out of the same few cache lines.
fn stride(size: u32) -> usize {
    size as usize + CACHE_LINE
}

const CACHE_LINE: usize = 64;

/// One in so many buffers is offered at a time.
const WINDOW: u16 = 4;

/// Below one in so many free buffers received bytes are copied to the heap.
const SCARCE_BELOW: u16 = 2;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_with_its_last_part_and_is_offered_first() {
        let buffers = Rc::new(Buffers::new(8, 16).unwrap());
        assert_eq!((buffers.offered(), buffers.free.borrow().len()), (2, 6));
        let mut rest = buffers.lend(0, 10);
        let head = rest.split_to(4);
        assert_eq!((head.bytes().len(), rest.bytes().len()), (4, 6));
        drop(rest);
        assert_eq!(buffers.free.borrow().len(), 6);
        drop(head);
        assert_eq!(buffers.free.borrow().last(), Some(&0));
        buffers.offer();
        assert_eq!((buffers.offered(), buffers.free.borrow().len()), (2, 6));
    }

    #[test]
    fn few_left_is_scarce() {
        let buffers = Rc::new(Buffers::new(8, 16).unwrap());
        let mut held = Vec::new();
        for _ in 0..4 {
            assert!(!buffers.scarce());
            held.push(buffers.lend(held.len() as u16, 1));
            buffers.offer();
        }
        held.push(buffers.lend(4, 1));
        assert!(buffers.scarce());
        held.pop();
        assert!(!buffers.scarce());
    }

    #[test]
    fn sizes_that_cannot_be_are_refused() {
        assert!(Buffers::new(3, 16).is_err());
        assert!(Buffers::new(2, 16).is_err());
        assert!(Buffers::new(8, 0).is_err());
    }
}

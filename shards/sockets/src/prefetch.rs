//! Memory that is asked for before it is needed.
//!
//! Of hundreds of sockets and tasks the nearest cache holds few, and the processor waits for each that it meets one
//! after the other. But completions come in batches: while one is dealt with, the memory of the next ones can be
//! on its way.

use std::task::Waker;

/// Asks for so many bytes from `start` on. No more than a hint: whether there is anything makes no
/// difference to anybody.
pub(crate) fn prefetch(start: *const u8, bytes: usize) {
    for offset in (0..bytes).step_by(LINE) {
        hint(start.wrapping_add(offset));
    }
}

/// Wakes a task, and asks for what it is going to touch when its turn comes.
pub fn wake(waker: Waker) {
    prefetch_task(&waker);
    waker.wake();
}

/// Asks for a task's memory: the waker points to where the executor has put it, its future inside.
pub(crate) fn prefetch_task(waker: &Waker) {
    prefetch(waker.data().cast(), TASK);
}

#[cfg(target_arch = "x86_64")]
fn hint(line: *const u8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: the instruction reads nothing, and does not fault whatever the address is.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(line.cast()) }
}

#[cfg(target_arch = "aarch64")]
fn hint(line: *const u8) {
    // SAFETY: the instruction reads nothing, and does not fault whatever the address is.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{line}]", line = in(reg) line,
            options(nostack, preserves_flags, readonly));
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn hint(_: *const u8) {}

/// Bytes of a cache's line.
const LINE: usize = 64;
/// The executor's header, and a future that has what is large in it on the heap; of a smaller task some
/// bytes are its neighbour's.
const TASK: usize = 256;

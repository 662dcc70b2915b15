//! The reactor of one executor: its ring, its buffers, and the table of those who have operations
//! in flight. It does not know what a source is for; sources know the reactor.
//!
//! Invariant: a slot leaves the table when its source is retired and its last completion is reaped.
//! Until then the table keeps the source alive, and with it every buffer an operation points to.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use io_uring::{cqueue, opcode, squeue};
use slab::Slab;

use crate::blocking::Answers;
use crate::buffers::Buffers;
use crate::chunk::Chunk;
use crate::lingering::Lingerers;
use crate::options::RingLimits;
use crate::prefetch::prefetch;
use crate::probe::RingError;
use crate::ring::Ring;
use crate::source::{GENERATIONS, Operation, Outcome, SlotId, Source};
use crate::task::Tasks;
use crate::timer::Timers;

struct Slot {
    generation: u32,
    source: Rc<dyn Source>,
    in_flight: u32,
    retired: bool,
}

/// What one run has. Every source holds it, and the table holds sources until their last
/// completion: a reactor with operations in flight is never dropped, whatever becomes of the run.
pub(crate) struct Reactor {
    // Dropped before the buffers it is registered with.
    ring: RefCell<Ring>,
    buffers: Rc<Buffers>,
    slots: RefCell<Slab<Slot>>,
    generation: Cell<u32>,
    prepare: RefCell<Vec<SlotId>>,
    starved: RefCell<VecDeque<SlotId>>,
    /// Receive buffers were found to be scarce since hoarders were asked last.
    scarce: Cell<bool>,
    /// Who has hoarded receive buffers, and may do so still.
    hoarders: RefCell<Vec<SlotId>>,
    /// Who has a quick operation in this entering of the ring that has not failed so far.
    quick: RefCell<Vec<SlotId>>,
    emptied: RefCell<Option<Waker>>,
    /// When the ring was left last.
    pub(crate) time: Cell<Instant>,
    /// The ring has been looked at after that.
    pub(crate) heard: Cell<Instant>,
    pub(crate) timers: RefCell<Timers>,
    pub(crate) tasks: Tasks,
    pub(crate) lingerers: Lingerers,
    pub(crate) limits: RingLimits,
    /// The way back for blocking work.
    pub(crate) answers: OnceCell<Answers>,
}

impl Reactor {
    pub(crate) fn new(limits: RingLimits) -> Result<Rc<Reactor>, RingError> {
        let ring = Ring::new(limits.entries)?;
        let buffers =
            Buffers::new(limits.buffers, limits.buffer_size).map_err(RingError::from_setup)?;
        ring.register(&buffers).map_err(RingError::from_setup)?;
        let now = Instant::now();
        Ok(Rc::new(Reactor {
            ring: RefCell::new(ring),
            buffers: Rc::new(buffers),
            slots: RefCell::new(Slab::new()),
            generation: Cell::new(0),
            prepare: RefCell::default(),
            starved: RefCell::default(),
            scarce: Cell::new(false),
            hoarders: RefCell::default(),
            quick: RefCell::default(),
            emptied: RefCell::default(),
            time: Cell::new(now),
            heard: Cell::new(now),
            timers: RefCell::default(),
            tasks: Tasks::default(),
            lingerers: Lingerers::default(),
            limits,
            answers: OnceCell::new(),
        }))
    }

    /// Puts a source, made for its slot, into the table.
    pub(crate) fn register<S: Source + 'static>(
        &self,
        make: impl FnOnce(SlotId) -> Rc<S>,
    ) -> Rc<S> {
        let generation = self.generation.get().wrapping_add(1) & GENERATIONS;
        self.generation.set(generation);
        let mut slots = self.slots.borrow_mut();
        let place = slots.vacant_entry();
        let source = make(SlotId {
            index: place.key() as u32,
            generation,
        });
        place.insert(Slot {
            generation,
            source: source.clone(),
            in_flight: 0,
            retired: false,
        });
        source
    }

    /// Queues an operation for the next entering of the ring.
    ///
    /// # Safety
    /// Whatever the entry points to must be owned by the source of `slot` and stay in place until
    /// the operation's last completion; the table keeps the source itself alive that long.
    pub(crate) unsafe fn submit(&self, slot: SlotId, operation: Operation, entry: squeue::Entry) {
        let mut slots = self.slots.borrow_mut();
        let Some(known) = find(&mut slots, slot) else {
            debug_assert!(
                false,
                "{operation:?} was submitted for a slot that left the table"
            );
            return;
        };
        known.in_flight += 1;
        // SAFETY: promised by our caller.
        unsafe {
            self.ring
                .borrow_mut()
                .push(entry.user_data(slot.token(operation)))
        };
    }

    /// Queues a send that ends within the next entering of the ring, because it must not wait
    /// (MSG_DONTWAIT), and that has no completion if it went through: its success neither ends the
    /// driver's sleep nor costs a completion. For sends whose success nobody waits for.
    ///
    /// # Safety
    /// As for [`Reactor::submit`].
    pub(crate) unsafe fn submit_quick(&self, slot: SlotId, entry: squeue::Entry) {
        self.quick.borrow_mut().push(slot);
        let entry = entry.flags(squeue::Flags::SKIP_SUCCESS);
        // SAFETY: promised by our caller.
        unsafe { self.submit(slot, Operation::QuickSend, entry) };
    }

    /// Asks the kernel to end an operation; its last completion comes all the same.
    pub(crate) fn cancel(&self, slot: SlotId, operation: Operation) {
        let entry = opcode::AsyncCancel::new(slot.token(operation))
            .build()
            .user_data(NOBODY);
        // SAFETY: the entry points to nothing.
        unsafe { self.ring.borrow_mut().push(entry) };
    }

    /// The source is done with: its slot is free as soon as nothing of it is in flight.
    pub(crate) fn retire(&self, slot: SlotId) {
        self.update(slot, |known| known.retired = true);
    }

    /// Calls the source's `prepare` before the ring is entered next.
    pub(crate) fn prepare_later(&self, slot: SlotId) {
        self.prepare.borrow_mut().push(slot);
    }

    /// Calls the source's `buffers_came_back` when there is a buffer for it.
    pub(crate) fn starve(&self, slot: SlotId) {
        self.starved.borrow_mut().push_back(slot);
    }

    /// The source hoards receive buffers. They are left to it, and not copied, until they are scarce.
    pub(crate) fn hoards(&self, slot: SlotId) {
        let mut hoarders = self.hoarders.borrow_mut();
        if hoarders.contains(&slot) {
            return;
        }
        if hoarders.len() >= HOARDERS_LIMIT {
            // There are not so many buffers that all of them could do it still.
            hoarders.retain(|slot| self.source(*slot).is_some_and(|source| source.hoards()));
        }
        hoarders.push(slot);
    }

    /// The received bytes of a completion, if it carries a buffer; copied when buffers are scarce.
    pub(crate) fn received(&self, outcome: Outcome) -> Option<Chunk> {
        let id = outcome.buffer()?;
        let mut chunk = Chunk::lent(self.buffers.lend(id, outcome.result.max(0) as u32));
        if self.buffers.scarce() {
            self.scarce.set(true);
            chunk.leave_loan();
        }
        Some(chunk)
    }

    /// Completes what was asked for before an entering of the ring.
    pub(crate) fn prepare(&self) {
        if self.scarce.take() {
            let hoarders = std::mem::take(&mut *self.hoarders.borrow_mut());
            for source in hoarders.iter().filter_map(|slot| self.source(*slot)) {
                source.share();
            }
        }
        self.buffers.offer();
        let feedable = usize::from(self.buffers.offered()).min(self.starved.borrow().len());
        for _ in 0..feedable {
            // One at a time: whoever is fed may starve again.
            let Some(slot) = self.starved.borrow_mut().pop_front() else {
                break;
            };
            if let Some(source) = self.source(slot) {
                source.buffers_came_back();
            }
        }
        let mut asked = std::mem::take(&mut *self.prepare.borrow_mut());
        for slot in asked.drain(..) {
            if let Some(source) = self.source(slot) {
                source.prepare();
            }
        }
        // Keeps the allocation; nobody asks to be prepared while being prepared.
        *self.prepare.borrow_mut() = asked;
    }

    /// Whether somebody starves beside buffers: who was fed takes none if it has nothing to receive.
    pub(crate) fn may_feed(&self) -> bool {
        self.buffers.offered() > 0 && !self.starved.borrow().is_empty()
    }

    /// Whether a receive has found no buffer.
    pub(crate) fn somebody_starves(&self) -> bool {
        !self.starved.borrow().is_empty()
    }

    pub(crate) fn ring(&self) -> &RefCell<Ring> {
        &self.ring
    }

    /// Gives completions to their sources.
    pub(crate) fn complete(&self, completions: &mut Vec<cqueue::Entry>) {
        self.prefetch(completions);
        for entry in completions.drain(..) {
            let (slot, operation) = SlotId::of_token(entry.user_data());
            let Some(operation) = operation else { continue };
            let outcome = Outcome::of(&entry);
            let Some(source) = self.source(slot) else {
                debug_assert!(
                    false,
                    "a completion of {operation:?} came after its slot was freed"
                );
                continue;
            };
            if operation == Operation::QuickSend {
                self.quick.borrow_mut().retain(|quick| *quick != slot);
            }
            source.completed(operation, outcome);
            if !outcome.more() {
                self.update(slot, |known| known.in_flight -= 1);
            }
        }
    }

    /// Asks for the memory of everybody concerned: of all sources first, then of those whom each will
    /// wake, for which a source must be looked at.
    fn prefetch(&self, completions: &[cqueue::Entry]) {
        let slots = self.slots.borrow();
        let concerned = || {
            completions.iter().filter_map(|entry| {
                let (slot, _) = SlotId::of_token(entry.user_data());
                slots.get(slot.index as usize).map(|known| &known.source)
            })
        };
        for source in concerned() {
            prefetch(Rc::as_ptr(source).cast(), size_of_val(source.as_ref()));
        }
        for source in concerned() {
            source.prefetch();
        }
    }

    /// After all completions of an entering that submitted everything: the quick operations that did
    /// not fail went through.
    pub(crate) fn settle(&self) {
        let mut through = std::mem::take(&mut *self.quick.borrow_mut());
        for slot in through.drain(..) {
            if let Some(source) = self.source(slot) {
                source.went_through();
            }
            self.update(slot, |known| known.in_flight -= 1);
        }
        // Keeps the allocation; nothing is submitted while settling.
        *self.quick.borrow_mut() = through;
    }

    /// Ends all sources; ready when the last completion was reaped.
    pub(crate) async fn end_sources(&self) {
        let all: Vec<SlotId> = self
            .slots
            .borrow()
            .iter()
            .map(|(index, known)| SlotId {
                index: index as u32,
                generation: known.generation,
            })
            .collect();
        for slot in all {
            if let Some(source) = self.source(slot) {
                source.ended();
            }
            self.retire(slot);
        }
        std::future::poll_fn(|cx: &mut Context<'_>| {
            if self.slots.borrow().is_empty() {
                return Poll::Ready(());
            }
            *self.emptied.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn source(&self, slot: SlotId) -> Option<Rc<dyn Source>> {
        let slots = self.slots.borrow();
        let known = slots.get(slot.index as usize)?;
        (known.generation == slot.generation).then(|| Rc::clone(&known.source))
    }

    /// Changes a slot and frees it when that made it retired with nothing in flight.
    fn update(&self, slot: SlotId, change: impl FnOnce(&mut Slot)) {
        let mut slots = self.slots.borrow_mut();
        let Some(known) = find(&mut slots, slot) else {
            return;
        };
        change(known);
        if known.retired && known.in_flight == 0 {
            let freed = slots.remove(slot.index as usize);
            let empty = slots.is_empty();
            // Dropping a source runs code of its own, which may come back here.
            drop(slots);
            drop(freed);
            if empty && let Some(waker) = self.emptied.borrow_mut().take() {
                waker.wake();
            }
        }
    }
}

fn find(slots: &mut Slab<Slot>, slot: SlotId) -> Option<&mut Slot> {
    slots
        .get_mut(slot.index as usize)
        .filter(|known| known.generation == slot.generation)
}

/// The errno of a completion as an error.
pub(crate) fn os_error(result: i32) -> io::Error {
    io::Error::from_raw_os_error(-result)
}

/// Remembers who waits, without cloning a waker that is remembered already.
pub(crate) fn remember(place: &mut Option<Waker>, cx: &Context<'_>) {
    match place {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *place = Some(cx.waker().clone()),
    }
}

/// So many hoarders are remembered before those are forgotten that are none any more.
const HOARDERS_LIMIT: usize = 64;

/// The token of operations whose completion interests nobody.
const NOBODY: u64 = u64::MAX;

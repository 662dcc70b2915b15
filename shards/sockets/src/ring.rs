//! One io_uring instance: entries in, completions out. It does not know what the operations mean.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, Submitter, cqueue, squeue};

use crate::buffers::Buffers;
use crate::options::RingLimits;
use crate::probe::RingError;

/// The ring of the executor on this thread; only this thread may enter it (SINGLE_ISSUER).
pub(crate) struct Ring {
    ring: IoUring,
    /// Entries that found the submission queue full, in order.
    backlog: VecDeque<squeue::Entry>,
    enter_flags: EnterFlags,
}

impl Ring {
    pub(crate) fn new(entries: u32) -> Result<Ring, RingError> {
        let ring = IoUring::builder()
            .dontfork()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_coop_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_cqsize(entries.saturating_mul(RingLimits::COMPLETIONS_PER_ENTRY))
            .build(entries)
            .map_err(RingError::from_setup)?;
        let params = ring.params();
        if !params.is_feature_ext_arg() {
            return Err(RingError::too_old("IORING_FEAT_EXT_ARG"));
        }
        if !params.is_feature_nodrop() {
            return Err(RingError::too_old("IORING_FEAT_NODROP"));
        }
        let mut enter_flags = EnterFlags::EXT_ARG | EnterFlags::GETEVENTS;
        if params.is_feature_no_iowait() {
            // An idle shard is idle, not waiting for a disk: otherwise `top` shows its core as busy
            // with I/O.
            enter_flags |= EnterFlags::NO_IOWAIT;
        }
        Ok(Ring {
            ring,
            backlog: VecDeque::new(),
            enter_flags,
        })
    }

    /// The crate's own interface, for registrations.
    pub(crate) fn submitter(&self) -> Submitter<'_> {
        self.ring.submitter()
    }

    /// Gives the kernel the ring through which it takes receive buffers.
    pub(crate) fn register(&self, buffers: &Buffers) -> io::Result<()> {
        // SAFETY: the address is page-aligned memory of as many entries as said; it lives as long
        // as `buffers`, and the reactor drops its ring (and with it the registration) before its
        // buffers.
        unsafe {
            self.submitter().register_buf_ring_with_flags(
                buffers.ring_address(),
                buffers.count(),
                Buffers::GROUP,
                0,
            )
        }
    }

    /// Queues an entry for the next `enter`.
    ///
    /// # Safety
    /// Whatever the entry points to must stay valid and in place until its last completion is
    /// reaped, and the descriptor open.
    pub(crate) unsafe fn push(&mut self, entry: squeue::Entry) {
        if !self.backlog.is_empty() {
            return self.backlog.push_back(entry);
        }
        // SAFETY: the caller promises what `push` demands.
        if unsafe { self.ring.submission().push(&entry) }.is_err() {
            self.backlog.push_back(entry);
        }
    }

    /// Submits what was pushed and, with `wait`, sleeps until there is a completion or the time is
    /// over.
    pub(crate) fn enter(&mut self, wait: Option<Duration>) -> io::Result<()> {
        loop {
            self.refill();
            // No sleep while there is a backlog: what is not submitted cannot complete.
            let last = self.backlog.is_empty();
            let entries = self.ring.submission().len();
            self.enter_once(entries, wait.filter(|_| last))?;
            let stuck = self.ring.submission().len() == entries;
            if last || stuck {
                // Stuck: completions must be reaped first. The rest goes with the next enter.
                return Ok(());
            }
        }
    }

    /// Whether everything pushed was submitted, and no completion is held back by the kernel.
    pub(crate) fn is_settled(&mut self) -> bool {
        let queue = self.ring.submission();
        self.backlog.is_empty() && queue.is_empty() && !queue.cq_overflow()
    }

    /// Whether there is a completion, or one will come of entering the ring. Costs no system call.
    pub(crate) fn has_news(&mut self) -> bool {
        // SQ_TASKRUN: the kernel has done its part and waits for this thread to fetch it.
        !self.ring.completion().is_empty() || self.ring.submission().taskrun()
    }

    /// Moves all completions there are to `into`.
    pub(crate) fn reap(&mut self, into: &mut Vec<cqueue::Entry>) {
        into.extend(self.ring.completion());
    }

    fn enter_once(&self, entries: usize, wait: Option<Duration>) -> io::Result<()> {
        let pause = Timespec::from(wait.unwrap_or_default());
        let args = if wait.is_some() {
            SubmitArgs::new().timespec(&pause)
        } else {
            SubmitArgs::new()
        };
        let at_least = u32::from(wait.is_some());
        // SAFETY: the flags announce the extended argument, which is passed and lives through the
        // call.
        let entered = unsafe {
            self.submitter().enter(
                entries as u32,
                at_least,
                self.enter_flags.bits(),
                Some(&args),
            )
        };
        match entered {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                // Time is over; a signal came; completions must be reaped first; memory is short
                // for the moment.
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
                _ => Err(error),
            },
        }
    }

    fn refill(&mut self) {
        let mut queue = self.ring.submission();
        while let Some(entry) = self.backlog.pop_front() {
            // SAFETY: promised by the caller of `push` that put the entry here.
            if unsafe { queue.push(&entry) }.is_err() {
                return self.backlog.push_front(entry);
            }
        }
    }
}

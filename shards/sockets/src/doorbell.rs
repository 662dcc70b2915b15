//! The doorbell: how another thread sends something to an executor and wakes it from its sleep.

use std::cell::UnsafeCell;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::thread::ThreadId;

use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError, bounded};
use io_uring::{opcode, types};

use crate::reactor::{Reactor, remember};
use crate::run::current;
use crate::source::{Operation, Outcome, SlotId, Source};
use crate::task::Stage;

/// A bounded channel into an executor. Can be made anywhere; costs one descriptor, for want of
/// which it fails.
pub fn doorbell<T: Send + 'static>(capacity: usize) -> io::Result<(Bell<T>, Doorbell<T>)> {
    // SAFETY: the call takes no pointers.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made and has no other owner.
    let wire = unsafe { OwnedFd::from_raw_fd(fd) };
    let (sender, receiver) = bounded(capacity);
    let shared = Arc::new(Shared {
        wire,
        rung: AtomicBool::new(false),
        gone: AtomicBool::new(false),
        waker: Mutex::new(None),
    });
    let rope = Arc::new(Rope(Arc::clone(&shared)));
    Ok((
        Bell {
            sender: Some(sender),
            rope,
        },
        Doorbell {
            receiver,
            shared,
            home: None,
        },
    ))
}

/// The sending end, for any thread.
pub struct Bell<T> {
    /// Taken only by drop, which must close the channel before it pulls the rope.
    sender: Option<Sender<T>>,
    rope: Arc<Rope>,
}

impl<T> Bell<T> {
    /// Sends `value` and wakes the executor. Never waits; gives the value back if it cannot be
    /// sent.
    pub fn ring(&self, value: T) -> Result<(), RingFailed<T>> {
        let Some(sender) = &self.sender else {
            return Err(RingFailed::Closed(value));
        };
        match sender.try_send(value) {
            Ok(()) => {
                self.rope.0.ring_once();
                Ok(())
            }
            Err(TrySendError::Full(value)) => Err(RingFailed::Full(value)),
            Err(TrySendError::Disconnected(value)) => Err(RingFailed::Closed(value)),
        }
    }

    /// Sends `value`, waiting for room; drops it when there is nobody to receive it any more.
    pub(crate) fn ring_patiently(&self, value: T) {
        if self
            .sender
            .as_ref()
            .is_some_and(|sender| sender.send(value).is_ok())
        {
            self.rope.0.ring_once();
        }
    }
}

impl<T> Clone for Bell<T> {
    fn clone(&self) -> Self {
        Bell {
            sender: self.sender.clone(),
            rope: Arc::clone(&self.rope),
        }
    }
}

impl<T> Drop for Bell<T> {
    fn drop(&mut self) {
        // First the channel, then (with the last of them) the rope: who is woken by it finds the
        // channel closed.
        self.sender = None;
    }
}

/// Why a [`Bell`] did not ring, with what was to be sent.
#[derive(PartialEq, Eq)]
pub enum RingFailed<T> {
    /// The executor does not keep up: as many are waiting as the doorbell was made for.
    Full(T),
    /// The [`Doorbell`] is gone.
    Closed(T),
}

impl<T> RingFailed<T> {
    /// What was to be sent.
    pub fn into_inner(self) -> T {
        match self {
            RingFailed::Full(value) | RingFailed::Closed(value) => value,
        }
    }
}

impl<T> fmt::Debug for RingFailed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RingFailed::Full(_) => "Full",
            RingFailed::Closed(_) => "Closed",
        })
    }
}

impl<T> fmt::Display for RingFailed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RingFailed::Full(_) => "the executor's doorbell has no room left",
            RingFailed::Closed(_) => "the executor's doorbell is gone",
        })
    }
}

impl<T> std::error::Error for RingFailed<T> {}

/// The receiving end, for one executor: it may move to another thread until it is first awaited.
pub struct Doorbell<T> {
    receiver: Receiver<T>,
    shared: Arc<Shared>,
    /// The thread whose ring reads the wire.
    home: Option<ThreadId>,
}

impl<T> Doorbell<T> {
    /// The next value; none when all bells are gone and everything was taken. Dropping the future
    /// loses nothing.
    ///
    /// Panics in another executor than the first one.
    pub async fn next(&mut self) -> Option<T> {
        self.settle();
        poll_fn(|cx| {
            let seen = self.look();
            if seen.is_ready() {
                return seen;
            }
            remember(&mut self.shared.waker(), cx);
            // From here on a ring is heard; what was sent just before is seen by looking once more.
            self.shared.rung.store(false, Ordering::SeqCst);
            fence(Ordering::SeqCst);
            self.look()
        })
        .await
    }

    fn look(&self) -> Poll<Option<T>> {
        match self.receiver.try_recv() {
            Ok(value) => Poll::Ready(Some(value)),
            Err(TryRecvError::Disconnected) => Poll::Ready(None),
            Err(TryRecvError::Empty) => Poll::Pending,
        }
    }

    /// What is there already.
    pub fn try_next(&mut self) -> Option<T> {
        self.receiver.try_recv().ok()
    }

    /// Lets this thread's ring read the wire, at first use.
    fn settle(&mut self) {
        let here = std::thread::current().id();
        match self.home {
            Some(home) => assert_eq!(
                home, here,
                "a doorbell stays in the executor that awaited it first"
            ),
            None => {
                let reactor = current();
                reactor
                    .register(|slot| {
                        Rc::new(Wire {
                            reactor: Rc::clone(&reactor),
                            slot,
                            shared: Arc::clone(&self.shared),
                            count: UnsafeCell::new(0),
                        })
                    })
                    .listen();
                self.home = Some(here);
            }
        }
    }
}

impl<T> Drop for Doorbell<T> {
    fn drop(&mut self) {
        // The wire hears it and leaves the table. The waker goes now, on the thread it belongs to.
        self.shared.gone.store(true, Ordering::SeqCst);
        let waker = self.shared.waker().take();
        drop(waker);
        self.shared.pull();
    }
}

struct Shared {
    wire: OwnedFd,
    /// The wire was pulled and the doorbell has not looked since.
    rung: AtomicBool,
    gone: AtomicBool,
    /// Who awaits the doorbell. Set, woken and dropped on its executor's thread only.
    waker: Mutex<Option<Waker>>,
}

impl Shared {
    /// Wakes the doorbell, with one system call for many rings.
    fn ring_once(&self) {
        fence(Ordering::SeqCst);
        if !self.rung.swap(true, Ordering::SeqCst) {
            self.pull();
        }
    }

    fn pull(&self) {
        let one: u64 = 1;
        // SAFETY: eight bytes are read from a local. It fails only if the counter is full, and then
        // the wire is readable anyway.
        unsafe {
            libc::write(
                self.wire.as_raw_fd(),
                (&raw const one).cast(),
                size_of::<u64>(),
            )
        };
    }

    fn waker(&self) -> std::sync::MutexGuard<'_, Option<Waker>> {
        self.waker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What all bells share: pulled for the last time when the last bell is gone.
struct Rope(Arc<Shared>);

impl Drop for Rope {
    fn drop(&mut self) {
        self.0.pull();
    }
}

/// The executor's end of the wire: a read of the eventfd, over and over.
struct Wire {
    reactor: Rc<Reactor>,
    slot: SlotId,
    shared: Arc<Shared>,
    /// Where the kernel writes the eventfd's counter.
    count: UnsafeCell<u64>,
}

impl Wire {
    fn listen(&self) {
        let entry = opcode::Read::new(
            types::Fd(self.shared.wire.as_raw_fd()),
            self.count.get().cast(),
            size_of::<u64>() as u32,
        )
        .build();
        // SAFETY: the counter and the descriptor belong to this source, which stays in place behind
        // its Rc; nobody but the kernel touches the counter.
        unsafe { self.reactor.submit(self.slot, Operation::Listen, entry) };
    }
}

impl Source for Wire {
    fn completed(&self, _: Operation, _: Outcome) {
        if self.shared.gone.load(Ordering::SeqCst) {
            return self.reactor.retire(self.slot);
        }
        // At the end of the run the read was cancelled, which this completion may have overtaken.
        if self.reactor.tasks.stage() != Stage::Over {
            self.listen();
        }
        if let Some(waker) = self.shared.waker().take() {
            waker.wake();
        }
    }

    fn ended(&self) {
        self.reactor.cancel(self.slot, Operation::Listen);
    }
}

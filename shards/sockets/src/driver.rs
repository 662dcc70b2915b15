//! The run of one executor: entering it, the driver's pass, and its orderly end.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::mem::ManuallyDrop;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::blocking::Answers;
use crate::options::RingLimits;
use crate::probe::RingError;
use crate::reactor::Reactor;
use crate::stream::LINGER;
use crate::task::{Stage, schedule};
use crate::timer::timeout;

/// What to build the executor with: the preempt timer makes glommio leave our queue to look at its own reactor,
/// in which there is nothing of ours.
pub const PREEMPT_TIMER: Duration = Duration::from_secs(1);

/// Runs `main` on this glommio executor, with a ring of its own.
///
/// Returns when `main` does. Then remaining tasks are dropped, what their streams had queued is sent for at most
/// a few seconds, sockets are closed. To be called once at a time per executor, as its outermost future.
pub async fn run<T>(limits: RingLimits, main: impl Future<Output = T>) -> Result<T, RingError> {
    let reactor = Reactor::new(limits)?;
    let _current = Current::enter(Rc::clone(&reactor))?;
    let stop = Rc::new(Cell::new(false));
    let mut driver = schedule(Driver::new(Rc::clone(&reactor), Rc::clone(&stop)).drive());
    let answers = Answers::start().map_err(RingError::from_setup)?;
    CURRENT.with(|current| {
        if let Some(current) = &mut *current.borrow_mut() {
            current.answers = Some(answers);
        }
    });

    let result = {
        let mut main = pin!(async {
            let result = main.await;
            wind_down(&reactor).await;
            result
        });
        poll_fn(|cx| {
            reactor.tasks.count();
            if let Poll::Ready(lost) = Pin::new(&mut driver).poll(cx) {
                return Poll::Ready(Err(RingError::Failed(
                    lost.unwrap_or_else(|| io::Error::other("the driver was stopped")),
                )));
            }
            main.as_mut().poll(cx).map(Ok)
        })
        .await
    };
    stop.set(true);
    if result.is_ok() {
        driver.await;
    }
    result
}

/// The reactor of the run this thread is in. Panics outside of [`run`]: there is nothing to wait with.
pub(crate) fn current() -> Rc<Reactor> {
    CURRENT.with(|current| match &*current.borrow() {
        Some(current) => Rc::clone(&current.reactor),
        None => panic!("sockets are used inside of sockets::run"),
    })
}

/// The way back for what ran on a helper thread.
pub(crate) fn answers() -> Answers {
    CURRENT.with(|current| {
        match current
            .borrow()
            .as_ref()
            .and_then(|current| current.answers.as_ref())
        {
            Some(answers) => answers.clone(),
            None => panic!("sockets::blocking is used inside of sockets::run"),
        }
    })
}

struct Current {
    reactor: Rc<Reactor>,
    answers: Option<Answers>,
}

impl Current {
    fn enter(reactor: Rc<Reactor>) -> Result<Leave, RingError> {
        CURRENT.with(|current| match &mut *current.borrow_mut() {
            Some(_) => Err(RingError::AlreadyRunning),
            place => {
                *place = Some(Current {
                    reactor,
                    answers: None,
                });
                Ok(Leave)
            }
        })
    }
}

/// Leaves the run, also when its future is dropped unfinished.
struct Leave;

impl Drop for Leave {
    fn drop(&mut self) {
        let left = CURRENT.with(|current| current.borrow_mut().take());
        drop(left);
    }
}

thread_local! {
    /// Never dropped with the thread: a run that ended by a panic leaves tasks whose wakers glommio cannot
    /// take back any more.
    static CURRENT: ManuallyDrop<RefCell<Option<Current>>> = const { ManuallyDrop::new(RefCell::new(None)) };
}

/// Drops tasks, lets streams linger, then closes everything that is still open.
async fn wind_down(reactor: &Rc<Reactor>) {
    reactor.tasks.enter(Stage::Lingering);
    // A stream that is dropped just now lingers from now on, hence a little more than its own time.
    let _ = timeout(LINGER + LINGER_MARGIN, reactor.tasks.emptied()).await;
    reactor.tasks.enter(Stage::Over);
    reactor.tasks.emptied().await;
    reactor.end_sources().await;
}

struct Driver {
    reactor: Rc<Reactor>,
    stop: Rc<Cell<bool>>,
    /// The counter of polls when the driver was last here.
    seen: u64,
    /// Visits since the ring was entered last.
    visits: u32,
    completions: Vec<io_uring::cqueue::Entry>,
    expired: Vec<Waker>,
}

impl Driver {
    fn new(reactor: Rc<Reactor>, stop: Rc<Cell<bool>>) -> Driver {
        Driver {
            reactor,
            stop,
            seen: 0,
            visits: 0,
            completions: Vec::new(),
            expired: Vec::new(),
        }
    }

    /// Ends when told to stop, or with the error that makes the ring unusable.
    async fn drive(mut self) -> Option<io::Error> {
        poll_fn(|cx: &mut Context<'_>| {
            if self.stop.get() {
                return Poll::Ready(None);
            }
            match self.visit() {
                Ok(()) => {
                    // To the tail of the queue, behind everybody who was woken.
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                Err(error) => Poll::Ready(Some(error)),
            }
        })
        .await
    }

    fn visit(&mut self) -> io::Result<()> {
        let polls = self.reactor.tasks.polls();
        let idle = polls == self.seen;
        self.seen = polls;
        if !idle && self.visits < VISITS_PER_ENTER {
            // Somebody ran and may have woken others, who are behind us in the queue.
            self.visits += 1;
            return Ok(());
        }
        self.visits = 0;
        self.reactor.prepare();
        let wait = idle.then(|| self.park_time());
        let mut ring = self.reactor.ring().borrow_mut();
        ring.enter(wait)?;
        ring.reap(&mut self.completions);
        drop(ring);
        self.reactor.complete(&mut self.completions);
        self.fire_timers();
        Ok(())
    }

    /// Until the next timer, but no longer than the limit.
    fn park_time(&self) -> Duration {
        let longest = self.reactor.limits.park_at_most;
        match self.reactor.timers.borrow().next() {
            Some(deadline) => deadline
                .saturating_duration_since(Instant::now())
                .min(longest),
            None => longest,
        }
    }

    fn fire_timers(&mut self) {
        if self.reactor.timers.borrow().next().is_none() {
            return;
        }
        self.reactor
            .timers
            .borrow_mut()
            .expire(Instant::now(), &mut self.expired);
        for waker in self.expired.drain(..) {
            waker.wake();
        }
    }
}

/// How often the driver goes back to the tail without entering the ring while tasks keep waking each other.
const VISITS_PER_ENTER: u32 = 4;

/// What lingering streams get beyond their own time limit before the run ends them.
const LINGER_MARGIN: Duration = Duration::from_millis(100);

//! The run of one executor: its reactor as the thread knows it, its beginning and its orderly end.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::mem::ManuallyDrop;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use crate::blocking::Answers;
use crate::driver::Driver;
use crate::options::RingLimits;
use crate::probe::RingError;
use crate::reactor::Reactor;
use crate::task::{Stage, schedule};
use crate::timer::timeout;

/// What to build the executor with: the preempt timer makes glommio leave our queue to look at its
/// own reactor, in which there is nothing of ours.
pub const PREEMPT_TIMER: Duration = Duration::from_secs(1);

/// Runs `main` on this glommio executor, with a ring of its own.
///
/// Returns when `main` does. Then the remaining tasks are dropped, what streams had queued is sent,
/// for little more than [`RingLimits::linger`], and sockets are closed. One at a time per executor, as its
/// outermost future.
pub async fn run<T>(limits: RingLimits, main: impl Future<Output = T>) -> Result<T, RingError> {
    let reactor = Reactor::new(limits)?;
    let _current = Current::enter(&reactor)?;
    let answers = Answers::start().map_err(RingError::from_setup)?;
    reactor
        .answers
        .set(answers)
        .unwrap_or_else(|_| unreachable!("a new reactor has no answers"));
    let mut driver = schedule(Driver::new(Rc::clone(&reactor)).drive());
    let result = {
        let mut main = pin!(async {
            let result = main.await;
            wind_down(&reactor).await;
            result
        });
        poll_fn(|cx| {
            reactor.tasks.count();
            match Pin::new(&mut driver).poll(cx) {
                Poll::Ready(error) => Poll::Ready(Err(RingError::Failed(error))),
                Poll::Pending => main.as_mut().poll(cx).map(Ok),
            }
        })
        .await
    };
    driver.cancel().await;
    result
}

/// The reactor of the run this thread is in. Panics outside of [`run`]: there is nothing to wait
/// with.
pub(crate) fn current() -> Rc<Reactor> {
    CURRENT.with(|current| match &*current.borrow() {
        Some(reactor) => Rc::clone(reactor),
        None => panic!("sockets are used inside of sockets::run only"),
    })
}

/// The time as of when this executor last looked for completions: when what is being dealt with now
/// came in. Many may ask for what one look at the clock costs. Outside of [`run`] it is the time.
#[must_use]
pub fn now() -> Instant {
    CURRENT.with(|current| match &*current.borrow() {
        Some(reactor) => reactor.time.get(),
        None => Instant::now(),
    })
}

/// The time up to which all that came in has been heard by those whom it is for, when a timer fires: whoever has said nothing
/// by then had until then to speak. [`now`] is later.
#[must_use]
pub fn heard() -> Instant {
    current().heard.get()
}

/// Drops tasks, lets streams linger, then closes everything that is still open.
async fn wind_down(reactor: &Reactor) {
    reactor.tasks.enter(Stage::Lingering);
    // Who is late is dropped next.
    let _ = timeout(
        reactor.limits.linger + LINGER_MARGIN,
        reactor.tasks.emptied(),
    )
    .await;
    reactor.tasks.enter(Stage::Over);
    reactor.tasks.emptied().await;
    reactor.end_sources().await;
}

/// This thread's being in a run; dropped also when the run's future is dropped unfinished.
struct Current(Rc<Reactor>);

impl Current {
    fn enter(reactor: &Rc<Reactor>) -> Result<Current, RingError> {
        CURRENT.with(|current| match &mut *current.borrow_mut() {
            Some(_) => Err(RingError::AlreadyRunning),
            place => {
                *place = Some(Rc::clone(reactor));
                Ok(Current(Rc::clone(reactor)))
            }
        })
    }
}

impl Drop for Current {
    fn drop(&mut self) {
        // Tasks left over by an unfinished run end at their next poll, instead of missing the
        // reactor.
        self.0.tasks.enter(Stage::Over);
        let left = CURRENT.with(|current| current.borrow_mut().take());
        drop(left);
    }
}

type Kept = ManuallyDrop<RefCell<Option<Rc<Reactor>>>>;

thread_local! {
    /// Never dropped with the thread: after a panic there are tasks left whose wakers glommio
    /// cannot take back.
    static CURRENT: Kept = const { ManuallyDrop::new(RefCell::new(None)) };
}

/// What lingering streams get beyond their own time limit: those dropped by the end of the run
/// start after it.
const LINGER_MARGIN: Duration = Duration::from_millis(100);

//! Timers. The kernel has none of them: the next deadline is the time-out of the driver's sleep, and they fire when the driver
//! has looked at the ring after it.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::reactor::{Reactor, remember};
use crate::run::current;

/// Waits for `duration`.
pub fn sleep(duration: Duration) -> Sleep {
    // A deadline beyond what the clock can say is never reached.
    Sleep {
        deadline: Instant::now().checked_add(duration),
        key: None,
    }
}

/// Waits until `deadline`.
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep {
        deadline: Some(deadline),
        key: None,
    }
}

/// Awaits `future` for at most `duration` from now on. What has come in before that time is over is heard, however late it is
/// noticed.
pub fn timeout<F: Future>(duration: Duration, future: F) -> Timeout<F> {
    Timeout {
        future,
        sleep: sleep(duration),
    }
}

/// The same, until `deadline`.
pub fn timeout_at<F: Future>(deadline: Instant, future: F) -> Timeout<F> {
    Timeout {
        future,
        sleep: sleep_until(deadline),
    }
}

/// A future that is awaited until some time. It is no async function, which would hold the future
/// twice or more: as what it is given, and as what it polls.
#[must_use = "a future does nothing unless awaited"]
pub struct Timeout<F> {
    future: F,
    sleep: Sleep,
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: nothing is moved out of here.
        let Timeout { future, sleep } = unsafe { self.get_unchecked_mut() };
        // SAFETY: the future is pinned as what it is a field of: there is no other way to it, no
        // Drop of Timeout that could move it, and Timeout is Unpin only if the future is.
        match unsafe { Pin::new_unchecked(future) }.poll(cx) {
            Poll::Ready(result) => Poll::Ready(Ok(result)),
            Poll::Pending => Pin::new(sleep).poll(cx).map(|()| Err(Elapsed)),
        }
    }
}

/// The time of a [`Timeout`] is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the time is over")]
pub struct Elapsed;

/// A wait for a moment; dropped it leaves no timer behind.
#[must_use = "a sleep does nothing unless awaited"]
pub struct Sleep {
    deadline: Option<Instant>,
    key: Option<(Rc<Reactor>, Key)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.deadline else {
            return Poll::Pending;
        };
        if let Some((reactor, key)) = &self.key {
            return match reactor.timers.borrow_mut().queue.get_mut(key) {
                Some(waker) => {
                    remember(waker, cx);
                    Poll::Pending
                }
                None => Poll::Ready(()),
            };
        }
        // Also one that is late already: whatever it is raced against has not been asked for before.
        let reactor = current();
        let key = reactor
            .timers
            .borrow_mut()
            .add(deadline, cx.waker().clone());
        self.key = Some((reactor, key));
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some((reactor, key)) = self.key.take() {
            let waker = reactor.timers.borrow_mut().queue.remove(&key);
            drop(waker);
        }
    }
}

/// The deadline, and a number that tells equal deadlines apart.
type Key = (Instant, u64);

/// All timers of an executor, the next one first.
#[derive(Default)]
pub(crate) struct Timers {
    queue: BTreeMap<Key, Option<Waker>>,
    added: u64,
}

impl Timers {
    pub(crate) fn next(&self) -> Option<Instant> {
        self.queue
            .first_key_value()
            .map(|((deadline, _), _)| *deadline)
    }

    /// Takes out what is due at `now`.
    pub(crate) fn expire(&mut self, now: Instant, into: &mut Vec<Waker>) {
        while let Some(first) = self.queue.first_entry()
            && first.key().0 <= now
        {
            into.extend(first.remove());
        }
    }

    fn add(&mut self, deadline: Instant, waker: Waker) -> Key {
        self.added += 1;
        let key = (deadline, self.added);
        self.queue.insert(key, Some(waker));
        key
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_timer_is_out_of_the_queue() {
        let executor = glommio::LocalExecutorBuilder::default()
            .io_memory(64 << 10)
            .make()
            .unwrap();
        let run = crate::run(crate::RingLimits::default(), async {
            let an_hour = Duration::from_secs(3600);
            assert_eq!(timeout(an_hour, sleep(Duration::ZERO)).await, Ok(()));
            let first = timeout(Duration::ZERO, timeout(an_hour, sleep(Duration::MAX))).await;
            assert_eq!(first, Err(Elapsed));
            let left = current().timers.borrow().next();
            assert_eq!(left, None);
        });
        executor.run(run).unwrap();
    }
}

//! Tasks, and the counting of their polls from which the driver knows that nobody else is runnable.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use slab::Slab;

use crate::reactor::Reactor;
use crate::run::current;

/// Starts a task on this executor; it first runs after its maker yields.
///
/// Panics outside of [`run`](crate::run). A panic in the task ends the executor.
pub fn spawn<T: 'static>(future: impl Future<Output = T> + 'static) -> Task<T> {
    spawn_until(Stage::Lingering, future)
}

/// Starts a task that the run lets live until it comes to this stage.
pub(crate) fn spawn_until<T: 'static>(
    stage: Stage,
    future: impl Future<Output = T> + 'static,
) -> Task<T> {
    let entry = Entry::new(current(), stage);
    Task(schedule(Counted { future, entry }))
}

/// A task's future with its entry. It is no async block, which would hold the future twice: as what
/// it is given, and as what it polls.
struct Counted<F> {
    // Dropped before the entry, so the entry's drop counts for whatever that wakes.
    future: F,
    entry: Entry,
}

impl<F: Future> Future for Counted<F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: nothing is moved out of here.
        let Counted { future, entry } = unsafe { self.get_unchecked_mut() };
        // SAFETY: the future is pinned as what it is a field of: there is no other way to it, no
        // Drop of Counted that could move it, and Counted is Unpin only if the future is.
        entry.poll(cx, unsafe { Pin::new_unchecked(future) })
    }
}

/// Puts a future at the tail of the queue we run in. Unlike glommio's `spawn_local`, which polls it
/// at once, inside of whatever its maker is doing.
pub(crate) fn schedule<T: 'static>(future: impl Future<Output = T> + 'static) -> glommio::Task<T> {
    let here = glommio::executor().current_task_queue();
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place: the driver, and what is counted"
    )]
    let task = glommio::spawn_local_into(future, here);
    match task {
        Ok(task) => task,
        Err(error) => unreachable!("the queue that runs this task exists: {error}"),
    }
}

/// A task: awaited it gives the task's result, dropped it cancels the task.
#[must_use = "a dropped task is cancelled; detach() lets it run"]
pub struct Task<T>(glommio::Task<Option<T>>);

impl<T> Task<T> {
    /// Lets the task run to its end; its result is dropped.
    pub fn detach(self) {
        self.0.detach();
    }
}

impl<T> Future for Task<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        match Pin::new(&mut self.0).poll(cx) {
            Poll::Ready(Some(result)) => Poll::Ready(result),
            // The run ended before the task did, so whoever awaits it is being dropped too.
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

/// How far a run has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    #[default]
    Running,
    /// `main` is done; only what streams still have to send goes on.
    Lingering,
    /// Nothing goes on.
    Over,
}

/// All tasks of a run.
#[derive(Default)]
pub(crate) struct Tasks {
    stage: Cell<Stage>,
    polls: Cell<u64>,
    alive: Cell<usize>,
    /// One waker for each task that was polled, to reach it at the end of the run.
    wakers: RefCell<Slab<Waker>>,
    emptied: RefCell<Option<Waker>>,
}

impl Tasks {
    /// A task is being polled or dropped.
    pub(crate) fn count(&self) {
        self.polls.set(self.polls.get().wrapping_add(1));
    }

    pub(crate) fn polls(&self) -> u64 {
        self.polls.get()
    }

    pub(crate) fn stage(&self) -> Stage {
        self.stage.get()
    }

    /// The run comes to a stage: tasks that live only until then drop their futures, each at its
    /// next poll.
    pub(crate) fn enter(&self, stage: Stage) {
        self.stage.set(stage);
        let wakers: Vec<Waker> = self
            .wakers
            .borrow()
            .iter()
            .map(|(_, waker)| waker.clone())
            .collect();
        wakers.iter().for_each(Waker::wake_by_ref);
    }

    /// Ready when no task is left.
    pub(crate) async fn emptied(&self) {
        poll_fn(|cx| {
            if self.alive.get() == 0 {
                return Poll::Ready(());
            }
            *self.emptied.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// A task's entry among all tasks, as long as its future lives.
struct Entry {
    reactor: Rc<Reactor>,
    key: Option<usize>,
    until: Stage,
}

impl Entry {
    fn new(reactor: Rc<Reactor>, until: Stage) -> Entry {
        reactor.tasks.alive.set(reactor.tasks.alive.get() + 1);
        Entry {
            reactor,
            key: None,
            until,
        }
    }

    /// One counted poll; none when the run has come too far for this task.
    fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        future: Pin<&mut impl Future<Output = T>>,
    ) -> Poll<Option<T>> {
        let tasks = &self.reactor.tasks;
        tasks.count();
        if tasks.stage() >= self.until {
            return Poll::Ready(None);
        }
        if self.key.is_none() {
            self.key = Some(tasks.wakers.borrow_mut().insert(cx.waker().clone()));
        }
        future.poll(cx).map(Some)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let tasks = &self.reactor.tasks;
        tasks.count();
        tasks.alive.set(tasks.alive.get() - 1);
        if let Some(key) = self.key {
            let waker = tasks.wakers.borrow_mut().remove(key);
            drop(waker);
        }
        if tasks.alive.get() == 0
            && let Some(waker) = tasks.emptied.borrow_mut().take()
        {
            waker.wake();
        }
    }
}

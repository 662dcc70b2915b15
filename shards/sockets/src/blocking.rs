//! Work that would hold up a shard (password hashing, name look-ups), on a few helper threads of
//! the process.
//!
//! It is done in the order in which it came, save where somebody else chooses how much it is: such work has an owner. Of one
//! owner's there is one piece at a time under way, and the next one goes to the end of the line, so that whoever has us compute
//! for long holds up itself.

use std::any::Any;
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use slab::Slab;

use crate::doorbell::{Bell, doorbell};
use crate::reactor::remember;
use crate::run::current;
use crate::task::spawn;

/// Runs `work` on a helper thread and gives its result; a panic in it resumes here.
///
/// Jobs wait in line, one for each task that awaits, until one of [`HELPERS`] threads is free. Dropped before its turn, the
/// work is not done; dropped later, it goes on, and its result is dropped.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    run_by(&COMPUTING, None, work).await
}

/// The same for work whose cost is the choice of this owner: it waits until no other work of the owner's is in line or being done,
/// also such as nobody waits for any more.
pub async fn blocking_in_turn<T: Send + 'static>(
    owner: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    run_by(&COMPUTING, Some(owner), work).await
}

/// The same for work that waits for somebody outside of the process, on threads of its own: a name
/// server that keeps silent must not hold up what only has to be computed.
pub async fn blocking_on_others<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    run_by(&WAITING, None, work).await
}

async fn run_by<T: Send + 'static>(
    helpers: &'static LazyLock<Helpers>,
    owner: Option<&str>,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    let reactor = current();
    let Some(answers) = reactor.answers.get() else {
        unreachable!("a run starts with its answers")
    };
    let wanted = Arc::new(AtomicBool::new(true));
    let place = Place {
        key: answers.waiting.borrow_mut().insert(Waiting::default()),
        waiting: Rc::clone(&answers.waiting),
        wanted: Arc::clone(&wanted),
    };
    let (key, bell) = (place.key, answers.bell.clone());
    let is_wanted = Arc::clone(&wanted);
    let work = Box::new(move || {
        let outcome: Box<dyn Any + Send> = match is_wanted.load(Ordering::Relaxed) {
            true => Box::new(catch_unwind(AssertUnwindSafe(work))),
            // Its place is still to be given up.
            false => Box::new(()),
        };
        bell.ring_patiently(Answer { key, outcome });
    });
    helpers.run(owner, Job { wanted, work });
    let outcome = poll_fn(|cx| {
        let mut waiting = place.waiting.borrow_mut();
        let mine = &mut waiting[place.key];
        match mine.outcome.take() {
            Some(outcome) => Poll::Ready(outcome),
            None => {
                remember(&mut mine.waker, cx);
                Poll::Pending
            }
        }
    })
    .await;
    match outcome
        .downcast::<std::thread::Result<T>>()
        .map(|outcome| *outcome)
    {
        Ok(Ok(result)) => result,
        Ok(Err(panic)) => resume_unwind(panic),
        Err(_) => unreachable!("the answer under this key is that of the closure sent with it"),
    }
}

/// The way back to one executor, for all its blocking work.
pub(crate) struct Answers {
    bell: Bell<Answer>,
    waiting: Rc<RefCell<Slab<Waiting>>>,
}

impl Answers {
    /// Starts the task that hands answers to those who wait.
    pub(crate) fn start() -> io::Result<Answers> {
        let (bell, mut doorbell) = doorbell(ANSWERS)?;
        let waiting: Rc<RefCell<Slab<Waiting>>> = Rc::default();
        let answers = Answers {
            bell,
            waiting: Rc::clone(&waiting),
        };
        spawn(async move {
            while let Some(Answer { key, outcome }) = doorbell.next().await {
                let waker = deliver(&mut waiting.borrow_mut(), key, outcome);
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
        })
        .detach();
        Ok(answers)
    }
}

struct Answer {
    key: usize,
    outcome: Box<dyn Any + Send>,
}

/// Who waits for an answer. The place is kept until the answer is there, even if nobody waits any
/// more.
#[derive(Default)]
struct Waiting {
    waker: Option<Waker>,
    outcome: Option<Box<dyn Any + Send>>,
    answered: bool,
    left: bool,
}

fn deliver(waiting: &mut Slab<Waiting>, key: usize, outcome: Box<dyn Any + Send>) -> Option<Waker> {
    let place = waiting.get_mut(key)?;
    if place.left {
        waiting.remove(key);
        return None;
    }
    place.answered = true;
    place.outcome = Some(outcome);
    place.waker.take()
}

/// The caller's hold on its place.
struct Place {
    key: usize,
    waiting: Rc<RefCell<Slab<Waiting>>>,
    /// Seen by the helper that comes to the job.
    wanted: Arc<AtomicBool>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.wanted.store(false, Ordering::Relaxed);
        let mut waiting = self.waiting.borrow_mut();
        if waiting[self.key].answered {
            waiting.remove(self.key);
        } else {
            waiting[self.key].left = true;
        }
    }
}

struct Job {
    /// Whether somebody waits for it still.
    wanted: Arc<AtomicBool>,
    /// Answers in any case: at once, where nobody waits.
    work: Box<dyn FnOnce() + Send>,
}

/// The helper threads; they start when first needed and stay.
struct Helpers {
    turns: Mutex<Turns>,
    /// Somebody's turn has come.
    called: Condvar,
    /// Threads at most.
    most: usize,
    /// How far they give way to those who serve clients.
    niceness: i32,
}

/// Whose turn it is.
///
/// Invariant: an owner is in line if, and only if, jobs of its wait and none of them is being done.
#[derive(Default)]
struct Turns {
    /// Jobs that wait behind one of the same owner's that is in line or being done.
    behind: HashMap<Box<str>, VecDeque<Job>>,
    /// What is done next, each with its owner, if it has one; then others of the owner's may be done.
    line: VecDeque<(Option<Box<str>>, Job)>,
    started: usize,
    idle: usize,
}

impl Turns {
    fn enter(&mut self, owner: Option<&str>, job: Job) {
        let Some(owner) = owner else {
            return self.line.push_back((None, job));
        };
        if let Some(behind) = self.behind.get_mut(owner) {
            return behind.push_back(job);
        }
        self.behind.insert(owner.into(), VecDeque::new());
        self.line.push_back((Some(owner.into()), job));
    }

    /// A job of this owner's has been done. Those behind it that nobody waits for take no turn.
    fn done(&mut self, owner: Box<str>) -> Vec<Job> {
        let mut unwanted = Vec::new();
        while let Some(job) = self.behind.get_mut(&owner).and_then(VecDeque::pop_front) {
            if job.wanted.load(Ordering::Relaxed) {
                self.line.push_back((Some(owner), job));
                return unwanted;
            }
            unwanted.push(job);
        }
        self.behind.remove(&owner);
        unwanted
    }
}

impl Helpers {
    fn new(most: usize, niceness: i32) -> Helpers {
        Helpers {
            turns: Mutex::default(),
            called: Condvar::new(),
            most,
            niceness,
        }
    }

    fn run(&'static self, owner: Option<&str>, job: Job) {
        let mut turns = self.turns();
        turns.enter(owner, job);
        if turns.line.len() > turns.idle && turns.started < self.most {
            turns = self.start_another(turns);
        }
        if turns.started > 0 {
            return self.called.notify_one();
        }
        // No thread could be had: late is better than never.
        while let Some((owner, job)) = turns.line.pop_front() {
            turns = self.work(turns, owner, job);
        }
    }

    fn start_another<'a>(&'static self, mut turns: MutexGuard<'a, Turns>) -> MutexGuard<'a, Turns> {
        let thread = std::thread::Builder::new().name("bouncer-helper".into());
        turns.started += 1;
        if let Err(error) = thread.spawn(|| self.help()) {
            turns.started -= 1;
            log::warn!("no helper thread could be started: {error}");
        }
        turns
    }

    /// What a helper thread does for all its life.
    fn help(&'static self) {
        give_way(self.niceness);
        let mut turns = self.turns();
        loop {
            turns = match turns.line.pop_front() {
                Some((owner, job)) => self.work(turns, owner, job),
                None => {
                    turns.idle += 1;
                    let woken = self.called.wait(turns);
                    let mut turns = woken.unwrap_or_else(PoisonError::into_inner);
                    turns.idle -= 1;
                    turns
                }
            };
        }
    }

    /// Does a job while others see whose turn it is.
    fn work<'a>(
        &'a self,
        turns: MutexGuard<'a, Turns>,
        owner: Option<Box<str>>,
        job: Job,
    ) -> MutexGuard<'a, Turns> {
        drop(turns);
        (job.work)();
        if let Some(owner) = owner {
            let unwanted = self.turns().done(owner);
            if !unwanted.is_empty() {
                // What stands in line now must not wait until they have been answered here.
                self.called.notify_one();
            }
            unwanted.into_iter().for_each(|job| (job.work)());
        }
        self.turns()
    }

    /// Nothing that could panic is done under the lock.
    fn turns(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Has the thread that calls it get less of a busy processor; where that is not allowed, it gets as much as others.
fn give_way(niceness: i32) {
    if niceness > 0 {
        // SAFETY: a system call without pointers. On Linux it means the thread, and not the process.
        unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, niceness) };
    }
}

/// Those who compute.
static COMPUTING: LazyLock<Helpers> = LazyLock::new(|| Helpers::new(HELPERS, NICENESS));
/// Those who wait for somebody outside.
static WAITING: LazyLock<Helpers> = LazyLock::new(|| Helpers::new(WAITERS, 0));

/// Threads at most that wait for somebody outside: they take next to nothing while they wait, and each
/// name that nobody answers to keeps one for as long as the C library is patient.
pub const WAITERS: usize = 128;

/// Helper threads of the process at most, of those that compute.
pub const HELPERS: usize = 16;

/// What they compute is asked for by whoever can connect: all of them together get a fifth of a processor that a shard
/// has use for.
const NICENESS: i32 = 15;

/// Answers that may wait for one executor before helper threads wait for it.
const ANSWERS: usize = 1024;

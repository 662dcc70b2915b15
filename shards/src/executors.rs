//! The threads of the data plane: each has an executor of glommio and a ring of its own.
//!
//! ```text
//!   Starting ── thread() ──▶ ring made, waits ──┐
//!            ── thread() ──▶ ring made, waits ──┤ all_up(): every one has its ring
//!                                               ├──────▶ Executors: all of them run
//!                                               └─ one of them died ──▶ NotStarted
//! ```
//!
//! None of them runs before all have what they live on: clients that come at once could take every
//! descriptor before the last ring is made. Glommio is named in this file only.

use std::convert::Infallible;

use crossbeam_channel::{Receiver, RecvError, Sender, select, unbounded};
use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};
use sockets::{PREEMPT_TIMER, RingLimits};

/// A thread that could not be made, or had no ring.
#[derive(Debug, thiserror::Error)]
#[error("cannot start {thread}: {why}")]
pub struct NotStarted {
    /// Its name.
    pub thread: String,
    /// The executor's words.
    pub why: String,
}

/// A thread of the data plane that is no more.
#[derive(Debug)]
pub struct Death {
    /// The name of the thread.
    pub thread: String,
    /// What it died of; `None` if it ended as told.
    pub cause: Option<String>,
}

/// Threads that wait for each other.
pub struct Starting {
    handles: Vec<(String, ExecutorJoinHandle<()>)>,
    deaths: (Sender<Death>, Receiver<Death>),
    up: (Sender<()>, Receiver<()>),
    /// Nothing is ever sent: its end is the signal.
    go: (Sender<Infallible>, Receiver<Infallible>),
}

/// Threads that run.
pub struct Executors {
    handles: Vec<(String, ExecutorJoinHandle<()>)>,
    deaths: Receiver<Death>,
}

impl Starting {
    /// No thread yet.
    pub fn new() -> Starting {
        Starting {
            handles: Vec::new(),
            deaths: unbounded(),
            up: unbounded(),
            go: unbounded(),
        }
    }

    /// One thread, one executor, one ring, that runs `main` to its end once all are up.
    pub fn thread<F: Future<Output = ()> + 'static>(
        &mut self,
        name: String,
        cpu: Option<usize>,
        limits: RingLimits,
        main: impl FnOnce() -> F + Send + 'static,
    ) -> Result<(), NotStarted> {
        let (up, go) = (self.up.0.clone(), self.go.1.clone());
        let obituary = Obituary {
            thread: name.clone(),
            deaths: self.deaths.0.clone(),
            cause: Some("it panicked, or its executor could not start".into()),
        };
        let executor = LocalExecutorBuilder::new(cpu.map_or(Placement::Unbound, Placement::Fixed))
            .name(&name)
            // The executor's own file buffers, which a proxy never uses: the least that it takes,
            // since they count against the locked memory that the rings need.
            .io_memory(64 << 10)
            .preempt_timer(PREEMPT_TIMER)
            .spawn(move || async move {
                // The whole of it moves in here, to be told on every way out.
                let mut obituary = obituary;
                let life = async {
                    // Who starts us is gone if this fails, and so is the process.
                    let _ = up.send(());
                    // Blocks the thread, on which nothing runs yet.
                    let _ = go.recv();
                    main().await;
                };
                obituary.cause = sockets::run(limits, life)
                    .await
                    .err()
                    .map(|error| error.to_string());
            })
            .map_err(|error| NotStarted {
                thread: name.clone(),
                why: error.to_string(),
            })?;
        self.handles.push((name, executor));
        Ok(())
    }

    /// Waits until every thread has its ring, then lets all of them run.
    pub fn all_up(self) -> Result<Executors, NotStarted> {
        for _ in &self.handles {
            select! {
                recv(self.up.1) -> _ => {}
                // It holds a sender itself, so there is one to hear of.
                recv(self.deaths.1) -> death => if let Ok(death) = death {
                    return Err(self.why_not(death));
                }
            }
        }
        Ok(Executors {
            handles: self.handles,
            deaths: self.deaths.1,
        })
    }

    /// What the executor says of itself is better than what its obituary could know.
    fn why_not(mut self, death: Death) -> NotStarted {
        let dead = self
            .handles
            .iter()
            .position(|(name, _)| *name == death.thread);
        let words = dead.and_then(|index| self.handles.swap_remove(index).1.join().err());
        NotStarted {
            why: words
                .map(|error| error.to_string())
                .or(death.cause)
                .unwrap_or_else(|| "it ended at once".into()),
            thread: death.thread,
        }
    }
}

impl Executors {
    /// Threads that ended, as it happens.
    pub fn deaths(&self) -> &Receiver<Death> {
        &self.deaths
    }

    /// Waits for the end of all of them. Where something comes on `hurry` before, that is the answer, and the rest
    /// may be waited for again.
    pub fn join<T>(&mut self, hurry: &Receiver<T>) -> Result<(), Result<T, RecvError>> {
        while !self.handles.is_empty() {
            select! {
                recv(self.deaths) -> death => self.bury(death.ok()),
                recv(hurry) -> word => return Err(word),
            }
        }
        Ok(())
    }

    /// Takes a thread out that has told its end; all of them, if none is left to tell of any.
    fn bury(&mut self, death: Option<Death>) {
        let is_dead = |(name, _): &mut (String, _)| {
            let mut of = death.iter();
            death.is_none() || of.any(|death| death.thread == *name)
        };
        for (_, thread) in self.handles.extract_if(.., is_dead) {
            // What it died of, if it did not end as told, has been told by its obituary.
            let _ = thread.join();
        }
    }
}

/// Tells of a thread's end when it is dropped, however that comes about.
struct Obituary {
    thread: String,
    deaths: Sender<Death>,
    cause: Option<String>,
}

impl Drop for Obituary {
    fn drop(&mut self) {
        // Whoever does not listen any more needs no news.
        let _ = self.deaths.send(Death {
            thread: std::mem::take(&mut self.thread),
            cause: self.cause.take(),
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn nobody_runs_before_all_are_up() {
        let ran = Arc::new(AtomicUsize::new(0));
        let mut starting = Starting::new();
        for index in 0..3 {
            let ran = Arc::clone(&ran);
            starting
                .thread(
                    format!("test-{index}"),
                    None,
                    RingLimits::default(),
                    move || async move {
                        ran.fetch_add(1, Ordering::SeqCst);
                    },
                )
                .unwrap();
        }
        for _ in 0..3 {
            starting.up.1.recv().unwrap();
        }
        assert_eq!(ran.load(Ordering::SeqCst), 0);
        for _ in 0..3 {
            starting.up.0.send(()).unwrap();
        }
        let mut running = starting.all_up().unwrap();
        let nobody_hurries = crossbeam_channel::never::<()>();
        assert_eq!(running.join(&nobody_hurries), Ok(()));
        assert_eq!(ran.load(Ordering::SeqCst), 3);
    }

    #[test]
    fn a_thread_that_dies_before_its_ring_is_made_is_named() {
        let mut starting = Starting::new();
        let none = usize::MAX; // no such CPU
        let started = starting
            .thread("test".into(), Some(none), RingLimits::default(), || async {
            })
            .and_then(|()| starting.all_up().map(drop));
        assert_eq!(started.unwrap_err().thread, "test");
    }

    #[test]
    fn whoever_is_in_a_hurry_need_not_wait_for_threads_that_take_their_time() {
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let mut starting = Starting::new();
        let life = move || async move {
            let _ = ended.recv();
        };
        let limits = RingLimits::default();
        starting.thread("test".into(), None, limits, life).unwrap();
        let mut running = starting.all_up().unwrap();
        let (hurry, hurried) = unbounded();
        hurry.send("now").unwrap();
        assert_eq!(running.join(&hurried), Err(Ok("now")));
        drop(end);
        assert_eq!(running.join(&hurried), Ok(()));
    }
}

//! Whoever spoke before its time was over is heard, however late an executor notices that.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use sockets::{RingLimits, sleep, spawn, timeout_at};
use support::*;

/// Whether a stopped thread may go on.
static GOES_ON: AtomicBool = AtomicBool::new(false);
/// Whether it has been stopped.
static STOPPED: AtomicBool = AtomicBool::new(false);

/// Like a stop of the whole process: it ends the waiting in the ring, and then nothing happens for a while.
extern "C" fn stop(_signal: libc::c_int) {
    STOPPED.store(true, Ordering::SeqCst);
    while !GOES_ON.load(Ordering::SeqCst) {
        // SAFETY: a call that a signal handler may make; it touches no memory of ours.
        unsafe { libc::usleep(1000) };
    }
}

#[test]
fn who_spoke_in_time_while_its_thread_was_stopped_is_heard() {
    let handler: extern "C" fn(libc::c_int) = stop;
    // SAFETY: the handler only reads and writes atomics, and sleeps.
    unsafe { libc::signal(libc::SIGUSR1, handler as libc::sighandler_t) };
    try_until_shown(|| {
        STOPPED.store(false, Ordering::SeqCst);
        GOES_ON.store(false, Ordering::SeqCst);
        executor(patient(), is_heard_behind_a_stop)
    });
}

/// False where the machine stalled, and nothing was shown.
async fn is_heard_behind_a_stop() -> bool {
    let (stream, mut plain) = half_pair().await;
    let deadline = Instant::now() + Duration::from_secs(1);
    // SAFETY: it has no precondition.
    let executor = unsafe { libc::pthread_self() };
    let stopper = thread::spawn(move || {
        // By then it is asleep; were it not, this would show nothing.
        thread::sleep(Duration::from_millis(100));
        // SAFETY: the thread lives until this one is joined.
        unsafe { libc::pthread_kill(executor, libc::SIGUSR1) };
        while !STOPPED.load(Ordering::SeqCst) {
            thread::yield_now();
        }
        plain.write_all(b"x").unwrap();
        let in_time = Instant::now() < deadline;
        until(deadline);
        GOES_ON.store(true, Ordering::SeqCst);
        (in_time, plain)
    });
    let heard = timeout_at(deadline, stream.recv()).await;
    let (in_time, _plain) = stopper.join().unwrap();
    if in_time {
        assert_eq!(*heard.expect("it spoke in time").unwrap(), *b"x");
    }
    in_time
}

#[test]
fn all_who_spoke_in_time_are_heard_however_many_there_are() {
    // So few buffers that one look brings what few have said, and so many speakers that the kernel needs several.
    let few = RingLimits {
        buffers: 4,
        buffer_size: 32,
        ..patient()
    };
    for limits in [few, patient()] {
        try_until_shown(|| executor(limits.clone(), are_all_heard));
    }
}

/// False where the machine stalled, and nothing was shown.
async fn are_all_heard() -> bool {
    let mut speakers = Vec::new();
    let mut heard = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(1);
    for _ in 0..200 {
        let (stream, plain) = half_pair().await;
        speakers.push(plain);
        heard.push(spawn(async move {
            let said = timeout_at(deadline, stream.recv()).await;
            said.is_ok_and(|said| *said.unwrap() == *b"x")
        }));
    }
    // All listen.
    sleep(Duration::from_millis(1)).await;
    for speaker in &mut speakers {
        speaker.write_all(b"x").unwrap();
    }
    let in_time = Instant::now() < deadline;
    until(deadline + Duration::from_millis(50));
    for (number, heard) in heard.into_iter().enumerate() {
        assert!(heard.await || !in_time, "the {number}th");
    }
    in_time
}

fn try_until_shown(attempt: impl Fn() -> bool) {
    let is_shown = (0..TRIES).any(|_| attempt());
    assert!(is_shown, "the machine stalls all the time");
}

const TRIES: usize = 20;

/// Keeps this thread busy.
fn until(deadline: Instant) {
    while Instant::now() <= deadline {
        thread::sleep(Duration::from_millis(1));
    }
}

//! Whatever wakes a task, the sleeping executor hears it. Executors here sleep for an hour when
//! idle, so a wake that is lost shows as a hanging test, on however slow a machine.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use sockets::{
    RingFailed, blocking, blocking_in_turn, doorbell, sleep, sleep_until, spawn, timeout,
};
use support::*;

#[test]
fn a_doorbell_is_heard_every_time() {
    executor(patient(), || async {
        let (bell, mut doorbell) = doorbell(1).unwrap();
        let (answer, answers) = mpsc::channel();
        let ringer = thread::spawn(move || {
            for number in 0..2000 {
                bell.ring(number).unwrap();
                // The executor has taken it and is about to sleep, or sleeps.
                assert_eq!(answers.recv().unwrap(), number);
            }
        });
        let mut expected = 0;
        while let Some(number) = doorbell.next().await {
            assert_eq!(number, expected);
            expected += 1;
            answer.send(number).unwrap();
        }
        assert_eq!(expected, 2000);
        ringer.join().unwrap();
    });
}

#[test]
fn many_ringers_lose_nothing_and_the_last_one_ends_it() {
    executor(patient(), || async {
        let (bell, mut doorbell) = doorbell(16).unwrap();
        for _ in 0..4 {
            let bell = bell.clone();
            thread::spawn(move || {
                let mut next = 0;
                while next < 5000 {
                    match bell.ring(next) {
                        Ok(()) => next += 1,
                        Err(RingFailed::Full(same)) => {
                            assert_eq!(same, next);
                            thread::yield_now();
                        }
                        Err(RingFailed::Closed(_)) => panic!("closed"),
                    }
                }
            });
        }
        drop(bell);
        let (mut count, mut sum) = (0, 0);
        while let Some(number) = doorbell.next().await {
            count += 1;
            sum += number;
        }
        assert_eq!((count, sum), (4 * 5000, 4 * 4999 * 5000 / 2));
    });
}

#[test]
fn a_doorbell_tells_full_and_closed() {
    let (bell, doorbell) = doorbell(1).unwrap();
    bell.ring("first").unwrap();
    assert_eq!(bell.ring("second"), Err(RingFailed::Full("second")));
    drop(doorbell);
    assert_eq!(bell.ring("third"), Err(RingFailed::Closed("third")));
}

#[test]
fn a_doorbell_made_elsewhere_and_dropped_unheard_is_no_harm() {
    let (bell, mut outside) = doorbell(4).unwrap();
    executor(patient(), move || async move {
        let heard = timeout(Duration::from_millis(1), outside.next()).await;
        assert!(heard.is_err());
        bell.ring(1).unwrap();
        assert_eq!(outside.next().await, Some(1));
        // Dropped while its read is in flight, on another thread.
        thread::spawn(move || drop(outside)).join().unwrap();
        assert_eq!(bell.ring(2), Err(RingFailed::Closed(2)));
        sleep(Duration::from_millis(1)).await;
    });
}

#[test]
fn timers_fire_in_order_and_not_before_their_time() {
    executor(patient(), || async {
        let order: Rc<RefCell<Vec<u64>>> = Rc::default();
        // Not before all of them wait, on a machine that stalls just now.
        let start = Instant::now() + Duration::from_secs(3);
        let tasks: Vec<_> = [30, 10, 20, 0, 10]
            .map(|millis| {
                let order = Rc::clone(&order);
                spawn(async move {
                    let deadline = start + Duration::from_millis(millis);
                    sleep_until(deadline).await;
                    assert!(Instant::now() >= deadline);
                    order.borrow_mut().push(millis);
                })
            })
            .into_iter()
            .collect();
        for task in tasks {
            task.await;
        }
        assert_eq!(*order.borrow(), [0, 10, 10, 20, 30]);
    });
}

#[test]
fn a_timeout_ends_only_what_is_late() {
    executor(patient(), || async {
        let (an_hour, never) = (Duration::from_secs(3600), Duration::MAX);
        assert_eq!(timeout(an_hour, async { 1 }).await, Ok(1));
        assert_eq!(timeout(Duration::ZERO, async { 1 }).await, Ok(1));
        assert!(
            timeout(Duration::from_millis(1), sleep(never))
                .await
                .is_err()
        );
        assert!(
            timeout(never, sleep(Duration::from_millis(1)))
                .await
                .is_ok()
        );
    });
}

#[test]
fn blocking_work_answers_and_its_panic_resumes_here() {
    executor(patient(), || async {
        for number in 0..500 {
            assert_eq!(blocking(move || number * 2).await, number * 2);
        }
        let tasks: Vec<_> = (0..100)
            .map(|number| spawn(async move { blocking(move || number).await }))
            .collect();
        for (number, task) in tasks.into_iter().enumerate() {
            assert_eq!(task.await, number);
        }
    });
}

#[test]
fn who_computes_gives_way_to_who_serves() {
    executor(patient(), || async {
        let niceness = || {
            let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            let (_, fields) = stat.rsplit_once(')').unwrap();
            // The 19th of all fields; these begin with the third.
            fields
                .split_whitespace()
                .nth(16)
                .unwrap()
                .parse::<i32>()
                .unwrap()
        };
        let ours = niceness();
        assert!(blocking(niceness).await >= 15);
        assert_eq!(sockets::blocking_on_others(niceness).await, ours);
    });
}

#[test]
fn blocking_work_that_nobody_waits_for_disturbs_nobody() {
    executor(patient(), || async {
        let (go, wait) = mpsc::channel::<()>();
        let late = timeout(
            Duration::from_millis(1),
            blocking(move || wait.recv().is_ok()),
        )
        .await;
        assert!(late.is_err());
        assert_eq!(blocking(|| 1).await, 1);
        go.send(()).unwrap();
        for number in 0..50 {
            assert_eq!(blocking(move || number).await, number);
        }
    });
}

#[test]
fn blocking_work_whose_turn_comes_when_nobody_waits_is_not_done() {
    executor(patient(), || async {
        let (go, wait) = mpsc::channel::<()>();
        let wait = Arc::new(Mutex::new(wait));
        let started = Arc::new(AtomicUsize::new(0));
        let busy: Vec<_> = (0..sockets::HELPERS)
            .map(|_| {
                let (wait, started) = (Arc::clone(&wait), Arc::clone(&started));
                spawn(async move {
                    let work = move || {
                        started.fetch_add(1, Ordering::SeqCst);
                        wait.lock().unwrap().recv().unwrap();
                    };
                    blocking(work).await;
                })
            })
            .collect();
        while started.load(Ordering::SeqCst) < sockets::HELPERS {
            sleep(Duration::from_millis(1)).await;
        }
        let done = Arc::new(AtomicUsize::new(0));
        let work = async || {
            let done = Arc::clone(&done);
            blocking(move || done.fetch_add(1, Ordering::SeqCst)).await
        };
        for _ in 0..100 {
            let queued = timeout(Duration::ZERO, work()).await;
            assert!(queued.is_err(), "all helpers are busy");
        }
        for _ in 0..sockets::HELPERS {
            go.send(()).unwrap();
        }
        for task in busy {
            task.await;
        }
        work().await;
        assert_eq!(done.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn who_has_much_to_compute_holds_up_only_itself() {
    executor(patient(), || async {
        let (go, wait) = mpsc::channel::<()>();
        let (wait, started) = (Arc::new(Mutex::new(wait)), Arc::new(AtomicUsize::new(0)));
        let work = || {
            let (wait, started) = (Arc::clone(&wait), Arc::clone(&started));
            move || {
                started.fetch_add(1, Ordering::SeqCst);
                wait.lock().unwrap().recv().unwrap();
            }
        };
        // Given up while it is at it, which does not make room for another one.
        let first = work();
        let first = spawn(async move { blocking_in_turn("greedy", first).await });
        while started.load(Ordering::SeqCst) < 1 {
            sleep(Duration::from_millis(1)).await;
        }
        drop(first);
        let all: Vec<_> = (0..2 * sockets::HELPERS)
            .map(|_| work())
            .map(|work| spawn(async move { blocking_in_turn("greedy", work).await }))
            .collect();
        for number in 0..50 {
            assert_eq!(blocking_in_turn("modest", move || number).await, number);
        }
        assert_eq!(started.load(Ordering::SeqCst), 1);
        for _ in 0..=2 * sockets::HELPERS {
            go.send(()).unwrap();
        }
        for task in all {
            task.await;
        }
        assert_eq!(started.load(Ordering::SeqCst), 1 + 2 * sockets::HELPERS);
    });
}

/// Whoever waits for nothing any more is not waited for: fifty turns would be fifty rounds of all the others.
#[test]
fn who_has_given_up_takes_no_turn() {
    executor(patient(), || async {
        let done = Arc::new(AtomicUsize::new(0));
        let stop = Rc::new(Cell::new(false));
        let others: Vec<_> = (0..OTHERS)
            .map(|number| {
                let (done, stop) = (Arc::clone(&done), Rc::clone(&stop));
                spawn(async move {
                    let name = format!("other-{number}");
                    while !stop.get() {
                        let done = Arc::clone(&done);
                        let work = move || {
                            thread::sleep(Duration::from_millis(2));
                            done.fetch_add(1, Ordering::SeqCst);
                        };
                        blocking_in_turn(&name, work).await;
                    }
                })
            })
            .collect();
        while done.load(Ordering::SeqCst) < OTHERS {
            sleep(Duration::from_millis(1)).await;
        }
        for _ in 0..50 {
            let gone = timeout(Duration::ZERO, blocking_in_turn("late", || ())).await;
            assert!(gone.is_err());
        }
        let before = done.load(Ordering::SeqCst);
        blocking_in_turn("late", || ()).await;
        let between = done.load(Ordering::SeqCst) - before;
        stop.set(true);
        for task in others {
            task.await;
        }
        assert!(between < 10 * OTHERS, "{between}");
    });
}

const OTHERS: usize = 64;

#[test]
#[should_panic(expected = "the executor failed")]
fn a_panic_in_blocking_work_resumes_in_the_caller() {
    executor(patient(), || async {
        blocking(|| panic!("as it must")).await;
    });
}

#[test]
fn tasks_wake_tasks_without_help() {
    executor(patient(), || async {
        // A ring of tasks that pass a token on; nothing else happens in this executor.
        const TASKS: usize = 50;
        const ROUNDS: usize = 200;
        struct Table {
            turn: usize,
            seats: [Option<Waker>; TASKS],
        }
        let table = Rc::new(RefCell::new(Table {
            turn: 0,
            seats: std::array::from_fn(|_| None),
        }));
        let tasks: Vec<_> = (0..TASKS)
            .map(|seat| {
                let table = Rc::clone(&table);
                spawn(async move {
                    for _ in 0..ROUNDS {
                        poll_fn(|cx| {
                            let mut table = table.borrow_mut();
                            if table.turn % TASKS != seat {
                                table.seats[seat] = Some(cx.waker().clone());
                                return Poll::Pending;
                            }
                            table.turn += 1;
                            let next = table.turn % TASKS;
                            if let Some(waker) = table.seats[next].take() {
                                waker.wake();
                            }
                            Poll::Ready(())
                        })
                        .await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await;
        }
        assert_eq!(table.borrow().turn, TASKS * ROUNDS);
    });
}

#[test]
fn dropping_a_task_wakes_whom_its_drop_wakes() {
    executor(patient(), || async {
        struct OnDrop(Rc<RefCell<(bool, Option<Waker>)>>);
        impl Drop for OnDrop {
            fn drop(&mut self) {
                let (dropped, waker) = &mut *self.0.borrow_mut();
                *dropped = true;
                waker.take().into_iter().for_each(Waker::wake);
            }
        }
        for _ in 0..100 {
            let seen: Rc<RefCell<(bool, Option<Waker>)>> = Rc::default();
            let guard = OnDrop(Rc::clone(&seen));
            let task = spawn(async move {
                let _guard = guard;
                std::future::pending::<()>().await
            });
            yield_now().await;
            drop(task);
            poll_fn(|cx| {
                let (dropped, waker) = &mut *seen.borrow_mut();
                *waker = Some(cx.waker().clone());
                if *dropped {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            })
            .await;
        }
    });
}

#[test]
fn a_busy_task_does_not_keep_the_ring_waiting() {
    executor(patient(), || async {
        let busy = spawn(async {
            loop {
                yield_now().await;
            }
        });
        let (near, far) = pair().await;
        near.send(b"ping".as_slice());
        assert_eq!(recv_exactly(&far, 4).await, b"ping");
        sleep(Duration::from_millis(1)).await;
        assert_eq!(blocking(|| 1).await, 1);
        drop(busy);
    });
}

//! How long the bookkeeping of a checkout takes: `cargo bench -p pool`.
#![allow(missing_docs, clippy::panic)]

use std::time::{Duration, Instant};

use divan::{Bencher, black_box};
use pool::{Acquired, Grant, Limits, Placed, Pool, Pooled, Verdict};

fn main() {
    divan::main();
}

/// A connection of no more than a number; all are alike.
struct Conn;

impl Pooled for Conn {
    type Shape = ();

    fn shape(&self) -> &() {
        &()
    }
}

/// A connection is idle: it is taken and given back.
#[divan::bench(args = [1, 20, 200])]
fn idle(bencher: Bencher<'_, '_>, connections: usize) {
    let now = Instant::now();
    let mut pool = opened(connections, now);
    bencher.bench_local(|| {
        let Acquired::Ready(checkout) = pool.acquire(black_box(&()), None) else {
            panic!("one is idle");
        };
        let _ = black_box(pool.release(checkout, Verdict::Reusable, now));
    });
}

/// All are out, and so many clients wait: one more waits in line, and the first gets what comes back.
#[divan::bench(args = [1, 100, 10_000])]
fn in_line(bencher: Bencher<'_, '_>, waiting: u32) {
    let now = Instant::now();
    let mut pool = opened(1, now);
    let Acquired::Ready(checkout) = pool.acquire(&(), None) else {
        panic!("one is idle");
    };
    let mut out = Some(checkout);
    for number in 1..waiting {
        pool.enqueue((), number);
    }
    bencher.bench_local(|| {
        pool.enqueue((), black_box(0));
        let Some(checkout) = out.take() else {
            panic!("it is out");
        };
        match pool.release(checkout, Verdict::Reusable, now) {
            Placed::Handed { checkout, .. } => out = Some(checkout),
            _ => panic!("somebody waits"),
        }
    });
}

/// A pool with so many idle connections.
fn opened(connections: usize, now: Instant) -> Pool<Conn, u32> {
    let long = Duration::from_secs(3600);
    let limits = Limits {
        min: connections,
        max: connections,
        max_dials: connections,
        max_waiting: 0,
        idle_timeout: long,
        max_lifetime: long,
    };
    let mut pool = Pool::new(limits, ());
    while let Some(Grant { permit, .. }) = pool.next_permit(now) {
        let _ = pool.opened(permit, Conn, 0, now);
    }
    pool
}

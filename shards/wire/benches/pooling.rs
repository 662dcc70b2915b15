//! How long the framing and the tracker take: `cargo bench -p wire`.
//!
//! What holds on any machine is counted in `tests/pg_cost.rs`.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

#[path = "../tests/turns/mod.rs"]
mod turns;

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use turns::{Mode, Turns};
use wire::pg::{Sender, Walker};

fn main() {
    divan::main();
}

/// A request that takes a backend, its answer, and the backend given back.
#[divan::bench(args = [Mode::Simple, Mode::Extended, Mode::Prepared])]
fn transactions(bencher: Bencher<'_, '_>, mode: Mode) {
    let mut turns = Turns::new(mode);
    bencher
        .counter(ItemsCount::new(100usize))
        .bench_local(|| turns.take(black_box(100)));
}

/// Rows of this many bytes, 64 KiB of them, past the one who only counts.
#[divan::bench(args = [16, 256, 4096])]
fn rows(bencher: Bencher<'_, '_>, size: usize) {
    let row = [
        b"D",
        &(size as u32 - 1).to_be_bytes()[..],
        &vec![b'x'; size - 5],
    ]
    .concat();
    let rows = row.repeat((64 << 10) / size);
    let mut walker = Walker::new(Sender::Backend);
    bencher
        .counter(BytesCount::of_slice(&rows))
        .bench_local(|| walker.feed(black_box(&rows)).unwrap());
}

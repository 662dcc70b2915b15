//! Any bytes in every place where somebody outside can put bytes: one [`Target`] for each place.
//!
//! A target takes bytes and panics if something does not hold that must: no input may make the code panic, hold more
//! memory than its bounds say, or understand the same bytes differently when they come in other pieces; and what is
//! sent on to the other side must itself be sound. The first bytes of an input choose what a test would choose: which
//! side speaks, where the stream is cut, which password is stored.
//!
//! The same targets run in two ways: with cargo-fuzz (`fuzz/`), which looks for new paths through the code, and in loops
//! from a seed (`tests/seeded.rs`), which need nothing but `cargo test` and change good inputs a little.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used)] // A target's panic is its verdict.

#[cfg(feature = "control")]
mod control;
mod corpus;
mod dice;
mod mutate;
mod mysql;
mod pg;
mod proxy;
mod scram;
mod sql;
mod tracker;

// What the tests of `wire` begin with.
#[path = "../../../shards/wire/tests/feed/mod.rs"]
mod feed;
#[path = "../../../shards/wire/tests/mysql_samples/mod.rs"]
mod mysql_samples;
#[path = "../../../shards/wire/tests/mysql_support/mod.rs"]
mod mysql_support;
#[path = "../../../shards/wire/tests/pg_pair/mod.rs"]
mod pg_pair;
#[path = "../../../shards/wire/tests/pg_samples/mod.rs"]
mod pg_samples;

use std::path::Path;
use std::time::Instant;

/// A place where bytes come in.
pub struct Target {
    /// The name of its fuzz target, its folder in the corpus and its test.
    pub name: &'static str,
    /// Inputs that go deep, for others to be made of.
    pub samples: fn() -> Vec<Vec<u8>>,
    /// Takes an input, and panics if something does not hold.
    pub run: fn(&[u8]),
    /// How many inputs a test tries.
    pub rounds: usize,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    pg::WALKER,
    pg::PREFACE,
    pg::OPTIONS,
    pg::GREET,
    pg::LOGIN,
    proxy::HEADER,
    scram::SCRAM,
    tracker::TRACKER,
    sql::SQL,
    mysql::CLIENT,
    mysql::DATABASE,
    mysql::PAYLOADS,
    mysql::RELAY,
    #[cfg(feature = "control")]
    control::CONFIG,
    #[cfg(feature = "control")]
    control::TENANT,
    #[cfg(feature = "control")]
    control::HTTP,
];

/// The target of this name.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn target(name: &str) -> &'static Target {
    let found = TARGETS.iter().find(|target| target.name == name);
    found.unwrap_or_else(|| panic!("no target is called {name}"))
}

/// Runs a target on its samples, on the inputs kept in `corpus`, and on random changes of both: `FUZZ_ROUNDS` of them
/// from `FUZZ_SEED`, which a failure prints together with the input. (With `FUZZ_INPUT`, on the input in that file alone.)
///
/// With `FUZZ_UNPACK` it does nothing but write samples and kept inputs into that folder, where cargo-fuzz takes them up;
/// with `FUZZ_PACK` it keeps what is in that folder.
///
/// # Panics
/// If an input shows something that must not be.
pub fn seeded(target: &Target, corpus: &Path) {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let folder = |name| std::env::var(name).map(|folder| Path::new(&folder).join(target.name));
    let kept = corpus.join(target.name).with_extension("txt");
    if let Ok(folder) = folder("FUZZ_PACK") {
        return corpus::pack(&folder, &kept);
    }
    let mut samples = (target.samples)();
    samples.extend(corpus::kept(&kept));
    if let Ok(folder) = folder("FUZZ_UNPACK") {
        return corpus::unpack(&samples, &folder);
    }
    if let Ok(path) = std::env::var("FUZZ_INPUT") {
        return run_shown(target, &std::fs::read(path).unwrap());
    }
    let seed = number("FUZZ_SEED").unwrap_or(SEED);
    let rounds = number("FUZZ_ROUNDS").map_or(target.rounds, |rounds| rounds as usize);
    println!("{}: FUZZ_SEED={seed} FUZZ_ROUNDS={rounds}", target.name);
    let begin = Instant::now();
    for sample in &samples {
        run_shown(target, sample);
    }
    let mut random = mutate::Random::new(seed);
    let mut input = Vec::new();
    for _ in 0..rounds {
        mutate::derive(&mut random, &samples, &mut input);
        run_shown(target, &input);
    }
    println!("{}: {rounds} inputs in {:?}", target.name, begin.elapsed());
}

/// Runs it; a panic is preceded by the input that brought it about.
fn run_shown(target: &Target, input: &[u8]) {
    let run = std::panic::AssertUnwindSafe(|| (target.run)(input));
    if let Err(panic) = std::panic::catch_unwind(run) {
        eprintln!("{}: failed on b\"{}\"", target.name, input.escape_ascii());
        std::panic::resume_unwind(panic);
    }
}

const SEED: u64 = 0x5eed;

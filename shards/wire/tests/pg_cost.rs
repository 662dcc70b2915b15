//! What following one transaction costs, held to limits that mean the same on any machine:
//! instructions, as callgrind counts them, and allocations.
//!
//! A limit that is broken on purpose is raised here; one that is broken by accident is found here.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod turns;

use std::process::Command;

use turns::{Mode, Turns};

/// What one transaction may cost in this build (optimised as tests are, with debug assertions).
struct Limit {
    mode: Mode,
    instructions: u64,
    allocations: u64,
}

const LIMITS: [Limit; 3] = [
    Limit {
        mode: Mode::Simple,
        instructions: 3_650,
        allocations: 0,
    },
    Limit {
        mode: Mode::Extended,
        instructions: 6_650,
        allocations: 0,
    },
    Limit {
        mode: Mode::Prepared,
        instructions: 5_000,
        allocations: 0,
    },
];

#[test]
fn a_transaction_allocates_no_more_than_it_may() {
    for Limit {
        mode, allocations, ..
    } in LIMITS
    {
        let mut turns = Turns::new(mode);
        turns.take(WARM_UP);
        let counted = allocation_counter::measure(|| turns.take(TURNS));
        let each = counted.count_total as f64 / f64::from(TURNS);
        println!("{mode:?}: {each:.2} allocations for each transaction");
        assert!(
            each <= allocations as f64,
            "{mode:?}: {each} > {allocations}"
        );
        assert_eq!(
            counted.count_current, 0,
            "{mode:?}: what is taken is given back"
        );
    }
}

#[test]
fn a_transaction_takes_no_more_instructions_than_it_may() {
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("SKIPPED: valgrind is not here, so nobody counts instructions");
        return;
    }
    for Limit {
        mode, instructions, ..
    } in LIMITS
    {
        // What starting and warming up takes is in both counts.
        let each = (instructions_of(mode, TURNS) - instructions_of(mode, 0)) / u64::from(TURNS);
        println!("{mode:?}: {each} instructions for each transaction");
        assert!(each <= instructions, "{mode:?}: {each} > {instructions}");
    }
}

/// What callgrind counts for this program when it does no more than `work` below.
fn instructions_of(mode: Mode, turns: u32) -> u64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "work", "--ignored", "--test-threads=1"])
        .env("MODE", format!("{mode:?}"))
        .env("TURNS", turns.to_string())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let count = said
        .lines()
        .find_map(|line| line.split("Collected : ").nth(1));
    count
        .expect("callgrind says what it collected")
        .trim()
        .parse()
        .unwrap()
}

#[test]
#[ignore = "the work that is counted by another test"]
fn work() {
    let wanted = std::env::var("MODE").unwrap_or_default();
    let modes = [Mode::Simple, Mode::Extended, Mode::Prepared];
    let mode = modes.into_iter().find(|mode| format!("{mode:?}") == wanted);
    let mut turns = Turns::new(mode.unwrap_or(Mode::Simple));
    turns.take(WARM_UP);
    let count = std::env::var("TURNS").map_or(TURNS, |turns| turns.parse().unwrap());
    turns.take(count);
}

const WARM_UP: u32 = 100;
const TURNS: u32 = 1000;

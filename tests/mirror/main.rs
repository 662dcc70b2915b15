//! Played twice, heard alike: whatever clients say, they hear through the bouncer what they hear from the database itself.
//!
//! [`scenario`] says how a scenario is written and played, `scenarios/` lists them by theme, [`worlds`] says on what they
//! are played: PostgreSQL 15 and 18, one backend and three, one shard and two, and in session mode. The others make
//! scenarios: [`leaks`] from kinds of state, [`model`] from seeds.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod crowd;
mod frames;
mod leaks;
mod model;
mod scenario;
mod scenarios;
mod suites;
mod vanishing;
mod worlds;

use std::process::ExitCode;

use testbed::{Kind, Plan, World::Bouncer};
use worlds::{LEAKS, WORLDS, World};

fn main() -> ExitCode {
    let mut plan = Plan::default();
    // First, since most of their time is waiting: the others run meanwhile.
    for suite in suites::SUITES {
        let what = format!("suite of {}", suite.name);
        let name = format!("suite_of_{}", suite.name.replace(['.', '-'], "_"));
        plan.add_if(suite.is_here(), &what, suite.kind, &name, async move |_| {
            suite.run()
        });
    }
    // Then what takes longest, each in a world of its own; and of what shares a world no two follow each other.
    plan.add(
        Bouncer,
        &[Kind::Postgres],
        "pgbench_with_200_clients",
        crowd::two_hundred_on_ten,
    );
    let mut apart = 0;
    let mut own = |world: World| {
        apart += 1;
        world.apart(apart - 1)
    };
    for world in WORLDS.into_iter().filter(|world| world.backends == 1) {
        for (part, rounds) in model::parts(world.kind).into_iter().enumerate() {
            let name = format!("random dialogues {}", part + 1);
            add(&mut plan, own(world), &name, move |place| {
                let dialogues: Vec<_> = rounds.clone().map(model::dialogue).collect();
                play_all(&dialogues, place);
            });
        }
        let name = "who vanishes at each byte";
        add(&mut plan, own(world), name, |place| {
            vanishing::at_each_byte(place, false);
        });
        let name = "who vanishes at each byte and has heard";
        add(&mut plan, own(world), name, |place| {
            vanishing::at_each_byte(place, true);
        });
    }
    for kind in leaks::kinds() {
        for (world, extent) in LEAKS {
            let scenarios = leaks::of_kind(kind, extent);
            if !scenarios.is_empty() {
                add(&mut plan, world, kind.name, move |place| {
                    play_all(&scenarios, place)
                });
            }
        }
    }
    for scenario in scenarios::all() {
        for world in WORLDS {
            if world.backends >= scenario.backends {
                let scenario = scenario.clone();
                add(&mut plan, world, &scenario.name.clone(), move |place| {
                    scenario.play(&place.straight, &place.through);
                });
            }
        }
    }
    let code = plan.run(env!("CARGO_BIN_EXE_dbbouncer"));
    if worlds::close() {
        code
    } else {
        ExitCode::FAILURE
    }
}

/// Adds what is played in a world, under a name such as `postgres::one_backend::a_portal_in_portions`.
fn add(
    plan: &mut Plan,
    world: World,
    name: &str,
    play: impl Fn(&worlds::Place) + Clone + Send + Sync + 'static,
) {
    let word = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let words: String = name.chars().map(word).collect();
    let name = format!("{}::{words}", world.name);
    plan.add(Bouncer, &[world.kind], &name, async move |_| {
        play(&world.enter())
    });
}

/// Plays each of these, and says at the end which of them differed.
fn play_all(scenarios: &[scenario::Scenario], place: &worlds::Place) {
    let differ: Vec<_> = scenarios
        .iter()
        .filter(|scenario| {
            let play =
                std::panic::AssertUnwindSafe(|| scenario.play(&place.straight, &place.through));
            std::panic::catch_unwind(play).is_err()
        })
        .map(|scenario| format!("\n  {}", scenario.name))
        .collect();
    assert!(
        differ.is_empty(),
        "{} of {} differ:{}",
        differ.len(),
        scenarios.len(),
        differ.concat()
    );
}

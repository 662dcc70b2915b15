//! Random dialogues of several clients over one backend, against each of them alone with the database.
//!
//! Not said, since it differs: Describe of an older statement in a failed transaction, where one that must be prepared on the
//! backend first is refused.
//!
//! The seed of a dialogue that went wrong is in its message. `DBBOUNCER_MODEL_ROUNDS` plays so many dialogues instead of
//! [`DIALOGUES`], `DBBOUNCER_MODEL_SEED` a certain one.

use testbed::Kind;

use crate::frames::*;
use crate::scenario::Scenario;

/// The seeds of all dialogues that are played, in parts of like size.
pub fn parts(kind: Kind) -> Vec<std::ops::Range<u64>> {
    let all = rounds(kind);
    let each = (all.end - all.start).div_ceil(PARTS).max(1);
    let starts = all.clone().step_by(each as usize);
    starts
        .map(|start| start..(start + each).min(all.end))
        .collect()
}

/// How many dialogues are played; each has some [`TURNS`] turns.
fn rounds(kind: Kind) -> std::ops::Range<u64> {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .map(|value| value.parse().expect("a number"))
    };
    match number("DBBOUNCER_MODEL_SEED") {
        Some(seed) => seed..seed + 1,
        None => {
            0..number("DBBOUNCER_MODEL_ROUNDS").unwrap_or(match kind {
                Kind::Postgres => DIALOGUES,
                _ => 0,
            })
        }
    }
}

/// The dialogue of this seed. All of its clients share a backend, so that only one of them has a transaction open, or
/// something that keeps it at its backend, at a time.
pub fn dialogue(seed: u64) -> Scenario {
    let mut random = Random(seed);
    let scenario = Scenario::named(format!("dialogue of seed {seed}"));
    let mut scenario = scenario
        .client(CLIENTS)
        .says(&[query("DELETE FROM line")])
        .leaves();
    let mut here = [false; CLIENTS];
    let mut client = 0;
    for _ in 0..TURNS {
        if random.below(3) > 0 {
            // Before another one speaks, this one lets go of its backend.
            if here[client] {
                scenario = scenario.says_to_the_mark(&[query("ROLLBACK"), query("DISCARD ALL")]);
            }
            client = random.below(CLIENTS);
            scenario = scenario.client(client);
        }
        here[client] = true;
        scenario = scenario.says_to_the_mark(&turn(&mut random));
        if random.below(12) == 0 {
            here[client] = false;
            scenario = match random.below(3) {
                0 => scenario.leaves(),
                1 => scenario.vanishes(),
                _ => {
                    let tail = harmless(&mut random).concat();
                    let cut = random.below(tail.len());
                    scenario.says_to_nobody(&tail[..cut]).vanishes()
                }
            };
        }
    }
    if here[client] {
        scenario = scenario.says_to_the_mark(&[query("ROLLBACK"), query("DISCARD ALL")]);
    }
    scenario
}

/// Some messages, with everything ended at their end but a transaction.
fn turn(random: &mut Random) -> Vec<Frame> {
    let mut said = Vec::new();
    for _ in 0..1 + random.below(4) {
        match random.below(10) {
            0..=2 => {
                let mut texts: Vec<_> = (0..1 + random.below(3))
                    .map(|_| random.pick(STATEMENTS))
                    .collect();
                // What RESET brings back is put right behind the Query, not in the midst of it.
                texts.sort_by_key(|text| text.starts_with("RESET"));
                said.push(query(&texts.join("; ")));
            }
            3 => said.extend(copy(random)),
            // Not behind a batch that no Sync has ended, for PostgreSQL 18 then loses its way itself.
            4 => said.extend([sync(), call(177, &["1", random.pick(&["2", "x"])])]),
            _ => {
                for _ in 0..1 + random.below(6) {
                    said.extend(extended(random));
                }
                said.push(random.pick(&[sync, sync, sync, flush])());
            }
        }
    }
    said
}

/// A message or three of the extended protocol, about one of few names.
fn extended(random: &mut Random) -> Vec<Frame> {
    let name = random.pick(NAMES);
    let portal = random.pick(&["", "", "p"]);
    match random.below(10) {
        0..=2 => vec![parse(name, preparable(random))],
        3 => vec![bind(portal, name)],
        4 => vec![parse(name, preparable(random)), describe(name)],
        5 => vec![describe_portal(portal)],
        6 => vec![close(name)],
        7 => vec![
            execute_some(portal, random.below(3) as u32),
            close_portal(portal),
        ],
        8 => vec![unnamed(preparable(random))],
        _ => vec![bind("", name), execute_some("", random.below(3) as u32)],
    }
}

/// COPY FROM STDIN, with data that is good or bad.
fn copy(random: &mut Random) -> Vec<Frame> {
    let text = random.pick(&[
        "COPY line FROM STDIN",
        "COPY line (at) FROM STDIN",
        "COPY nowhere FROM STDIN",
    ]);
    let is_extended = random.below(2) == 0;
    let mut said = match is_extended {
        true => vec![unnamed(text), sync()],
        false => vec![query(text)],
    };
    for _ in 0..random.below(3) {
        said.push(copy_data(random.pick(&[&b"1\n"[..], b"1\t1\n", b"bad\n"])));
    }
    said.push(match random.below(4) {
        0 => copy_fail("no more"),
        _ => copy_done(),
    });
    if is_extended {
        // Lest it be bound again, without data.
        said.extend([sync(), parse("", "SELECT 1"), sync()]);
    }
    said
}

/// A statement to be prepared. Not one that names statements, which could execute itself.
fn preparable(random: &mut Random) -> &'static str {
    match random.pick(STATEMENTS) {
        "EXECUTE a" | "DEALLOCATE a" => "SELECT 'instead'",
        text => text,
    }
}

/// What changes nothing, whether or not it is heard.
fn harmless(random: &mut Random) -> Vec<Frame> {
    let one = |random: &mut Random| match random.below(5) {
        0 => query("BEGIN; INSERT INTO line VALUES (7, 7); SELECT 1/0"),
        1 => [parse(random.pick(NAMES), "SELECT 'left behind'"), sync()].concat(),
        2 => query("SELECT repeat('x', 10000)"),
        3 => [unnamed("SELECT pg_sleep(0.001)"), flush()].concat(),
        _ => [query("BEGIN; COPY line FROM STDIN"), copy_data(b"1\t")].concat(),
    };
    (0..3).map(|_| one(random)).collect()
}

const STATEMENTS: &[&str] = &[
    "SELECT 1",
    "SELECT id, name FROM item ORDER BY id",
    "SELECT count(*) FROM line",
    "SELECT generate_series(1, 5)",
    "SELECT 1/0",
    "SELEKT",
    "SELECT * FROM nowhere",
    "INSERT INTO line VALUES (1, 1)",
    "DELETE FROM line",
    "BEGIN",
    "BEGIN",
    "COMMIT",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT a",
    "ROLLBACK TO a",
    "RELEASE a",
    "SHOW TimeZone",
    "SHOW work_mem",
    "SHOW search_path",
    "SET TimeZone TO 'Asia/Tokyo'",
    "SET TimeZone TO 'Europe/Rome'",
    "SET work_mem TO '1MB'",
    "SET work_mem TO 'nonsense'",
    "SET LOCAL work_mem TO '2MB'",
    "SET search_path TO other, public",
    "SELECT set_config('app.tenant', 'seven', false)",
    "SELECT set_config('app.tenant', 'eight', true)",
    "SELECT coalesce(current_setting('app.tenant', true), '')",
    "RESET TimeZone",
    "RESET ALL",
    "DISCARD ALL",
    "LISTEN news",
    "NOTIFY news",
    "UNLISTEN *",
    "CREATE TEMP TABLE line (item int, at int)",
    "DISCARD TEMP",
    "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
    "FETCH c",
    "CLOSE ALL",
    "SELECT pg_advisory_lock(1)",
    "SELECT pg_advisory_unlock(1)",
    "SELECT pg_advisory_unlock_all()",
    "PREPARE a AS SELECT 'by SQL'",
    "EXECUTE a",
    "DEALLOCATE a",
    "DEALLOCATE ALL",
    "COPY item TO STDOUT",
    "DO $$ BEGIN RAISE NOTICE 'done'; END $$",
];

/// Few, so that they meet.
const NAMES: &[&str] = &["", "a", "b", "c"];

const CLIENTS: usize = 3;

/// Turns of one dialogue, those not counted in which a client lets go.
pub const TURNS: usize = 12;

/// On PostgreSQL 18 none unless asked for: seed 5 brings it to a point where the database itself, spoken to directly, does not
/// answer any more.
const DIALOGUES: u64 = 200;

/// In so many parts, side by side.
const PARTS: u64 = 4;

/// A small generator: splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end as u64) as usize
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

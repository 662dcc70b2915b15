//! Each target with inputs from a seed: `FUZZ_SEED` sets it, `FUZZ_ROUNDS` the number of inputs for each target.

use std::collections::BTreeSet;
use std::path::Path;

macro_rules! seeded {
    ($($name:ident)*) => {
        const NAMES: &[&str] = &[$(stringify!($name)),*];
        $(
            #[test]
            fn $name() {
                fuzzing::seeded(fuzzing::target(stringify!($name)), &fuzz().join("corpus"));
            }
        )*
    };
}

seeded! {
    proxy_header pg_walker pg_preface pg_options pg_greet pg_login scram pg_tracker sql
    mysql_client mysql_database mysql_payloads mysql_relay config tenant http
}

#[test]
fn each_target_has_its_test_and_its_fuzz_target_and_they_are_a_million_inputs() {
    let targets: BTreeSet<_> = fuzzing::TARGETS
        .iter()
        .map(|target| target.name.to_owned())
        .collect();
    let tests: BTreeSet<_> = NAMES.iter().map(|name| (*name).to_owned()).collect();
    let files = std::fs::read_dir(fuzz().join("fuzz_targets")).unwrap();
    let files: BTreeSet<_> = files
        .map(|file| {
            file.unwrap()
                .path()
                .file_stem()
                .unwrap()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    assert_eq!(tests, targets);
    assert_eq!(files, targets);
    let inputs: usize = fuzzing::TARGETS.iter().map(|target| target.rounds).sum();
    assert!(inputs >= 1_000_000, "{inputs}");
}

fn fuzz() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz"))
}

//! The list of tests. What needs a program that this machine has not got is listed as ignored, and said aloud.

use std::path::PathBuf;
use std::process::ExitCode;

use libtest_mimic::Trial;

/// A test.
pub struct Test {
    pub name: &'static str,
    pub run: fn(),
    pub needs: Option<Need>,
}

/// What a machine may not have. `scripts/install-test-deps` installs all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    Schemathesis,
    Prometheus,
    Browser,
    Tmux,
    Mounts,
}

impl Need {
    /// Where it is; none if it is not here.
    pub fn path(self) -> Option<PathBuf> {
        let in_cache = |path| testbed::cache().map(|cache| cache.join(path));
        let path = match self {
            Need::Schemathesis => in_cache("venv/bin/schemathesis"),
            Need::Prometheus => in_cache("prometheus/usr/bin/prometheus"),
            Need::Tmux => Some(PathBuf::from("/usr/bin/tmux")),
            // For root alone.
            Need::Mounts => return testbed::has_mounts().then(PathBuf::new),
            Need::Browser => return testbed::browser("page.mjs").map(|_| PathBuf::new()),
        };
        path.filter(|path| path.exists())
    }
}

/// Runs them as the command line asks.
pub fn run(tests: &[&'static [Test]]) -> ExitCode {
    let arguments = testbed::arguments();
    let trials = tests.iter().copied().flatten().map(|test| {
        let missing = test.needs.filter(|need| need.path().is_none());
        if let Some(need) = missing.filter(|_| !arguments.list) {
            eprintln!(
                "\n*** NO {} ON THIS MACHINE: {} is skipped. ***\n*** To have it: scripts/install-test-deps ***\n",
                format!("{need:?}").to_uppercase(),
                test.name
            );
        }
        let run = test.run;
        let trial = Trial::test(test.name, move || {
            run();
            Ok(())
        });
        trial.with_ignored_flag(missing.is_some())
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

/// The tests of a file, by name, each perhaps with what it needs. One that is left out here is dead
/// code to the compiler.
macro_rules! tests {
    ($($test:ident $(needs $need:ident)?),* $(,)?) => {
        pub const TESTS: &[crate::plan::Test] = &[$(crate::plan::Test {
            name: concat!(module_path!(), "::", stringify!($test)),
            run: $test,
            needs: [$(Some(crate::plan::Need::$need),)? None][0],
        }),*];
    };
}
pub(crate) use tests;

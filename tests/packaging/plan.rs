//! The list of scenarios, and what each needs of the machine.

use std::process::ExitCode;

use libtest_mimic::Trial;

/// Scenarios to run.
#[derive(Default)]
pub struct Plan {
    trials: Vec<Trial>,
    missing: Vec<String>,
}

impl Plan {
    /// Adds scenarios that need the same; what is missing is in `needs`, in words that say how to get it.
    pub fn add(&mut self, needs: Result<(), String>, scenarios: &[(&str, fn())]) {
        for &(name, scenario) in scenarios {
            let trial = Trial::test(name, move || {
                scenario();
                Ok(())
            });
            self.trials.push(trial.with_ignored_flag(needs.is_err()));
        }
        if let Err(missing) = needs {
            let count = scenarios.len();
            self.missing
                .push(format!("{missing}: {count} TESTS ARE SKIPPED"));
        }
    }

    /// Runs them as the command line asks.
    pub fn run(self) -> ExitCode {
        let arguments = testbed::arguments();
        if !arguments.list {
            for missing in &self.missing {
                eprintln!("\n*** {missing} ***\n");
            }
        }
        libtest_mimic::run(&arguments, self.trials).exit_code()
    }
}

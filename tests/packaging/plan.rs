//! The list of scenarios, and what each needs of the machine.

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

/// Scenarios to run.
pub struct Plan {
    arguments: Arguments,
    trials: Vec<Trial>,
    missing: Vec<String>,
}

impl Plan {
    /// None yet, of which those will be run that the command line asks for.
    pub fn new() -> Plan {
        Plan {
            arguments: testbed::arguments(),
            trials: Vec::new(),
            missing: Vec::new(),
        }
    }

    /// Adds scenarios that need the same; `needs` looks, if any of them is to be run, and says what is missing in words
    /// that say how to get it.
    pub fn add(&mut self, needs: impl FnOnce() -> Result<(), String>, scenarios: &[(&str, fn())]) {
        let is_wanted = scenarios.iter().any(|(name, _)| self.asks_for(name));
        let needs = if is_wanted { needs() } else { Ok(()) };
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

    /// Whether a scenario of that name will be run.
    fn asks_for(&self, name: &str) -> bool {
        let Arguments {
            list,
            exact,
            filter,
            skip,
            ..
        } = &self.arguments;
        let fits = |words: &String| match exact {
            true => name == words,
            false => name.contains(words.as_str()),
        };
        !list && filter.as_ref().is_none_or(fits) && !skip.iter().any(fits)
    }

    /// Runs them as the command line asks.
    pub fn run(self) -> ExitCode {
        for missing in &self.missing {
            eprintln!("\n*** {missing} ***\n");
        }
        libtest_mimic::run(&self.arguments, self.trials).exit_code()
    }
}

//! What a suite's tests say of the two ways, in as many runs as it takes to be sure of it.

use std::collections::{BTreeMap, BTreeSet};

/// How each test went in one run.
pub type Verdicts = BTreeMap<String, Verdict>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Passed,
    Skipped,
    Failed,
}

impl Verdict {
    /// By the word that a suite has for it.
    pub fn of(word: &str) -> Option<Verdict> {
        match word {
            "ok" | "PASS" => Some(Verdict::Passed),
            "skipped" | "SKIP" => Some(Verdict::Skipped),
            "failed" | "FAIL" => Some(Verdict::Failed),
            _ => None,
        }
    }
}

/// One test, straight and through, run after run.
#[derive(Clone, Debug, Default)]
struct Runs(Vec<[Option<Verdict>; 2]>);

/// What its runs say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finding {
    /// At least once it went through the bouncer as it goes at the database itself.
    Alike,
    /// Straight it can pass, and through the bouncer it never has gone that way.
    Differs,
    /// It has not passed at the database itself, so it says nothing of the bouncer.
    NoWitness,
}

impl Runs {
    fn finding(&self) -> Finding {
        let witnesses =
            |straight: Option<Verdict>| straight != Some(Verdict::Failed) && straight.is_some();
        if self
            .0
            .iter()
            .any(|[one, other]| one.is_some() && one == other)
        {
            Finding::Alike
        } else if self.0.iter().any(|[straight, _]| witnesses(*straight)) {
            Finding::Differs
        } else {
            Finding::NoWitness
        }
    }

    /// Whether it went otherwise in any of them, though it passed straight.
    fn differed(&self) -> bool {
        let differs = |[straight, through]: &[Option<Verdict>; 2]| {
            *straight == Some(Verdict::Passed) && through != straight
        };
        self.0.iter().any(differs)
    }
}

/// All tests, by their names.
#[derive(Debug, Default)]
pub struct Record(BTreeMap<String, Runs>);

impl Record {
    /// Takes a run of these tests, or of all that there are, which was made both ways.
    pub fn note(&mut self, straight: &Verdicts, through: &Verdicts, only: Option<&[String]>) {
        let names: BTreeSet<_> = straight.keys().chain(through.keys()).collect();
        for name in names {
            if only.is_none_or(|only| only.contains(name)) {
                let run = [straight.get(name).copied(), through.get(name).copied()];
                self.0.entry(name.clone()).or_default().0.push(run);
            }
        }
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The tests that must be run again before anything is said of them: they went otherwise and are not
    /// `listed`, or they are (as always) and did not.
    pub fn doubtful(&self, listed: &BTreeMap<String, bool>) -> Vec<String> {
        let doubtful = |(name, runs): &(&String, &Runs)| match listed.get(*name) {
            None => runs.finding() != Finding::Alike,
            Some(true) => !runs.differed(),
            Some(false) => false,
        };
        let names = self.0.iter().filter(doubtful);
        names.map(|(name, _)| name.clone()).collect()
    }

    /// What stands against the bouncer, or against the list; empty if nothing does. What can be held against neither
    /// is said aloud.
    pub fn complaints(&self, listed: &BTreeMap<String, bool>) -> Vec<String> {
        let mut complaints = Vec::new();
        for name in self.doubtful(listed) {
            let runs = &self.0[&name];
            match (runs.finding(), listed.contains_key(&name)) {
                (Finding::NoWitness, _) => {
                    eprintln!(
                        "\n*** {name} FAILS AT THE DATABASE ITSELF: it says nothing of the bouncer. ***\n{runs:?}\n"
                    );
                }
                (Finding::Alike, true) => complaints.push(format!(
                    "differs no more, so it must be taken off the list: {name}"
                )),
                _ => complaints.push(format!(
                    "goes otherwise (straight, through): {name} {runs:?}"
                )),
            }
        }
        let gone = listed.keys().filter(|name| !self.0.contains_key(*name));
        complaints.extend(gone.map(|name| format!("is listed, and there is no such test: {name}")));
        complaints
    }
}

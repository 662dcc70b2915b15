//! The suites that drivers bring along: each of their tests goes through the bouncer, in transaction mode, as it goes at
//! the database itself; MySQL's in session mode. What differs is listed in `tests/suites-differ.txt`, each with its cause, and nothing else may.
//!
//! Most of a suite's time is waiting, so it is run in parts side by side, each on servers of its own, since its tests mean
//! the database to themselves. Their tests have time limits of their own, which a busy machine breaks, straight as well
//! as through: one that goes otherwise is run again, both ways and with few beside it, before that counts.

mod drivers;
mod verdicts;

use std::collections::BTreeMap;
use std::path::PathBuf;

use drivers::Which;
pub use drivers::{SUITES, Suite};
use testbed::{Config, Door, Front, Server, Tenant, Tool, cache, project};
use verdicts::{Record, Verdict, Verdicts};

/// The longest that a part may take.
const SECONDS: u32 = 500;

/// How often a test that goes otherwise is run again.
const AGAIN: usize = 4;

impl Suite {
    /// Whether this machine has it.
    pub fn is_here(self) -> bool {
        self.place().is_some_and(|folder| folder.exists()) && self.tool(Which::Part(0, 1)).is_some()
    }

    /// Runs it both ways, and holds what differs to the list.
    pub fn run(self) {
        let listed = self.listed();
        let mut record = Record::default();
        let kept = self.run_parts(&mut record);
        for _ in 0..AGAIN {
            let again = record.doubtful(&listed);
            if !again.is_empty() {
                let [straight, through] = self.run_both(&kept, Which::These(&again));
                record.note(&straight, &through, Some(&again));
            }
        }
        let complaints = record.complaints(&listed);
        let [_, through] = kept;
        through.close();
        assert!(
            record.len() >= self.tests,
            "only {} tests have been run",
            record.len()
        );
        assert!(complaints.is_empty(), "{complaints:#?}");
    }

    /// Runs all of it; the two ways of the first part, to be used again.
    fn run_parts(self, record: &mut Record) -> [Way; 2] {
        // A bouncer ends with the thread that has started it, so that must be this one.
        let servers: Vec<[Database; 2]> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..self.parts)
                .map(|_| [(); 2].map(|()| scope.spawn(|| Database::start(self))))
                .collect();
            let started = starts
                .into_iter()
                .map(|pair| pair.map(|start| start.join().expect("a server can be started")));
            started.collect()
        });
        let mut ways: Vec<_> = servers
            .into_iter()
            .map(|[one, other]| [Way::straight(one), Way::through(other)])
            .collect();
        std::thread::scope(|scope| {
            let runs: Vec<_> = ways
                .iter()
                .enumerate()
                .map(|(part, ways)| {
                    scope.spawn(move || self.run_both(ways, Which::Part(part, self.parts)))
                })
                .collect();
            for run in runs {
                let [straight, through] = run.join().expect("the suite can be run");
                record.note(&straight, &through, None);
            }
        });
        for [_, through] in ways.drain(1..) {
            through.close();
        }
        ways.pop().expect("a suite has a part")
    }

    /// How these tests go, straight and through.
    fn run_both(self, ways: &[Way; 2], which: Which<'_>) -> [Verdicts; 2] {
        std::thread::scope(|scope| {
            let runs = ways
                .each_ref()
                .map(|way| scope.spawn(|| self.run_at(&way.door, which)));
            runs.map(|run| run.join().expect("the suite can be run"))
        })
    }

    fn run_at(self, door: &Door, which: Which<'_>) -> Verdicts {
        let tool = self.tool(which).expect("asked for before");
        let said = (self.shown)(tool, door).run();
        assert!(
            said.out.lines().any(self.ends),
            "{} was not at its end within {SECONDS} s: {}\n{}",
            self.name,
            said.out,
            said.err
        );
        let verdicts = said.out.lines().filter_map(|line| {
            let (word, test) = (self.verdict)(line)?;
            Some((test.to_owned(), Verdict::of(word)?))
        });
        verdicts.collect()
    }

    fn tool(self, which: Which<'_>) -> Option<Tool> {
        (self.command)(&self.place()?, which)
    }

    /// Where `scripts/install-test-deps` puts it.
    fn place(self) -> Option<PathBuf> {
        Some(cache()?.join("suites").join(self.folder))
    }

    /// The names of this suite's tests in the list, and whether they always differ.
    fn listed(self) -> BTreeMap<String, bool> {
        let list =
            std::fs::read_to_string(project("tests/suites-differ.txt")).expect("the list is there");
        let entries = list.lines().filter(|line| !line.starts_with('#'));
        let ours = entries.filter_map(|line| {
            let mut words = line.split_whitespace();
            let ours = words.next()? == self.name;
            let test = words.next()?.to_owned();
            ours.then(|| (test, words.next() != Some("sometimes:")))
        });
        ours.collect()
    }
}

/// A server of its own, since suites leave things behind.
struct Database {
    tenant: Tenant,
    server: Server,
}

impl Database {
    /// The suites mean an account that may do everything, in the database of this name.
    fn start(suite: Suite) -> Database {
        let server = Server::start(suite.kind);
        server.sql("", suite.prepared);
        let settings: &[_] = if suite.kind.is_postgres() {
            &[
                "pool_mode: transaction",
                "max_connections: 10",
                "client_auth: trust",
            ]
        } else {
            &["max_connections: 50"]
        };
        let tenant = Tenant {
            id: "suite".to_owned(),
            kind: server.kind,
            address: server.address,
            dbname: suite.dbname.to_owned(),
            username: "suite".to_owned(),
            password: "suite".to_owned(),
            settings: settings.iter().map(ToString::to_string).collect(),
        };
        Database { tenant, server }
    }
}

/// The way to a server.
struct Way {
    door: Door,
    front: Option<Front>,
    _server: Server,
}

impl Way {
    fn straight(database: Database) -> Way {
        Way {
            door: Door::of_server(&database.tenant),
            front: None,
            _server: database.server,
        }
    }

    fn through(database: Database) -> Way {
        let Database { tenant, server } = database;
        let front = Front::with(Config::for_tenants(std::slice::from_ref(&tenant)));
        Way {
            door: front.door(&tenant),
            front: Some(front),
            _server: server,
        }
    }

    fn close(self) {
        if let Some(front) = self.front {
            front.close();
        }
    }
}

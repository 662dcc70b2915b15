//! The suites that drivers bring along: each of their tests goes through the bouncer, in transaction mode, as it goes at
//! the database itself. What differs is listed in `tests/suites-differ.txt`, each with its cause, and nothing else may.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use testbed::{
    Config, Door, Front, Kind, Server, Tenant, Tool, cache, project, python_within, tool_within,
};

/// A driver's suite, and how it is run.
#[derive(Clone, Copy, Debug)]
pub struct Suite {
    pub name: &'static str,
    /// The program that runs it, with its arguments, or only these of its tests.
    command: fn(&Path, &[&str]) -> Option<Tool>,
    /// The verdicts in what it prints.
    verdicts: fn(&str) -> Verdicts,
}

/// How each test went.
type Verdicts = BTreeMap<String, String>;

pub const SUITES: [Suite; 2] = [
    // Python; a protocol of its own in C.
    Suite {
        name: "asyncpg",
        command: |folder, tests| {
            let folder = folder.to_string_lossy();
            let tool = python_within(SECONDS, "unittest_verdicts.py")?;
            Some(tool.arg(&*folder).args(tests))
        },
        verdicts: |said| lines(said, |line| line.split_once(' ')),
    },
    // Go, all of it.
    Suite {
        name: "pq",
        command: |folder, tests| {
            let only = tests
                .iter()
                .map(|test| format!("^{test}$"))
                .collect::<Vec<_>>();
            let only = if only.is_empty() {
                ".".to_owned()
            } else {
                only.join("|")
            };
            let program = folder.join("pq.test");
            let tool = tool_within(SECONDS, &program.to_string_lossy()).in_folder(folder);
            Some(tool.args(["-test.v", "-test.run", &only]))
        },
        verdicts: |said| {
            lines(said, |line| {
                let (verdict, rest) = line.trim_start().strip_prefix("--- ")?.split_once(": ")?;
                Some((verdict, rest.split_once(' ')?.0))
            })
        },
    },
];

/// They take minutes.
pub fn are_asked_for() -> bool {
    std::env::var_os("DBBOUNCER_TEST_SUITES").is_some_and(|value| value == "1")
}

const SECONDS: u32 = 400;

fn lines<'a>(said: &'a str, read: impl Fn(&'a str) -> Option<(&'a str, &'a str)>) -> Verdicts {
    let all = said.lines().filter_map(read);
    all.map(|(verdict, name)| (name.to_owned(), verdict.to_owned()))
        .collect()
}

impl Suite {
    /// Whether this machine has it.
    pub fn is_here(self) -> bool {
        self.folder().is_some_and(|folder| folder.exists()) && self.tool(&[]).is_some()
    }

    /// Runs it both ways, and holds what differs to the list.
    pub fn run(self) {
        let ways = [Way::straight(), Way::through()];
        let mut differ = self.differences(&ways, &[]);
        // Some tests of theirs fail now and then, wherever they are run.
        for _ in 0..2 {
            let again: Vec<_> = differ.iter().map(|(name, _)| name.as_str()).collect();
            if !again.is_empty() {
                differ = self.differences(&ways, &again);
            }
        }
        let listed = self.listed();
        let found: BTreeSet<_> = differ.iter().map(|(name, _)| name.clone()).collect();
        let new: Vec<_> = differ
            .iter()
            .filter(|(name, _)| !listed.contains_key(name))
            .collect();
        let vanished: Vec<_> = listed
            .iter()
            .filter(|(name, always)| **always && !found.contains(*name))
            .collect();
        let [_, through] = ways;
        through.close();
        assert!(
            new.is_empty(),
            "these go otherwise (straight, through): {new:#?}"
        );
        assert!(
            vanished.is_empty(),
            "these differ no more: take them off the list: {vanished:#?}"
        );
    }

    /// Tests that go otherwise, and how: straight, through.
    fn differences(self, ways: &[Way; 2], tests: &[&str]) -> Vec<(String, [Option<String>; 2])> {
        let [straight, through] = std::thread::scope(|scope| {
            let runs = ways
                .each_ref()
                .map(|way| scope.spawn(|| self.verdicts_at(&way.door, tests)));
            runs.map(|run| run.join().expect("the suite can be run"))
        });
        let names: BTreeSet<_> = straight.keys().chain(through.keys()).collect();
        let both = |name: &String| [straight.get(name).cloned(), through.get(name).cloned()];
        names
            .into_iter()
            .map(|name| (name.clone(), both(name)))
            .filter(|(_, [one, other])| one != other)
            .collect()
    }

    fn verdicts_at(self, door: &Door, tests: &[&str]) -> Verdicts {
        let said = self
            .tool(tests)
            .expect("asked for before")
            .env("PGHOST", &door.host())
            .env("PGPORT", &door.port())
            .env("PGUSER", &door.user)
            .env("PGPASSWORD", &door.password)
            .env("PGDATABASE", &door.dbname)
            .env("PGSSLMODE", "disable")
            .run();
        let verdicts = (self.verdicts)(&said.out);
        assert!(
            !verdicts.is_empty(),
            "{} says nothing: {}",
            self.name,
            said.err
        );
        verdicts
    }

    fn tool(self, tests: &[&str]) -> Option<Tool> {
        (self.command)(&self.folder()?, tests)
    }

    /// Where `scripts/install-test-deps` puts it.
    fn folder(self) -> Option<PathBuf> {
        Some(cache()?.join("suites").join(self.name))
    }

    /// The names of this suite's tests in the list.
    /// What differs, and whether it always does.
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

/// A server of its own, since suites leave things behind, and the way to it.
struct Way {
    door: Door,
    front: Option<Front>,
    _server: Server,
}

impl Way {
    fn straight() -> Way {
        let (server, tenant) = server();
        Way {
            door: Door::of_server(&tenant),
            front: None,
            _server: server,
        }
    }

    fn through() -> Way {
        let (server, tenant) = server();
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

/// The suites mean an account that may do everything, in the database of this name.
fn server() -> (Server, Tenant) {
    let server = Server::start(Kind::Postgres);
    server.sql(
        "",
        "CREATE ROLE suite LOGIN SUPERUSER PASSWORD 'suite'; GRANT by_trust TO suite",
    );
    let tenant = Tenant {
        id: "suite".to_owned(),
        kind: server.kind,
        address: server.address,
        dbname: "postgres".to_owned(),
        username: "suite".to_owned(),
        password: "suite".to_owned(),
        settings: [
            "pool_mode: transaction",
            "max_connections: 10",
            "client_auth: trust",
        ]
        .map(str::to_owned)
        .to_vec(),
    };
    (server, tenant)
}

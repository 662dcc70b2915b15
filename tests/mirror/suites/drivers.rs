//! The drivers whose suites are run, and how.

use std::path::Path;

use super::SECONDS;
use testbed::{Door, Kind, Tool, python_within, tool_within};

/// A driver's suite, and how it is run.
#[derive(Clone, Copy, Debug)]
pub struct Suite {
    pub name: &'static str,
    /// Against what.
    pub kind: Kind,
    /// The folder of `scripts/install-test-deps`.
    pub(super) folder: &'static str,
    /// In how many parts.
    pub(super) parts: usize,
    /// How many tests it has at least: fewer, and somebody has lost some.
    pub(super) tests: usize,
    /// The SQL that makes the account `suite`, and what else must be there.
    pub(super) prepared: &'static str,
    /// The database it means.
    pub(super) dbname: &'static str,
    /// The program that runs these of its tests.
    pub(super) command: fn(&Path, Which<'_>) -> Option<Tool>,
    /// Shows it the way to the database.
    pub(super) shown: fn(Tool, &Door) -> Tool,
    /// The verdict in a line of what it prints, and whose it is.
    pub(super) verdict: fn(&str) -> Option<(&str, &str)>,
    /// Whether a line of what it prints is its last.
    pub(super) ends: fn(&str) -> bool,
}

/// Which tests of a suite are run.
#[derive(Clone, Copy, Debug)]
pub enum Which<'a> {
    /// This part of so many.
    Part(usize, usize),
    These(&'a [String]),
}

pub const SUITES: [Suite; 6] = [
    // Python; a protocol of its own in C.
    Suite {
        name: "asyncpg",
        folder: "asyncpg",
        parts: 3,
        tests: 350,
        command: |folder, which| {
            let tool = python_within(SECONDS, "unittest_verdicts.py")?.arg(folder);
            Some(match which {
                Which::Part(part, parts) => tool.arg(format!("{part}/{parts}")),
                Which::These(tests) => tool.args(tests),
            })
        },
        verdict: |line| line.split_once(' '),
        ends: |line| line == "end",
        ..GO
    },
    // Go, all of it.
    Suite {
        name: "pq",
        folder: "pq",
        tests: 220,
        command: |folder, which| go(folder, "pq.test", which),
        ..GO
    },
    // The other one of Go, in its parts: what sends batches and keeps statements, what lies under it, and what looks
    // like any database of Go's. Left out are tests that end a backend by the process id of a cancel key, which has one
    // of our own, and would wait for that end for minutes; and those that take long and mean the client alone.
    Suite {
        name: "pgx",
        tests: 550,
        command: |folder, which| {
            Some(go(folder, "pgx.test", which)?.args([
                "-test.skip",
                "^TestFatal|WhileBusyIsSafe$|^TestConnQueryErrorWhileReturningRows$",
            ]))
        },
        ..PGX
    },
    Suite {
        name: "pgx.pgconn",
        tests: 180,
        command: |folder, which| {
            Some(go(folder, "pgconn.test", which)?.args([
                "-test.skip",
                "ConnectionTerminated$|^TestConnCheckConn$|^TestConnStress$|^TestCancelRequestContextWatcherHandler$",
            ]))
        },
        ..PGX
    },
    Suite {
        name: "pgx.stdlib",
        tests: 180,
        command: |folder, which| go(folder, "stdlib.test", which),
        ..PGX
    },
    // Go; left out are tests that need TLS, which the bouncer has no certificate for here.
    Suite {
        name: "go-mysql",
        kind: Kind::MySql,
        folder: "go-mysql",
        tests: 350,
        prepared: "CREATE DATABASE gotest; CREATE USER suite IDENTIFIED BY 'suite';
            GRANT ALL ON *.* TO suite WITH GRANT OPTION;",
        dbname: "gotest",
        command: |folder, which| {
            Some(go(folder, "mysql.test", which)?.args(["-test.skip", "^TestTLS$|^TestIssue1567$"]))
        },
        shown: |tool, door| {
            tool.env("MYSQL_TEST_ADDR", &door.address.to_string())
                .env("MYSQL_TEST_USER", &door.user)
                .env("MYSQL_TEST_PASS", &door.password)
                .env("MYSQL_TEST_DBNAME", &door.dbname)
        },
        ..GO
    },
];

/// What is the same of suites in Go.
const GO: Suite = Suite {
    name: "",
    kind: Kind::Postgres,
    folder: "",
    parts: 1,
    tests: 0,
    prepared: "CREATE ROLE suite LOGIN SUPERUSER PASSWORD 'suite'; GRANT by_trust TO suite",
    dbname: "postgres",
    command: |_, _| None,
    shown: to_postgres,
    verdict: |line| {
        let (verdict, rest) = line.trim_start().strip_prefix("--- ")?.split_once(": ")?;
        Some((verdict, rest.split_once(' ')?.0))
    },
    ends: |line| matches!(line, "PASS" | "FAIL"),
};

const PGX: Suite = Suite {
    folder: "pgx",
    prepared: "CREATE ROLE suite LOGIN SUPERUSER PASSWORD 'suite'; GRANT by_trust TO suite;
        CREATE EXTENSION hstore; CREATE EXTENSION ltree; CREATE DOMAIN uint64 AS numeric(20, 0)",
    shown: |tool, door| {
        let Door {
            user,
            password,
            dbname,
            ..
        } = door;
        let address = door.address;
        let url = format!("postgres://{user}:{password}@{address}/{dbname}?sslmode=disable");
        tool.env("PGX_TEST_DATABASE", &url)
            .env("PGX_TEST_TCP_CONN_STRING", &url)
            .env("PGX_TEST_PGBOUNCER_CONN_STRING", &url)
    },
    ..GO
};

/// The way as libpq reads it.
fn to_postgres(tool: Tool, door: &Door) -> Tool {
    tool.env("PGHOST", &door.host())
        .env("PGPORT", &door.port())
        .env("PGUSER", &door.user)
        .env("PGPASSWORD", &door.password)
        .env("PGDATABASE", &door.dbname)
        .env("PGSSLMODE", "disable")
}

/// The program made of a package's tests; their waiting is done side by side.
fn go(folder: &Path, program: &str, which: Which<'_>) -> Option<Tool> {
    let only = match which {
        Which::Part(..) => ".".to_owned(),
        Which::These(tests) => only(tests),
    };
    let program = folder.join(program);
    let tool = tool_within(SECONDS, &program.to_string_lossy()).in_folder(folder);
    let tool = tool.args(["-test.v", "-test.parallel", "8", "-test.run", &only]);
    program.exists().then_some(tool)
}

/// For Go: tests by the pattern of their names. Those within others are run by the whole.
fn only(tests: &[String]) -> String {
    let whole = tests.iter().map(|test| match test.split_once('/') {
        Some((whole, _)) => format!("^{whole}$"),
        None => format!("^{test}$"),
    });
    whole.collect::<Vec<_>>().join("|")
}

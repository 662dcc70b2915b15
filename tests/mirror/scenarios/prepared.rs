//! Prepared statements of the protocol: by name and without, and what becomes of them.

use std::slice;

use crate::frames::*;
use crate::scenario::Scenario;

pub fn list() -> Vec<Scenario> {
    let cycle = |names: &[&str]| names.iter().map(|name| run(name)).collect::<Vec<_>>();
    let sized = |size: usize| {
        // PostgreSQL takes a Describe of up to 10,000 bytes.
        let name = "n".repeat((size / 2).min(9000));
        let text = format!("SELECT '{}'", "x".repeat(size));
        [
            parse(&name, &text),
            describe(&name),
            bind_with("", &name, &[]),
            execute(""),
            sync(),
            close(&name),
            sync(),
        ]
        .concat()
    };
    vec![
        Scenario::named("the same name twice").says(&[
            parse("twice", "SELECT 1"),
            parse("twice", "SELECT 2"),
            sync(),
            close("twice"),
            parse("twice", "SELECT 2"),
            sync(),
        ]),
        Scenario::named("the same name twice in two batches")
            .says(&[parse("s", "SELECT 1"), sync()])
            .says(&[parse("s", "SELECT 2"), sync()])
            .says(&[parse("s", "SELEKT"), sync()])
            .says(&[run("s")]),
        Scenario::named("three statements in turn")
            .says(&[
                parse("a", "SELECT 1"),
                parse("b", "SELECT 2"),
                parse("c", "SELECT 3"),
                sync(),
            ])
            .says(&cycle(&["a", "b", "c", "a", "c", "b", "b", "a"]))
            .says(&[
                bind("", "a"),
                execute(""),
                bind("", "b"),
                execute(""),
                bind("", "c"),
                execute(""),
                bind("", "a"),
                execute(""),
                sync(),
            ]),
        Scenario::named("three statements in turn with an error amidst")
            .says(&[
                parse("a", "SELECT 1"),
                parse("b", "SELECT 2/$1::int"),
                parse("c", "SELECT 3"),
                sync(),
            ])
            .says(&[
                bind("", "a"),
                execute(""),
                bind_with("", "b", &["0"]),
                execute(""),
                bind("", "c"),
                execute(""),
                sync(),
            ])
            .says(&cycle(&["c", "a"]))
            .says(&[bind_with("", "b", &["2"]), execute(""), sync()])
            .says(&cycle(&["a", "c"])),
        Scenario::named("used in the batch in which others come")
            .says(&[parse("a", "SELECT 1"), sync()])
            .says(&[
                parse("b", "SELECT 2"),
                parse("c", "SELECT 3"),
                bind("", "a"),
                execute(""),
                bind("", "b"),
                execute(""),
                sync(),
            ])
            .says(&cycle(&["a", "b", "c"])),
        Scenario::named("bound portals outlive their statement").says(&[
            parse("a", "SELECT 1"),
            bind("p", "a"),
            close("a"),
            parse("b", "SELECT 2"),
            parse("c", "SELECT 3"),
            execute("p"),
            sync(),
            bind("p", "a"),
            sync(),
        ]),
        portal_of_before("", true),
        portal_of_before(", said at once", false),
        Scenario::named("a failed Parse makes no name")
            .says(&[parse("s", "SELECT nonsense FROM nowhere"), sync()])
            .says(&[run("s")])
            .says(&[parse("s", "SELECT 5"), sync()])
            .says(&[run("s")]),
        Scenario::named("a failed Parse in a pipeline makes no name")
            .says(&[
                unnamed("SELECT 1/0"),
                parse("s", "SELECT 1"),
                sync(),
                parse("s", "SELECT 2"),
                sync(),
            ])
            .says(&[run("s")]),
        Scenario::named("names and texts of many sizes")
            .says(&[10, 4000, 4090, 8180, 8192, 16_380, 40_000, 70_000].map(sized)),
        Scenario::named("a statement too long to be kept")
            .says(&[
                parse("long", &format!("SELECT 1, '{}'", "x".repeat(1_200_000))),
                sync(),
            ])
            .says(&[describe("long"), sync(), run("long")])
            .says(&[close("long"), sync(), run("long")]),
        Scenario::named("an unnamed one too long to be kept")
            .says(&[
                parse("", &format!("SELECT 1, '{}'", "x".repeat(1_200_000))),
                sync(),
            ])
            .says(&[run("")])
            .says(&[unnamed("SELECT 1"), sync()]),
        Scenario::named("the unnamed one across batches")
            .says(&[parse("", "SELECT $1::int + 1"), sync()])
            .says(&[describe(""), sync()])
            .says(&[bind_with("", "", &["1"]), execute(""), sync()])
            .says(&[bind_with("", "", &["2"]), execute(""), sync()])
            .says(&[query("SELECT 'a Query destroys it'")])
            .says(&[bind_with("", "", &["3"]), execute(""), sync()]),
        Scenario::named("a failed Parse destroys the unnamed one")
            .says(&[parse("", "SELECT 1"), sync()])
            .says(&[parse("", "SELEKT"), sync()])
            .says(&[run("")])
            .says(&[parse("", "SELECT 1"), sync(), close(""), sync()])
            .says(&[run("")]),
        Scenario::named("statements in a transaction that is rolled back")
            .says(&[
                query("BEGIN"),
                parse("s", "SELECT 1"),
                sync(),
                query("ROLLBACK"),
            ])
            .says(&[run("s")])
            .says(&[query("BEGIN"), close("s"), sync(), query("ROLLBACK")])
            .says(&[run("s")]),
        Scenario::named("statements in a failed transaction")
            .says(&[
                parse("s", "SELECT 1"),
                sync(),
                query("BEGIN"),
                query("SELECT 1/0"),
            ])
            .says(&[
                run("s"),
                parse("t", "SELECT 2"),
                sync(),
                parse("r", "ROLLBACK"),
                bind("", "r"),
                execute(""),
                sync(),
            ])
            .says(&[run("s")])
            .says(&[run("t")])
            .says(&[run("r")]),
        Scenario::named("the result type changes")
            .says(&[
                query("CREATE TABLE changing (a int)"),
                parse("s", "SELECT * FROM changing"),
                describe("s"),
                sync(),
                run("s"),
            ])
            .says(&[query("ALTER TABLE changing ADD COLUMN b text")])
            .says(&[run("s")])
            .says(&[
                close("s"),
                parse("s", "SELECT * FROM changing"),
                describe("s"),
                sync(),
                run("s"),
            ])
            .says(&[query("DROP TABLE changing")])
            .says(&[run("s")]),
        Scenario::named("the result type changes in a transaction")
            .says(&[
                query("BEGIN; CREATE TABLE changing (a int)"),
                parse("s", "SELECT * FROM changing"),
                sync(),
                run("s"),
            ])
            .says(&[query("ALTER TABLE changing ADD COLUMN b text")])
            .says(&[run("s")])
            .says(&[query("ROLLBACK")])
            .says(&[run("s")]),
        Scenario::named("the search path decides")
            .says(&[
                parse("s", "SELECT count(*) FROM item"),
                describe("s"),
                sync(),
                run("s"),
            ])
            .says(&[query("SET search_path TO other")])
            .says(&[run("s")])
            .says(&[
                parse("o", "SELECT count(*) FROM item"),
                describe("o"),
                sync(),
                run("o"),
            ])
            .says(&[query("RESET search_path")])
            .says(&[run("s")])
            .says(&[run("o")])
            .says(&[
                query("BEGIN; SET LOCAL search_path TO other"),
                run("s"),
                query("COMMIT"),
                run("s"),
            ]),
        Scenario::named("a temporary table before the real one")
            .says(&[parse("s", "SELECT count(*) FROM item"), sync(), run("s")])
            .says(&[query("CREATE TEMP TABLE item AS SELECT 1 AS id")])
            .says(&[
                run("s"),
                parse("t", "SELECT count(*) FROM item"),
                sync(),
                run("t"),
            ])
            .says(&[query("DISCARD TEMP")])
            .says(&[run("s"), run("t")]),
        Scenario::named("the same unnamed statement again")
            .says(&[unnamed("SELECT * FROM item"), sync()])
            .says(&[
                unnamed("SELECT * FROM item"),
                unnamed("SELECT * FROM item"),
                sync(),
            ])
            .says(&[parse("path", "SET search_path TO other"), sync()])
            .says(&[run("path"), unnamed("SELECT * FROM item"), sync(), run("")]),
        Scenario::named("the same unnamed statement again, refused")
            .says(&[
                parse("begin", "BEGIN"),
                parse("fail", "SELECT 1/0"),
                parse("end", "ROLLBACK"),
                sync(),
            ])
            .says(&[unnamed("SELECT 1"), sync(), run("begin"), run("fail")])
            .says(&[parse("", "SELECT 1"), sync(), run("end")])
            .client(1)
            .says(&[unnamed("SELECT 2"), sync()])
            .client(0)
            .says(&[run("")]),
        Scenario::named("statements that set")
            .says(&[
                parse("s", "SET application_name TO 'set by a statement'"),
                sync(),
            ])
            .says(&[run("s"), query("SHOW application_name")])
            .says(&[query("SET application_name TO 'x'; EXECUTE s")])
            .says(&[query("SHOW application_name")]),
        Scenario::named("Describe of what returns nothing").says(&[
            parse("s", "INSERT INTO line VALUES ($1, $2)"),
            describe("s"),
            parse("e", ""),
            describe("e"),
            bind("", "e"),
            describe_portal(""),
            execute(""),
            sync(),
        ]),
        Scenario::named("Describe in a failed transaction")
            .says(&[
                parse("i", "INSERT INTO line VALUES ($1, $2)"),
                describe("i"),
                parse("s", "SELECT 1"),
                describe("s"),
                sync(),
            ])
            .client(1)
            // So that the backend has none of them, where it keeps one or two.
            .says(&[
                parse("a", "SELECT 'a'"),
                parse("b", "SELECT 'b'"),
                parse("c", "SELECT 'c'"),
                sync(),
            ])
            .client(0)
            .says(&[query("BEGIN; SELECT 1/0")])
            .says(&[describe("i"), sync()])
            .says(&[describe("s"), sync()])
            .says(&[describe("nothing"), sync()])
            .says(&[
                describe("i"),
                flush(),
                describe("i"),
                bind_with("", "i", &["1", "1"]),
                sync(),
            ])
            .says(&[query("ROLLBACK"), describe("i"), sync()]),
        Scenario::named("who vanishes without a Sync")
            .says(&[parse("s", "SELECT 1"), bind("", "s"), execute(""), flush()])
            .messages(4)
            .vanishes()
            .client(1)
            .says(&[parse("s", "SELECT 2"), sync(), run("s")])
            .client(2)
            .says(&[parse("s", "SELECT 1"), sync(), run("s")]),
    ]
}

/// A Bind fails, and the portal whose name it gave is there as before: it does what it did.
fn portal_of_before(what: &str, waits: bool) -> Scenario {
    let path = || query("SHOW search_path; SHOW lock_timeout; SELECT * FROM item");
    let said = [
        [
            query("BEGIN"),
            parse("a", "SET search_path TO other"),
            parse("b", "SELECT 1"),
            parse("c", "SET lock_timeout TO 7"),
            bind("p", "a"),
            bind("q", "b"),
            sync(),
            query("SAVEPOINT x"),
        ]
        .concat(),
        [bind("p", "b"), sync(), query("ROLLBACK TO x")].concat(),
        [bind("q", "c"), sync(), query("ROLLBACK TO x")].concat(),
        [execute("q"), execute("p"), sync(), query("COMMIT")].concat(),
    ];
    let name = format!("a portal outlives a Bind that fails{what}");
    let named = Scenario::named(name);
    let scenario = match waits {
        true => (said.iter()).fold(named, |scenario, said| scenario.says(slice::from_ref(said))),
        false => named.says(&said),
    };
    scenario
        .client(1)
        .says(&[path()])
        .client(0)
        .says(&[path(), query("RESET ALL")])
}

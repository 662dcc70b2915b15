//! Statements whose clients have been told what they return and take, and which return or take something else since.

use crate::frames::*;
use crate::scenario::Scenario;

pub fn list() -> Vec<Scenario> {
    vec![
        changed(
            "a column has another type",
            "CREATE TABLE shape (a int); INSERT INTO shape VALUES (1)",
            "SELECT a FROM shape",
            "ALTER TABLE shape ALTER a TYPE bigint",
        ),
        changed(
            "a column of a star is new",
            "CREATE TABLE shape (a int); INSERT INTO shape VALUES (1)",
            "SELECT * FROM shape",
            "ALTER TABLE shape ADD b int DEFAULT 7",
        ),
        changed(
            "a column of a star is gone",
            "CREATE TABLE shape (a int, b int); INSERT INTO shape VALUES (1, 2)",
            "/* by whom */ (SELECT * FROM shape)",
            "ALTER TABLE shape DROP b",
        ),
        changed(
            "a column has another name",
            "CREATE TABLE shape (a int); INSERT INTO shape VALUES (1)",
            "TABLE shape",
            "ALTER TABLE shape RENAME a TO b",
        ),
        changed(
            "a column is longer",
            "CREATE TABLE shape (a varchar(10)); INSERT INTO shape VALUES ('x')",
            "WITH t AS (SELECT a FROM shape) SELECT * FROM t",
            "ALTER TABLE shape ALTER a TYPE varchar(20)",
        ),
        changed(
            "what is returned has another type",
            "CREATE TABLE shape (a int)",
            "INSERT INTO shape VALUES (1) RETURNING a",
            "ALTER TABLE shape ALTER a TYPE text",
        ),
        changed(
            "a function returns another type",
            "CREATE FUNCTION shape_of() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE TABLE shape (a int)",
            "SELECT shape_of()",
            "DROP FUNCTION shape_of; CREATE FUNCTION shape_of() RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint'",
        )
        .says(&[query("DROP FUNCTION shape_of")]),
        changed(
            "a table is another one",
            "CREATE TABLE shape (a int); INSERT INTO shape VALUES (1)",
            "SELECT * FROM shape",
            "DROP TABLE shape; CREATE TABLE shape (a text, b text); INSERT INTO shape VALUES ('1', '2')",
        ),
        changed(
            "a table is another one of the same shape",
            "CREATE TABLE shape (a int); INSERT INTO shape VALUES (1)",
            "SELECT * FROM shape",
            "DROP TABLE shape; CREATE TABLE shape (a int); INSERT INTO shape VALUES (2)",
        ),
        changed(
            "what returns nothing still does",
            "CREATE TABLE shape (a int)",
            "INSERT INTO shape VALUES (1)",
            "ALTER TABLE shape ADD b int",
        ),
        changed(
            "it has been changed and changed back",
            "CREATE TABLE shape (a int)",
            "SELECT * FROM shape",
            "ALTER TABLE shape ADD b int; ALTER TABLE shape DROP b",
        ),
        changed(
            "it would have been changed",
            "CREATE TABLE shape (a int)",
            "SELECT * FROM shape",
            "BEGIN; ALTER TABLE shape ADD b int; ROLLBACK",
        ),
        changed(
            "a plan is no promise",
            "CREATE TABLE shape (a int)",
            "EXPLAIN (COSTS off) SELECT a FROM shape",
            "ALTER TABLE shape RENAME TO other_shape; CREATE VIEW shape AS SELECT 1 AS a WHERE false; DROP TABLE other_shape",
        )
        .says(&[query("DROP VIEW shape")]),
        rolled_back(),
        parameters(),
        portals(),
        unnamed_ones(),
        pipelines(),
        old_and_new(),
        cursors(),
        paths(),
        encodings(),
    ]
}

/// One client is told the shape of a statement, another one changes that.
fn changed(what: &str, create: &str, text: &str, change: &str) -> Scenario {
    Scenario::named(format!("shapes, {what}"))
        .says(&[query(create)])
        .says(&[parse("s", text), describe("s"), sync(), run("s")])
        .says(&[parse("w", "INSERT INTO line VALUES (1, 1)"), sync()])
        .client(1)
        .says(&[query(change)])
        .says(&[others()])
        .client(0)
        .says(&[run("s")])
        .says(&[describe("s"), sync()])
        // What stands before it in its batch is undone.
        .says(&[
            bind("", "w"),
            execute(""),
            bind("", "s"),
            execute(""),
            bind("", "w"),
            sync(),
        ])
        .says(&[query("SELECT count(*) FROM line; DELETE FROM line")])
        .says(&[query("BEGIN"), run("w")])
        .says(&[run("s")])
        .says(&[
            run("w"),
            query("COMMIT"),
            query("SELECT count(*) FROM line; DELETE FROM line"),
        ])
        // Who prepares it again is told anew.
        .says(&[parse("t", text), describe("t"), sync(), run("t")])
        .says(&[run("s")])
        .client(1)
        .says(&[others()])
        .client(0)
        .says(&[run("t")])
        .says(&[
            close("s"),
            parse("s", text),
            describe("s"),
            sync(),
            run("s"),
        ])
        .says(&[query("DROP TABLE IF EXISTS shape")])
        .says(&[run("s")])
}

/// It is prepared by somebody else amid a change that is rolled back.
fn rolled_back() -> Scenario {
    let text = "SELECT * FROM shape";
    Scenario::named("shapes, prepared amid a change that was rolled back")
        .says(&[query("CREATE TABLE shape (a int)")])
        .says(&[parse("s", text), describe("s"), sync(), run("s")])
        .client(1)
        .says(&[
            query("BEGIN; ALTER TABLE shape ADD b int"),
            parse("s", text),
            sync(),
            query("ROLLBACK"),
        ])
        .client(0)
        .says(&[run("s")])
        .says(&[run("s"), describe("s"), sync()])
        .says(&[query("DROP TABLE shape")])
}

/// The types of parameters stay what they were found to be first.
fn parameters() -> Scenario {
    let with = |value: &str| [bind_with("", "s", &[value]), execute(""), sync()].concat();
    let text = "INSERT INTO shape VALUES ($1, 1)";
    Scenario::named("shapes, a parameter is of another type")
        .says(&[query("CREATE TABLE shape (a int, b int)")])
        .says(&[parse("s", text), describe("s"), sync(), with("1")])
        .client(1)
        .says(&[query("ALTER TABLE shape ALTER a TYPE bigint")])
        .says(&[others()])
        .client(0)
        .says(&[describe("s"), sync()])
        .says(&[with("2147483647"), with("2147483648")])
        .client(1)
        // To this one it is a bigint.
        .says(&[parse("s", text), sync()])
        .says(&[with("2147483648")])
        .client(0)
        .says(&[with("2147483648")])
        .client(1)
        .says(&[with("2147483648"), describe("s"), sync()])
        .client(0)
        .says(&[with("2147483648"), with("7")])
        .client(1)
        .says(&[with("2147483648")])
        .says(&[
            query("SELECT * FROM shape ORDER BY a"),
            query("DROP TABLE shape"),
        ])
}

/// What the description of a portal has told.
fn portals() -> Scenario {
    let first = |name: &str| [bind("p", name), describe_portal("p"), execute("p"), sync()].concat();
    Scenario::named("shapes, told of a portal")
        .says(&[query(
            "CREATE TABLE shape (a int, b varchar(3)); INSERT INTO shape VALUES (1, 'x')",
        )])
        .says(&[parse("s", "SELECT a, b || 'y' FROM shape"), first("s")])
        .says(&[run("s")])
        .client(1)
        .says(&[others()])
        .client(0)
        .says(&[run("s")])
        .client(1)
        .says(&[query("ALTER TABLE shape ALTER a TYPE text")])
        .says(&[others()])
        .client(0)
        .says(&[run("s")])
        .says(&[first("s")])
        .says(&[
            close("s"),
            parse("s", "SELECT a, b || 'y' FROM shape"),
            first("s"),
        ])
        .says(&[run("s"), query("DROP TABLE shape")])
}

/// Of the unnamed statement, where another client's has taken its place meanwhile.
fn unnamed_ones() -> Scenario {
    let other = [parse("", "SELECT 'other'"), sync()].concat();
    Scenario::named("shapes, of the unnamed statement")
        .says(&[query(
            "CREATE TABLE shape (a int); INSERT INTO shape VALUES (1)",
        )])
        .says(&[
            parse("", "SELECT *, $1 + 1 FROM shape"),
            describe(""),
            sync(),
        ])
        .client(1)
        .says(std::slice::from_ref(&other))
        .client(0)
        .says(&[bind_with("", "", &["2"]), execute(""), sync()])
        .client(1)
        .says(&[
            other,
            query("ALTER TABLE shape ALTER a TYPE bigint"),
            unnamed("SELECT 1"),
            sync(),
        ])
        .client(0)
        .says(&[bind_with("", "", &["2"]), execute(""), sync()])
        .says(&[describe(""), sync()])
        .says(&[bind_with("", "", &["2"]), execute(""), sync()])
        .says(&[
            parse("", "SELECT *, $1 + 1 FROM shape"),
            describe(""),
            sync(),
        ])
        .says(&[bind_with("", "", &["2"]), execute(""), sync()])
        .says(&[query("DROP TABLE shape")])
}

/// Several of them in one batch, and several batches said at once.
fn pipelines() -> Scenario {
    let two = |name: &str| [bind("", name), execute("")].concat();
    Scenario::named("shapes, in pipelines")
        .says(&[query(
            "CREATE TABLE shape (a int); INSERT INTO shape VALUES (1)",
        )])
        .says(&[
            parse("s", "SELECT * FROM shape"),
            parse("t", "SELECT a, 't' FROM shape"),
            describe("s"),
            describe("t"),
            sync(),
        ])
        .client(1)
        .says(&[others()])
        .client(0)
        .says(&[
            two("s"),
            two("t"),
            two("s"),
            sync(),
            two("t"),
            sync(),
            query("SELECT 1"),
            two("s"),
            sync(),
        ])
        .client(1)
        .says(&[query("ALTER TABLE shape ADD b int")])
        .says(&[others()])
        .client(0)
        .says(&[
            two("t"),
            two("s"),
            two("t"),
            sync(),
            two("s"),
            sync(),
            query("SELECT 1"),
            two("t"),
            sync(),
        ])
        .says(&[
            query("BEGIN"),
            two("t"),
            sync(),
            two("s"),
            sync(),
            query("SELECT 1"),
            two("t"),
            sync(),
            query("ROLLBACK"),
        ])
        .says(&[
            unnamed("SELECT 1/0"),
            two("s"),
            sync(),
            close("s"),
            parse("s", "SELECT * FROM shape"),
            two("s"),
            describe("s"),
            two("s"),
            sync(),
        ])
        .says(&[
            two("s"),
            sync(),
            query("ALTER TABLE shape DROP a"),
            two("s"),
            sync(),
        ])
        .client(1)
        .says(&[query("ALTER TABLE shape ADD c int")])
        .says(&[others()])
        .client(0)
        .says(&[
            close("s"),
            parse("s", "SELECT * FROM shape"),
            describe("s"),
            sync(),
        ])
        .client(1)
        .says(&[query("ALTER TABLE shape ADD d int")])
        .says(&[others()])
        .client(0)
        // Said while the transaction has failed, and heard behind it.
        .says(&[query("BEGIN; SELECT 1/0")])
        .says(&[query("ROLLBACK"), two("s"), sync(), query("SELECT 1")])
        .says(&[query("DROP TABLE shape")])
}

/// What each client was told is its own.
fn old_and_new() -> Scenario {
    let prepares = || [parse("s", "SELECT * FROM shape"), describe("s"), sync()].concat();
    Scenario::named("shapes, an old one and a new one side by side")
        .says(&[query("CREATE TABLE shape (a int)"), prepares()])
        .client(1)
        .says(&[query("ALTER TABLE shape ADD b int"), prepares(), run("s")])
        .client(0)
        .says(&[run("s")])
        .client(1)
        .says(&[run("s")])
        .client(0)
        .says(&[
            run("s"),
            query("DEALLOCATE s"),
            run("s"),
            prepares(),
            run("s"),
        ])
        .client(1)
        .says(&[run("s")])
        .says(&[query("DISCARD ALL"), run("s"), prepares()])
        .client(2)
        .says(&[query("ALTER TABLE shape DROP b"), prepares(), run("s")])
        .client(0)
        .says(&[run("s"), query("DROP TABLE shape")])
}

/// FETCH returns what its cursor does.
fn cursors() -> Scenario {
    Scenario::named("shapes, a cursor is another one")
        .says(&[query("BEGIN; DECLARE c CURSOR FOR SELECT 1 AS one")])
        .says(&[
            parse("f", "FETCH ALL FROM c"),
            describe("f"),
            sync(),
            run("f"),
            query("COMMIT"),
        ])
        .client(1)
        .says(&[others()])
        .client(0)
        .says(&[query(
            "BEGIN; DECLARE c CURSOR FOR SELECT 1 AS one, 'x' AS two",
        )])
        .says(&[bind("", "f"), describe_portal(""), execute(""), sync()])
        .says(&[run("f"), query("COMMIT")])
}

fn paths() -> Scenario {
    Scenario::named("shapes, by the search path")
        .says(&[query(
            "CREATE TABLE shape (a int); CREATE TABLE other.shape (a int, b int)",
        )])
        .says(&[
            parse("s", "SELECT * FROM shape"),
            describe("s"),
            sync(),
            run("s"),
        ])
        .says(&[query("SET search_path TO other")])
        .says(&[run("s")])
        .says(&[
            parse("o", "SELECT * FROM shape"),
            describe("o"),
            sync(),
            run("o"),
        ])
        .says(&[query("RESET search_path")])
        .says(&[run("s"), run("o")])
        .says(&[
            query("BEGIN; SET LOCAL search_path TO other"),
            run("s"),
            query("ROLLBACK"),
            run("s"),
        ])
        .says(&[
            query("CREATE TEMP TABLE shape (a text)"),
            run("s"),
            query("DROP TABLE shape"),
            run("s"),
        ])
        .says(&[query("DROP TABLE shape, other.shape")])
}

/// A name of a column is told otherwise, and is the same.
fn encodings() -> Scenario {
    Scenario::named("shapes, names in another encoding")
        .says(&[
            parse("s", "SELECT 1 AS \"\u{e4}\""),
            describe("s"),
            sync(),
            run("s"),
        ])
        .says(&[query("SET client_encoding TO LATIN1")])
        .client(1)
        .says(&[others()])
        .client(0)
        .says(&[run("s"), query("RESET client_encoding"), run("s")])
}

/// Statements behind which a backend that keeps one or two has no others.
fn others() -> Frame {
    let other = |name: &str| parse(name, &format!("SELECT '{name}'"));
    let closed = ["a", "b", "c"].map(close).concat();
    [closed, ["a", "b", "c"].map(other).concat(), sync()].concat()
}

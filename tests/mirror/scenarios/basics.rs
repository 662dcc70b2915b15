//! One message after another, as simple clients speak.

use testbed::raw::message;

use crate::frames::*;
use crate::scenario::Scenario;

pub fn list() -> Vec<Scenario> {
    vec![
        Scenario::named("simple query").says(&[query("SELECT 1 AS one, 'x'::text, NULL::int")]),
        Scenario::named("empty query").says(&[query(""), query(";"), query("-- only a comment")]),
        Scenario::named("several statements").says(&[query(
            "SELECT 1; SELECT 2; CREATE TEMP TABLE a (i int); INSERT INTO a VALUES (1); DROP TABLE a",
        )]),
        Scenario::named("an error in the middle of several statements")
            .says(&[query("SELECT 1; SELECT 1/0; SELECT 2")])
            .says(&[query("INSERT INTO line VALUES (1, 1); SELECT 1/0")])
            .says(&[query("SELECT count(*) FROM line")]),
        Scenario::named("BEGIN and COMMIT within one text")
            .says(&[query("BEGIN; SELECT 1; COMMIT; SELECT 2; BEGIN; SELECT 3")])
            .says(&[query("SELECT 4; ROLLBACK; SELECT 5")]),
        Scenario::named("errors").says(&[
            query("SELECT 1/0"),
            query("SELEKT"),
            query("SELECT * FROM nowhere"),
            query("INSERT INTO item VALUES (1)"),
            query("INSERT INTO line VALUES (77, 1)"),
        ]),
        Scenario::named("extended").says(&[
            parse("s", "SELECT generate_series(1, 5)"),
            describe("s"),
            bind("p", "s"),
            describe_portal("p"),
            execute("p"),
            sync(),
        ]),
        Scenario::named("parameters")
            .says(&[
                parse_typed("s", "SELECT $1, $2 || 'x', $1 + $3", &[23, 25]),
                describe("s"),
                bind_with("", "s", &["41", "it's", "1"]),
                execute("", ),
                sync(),
            ])
            .says(&[bind_with("", "s", &["nonsense", "", "1"]), execute(""), sync()])
            .says(&[bind_with("", "s", &["1"]), execute(""), sync()])
            .says(&[parse_typed("", "SELECT $1", &[1, 2, 3]), sync()]),
        Scenario::named("a portal in portions")
            .says(&[
                query("BEGIN"),
                parse("q", "SELECT generate_series(1, 5)"),
                bind("p", "q"),
                execute_some("p", 2),
                execute_some("p", 2),
                execute_some("p", 2),
                execute_some("p", 2),
                sync(),
            ])
            .says(&[bind("p", "q"), bind("p", "q"), sync()])
            .says(&[query("ROLLBACK")]),
        Scenario::named("portals side by side").says(&[
            parse("q", "SELECT generate_series(1, 6)"),
            bind("a", "q"),
            bind("b", "q"),
            execute_some("a", 2),
            execute_some("b", 3),
            execute_some("a", 2),
            execute_some("b", 3),
            close_portal("a"),
            execute_some("a", 2),
            sync(),
        ]),
        Scenario::named("a portal ends with its transaction")
            .says(&[parse("q", "SELECT generate_series(1, 6)"), bind("a", "q"), execute_some("a", 2), sync()])
            .says(&[execute_some("a", 2), sync()])
            .says(&[query("BEGIN"), bind("a", "q"), execute_some("a", 2), sync(), execute_some("a", 2), sync()])
            .ready(3)
            .says(&[query("COMMIT"), execute_some("a", 2), sync()]),
        Scenario::named("unknown statement and portal").says(&[
            bind("", "nope"),
            sync(),
            describe("nope"),
            sync(),
            describe_portal("nope"),
            sync(),
            execute("nope"),
            sync(),
            close("nope"),
            close_portal("nope"),
            sync(),
        ]),
        Scenario::named("Sync only").says(&[sync(), sync(), sync()]),
        Scenario::named("Flush only").says(&[flush(), flush(), sync()]),
        Scenario::named("transaction status").says(&[
            query("BEGIN"),
            query("BEGIN"),
            query("SELECT 1/0"),
            query("SELECT 1"),
            query("ROLLBACK"),
            query("COMMIT"),
            query("SET LOCAL jit = off"),
        ]),
        Scenario::named("savepoints").says(&[
            query("BEGIN"),
            query("SAVEPOINT a"),
            query("SELECT 1/0"),
            query("ROLLBACK TO a"),
            query("RELEASE a"),
            query("COMMIT AND CHAIN"),
            query("ROLLBACK AND CHAIN"),
            query("ROLLBACK"),
        ]),
        Scenario::named("cursors").says(&[
            query("BEGIN; DECLARE c SCROLL CURSOR FOR SELECT generate_series(1, 5)"),
            query("FETCH 2 FROM c; FETCH BACKWARD 1 FROM c; MOVE LAST IN c"),
            query("CLOSE c; FETCH c"),
            query("ROLLBACK"),
            query("DECLARE c CURSOR FOR SELECT 1"),
        ]),
        Scenario::named("notices").says(&[
            query("DO $$ BEGIN RAISE WARNING 'w'; RAISE NOTICE 'n'; END $$"),
            query("DROP TABLE IF EXISTS nowhere"),
        ]),
        Scenario::named("what cannot run in a transaction").says(&[
            query("VACUUM item"),
            query("VACUUM item; SELECT 1"),
            query("BEGIN; VACUUM item"),
            query("ROLLBACK"),
            parse("", "VACUUM item"),
            bind("", ""),
            execute(""),
            sync(),
        ]),
        Scenario::named("function calls")
            .says(&[call(INT4PL, &["2", "3"]), call(INT4PL, &["2", "x"]), call(1, &[])])
            .says(&[query("BEGIN"), call(INT4PL, &["1", "2"]), query("COMMIT")]),
        Scenario::named("many in one go").says(
            &(0..300)
                .flat_map(|i| [query(&format!("SELECT {i}")), parse("", "SELECT 1"), sync()])
                .collect::<Vec<_>>(),
        ),
        Scenario::named("rows of many sizes").says(
            &[1, 4086, 4087, 4096, 8192, 16_384, 70_000, 3_000_000]
                .map(|size| query(&format!("SELECT repeat('x', {size}), 1; SELECT 'behind it'"))),
        ),
        Scenario::named("a wrong message ends the session")
            .says(&[query("SELECT 1"), message(b'B', b"no end")])
            .ready(1)
            .says(&[sync()]),
        Scenario::named("who leaves behind a question")
            .says(&[query("SELECT 1"), terminate()])
            .ready(2),
        Scenario::named("who leaves behind a statement that runs")
            .says(&[query("LISTEN news")])
            .says(&[query("SELECT pg_sleep(0.1), 'done'"), terminate()])
            .ready(2),
        Scenario::named("who leaves behind its commit")
            .says(&[query("BEGIN"), query("INSERT INTO line VALUES (1, 1)")])
            .says(&[query("SELECT pg_sleep(0.1); ROLLBACK"), terminate()])
            .ready(2),
        Scenario::named("notifications to oneself")
            .says(&[query("LISTEN news"), query("NOTIFY news, 'one'"), query("BEGIN; NOTIFY news, 'two'")])
            .says(&[query("SELECT 1"), query("COMMIT"), query("UNLISTEN news"), query("NOTIFY news")]),
        Scenario::named("two-phase commit is off").says(&[query("BEGIN"), query("PREPARE TRANSACTION 'x'"), query("ROLLBACK PREPARED 'x'")]),
        Scenario::named("explain").says(&[query("EXPLAIN (COSTS off) SELECT * FROM item"), unnamed("EXPLAIN (COSTS off) SELECT 1"), sync()]),
    ]
}

/// `int4pl(int, int)`
const INT4PL: u32 = 177;

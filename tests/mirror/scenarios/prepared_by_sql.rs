//! PREPARE, EXECUTE and DEALLOCATE, beside statements of the protocol, whose names are the same names.

use crate::frames::*;
use crate::scenario::Scenario;

pub fn list() -> Vec<Scenario> {
    vec![
        Scenario::named("DEALLOCATE of one")
            .says(&[parse("s", "SELECT 1"), parse("t", "SELECT 2"), sync()])
            .says(&[query("DEALLOCATE s")])
            .says(&[run("s"), run("t")])
            .says(&[query("dealLOCATE prepare \"t\"")])
            .says(&[run("t"), query("DEALLOCATE t")])
            .says(&[parse("s", "SELECT 3"), sync(), run("s")]),
        Scenario::named("DEALLOCATE ALL")
            .says(&[parse("s", "SELECT 1"), parse("t", "SELECT 2"), sync()])
            .says(&[query("deallocate ALL")])
            .says(&[run("s"), run("t")])
            .says(&[parse("s", "SELECT 3"), sync(), run("s")])
            .says(&[unnamed("DEALLOCATE ALL"), sync()])
            .says(&[run("s")]),
        Scenario::named("DISCARD ALL")
            .says(&[parse("s", "SELECT 1"), sync(), query("DISCARD ALL")])
            .says(&[run("s")])
            .says(&[
                parse("s", "SELECT 3"),
                sync(),
                query("DISCARD PLANS"),
                run("s"),
            ]),
        Scenario::named("DEALLOCATE in a failed text")
            .says(&[parse("s", "SELECT 1"), sync()])
            .says(&[query("DEALLOCATE s; SELECT 1/0")])
            .says(&[run("s")])
            .says(&[query("BEGIN; DEALLOCATE ALL; ROLLBACK")])
            .says(&[run("s")]),
        Scenario::named("EXECUTE of a statement of the protocol")
            .says(&[parse("s", "SELECT $1::int + 1"), sync()])
            .says(&[query("EXECUTE s (1)")])
            .says(&[query("EXPLAIN (COSTS off) EXECUTE s (1)")])
            .says(&[query("EXECUTE \"s\"(2); EXECUTE S(3); EXECUTE s('x')")])
            .says(&[query("EXECUTE s (1/0)")])
            .says(&[query("EXECUTE nope")])
            .says(&[unnamed("EXECUTE s (4)"), sync()])
            .says(&[
                parse("e", "EXECUTE s (5)"),
                sync(),
                bind("", "e"),
                execute(""),
                sync(),
            ]),
        Scenario::named("PREPARE and what is made of it")
            .says(&[query("PREPARE p (int) AS SELECT $1 * 2")])
            .says(&[query("EXECUTE p (21)")])
            .says(&[
                describe("p"),
                bind_with("", "p", &["4"]),
                execute(""),
                sync(),
            ])
            .says(&[
                query("PREPARE p AS SELECT 1"),
                parse("p", "SELECT 1"),
                sync(),
            ])
            .says(&[close("p"), sync(), query("EXECUTE p (1)")])
            .says(&[query("PREPARE p AS SELECT 'anew'; EXECUTE p; DEALLOCATE p")]),
        Scenario::named("PREPARE of a name of the protocol's")
            .says(&[parse("s", "SELECT 1"), sync()])
            .says(&[query("PREPARE s AS SELECT 2")])
            .says(&[query("EXECUTE s")])
            .says(&[query("DEALLOCATE s; PREPARE s AS SELECT 2")])
            .says(&[query("EXECUTE s")])
            .says(&[run("s")]),
        Scenario::named("PREPARE, prepared itself, of a name of the protocol's")
            .says(&[parse("s", "SELECT 1"), sync()])
            .says(&[unnamed("PREPARE s AS SELECT 2"), sync(), run("s")])
            .says(&[
                parse("p", "PREPARE s AS SELECT 3"),
                bind("", "p"),
                execute(""),
                sync(),
            ])
            .says(&[
                query("BEGIN"),
                bind("", "p"),
                execute(""),
                sync(),
                query("ROLLBACK"),
                run("s"),
            ])
            .says(&[
                parse("t", "SELECT 4"),
                unnamed("PREPARE t AS SELECT 5"),
                sync(),
                run("t"),
            ])
            .says(&[
                close("s"),
                bind("", "p"),
                execute(""),
                sync(),
                query("EXECUTE s; DEALLOCATE s"),
            ]),
        Scenario::named("PREPARE in a transaction that is rolled back")
            .says(&[query("BEGIN; PREPARE p AS SELECT 1; ROLLBACK")])
            .says(&[query("EXECUTE p; DEALLOCATE p")])
            .says(&[query("PREPARE p AS SELECT 1; SELECT 1/0")])
            .says(&[query("EXECUTE p")]),
        Scenario::named("names that look like ours")
            .says(&[
                parse("dbb_1", "SELECT 'mine'"),
                parse("dbb_~x", "SELECT 'too'"),
                sync(),
            ])
            .says(&[run("dbb_1"), run("dbb_~x"), query("EXECUTE dbb_1")])
            .says(&[close("dbb_1"), sync(), run("dbb_1")]),
        Scenario::named("a name like ours that PREPARE has made is taken")
            .says(&[query("PREPARE dbb_x AS SELECT 'mine'")])
            .says(&[parse("dbb_x", "SELECT 'another'"), sync(), run("dbb_x")])
            .says(&[
                parse(
                    "dbb_x",
                    &format!("SELECT 'long' /* {} */", "x".repeat(1024 * 1024)),
                ),
                sync(),
                run("dbb_x"),
            ])
            .says(&[
                query("DEALLOCATE dbb_x"),
                parse("dbb_x", "SELECT 'another'"),
                sync(),
                run("dbb_x"),
            ]),
        Scenario::named("DEALLOCATE in a batch behind a setting of one's own that may not be set")
            .says(&[query("SELECT set_config('app.x', '11', false) IS NOT NULL")])
            .says(&[parse("n1", "SELECT 1"), parse("n2", "SELECT 2"), sync()])
            .says(&[
                parse("", "SELECT set_config('app.x', '11', false) IS NOT NULL"),
                bind("", ""),
                execute(""),
                query("DEALLOCATE n1"),
            ])
            .says(&[parse("n1", "SELECT 3"), sync(), run("n1"), run("n2")])
            .says(&[
                parse("", "SELECT set_config('app.x', '11', false) IS NOT NULL"),
                bind("", ""),
                execute(""),
                query("DEALLOCATE ALL"),
            ])
            .says(&[
                parse("n1", "SELECT 4"),
                parse("n2", "SELECT 5"),
                sync(),
                run("n1"),
                run("n2"),
            ]),
    ]
}

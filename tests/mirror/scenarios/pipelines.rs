//! Much said before anything is heard, and Flush.

use crate::frames::*;
use crate::scenario::Scenario;

pub fn list() -> Vec<Scenario> {
    let pair = |i: usize| {
        [
            parse(&format!("s{i}"), &format!("SELECT {i}")),
            bind("", &format!("s{i}")),
            execute(""),
        ]
    };
    vec![
        Scenario::named("many before one Sync")
            .says(&[&(0..20).flat_map(pair).collect::<Vec<_>>()[..], &[sync()]].concat()),
        Scenario::named("five hundred in one pipeline").says(
            &(0..500)
                .flat_map(|i| [unnamed(&format!("SELECT {i}")), sync()])
                .collect::<Vec<_>>(),
        ),
        Scenario::named("an error skips up to the Sync")
            .says(&[
                parse("", "SELECT 1"),
                bind("", ""),
                parse("bad", "SELEKT"),
                execute(""),
                query("SELECT 'skipped'"),
                call(177, &["1", "1"]),
                sync(),
                query("SELECT 'not skipped'"),
            ])
            .ready(2),
        Scenario::named("an error in one batch of three").says(&[
            unnamed("SELECT 1"),
            sync(),
            unnamed("SELECT 1/0"),
            unnamed("SELECT 'skipped'"),
            sync(),
            unnamed("SELECT 3"),
            sync(),
        ]),
        Scenario::named("a batch is a transaction")
            .says(&[
                unnamed("INSERT INTO line VALUES (1, 1)"),
                unnamed("SELECT count(*) FROM line"),
                unnamed("SELECT 1/0"),
                sync(),
            ])
            .says(&[query("SELECT count(*) FROM line")]),
        Scenario::named("a Query ends a pipeline")
            .says(&[unnamed("SELECT 1"), query("SELECT 2")])
            .says(&[unnamed("SELECT 1"), call(177, &["1", "1"])]),
        Scenario::named("a Query ends a pipeline that has failed")
            .says(&[unnamed("SELECT 1/0"), query("SELECT 2"), sync()])
            .ready(1),
        Scenario::named("transactions in a pipeline").says(&[
            unnamed("BEGIN"),
            unnamed("SELECT 1"),
            unnamed("COMMIT"),
            unnamed("BEGIN"),
            unnamed("SELECT 2"),
            unnamed("ROLLBACK"),
            sync(),
            unnamed("BEGIN"),
            sync(),
            unnamed("SELECT 1/0"),
            sync(),
            unnamed("ROLLBACK"),
            sync(),
        ]),
        Scenario::named("Flush after each")
            .says(&[parse("s", "SELECT $1::int"), flush()])
            .messages(1)
            .says(&[describe("s"), flush()])
            .messages(2)
            .says(&[bind_with("p", "s", &["5"]), flush()])
            .messages(1)
            .says(&[describe_portal("p"), flush()])
            .messages(1)
            .says(&[execute("p"), flush()])
            .messages(2)
            .says(&[close_portal("p"), close("s"), flush()])
            .messages(2)
            .says(&[sync()]),
        Scenario::named("Parse and Describe with a Flush")
            .says(&[
                parse("s", "SELECT $1::int, $2::text"),
                describe("s"),
                flush(),
            ])
            .messages(3)
            .says(&[bind_with("", "s", &["1", "2"]), execute(""), sync()]),
        Scenario::named("an error is told at once")
            .says(&[parse("", "SELECT 1/0"), bind("", ""), execute(""), flush()])
            .messages(2)
            .says(&[unnamed("SELECT 1"), sync()]),
        Scenario::named("an error of Parse is told at once")
            .says(&[parse("s", "SELEKT"), flush()])
            .messages(1)
            .says(&[parse("s", "SELECT 1"), sync()])
            .says(&[parse("s", "SELECT 1"), bind("", "s"), execute(""), sync()]),
        Scenario::named("Flush then Query").says(&[
            parse("s", "SELECT 1"),
            flush(),
            query("SELECT 2"),
        ]),
        Scenario::named("Sync comes late")
            .says(&[unnamed("INSERT INTO line VALUES (1, 1)"), flush()])
            .messages(3)
            .says(&[unnamed("SELECT count(*) FROM line"), flush()])
            .messages(4)
            .says(&[unnamed("SELECT 1/0"), sync()]),
        Scenario::named("portions across Syncs of one transaction")
            .says(&[
                unnamed("BEGIN"),
                parse("q", "SELECT generate_series(1, 7)"),
                bind("p", "q"),
                execute_some("p", 3),
                sync(),
            ])
            .says(&[execute_some("p", 3), sync()])
            .says(&[
                execute_some("p", 3),
                close_portal("p"),
                unnamed("COMMIT"),
                sync(),
            ]),
        Scenario::named("portions and a Flush")
            .says(&[
                parse("q", "SELECT generate_series(1, 7)"),
                bind("p", "q"),
                execute_some("p", 3),
                flush(),
            ])
            .messages(6)
            .says(&[execute_some("p", 3), flush()])
            .messages(4)
            .says(&[execute_some("p", 3), sync()]),
        Scenario::named("settings in a pipeline").says(&[
            unnamed("SET application_name TO 'one'"),
            unnamed("SHOW application_name"),
            sync(),
            unnamed("SET application_name TO 'two'"),
            unnamed("SELECT 1/0"),
            sync(),
            unnamed("SHOW application_name"),
            sync(),
        ]),
        Scenario::named("statements closed and made again in a pipeline").says(&[
            parse("s", "SELECT 1"),
            bind("", "s"),
            execute(""),
            close("s"),
            parse("s", "SELECT 2"),
            bind("", "s"),
            execute(""),
            close("s"),
            sync(),
            parse("s", "SELECT 3"),
            bind("", "s"),
            execute(""),
            sync(),
        ]),
        Scenario::named("Close of what failed to be").says(&[
            parse("s", "SELECT 1"),
            parse("s", "SELECT 2"),
            close("s"),
            sync(),
            bind("", "s"),
            execute(""),
            sync(),
            parse("t", "SELEKT"),
            sync(),
            close("t"),
            parse("t", "SELECT 3"),
            bind("", "t"),
            execute(""),
            sync(),
        ]),
    ]
}

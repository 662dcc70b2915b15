//! Several clients of one pool: what one of them does is nothing to the others.

use crate::frames::*;
use crate::scenario::Scenario;

pub fn list() -> Vec<Scenario> {
    let run = |name: &str| [bind("", name), execute(""), sync()].concat();
    let long = || format!("SELECT 'long' /* {} */", "x".repeat(1024 * 1024));
    vec![
        Scenario::named("the same name for different statements")
            .says(&[parse("s", "SELECT 'zero'"), sync()])
            .client(1)
            .says(&[parse("s", "SELECT 1, 'one'"), sync()])
            .client(0)
            .says(&[describe("s"), run("s")])
            .client(1)
            .says(&[describe("s"), run("s"), close("s"), sync()])
            .client(0)
            .says(&[run("s")])
            .client(1)
            .says(&[run("s")]),
        Scenario::named("the same statement under different names")
            .says(&[parse("a", "SELECT id FROM item"), sync()])
            .client(1)
            .says(&[parse("b", "SELECT id FROM item"), sync(), run("b"), query("DEALLOCATE b")])
            .client(0)
            .says(&[run("a"), query("EXECUTE a")])
            .client(1)
            .says(&[run("b"), query("DEALLOCATE ALL")])
            .client(0)
            .says(&[run("a")]),
        prepared_under_another_path("by a parameter", &[
            parse("", "SELECT set_config('search_path', $1, true)"),
            bind_with("", "", &["other"]),
            execute(""),
        ]),
        prepared_under_another_path("by a name put together", &[unnamed("SELECT set_config('search_' || 'path', 'other', true)")]),
        prepared_under_another_path("if there is a row", &[unnamed("SELECT set_config('search_path', 'other', true) FROM item WHERE id = 1")]),
        Scenario::named("the same statement, whose constants read otherwise")
            .says(&[query("SET bytea_output TO escape; SET extra_float_digits TO -3; SET timezone_abbreviations TO 'India'")])
            .says(&[parse("s", CONSTANTS), sync(), run("s")])
            .client(1)
            .says(&[parse("s", CONSTANTS), sync(), run("s")])
            .client(0)
            .says(&[run("s")])
            .client(1)
            .says(&[run("s")]),
        Scenario::named("unnamed statements of two clients")
            .says(&[parse("", "SELECT 'zero'"), sync()])
            .client(1)
            .says(&[run("")])
            .says(&[parse("", "SELECT 'one'"), sync()])
            .client(0)
            .says(&[describe(""), run("")])
            .client(1)
            .says(&[run(""), query("SELECT 1"), run("")])
            .client(0)
            .says(&[run("")]),
        Scenario::named("open transactions side by side")
            .on(2)
            .says(&[query("BEGIN; INSERT INTO line VALUES (1, 1)")])
            .client(1)
            .says(&[query("SELECT count(*) FROM line"), query("BEGIN; INSERT INTO line VALUES (2, 2)")])
            .client(0)
            .says(&[query("SELECT count(*) FROM line"), query("ROLLBACK")])
            .client(1)
            .says(&[query("SELECT count(*) FROM line"), query("ROLLBACK"), query("SELECT count(*) FROM line")]),
        Scenario::named("an open transaction of one who goes")
            .says(&[query("BEGIN; INSERT INTO line VALUES (1, 1); SET work_mem TO '1MB'")])
            .leaves()
            .client(1)
            .says(&[query("SELECT count(*) FROM line"), query("SHOW work_mem"), query("ROLLBACK")]),
        Scenario::named("an open transaction of one who vanishes")
            .says(&[query("BEGIN; INSERT INTO line VALUES (1, 1); SELECT 1/0")])
            .vanishes()
            .client(1)
            .says(&[query("SELECT count(*) FROM line"), query("ROLLBACK")]),
        Scenario::named("who vanishes in the middle of a long answer")
            .says(&[query("SELECT repeat('x', 100000) FROM generate_series(1, 500)")])
            .messages(2)
            .vanishes()
            .client(1)
            .says(&[query("SELECT 'mine'")]),
        Scenario::named("who vanishes with a pipeline under way")
            .says(&[unnamed("SELECT 1"), sync(), unnamed("SELECT pg_sleep(0.05)"), sync(), unnamed("SELECT 3"), sync()])
            .ready(1)
            .vanishes()
            .client(1)
            .says(&[unnamed("SELECT 'mine'"), sync()]),
        Scenario::named("state of one who goes is gone")
            .says(&[query("CREATE TEMP TABLE item AS SELECT 1 AS mine; SET work_mem TO '1MB'; LISTEN x; PREPARE p AS SELECT 1")])
            .leaves()
            .client(1)
            .says(&[query("SELECT count(*) FROM item"), query("SHOW work_mem"), query("SELECT pg_listening_channels()"), query("EXECUTE p")]),
        Scenario::named("advisory locks")
            .on(2)
            .says(&[query("SELECT pg_advisory_lock(1)")])
            .client(1)
            .says(&[query("SELECT pg_try_advisory_lock(1)"), query("SELECT pg_try_advisory_lock(2)")])
            .client(0)
            .says(&[query("SELECT pg_advisory_unlock(1)"), query("SELECT pg_try_advisory_lock(2)")])
            .client(1)
            .says(&[query("SELECT pg_try_advisory_lock(1), pg_advisory_unlock_all()")])
            .client(0)
            .says(&[query("SELECT pg_try_advisory_lock(1)")]),
        Scenario::named("what pinned one is gone, and the other is served")
            .says(&[query("DECLARE c NO SCROLL CURSOR WITH HOLD FOR SELECT generate_series(1, 5)"), query("FETCH 2 FROM c"), query("CLOSE c")])
            .client(1)
            .says(&[query("SELECT 1")])
            .client(0)
            .says(&[query("BEGIN"), query("CREATE TEMP TABLE mine (i int) ON COMMIT DROP"), query("INSERT INTO mine VALUES (1)"), query("COMMIT")])
            .client(1)
            .says(&[query("SELECT 2"), query("CREATE TEMP TABLE mine (i int)"), unnamed("DROP TABLE mine"), sync()])
            .client(0)
            .says(&[query("SELECT pg_try_advisory_lock(78)"), unnamed("SELECT pg_advisory_unlock(78)"), sync()])
            .client(1)
            .says(&[query("BEGIN; LISTEN news; LISTEN more; COMMIT"), query("UNLISTEN more"), query("UNLISTEN news")])
            .client(0)
            .says(&[query("SELECT 3"), query("SELECT pg_listening_channels()"), query("FETCH c"), query("SELECT * FROM mine")]),
        Scenario::named("code that leaves nothing pins nobody, nor does what no database knows")
            .says(&[query("DO 'BEGIN CREATE TYPE mood AS ENUM(''set a'', ''b''); EXCEPTION WHEN duplicate_object THEN null; END'")])
            .client(1)
            .says(&[query("SELECT 1"), query("FROBNICATE"), unnamed("DO $$ BEGIN ALTER TYPE mood ADD VALUE 'c'; END $$"), sync()])
            .client(0)
            .says(&[query("BEGIN; SELECT 2"), query("FROBNICATE"), query("ROLLBACK")])
            .client(1)
            .says(&[query("SELECT 'c'::mood::text"), query("DO $$ BEGIN PERFORM 1/0; END $$")])
            .client(0)
            .says(&[query("SELECT 3"), query("DROP TYPE mood")]),
        Scenario::named("code that shows what it leaves")
            .on(2)
            .says(&[query("DO $$ BEGIN SET work_mem TO '1MB'; PERFORM set_config('app.mine', 'x', false); END $$")])
            .client(1)
            .says(&[query("SHOW work_mem"), query("DO $$ BEGIN CREATE TEMP TABLE mine AS SELECT 7 AS i; END $$")])
            .client(0)
            .says(&[query("SHOW work_mem"), query("SHOW app.mine"), query("SELECT i FROM mine")])
            .client(1)
            .says(&[query("SELECT i FROM mine")]),
        Scenario::named("code that makes a table where temporary ones are made")
            .on(2)
            .says(&[query("SET search_path TO pg_temp, public; DO $$ BEGIN CREATE TABLE mine AS SELECT 7 AS i; END $$")])
            .client(1)
            .says(&[query("SELECT 1")])
            .client(0)
            .says(&[query("SELECT i FROM mine")]),
        Scenario::named("a part of what pins one is gone")
            .on(2)
            .says(&[query("LISTEN news; LISTEN more"), query("UNLISTEN more")])
            .says(&[query("SELECT pg_advisory_lock(1), pg_advisory_lock(1)"), query("SELECT pg_advisory_unlock(1)")])
            .says(&[query("CREATE TEMP TABLE one (i int); CREATE TEMP TABLE two (i int); DROP TABLE one")])
            .client(1)
            .says(&[query("NOTIFY more"), query("NOTIFY news"), query("SELECT pg_try_advisory_lock(1)")])
            .client(0)
            .says(&[]).messages(1)
            .says(&[query("SELECT * FROM two"), query("SELECT pg_advisory_unlock(1)"), query("DROP TABLE two; UNLISTEN news")])
            .client(1)
            .says(&[query("SELECT pg_try_advisory_lock(1)"), query("SELECT pg_advisory_unlock(1)")]),
        Scenario::named("a lock that was not got")
            .on(2)
            .says(&[query("SELECT pg_advisory_lock(1)")])
            .client(1)
            .says(&[query("SELECT pg_try_advisory_lock(1)")])
            .client(2)
            .says(&[query("SELECT 1")])
            .client(0)
            .says(&[query("SELECT pg_advisory_unlock_all()")]),
        Scenario::named("a statement under a name that is like one of the shared ones, prepared in SQL")
            .says(&[query("PREPARE dbb_mine AS SELECT 'mine'"), run("dbb_mine"), close("dbb_mine"), sync(), run("dbb_mine")])
            .says(&[query("PREPARE dbb_mine AS SELECT 'mine'"), query("DEALLOCATE dbb_mine")])
            .client(1)
            .says(&[query("EXECUTE dbb_mine")]),
        Scenario::named("statements too long to be read, under names that are taken or like one of the shared ones")
            .says(&[parse("s", "SELECT 1"), sync(), parse("s", &long()), sync()])
            .says(&[parse("dbb_s", &long()), sync(), run("dbb_s"), close("dbb_s"), sync(), run("dbb_s")])
            .leaves()
            .client(1)
            .says(&[query("EXECUTE s"), run("s")]),
        Scenario::named("a name like one of the shared statements")
            .says(&[query("PREPARE dbb_77777777 AS SELECT 'mine'"), query("EXECUTE dbb_77777777")])
            .leaves()
            .client(1)
            .says(&[query("EXECUTE dbb_77777777")]),
        Scenario::named("buffers for temporary tables where others have used some")
            .says(&[query("SELECT nextval('counter') > 0; SELECT lastval() > 0; DISCARD SEQUENCES")])
            .says(&[query("CREATE TEMP TABLE mine AS SELECT 1"), query("DISCARD TEMP")])
            .client(1)
            .opens(&[("temp_buffers", "200")])
            .says(&[query("SHOW temp_buffers"), query("CREATE TEMP TABLE mine AS SELECT 1"), query("DISCARD TEMP")])
            .client(0)
            .says(&[query("SHOW temp_buffers"), query("CREATE TEMP TABLE mine AS SELECT 1"), query("DISCARD TEMP")])
            .client(1)
            .says(&[query("SHOW temp_buffers"), parse("s", "SHOW temp_buffers"), sync(), run("s")])
            .client(2)
            .opens(&[("temp_buffers", "300")])
            .says(&[query("SHOW temp_buffers")]),
        Scenario::named("what is asked of a backend waits for no safe snapshot")
            .on(3)
            // From now on backends forget values of sequences.
            .says(&[query("SELECT nextval('counter') > 0; SELECT lastval() > 0; DISCARD SEQUENCES")])
            .says(&[query("BEGIN ISOLATION LEVEL SERIALIZABLE; INSERT INTO line VALUES (1, 1)")])
            .client(1)
            .says(&[query("BEGIN; SELECT 1")])
            .client(2)
            .says(&[query("LISTEN one; LISTEN two")])
            .says(&[query("SET default_transaction_isolation TO serializable; SET default_transaction_read_only TO on")])
            .says(&[query("SET default_transaction_deferrable TO on"), query("UNLISTEN one"), query("UNLISTEN two")])
            .client(3)
            .says(&[query("SELECT 'served'")])
            .client(2)
            .says(&[query("BEGIN ISOLATION LEVEL READ COMMITTED; SELECT run('LISTEN three'); COMMIT")])
            .client(3)
            .says(&[query("SELECT 'served'")])
            .client(0)
            .says(&[query("ROLLBACK")])
            .client(2)
            .says(&[query("RESET default_transaction_deferrable")]),
        Scenario::named("a long name of many bytes for each character")
            .says(&[query(&format!("PREPARE {0} AS SELECT 'mine'", "a\u{e4}".repeat(30))), query(&format!("EXECUTE {0}", "a\u{e4}".repeat(30)))])
            .says(&[query(&format!("DEALLOCATE {0}", "a\u{e4}".repeat(21)))])
            .client(1)
            .says(&[query("SELECT 1")]),
        // To some servers it does, and others leave the batch's transaction open (ReadyForQuery 'T').
        Scenario::named("a function call ends a batch")
            .on(2)
            .says(&[unnamed("SELECT 1"), call(177, &["2", "3"])])
            .client(1)
            .says(&[query("SELECT 1")])
            .client(0)
            .says(&[query("SELECT 1")]),
        Scenario::named("notifications between two")
            .on(2)
            .says(&[query("LISTEN news")])
            .client(1)
            .says(&[query("BEGIN; NOTIFY news, 'never'; ROLLBACK"), query("NOTIFY news, 'now'")])
            .client(0)
            .says(&[]).messages(1)
            .says(&[query("UNLISTEN *")]),
        Scenario::named("temporary tables of two")
            .on(2)
            .says(&[query("CREATE TEMP TABLE mine AS SELECT 'zero'")])
            .client(1)
            .says(&[query("SELECT * FROM mine"), query("CREATE TEMP TABLE mine AS SELECT 'one'"), query("SELECT * FROM mine")])
            .client(0)
            .says(&[query("SELECT * FROM mine"), query("DROP TABLE mine"), query("SELECT * FROM mine")]),
        Scenario::named("values of a sequence")
            .says(&[query("SELECT nextval('counter') > 0")])
            .client(1)
            .says(&[query("BEGIN; SELECT nextval('counter') > 0"), query("SELECT currval('counter') > 0"), query("ROLLBACK")])
            .says(&[query("DISCARD SEQUENCES")])
            .client(2)
            .says(&[query("SELECT currval('counter') > 0")])
            .says(&[query("SELECT lastval() > 0; DISCARD SEQUENCES")])
            .client(1)
            .says(&[unnamed("SELECT nextval('counter') > 0"), unnamed("SELECT lastval() = currval('counter')"), sync()])
            .says(&[query("SELECT lastval() = currval('counter')"), query("DISCARD SEQUENCES")]),
        Scenario::named("the first who asks for the value of a sequence")
            .says(&[query("SELECT nextval('counter') > 0")])
            .client(1)
            .says(&[query("BEGIN"), query("SELECT 1")])
            .says(&[query("SELECT lastval() > 0"), query("ROLLBACK")])
            .client(0)
            .says(&[query("SELECT nextval('counter') > 0")])
            .client(1)
            .says(&[query("BEGIN"), unnamed("SELECT 1"), sync(), unnamed("SELECT currval('counter') > 0"), sync(), query("ROLLBACK")]),
        Scenario::named("what functions of their own leave")
            .says(&[query("SELECT run('SET work_mem TO ''7MB''; SET app.tenant TO ''seven''')")])
            .client(1)
            .says(&[query("SHOW work_mem"), query("SELECT coalesce(current_setting('app.tenant', true), '')")])
            .client(0)
            .says(&[parse("f", "SELECT run($1)"), sync(), bind_with("", "f", &["PREPARE mine AS SELECT 1"]), execute(""), sync()])
            .says(&[bind_with("", "f", &["LISTEN news"]), execute(""), sync()])
            .client(1)
            .says(&[query("EXECUTE mine"), query("SELECT pg_listening_channels()")])
            .client(0)
            .says(&[query("BEGIN"), bind_with("", "f", &["SELECT pg_advisory_lock(77)"]), execute(""), sync(), query("SELECT 1/0"), query("ROLLBACK")])
            .client(1)
            .says(&[query("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()")]),
        Scenario::named("a statement prepared where a function has set the time zone")
            .says(&[parse("z", "SELECT '2001-02-03 04:05'::timestamptz = '2001-02-03 04:05+09'"), sync(), run("z")])
            .client(1)
            .says(&[query("BEGIN; SELECT run('SET TimeZone TO ''Asia/Tokyo''')"), query("SHOW TimeZone")])
            .says(&[parse("z", "SELECT '2001-02-03 04:05'::timestamptz = '2001-02-03 04:05+09'"), sync(), run("z"), query("COMMIT")])
            .leaves()
            .client(0)
            .says(&[run("z")]),
        Scenario::named("a temporary table that stood before another, and what was prepared meanwhile")
            .says(&[parse("s", "SELECT * FROM item"), sync()])
            .client(1)
            .says(&[query("CREATE TEMP TABLE item AS SELECT 'mine'"), parse("s", "SELECT * FROM item"), sync(), run("s")])
            .says(&[query("DISCARD TEMP")])
            .client(0)
            .says(&[run("s")])
            .client(1)
            .says(&[query("BEGIN; CREATE TEMP TABLE item AS SELECT 'mine'"), parse("t", "SELECT * FROM item"), sync(), run("t")])
            .says(&[query("ROLLBACK")])
            .client(0)
            .says(&[run("s")])
            .client(1)
            .says(&[query("CREATE TEMP TABLE item AS SELECT 'mine'"), parse("u", "SELECT * FROM item"), sync(), run("u")])
            .leaves()
            .client(0)
            .says(&[run("s")]),
        Scenario::named("a FunctionCall that asks for the value of a sequence")
            .says(&[query("SELECT nextval('counter') > 0")])
            .client(1)
            // lastval()
            .says(&[call(2559, &[])])
            .says(&[unnamed("SELECT 1"), sync()]),
        Scenario::named("what a FunctionCall leaves")
            // pg_advisory_lock(bigint)
            .says(&[call(2880, &["78"])])
            .client(1)
            .says(&[query("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()")]),
        Scenario::named("cursors of two")
            .on(2)
            .says(&[query("BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT generate_series(1, 5); COMMIT")])
            .client(1)
            .says(&[query("FETCH c"), query("DECLARE c CURSOR WITH HOLD FOR SELECT 'one'"), query("FETCH c")])
            .client(0)
            .says(&[query("FETCH 2 FROM c"), query("CLOSE c"), query("FETCH c")])
            .client(1)
            .says(&[query("FETCH c"), query("CLOSE ALL")]),
        Scenario::named("a result type changes for two")
            .says(&[query("CREATE TABLE shape (a int)"), parse("s", "SELECT * FROM shape"), sync(), run("s")])
            .client(1)
            .says(&[query("ALTER TABLE shape ADD COLUMN b int")])
            .says(&[parse("s", "SELECT * FROM shape"), sync(), describe("s"), run("s")])
            .client(2)
            .says(&[parse("t", "SELECT * FROM shape"), sync(), run("t"), query("DROP TABLE shape")]),
    ]
}

/// One client sets the search path for its transaction, in a way that does not show to what, and prepares there what
/// another client has prepared without.
fn prepared_under_another_path(how: &str, set: &[Frame]) -> Scenario {
    let run = || [bind("", "s"), execute(""), sync()].concat();
    Scenario::named(format!("a search path for a transaction, {how}"))
        .client(1)
        .says(&[parse("s", "SELECT * FROM item"), sync(), run()])
        .client(0)
        .says(&[query("BEGIN"), set.concat(), sync()])
        .says(&[
            parse("s", "SELECT * FROM item"),
            describe("s"),
            sync(),
            run(),
            query("COMMIT"),
        ])
        .client(1)
        .says(&[run()])
}

/// What these are worth depends on settings, and is found out when a plan is made.
const CONSTANTS: &str =
    r"SELECT '\x41'::bytea::text, 0.1::float8::text, '2020-01-01 12:00 IST'::timestamptz";

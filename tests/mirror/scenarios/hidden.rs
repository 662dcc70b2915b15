//! Texts that hide what they do to the session: who reads them otherwise than the database leaves it to the next client.

use crate::frames::*;
use crate::scenario::Scenario;

pub fn list() -> Vec<Scenario> {
    let show = |name: &str| query(&format!("SHOW {name}"));
    let scratch =
        || query("SELECT to_regclass('scratch') IS NULL, to_regclass('pg_temp.scratch') IS NULL");
    let locks = || {
        query(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()",
        )
    };
    vec![
        Scenario::named("an argument that is called begin")
            .says(&[query(
                "BEGIN; CREATE FUNCTION lies_within(begin date, d date) RETURNS bool LANGUAGE sql AS 'SELECT true'; \
                 ROLLBACK; SET work_mem TO '64MB'",
            )])
            .client(1)
            .says(&[show("work_mem")])
            .client(0)
            .says(&[show("work_mem")]),
        Scenario::named("a body of SQL, and what stands behind it")
            .says(&[query(
                "BEGIN; CREATE FUNCTION one(begin int) RETURNS int BEGIN ATOMIC \
                 SELECT CASE WHEN true THEN 1 END; SELECT 2; END; ROLLBACK; SET work_mem TO '64MB'",
            )])
            .client(1)
            .says(&[show("work_mem")])
            .client(0)
            .says(&[show("work_mem")]),
        Scenario::named("a literal that goes on in the next line")
            .says(&[query("SELECT E'a'\n'\\''; SET work_mem TO '64MB'; SELECT 1")])
            .client(1)
            .says(&[show("work_mem")])
            .client(0)
            .says(&[show("work_mem"), query("SET lock_timeout TO '1'\n -- more of it:\n '000'; SHOW lock_timeout")]),
        Scenario::named("backslashes that escape since the statement before")
            .says(&[
                unnamed("SET standard_conforming_strings TO off"),
                unnamed(r"SELECT 'a\'b', set_config('work_mem', '64MB', false), 'c'"),
                sync(),
            ])
            .leaves()
            .client(1)
            .says(&[show("work_mem")]),
        Scenario::named("backslashes that escape no longer since the statement before, as the client began")
            .opens(&[("options", "-c standard_conforming_strings=off -c escape_string_warning=off")])
            // The answer is the same, and empty, whichever way this is read.
            .says(&[
                unnamed("RESET standard_conforming_strings"),
                unnamed(r"SELECT 1 WHERE '\'||set_config($$work_mem$$, $$64MB$$, false) IS NULL--'='x'"),
                sync(),
            ])
            .leaves()
            .client(1)
            .says(&[show("work_mem")]),
        Scenario::named("backslashes that escape for the transaction, and it does not show")
            .says(&[
                unnamed("SELECT set_config('standard_conforming_strings', lower('OFF'), true)"),
                unnamed(r"SELECT '\'' || set_config($$work_mem$$, $$64MB$$, false) || '\''"),
                sync(),
            ])
            .leaves()
            .client(1)
            .says(&[show("work_mem")]),
        Scenario::named("a temporary table that is selected into")
            .says(&[query("SELECT 7 AS i INTO pg_temp.scratch"), scratch()])
            .leaves()
            .client(1)
            .says(&[scratch()]),
        Scenario::named("a temporary table that is explained")
            .says(&[
                query("EXPLAIN (ANALYZE, BUFFERS off, COSTS off, TIMING off, SUMMARY off) CREATE TABLE pg_temp.scratch AS SELECT 7 AS i"),
                scratch(),
            ])
            .leaves()
            .client(1)
            .says(&[scratch()]),
        Scenario::named("a temporary table by the search path")
            .says(&[query("SET search_path TO pg_temp, public; CREATE TABLE scratch (i int)"), scratch()])
            .leaves()
            .client(1)
            .says(&[scratch()]),
        Scenario::named("a temporary table by the end of the search path")
            .says(&[query("SET search_path TO nowhere, pg_temp; CREATE TABLE scratch (i int)"), scratch()])
            .leaves()
            .client(1)
            .says(&[scratch()]),
        Scenario::named("a temporary table of what was selected, by the end of the search path")
            .says(&[
                query("SET search_path TO nowhere, pg_temp"),
                query("CREATE TABLE scratch AS SELECT 7 AS i"),
                scratch(),
            ])
            .leaves()
            .client(1)
            .says(&[scratch()]),
        Scenario::named("a temporary table by a search path that led to another, which is dropped")
            .says(&[
                query("SET search_path TO pg_temp, public; CREATE TABLE gone (i int)"),
                query("DROP TABLE gone"),
                query("SELECT 7 AS i INTO scratch"),
                scratch(),
            ])
            .leaves()
            .client(1)
            .says(&[scratch()]),
        Scenario::named("a temporary table by the search path of a transaction")
            .says(&[
                query("BEGIN; SELECT set_config('search_path', 'pg_temp', true)"),
                unnamed("CREATE TABLE scratch (i int)"),
                sync(),
                query("COMMIT"),
                scratch(),
            ])
            .leaves()
            .client(1)
            .says(&[scratch()]),
        Scenario::named("a temporary table by a search path put together")
            .says(&[
                query("BEGIN; SELECT set_config('search_path', lower('PG_TEMP'), true)"),
                query("CREATE TABLE scratch AS SELECT 7 AS i"),
                query("COMMIT"),
                scratch(),
            ])
            .leaves()
            .client(1)
            .says(&[scratch()]),
        Scenario::named("a temporary table by a search path with a name that cannot be followed")
            .says(&[query("SET search_path TO pg_temp, \"\u{e4}\""), query("CREATE TABLE scratch (i int)"), scratch()])
            .leaves()
            .client(1)
            .says(&[scratch()]),
        Scenario::named("a temporary table by a search path set for each row")
            .says(&[
                query("SELECT set_config('search_path', 'pg_temp', false) FROM generate_series(1, 2)"),
                query("CREATE TABLE scratch (i int)"),
                scratch(),
            ])
            .leaves()
            .client(1)
            .says(&[scratch()]),
        Scenario::named("a portal of the protocol, from which SQL fetches")
            .says(&[query("BEGIN"), parse("", "SELECT set_config('work_mem', '64MB', false)"), bind("p", ""), sync()])
            .says(&[query("FETCH ALL FROM p"), query("COMMIT")])
            .leaves()
            .client(1)
            .says(&[show("work_mem"), query("BEGIN"), parse("", "SELECT pg_advisory_lock(77)"), bind("p", ""), sync()])
            .says(&[query("MOVE ALL FROM p"), query("COMMIT")])
            .leaves()
            .client(2)
            .says(&[locks()]),
        Scenario::named("a setting that is written and not set")
            .says(&[query("SET app.tenant TO '7'")])
            .client(1)
            .says(&[query("SET app.tenant TO '8'")])
            .says(&[query("SELECT coalesce(current_setting('app.tenant', true), set_config('app.tenant', '7', false))")])
            .leaves()
            .client(0)
            .says(&[show("app.tenant")])
            .client(2)
            .says(&[query("SET app.tenant TO '8'"), parse("", "SELECT false AND set_config('app.tenant', $1, false) = ''")])
            .says(&[bind_with("", "", &["7"]), execute(""), sync()])
            .leaves()
            .client(0)
            .says(&[show("app.tenant")]),
        Scenario::named("a setting, and what is done beside it")
            .says(&[query("DECLARE kept CURSOR WITH HOLD FOR SELECT 'mine', set_config('work_mem', '64MB', false)")])
            .leaves()
            .client(1)
            .says(&[query("FETCH ALL FROM kept"), parse("s", "SELECT $1::text"), sync()])
            .says(&[query("PREPARE s AS SELECT set_config('work_mem', '64MB', false)")])
            .says(&[query("EXECUTE s(set_config('work_mem', '64MB', false))")])
            .leaves()
            .client(2)
            .says(&[query("SELECT pg_advisory_lock(3)"), query("SELECT pg_advisory_unlock(3), set_config('work_mem', '64MB', false)")])
            .client(3)
            .says(&[show("work_mem"), query("EXECUTE s('x')")]),
        Scenario::named("functions of their own, where they do not show at once")
            .says(&[query("CREATE FUNCTION sets() RETURNS int LANGUAGE plpgsql AS 'BEGIN SET work_mem TO ''7MB''; RETURN 1; END'")])
            .says(&[query("SELECT (ARRAY[1, 2])[1:sets()]")])
            .client(1)
            .says(&[show("work_mem")])
            .client(0)
            .says(&[parse("s", "SELECT sets()"), sync(), query("CREATE TABLE scratch AS EXECUTE s")])
            .client(1)
            .says(&[show("work_mem"), query("DROP TABLE scratch; DROP FUNCTION sets")]),
        Scenario::named("functions of their own that have the names of keywords")
            .says(&[query("CREATE FUNCTION isnull(int) RETURNS int LANGUAGE plpgsql AS 'BEGIN SET work_mem TO ''7MB''; RETURN $1; END'")])
            .says(&[query("SELECT isnull(1)")])
            .client(1)
            .says(&[show("work_mem"), query("DROP FUNCTION isnull")]),
        Scenario::named("names in escapes")
            .says(&[query(r#"CREATE TABLE U&"pg\005ftemp".scratch (i int)"#), query(r#"PREPARE U&"\0078" AS SELECT 42"#)])
            .leaves()
            .client(1)
            .says(&[scratch(), query("EXECUTE x")])
            .says(&[query(r#"BEGIN; SAVEPOINT a; SET work_mem TO '64MB'; SAVEPOINT U&"\0061"; SET work_mem TO '9MB'; ROLLBACK TO a; COMMIT"#)])
            .leaves()
            .client(2)
            .says(&[show("work_mem")]),
        Scenario::named("the view of settings, which a statement prepared in SQL updates")
            .says(&[query("PREPARE x AS UPDATE pg_settings SET setting = '65536' WHERE name = 'work_mem'")])
            .says(&[bind("", "x"), execute(""), sync(), query("DEALLOCATE x")])
            .leaves()
            .client(1)
            .says(&[show("work_mem")]),
        Scenario::named("bodies of SQL with labels that end them seemingly")
            .says(&[query("BEGIN; CREATE FUNCTION one() RETURNS int BEGIN ATOMIC SELECT 1 AS case; END; ROLLBACK; SET work_mem TO '64MB'")])
            .client(1)
            .says(&[show("work_mem")])
            .says(&[query(
                "BEGIN; CREATE FUNCTION one() RETURNS int BEGIN ATOMIC SELECT 1 AS end; SELECT 2; END; ROLLBACK; SET work_mem TO '65MB'",
            )])
            .client(2)
            .says(&[show("work_mem")])
            .client(0)
            .says(&[show("work_mem")]),
        Scenario::named("a portal that is executed again")
            .says(&[query("SET app.tenant TO '7'")])
            .client(1)
            .says(&[query("BEGIN"), parse("", "SELECT set_config('app.tenant', '7', false)"), bind("p", ""), execute("p"), sync()])
            .says(&[query("SET app.tenant TO '8'"), execute("p"), sync(), query("COMMIT")])
            .leaves()
            .client(0)
            .says(&[show("app.tenant")]),
        Scenario::named("locks that are given back in what is not run")
            .says(&[query("SELECT pg_advisory_lock(5)"), query("SELECT coalesce('x', pg_advisory_unlock_all()::text)")])
            .leaves()
            .client(1)
            .says(&[locks(), query("SELECT pg_advisory_lock(5), 1/0")])
            .client(2)
            .says(&[locks()]),
        Scenario::named("a lock by a statement that was prepared in SQL")
            .says(&[query("PREPARE l AS SELECT pg_advisory_lock(21)"), query("SELECT pg_advisory_unlock_all()")])
            .says(&[bind("", "l"), execute(""), sync(), query("DEALLOCATE l")])
            .leaves()
            .client(1)
            .says(&[locks()]),
        Scenario::named("two names for one setting")
            .says(&[query("SET work_mem TO '1MB'; SET sort_mem TO '2MB'")])
            .client(1)
            .says(&[query("SET work_mem TO '1MB'; SELECT set_config('vacuum_mem', '3MB', false)"), show("work_mem")])
            .client(0)
            .says(&[show("work_mem"), show("maintenance_work_mem"), query("RESET sort_mem")])
            .client(1)
            .says(&[show("work_mem"), show("maintenance_work_mem")]),
    ]
}

//! Texts that hide what they do to the session: who reads them otherwise than the database leaves it to the next client.

use crate::frames::*;
use crate::scenario::Scenario;

pub fn list() -> Vec<Scenario> {
    let show = |name: &str| query(&format!("SHOW {name}"));
    let scratch =
        || query("SELECT to_regclass('scratch') IS NULL, to_regclass('pg_temp.scratch') IS NULL");
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
    ]
}

//! Settings of a session, through its transactions and in the company of others who set the same.
//!
//! Two things differ, and are not played:
//!
//! - RESET of what a startup parameter had set goes back to that parameter at the end of its Query. Statements behind
//!   it in the same Query see the database's own default.
//! - A setting of an application's own (`app.tenant`) that a backend has ever known reads as the empty string, and not
//!   as NULL, by `current_setting('app.tenant', true)`, when it is not set. So it does on a direct connection once it
//!   has been set and reset.

use testbed::raw::message;

use crate::frames::*;
use crate::scenario::Scenario;

pub fn list() -> Vec<Scenario> {
    let show = |name: &str| query(&format!("SHOW {name}"));
    let current = |name: &str| {
        query(&format!(
            "SELECT coalesce(current_setting('{name}', true), '')"
        ))
    };
    vec![
        Scenario::named("SET of what is reported").says(&[
            query("SET client_encoding TO latin1; SET TimeZone TO 'Asia/Tokyo'; SET application_name TO 'x'"),
            query("SELECT chr(228)"),
            query("SELECT '2001-02-03 04:05+06'::timestamptz"),
            query("RESET client_encoding; RESET TimeZone; RESET application_name"),
            query("SET DateStyle TO german, ymd; SELECT '2001-02-03'::date; SET intervalstyle = iso_8601"),
        ]),
        Scenario::named("values that are spelt otherwise").says(&[
            query("SET TimeZone TO 'utc'; SHOW TimeZone"),
            query("SET client_encoding TO 'Utf-8'; SHOW client_encoding"),
            query("SET TIME ZONE 5; SHOW TimeZone; SET TIME ZONE LOCAL; SHOW TimeZone"),
            query("SET TIME ZONE INTERVAL '-08:00' HOUR TO MINUTE; SHOW TimeZone"),
            query("SET statement_timeout TO '1min'; SHOW statement_timeout"),
            query("SET work_mem TO 1024; SHOW work_mem"),
            query("SET NAMES 'latin1'; SHOW client_encoding; SET NAMES; SHOW client_encoding"),
            query("SET search_path TO a, \"B c\", 'd''e'; SHOW search_path"),
            query("SET SCHEMA 'other'; SHOW search_path"),
            query("SET SESSION lock_timeout = 7; SHOW lock_timeout"),
            query("SET extra_float_digits TO -3; SELECT 1.0::float8 / 3"),
        ]),
        Scenario::named("values that are refused").says(&[
            query("SET work_mem TO 'nonsense'"),
            query("SET nonsense TO 1"),
            query("SET TimeZone TO 'Nowhere'"),
            query("SET log_min_messages TO debug1"),
            query("SET role TO nobody_of_this_name"),
            query("SET client_encoding TO 'nonsense'"),
            show("work_mem"),
        ]),
        Scenario::named("SET in a transaction that is rolled back").says(&[
            query("SET work_mem TO '7MB'"),
            query("BEGIN; SET work_mem TO '8MB'; SET application_name TO 'inside'; SET app.tenant TO '1'"),
            show("work_mem"),
            query("ROLLBACK"),
            show("work_mem"),
            current("app.tenant"),
            query("BEGIN; SET work_mem TO '8MB'; SELECT 1/0"),
            query("COMMIT"),
            show("work_mem"),
        ]),
        Scenario::named("SET LOCAL").says(&[
            query("SET work_mem TO '7MB'"),
            query("BEGIN; SET LOCAL work_mem TO '8MB'; SET LOCAL application_name TO 'local'; SHOW work_mem"),
            query("COMMIT"),
            show("work_mem"),
            query("BEGIN; SET LOCAL work_mem TO '8MB'; SET work_mem TO '9MB'; COMMIT"),
            show("work_mem"),
            query("BEGIN; SET work_mem TO '10MB'; SET LOCAL work_mem TO '8MB'; COMMIT"),
            show("work_mem"),
        ]),
        Scenario::named("SET and savepoints").says(&[
            query("BEGIN; SET work_mem TO '1MB'; SAVEPOINT a; SET work_mem TO '2MB'; SAVEPOINT b; SET work_mem TO '3MB'"),
            query("ROLLBACK TO b; SHOW work_mem"),
            query("ROLLBACK TO a; SHOW work_mem; SET work_mem TO '4MB'; RELEASE a"),
            query("COMMIT"),
            show("work_mem"),
        ]),
        Scenario::named("SET in a text that fails").says(&[
            query("SET work_mem TO '5MB'; SELECT 1/0"),
            show("work_mem"),
            query("SET work_mem TO '5MB'; COMMIT; SELECT 1/0"),
            show("work_mem"),
        ]),
        Scenario::named("set_config").says(&[
            query("SELECT set_config('app.tenant', 'it''s', false)"),
            current("app.tenant"),
            query("SELECT set_config('app.tenant', 'local', true)"),
            current("app.tenant"),
            query("BEGIN; SELECT set_config('app.tenant', 'inside', true), set_config('work_mem', '6MB', false)"),
            current("app.tenant"),
            query("ROLLBACK"),
            current("app.tenant"),
            show("work_mem"),
            query("SELECT set_config('app.' || 'tenant', 'put together', false)"),
            current("app.tenant"),
            query("DISCARD ALL"),
            current("app.tenant"),
        ]),
        Scenario::named("set_config with parameters")
            .says(&[parse("s", "SELECT set_config($1, $2, false)"), bind_with("", "s", &["app.tenant", "by parameter"]), execute(""), sync()])
            .says(&[current("app.tenant"), query("DISCARD ALL"), current("app.tenant")]),
        Scenario::named("what parameters set follows its client")
            .says(&[parse("s", "SELECT set_config($1, $2, false), set_config('statement_timeout', $3::text, true)"), sync()])
            .says(&[bind_with("", "s", &["work_mem", "7MB", "1min"]), execute(""), sync(), show("work_mem")])
            .client(1)
            .says(&[show("work_mem"), show("statement_timeout"), query("SET work_mem TO '8MB'")])
            .client(0)
            .says(&[show("work_mem"), query("BEGIN")])
            .says(&[bind_with("", "s", &["work_mem", "9MB", "2min"]), execute(""), sync(), show("statement_timeout"), query("ROLLBACK")])
            .says(&[show("work_mem"), show("statement_timeout")])
            .says(&[bind_with("", "s", &["nothing_of_the_kind", "1", "1"]), execute(""), sync(), show("work_mem")])
            .client(1)
            .says(&[show("work_mem")]),
        Scenario::named("RESET goes back to the beginning")
            .opens(&[("application_name", "began"), ("statement_timeout", "4321"), ("options", "-c work_mem=9MB -c app.tenant=a\\ b")])
            .says(&[query("SET statement_timeout TO 1000; SET work_mem TO '1MB'; SET app.tenant TO 'c'; SET application_name TO 'x'")])
            .says(&[query("RESET statement_timeout"), show("statement_timeout"), query("RESET app.tenant"), show("app.tenant")])
            .says(&[query("RESET ALL"), show("work_mem"), show("application_name")])
            .says(&[query("SET work_mem TO '1MB'; DISCARD ALL")])
            .ready(1)
            .says(&[query("DISCARD ALL"), show("work_mem"), show("statement_timeout")])
            .says(&[query("SET work_mem TO DEFAULT"), show("work_mem")]),
        Scenario::named("RESET in a transaction")
            .opens(&[("options", "-c work_mem=9MB")])
            .says(&[query("BEGIN"), query("SET work_mem TO '1MB'"), query("RESET ALL"), show("work_mem"), query("ROLLBACK"), show("work_mem")])
            .says(&[query("BEGIN; RESET ALL; COMMIT"), show("work_mem")])
            .says(&[query("BEGIN; RESET ALL; SET work_mem TO '2MB'; COMMIT; SHOW work_mem"), show("work_mem")]),
        Scenario::named("startup parameters as the database prints them")
            .opens(&[("TimeZone", "utc"), ("client_encoding", "latin1"), ("DateStyle", "GERMAN"), ("application_name", "")])
            .says(&[show("TimeZone"), show("client_encoding"), show("DateStyle"), show("application_name")])
            .client(1)
            .opens(&[("TimeZone", "utc"), ("client_encoding", "latin1"), ("DateStyle", "GERMAN"), ("application_name", "")])
            .says(&[show("TimeZone")])
            .client(2)
            .opens(&[("search_path", "other, \"$user\""), ("options", "-c default_transaction_read_only=on")])
            .says(&[show("search_path"), query("SELECT * FROM item"), query("CREATE TABLE no (i int)")]),
        Scenario::named("values full of quotes")
            .opens(&[("application_name", "it's a \"\\x27; SELECT 1/0 --"), ("options", "-c app.x=';DROP\\ TABLE\\ item;--")])
            .says(&[show("application_name"), show("app.x")])
            .says(&[query("SET app.x TO E'\\'\\\\'';'; SHOW app.x"), show("app.x")])
            .says(&[query("SET standard_conforming_strings TO off; SET app.x TO 'a\\'b'"), show("app.x")])
            .says(&[query("SET app.x TO $$it's$$; SHOW app.x"), show("app.x")])
            .client(1)
            .says(&[current("app.x")]),
        Scenario::named("roles")
            .on(2)
            .says(&[query("SELECT set_config('role', current_user || '_deputy', false) IS NOT NULL")])
            .says(&[query("SELECT current_user = session_user"), query("SELECT * FROM item")])
            .client(1)
            .says(&[query("SELECT current_user = session_user, current_setting('role')")])
            .client(0)
            .says(&[query("SELECT current_user = session_user")])
            .says(&[query("RESET ALL"), query("SELECT current_user = session_user")])
            .says(&[query("RESET ROLE"), query("SELECT current_user = session_user")]),
        Scenario::named("settings that only another role may change")
            .on(2)
            .says(&[query("BEGIN; SET LOCAL ROLE admin; SET session_replication_role TO replica; COMMIT")])
            .client(1)
            .says(&[show("session_replication_role")])
            .client(0)
            .says(&[show("session_replication_role")])
            .leaves()
            .client(2)
            .says(&[show("session_replication_role")]),
        Scenario::named("a setting of an extension that only another role may change, left by its client")
            .says(&[query("SELECT run('SELECT 1')")])
            .says(&[query("SET ROLE admin; SET plpgsql.variable_conflict TO use_column; RESET ROLE")])
            .leaves()
            .client(1)
            .says(&[query("SELECT 'served'")])
            .client(2)
            .says(&[query("SELECT 'served'")]),
        Scenario::named("time zones that are intervals, and others between")
            .says(&[query("SET TIME ZONE INTERVAL '-8' HOUR")])
            .client(1)
            .says(&[query("SET TIME ZONE INTERVAL '-90' MINUTE")])
            .client(0)
            .says(&[show("TimeZone")])
            .client(1)
            .says(&[show("TimeZone"), query("SET TIME ZONE INTERVAL '-8' HOUR TO MINUTE")])
            .client(0)
            .says(&[show("TimeZone")])
            .client(1)
            .says(&[show("TimeZone"), query("SET TIME ZONE INTERVAL '+05:30' HOUR TO MINUTE")])
            .client(0)
            .says(&[show("TimeZone")])
            .client(1)
            .says(&[show("TimeZone")]),
        Scenario::named("configurations for text search of one name")
            .opens(&[("options", "-c search_path=other -c default_text_search_config=own")])
            .says(&[query("SELECT to_tsvector('running')")])
            .client(1)
            .opens(&[("search_path", "public"), ("default_text_search_config", "own")])
            .says(&[query("SELECT to_tsvector('running')")])
            .client(0)
            .says(&[query("SELECT to_tsvector('running')")])
            .client(2)
            .opens(&[])
            .says(&[query("SET default_text_search_config TO English; SELECT to_tsvector('running')")])
            .client(1)
            .says(&[query("SELECT to_tsvector('running')")]),
        Scenario::named("configurations for text search of one name, set")
            .on(2)
            .says(&[query("SET search_path TO other"), query("SET default_text_search_config TO own")])
            .client(1)
            .says(&[query("SET search_path TO public; SET default_text_search_config TO own")])
            .client(0)
            .says(&[query("SET search_path TO public"), query("SELECT to_tsvector('running')")])
            .client(1)
            .says(&[query("SELECT to_tsvector('running')")]),
        Scenario::named("constants that are texts by a setting")
            .says(&[query("SET bytea_output TO escape"), parse("s", r"SELECT '\x41'::bytea::text"), sync(), run("s")])
            .client(1)
            .says(&[parse("s", r"SELECT '\x41'::bytea::text"), sync(), run("s")])
            .client(0)
            .says(&[run("s")]),
        Scenario::named("a seed at the beginning, which sows nothing")
            .opens(&[("options", "-c seed=0.5")])
            .says(&[query("SELECT random() = 0.9851677175347999")])
            .client(1)
            .says(&[query("SELECT random() = 0.9851677175347999")]),
        Scenario::named("DateStyle that another has left")
            .says(&[query("SET DateStyle TO 'SQL, DMY'")])
            .client(1)
            .opens(&[("DateStyle", "ISO")])
            .says(&[query("SELECT '01/02/2024'::date"), show("DateStyle")])
            .client(2)
            .opens(&[("DateStyle", "ISO")])
            .says(&[show("DateStyle")]),
        Scenario::named("halves of DateStyle")
            .opens(&[])
            .says(&[query("SET DateStyle TO 'SQL'"), query("SET DateStyle TO 'DMY'"), show("DateStyle")])
            .client(1)
            .opens(&[])
            .says(&[query("SET DateStyle TO DMY"), query("SELECT '01/02/2024'::date"), show("DateStyle")])
            .client(0)
            .says(&[query("SELECT '01/02/2024'::date"), show("DateStyle")])
            .says(&[query("BEGIN; SET LOCAL DateStyle TO german; SET DateStyle TO \"euro\"; COMMIT"), show("DateStyle")])
            .client(1)
            .says(&[query("SET DateStyle TO DEFAULT; SET DateStyle TO postgres, ymd"), show("DateStyle")])
            .client(0)
            .says(&[show("DateStyle"), query("SET DateStyle TO 'default, US'"), show("DateStyle")])
            .client(1)
            .says(&[show("DateStyle"), query("RESET DateStyle; SET DateStyle TO German"), show("DateStyle")])
            .client(2)
            .opens(&[("DateStyle", "German")])
            .says(&[show("DateStyle"), query("SET DateStyle TO 'MDY, DEFAULT'"), show("DateStyle")])
            .client(1)
            .says(&[show("DateStyle")])
            .client(2)
            .says(&[show("DateStyle"), query("RESET ALL"), show("DateStyle")]),
        Scenario::named("a role that ends with the session authorization")
            .client(1)
            .says(&[query("SET ROLE by_trust")])
            .client(0)
            .says(&[query("SET ROLE by_trust"), query("SET SESSION AUTHORIZATION DEFAULT")])
            .says(&[query("SELECT current_user = session_user")])
            .client(1)
            .says(&[query("SELECT current_user = session_user")])
            .client(0)
            .says(&[query("SELECT current_user = session_user")])
            .says(&[query("SET ROLE by_trust; BEGIN; SET LOCAL SESSION AUTHORIZATION DEFAULT; ROLLBACK")])
            .says(&[query("SELECT current_user = session_user")])
            .leaves()
            .client(1)
            .says(&[query("SELECT current_user = session_user"), query("RESET SESSION AUTHORIZATION")])
            .says(&[query("SELECT current_user = session_user")]),
        Scenario::named("session characteristics").says(&[
            query("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY"),
            show("transaction_isolation"),
            query("CREATE TABLE no (i int)"),
            query("SET TRANSACTION READ WRITE"),
            query("BEGIN; SET TRANSACTION READ WRITE; SHOW transaction_read_only; COMMIT"),
            show("default_transaction_read_only"),
            query("BEGIN READ WRITE ISOLATION LEVEL READ COMMITTED; SHOW transaction_isolation; COMMIT"),
            show("transaction_isolation"),
        ]),
        Scenario::named("two clients who set the same")
            .says(&[query("SET TimeZone TO 'Asia/Tokyo'; SET app.tenant TO 'a'; SET search_path TO other")])
            .client(1)
            .says(&[query("SET TimeZone TO 'Europe/Rome'; SET app.tenant TO 'b'")])
            .client(0)
            .says(&[show("TimeZone"), show("app.tenant"), query("SELECT * FROM item")])
            .client(1)
            .says(&[show("TimeZone"), show("app.tenant"), query("SELECT count(*) FROM item")])
            .says(&[query("RESET ALL"), show("TimeZone"), current("app.tenant")])
            .client(0)
            .says(&[show("TimeZone"), show("app.tenant")]),
        Scenario::named("a refused setting is no end")
            .opens(&[("statement_timeout", "100ms")])
            .says(&[query("SELECT pg_sleep(5)"), show("statement_timeout")])
            .client(1)
            .says(&[query("SELECT pg_sleep(0.2)")]),
        Scenario::named("the error speaks the client's encoding").says(&[
            query("SET client_encoding TO latin1"),
            message(b'Q', b"SELECT '\xe4'\0"),
            query("SELECT 'x' AS \"y"),
        ]),
        Scenario::named("ALTER SYSTEM and the like").says(&[
            query("ALTER SYSTEM SET work_mem TO '1MB'"),
            query("UPDATE pg_settings SET setting = '2048' WHERE name = 'work_mem'"),
            show("work_mem"),
            query("DISCARD ALL"),
            show("work_mem"),
        ]),
    ]
}

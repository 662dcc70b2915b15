//! What is read in texts, in the words of the statements.

#![allow(clippy::unwrap_used)]

use super::*;

const DIALECT: Dialect<'static> = Dialect {
    backslash_escapes: false,
    encoding: Encoding::UTF8,
};

/// The steps of a text; none if nothing in it matters.
pub(super) fn steps(text: &str) -> Vec<Step> {
    let reading = read(text.as_bytes(), DIALECT);
    reading.script.map_or_else(Vec::new, |script| script.steps)
}

/// The only step of a text.
pub(super) fn step(text: &str) -> Step {
    let mut steps = steps(text);
    assert_eq!(steps.len(), 1, "{text}");
    steps.swap_remove(0)
}

pub(super) fn act(text: &str) -> Act {
    let Step { act, pins, .. } = step(text);
    assert_eq!(pins, Pins::NONE, "{text}");
    act
}

pub(super) fn pins(text: &str) -> Vec<Pin> {
    steps(text)
        .iter()
        .flat_map(|step| step.pins.iter())
        .collect()
}

/// The settings that a text makes: name, SQL of the value, whether local.
pub(super) fn settings(text: &str) -> Vec<(String, String, bool)> {
    match act(text) {
        Act::Assign(assignments) => assignments
            .into_iter()
            .map(|Assignment { name, value, local }| {
                let value = match value {
                    None => "DEFAULT".to_owned(),
                    Some(Value::Expression(sql) | Value::Arguments(sql)) => sql.to_string(),
                };
                (name.to_string(), value, local)
            })
            .collect(),
        other => panic!("{text}: {other:?}"),
    }
}

pub(super) fn setting(text: &str) -> (String, String) {
    let settings = settings(text);
    let [(name, value, false)] = &settings[..] else {
        panic!("{text}: {settings:?}")
    };
    (name.clone(), value.clone())
}

#[test]
fn what_leaves_nothing_behind_costs_nothing() {
    for text in [
        "",
        " ; ;; -- nothing",
        "SELECT abalance FROM pgbench_accounts WHERE aid = $1",
        "BEGIN",
        "start transaction isolation level serializable",
        "INSERT INTO temp (listen, prepare) VALUES ('SET x TO y; LISTEN z')",
        "select temp from weather where set = 'pg_advisory_lock(1)'",
        "UPDATE t SET discard = $1; DELETE FROM t /* ; LISTEN a */",
        "NOTIFY channel, 'payload'",
        "SELECT $$ ; DISCARD ALL; $$, $x$ LISTEN $$ a $x$",
        "WITH a AS (SELECT 1) TABLE a",
        "(SELECT 1) UNION (SELECT 2)",
        "SET LOCAL transaction_read_only TO on",
        "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "SET CONSTRAINTS ALL DEFERRED",
        "COPY t FROM '/file'",
        "CREATE RULE r AS ON INSERT TO t DO ALSO (DELETE FROM u; NOTIFY v)",
        "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT CASE WHEN true THEN 1 END; END",
        "COMMIT PREPARED 'x'",
        "SELECT pg_advisory_xact_lock(1)",
        "SELECT set_config('request.claims', $1, true)",
        "DECLARE c CURSOR FOR SELECT 1",
        "CLOSE c",
        "UNLISTEN channel",
    ] {
        let reading = read(text.as_bytes(), DIALECT);
        assert_eq!(
            (reading.script, reading.mentions),
            (None, Vec::new()),
            "{text}"
        );
    }
}

#[test]
fn transactions() {
    assert_eq!(act("COMMIT AND CHAIN"), Act::Commit);
    assert_eq!(act("end work"), Act::Commit);
    assert_eq!(act("PREPARE TRANSACTION 'x'"), Act::Commit);
    assert_eq!(act("ABORT"), Act::Rollback);
    assert_eq!(act("rollback transaction"), Act::Rollback);
    assert_eq!(act("SAVEPOINT \"A\"\"b\""), Act::Savepoint("A\"b".into()));
    assert_eq!(act("ROLLBACK TO Savepoint A"), Act::RollbackTo("a".into()));
    assert_eq!(act("rollback work to a"), Act::RollbackTo("a".into()));
    assert_eq!(act("RELEASE SAVEPOINT a"), Act::Release("a".into()));
    assert_eq!(act("RELEASE a"), Act::Release("a".into()));
}

#[test]
fn each_statement_has_its_step() {
    let steps = steps("SELECT 1; ; LISTEN a; SELECT 2;COMMIT;");
    let acts: Vec<_> = steps.into_iter().map(|step| step.act).collect();
    assert_eq!(
        acts,
        [Act::Plain, Act::Makes(Pin::Listen), Act::Plain, Act::Commit]
    );
    let reading = read(b"SELECT 1; SELECT 2; /* no third */ ;", DIALECT);
    assert_eq!(reading.count, 2);
}

#[test]
fn settings_are_followed_in_every_spelling() {
    for (text, name, value) in [
        ("SET a TO b", "a", "'b'"),
        ("set session App.Tenant = '4''2'", "app.tenant", "'4''2'"),
        ("SET \"Work_Mem\" TO 64", "work_mem", "'64'"),
        ("SET x = -1", "x", "'-1'"),
        ("SET x = 007", "x", "'7'"),
        ("SET x = 1.50", "x", "'1.50'"),
        ("SET x TO on", "x", "'on'"),
        ("SET x = E'a\\'b'", "x", "'a''b'"),
        ("SET x = $q$a'b$q$", "x", "'a''b'"),
        ("SET DateStyle TO ISO, 'DMY'", "datestyle", "'iso, DMY'"),
        (
            "SET search_path = \"$user\", Public, 'it''s'",
            "search_path",
            "'$user', 'public', 'it''s'",
        ),
        ("SET SCHEMA 'a b'", "search_path", "'a b'"),
        (
            "SET TIME ZONE 'Europe/Berlin'",
            "timezone",
            "'Europe/Berlin'",
        ),
        ("SET TIME ZONE LOCAL", "timezone", "DEFAULT"),
        ("SET TIME ZONE -3", "timezone", "'-3'"),
        (
            "SET TIME ZONE INTERVAL '-08:00' HOUR TO MINUTE",
            "timezone",
            "'INTERVAL ''-08:00'''",
        ),
        ("SET NAMES 'LATIN1'", "client_encoding", "'LATIN1'"),
        ("SET NAMES", "client_encoding", "DEFAULT"),
        ("SET ROLE \"Other\"", "role", "'Other'"),
        ("SET ROLE none", "role", "'none'"),
        ("SET role TO other", "role", "'other'"),
        (
            "SET SESSION AUTHORIZATION bob",
            "session_authorization",
            "'bob'",
        ),
        (
            "SET SESSION AUTHORIZATION DEFAULT",
            "session_authorization",
            "DEFAULT",
        ),
        ("SET SESSION ROLE bob", "role", "'bob'"),
        ("SET XML OPTION DOCUMENT", "xmloption", "'document'"),
        ("SET x TO DEFAULT", "x", "DEFAULT"),
        ("RESET x", "x", "DEFAULT"),
        ("SET Sort_Mem TO '2MB'", "work_mem", "'2MB'"),
        (
            "SELECT set_config('vacuum_mem', '2MB', false)",
            "maintenance_work_mem",
            "'2MB'",
        ),
        ("RESET TIME ZONE", "timezone", "DEFAULT"),
        (
            "RESET SESSION AUTHORIZATION",
            "session_authorization",
            "DEFAULT",
        ),
        ("RESET ROLE", "role", "DEFAULT"),
        ("SELECT set_config('A', 'b', false)", "a", "'b'"),
        (
            "SELECT pg_catalog.\"set_config\"('a'::text, 'b'::varchar, 'f'::bool) AS done",
            "a",
            "'b'",
        ),
        (
            "SET x TO 'ä'",
            "x",
            "pg_catalog.convert_from(pg_catalog.decode('c3a4', 'hex'), 'UTF8')",
        ),
        (
            "SET x TO 'a\\b'",
            "x",
            "pg_catalog.convert_from(pg_catalog.decode('615c62', 'hex'), 'UTF8')",
        ),
    ] {
        assert_eq!(setting(text), (name.to_owned(), value.to_owned()), "{text}");
    }
    assert_eq!(act("RESET ALL"), Act::ResetAll);
    assert_eq!(
        settings("SET LOCAL app.tenant TO x"),
        [("app.tenant".to_owned(), "'x'".to_owned(), true)]
    );
    assert_eq!(
        settings("SELECT set_config('a', '1', false), set_config('b', '2', true)").len(),
        2
    );
    assert_eq!(
        settings("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY, ISOLATION LEVEL REPEATABLE READ, NOT DEFERRABLE")
            .into_iter()
            .map(|(name, value, _)| format!("{name}={value}"))
            .collect::<Vec<_>>(),
        [
            "default_transaction_read_only='on'",
            "default_transaction_isolation='repeatable read'",
            "default_transaction_deferrable='off'",
        ]
    );
}

#[test]
fn what_cannot_be_followed_pins() {
    for (text, pin) in [
        ("SET x TO U&'\\0041'", Pin::Setting),
        ("SET x TO 'a' 'b'", Pin::Setting),
        ("SET search_path TO 'ä'", Pin::Setting),
        ("SET \"ä\" TO 'b'", Pin::Setting),
        ("SELECT set_config('a', $1 || 'x', false)", Pin::Setting),
        ("SELECT set_config('a', 'b', $1)", Pin::Setting),
        ("SELECT set_config('a', lower('b'), false)", Pin::Setting),
        ("SELECT set_config('a', 'b', false) FROM t", Pin::Setting),
        (
            "SELECT set_config('a', 'now'::timestamptz::text, false)",
            Pin::Setting,
        ),
        ("SELECT set_config('a', 'abc'::char, false)", Pin::Setting),
        ("SELECT set_config('seed', '0.5', true)", Pin::RandomSeed),
        ("SELECT set_config('SEED', lower($1), $2)", Pin::RandomSeed),
        (
            "SELECT CASE WHEN x THEN set_config('a', 'b', false) END",
            Pin::Setting,
        ),
        (
            "INSERT INTO t VALUES (set_config('a', 'b', false))",
            Pin::Setting,
        ),
        ("UPDATE pg_settings SET setting = 'x'", Pin::Setting),
        (
            "SELECT * FROM t WHERE pg_try_advisory_lock(id)",
            Pin::AdvisoryLock,
        ),
        (
            "SELECT pg_catalog.pg_advisory_lock_shared(1, 2)",
            Pin::AdvisoryLock,
        ),
        ("SELECT lastval()", Pin::SequenceValue),
        ("LOAD 'auto_explain'", Pin::Load),
        ("DO $$ BEGIN EXECUTE 'SELECT 1'; END $$", Pin::Unknown),
        ("SELECT dblink_connect('c', 'dbname=x')", Pin::Load),
        ("SELECT 1 FROM pg_backup_start('x')", Pin::Load),
        (
            "SELECT pg_create_logical_replication_slot('x', 'pgoutput', true)",
            Pin::Load,
        ),
        ("call p()", Pin::Unknown),
    ] {
        assert_eq!(pins(text), [pin], "{text}");
    }
}

#[test]
fn state_that_stays_with_the_backend() {
    for (text, pin) in [
        ("LISTEN a", Pin::Listen),
        (
            "DECLARE c NO SCROLL CURSOR WITH HOLD FOR SELECT 1",
            Pin::HoldCursor,
        ),
        ("CREATE TEMP TABLE a (b int)", Pin::TemporaryTable),
        (
            "create global temporary table a (b int)",
            Pin::TemporaryTable,
        ),
        (
            "CREATE OR REPLACE TEMP VIEW a AS SELECT 1",
            Pin::TemporaryTable,
        ),
        ("CREATE TABLE pg_temp.a (b int)", Pin::TemporaryTable),
        ("CREATE TABLE \"pg_temp\".a (b int)", Pin::TemporaryTable),
        ("SELECT 1 INTO TEMP a", Pin::TemporaryTable),
        (
            "WITH b AS (SELECT 1) SELECT * INTO LOCAL TEMPORARY a FROM b",
            Pin::TemporaryTable,
        ),
        (
            "EXPLAIN ANALYZE CREATE TEMP TABLE a AS SELECT 1",
            Pin::TemporaryTable,
        ),
        ("FROBNICATE", Pin::Unknown),
        ("'a'", Pin::Unknown),
    ] {
        assert_eq!(act(text), Act::Makes(pin), "{text}");
    }
    for (text, pin) in [
        ("UNLISTEN *", Pin::Listen),
        ("CLOSE ALL", Pin::HoldCursor),
        ("DISCARD TEMPORARY", Pin::TemporaryTable),
        ("DISCARD SEQUENCES", Pin::SequenceValue),
    ] {
        assert_eq!(act(text), Act::Ends(pin), "{text}");
    }
    assert_eq!(act("DISCARD ALL"), Act::DiscardAll);
    assert_eq!(act("deallocate prepare all"), Act::DeallocateAll);
    assert_eq!(act("COPY t (a) FROM STDIN WITH CSV"), Act::CopyIn);
}

#[test]
fn statements_that_are_named_are_found() {
    for (text, name, at) in [
        ("EXECUTE a (1)", "a", 8..9),
        ("SELECT 1; execute \"A b\"", "A b", 18..23),
        ("EXPLAIN (ANALYZE) EXECUTE Abc", "abc", 26..29),
        ("CREATE TABLE t AS EXECUTE a", "a", 26..27),
        ("DEALLOCATE PREPARE a", "a", 19..20),
        ("DEALLOCATE prepare", "prepare", 11..18),
        ("PREPARE b AS SELECT 1; EXECUTE a", "a", 31..32),
    ] {
        let mentions = read(text.as_bytes(), DIALECT).mentions;
        let [mention] = &mentions[..] else {
            panic!("{text}: {mentions:?}")
        };
        assert_eq!(
            (&mention.name[..], mention.at.clone()),
            (name.as_bytes(), at),
            "{text}"
        );
    }
    for text in [
        "CREATE TRIGGER t BEFORE INSERT ON u EXECUTE FUNCTION f()",
        "GRANT EXECUTE ON FUNCTION f() TO u",
    ] {
        assert!(read(text.as_bytes(), DIALECT).mentions.is_empty(), "{text}");
    }
    assert_eq!(
        act("PREPARE A (int) AS SELECT $1"),
        Act::Prepare("a".into())
    );
}

#[test]
fn backslashes_count_as_the_session_says() {
    let text = br"SELECT 'a\'; LISTEN b; --'";
    assert_eq!(read(text, DIALECT).script.unwrap().steps.len(), 2);
    let escapes = Dialect {
        backslash_escapes: true,
        ..DIALECT
    };
    assert_eq!(read(text, escapes).script, None);
}

#[test]
fn an_encoding_that_hides_ascii_is_not_read() {
    let sjis = Dialect {
        encoding: Encoding::named(b"SJIS"),
        ..DIALECT
    };
    assert_eq!(read(b"SELECT 1", sjis).script, None);
    assert!(
        read(b"SELECT E'\x95\x5c'; LISTEN a", sjis)
            .script
            .unwrap()
            .is_unread()
    );
}

#[test]
fn no_text_makes_it_stumble() {
    // Every beginning and every end of texts with everything in them.
    for text in [
        "SET x TO E'a\\'' , $q$b$q$ ; SELECT set_config('a'::text, 'b', false) /* c */; ROLLBACK TO \"a\"\"b\" -- d",
        "CREATE FUNCTION f() BEGIN ATOMIC SELECT (1; CASE END; END; EXECUTE a(U&\"b\", X'00', $1, .5e-3)",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE, ISOLATION LEVEL READ UNCOMMITTED",
    ] {
        for cut in 0..=text.len() {
            let _ = read(&text.as_bytes()[..cut], DIALECT);
            let _ = read(&text.as_bytes()[cut..], DIALECT);
        }
    }
}

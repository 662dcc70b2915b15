//! SQL of any kind through a client in transaction mode: what it leaves in the session is brought to another backend,
//! and what is said there must set settings and do nothing else.

use std::rc::Rc;

use wire::Exchange;
use wire::pg::Parameters;
use wire::pg::pooling::{
    BackendMemory, Commons, Outbound, Passage, PreparedStatements, Release, Reset, Rules, Tracker,
};

use crate::Target;
use crate::dice::Dice;
use crate::pg_pair::message;

/// A text as a Query or a Parse. `[encoding, literals, how, replies] text`
pub const SQL: Target = Target {
    name: "sql",
    samples,
    run,
    rounds: 250_000,
};

fn run(input: &[u8]) {
    let mut dice = Dice::new(input);
    let encoding = dice.pick(ENCODINGS);
    let conforming = dice.pick(&["on", "off"]);
    let parsed = dice.below(4) == 3;
    let completions = dice.below(4);
    let text = dice.rest();

    let reported: Parameters = [
        ("client_encoding", encoding),
        ("standard_conforming_strings", conforming),
    ]
    .into_iter()
    .collect();
    let commons = Commons::new(RULES);
    let mut tracker = Tracker::new(Rc::clone(&commons), &Parameters::default()).unwrap();
    let mut out = Outbound::default();
    tracker
        .attach(commons.backend_opened(&reported), &mut out)
        .unwrap();
    tracker.welcome();
    assert!(
        out.to_backend.is_empty(),
        "a fresh backend needs no settings"
    );

    let end = text
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(text.len());
    let text = [&text[..end], b"\0"].concat();
    let (asked, answer) = if parsed {
        let asked = [
            message(b'P', &[b"\0", &text[..], b"\0\0"].concat()),
            message(b'B', b"\0\0\0\0\0\0\0\0"),
            message(b'E', b"\0\0\0\0\0"),
            message(b'S', b""),
        ];
        let answer = [
            message(b'1', b""),
            message(b'2', b""),
            message(b'C', b"X\0"),
            message(b'Z', b"I"),
        ];
        (asked.concat(), answer.concat())
    } else {
        let mut answer: Vec<u8> = completions_of(&text).concat();
        answer.extend(message(b'C', b"SELECT 1\0").repeat(completions));
        answer.extend(message(b'Z', b"I"));
        (message(b'Q', &text), answer)
    };
    let Ok(passage) = tracker.client_said(&asked, &mut out) else {
        panic!("a sound message is refused")
    };
    // Where nothing of it is rewritten, the backend gets what the client said.
    assert!(passage == Passage::Whole || !out.to_backend.is_empty());
    if tracker.backend_said(&answer, &mut out).is_err() {
        return;
    }
    if let Some(Release::Clean(_) | Release::Cleanup(_)) = tracker.detach() {
        brought_along(&mut tracker, commons.backend_opened(&reported));
    }
}

/// What a database completes the statements of a text with, as far as can be told by cutting it at each semicolon.
pub fn completions_of(text: &[u8]) -> Vec<Vec<u8>> {
    let statements = text
        .split(|byte| matches!(byte, b';' | 0))
        .map(<[u8]>::trim_ascii);
    let complete = |statement: &[u8]| {
        let words = statement.split(u8::is_ascii_whitespace).take(2);
        let words: Vec<_> = words
            .map(|word| String::from_utf8_lossy(word).to_ascii_uppercase())
            .collect();
        let tag = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["DISCARD", what] => format!("DISCARD {what}"),
            ["CLOSE", "ALL"] => "CLOSE CURSOR ALL".to_owned(),
            ["CLOSE", _] => "CLOSE CURSOR".to_owned(),
            ["END", ..] => "COMMIT".to_owned(),
            ["ABORT", ..] => "ROLLBACK".to_owned(),
            [verb, ..] if VERBS.contains(&verb) => verb.to_owned(),
            _ => "SELECT 1".to_owned(),
        };
        message(b'C', format!("{tag}\0").as_bytes())
    };
    statements
        .filter(|statement| !statement.is_empty())
        .map(complete)
        .collect()
}

/// What the session brings to a backend that knows nothing of it.
fn brought_along(tracker: &mut Tracker, fresh: BackendMemory) {
    let mut out = Outbound::default();
    tracker.attach(fresh, &mut out).unwrap();
    for query in queries(&out.to_backend) {
        only_settings(query);
    }
    if let Some(Release::Cleanup(mut cleanup)) = tracker.detach() {
        let _ = cleanup.advance(&mut Default::default(), &mut Default::default());
        assert!(cleanup.sql().is_ascii());
    }
}

/// The texts of Query messages, which must be all there is.
pub fn queries(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut texts = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<5>() {
        assert_eq!(head[0], b'Q', "{}", bytes.escape_ascii());
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize - 4;
        let (text, rest) = rest.split_at(length);
        let (end, text) = text.split_last().expect("a Query has its NUL");
        assert!(*end == 0 && !text.contains(&0), "{}", bytes.escape_ascii());
        texts.push(text);
        bytes = rest;
    }
    assert!(bytes.is_empty());
    texts
}

/// Statements that set settings, in bytes that mean the same in every encoding and with every kind of literal. This is
/// read here by other rules than those it was written by: whatever stands in quotes is taken away, and what remains must
/// be one of few forms.
pub fn only_settings(sql: &[u8]) {
    let shown = sql.escape_ascii().to_string();
    assert!(
        sql.iter()
            .all(|byte| matches!(byte, b' '..=b'~') && *byte != b'\\'),
        "{shown}"
    );
    let mut bare = String::new();
    let mut quote = None;
    for &byte in sql {
        match (quote, byte) {
            (None, b'\'' | b'"') => {
                quote = Some(byte);
                // A doubled quote is one that closes and one that opens, at once.
                if !bare.ends_with(char::from(byte)) {
                    bare.push(char::from(byte));
                }
            }
            (Some(open), _) if open == byte => quote = None,
            (Some(_), _) => {}
            (None, _) => bare.push(char::from(byte)),
        }
    }
    assert_eq!(quote, None, "an open quote: {shown}");
    for statement in bare.split_terminator(';') {
        let is_known = statement.trim() == "SET SESSION AUTHORIZATION DEFAULT"
            || statement == "RESET ROLE"
            || RESETS.contains(&statement)
            || CALLS.contains(&statement)
            || is_list(statement);
        assert!(is_known, "{statement:?} in {shown}");
    }
}

/// `SET "…" TO '…', '…'`, without what stands in the quotes.
fn is_list(statement: &str) -> bool {
    let items = statement.strip_prefix("SET \" TO ");
    items.is_some_and(|items| items.split(", ").all(|item| item == "'"))
}

/// RESET of a name with up to a few parts.
const RESETS: &[&str] = &[
    "RESET \"",
    "RESET \".\"",
    "RESET \".\".\"",
    "RESET \".\".\".\"",
];

const CALLS: &[&str] = &[
    "SELECT pg_catalog.set_config(', ', false)",
    "SELECT pg_catalog.set_config(', pg_catalog.convert_from(pg_catalog.decode(', '), '), false)",
];

/// First words that are their statement's whole tag.
const VERBS: &[&str] = &[
    "SET",
    "RESET",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT",
    "RELEASE",
    "LISTEN",
    "UNLISTEN",
    "NOTIFY",
    "PREPARE",
    "DEALLOCATE",
    "DO",
    "LOAD",
];

const ENCODINGS: &[&str] = &[
    "UTF8",
    "LATIN1",
    "SQL_ASCII",
    "SJIS",
    "BIG5",
    "GB18030",
    "EUC_JP",
    "x'); DROP TABLE t; --",
];

const RULES: Rules = Rules {
    prepared_statements: PreparedStatements::Multiplex,
    max_prepared_statements: 4,
    reset: Reset::Smart,
};

fn samples() -> Vec<Vec<u8>> {
    TEXTS
        .iter()
        .enumerate()
        .flat_map(|(at, text)| {
            let encoding = (at % ENCODINGS.len()) as u8;
            [[0, 0, 0, 1], [encoding, 1, 0, 2], [encoding, 0, 3, 1]]
                .map(|choices| [&choices[..], text].concat())
        })
        .collect()
}

/// Statements that leave something behind, and some that only look so.
const TEXTS: &[&[u8]] = &[
    b"SET app.name TO 'it''s; DROP TABLE t; --'",
    b"SET app.name = E'a\\'b\\\\c\\n'; SELECT 1",
    b"SET search_path TO a, \"b c\", '$user', \"d\"\"e\"",
    b"SET search_path = 'a''b', '\xc3\xa4'",
    b"SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
    b"SET TIME ZONE INTERVAL '-08:00' HOUR TO MINUTE; SET LOCAL jit TO off",
    b"SET NAMES 'LATIN1'; SET app.x TO '\xe4\xf6'; SET ROLE \"Some Body\"",
    b"SET SESSION AUTHORIZATION 'other'; RESET ROLE; SET a.b.c.d = -010.5",
    b"SELECT pg_catalog.set_config('app.user', $$it's$$, false), set_config('a', 'b', true)",
    b"SELECT set_config('app.' || 'x', 'y', 'f'::boolean)",
    b"RESET app.name; RESET ALL; DISCARD ALL; RESET SESSION AUTHORIZATION",
    b"BEGIN; SAVEPOINT s; SET jit = off; ROLLBACK TO s; RELEASE s; COMMIT",
    b"LISTEN \"Channel\"; NOTIFY c, 'it''s'; UNLISTEN *",
    b"DECLARE c CURSOR WITH HOLD FOR SELECT 1; CLOSE c; CLOSE ALL",
    b"CREATE TEMP TABLE t (i int); SELECT pg_advisory_lock(1); SELECT nextval('s')",
    b"PREPARE p AS SELECT $1; EXECUTE p(1); DEALLOCATE p; DEALLOCATE PREPARE ALL",
    b"COPY t FROM STDIN WITH (FORMAT csv); COPY t TO STDOUT",
    b"/* /* nested */ ; */ SELECT $tag$ ; $$ ; $tag$, U&'\\0041' UESCAPE '!', B'01', x'ff' -- LISTEN a",
    b"SET app.x TO 'open; SELECT 1",
    b"DO $$ BEGIN PERFORM set_config('a.b', 'c', false); END $$; LOAD 'auto_explain'",
];

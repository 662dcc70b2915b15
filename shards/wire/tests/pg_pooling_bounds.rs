//! What a client or a database may make a tracker do and hold: findings of the fuzzers, and limits that they cannot see.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod pg_pair;

use std::rc::Rc;

use pg_pair::message;
use wire::pg::Parameters;
use wire::pg::pooling::{
    BackendFault, Commons, Fault, Outbound, Passage, Pin, PreparedStatements, Release, Reset,
    Rules, Tracker,
};

/// A client of its own tenant, with a fresh backend.
fn client() -> (Rc<Commons>, Tracker) {
    let commons = Commons::new(Rules {
        prepared_statements: PreparedStatements::Multiplex,
        max_prepared_statements: 4,
        reset: Reset::Smart,
    });
    let mut tracker = Tracker::new(Rc::clone(&commons), &Parameters::default()).unwrap();
    let memory = commons.backend_opened(&Parameters::default());
    tracker.attach(memory, &mut Outbound::default()).unwrap();
    (commons, tracker)
}

fn query(tracker: &mut Tracker, text: &str) {
    let discards = text.starts_with("DISCARD");
    query_done(
        tracker,
        text,
        &[if discards { "DISCARD ALL" } else { "SET" }],
    );
}

/// Statements, and what the backend says when each is done.
fn query_done(tracker: &mut Tracker, text: &str, tags: &[&str]) {
    let mut out = Outbound::default();
    let asked = message(b'Q', format!("{text}\0").as_bytes());
    assert_eq!(tracker.client_said(&asked, &mut out), Ok(Passage::Whole));
    let done = |tag: &&str| message(b'C', format!("{tag}\0").as_bytes());
    let mut answer: Vec<u8> = tags.iter().flat_map(done).collect();
    answer.extend(message(b'Z', b"I"));
    assert_eq!(tracker.backend_said(&answer, &mut out), Ok(Passage::Whole));
}

/// Parse of the unnamed statement, Bind and Execute.
fn unnamed(text: &str) -> Vec<u8> {
    let parse = message(b'P', format!("\0{text}\0\0\0").as_bytes());
    [parse, message(b'B', &[0; 8]), message(b'E', &[0; 5])].concat()
}

#[test]
fn a_ready_for_query_of_another_length_reaches_no_client() {
    let (_, mut tracker) = client();
    let mut out = Outbound::default();
    let asked = message(b'Q', b"SELECT 1\0");
    assert_eq!(tracker.client_said(&asked, &mut out), Ok(Passage::Whole));
    let heard = tracker.backend_said(b"Z\0\0\0\x12I", &mut out);
    assert!(
        matches!(heard, Err(Fault::Backend(BackendFault::Wire(_)))),
        "{heard:?}"
    );
    assert!(out.to_client.is_empty(), "{:?}", out.to_client);
}

#[test]
fn settings_are_followed_up_to_a_number_and_a_size() {
    let (commons, mut tracker) = client();
    for number in 0..256 {
        query(&mut tracker, &format!("SET app.s{number} TO 'x'"));
    }
    assert!(tracker.may_release());
    query(&mut tracker, "SET app.s0 TO 'changed'");
    assert!(tracker.may_release(), "one that is known is no further one");
    query(&mut tracker, "SET app.one_more TO 'x'");
    assert!(tracker.pins().contains(Pin::Setting));
    query(&mut tracker, "DISCARD ALL");
    assert!(tracker.may_release());

    let long = "x".repeat(15_000);
    for number in 0..17 {
        query(&mut tracker, &format!("SET app.s{number} TO '{long}'"));
    }
    assert!(tracker.may_release());
    query(&mut tracker, "SET app.s17 TO '1'");
    assert!(tracker.may_release(), "there is room for what is short");
    query(&mut tracker, &format!("SET app.s18 TO '{long}'"));
    assert!(tracker.pins().contains(Pin::Setting));
    drop(commons);
}

#[test]
fn a_search_path_that_cannot_be_read_may_be_a_temporary_one() {
    let (_, mut tracker) = client();
    query(
        &mut tracker,
        "SELECT set_config('search_path', 'a, b', false)",
    );
    assert!(tracker.may_release());
    query(
        &mut tracker,
        "SELECT set_config('search_path', 'pg_temp, \u{fc}', false)",
    );
    assert!(tracker.pins().contains(Pin::TemporaryTable));
}

#[test]
fn a_table_made_under_a_search_path_that_nobody_knows_may_be_a_temporary_one() {
    let (_, mut tracker) = client();
    query_done(
        &mut tracker,
        "BEGIN; SELECT set_config('search_path', lower('PG_TEMP'), true); CREATE TABLE t AS SELECT 1; COMMIT",
        &["BEGIN", "SELECT 1", "SELECT 1", "COMMIT"],
    );
    assert!(tracker.pins().contains(Pin::TemporaryTable));
    // The database is asked, once.
    let mut out = Outbound::default();
    let answer = [
        message(b'D', b"\0\x01\0\0\0\x01f"),
        message(b'C', b"SELECT 1\0"),
        message(b'Z', b"I"),
    ];
    let _ = tracker.backend_said(&answer.concat(), &mut out).unwrap();
    assert!(tracker.may_release() && out.to_backend.is_empty());

    for (sets, tag) in [
        ("SET search_path TO pg_temp, \"\u{fc}\"", "SET"),
        (
            "SELECT set_config('search_path', 'pg_temp', false) FROM t",
            "SELECT 1",
        ),
    ] {
        let (_, mut tracker) = client();
        query_done(&mut tracker, sets, &[tag]);
        query_done(&mut tracker, "CREATE TABLE t (i int)", &["CREATE TABLE"]);
        let Some(Release::Cleanup(cleanup)) = tracker.detach() else {
            panic!("what {sets} has set is to be taken away");
        };
        assert!(cleanup.sql().contains("DISCARD TEMP;"), "{sets}");
    }
}

#[test]
fn nobody_knows_how_texts_are_read_behind_what_may_set_it() {
    let second = unnamed(r"SELECT '\'' || set_config($$role$$, $$bob$$, false) || '\''");
    for (name, known) in [("standard_conforming_strings", false), ("timezone", true)] {
        let (_, mut tracker) = client();
        let mut out = Outbound::default();
        let first = unnamed(&format!("SELECT set_config('{name}', lower('OFF'), true)"));
        let asked = [first, second.clone(), message(b'S', b"")].concat();
        assert_eq!(tracker.client_said(&asked, &mut out), Ok(Passage::Whole));
        let done = [
            message(b'1', b""),
            message(b'2', b""),
            message(b'C', b"SELECT 1\0"),
        ];
        let answer = [done.concat(), done.concat(), message(b'Z', b"I")].concat();
        assert_eq!(tracker.backend_said(&answer, &mut out), Ok(Passage::Whole));
        assert_eq!(!tracker.pins().contains(Pin::Unknown), known, "{name}");
    }
}

#[test]
fn a_bind_that_decides_what_is_set_provides_nothing_before_it_is_whole() {
    let (commons, mut tracker) = client();
    let mut out = Outbound::default();
    let parse = message(b'P', b"s\0SELECT set_config('a.b', $1, false)\0\0\0");
    let asked = [parse, message(b'S', b"")].concat();
    let _ = tracker.client_said(&asked, &mut out).unwrap();
    let answer = [message(b'1', b""), message(b'Z', b"I")].concat();
    let _ = tracker.backend_said(&answer, &mut out).unwrap();
    assert!(matches!(tracker.detach(), Some(Release::Clean(_))));
    let _ = tracker.take_tally();

    let memory = commons.backend_opened(&Parameters::default());
    let mut out = Outbound::default();
    tracker.attach(memory, &mut out).unwrap();
    let bind = message(b'B', b"\0s\0\0\0\0\x01\0\0\0\x01x\0\0");
    let (first, rest) = bind.split_at(bind.len() - 2);
    let _ = tracker.client_said(first, &mut out).unwrap();
    assert!(out.to_backend.is_empty() && !tracker.is_open());
    let _ = tracker.client_said(rest, &mut out).unwrap();
    assert!(!out.to_backend.is_empty());
    assert_eq!(tracker.take_tally().prepared_misses, 1);
}

#[test]
fn settings_of_a_transaction_are_not_held() {
    let (_, mut tracker) = client();
    for number in 0..300 {
        query(&mut tracker, &format!("SET LOCAL app.s{number} TO 'x'"));
    }
    assert!(tracker.may_release());
    assert!(format!("{tracker:?}").len() < 20_000);
}

#[test]
fn a_client_that_errs_behind_a_reply_has_the_reply() {
    let (_, mut tracker) = client();
    let mut out = Outbound::default();
    let copy = message(b'Q', b"COPY t FROM STDIN\0");
    assert_eq!(tracker.client_said(&copy, &mut out), Ok(Passage::Whole));
    let begins = tracker.backend_said(&message(b'G', b"\0\0\0"), &mut out);
    assert_eq!(begins, Ok(Passage::Whole));
    // A Query in a COPY is held until it is known how that ended; behind it stands what is no message.
    let offence = [message(b'Q', b"SELECT 1\0"), vec![0; 5]].concat();
    assert_eq!(tracker.client_said(&offence, &mut out), Ok(Passage::Copied));
    let mut out = Outbound::default();
    let fails = [
        message(b'E', b"SERROR\0VERROR\0C57014\0Mno\0\0"),
        message(b'Z', b"I"),
    ];
    let heard = tracker.backend_said(&fails.concat(), &mut out);
    assert!(matches!(heard, Err(Fault::Client(_))), "{heard:?}");
    assert_eq!(out.to_client, fails.concat());
}

#[test]
fn nothing_is_put_into_a_message_that_passes() {
    let (_, mut tracker) = client();
    query(&mut tracker, "LISTEN news");
    let news = message(b'A', b"\0\0\0\x07news\0what is new\0");
    let (first, rest) = news.split_at(12);
    let mut out = Outbound::default();
    assert_eq!(tracker.backend_said(first, &mut out), Ok(Passage::Whole));
    let closes = message(b'C', b"Sx\0");
    assert_eq!(tracker.client_said(&closes, &mut out), Ok(Passage::Copied));
    assert!(out.to_client.is_empty(), "{:?}", out.to_client);
    assert_eq!(tracker.backend_said(rest, &mut out), Ok(Passage::Whole));
    assert_eq!(out.to_client, message(b'3', b""));
}

#[test]
fn a_function_that_is_called_by_its_number_finds_no_values_of_others() {
    let (commons, mut drew) = client();
    query_done(&mut drew, "SELECT nextval('s')", &["SELECT 1"]);
    let Some(Release::Clean(memory)) = drew.detach() else {
        panic!("nothing is left to be cleaned");
    };
    let mut tracker = Tracker::new(commons, &Parameters::default()).unwrap();
    let mut out = Outbound::default();
    tracker.attach(memory, &mut out).unwrap();
    assert!(out.to_backend.is_empty(), "nobody has asked for one yet");
    // lastval()
    let call = message(b'F', b"\0\0\x09\xff\0\0\0\0\0\0");
    let _ = tracker.client_said(&call, &mut out).unwrap();
    let said = String::from_utf8_lossy(&out.to_backend);
    assert!(said.contains("DISCARD SEQUENCES"), "{said}");
}

#[test]
fn a_lock_that_was_waited_for_in_vain_is_asked_about() {
    let (_, mut tracker) = client();
    let mut out = Outbound::default();
    let asked = message(b'Q', b"SELECT pg_advisory_lock(9)\0");
    let _ = tracker.client_said(&asked, &mut out).unwrap();
    out.to_backend.clear();
    let error = message(b'E', b"SERROR\0VERROR\0C55P03\0Mno\0\0");
    let answer = [error, message(b'Z', b"I")].concat();
    let _ = tracker.backend_said(&answer, &mut out).unwrap();
    let said = String::from_utf8_lossy(&out.to_backend);
    assert!(said.contains("pg_locks"), "{said}");
    let none = [
        message(b'D', b"\0\x01\0\0\0\x01f"),
        message(b'C', b"SELECT 1\0"),
        message(b'Z', b"I"),
    ];
    let _ = tracker.backend_said(&none.concat(), &mut out).unwrap();
    assert!(tracker.may_release());
}

#[test]
fn a_text_of_which_less_was_run_than_was_read_is_not_known() {
    let (_, mut tracker) = client();
    query_done(&mut tracker, "SELECT 1; LISTEN a", &["SELECT 1"]);
    assert!(tracker.pins().contains(Pin::Unknown));
}

/// What is said to the backend of a chunk of the client's.
fn says(tracker: &mut Tracker, said: &[u8]) -> Vec<u8> {
    let mut out = Outbound::default();
    match tracker.client_said(said, &mut out).unwrap() {
        Passage::Whole => [said, &out.to_backend].concat(),
        Passage::Copied => out.to_backend.to_vec(),
    }
}

/// What is said to the client of a chunk of the backend's, and to the backend.
fn hears(tracker: &mut Tracker, said: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut out = Outbound::default();
    let to_client = match tracker.backend_said(said, &mut out).unwrap() {
        Passage::Whole => [said, &out.to_client].concat(),
        Passage::Copied => out.to_client.to_vec(),
    };
    (to_client, out.to_backend.to_vec())
}

/// How many messages of a type there are.
fn count(mut said: &[u8], kind: u8) -> usize {
    let mut count = 0;
    while let [first, a, b, c, d, ..] = *said {
        count += usize::from(first == kind);
        said = &said[1 + u32::from_be_bytes([a, b, c, d]) as usize..];
    }
    count
}

/// A client that has prepared `s`, a statement of so many bytes, on another backend than the one that it has now.
fn client_elsewhere(length: usize) -> (Rc<Commons>, Tracker) {
    let (commons, mut tracker) = client();
    let text = format!("s\0select 1{}\0\0\0", " ".repeat(length));
    let asked = [message(b'P', text.as_bytes()), message(b'S', b"")].concat();
    says(&mut tracker, &asked);
    let answer = [message(b'1', b""), message(b'Z', b"I")].concat();
    hears(&mut tracker, &answer);
    assert!(matches!(tracker.detach(), Some(Release::Clean(_))));
    let memory = commons.backend_opened(&Parameters::default());
    tracker.attach(memory, &mut Outbound::default()).unwrap();
    (commons, tracker)
}

#[test]
fn a_long_pipeline_goes_on_in_windows() {
    const ALL: usize = 10_000;
    const WINDOW: usize = 2048;
    for (kind, body, answer) in [
        (b'S', &b""[..], message(b'Z', b"I")),
        (b'E', &[0; 5], message(b'C', b"SELECT 1\0")),
    ] {
        let said = message(kind, body).repeat(ALL);
        let (_commons, mut tracker) = client();
        let mut sent = says(&mut tracker, &said);
        let mut all = 0;
        loop {
            let window = count(&sent, kind);
            assert!(window <= WINDOW, "{window}");
            all += window;
            if window == 0 {
                break;
            }
            if all < ALL && kind == b'E' {
                assert!(sent.ends_with(b"H\0\0\0\x04"), "or nobody would answer");
            }
            sent = hears(&mut tracker, &answer.repeat(window)).1;
        }
        assert_eq!(all, ALL);
    }
}

#[test]
fn short_messages_do_not_make_us_send_long_texts_without_end() {
    let length = 100_000;
    let (_commons, mut tracker) = client_elsewhere(length);
    let many = "execute s;".repeat(1000);
    let sent = says(&mut tracker, &message(b'Q', format!("{many}\0").as_bytes()));
    assert_eq!(count(&sent, b'P'), 1, "a text needs it once");

    let (_commons, mut tracker) = client_elsewhere(length);
    let sent = says(&mut tracker, &message(b'Q', b"execute s\0").repeat(1000));
    assert!(sent.len() < 12 * length, "{}", sent.len());
    // When some of it is answered, it goes on.
    let first = [message(b'1', b""), message(b'Z', b"I")].concat();
    let (_, sent) = hears(&mut tracker, &first);
    assert_eq!(count(&sent, b'P'), 1);
}

#[test]
fn what_the_client_has_set_it_is_told_with_a_sync_of_ours() {
    let (_commons, mut tracker) = client_elsewhere(1);
    query_answered(
        &mut tracker,
        "BEGIN",
        &[message(b'C', b"BEGIN\0"), message(b'Z', b"T")],
    );
    says(&mut tracker, &unnamed("SET timezone TO 'Asia/Tokyo'"));
    says(&mut tracker, &message(b'Q', b"EXECUTE s\0"));
    let done = [
        message(b'1', b""),
        message(b'2', b""),
        message(b'C', b"SET\0"),
    ]
    .concat();
    let (_, sent) = hears(&mut tracker, &done);
    assert_eq!(
        (count(&sent, b'P'), count(&sent, b'S'), count(&sent, b'Q')),
        (1, 1, 1)
    );
    let status = message(b'S', b"TimeZone\0Asia/Tokyo\0");
    let synced = [message(b'1', b""), status.clone(), message(b'Z', b"T")].concat();
    assert_eq!(hears(&mut tracker, &synced).0, status);
}

/// A Query, and what the backend says to it.
fn query_answered(tracker: &mut Tracker, text: &str, answer: &[Vec<u8>]) {
    says(tracker, &message(b'Q', format!("{text}\0").as_bytes()));
    hears(tracker, &answer.concat());
}

#[test]
fn what_sets_a_backend_waits_for_no_snapshot() {
    let (commons, mut tracker) = client();
    query(
        &mut tracker,
        "SET SESSION CHARACTERISTICS AS TRANSACTION DEFERRABLE",
    );
    let Some(Release::Clean(memory)) = tracker.detach() else {
        panic!("settings are followed");
    };
    let mut next = Tracker::new(commons, &Parameters::default()).unwrap();
    let mut out = Outbound::default();
    next.attach(memory, &mut out).unwrap();
    let sql = b"SET TRANSACTION NOT DEFERRABLE;RESET \"default_transaction_deferrable\";\0";
    assert_eq!(out.to_backend, message(b'Q', sql));
}

//! What a client was told of its statements, held against what another backend says of them.

use bytes::BytesMut;

use super::super::super::request::{put_bare, put_parse};
use super::super::super::{
    BackendMemory, Commons, Outbound, PreparedStatements, Release, Reset, Rules,
};
use super::*;
use crate::pg::Parameters;

const READY: &[u8] = b"Z\0\0\0\x05I";
const IN_BLOCK: &[u8] = b"Z\0\0\0\x05T";
const INT4: u8 = 23;
const INT8: u8 = 20;

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = body.len() as u32 + 4;
    [&[kind], &length.to_be_bytes()[..], body].concat()
}

fn description(column: u8) -> Vec<u8> {
    let [parameters, rows] = [
        b"\0\x01\0\0\0\x17".to_vec(),
        [
            b"\0\x01a\0\0\0\0\x01\0\x01\0\0\0",
            &[column][..],
            b"\0\x04\xff\xff\xff\xff\0\0",
        ]
        .concat(),
    ];
    [message(b't', &parameters), message(b'T', &rows)].concat()
}

fn describe() -> Vec<u8> {
    message(b'D', b"Ss\0")
}

fn run() -> Vec<u8> {
    let bind = message(b'B', b"\0s\0\0\0\0\x01\0\0\0\x011\0\0");
    [bind, message(b'E', b"\0\0\0\0\0"), message(b'S', b"")].concat()
}

/// A client that has been told that `select a from t where b = $1` returns an int4, on a backend that it has given
/// back.
fn told() -> (Rc<Commons>, Tracker, BackendMemory) {
    let commons = Commons::new(Rules {
        prepared_statements: PreparedStatements::Multiplex,
        max_prepared_statements: 10,
        reset: Reset::Smart,
    });
    let mut client = Tracker::new(Rc::clone(&commons), &Parameters::default()).unwrap();
    let memory = commons.backend_opened(&Parameters::default());
    client.attach(memory, &mut Outbound::default()).unwrap();
    let mut said = BytesMut::new();
    put_parse(&mut said, b"s", b"select a from t where b = $1\0\0\0");
    said.extend_from_slice(&describe());
    put_bare(&mut said, b'S');
    says(&mut client, &said);
    hears(
        &mut client,
        &[&message(b'1', b"")[..], &description(INT4), READY].concat(),
    );
    let memory = gives_back(&mut client);
    (commons, client, memory)
}

/// What goes to the backend.
fn says(client: &mut Tracker, said: &[u8]) -> Vec<u8> {
    let mut out = Outbound::default();
    match client.client_said(said, &mut out).unwrap() {
        crate::pg::pooling::Passage::Whole => [said, &out.to_backend].concat(),
        crate::pg::pooling::Passage::Copied => out.to_backend.to_vec(),
    }
}

/// What goes to the client, and to the backend.
fn hears(client: &mut Tracker, said: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut out = Outbound::default();
    let to_client = match client.backend_said(said, &mut out).unwrap() {
        crate::pg::pooling::Passage::Whole => [said, &out.to_client].concat(),
        crate::pg::pooling::Passage::Copied => out.to_client.to_vec(),
    };
    (to_client, out.to_backend.to_vec())
}

/// The length of a shared statement's name on a backend, as long as there are few.
const NAME: usize = 22;

fn gives_back(client: &mut Tracker) -> BackendMemory {
    match client.detach() {
        Some(Release::Clean(memory)) => memory,
        other => panic!("{other:?}"),
    }
}

/// On another backend it says what must wait for the answer to a Describe of ours.
fn on_another_backend(commons: &Rc<Commons>, client: &mut Tracker, said: &[u8]) {
    let memory = commons.backend_opened(&Parameters::default());
    client.attach(memory, &mut Outbound::default()).unwrap();
    let source = b"select a from t where b = $1\0\0\x01\0\0\0\x17";
    let sent = says(client, said);
    let name = &sent[5..5 + NAME];
    let asked = [
        message(b'P', &[name, b"\0", source].concat()),
        message(b'D', &[b"S", name, b"\0"].concat()),
        message(b'H', b""),
    ];
    assert_eq!(sent, asked.concat());
    assert!(name.starts_with(b"dbb_1_"));
    // It is asked once, whatever comes meanwhile.
    assert_eq!(says(client, &message(b'S', b"")), b"");
    assert_eq!(hears(client, &message(b'1', b"")), (vec![], vec![]));
    assert!(client.is_owed() && !client.may_release());
}

#[test]
fn what_is_as_it_was_told_goes_on() {
    let (commons, mut client, _) = told();
    on_another_backend(&commons, &mut client, &run());
    let (heard, sent) = hears(&mut client, &description(INT4));
    assert!(heard.is_empty(), "{heard:?}");
    assert!(sent.starts_with(b"B\0\0\0\x27\0dbb_1_"), "{sent:?}");
    let done = [message(b'2', b""), message(b'C', b"SELECT 0\0")].concat();
    let answer = [&done[..], READY, READY].concat();
    assert_eq!(hears(&mut client, &answer), (answer, vec![]));
    // From now on it is known of this backend, to others who were told the same as well.
    let memory = gives_back(&mut client);
    client.attach(memory, &mut Outbound::default()).unwrap();
    assert!(says(&mut client, &run()).starts_with(b"B\0\0\0\x27\0dbb_1_"));
}

#[test]
fn where_it_was_described_it_is_not_described_again() {
    let (_commons, mut client, memory) = told();
    client.attach(memory, &mut Outbound::default()).unwrap();
    assert!(says(&mut client, &run()).starts_with(b"B\0\0\0\x27\0dbb_1_"));
}

#[test]
fn what_is_otherwise_is_refused_by_the_backend_and_in_its_words() {
    let refusal = b"SERROR\0VERROR\0C26000\0Mprepared statement \"x\" does not exist\0\0";
    for (said, before) in [
        (run(), vec![]),
        (
            [describe(), run()].concat(),
            message(b't', b"\0\x01\0\0\0\x17"),
        ),
    ] {
        let (commons, mut client, _) = told();
        on_another_backend(&commons, &mut client, &said);
        let (heard, sent) = hears(&mut client, &description(INT8));
        assert!(heard.is_empty(), "{heard:?}");
        let name = &REFUSED[..];
        assert!(sent.windows(name.len()).any(|part| part == name));
        let (heard, _) = hears(&mut client, &message(b'E', refusal));
        assert_eq!(heard, [before, message(b'E', CHANGED)].concat());
        let both = [READY, READY].concat();
        assert_eq!(hears(&mut client, &both), (both, vec![]));
        assert!(client.may_release());
    }
}

#[test]
fn who_is_told_it_anew_goes_by_that() {
    let (commons, mut client, _) = told();
    on_another_backend(&commons, &mut client, &run());
    hears(&mut client, &description(INT8));
    let refusal = message(b'E', b"SERROR\0VERROR\0C26000\0Mno\0\0");
    hears(&mut client, &[&refusal[..], READY, READY].concat());
    let mut said = BytesMut::from(&message(b'C', b"Ss\0")[..]);
    put_parse(&mut said, b"s", b"select a from t where b = $1\0\0\0");
    said.extend_from_slice(&describe());
    said.extend_from_slice(&run());
    says(&mut client, &said);
    let done = [
        &message(b'2', b"")[..],
        &message(b'C', b"SELECT 0\0"),
        READY,
    ]
    .concat();
    let closed = [message(b'3', b""), message(b'1', b"")].concat();
    hears(&mut client, &[closed, description(INT8), done].concat());
    assert!(client.may_release());
    assert!(says(&mut client, &run()).starts_with(b"B\0\0\0\x27\0dbb_1_"));
}

#[test]
fn an_error_while_it_is_asked_is_the_clients() {
    let (commons, mut client, _) = told();
    on_another_backend(&commons, &mut client, &run());
    let gone = message(b'E', b"SERROR\0VERROR\0C42P01\0Mno t\0\0");
    let told = [&gone[..], IN_BLOCK].concat();
    let (heard, sent) = hears(&mut client, &gone);
    assert_eq!((heard, &sent[..]), (gone, &b"S\0\0\0\x04S\0\0\0\x04"[..]));
    assert_eq!(hears(&mut client, &told[told.len() - 6..]).0, IN_BLOCK);
}

/// A client of these that has prepared such a statement, and has been told nothing of it.
fn untold(commons: &Rc<Commons>, source: &[u8]) -> Tracker {
    let mut client = Tracker::new(Rc::clone(commons), &Parameters::default()).unwrap();
    let memory = commons.backend_opened(&Parameters::default());
    client.attach(memory, &mut Outbound::default()).unwrap();
    let mut said = BytesMut::new();
    put_parse(&mut said, b"s", source);
    put_bare(&mut said, b'S');
    says(&mut client, &said);
    hears(&mut client, &[&message(b'1', b"")[..], READY].concat());
    client
}

/// On another backend it runs its statement at once.
fn waits_for_nothing(commons: &Rc<Commons>, client: &mut Tracker) {
    gives_back(client);
    let memory = commons.backend_opened(&Parameters::default());
    client.attach(memory, &mut Outbound::default()).unwrap();
    let sent = says(client, &run());
    assert!(sent.windows(5).any(|part| part == b"\0dbb_"), "{sent:?}");
    assert!(!sent.contains(&b'D'), "{sent:?}");
}

#[test]
fn who_was_told_nothing_waits_for_nothing() {
    let (commons, _client, _memory) = told();
    let mut client = untold(&commons, b"select a from t where b = $1\0\0\0");
    waits_for_nothing(&commons, &mut client);
}

#[test]
fn who_was_told_that_nothing_is_returned_waits_for_nothing() {
    let (commons, _client, _memory) = told();
    let mut client = untold(&commons, b"insert into t values ($1)\0\0\0");
    says(&mut client, &[describe(), message(b'S', b"")].concat());
    let nothing = [
        message(b't', b"\0\x01\0\0\0\x17"),
        message(b'n', b""),
        READY.to_vec(),
    ];
    hears(&mut client, &nothing.concat());
    waits_for_nothing(&commons, &mut client);
    let done = message(b'C', b"INSERT 0 1\0");
    let done = [message(b'1', b""), message(b'2', b""), done].concat();
    hears(&mut client, &[&done, READY].concat());
    // And from then on it is there.
    let sent = says(&mut client, &run());
    assert!(sent.starts_with(b"B"), "{sent:?}");
}

#[test]
fn a_portal_tells_of_its_own_statement() {
    let (commons, _client, _memory) = told();
    let bind = message(b'B', b"p\0s\0\0\0\0\x01\0\0\0\x011\0\0");
    let describe = message(b'D', b"Pp\0");
    let row = description(INT4)[11..].to_vec();
    let (closed, sync) = (message(b'C', b"Ss\0"), message(b'S', b""));
    let mut again = BytesMut::new();
    put_parse(&mut again, b"s", b"select another from t\0\0\0");
    let [bound, parsed] = [b'2', b'1'].map(|kind| message(kind, b""));
    let refusal = message(b'E', b"SERROR\0VERROR\0C42P03\0Mp is there\0\0");
    // The name means another statement by now.
    let mut client = untold(&commons, b"select a from t where b = $1\0\0\0");
    says(
        &mut client,
        &[&bind[..], &closed, &again, &describe, &sync].concat(),
    );
    hears(&mut client, &[&bound[..], &parsed, &row, READY].concat());
    waits_for_nothing(&commons, &mut client);
    // The portal is an earlier one.
    let mut client = untold(&commons, b"select a from t where b = $1\0\0\0");
    says(&mut client, &[&bind[..], &sync].concat());
    hears(&mut client, &[&refusal[..], READY].concat());
    says(&mut client, &[&describe[..], &sync].concat());
    hears(&mut client, &[&row[..], READY].concat());
    waits_for_nothing(&commons, &mut client);
    // It may be, for all that is known when it is described.
    let mut client = untold(&commons, b"select a from t where b = $1\0\0\0");
    says(&mut client, &[&bind[..], &sync, &describe, &sync].concat());
    hears(&mut client, &[&refusal[..], READY, &row, READY].concat());
    waits_for_nothing(&commons, &mut client);
}

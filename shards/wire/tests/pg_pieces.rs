//! Bytes come in pieces of any size, and may be anything: every transcript cut at every byte gives
//! the same outcome, and garbage gives errors, never a panic and never a growing buffer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod garbage;
mod pg_pair;

use std::{fmt::Debug, sync::LazyLock};

use bytes::{Bytes, BytesMut};
use garbage::Garbage;
use pg_pair::{key, meet, message, request};
use wire::{
    Exchange, Progress, Secret, WireError, is_tenant_id,
    pg::{
        Challenge, Greet, Login, LoginRequest, MockKey, Passed, PrefaceReader, Sender, Stored,
        TlsOffer, TlsRequest, Walker, error_response,
        greet::ANSWER_LIMIT,
        login::LOGIN_LIMIT,
        md5::Md5Hash,
        name_tenant, options,
        preface::{HASTE, PACKET_LIMIT},
        scram::{ChannelBinding, ScramServer, Verifier},
    },
};

/// What an exchange made of its input: the end it came to, what it said, what it left.
#[derive(Debug, PartialEq, Eq)]
struct Course {
    end: String,
    said: Vec<u8>,
    left: Vec<u8>,
}

/// Feeds an exchange piece by piece. `held` bounds what it may leave inbound while it wants more.
fn feed<'a, E>(mut exchange: E, pieces: impl Iterator<Item = &'a [u8]>, held: usize) -> Course
where
    E: Exchange,
    E::Outcome: Debug,
{
    let (mut inbound, mut outbound) = (BytesMut::new(), BytesMut::new());
    let mut end = None;
    for piece in std::iter::once(&[][..]).chain(pieces) {
        inbound.extend_from_slice(piece);
        while end.is_none() {
            match exchange.advance(&mut inbound, &mut outbound) {
                Ok(Progress::NeedMore) => {
                    assert!(inbound.len() <= held, "{} bytes held", inbound.len());
                    break;
                }
                Ok(Progress::Derive(derivation)) => exchange.derived(derivation.run()),
                Ok(Progress::Done(outcome)) => end = Some(format!("{outcome:?}")),
                Err(error) => end = Some(format!("{error:?}")),
            }
        }
    }
    let end = end.unwrap_or_else(|| "wants more".to_owned());
    Course {
        end,
        said: outbound.to_vec(),
        left: inbound.to_vec(),
    }
}

/// Feeds `bytes` whole, in two pieces cut everywhere, and byte by byte.
fn cut_everywhere<E>(name: &str, exchange: impl Fn() -> E, bytes: &[u8], held: usize)
where
    E: Exchange,
    E::Outcome: Debug,
{
    let whole = feed(exchange(), std::iter::once(bytes), held);
    for cut in 0..=bytes.len() {
        let (front, back) = bytes.split_at(cut);
        let course = feed(exchange(), [front, back].into_iter(), held);
        assert_eq!(course, whole, "{name} cut at {cut}");
    }
    assert_eq!(
        feed(exchange(), bytes.chunks(1), held),
        whole,
        "{name} byte by byte"
    );
}

const SSL: &[u8] = b"\0\0\0\x08\x04\xd2\x16\x2f";
const GSS: &[u8] = b"\0\0\0\x08\x04\xd2\x16\x30";
/// First bytes of clients, good and bad.
fn prefaces() -> Vec<Vec<u8>> {
    let mut startup = b"\0\x03\0\x03user\0acme__u\0_pq_.x\0\0".to_vec();
    startup.extend(b"options\0-c a=b\\ c --tenant-id=acme -S 12\0replication\0database\0\0");
    let mut packet = (startup.len() as u32 + 4).to_be_bytes().to_vec();
    packet.extend(startup);
    let mut cancel = BytesMut::new();
    key().write_cancel_request(&mut cancel);
    vec![
        packet.clone(),
        [&packet[..], b"behind"].concat(),
        cancel.to_vec(),
        SSL.to_vec(),
        GSS.to_vec(),
        b"\0\0\0\x09\0\x02\0\0\0".to_vec(),
        b"\0\0\0\x07\0\x03\0".to_vec(),
        b"\0\0\x27\x15\0\x03\0\0".to_vec(),
        b"\0\0\0\x10\0\x03\0\0user\0u\0x".to_vec(),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\0\x01".to_vec(),
        b"\x54\0\0\x01\x8d\xa6\xff\x19".to_vec(),
    ]
}

/// Derived in one round, for tests that log in many times.
static VERIFIER: LazyLock<Verifier> =
    LazyLock::new(|| Verifier::derive(PASSWORD, b"salt", 1).unwrap());

/// How many kinds of challenge there are.
const CHALLENGES: usize = 6;

/// A challenge of each kind; kind 1 is plain SCRAM.
fn challenge(kind: usize) -> Challenge {
    let scram = |verifier| {
        Challenge::ScramSha256(ScramServer::new(verifier, [2; 18], ChannelBinding::None))
    };
    match kind {
        0 => Challenge::Trust,
        1 => scram(VERIFIER.clone()),
        2 => scram(MockKey::new([0; 32]).verifier("acme", "alice")),
        3 => Challenge::Md5 {
            hash: Md5Hash::of(PASSWORD, pg_pair::USER),
            salt: [1, 2, 3, 4],
        },
        4 => Challenge::Password(Stored::Plain(Secret::new(PASSWORD))),
        _ => Challenge::Password(Stored::Scram(VERIFIER.clone())),
    }
}

#[test]
fn prefaces_may_be_cut_anywhere() {
    for preface in prefaces() {
        for tls in [TlsOffer::Unavailable, TlsOffer::Started] {
            let name = format!("{tls:?} {preface:?}");
            cut_everywhere(&name, || PrefaceReader::new(tls), &preface, PACKET_LIMIT);
        }
    }
}

#[test]
fn both_sides_of_a_login_may_be_cut_anywhere() {
    for kind in 0..CHALLENGES {
        let meeting = meet(request(Some(PASSWORD)), |_| challenge(kind));
        let greet = || Greet::new(challenge(kind));
        let name = format!("greet {kind}");
        cut_everywhere(&name, greet, &meeting.answers, ANSWER_LIMIT + 1);
        let login = || Login::new(request(Some(PASSWORD)));
        let replies = [&meeting.replies[..], b"behind"].concat();
        cut_everywhere(&format!("login {kind}"), login, &replies, LOGIN_LIMIT);
    }
    for refused in [
        &b"E\0\0\0\x10C57P03\0Mno\0\0"[..],
        b"\x4a\0\0\0\x0a8.0",
        b"J\0\0\0\x08abcd",
    ] {
        cut_everywhere(
            "refused",
            || Login::new(request(None)),
            refused,
            LOGIN_LIMIT,
        );
    }
}

/// Adds up what a walker says of pieces.
fn walk<'a>(
    sender: Sender,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> Result<(Passed, bool), WireError> {
    let mut walker = Walker::new(sender);
    let mut sum = Passed::default();
    for piece in pieces {
        let passed = walker.feed(piece)?;
        sum.messages += passed.messages;
        sum.requests += passed.requests;
        sum.terminate |= passed.terminate;
        sum.ready += passed.ready;
        sum.status = passed.status.or(sum.status);
        sum.errors += passed.errors;
        sum.fatal |= passed.fatal;
    }
    Ok((sum, walker.at_boundary()))
}

/// A session's traffic, from the client and from the database.
fn traffic() -> [(Sender, Vec<u8>); 2] {
    let messages = |messages: &[(u8, &[u8])]| {
        messages
            .iter()
            .flat_map(|&(kind, body)| message(kind, body))
            .collect()
    };
    let client = messages(&[
        (b'Q', b"select 1\0"),
        (b'P', b"\0;\0\0\0"),
        (b'B', b"\0\0\0\0\0\0\0\0"),
        (b'E', b"\0\0\0\0\0"),
        (b'S', b""),
        (b'd', b"1\t2\n"),
        (b'c', b""),
        (b'F', b"\0\0\0\0"),
        (b'X', b""),
    ]);
    let database = messages(&[
        (b'T', b"\0\0"),
        (b'D', b"\0\x01\0\0\0\x04abcd"),
        (b'C', b"SELECT 1\0"),
        (b'Z', b"I"),
        (b'N', b"SWARNING\0Mho\0\0"),
        (b'E', b"SERROR\0VERROR\0Mno\0\0"),
        (b'Z', b"E"),
        (b'E', b"SFATAL\0VFATAL\0Mbye\0\0"),
    ]);
    [(Sender::Frontend, client), (Sender::Backend, database)]
}

#[test]
fn traffic_may_be_cut_anywhere() {
    for (sender, bytes) in traffic() {
        let whole = walk(sender, std::iter::once(&bytes[..])).unwrap();
        assert!(whole.1 && whole.0.messages >= 8, "{whole:?}");
        for cut in 0..=bytes.len() {
            let (front, back) = bytes.split_at(cut);
            assert_eq!(
                walk(sender, [front, back].into_iter()),
                Ok(whole),
                "cut at {cut}"
            );
        }
        for size in 1..9 {
            assert_eq!(
                walk(sender, bytes.chunks(size)),
                Ok(whole),
                "chunks of {size}"
            );
        }
    }
}

#[test]
fn garbage_on_a_walker() {
    let samples = traffic().map(|(_, bytes)| bytes).to_vec();
    Garbage::new().rounds(&samples, |random, bytes| {
        for sender in [Sender::Frontend, Sender::Backend] {
            let whole = walk(sender, std::iter::once(bytes));
            assert_eq!(walk(sender, bytes.chunks(1 + random.below(9))), whole);
        }
    });
}

#[test]
fn garbage_as_a_preface() {
    Garbage::new().rounds(&prefaces(), |random, bytes| {
        for tls in [TlsOffer::Unavailable, TlsOffer::Started] {
            let whole = feed(
                PrefaceReader::new(tls),
                std::iter::once(bytes),
                PACKET_LIMIT,
            );
            // Only here it matters what has come: nothing may stand behind a request.
            if whole.end.contains(HASTE) {
                continue;
            }
            let size = 1 + random.below(20);
            assert_eq!(
                feed(PrefaceReader::new(tls), bytes.chunks(size), PACKET_LIMIT),
                whole
            );
        }
        feed(
            PrefaceReader::new(TlsOffer::Available),
            bytes.chunks(9),
            PACKET_LIMIT,
        );
    });
}

#[test]
fn garbage_as_an_answer_to_a_greeting() {
    let answers = |kind| meet(request(Some(PASSWORD)), |_| challenge(kind)).answers;
    let samples: Vec<_> = (1..CHALLENGES).map(answers).collect();
    Garbage::new().rounds(&samples, |random, bytes| {
        let kind = 1 + random.below(CHALLENGES - 1);
        let greet = || Greet::new(challenge(kind));
        let whole = feed(greet(), std::iter::once(bytes), ANSWER_LIMIT + 1);
        let size = 1 + random.below(40);
        assert_eq!(feed(greet(), bytes.chunks(size), ANSWER_LIMIT + 1), whole);
    });
}

#[test]
fn garbage_from_a_database_at_login() {
    let meeting = meet(request(Some(PASSWORD)), |_| challenge(1));
    // With the keys of an earlier login nothing is computed, save where the salt is garbage.
    let keys = meeting.login.unwrap().keys;
    let request = LoginRequest {
        keys,
        ..request(Some(PASSWORD))
    };
    let mut samples = vec![meeting.replies];
    for kind in 0..CHALLENGES {
        samples.push(meet(request.clone(), |_| challenge(kind)).replies);
    }
    Garbage::new().rounds(&samples, |random, bytes| {
        let mut login = Login::new(request.clone());
        let (mut inbound, mut outbound) = (BytesMut::new(), BytesMut::new());
        for piece in bytes.chunks(1 + random.below(100)) {
            inbound.extend_from_slice(piece);
            match login.advance(&mut inbound, &mut outbound) {
                Ok(Progress::NeedMore) => assert!(inbound.len() <= LOGIN_LIMIT),
                _ => return,
            }
        }
    });
}

#[test]
fn garbage_as_startup_parameters() {
    let words: [&[u8]; 12] = [
        b"user",
        b"options",
        b"tenant_id",
        b"database",
        b"replication",
        b"acme",
        b"acme__u",
        b"-c",
        b"--tenant-id=acme",
        b"-ctenant_id=b",
        b"\\ ",
        b"-c a=b",
    ];
    let mut named_some = 0;
    Garbage::new().rounds(
        &[b"user\0acme__u\0options\0-c TENANT_ID=acme -e\0".to_vec()],
        |random, bytes| {
            let mut body = b"\0\x03\0\0".to_vec();
            body.extend(bytes);
            while random.below(4) != 0 {
                body.extend(words[random.below(words.len())]);
                body.push([0, 0, b' '][random.below(3)]);
            }
            body.extend([0, 0]);
            let mut inbound = BytesMut::from(&(body.len() as u32 + 4).to_be_bytes()[..]);
            inbound.extend_from_slice(&body);
            let preface =
                PrefaceReader::new(TlsOffer::Started).advance(&mut inbound, &mut BytesMut::new());
            let Ok(Progress::Done(wire::pg::Preface::Startup(startup))) = preface else {
                return;
            };
            match name_tenant(startup) {
                Ok(named) => {
                    named_some += 1;
                    assert!(is_tenant_id(&named.tenant));
                    assert!(!named.user.is_empty());
                    let options = named.parameters.get("options").cloned().unwrap_or_default();
                    let settings = options::parse(&options).unwrap();
                    let names = settings
                        .iter()
                        .filter_map(|switch| switch.setting())
                        .map(|it| &*it.name);
                    let all = named.parameters.iter().map(|(name, _)| name).chain(names);
                    for name in all {
                        let name = name.to_ascii_lowercase();
                        assert!(!["tenant_id", "dbbouncer.tenant_id"].contains(&&*name));
                    }
                }
                Err(error) => error.response().write(&mut BytesMut::new()),
            }
        },
    );
    assert!(named_some > 0, "no input named a tenant");
}

#[test]
fn garbage_as_options_and_stored_secrets_and_errors() {
    let samples = [
        b"-c a=b -ec tenant_id=x --c-d=e\\ f -S 12".to_vec(),
        VERIFIER.to_text().into_bytes(),
        b"SFATAL\0VFATAL\0C57P01\0Mbye\0\0".to_vec(),
    ];
    Garbage::new().rounds(&samples, |_, bytes| {
        if let Ok(switches) = options::parse(bytes) {
            let encoded = options::encode(&switches);
            assert_eq!(options::parse(&encoded).as_ref(), Ok(&switches));
            assert_eq!(options::encode(&switches), encoded);
        }
        let _ = Stored::parse(&String::from_utf8_lossy(bytes), "u");
        let refusal = error_response::parse(Bytes::copy_from_slice(bytes));
        assert_eq!(refusal.sqlstate.len(), 5);
        assert!(refusal.message.len() <= error_response::TEXT_LIMIT);
        let _ = TlsRequest::default().advance(&mut BytesMut::from(bytes), &mut BytesMut::new());
    });
}

const PASSWORD: &str = "secret";

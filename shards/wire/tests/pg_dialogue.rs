//! Our login meets our greeting: every method of authentication, with right and wrong passwords,
//! and databases that do not keep to the protocol.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod pg_pair;

use bytes::BytesMut;
use pg_pair::{USER, key, meet, message, request, run, settings};
use wire::{
    Secret, WireError,
    pg::{
        Challenge, LoggedIn, Login, MockKey, Stored, TransactionStatus,
        login::LOGIN_LIMIT,
        md5::Md5Hash,
        scram::{ChannelBinding, ScramServer, Verifier},
    },
};

const PASSWORD: &str = "pass w\u{f6}rd";

fn verifier() -> Verifier {
    Verifier::derive(PASSWORD, b"sixteen bytes...", 4096).unwrap()
}

fn scram(verifier: Verifier) -> Challenge {
    Challenge::ScramSha256(ScramServer::new(verifier, [2; 18], ChannelBinding::None))
}

fn md5(hash: Md5Hash) -> Challenge {
    Challenge::Md5 {
        hash,
        salt: [1, 0, 255, 7],
    }
}

/// Every way to ask alice for her password.
fn challenges() -> Vec<(&'static str, Challenge)> {
    let plain = Stored::Plain(Secret::new(PASSWORD));
    let hash = Md5Hash::of(PASSWORD, "alice");
    vec![
        ("password, stored plain", Challenge::Password(plain)),
        (
            "password, stored as md5",
            Challenge::Password(Stored::Md5 {
                hash,
                user: "alice".to_owned(),
            }),
        ),
        (
            "password, stored as verifier",
            Challenge::Password(Stored::Scram(verifier())),
        ),
        ("md5", md5(Md5Hash::of(PASSWORD, USER))),
        ("scram-sha-256", scram(verifier())),
    ]
}

fn check(logged_in: LoggedIn) {
    assert_eq!(logged_in.parameters, settings());
    assert_eq!(logged_in.key, Some(key()));
    assert_eq!(logged_in.status, TransactionStatus::Idle);
    assert!(logged_in.notices.is_empty());
}

#[test]
fn the_right_password_is_let_in_by_every_method() {
    for (method, challenge) in challenges() {
        let meeting = meet(request(Some(PASSWORD)), |_| challenge);
        meeting.greeting.expect(method);
        check(meeting.login.expect(method));
    }
}

#[test]
fn a_wrong_password_is_refused_by_every_method() {
    for password in ["", "password", "pass word", &"x".repeat(4000)] {
        for (method, challenge) in challenges() {
            let meeting = meet(request(Some(password)), |_| challenge);
            assert_eq!(
                meeting.greeting,
                Err(WireError::BadCredentials),
                "{method} {password}"
            );
            match meeting.login {
                Err(WireError::Refused(refusal)) => assert_eq!(
                    refusal.to_string(),
                    "password authentication failed (28P01)"
                ),
                other => panic!("{method} {password}: {other:?}"),
            }
        }
    }
}

#[test]
fn trust_asks_nothing() {
    let meeting = meet(request(None), |_| Challenge::Trust);
    meeting.greeting.unwrap();
    check(meeting.login.unwrap());
    assert!(meeting.answers.is_empty());
}

#[test]
fn the_greeting_learns_whom_the_login_means() {
    let named = meet(request(None), |_| Challenge::Trust).named;
    assert_eq!(
        (&*named.tenant, &*named.user, &*named.raw_user),
        ("acme", "alice", USER)
    );
    assert_eq!(named.database.as_deref(), Some("shop"));
    assert_eq!(named.parameters, request(None).parameters);
    assert_eq!(named.minor, 0);
}

/// Types, lengths and request numbers of what a server said: all that is not random in it.
fn shape(mut replies: &[u8]) -> Vec<(u8, usize)> {
    let mut shape = Vec::new();
    while let Some((header, rest)) = replies.split_first_chunk::<5>() {
        let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
        shape.push((header[0], length));
        replies = &rest[length - 4..];
    }
    shape
}

#[test]
fn nobody_is_greeted_like_somebody_with_a_wrong_password() {
    let mock = MockKey::new([9; 32]);
    let real = |password: &str| {
        let salt = mock.salt("acme", "alice");
        [
            Challenge::Password(Stored::Plain(Secret::new(password))),
            md5(Md5Hash::of(password, USER)),
            scram(Verifier::derive(password, &salt, 4096).unwrap()),
        ]
    };
    let nobody = || {
        [
            Challenge::Password(Stored::Plain(mock.password("acme", "alice"))),
            md5(mock.md5("acme", "alice")),
            scram(mock.verifier("acme", "alice")),
        ]
    };
    for (known, unknown) in real(PASSWORD).into_iter().zip(nobody()) {
        let known = meet(request(Some("wrong")), |_| known);
        let unknown = meet(request(Some("wrong")), |_| unknown);
        assert_eq!(shape(&known.replies), shape(&unknown.replies));
        assert_eq!(known.greeting, unknown.greeting);
        assert_eq!(known.derivations, unknown.derivations);
    }
    // Asking again gives the same salt; a real one would not change either.
    let [.., first] = nobody();
    let [.., second] = nobody();
    let first = meet(request(Some("wrong")), |_| first);
    let second = meet(request(Some("wrong")), |_| second);
    assert_eq!(first.replies, second.replies);
}

#[test]
fn the_keys_of_a_login_spare_the_next_one_the_work() {
    let first = meet(request(Some(PASSWORD)), |_| scram(verifier()));
    assert_eq!(first.derivations, (1, 0));
    let keys = first.login.unwrap().keys;
    assert!(keys.is_some());

    let again = request_with(&keys);
    let second = meet(again.clone(), |_| scram(verifier()));
    assert_eq!(second.derivations, (0, 0));
    check(second.login.unwrap());

    // The password was set anew at the database: another salt, so the keys do not fit.
    let renewed = Verifier::derive(PASSWORD, b"another salt....", 4096).unwrap();
    let third = meet(again, |_| scram(renewed));
    assert_eq!(third.derivations, (1, 0));
    check(third.login.unwrap());
}

fn request_with(keys: &Option<wire::pg::scram::ClientKeys>) -> wire::pg::LoginRequest {
    wire::pg::LoginRequest {
        keys: keys.clone(),
        nonce: [3; 18],
        ..request(Some(PASSWORD))
    }
}

/// A login fed with these bytes; what it said after its StartupMessage, and what came of it.
fn fed(password: Option<&str>, bytes: &[u8]) -> (Result<Option<LoggedIn>, WireError>, Vec<u8>) {
    let mut login = Login::new(request(password));
    let mut outbound = BytesMut::new();
    let _ = run(&mut login, &mut BytesMut::new(), &mut outbound, &mut 0).unwrap();
    outbound.clear();
    let end = run(
        &mut login,
        &mut BytesMut::from(bytes),
        &mut outbound,
        &mut 0,
    );
    (end, outbound.to_vec())
}

const OK: &[u8] = b"R\0\0\0\x08\0\0\0\0";
const READY: &[u8] = b"Z\0\0\0\x05I";
const SASL: &[u8] = b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0";

#[test]
fn a_database_that_began_scram_must_prove_itself() {
    // It lets us in before it has proved anything.
    for early in [&[SASL, OK][..], &[SASL, b"R\0\0\0\x08\0\0\0\x0c"]] {
        let (end, _) = fed(Some(PASSWORD), &early.concat());
        assert!(
            matches!(end, Err(WireError::Unexpected { .. })),
            "{early:?}: {end:?}"
        );
    }
    // It knows half of the verifier: enough to check us, not to be checked.
    let text = verifier().to_text();
    let (half, _) = text.rsplit_once(':').unwrap();
    let forged = Verifier::parse(&format!("{half}:{}=", "A".repeat(43))).unwrap();
    let meeting = meet(request(Some(PASSWORD)), |_| scram(forged));
    meeting.greeting.unwrap();
    assert!(matches!(meeting.login, Err(WireError::Malformed { .. })));
}

#[test]
fn requests_that_cannot_be_met_are_named() {
    let other = message(b'R', b"\0\0\0\x0aOAUTHBEARER\0SCRAM-SHA-1\0\0");
    let (end, said) = fed(Some(PASSWORD), &other);
    assert!(said.is_empty());
    match end {
        Err(WireError::Unsupported { what }) => assert!(what.contains("OAUTHBEARER, SCRAM-SHA-1")),
        other => panic!("{other:?}"),
    }
    let (end, _) = fed(Some(PASSWORD), b"R\0\0\0\x08\0\0\0\x07");
    assert!(matches!(end, Err(WireError::Unsupported { .. })));
    for asked in [SASL, b"R\0\0\0\x08\0\0\0\x03", b"R\0\0\0\x0c\0\0\0\x05salt"] {
        let (end, said) = fed(None, asked);
        assert!(
            end.unwrap_err()
                .to_string()
                .contains("no password is configured")
        );
        assert!(said.is_empty());
    }
}

#[test]
fn a_password_is_said_once() {
    let cleartext = b"R\0\0\0\x08\0\0\0\x03";
    let (end, said) = fed(Some("x"), &[&cleartext[..], &cleartext[..]].concat());
    assert!(matches!(end, Err(WireError::Unexpected { .. })));
    assert_eq!(said, b"p\0\0\0\x06x\0");
}

#[test]
fn a_refusal_is_given_in_the_words_of_the_database() {
    let body = b"SFATAL\0VFATAL\0C3D000\0Mdatabase \"shop\" does not exist\0\0";
    for before in [&[][..], OK, SASL] {
        let (end, _) = fed(Some("x"), &[before, &message(b'E', body)].concat());
        match end {
            Err(WireError::Refused(refusal)) => {
                assert_eq!(
                    refusal.to_string(),
                    "database \"shop\" does not exist (3D000)"
                );
            }
            other => panic!("{other:?}"),
        }
    }
    let (end, _) = fed(None, &message(b'E', b""));
    assert!(matches!(end, Err(WireError::Refused(_))));
}

#[test]
fn what_is_said_on_the_way_is_collected() {
    let mut bytes = message(b'v', b"\0\x03\0\0\0\0\0\0");
    bytes.extend(message(b'N', b"SNOTICE\0Mone\0\0"));
    bytes.extend(OK);
    bytes.extend(message(b'S', b"DateStyle\0ISO\0"));
    bytes.extend(message(b'N', b"SNOTICE\0Mtwo\0\0"));
    bytes.extend(message(b'S', b"datestyle\0German\0"));
    bytes.extend(message(b'Z', b"T"));
    let (end, _) = fed(None, &bytes);
    let logged_in = end.unwrap().unwrap();
    assert_eq!(
        logged_in.parameters,
        [("DateStyle", "German")].into_iter().collect()
    );
    assert_eq!(logged_in.key, None);
    let notice = |text: &[u8]| message(b'N', text);
    let notices = [notice(b"SNOTICE\0Mone\0\0"), notice(b"SNOTICE\0Mtwo\0\0")];
    assert_eq!(logged_in.notices, notices);
    assert_eq!(logged_in.status, TransactionStatus::InBlock);
}

#[test]
fn bytes_behind_the_end_stay_where_they_are() {
    let mut login = Login::new(request(None));
    let mut inbound = BytesMut::from(&[OK, READY, b"more"].concat()[..]);
    let end = run(&mut login, &mut inbound, &mut BytesMut::new(), &mut 0);
    assert!(end.unwrap().is_some());
    assert_eq!(&inbound[..], b"more");
}

#[test]
fn databases_that_do_not_keep_to_the_protocol_are_refused() {
    for bytes in [
        READY.to_vec(),
        message(b'S', b"a\0b\0"),
        message(b'T', b"\0\0"),
        message(b'R', b""),
        message(b'R', b"\0\0\0\x05abc"),
        message(b'v', b"\0\x03\0\x02\0\0\0\0"),
        message(b'v', b"\0\x03\0\0\0\0\0\x01x\0"),
        [OK, OK].concat(),
        [OK, b"Z\0\0\0\x05x"].concat(),
        [OK, b"Z\0\0\0\x06II"].concat(),
        [OK, &message(b'S', b"a\0b")].concat(),
        [OK, &message(b'S', b"a\0b\0c")].concat(),
        [OK, &message(b'S', b"\xff\0b\0")].concat(),
        [OK, &message(b'K', b"\0\0\0\x01abc")].concat(),
        [OK, b"S\0\0\0\x03"].concat(),
        [OK, b"S\x7f\xff\xff\xff"].concat(),
    ] {
        let (end, _) = fed(Some("x"), &bytes);
        assert!(end.is_err(), "{bytes:?}: {end:?}");
    }
    for (bytes, name) in [
        (&b"\x4a\0\0\0\x0a8.0.36\0"[..], "MySQL"),
        (b"HTTP/1.1 400 Bad Request\r\n", "HTTP"),
        (b"SSH-2.0-OpenSSH\r\n", "SSH"),
    ] {
        match fed(None, bytes).0 {
            Err(WireError::WrongProtocol { found, .. }) => assert_eq!(found, name),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_database_cannot_talk_without_end() {
    let endless = |next: &dyn Fn(usize) -> Vec<u8>| {
        let mut bytes = OK.to_vec();
        for number in 0.. {
            bytes.extend(next(number));
            if bytes.len() > LOGIN_LIMIT {
                break;
            }
        }
        fed(None, &bytes).0
    };
    for end in [
        endless(&|_| message(b'N', &[b'x'; 1000])),
        endless(&|_| message(b'S', b"same\0value\0")),
        endless(&|number| message(b'S', format!("name{number}\0value\0").as_bytes())),
    ] {
        assert!(
            matches!(
                end,
                Err(WireError::TooLarge {
                    limit: LOGIN_LIMIT,
                    ..
                })
            ),
            "{end:?}"
        );
    }
}

#[test]
fn settings_and_notices_are_kept_up_to_a_number() {
    let login = |message: &dyn Fn(usize) -> Vec<u8>, number| {
        let messages: Vec<u8> = (0..number).flat_map(message).collect();
        fed(None, &[OK, &messages, READY].concat()).0
    };
    let setting = |number| message(b'S', format!("name{number}\0value\0").as_bytes());
    assert_eq!(login(&setting, 256).unwrap().unwrap().parameters.len(), 256);
    assert!(login(&setting, 257).is_err());
    let notice = |_| message(b'N', b"Mho\0\0");
    assert_eq!(login(&notice, 1000).unwrap().unwrap().notices.len(), 64);
}

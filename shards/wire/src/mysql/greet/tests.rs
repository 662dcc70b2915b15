//! Greetings and answers of MySQL clients, round by round.

#![allow(clippy::unwrap_used)]
use super::super::capability::Capabilities;
use super::super::response::HandshakeResponse;
use super::super::verifier::{Verifier, caching_sha2_token, native_token};
use super::*;
use crate::secret::Secret;

const STORED_NATIVE: &str = "*14E65567ABDB5135D0CFD9A70B3032C179A49EE7";

fn nonce() -> Nonce {
    Nonce::from_random([77; 20])
}

fn secret() -> Expect {
    Expect::Password(Verifier::of_password(&Secret::new("secret")))
}

fn login(plugin: Option<&str>, token: Vec<u8>) -> ClientLogin {
    let response = HandshakeResponse {
        capabilities: Capabilities::OFFERED.with_if(Capabilities::PLUGIN_AUTH, plugin.is_some()),
        charset: 45,
        user: "acme__app".to_owned(),
        token: token.into(),
        database: None,
        plugin: plugin.map(str::to_owned),
        attributes: Vec::new(),
    };
    ClientLogin {
        response,
        nonce: nonce(),
        connection_id: 7,
        secured: false,
        sequence: 2,
    }
}

/// A round with what the client says in it, computations included, and what it is told.
fn advance(greet: &mut Greet, said: &[u8]) -> (Result<Progress<Greeted>, WireError>, Vec<u8>) {
    let (mut inbound, mut out) = (BytesMut::from(said), BytesMut::new());
    loop {
        match greet.advance(&mut inbound, &mut out) {
            Ok(Progress::Derive(derivation)) => greet.derived(derivation.run()),
            progress => return (progress, out.to_vec()),
        }
    }
}

fn packet(sequence: u8, payload: &[u8]) -> BytesMut {
    let mut packet = BytesMut::new();
    packet::put(&mut packet, sequence, payload);
    packet
}

/// What the first round comes to, and what was sent in it.
fn first(
    plugin: Option<&str>,
    token: Vec<u8>,
    expect: Expect,
) -> (Result<Progress<Greeted>, WireError>, Vec<u8>) {
    let mut out = BytesMut::new();
    let mut greet = Greet::new(&login(plugin, token), expect);
    let progress = greet.advance(&mut BytesMut::new(), &mut out);
    (progress, out.to_vec())
}

fn done(progress: Result<Progress<Greeted>, WireError>) -> u8 {
    match progress {
        Ok(Progress::Done(greeted)) => greeted.sequence,
        other => panic!("{other:?}"),
    }
}

const SHA2: Option<&str> = Some("caching_sha2_password");
const NATIVE: Option<&str> = Some("mysql_native_password");

#[test]
fn a_password_in_clear_is_heard_inside_tls_only() {
    for (password, secured, right) in [
        (&b"secret\0"[..], true, true),
        (b"Secret\0", true, false),
        (b"secret\0", false, false),
    ] {
        let login = ClientLogin {
            secured,
            ..login(Some("mysql_clear_password"), password.to_vec())
        };
        let mut greet = Greet::new(&login, secret());
        let progress = advance(&mut greet, &[]).0;
        match (right, secured) {
            (true, _) => assert_eq!(done(progress), 2),
            (false, true) => assert!(matches!(progress, Err(WireError::BadCredentials))),
            // Another method is asked for, and what was said is not looked at.
            (false, false) => assert!(matches!(progress, Ok(Progress::NeedMore))),
        }
    }
}

#[test]
fn a_sha2_token_ends_on_the_fast_path() {
    let (progress, out) = first(SHA2, caching_sha2_token(b"secret", &nonce()), secret());
    assert_eq!(done(progress), 3);
    assert_eq!(out, b"\x02\x00\x00\x02\x01\x03");
}

#[test]
fn a_native_token_for_the_greetings_nonce_is_taken_at_once_whatever_its_name() {
    for plugin in [NATIVE, SHA2, None] {
        let (progress, out) = first(plugin, native_token(b"secret", &nonce()), secret());
        assert_eq!(done(progress), 2);
        assert_eq!(out, b"");
    }
}

#[test]
fn wrong_passwords_and_nobody_end_alike() {
    for (plugin, token) in [
        (SHA2, caching_sha2_token(b"wrong", &nonce())),
        (NATIVE, native_token(b"wrong", &nonce())),
        (None, native_token(b"wrong", &nonce())),
        (SHA2, Vec::new()),
        (SHA2, vec![0]),
        (SHA2, b"cleartext".to_vec()),
    ] {
        for expect in [secret(), Expect::Nobody] {
            let (progress, out) = first(plugin, token.clone(), expect);
            assert!(matches!(progress, Err(WireError::BadCredentials)));
            assert_eq!(out, b"");
        }
    }
    // Nor does nobody get in with the one password whose hash would be all zeros, were there one.
    let (progress, _) = first(SHA2, caching_sha2_token(b"", &nonce()), Expect::Nobody);
    assert!(matches!(progress, Err(WireError::BadCredentials)));
}

#[test]
fn no_password_is_right_only_where_there_is_none() {
    for token in [Vec::new(), vec![0]] {
        let empty = Expect::Password(Verifier::of_password(&Secret::new("")));
        let (progress, out) = first(SHA2, token, empty);
        assert_eq!((done(progress), out), (2, Vec::new()));
    }
}

#[test]
fn a_method_of_no_use_is_switched_to_native() {
    for (plugin, token) in [
        (Some("client_ed25519"), vec![1; 64]),
        (Some("mysql_clear_password"), b"secret\0".to_vec()),
        (Some("sha256_password"), vec![1]),
        (NATIVE, Vec::new()),
    ] {
        for expect in [secret(), Expect::Trust, Expect::Nobody] {
            let (progress, out) = first(plugin, token.clone(), expect);
            assert!(matches!(progress, Ok(Progress::NeedMore)), "{plugin:?}");
            assert_eq!(&out[3..27], b"\x02\xFEmysql_native_password\0");
            assert_eq!(&out[27..], [nonce().as_bytes(), &[0]].concat());
        }
    }
}

#[test]
fn the_answer_to_a_switch_decides() {
    for (password, right) in [("secret", true), ("wrong", false)] {
        let mut greet = Greet::new(&login(Some("dialog"), Vec::new()), secret());
        let mut out = BytesMut::new();
        let asked = greet.advance(&mut BytesMut::new(), &mut out);
        assert!(matches!(asked, Ok(Progress::NeedMore)));
        assert!(!greet.used_password());
        let mut inbound = BytesMut::new();
        packet::put(
            &mut inbound,
            3,
            &native_token(password.as_bytes(), &nonce()),
        );
        match greet.advance(&mut inbound, &mut out) {
            Ok(Progress::Done(greeted)) if right => assert_eq!(greeted.sequence, 4),
            Err(WireError::BadCredentials) if !right => assert_eq!(greet.next_sequence(), 4),
            other => panic!("{other:?}"),
        }
        assert!(greet.used_password());
    }
}

#[test]
fn a_stored_form_for_one_method_makes_the_client_switch_to_it() {
    let stored = || Expect::Password(Verifier::parse(STORED_NATIVE).unwrap());
    let (progress, out) = first(SHA2, caching_sha2_token(b"secret", &nonce()), stored());
    assert!(matches!(progress, Ok(Progress::NeedMore)));
    assert_eq!(&out[5..26], b"mysql_native_password");
    // A client that names no methods cannot be asked.
    let (progress, _) = first(None, caching_sha2_token(b"secret", &nonce()), stored());
    assert!(matches!(progress, Err(WireError::BadCredentials)));
}

/// As MySQL keeps it, of `secret`.
const STORED_SHA2: &str = "0x2441243030412478522C354F4E2C42522D2C130F58317E1F0D6012416C4138546A434E2E2E50413157534D496B30522E39785271536D7568487A70306868576D324E32724F39";

/// A client whose token cannot be judged, or not any more.
fn asked_in_full(expect: Expect) -> Greet {
    let login = ClientLogin {
        secured: true,
        ..login(SHA2, caching_sha2_token(b"secret", &nonce()))
    };
    let mut greet = Greet::new(&login, expect);
    let (progress, out) = advance(&mut greet, &[]);
    assert!(matches!(progress, Ok(Progress::NeedMore)));
    assert_eq!(out, b"\x02\0\0\x02\x01\x04");
    greet
}

#[test]
fn a_slow_hash_is_proved_by_the_password_and_from_then_on_by_a_token() {
    let stored = || Verifier::parse(STORED_SHA2).unwrap();
    let mut greet = asked_in_full(Expect::Password(stored()));
    let (progress, out) = advance(&mut greet, &packet(3, b"secret\0"));
    assert_eq!((done(progress), out), (4, Vec::new()));
    let digested = greet.learnt().unwrap();

    let knowing = Expect::Password(stored().knowing(&digested));
    let (progress, _) = first(
        SHA2,
        caching_sha2_token(b"secret", &nonce()),
        knowing.clone(),
    );
    assert_eq!(done(progress), 3);
    let (progress, out) = first(SHA2, caching_sha2_token(b"Secret", &nonce()), knowing);
    assert!(matches!(progress, Err(WireError::BadCredentials)));
    assert_eq!(out, b"");
}

#[test]
fn without_tls_nobody_is_asked_for_the_password() {
    let stored = Expect::Password(Verifier::parse(STORED_SHA2).unwrap());
    for expect in [stored, Expect::Password(Verifier::of_nobody_in_full(5000))] {
        let (progress, out) = first(SHA2, caching_sha2_token(b"secret", &nonce()), expect);
        assert!(matches!(progress, Err(WireError::BadCredentials)));
        assert_eq!(out, b"");
    }
}

#[test]
fn wrong_passwords_end_alike_whoever_they_are_of() {
    let stored = || Verifier::parse(STORED_SHA2).unwrap();
    let plain = Verifier::of_password(&Secret::new("other")).asked_in_full(5000);
    for (verifier, said) in [
        (stored(), &b"Secret\0"[..]),
        (stored(), b"\0"),
        (stored(), b""),
        (Verifier::of_nobody_in_full(5000), b"secret\0"),
        (plain, b"secret\0"),
    ] {
        let mut greet = asked_in_full(Expect::Password(verifier));
        let (progress, out) = advance(&mut greet, &packet(3, said));
        assert!(
            matches!(progress, Err(WireError::BadCredentials)),
            "{said:?}"
        );
        assert_eq!((out, greet.next_sequence()), (Vec::new(), 4));
        assert!(greet.learnt().is_none());
    }
}

#[test]
fn trust_takes_any_token_and_still_ends_the_method_properly() {
    let (progress, out) = first(SHA2, vec![5; 32], Expect::Trust);
    assert_eq!((done(progress), &out[4..]), (3, &b"\x01\x03"[..]));
    let (progress, out) = first(SHA2, Vec::new(), Expect::Trust);
    assert_eq!((done(progress), out), (2, Vec::new()));
}

#[test]
fn a_change_of_user_is_always_asked_for_its_token() {
    let request = ChangeUser {
        user: "acme__app".to_owned(),
        token: caching_sha2_token(b"secret", &nonce()).into(),
        database: None,
        charset: None,
        plugin: SHA2.map(str::to_owned),
        attributes: Vec::new(),
    };
    let mut greet = Greet::change_user(&request, nonce(), false, secret());
    let mut out = BytesMut::new();
    assert!(matches!(
        greet.advance(&mut BytesMut::new(), &mut out),
        Ok(Progress::NeedMore)
    ));
    assert_eq!(&out[3..27], b"\x01\xFEcaching_sha2_password\0");
    let mut inbound = BytesMut::new();
    packet::put(&mut inbound, 2, &caching_sha2_token(b"secret", &nonce()));
    assert_eq!(done(greet.advance(&mut inbound, &mut out)), 4);
}

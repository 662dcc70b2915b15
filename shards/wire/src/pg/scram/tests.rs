//! Both sides against the example of RFC 7677, and against each other.
#![allow(clippy::unwrap_used, clippy::panic)]

use super::{client::Binding, message::decode, *};
use crate::{error::WireError, secret::Secret};

const CLIENT_FIRST: &str = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
const SERVER_FIRST: &str =
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
const CLIENT_FINAL: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                            p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
const SERVER_FINAL: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

fn verifier() -> Verifier {
    Verifier::derive("pencil", &decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap(), 4096).unwrap()
}

/// A server whose nonce is the one of the RFC, which is not base64 of 18 bytes.
fn rfc_server() -> ScramServer {
    ScramServer {
        verifier: verifier(),
        nonce: "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0".to_owned(),
        binding: ChannelBinding::None,
    }
}

#[test]
fn the_server_says_what_rfc_7677_says() {
    let challenged = rfc_server()
        .challenge(b"SCRAM-SHA-256", CLIENT_FIRST.as_bytes())
        .unwrap();
    assert_eq!(challenged.server_first(), SERVER_FIRST);
    assert_eq!(
        challenged.finish(CLIENT_FINAL.as_bytes()).unwrap().0,
        SERVER_FINAL
    );
}

#[test]
fn the_client_says_what_rfc_7677_says() {
    let client = Client {
        client_first_bare: "n=user,r=rOprNGfwEbeRWgbNEkqO".to_owned(),
        nonce: "rOprNGfwEbeRWgbNEkqO".to_owned(),
        binding: Binding::Impossible,
    };
    assert_eq!(client.client_first(), CLIENT_FIRST);
    let challenged = client.challenged(SERVER_FIRST.as_bytes()).unwrap();
    let salted = challenged.salting(Secret::new("pencil"))();
    let keys = challenged.keys(&salted);
    let (client_final, responded) = challenged.respond(&keys);
    assert_eq!(client_final, CLIENT_FINAL);
    responded.verify(SERVER_FINAL.as_bytes()).unwrap();
}

#[test]
fn a_proof_shows_the_keys_for_a_server_with_the_same_verifier() {
    let challenged = rfc_server()
        .challenge(b"SCRAM-SHA-256", CLIENT_FIRST.as_bytes())
        .unwrap();
    let (_, keys) = challenged.finish(CLIENT_FINAL.as_bytes()).unwrap();
    let client = Client {
        client_first_bare: "n=user,r=rOprNGfwEbeRWgbNEkqO".to_owned(),
        nonce: "rOprNGfwEbeRWgbNEkqO".to_owned(),
        binding: Binding::Impossible,
    };
    let challenged = client.challenged(SERVER_FIRST.as_bytes()).unwrap();
    assert!(challenged.fits(&keys));
    let (client_final, responded) = challenged.respond(&keys);
    assert_eq!(client_final, CLIENT_FINAL);
    responded.verify(SERVER_FINAL.as_bytes()).unwrap();
}

fn server(binding: ChannelBinding) -> ScramServer {
    ScramServer::new(verifier(), [7; 18], binding)
}

fn bound() -> ChannelBinding {
    ChannelBinding::ServerEndPoint(vec![1, 2, 3])
}

#[test]
fn a_wrong_password_is_told_from_a_broken_message() {
    let challenged = rfc_server()
        .challenge(b"SCRAM-SHA-256", CLIENT_FIRST.as_bytes())
        .unwrap();
    let wrong = CLIENT_FINAL.replace("p=dHzb", "p=dHza");
    assert_eq!(
        challenged.finish(wrong.as_bytes()).err(),
        Some(WireError::BadCredentials)
    );
    for broken in [
        "",
        "c=biws",
        "c=biws,r=x,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        &CLIENT_FINAL.replace("biws", "eSws"),
        &CLIENT_FINAL.replace(",p=dHzb", ",p=d"),
        &CLIENT_FINAL.replace(",p=", ",q="),
    ] {
        let challenged = rfc_server()
            .challenge(b"SCRAM-SHA-256", CLIENT_FIRST.as_bytes())
            .unwrap();
        let finished = challenged.finish(broken.as_bytes());
        assert!(
            matches!(finished, Err(WireError::Malformed { .. })),
            "{broken}"
        );
    }
}

#[test]
fn client_first_is_read_as_postgresql_reads_it() {
    for (first, good) in [
        ("n,,n=,r=abc", true),
        ("y,,n=,r=abc", true),
        ("n,,n=u,r=", true),
        ("n,,n=,r=abc,x=1", true),
        ("p=tls-server-end-point,,n=,r=abc", false),
        ("n,a=x,n=,r=abc", false),
        ("n,,m=1,n=,r=abc", false),
        ("n,,n=,r=a b", false),
        ("n,,n=", false),
        ("n,,r=abc", false),
        ("x,,n=,r=abc", false),
        ("n", false),
        ("", false),
        (
            &format!("n,,n=,r={}", "a".repeat(SASL_MESSAGE_LIMIT)),
            false,
        ),
    ] {
        let challenged = server(ChannelBinding::None).challenge(b"SCRAM-SHA-256", first.as_bytes());
        assert_eq!(challenged.is_ok(), good, "{first}");
    }
}

#[test]
fn a_bound_channel_is_offered_and_its_denial_noticed() {
    assert_eq!(
        server(bound()).mechanisms(),
        ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"]
    );
    let challenge = |mechanism: &[u8], flag: &str| {
        server(bound()).challenge(mechanism, format!("{flag},,n=,r=abc").as_bytes())
    };
    let plus = b"SCRAM-SHA-256-PLUS";
    let challenged = challenge(plus, "p=tls-server-end-point").unwrap();
    let wanted = format!(
        "c={}",
        message::encode(b"p=tls-server-end-point,,\x01\x02\x03")
    );
    assert!(wanted.ends_with(&challenged.binding));
    assert!(challenge(plus, "p=tls-unique").is_err());
    assert!(challenge(plus, "n").is_err());
    assert!(challenge(b"SCRAM-SHA-256", "n").is_ok());
    assert!(challenge(b"SCRAM-SHA-256", "p=tls-server-end-point").is_err());
    // It believes that PLUS was not offered: somebody took it out of the list.
    let denied = challenge(b"SCRAM-SHA-256", "y");
    assert!(
        matches!(denied, Err(WireError::Unexpected { .. })),
        "{denied:?}"
    );
}

#[test]
fn what_a_database_may_not_say_is_refused_before_anything_is_computed() {
    let nonce = Client::new([0; 18], Binding::Impossible).nonce;
    for (server_first, good) in [
        (format!("r={nonce}x,s=AAAA,i=4096"), true),
        (format!("r={nonce}x,s=AAAA,i={ITERATIONS_LIMIT}"), true),
        (
            format!("r={nonce}x,s=AAAA,i={}", ITERATIONS_LIMIT + 1),
            false,
        ),
        (format!("r={nonce}x,s=AAAA,i=0"), false),
        (format!("r={nonce}x,s=AAAA,i=+9"), false),
        (format!("r={nonce}x,s=AAAA,i=99999999999"), false),
        (format!("r={nonce}x,s=AAAA"), false),
        (format!("r={nonce}x,s=!,i=4096"), false),
        (format!("r={nonce},s=AAAA,i=4096"), false),
        ("r=other,s=AAAA,i=4096".to_owned(), false),
        (format!("m=1,r={nonce}x,s=AAAA,i=4096"), false),
        (
            format!("r={nonce}{},s=AAAA,i=4096", "x".repeat(10_000)),
            false,
        ),
    ] {
        let challenged =
            Client::new([0; 18], Binding::Impossible).challenged(server_first.as_bytes());
        assert_eq!(challenged.is_ok(), good, "{server_first}");
    }
}

#[test]
fn a_database_must_prove_itself_too() {
    let challenged = || {
        let client = Client {
            client_first_bare: "n=user,r=rOprNGfwEbeRWgbNEkqO".to_owned(),
            nonce: "rOprNGfwEbeRWgbNEkqO".to_owned(),
            binding: Binding::Impossible,
        };
        client.challenged(SERVER_FIRST.as_bytes()).unwrap()
    };
    let keys = challenged().keys(&challenged().salting(Secret::new("pencil"))());
    assert!(challenged().fits(&keys));
    for wrong in [
        "",
        "v=",
        "v=AAAA",
        "e=other-error",
        &SERVER_FINAL.replace("6rri", "6rrj"),
    ] {
        let (_, responded) = challenged().respond(&keys);
        assert!(responded.verify(wrong.as_bytes()).is_err(), "{wrong}");
    }
}

#[test]
fn passwords_are_prepared_by_saslprep_where_it_can() {
    let salted = |password| salted_password(password, b"salt", Iterations::DEFAULT);
    assert_eq!(salted("\u{2168}"), salted("IX"));
    assert_eq!(salted("I\u{ad}X"), salted("IX"));
    // Forbidden by SASLprep: taken as it is.
    assert_ne!(salted("\u{7}"), salted(""));
}

#[test]
fn a_login_is_bound_to_the_connection_where_both_sides_can() {
    const BOTH: &[u8] = b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0";
    const UNBOUND: &[u8] = b"SCRAM-SHA-256\0\0";
    let hash = |first| Some(vec![first, 2, 3]);
    for (offered, end_point, binding, first, succeeds) in [
        (BOTH, hash(1), bound(), "p=tls-server-end-point,,", true),
        // Somebody in the middle shows a certificate of his own.
        (BOTH, hash(9), bound(), "p=tls-server-end-point,,", false),
        // Somebody in the middle took the offer away.
        (UNBOUND, hash(1), bound(), "y,,", false),
        (UNBOUND, hash(1), ChannelBinding::None, "y,,", true),
        (BOTH, None, bound(), "n,,", true),
    ] {
        let offered = bytes::Bytes::from_static(offered);
        let client = Client::choose(offered, [5; 18], end_point).unwrap();
        let client_first = client.client_first();
        assert!(client_first.starts_with(first), "{client_first}");
        let mechanism = client.mechanism().as_bytes();
        let finished = server(binding)
            .challenge(mechanism, client_first.as_bytes())
            .and_then(|server| {
                let client = client.challenged(server.server_first().as_bytes())?;
                let keys = client.keys(&client.salting(Secret::new("pencil"))());
                let (client_final, responded) = client.respond(&keys);
                let (server_final, _) = server.finish(client_final.as_bytes())?;
                responded.verify(server_final.as_bytes())
            });
        assert_eq!(finished.is_ok(), succeeds, "{first} {finished:?}");
    }
}

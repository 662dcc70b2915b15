//! Bytes come in pieces of any size: every transcript cut at every byte gives the same outcome. (What becomes of bytes
//! that may be anything is tried in `tests/fuzzing`.)
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod feed;
mod pg_pair;
mod pg_samples;

use std::fmt::Debug;

use feed::{feed, walk};
use pg_pair::{meet, request};
use pg_samples::{CHALLENGES, PASSWORD, REFUSALS, challenge, prefaces, traffic};
use wire::{
    Exchange,
    pg::{
        Greet, Login, PrefaceReader, TlsOffer, greet::ANSWER_LIMIT, login::LOGIN_LIMIT,
        preface::PACKET_LIMIT,
    },
};

/// Feeds `bytes` whole, in two pieces cut everywhere, and byte by byte.
fn cut_everywhere<E>(name: &str, exchange: impl Fn() -> E, bytes: &[u8], held: usize)
where
    E: Exchange,
    E::Outcome: Debug,
{
    let whole = feed(exchange(), std::iter::once(bytes), held, false);
    for cut in 0..=bytes.len() {
        let (front, back) = bytes.split_at(cut);
        let course = feed(exchange(), [front, back].into_iter(), held, false);
        assert_eq!(course, whole, "{name} cut at {cut}");
    }
    assert_eq!(
        feed(exchange(), bytes.chunks(1), held, false),
        whole,
        "{name} byte by byte"
    );
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
    for refused in REFUSALS {
        cut_everywhere(
            "refused",
            || Login::new(request(None)),
            refused,
            LOGIN_LIMIT,
        );
    }
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
                Ok(whole.clone()),
                "cut at {cut}"
            );
        }
        for size in 1..9 {
            assert_eq!(
                walk(sender, bytes.chunks(size)),
                Ok(whole.clone()),
                "chunks of {size}"
            );
        }
    }
}

//! Bytes come in pieces of any size: every transcript cut at every byte gives the same outcome. (What becomes of bytes
//! that may be anything is tried in `tests/fuzzing`.)
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod pg_pair;
mod pg_samples;

use std::fmt::Debug;

use bytes::BytesMut;
use pg_pair::{meet, request};
use pg_samples::{CHALLENGES, PASSWORD, REFUSALS, challenge, prefaces, traffic};
use wire::{
    Exchange, Progress, WireError,
    pg::{
        Greet, Login, Passed, PrefaceReader, Sender, TlsOffer, Walker, greet::ANSWER_LIMIT,
        login::LOGIN_LIMIT, preface::PACKET_LIMIT,
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

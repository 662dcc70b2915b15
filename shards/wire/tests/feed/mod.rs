//! Exchanges and walkers fed with bytes, however they are cut. Fuzzing and the tests of `wire` share it.
#![allow(dead_code, reason = "each test program uses its part")]

use std::fmt::Debug;

use bytes::BytesMut;
use wire::pg::{Passed, Sender, Walker};
use wire::{Exchange, Progress, WireError};

/// What an exchange made of its input.
#[derive(Debug, PartialEq, Eq)]
pub struct Course {
    pub end: String,
    pub said: Vec<u8>,
    pub left: Vec<u8>,
}

/// Feeds pieces until the exchange is over. While it wants more it may leave at most `held` bytes inbound, and to the
/// peer it may say at most [`SAID`] in all. A computation that is `dear` is not run: the exchange ends there.
pub fn feed<'a, E>(
    mut exchange: E,
    pieces: impl Iterator<Item = &'a [u8]>,
    held: usize,
    dear: bool,
) -> Course
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
                    let limit = held + piece.len();
                    assert!(
                        inbound.len() <= limit,
                        "{} bytes are held, more than {limit}",
                        inbound.len()
                    );
                    break;
                }
                Ok(Progress::Derive(_)) if dear => end = Some("a computation".to_owned()),
                Ok(Progress::Derive(derivation)) => exchange.derived(derivation.run()),
                Ok(Progress::Done(outcome)) => end = Some(format!("{outcome:?}")),
                Err(error) => end = Some(error.to_string()),
            }
        }
    }
    assert!(outbound.len() <= SAID, "{} bytes are said", outbound.len());
    Course {
        end: end.unwrap_or_default(),
        said: outbound.to_vec(),
        left: inbound.to_vec(),
    }
}

/// The same outcome whether the bytes come at once or in pieces of `size`.
pub fn feed_both<E>(
    begin: impl Fn() -> E,
    bytes: &[u8],
    size: usize,
    held: usize,
    dear: bool,
) -> Course
where
    E: Exchange,
    E::Outcome: Debug,
{
    let whole = feed(begin(), std::iter::once(bytes), held, dear);
    let cut = feed(begin(), bytes.chunks(size), held, dear);
    assert_eq!(cut, whole, "in pieces of {size}");
    whole
}

/// Adds up what a walker says of pieces.
pub fn walk<'a>(
    sender: Sender,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> Result<(Passed, bool), WireError> {
    let mut walker = Walker::new(sender);
    let mut sum = Passed::default();
    for piece in pieces {
        let passed = walker.feed(piece)?;
        sum.messages += passed.messages;
        sum.requests += passed.requests;
        sum.awaits_ready += passed.awaits_ready;
        sum.batch_open = passed.batch_open.or(sum.batch_open);
        sum.terminate |= passed.terminate;
        sum.ready += passed.ready;
        sum.transactions += passed.transactions;
        sum.status = passed.status.or(sum.status);
        sum.errors.extend(passed.errors);
        sum.fatal |= passed.fatal;
    }
    Ok((sum, walker.at_boundary()))
}

/// No dialogue says more than this to its peer, in bytes.
const SAID: usize = 16 * 1024;

//! Every MySQL transcript, cut at every byte, gives the same outcome. (What becomes of bytes that may be anything is tried
//! in `tests/fuzzing`.)

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod mysql_samples;
mod mysql_support;

use std::fmt::Debug;

use bytes::BytesMut;
use mysql_samples::{
    answers, change_user, changes_of_user, clients, databases, greeting_with_tls, house,
};
use mysql_support::request;
use wire::mysql::{Ask, Login, PrefaceReader};
use wire::{Exchange, Progress};

#[test]
fn a_client_that_comes_in_pieces_is_the_same_client() {
    for transcript in clients() {
        same_however_cut(&transcript, || PrefaceReader::new(greeting_with_tls()));
        same_however_cut(&transcript, house);
    }
}

#[test]
fn a_database_that_answers_in_pieces_is_the_same_database() {
    for transcript in databases() {
        same_however_cut(&transcript, || Login::new(request("secret")));
    }
    for transcript in changes_of_user() {
        same_however_cut(&transcript, change_user);
    }
    for transcript in answers() {
        same_however_cut(&transcript, Ask::ping);
    }
}

/// What an exchange came to, and all it sent.
type End = (String, Vec<u8>);

fn same_however_cut<E: Exchange>(transcript: &[u8], begin: impl Fn() -> E)
where
    E::Outcome: Debug,
{
    let whole = run(&mut begin(), &[transcript]);
    for cut in 0..=transcript.len() {
        let (front, back) = transcript.split_at(cut);
        assert_eq!(run(&mut begin(), &[front, back]), whole, "cut at {cut}");
    }
    let bytewise: Vec<&[u8]> = transcript.chunks(1).collect();
    assert_eq!(run(&mut begin(), &bytewise), whole, "byte by byte");
}

fn run<E: Exchange>(exchange: &mut E, pieces: &[&[u8]]) -> End
where
    E::Outcome: Debug,
{
    let (mut inbound, mut outbound) = (BytesMut::new(), BytesMut::new());
    let mut progress = exchange.advance(&mut inbound, &mut outbound);
    for piece in pieces {
        if !matches!(progress, Ok(Progress::NeedMore)) {
            break;
        }
        inbound.extend_from_slice(piece);
        progress = exchange.advance(&mut inbound, &mut outbound);
    }
    assert!(
        outbound.len() <= MAX_OUTBOUND,
        "{} bytes outbound",
        outbound.len()
    );
    (format!("{progress:?}"), outbound.to_vec())
}

/// No dialogue sends more than a login's packet and the few behind it.
const MAX_OUTBOUND: usize = 4096;

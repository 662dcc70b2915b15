//! Every MySQL transcript, cut at every byte, gives the same outcome. (What becomes of bytes that may be anything is tried
//! in `tests/fuzzing`.)

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod feed;
mod mysql_samples;
mod mysql_support;

use std::fmt::Debug;

use feed::feed;
use mysql_samples::{
    answers, change_user, changes_of_user, clients, databases, greeting_with_tls, house,
};
use mysql_support::request;
use wire::Exchange;
use wire::mysql::{Ask, Login, MAX_LOGIN_PACKET, PrefaceReader};

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

fn same_however_cut<E: Exchange>(transcript: &[u8], begin: impl Fn() -> E)
where
    E::Outcome: Debug,
{
    let run = |pieces: &[&[u8]]| feed(begin(), pieces.iter().copied(), MAX_LOGIN_PACKET, false);
    let whole = run(&[transcript]);
    for cut in 0..=transcript.len() {
        let (front, back) = transcript.split_at(cut);
        assert_eq!(run(&[front, back]), whole, "cut at {cut}");
    }
    let bytewise: Vec<&[u8]> = transcript.chunks(1).collect();
    assert_eq!(run(&bytewise), whole, "byte by byte");
}

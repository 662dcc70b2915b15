//! SCRAM-SHA-256, both sides: messages of any content in frames that are sound, so that what is in them gets read.

use std::sync::LazyLock;

use bytes::BufMut;
use wire::pg::greet::ANSWER_LIMIT;
use wire::pg::login::LOGIN_LIMIT;
use wire::pg::{Greet, Login};

use crate::Target;
use crate::dice::{Dice, pieces};
use crate::feed::feed_both;
use crate::pg::known;
use crate::pg_pair::{meet, message};
use crate::pg_samples::challenge;

/// Both sides. `[side, cut] mechanism client-first client-final`, or `[side, cut] server-first server-final`
pub const SCRAM: Target = Target {
    name: "scram",
    samples,
    run: |input| {
        let mut dice = Dice::new(input);
        let side = dice.below(3);
        let size = 1 + dice.below(64);
        match side {
            0 => from_client(greet(1), &mut dice, size),
            1 => from_client(greet(6), &mut dice, size),
            _ => from_database(&mut dice, size),
        }
    },
    rounds: 100_000,
};

fn greet(kind: usize) -> impl Fn() -> Greet {
    move || Greet::new(challenge(kind))
}

fn from_client(greet: impl Fn() -> Greet, dice: &mut Dice<'_>, size: usize) {
    let (mechanism, first, last) = (dice.piece(), dice.piece(), dice.piece());
    let mut initial = mechanism.to_vec();
    initial.push(0);
    initial.put_u32(first.len() as u32);
    initial.extend_from_slice(first);
    let answers = [message(b'p', &initial), message(b'p', last)].concat();
    feed_both(greet, &answers, size, ANSWER_LIMIT + 1, false);
}

fn from_database(dice: &mut Dice<'_>, size: usize) {
    let authentication = |code: u32, data: &[u8]| {
        let mut body = code.to_be_bytes().to_vec();
        body.extend_from_slice(data);
        message(b'R', &body)
    };
    let replies = [
        authentication(10, b"SCRAM-SHA-256\0\0"),
        authentication(11, dice.piece()),
        authentication(12, dice.piece()),
        authentication(0, b""),
        message(b'Z', b"I"),
    ]
    .concat();
    let course = feed_both(|| Login::new(known()), &replies, size, LOGIN_LIMIT, true);
    let proof = &DIALOGUE.server_final;
    let is_proven = replies.windows(proof.len()).any(|said| said == proof);
    assert!(
        !course.end.starts_with("LoggedIn") || is_proven,
        "a database was believed without its signature"
    );
}

fn samples() -> Vec<Vec<u8>> {
    let Dialogue {
        first,
        last,
        server_first,
        server_final,
    } = &*DIALOGUE;
    let plus = b"p=tls-server-end-point,,n=,r=AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB";
    vec![
        pieces(&[0, 9], &[b"SCRAM-SHA-256", first, last]),
        pieces(
            &[0, 9],
            &[b"SCRAM-SHA-256", b"n,a=x,n=u,r=abc,ext=1", b"c=biws,r=x"],
        ),
        pieces(&[1, 9], &[b"SCRAM-SHA-256-PLUS", plus, last]),
        pieces(&[1, 9], &[b"SCRAM-SHA-256", b"y,,n=,r=abc", last]),
        pieces(&[2, 9], &[server_first, server_final]),
        pieces(&[2, 9], &[server_first, b"e=other-error"]),
        pieces(&[2, 9], &[b"m=x,r=AQEB,s=,i=0", b"v="]),
    ]
}

/// The four messages of a login that succeeds.
struct Dialogue {
    first: Vec<u8>,
    last: Vec<u8>,
    server_first: Vec<u8>,
    server_final: Vec<u8>,
}

static DIALOGUE: LazyLock<Dialogue> = LazyLock::new(|| {
    let meeting = meet(known(), |_| challenge(1));
    assert!(meeting.login.is_ok());
    let answers = bodies(&meeting.answers);
    let replies = bodies(&meeting.replies);
    let initial = b"SCRAM-SHA-256\0".len() + 4;
    Dialogue {
        first: answers[0][initial..].to_vec(),
        last: answers[1].to_vec(),
        server_first: replies[1][4..].to_vec(),
        server_final: replies[2][4..].to_vec(),
    }
});

/// What stands in messages.
fn bodies(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut bodies = Vec::new();
    while let Some((&[_, a, b, c, d], rest)) = bytes.split_first_chunk::<5>() {
        let (body, rest) = rest.split_at(u32::from_be_bytes([a, b, c, d]) as usize - 4);
        bodies.push(body);
        bytes = rest;
    }
    bodies
}

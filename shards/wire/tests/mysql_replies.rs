//! Where answers end: every form of answer, in both modes, looked at behind each of its bytes; and
//! garbage in place of any of it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod mysql_talk;

use bytes::BytesMut;
use mysql_talk::*;
use wire::mysql::code::ER_UNKNOWN_COM_ERROR;
use wire::mysql::packet::{self, FRAGMENT, HEADER};
use wire::mysql::replies::MAX_AWAITED;
use wire::mysql::{Lost, Replies, put_err, status};

#[test]
fn a_word_answers_most_commands() {
    in_each_mode(|talk| {
        for command in [0x02, 0x0E, 0x1F, 0x1A, 0x0C, 0x15, 0x0D, 0x1B, 0x1D, 0xFE] {
            for word in [ok(AUTOCOMMIT), talk.terminator(AUTOCOMMIT), err()] {
                talk.asks(&[command]).waits().ends(&word).rests();
            }
        }
        let mut unknown = BytesMut::new();
        put_err(&mut unknown, 0, ER_UNKNOWN_COM_ERROR, "Unknown command");
        talk.asks(b"").ends(&unknown[HEADER..]).rests();
    });
}

#[test]
fn some_commands_are_not_answered() {
    in_each_mode(|talk| {
        talk.asks(b"\x19\x01\0\0\0").rests();
        talk.asks(b"\x18\x01\0\0\0\0\0data").rests();
        talk.asks(b"\x01").rests();
        // This one is answered by others.
        talk.asks(b"\x11app\0\0shop\0").rests();
    });
}

#[test]
fn a_query_is_answered_by_ok_err_or_rows() {
    in_each_mode(|talk| {
        for command in [&b"\x03SELECT 1"[..], b"\x17\x01", b"\xFA\x01", b"\x0A"] {
            talk.asks(command).ends(&ok(AUTOCOMMIT)).rests();
            talk.asks(command).ends(&err()).rests();
            let end = talk.terminator(AUTOCOMMIT);
            talk.asks(command).ends(&end).rests();
            talk.asks(command).rows().ends(&end).rests();
            talk.asks(command).rows().ends(&err()).rests();
            talk.asks(command).says(b"\x01").ends(&err()).rests();
            // No rows; and so many columns that their number takes three bytes.
            talk.asks(command).says(b"\xFC\xFB\x00");
            for _ in 0..251 {
                talk.says(DEFINITION);
            }
            talk.definitions_end(AUTOCOMMIT).ends(&end).rests();
        }
    });
}

#[test]
fn the_end_of_rows_may_be_of_either_make_and_say_what_changed() {
    let talk = &mut Talk::new(MODES[1]);
    let long = ok_as(
        0xFE,
        AUTOCOMMIT | status::SESSION_STATE_CHANGED,
        &[b'x'; 300],
    );
    talk.asks(b"\x03SELECT 1").rows().ends(&long).rests();
    talk.asks(b"\x03SELECT 1")
        .rows()
        .ends(&eof(AUTOCOMMIT))
        .rests();
}

#[test]
fn results_follow_each_other_as_long_as_they_say_so() {
    in_each_mode(|talk| {
        let (more, end) = (talk.terminator(MORE), talk.terminator(AUTOCOMMIT));
        talk.asks(b"\x03SELECT 1; DO 1; SELECT 2");
        talk.rows()
            .says(&more)
            .says(&ok(MORE))
            .rows()
            .ends(&end)
            .rests();
        talk.asks(b"\x03CALL p()").rows().says(&more);
        talk.ends(&ok(AUTOCOMMIT)).rests();
        talk.asks(b"\x03SELECT 1; oops; SELECT 2")
            .rows()
            .says(&more);
        talk.ends(&err()).rests();
        let out = talk.terminator(MORE | status::PS_OUT_PARAMS);
        talk.asks(b"\x17\x01")
            .rows()
            .says(&out)
            .ends(&ok(AUTOCOMMIT))
            .rests();
    });
}

#[test]
fn a_file_is_the_clients_turn() {
    in_each_mode(|talk| {
        for (file, last, more) in [
            (&[&b"a\n"[..], b"b\n"][..], ok(AUTOCOMMIT), false),
            (&[b"a\n"], err(), false),
            (&[], ok(MORE), true),
        ] {
            talk.asks(b"\x03LOAD DATA LOCAL INFILE 'f' INTO TABLE t");
            talk.wants_file();
            for part in file {
                talk.client(part);
                assert_eq!(talk.replies.next_sequence(), None, "its own turn");
            }
            talk.client(b"").waits();
            if more {
                talk.says(&last).ends(&ok(AUTOCOMMIT)).rests();
            } else {
                talk.ends(&last).rests();
            }
        }
        // A part of the file may take several packets, the last of them empty.
        talk.asks(b"\x03LOAD DATA LOCAL INFILE 'f' INTO TABLE t");
        talk.wants_file().client(&vec![b'a'; FRAGMENT]);
        assert_eq!(talk.replies.awaited(), 1);
        assert_eq!(talk.replies.next_sequence(), None);
        talk.client(b"").waits().ends(&ok(AUTOCOMMIT)).rests();
        // Its numbers go on from those of the answer before it, and may begin with 0.
        talk.asks(b"\x03SELECT 1; LOAD DATA LOCAL INFILE 'f' INTO TABLE t");
        talk.sequence = 255;
        talk.wants_file().client(b"1\n");
        assert_eq!(
            (talk.sequence, talk.replies.awaited()),
            (1, 1),
            "no command"
        );
        talk.client(b"").waits().ends(&ok(AUTOCOMMIT)).rests();
        // A server may have had enough before the file's end.
        talk.asks(b"\x03LOAD DATA LOCAL INFILE 'f' INTO TABLE t");
        talk.wants_file().client(b"a\n").ends(&err());
        talk.client(b"b\n").client(b"").rests();
    });
}

impl Talk {
    fn wants_file(&mut self) -> &mut Talk {
        let bytes = self.packet(b"\xFBf");
        self.replies.backend_said(&bytes);
        assert_eq!(
            (self.replies.lost(), self.replies.next_sequence()),
            (None, None)
        );
        self
    }
}

/// Of a session that cannot be followed no answer is seen; its client waits for each all the same.
#[test]
fn who_is_lost_goes_on_for_ever() {
    let mut replies = Replies::new(MODES[0], AUTOCOMMIT);
    // Nobody has asked for it.
    replies.backend_said(b"\x01\0\0\0\x00");
    for _ in 0..70_000 {
        replies.asked(0x0E, 0).unwrap();
        replies.backend_said(b"\x01\0\0\x01\x00");
    }
    assert!(replies.lost().is_some() && replies.awaited() > 0);
}

#[test]
fn columns_of_a_table_come_without_their_number() {
    in_each_mode(|talk| {
        let end = talk.terminator(AUTOCOMMIT);
        talk.asks(b"\x04t\0")
            .says(DEFINITION)
            .says(DEFINITION)
            .ends(&end)
            .rests();
        talk.asks(b"\x04t\0").ends(&err()).rests();
    });
}

#[test]
fn statistics_are_a_packet_that_begins_with_anything() {
    in_each_mode(|talk| {
        for text in [&b"Uptime: 5"[..], b"\xFEptime", b"\xFB", b"\0", b""] {
            talk.asks(b"\x09").ends(text).rests();
        }
    });
}

#[test]
fn a_binary_log_goes_on_until_the_server_ends_it() {
    in_each_mode(|talk| {
        let event = b"\0\x00\x00\x00\x00\x04";
        let end = talk.terminator(0);
        for command in [0x12, 0x1E] {
            talk.asks(&[command]).says(event).says(event).ends(&err());
            talk.asks(&[command]).says(event).ends(&end);
        }
    });
}

#[test]
fn a_row_of_16_mib_is_no_end_whatever_it_begins_with() {
    in_each_mode(|talk| {
        let end = talk.terminator(AUTOCOMMIT);
        for length in [FRAGMENT, FRAGMENT + 5, 2 * FRAGMENT] {
            talk.asks(b"\x03SELECT 1").says(b"\x01").says(DEFINITION);
            talk.definitions_end(AUTOCOMMIT);
            let mut row = vec![0xFE; length];
            row[1..9].copy_from_slice(&(length as u64 - 9).to_le_bytes());
            let bytes = talk.packet(&row);
            for chunk in bytes.chunks(1 << 20) {
                talk.replies.backend_said(chunk);
                assert_eq!((talk.replies.awaited(), talk.replies.lost()), (1, None));
            }
            talk.waits().ends(&end).rests();
        }
    });
}

#[test]
fn several_commands_at_once_are_answered_in_order() {
    in_each_mode(|talk| {
        let end = talk.terminator(AUTOCOMMIT);
        talk.asks(b"\x0E")
            .asks(b"\x09")
            .asks(b"\x03SELECT 1")
            .asks(b"\x19\x01\0\0\0");
        talk.asks(&[&[3][..], &vec![b' '; FRAGMENT]].concat());
        assert_eq!(talk.replies.awaited(), 4);
        let answer = |talk: &mut Talk, sequence| {
            talk.sequence = sequence;
            talk.waits();
        };
        answer(talk, 1);
        talk.ends(&ok(AUTOCOMMIT));
        answer(talk, 1);
        talk.ends(b"\0");
        answer(talk, 1);
        talk.rows().ends(&end);
        answer(talk, 2);
        talk.ends(&err()).rests();
    });
}

#[test]
fn a_transaction_lasts_until_flags_say_otherwise() {
    in_each_mode(|talk| {
        let open = AUTOCOMMIT | status::IN_TRANS;
        talk.asks(b"\x03BEGIN").ends(&ok(open));
        assert!(talk.replies.is_quiet() && !talk.replies.at_rest());
        talk.asks(b"\x03oops").ends(&err());
        assert!(!talk.replies.at_rest(), "an ERR has no flags");
        talk.asks(b"\x03COMMIT").ends(&ok(AUTOCOMMIT)).rests();
        talk.asks(b"\x03oops").ends(&err()).rests();
        talk.asks(b"\x03SET autocommit = 0").ends(&ok(0)).rests();
        talk.asks(b"\x03INSERT").ends(&err());
        assert!(talk.replies.in_transaction(), "it may have opened one");
        talk.asks(b"\x03ROLLBACK").ends(&ok(0)).rests();
        let more = talk.terminator(open | status::MORE_RESULTS);
        talk.asks(b"\x03SELECT 1").rows().says(&more);
        talk.ends(&ok(open));
        talk.replies.begun_anew(AUTOCOMMIT);
        talk.rests();
    });
    let begun = Replies::new(MODES[0], status::IN_TRANS);
    assert!(begun.is_quiet() && !begun.at_rest());
}

#[test]
fn a_server_that_gives_up_unasked_has_said_the_last_word() {
    in_each_mode(|talk| {
        let bytes = talk.packet(&err());
        talk.replies.backend_said(&bytes);
        assert_eq!(talk.replies.lost(), None);
    });
}

#[test]
fn what_does_not_fit_is_never_rest() {
    let cases: &[(&[u8], &[&[u8]])] = &[
        (b"\x0E", &[b"\x01"]),
        (b"\x0E", &[b""]),
        (b"\x0E", &[b"\0\0"]),
        (b"\x03", &[b"\x01\x01"]),
        (b"\x03", &[b"\xFE\xFF\xFF\xFF"]),
        (b"\x16", &[b"\0\x01"]),
        (b"\x16", &[b"\x03def"]),
        (b"\x19", &[b"\0\0\0\x02\0\0\0"]),
        (b"\x03", &[b"\0\0\0\x02\0\0\0", b"\0\0\0\x02\0\0\0"]),
    ];
    for (command, packets) in cases {
        let mut talk = Talk::new(MODES[1]);
        talk.asks(command);
        for payload in *packets {
            let bytes = talk.packet(payload);
            talk.replies.backend_said(&bytes);
        }
        assert!(talk.replies.lost().is_some(), "{command:?} {packets:?}");
        // It goes on packet by packet.
        let bytes = talk.packet(&ok(AUTOCOMMIT));
        talk.replies.backend_said(&bytes);
        assert!(!talk.replies.at_rest() && !talk.replies.is_quiet());
        assert_eq!(talk.replies.next_sequence(), Some(talk.sequence));
    }
    let mut talk = Talk::new(MODES[0]);
    talk.asks(b"\x03SELECT 1").says(b"\x01").says(DEFINITION);
    let bytes = talk.packet(b"\x011");
    talk.replies.backend_said(&bytes);
    assert!(matches!(
        talk.replies.lost(),
        Some(Lost::Unexpected { first: 1, .. })
    ));
}

#[test]
fn commands_are_counted_up_to_a_limit() {
    let mut talk = Talk::new(MODES[0]);
    for count in [300, MAX_AWAITED] {
        for _ in 0..count {
            talk.asks(b"\x0E");
        }
        assert_eq!(talk.replies.awaited(), count);
        if count == MAX_AWAITED {
            assert!(talk.replies.asked(0x0E, 0).is_err());
        }
        for _ in 0..count {
            talk.sequence = 1;
            talk.ends(&ok(AUTOCOMMIT));
        }
        talk.rests();
    }
}

#[test]
fn garbage_is_followed_the_same_however_it_is_cut() {
    let seed = std::env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(SEED);
    println!("SEED={seed}");
    let mut rng = Rng(seed);
    for _ in 0..ROUNDS {
        let mode = MODES[rng.below(2)];
        let mut whole = Replies::new(mode, rng.next() as u16);
        for _ in 0..rng.below(5) {
            let command = COMMANDS[rng.below(COMMANDS.len())];
            whole.asked(command, rng.next() as u8).unwrap();
        }
        let mut cut = whole.clone();
        let bytes = rng.stream();
        whole.backend_said(&bytes);
        let at = rng.below(bytes.len() + 1);
        cut.backend_said(&bytes[..at]);
        let lost = cut.lost();
        cut.backend_said(&bytes[at..]);
        assert!(lost.is_none() || lost == cut.lost(), "once lost is lost");
        assert_eq!(
            format!("{:?}", outlook(&whole)),
            format!("{:?}", outlook(&cut))
        );
        assert!(!whole.at_rest() || whole.is_quiet());
        assert!(!whole.is_quiet() || (whole.awaited() == 0 && whole.lost().is_none()));
    }
}

/// Everything that can be asked.
fn outlook(replies: &Replies) -> impl std::fmt::Debug {
    (
        (replies.awaited(), replies.is_quiet(), replies.at_rest()),
        (replies.in_transaction(), replies.next_sequence()),
        replies.lost(),
    )
}

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    /// Packets, most of which make sense in some answer.
    fn stream(&mut self) -> Vec<u8> {
        let mut out = BytesMut::new();
        for _ in 0..self.below(12) {
            let payload = match self.below(8) {
                0 => ok(self.next() as u16),
                1 => eof(self.next() as u16),
                2 => ok_as(0xFE, self.next() as u16, b""),
                3 => err(),
                4 => vec![self.below(4) as u8],
                5 => DEFINITION.to_vec(),
                6 => BINARY_ROW.to_vec(),
                _ => (0..self.below(40)).map(|_| self.next() as u8).collect(),
            };
            packet::put(&mut out, self.next() as u8, &payload);
        }
        out.truncate(out.len() - self.below(out.len().min(8) + 1));
        out.to_vec()
    }
}

/// One of each form.
const COMMANDS: [u8; 8] = [0x03, 0x0E, 0x09, 0x16, 0x17, 0x19, 0x1C, 0x04];

const ROUNDS: usize = 100_000;
const SEED: u64 = 20_261_124;

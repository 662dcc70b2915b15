//! The database's side: it answers what it is asked, mostly as one does.

use std::collections::VecDeque;

use wire::pg::{Sender, Walker};

use super::shown;
use crate::dice::Dice;
use crate::pg_pair::message;
use crate::sql::completions_of;

/// What the attached backend has been sent, and answers in order.
pub(super) struct Backend {
    hears: Walker,
    unread: Vec<u8>,
    /// The messages that have no answer yet: their types, and what stands in them.
    asked: VecDeque<(u8, Vec<u8>)>,
    /// After an error, until Sync.
    skips: bool,
    /// In COPY FROM STDIN.
    copies: bool,
}

impl Backend {
    pub(super) fn new() -> Backend {
        Backend {
            hears: Walker::new(Sender::Frontend),
            unread: Vec::new(),
            asked: VecDeque::new(),
            skips: false,
            copies: false,
        }
    }

    pub(super) fn hear(&mut self, bytes: &[u8]) {
        let heard = self.hears.feed(bytes);
        assert!(
            heard.is_ok(),
            "{heard:?}: the backend is sent {}",
            shown(bytes)
        );
        self.unread.extend_from_slice(bytes);
        while let Some(&[kind, a, b, c, d]) = self.unread.first_chunk::<5>() {
            let total = 1 + u32::from_be_bytes([a, b, c, d]) as usize;
            if self.unread.len() < total {
                break;
            }
            let body = self.unread.drain(..total).skip(5).collect();
            self.asked.push_back((kind, body));
        }
    }

    /// How many messages it has not answered.
    pub(super) fn owes(&self) -> usize {
        self.asked.len()
    }

    /// Whether it has been sent whole messages.
    pub(super) fn is_at_boundary(&self) -> bool {
        self.hears.at_boundary()
    }

    /// The answer to the oldest message, good or bad.
    pub(super) fn answer(&mut self, dice: &mut Dice<'_>) -> Vec<u8> {
        let Some((kind, body)) = self.asked.pop_front() else {
            return Vec::new();
        };
        if self.skips && kind != b'S' {
            return Vec::new();
        }
        if self.copies {
            match kind {
                b'd' | b'H' | b'S' => return Vec::new(),
                b'c' => {
                    self.copies = false;
                    return message(b'C', b"COPY 1\0");
                }
                _ => {}
            }
        }
        let fails = dice.below(8) == 7 || std::mem::take(&mut self.copies);
        if fails && kind != b'S' && kind != b'H' {
            self.skips = kind != b'Q' && kind != b'F';
            let mut answer = message(b'E', b"SERROR\0VERROR\0C42601\0Mno\0\0");
            if !self.skips {
                answer.extend(ready(dice));
            }
            return answer;
        }
        match kind {
            b'P' => message(b'1', b""),
            b'B' => message(b'2', b""),
            b'C' => message(b'3', b""),
            b'D' => [message(b't', b"\0\0"), message(b'n', b"")][dice.below(2)..].concat(),
            b'E' => match dice.below(4) {
                0 => message(b's', b""),
                1 => message(b'I', b""),
                2 => {
                    self.copies = true;
                    message(b'G', b"\0\0\0")
                }
                _ => [message(b'D', b"\0\0"), message(b'C', b"SELECT 1\0")].concat(),
            },
            b'Q' => {
                let mut answer = completions_of(&body).concat();
                if dice.below(8) == 7 {
                    answer = message(b'S', b"client_encoding\0LATIN1\0");
                }
                answer.extend(ready(dice));
                answer
            }
            b'F' => [message(b'V', b"\0\0\0\x01x"), ready(dice)].concat(),
            b'S' => {
                self.skips = false;
                ready(dice)
            }
            _ => Vec::new(),
        }
    }
}

fn ready(dice: &mut Dice<'_>) -> Vec<u8> {
    message(b'Z', dice.pick(&[b"I", b"I", b"I", b"T", b"E"]))
}

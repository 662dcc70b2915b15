//! Where the stream from a backend stands: in which message, and how far.

use bytes::BytesMut;

use super::super::outbound::Passing;
use super::super::replies::{Advance, Owed, Replies, To, What};
use super::super::request::HEADER;
use super::BackendFault;
use super::link::Link;
use crate::pg::frame::type_name;
use crate::pg::walker::BACKEND_LIMIT;

/// Where the stream from the backend stands.
#[derive(Debug, Default)]
pub(super) struct Inbound {
    /// A header that is not all there.
    pub(super) header: [u8; HEADER],
    pub(super) have: usize,
    /// The message whose body is passing.
    pub(super) kind: u8,
    pub(super) left: usize,
    /// Whether the client gets it.
    pub(super) passes: bool,
    /// Whether what is owed first is answered with it. (Nothing else takes that out before the message has come to its end.)
    pub(super) completes: bool,
    /// Whether it gets it as a whole, when all of it has come, and perhaps changed.
    pub(super) kept: bool,
    /// As much of its body as is of interest.
    pub(super) gathered: BytesMut,
    pub(super) gathers: usize,
}

/// A header, and whether its bytes are still in the input or were taken from it before.
pub(super) struct Header {
    pub(super) bytes: [u8; HEADER],
    pub(super) in_input: bool,
}

/// How far the body of a message has come: as much of it as is of interest.
pub(super) enum Body<'a> {
    /// There is more to come.
    Open,
    /// It came at once.
    Whole(&'a [u8]),
    /// It came in pieces. The room is to be given back.
    Gathered(BytesMut),
}

impl Inbound {
    /// Between two messages, whatever there was before.
    pub(super) fn begin(&mut self) {
        // What is known of a message is said anew when one begins.
        (self.have, self.left) = (0, 0);
        self.gathered.clear();
    }

    /// The next header, once all of it is here. What is here of it is taken.
    #[inline]
    pub(super) fn gather_header(&mut self, input: &mut Passing<'_>) -> Option<Header> {
        let rest = input.rest();
        if let (0, Some(bytes)) = (self.have, rest.first_chunk::<HEADER>()) {
            return Some(Header {
                bytes: *bytes,
                in_input: true,
            });
        }
        let count = rest.len().min(HEADER - self.have);
        self.header[self.have..self.have + count].copy_from_slice(&rest[..count]);
        self.have += count;
        input.skip(count);
        if self.have < HEADER {
            return None;
        }
        self.have = 0;
        Some(Header {
            bytes: self.header,
            in_input: false,
        })
    }

    /// Moves on through the body.
    #[inline]
    pub(super) fn pass_body<'a>(&mut self, input: &mut Passing<'a>) -> Body<'a> {
        let rest = input.rest();
        let here = &rest[..self.left.min(rest.len())];
        if self.passes && !self.kept {
            input.keep(here.len());
        } else {
            input.skip(here.len());
        }
        self.left -= here.len();
        if self.left == 0 && self.gathered.is_empty() {
            return Body::Whole(&here[..here.len().min(self.gathers)]);
        }
        let wanted = self.gathers.saturating_sub(self.gathered.len());
        let wanted = &here[..here.len().min(wanted)];
        self.gathered.extend_from_slice(wanted);
        match self.left {
            0 => Body::Gathered(std::mem::take(&mut self.gathered)),
            _ => Body::Open,
        }
    }
}

/// Lets the client's rows pass that are here whole, as many as there are: none of them changes anything.
pub(super) fn pass_rows(link: &Link, input: &mut Passing<'_>) {
    let front = link.replies.front();
    let are_clients =
        |front: &Owed| front.to == To::Client && matches!(front.what, What::Execute | What::Query);
    if input.rest()[0] != b'D' || link.inbound.have > 0 || !front.is_some_and(are_clients) {
        return;
    }
    while let Some(&[b'D', ref length @ ..]) = input.rest().first_chunk::<HEADER>() {
        let length = u32::from_be_bytes(*length);
        let total = 1 + length as usize;
        if !(LENGTH..=BACKEND_LIMIT).contains(&length) || input.rest().len() < total {
            return;
        }
        input.keep(total);
    }
}

/// What a message from the backend is, by what is owed first.
pub(super) struct Turn {
    /// The client is to get it.
    pub(super) passes: bool,
    /// It is the last that answers this.
    pub(super) completes: bool,
}

impl Turn {
    #[inline]
    pub(super) fn of(kind: u8, replies: &Replies) -> Result<Turn, BackendFault> {
        let Some(front) = replies.front() else {
            // Said by itself. An error then is the last that it says.
            return match kind {
                b'S' | b'N' | b'A' | b'E' => Ok(Turn::aside(true)),
                kind => Err(out_of_turn(kind)),
            };
        };
        let of_clients = front.to == To::Client;
        Ok(match kind {
            b'A' => Turn::aside(true),
            b'N' => Turn::aside(of_clients),
            // Of what the client has set, it may be said only with a Sync of ours.
            b'S' => Turn::aside(front.to != To::Us),
            b'E' => Turn::aside(of_clients || front.to == To::NobodyUnlessError),
            kind => match front.advance(kind) {
                Advance::OutOfTurn => return Err(out_of_turn(kind)),
                advance => Turn {
                    passes: of_clients,
                    completes: advance == Advance::Completes,
                },
            },
        })
    }

    /// One that completes nothing.
    fn aside(passes: bool) -> Turn {
        let completes = false;
        Turn { passes, completes }
    }
}

pub(super) fn out_of_turn(kind: u8) -> BackendFault {
    BackendFault::OutOfTurn {
        got: type_name(kind),
    }
}

/// Bytes of a length field, which counts itself.
pub(super) const LENGTH: u32 = 4;

//! Where the stream from a backend stands: in which message, and how far.

use bytes::BytesMut;

use super::super::outbound::Passing;
use super::super::request::HEADER;

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
        let gathered = std::mem::take(&mut self.gathered);
        *self = Inbound {
            gathered,
            ..Inbound::default()
        };
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
        let here = &input.rest()[..self.left.min(input.rest().len())];
        if self.passes && !self.kept {
            input.keep(here.len());
        } else {
            input.skip(here.len());
        }
        self.left -= here.len();
        let wanted = self.gathers.saturating_sub(self.gathered.len());
        let wanted = &here[..here.len().min(wanted)];
        if self.left == 0 && self.gathered.is_empty() {
            return Body::Whole(wanted);
        }
        self.gathered.extend_from_slice(wanted);
        match self.left {
            0 => Body::Gathered(std::mem::take(&mut self.gathered)),
            _ => Body::Open,
        }
    }
}

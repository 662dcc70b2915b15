//! What the client says: each message is forwarded, rewritten, answered here, held or dropped.

use bytes::BytesMut;

use super::super::changes::Unnamed;
use super::super::outbound::Passing;
use super::super::replies::{Owed, To, What};
use super::super::request::{Request, put_bare, put_copy_fail, put_query};
use super::super::restore;
use super::link::{Copy, Link};
use super::{Fault, Tail, Tracker};
use crate::pg::{ErrorResponse, TransactionStatus};

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It goes on as it is, or as much of it as is here.
    Passes,
    /// It, or what is left of it, goes nowhere.
    Dropped,
    /// Nothing yet: more of it must come.
    Incomplete,
    /// Nothing yet: a backend must be attached.
    WantsBackend,
    /// Nothing yet: a reply decides.
    Held,
    /// It has been rewritten: so many bytes of it were replaced by others, the rest goes on.
    Rewritten(usize),
}

impl Tracker {
    /// Takes messages from the front of the input until one of them must wait.
    pub(super) fn take(
        &mut self,
        input: &mut Passing<'_>,
        to_client: &mut BytesMut,
    ) -> Result<(), Fault> {
        if let Some(link) = &mut self.link {
            link.holds = false;
        }
        let mut decided = self.tail.take();
        loop {
            if let Some(tail) = decided {
                self.take_some(tail, input);
            }
            if self.terminated {
                input.skip(input.rest().len());
                return Ok(());
            }
            if self.tail.is_some() {
                return Ok(());
            }
            let request = match Request::read(input.rest()) {
                Ok(Some(request)) => request,
                Ok(None) => return Ok(()),
                Err(error) => return Err(Fault::Client(ErrorResponse::from(&error))),
            };
            let fate = self.decide(request, input, to_client)?;
            let (passes, replaced) = match fate {
                Fate::Incomplete => return Ok(()),
                Fate::WantsBackend => {
                    self.wants_backend = true;
                    return Ok(());
                }
                Fate::Held => {
                    self.hold(input);
                    return Ok(());
                }
                Fate::Passes => (true, 0),
                Fate::Dropped => (false, 0),
                Fate::Rewritten(replaced) => (true, replaced),
            };
            self.tally.said(request.kind);
            if replaced > 0 {
                input.skip(replaced);
            }
            let left = request.total - replaced;
            decided = Some(Tail { left, passes });
        }
    }

    /// Moves on through a message that has been decided on.
    #[inline]
    fn take_some(&mut self, mut tail: Tail, input: &mut Passing<'_>) {
        let count = tail.left.min(input.rest().len());
        if tail.passes {
            input.keep(count);
        } else {
            input.skip(count);
        }
        tail.left -= count;
        match tail.left {
            0 => self.end_batch(input),
            _ => self.tail = Some(tail),
        }
    }

    /// Behind the end of a batch: what must follow it.
    fn end_batch(&mut self, input: &mut Passing<'_>) {
        if let Some(link) = &mut self.link
            && std::mem::take(&mut link.ended)
            && !link.leftovers.is_empty()
        {
            link.clear_leftovers(input.ours());
        }
    }

    /// Stops before a message that must wait for replies, and sees to it that these come.
    fn hold(&mut self, input: &mut Passing<'_>) {
        let Some(link) = &mut self.link else {
            return;
        };
        link.holds = true;
        if link.batch_open && !link.flushed && !link.skipping {
            put_bare(input.ours(), b'H');
            link.flushed = true;
        }
    }

    fn decide(
        &mut self,
        request: Request<'_>,
        input: &mut Passing<'_>,
        to_client: &mut BytesMut,
    ) -> Result<Fate, Fault> {
        if request.kind == b'X' {
            self.terminated = true;
            return Ok(Fate::Dropped);
        }
        if self.skips {
            return Ok(self.skip(request, to_client));
        }
        let Some(link) = &mut self.link else {
            return Ok(self.decide_alone(request, input.rest(), to_client));
        };
        if link.setting {
            return Ok(Fate::Held);
        }
        if (link.copy != Copy::No || matches!(request.kind, b'd' | b'c' | b'f'))
            && let Some(fate) = decide_in_copy(link, request, input)
        {
            return Ok(fate);
        }
        if link.skipping && request.kind != b'S' {
            return Ok(Fate::Dropped);
        }
        // (Not so where the backend ignores all up to a Sync: nothing is owed then.)
        if link.replies.is_full() {
            return Ok(Fate::Held);
        }
        match request.kind {
            // So that what a Query with RESET in it has left is put right before anything else.
            b'S' if link.replies.ends_with_barrier() => return Ok(Fate::Held),
            b'S' => {
                link.push(Owed::new(What::Sync, To::Client));
                link.batch_open = false;
                link.skipping = false;
                link.ended = true;
                return Ok(Fate::Passes);
            }
            b'H' => {
                link.flushed = true;
                return Ok(Fate::Passes);
            }
            _ => {}
        }
        // What must be put right is so as soon as everything is answered.
        let tidies = !link.batch_open
            && (!link.leftovers.is_empty()
                || self.status != TransactionStatus::Failed && self.settings.differ());
        if link.replies.has_barrier() || tidies {
            return Ok(Fate::Held);
        }
        link.memory.prepared.begin_message();
        match request.kind {
            b'Q' => self.query(request, input),
            b'P' => self.parse(request, input),
            b'B' => self.bind(request, input),
            b'D' => self.describe(request, input, to_client),
            b'C' => self.close(request, input, to_client),
            b'E' => Ok(self.execute(request, input)),
            // The reader of headers lets nothing else come here.
            _ => Ok(self.function_call(request, input)),
        }
    }

    /// Whether RESET has left the backend otherwise than the client must see it, and now is a
    /// moment to change that.
    pub(super) fn needs_correction(&self) -> bool {
        let Some(link) = &self.link else {
            return false;
        };
        link.is_answered() && self.status != TransactionStatus::Failed && self.settings.differ()
    }

    /// Sets the backend as the client must see it.
    pub(super) fn correct(&mut self, to_backend: &mut BytesMut) {
        let Some(link) = &mut self.link else {
            return;
        };
        let actual = self.settings.actual();
        let mut sql = restore::statements(actual, self.settings.wanted());
        if self.status == TransactionStatus::Idle {
            sql.insert_str(0, restore::begin(actual));
        }
        put_query(to_backend, sql.as_bytes());
        link.setting = true;
        // As every Query does; the client still has its own.
        link.memory.unnamed = Unnamed::Absent;
        link.push(Owed::new(What::Query, To::Us));
    }

    pub(super) fn push(&mut self, owed: Owed) {
        if let Some(link) = &mut self.link {
            link.push(owed);
        }
    }

    pub(super) fn push_extended(&mut self, owed: Owed) {
        if let Some(link) = &mut self.link {
            link.push_extended(owed);
        }
    }
}

/// What COPY FROM STDIN has to say about a message; `None` if nothing.
fn decide_in_copy(link: &mut Link, request: Request<'_>, input: &mut Passing<'_>) -> Option<Fate> {
    match (request.kind, link.copy) {
        (b'd', _) if link.may_copy() => Some(Fate::Passes),
        // The backend drops what comes behind the end of a COPY; so it need not be sent.
        (b'd', _) => Some(Fate::Dropped),
        (b'c' | b'f', _) if !request.is_whole() => Some(Fate::Incomplete),
        (b'c' | b'f', Copy::Open) => {
            link.copy = Copy::Ended;
            // A Flush stood before it.
            link.flushed = false;
            Some(Fate::Passes)
        }
        (b'c' | b'f', _) if link.may_copy() && link.replies.is_full() => Some(Fate::Held),
        (b'c' | b'f', _) if link.may_copy() => {
            link.push(Owed::new(What::CopyEnd, To::Nobody));
            Some(Fate::Passes)
        }
        (b'c' | b'f', _) => Some(Fate::Dropped),
        // Ignored during COPY. An error may be on its way, and then the backend would heed it; but a
        // client that means it so sends another one when it hears of the error.
        (b'S' | b'H', Copy::Open) => Some(Fate::Dropped),
        // It ends the COPY and the session, unless the COPY has failed already and the message means
        // what it says. CopyFail does the one and leaves the other to be found out.
        (kind, Copy::Open) => {
            put_copy_fail(input.ours(), &offence(kind));
            link.copy = Copy::Offended(kind);
            Some(Fate::Held)
        }
        (_, Copy::Offended(_)) => Some(Fate::Held),
        _ => None,
    }
}

/// What PostgreSQL says of a message that has no place in a COPY.
pub(super) fn offence(kind: u8) -> String {
    format!("unexpected message type 0x{kind:02X} during COPY from stdin")
}

//! Without a backend: what is answered here, and what must wait for one.
//!
//! A backend is taken for what only a backend can answer. That a statement is in order, one of them
//! has said before; a client that prepares it again, as each client of a driver does, is answered
//! here. So a program that serves many clients in one thread, and waits for such an answer while
//! transactions of its own hold all backends, does not wait for itself.

use bytes::{Bytes, BytesMut};

use super::super::Outbound;
use super::super::changes::Unnamed;
use super::super::commons::PreparedStatements;
use super::super::names::{Named, Shared};
use super::super::request::{Request, put_bare, string};
use super::closing::CLOSE_COMPLETE;
use super::said::Fate;
use super::statements::about;
use super::{Fault, Tail, Tracker};
use crate::pg::{ErrorResponse, TransactionStatus, backend, sqlstate};

impl Tracker {
    /// What becomes of a message at the front of what the client has said.
    pub(super) fn decide_alone(
        &mut self,
        request: Request<'_>,
        said: &[u8],
        to_client: &mut BytesMut,
    ) -> Fate {
        match request.kind {
            // Late data of a COPY that has failed; the backend would drop it, too.
            b'd' | b'c' | b'f' | b'H' => Fate::Dropped,
            b'S' => {
                self.needs_none = false;
                self.say_ready(to_client);
                Fate::Dropped
            }
            b'C' => self.close_alone(request, to_client),
            b'P' => self.parse_alone(request, said, to_client),
            _ => Fate::WantsBackend,
        }
    }

    fn say_ready(&mut self, to_client: &mut BytesMut) {
        backend::ready_for_query(TransactionStatus::Idle, to_client);
        self.tally.ready(TransactionStatus::Idle);
    }

    /// Parse. Only in a batch that does nothing but prepare can it be answered here: what follows it
    /// otherwise needs a backend, which may as well be asked, and may have another opinion by now.
    fn parse_alone(&mut self, request: Request<'_>, said: &[u8], to_client: &mut BytesMut) -> Fate {
        if !self.needs_none {
            match survey(said) {
                Batch::Unclear => return Fate::Incomplete,
                Batch::Works => return Fate::WantsBackend,
                Batch::Prepares => self.needs_none = true,
            }
        }
        if self.prepare_alone(request).is_none() {
            self.needs_none = false;
            return Fate::WantsBackend;
        }
        self.tally.prepared_hits += 1;
        put_bare(to_client, PARSE_COMPLETE);
        Fate::Dropped
    }

    /// Takes note of a statement that some backend has accepted from a session like this one, and is
    /// sent to another one when it is used there. `None` if there is no such statement.
    fn prepare_alone(&mut self, request: Request<'_>) -> Option<()> {
        let (name, source) = string(request.body())?;
        let statement = self.commons.accepted(source, self.settings.context())?;
        if name.is_empty() {
            // One of its own: what others are told of theirs is nothing to this client.
            self.unnamed = Unnamed::Known(self.commons.own(statement.draft()), None);
            return Some(());
        }
        let multiplexes = self.commons.rules().prepared_statements == PreparedStatements::Multiplex;
        if !multiplexes || self.names.get(name).is_some() || self.is_full_of_names() {
            return None;
        }
        // What the tables are like *now* counts for this client, as if it had been asked for now.
        let shared = Shared {
            statement,
            epoch: self.commons.next_epoch(),
            told: None,
        };
        let named = Some(Named::Shared(shared));
        self.names.set(&Bytes::copy_from_slice(name), named);
        Some(())
    }

    /// Close: without a backend there is no portal, and no statement elsewhere.
    pub(super) fn close_alone(&mut self, request: Request<'_>, to_client: &mut BytesMut) -> Fate {
        if !request.is_whole() {
            return Fate::Incomplete;
        }
        match about(request.body()) {
            Some((b'S', b"")) => self.unnamed = Unnamed::Absent,
            Some((b'S', name)) => {
                self.names.set(&Bytes::copy_from_slice(name), None);
            }
            Some((b'P', _)) => {}
            _ => return Fate::WantsBackend,
        }
        put_bare(to_client, CLOSE_COMPLETE);
        Fate::Dropped
    }

    /// The client has cancelled what it waits for: it is answered as if that had begun and had been
    /// cancelled. What the client has said behind it goes on. False if it waits for nothing.
    ///
    /// Only while nothing of it has reached a backend, and none has been told to do it.
    pub fn cancel_waiting(&mut self, out: &mut Outbound) -> Result<bool, Fault> {
        let untouched = self.link.is_none() || self.is_setting() && self.is_untouched();
        let Ok(Some(request)) = Request::read(&self.kept) else {
            return Ok(false);
        };
        if !untouched || !(self.wants_backend || self.is_setting()) {
            return Ok(false);
        }
        let (kind, left) = (request.kind, request.total);
        self.wants_backend = false;
        self.needs_none = false;
        self.tally.said(kind);
        ErrorResponse::error(sqlstate::QUERY_CANCELED, CANCELLED).write(&mut out.to_client);
        if matches!(kind, b'Q' | b'F') {
            self.say_ready(&mut out.to_client);
        } else {
            self.skips = true;
        }
        let passes = false;
        self.tail = Some(Tail { left, passes });
        self.go_on(out)?;
        Ok(true)
    }

    /// A message of a batch that has been cancelled.
    pub(super) fn skip(&mut self, request: Request<'_>, to_client: &mut BytesMut) -> Fate {
        if request.kind == b'S' {
            self.skips = false;
            self.say_ready(to_client);
        }
        Fate::Dropped
    }
}

/// What a batch is for.
enum Batch {
    /// It does nothing but prepare and close, up to its Sync.
    Prepares,
    /// More than that.
    Works,
    /// More of it must come.
    Unclear,
}

/// Looks through what a client has said, up to a Sync.
fn survey(said: &[u8]) -> Batch {
    let mut rest = said;
    loop {
        match Request::read(rest) {
            Ok(Some(request)) if request.kind == b'S' => return Batch::Prepares,
            Ok(Some(request)) if !matches!(request.kind, b'P' | b'C') => return Batch::Works,
            Ok(Some(request)) if request.is_whole() => rest = &rest[request.total..],
            Ok(_) if said.len() < SURVEY_LIMIT => return Batch::Unclear,
            // What is wrong is said when its turn has come.
            Ok(_) | Err(_) => return Batch::Works,
        }
    }
}

const PARSE_COMPLETE: u8 = b'1';

/// What PostgreSQL says.
const CANCELLED: &str = "canceling statement due to user request";

/// How much of a batch is waited for before it is taken for work, in bytes.
const SURVEY_LIMIT: usize = 16 * 1024;

//! ErrorResponse on its way to the client.

use std::cell::LazyCell;
use std::collections::HashMap;

use bytes::{Bytes, BytesMut};

use super::super::names::Named;
use super::super::outbound::Passing;
use super::super::prepared::clients_own;
use super::super::renamed::in_clients_words;
use super::super::request::put_header;
use super::super::statement::numbered;
use super::super::work;
use super::Tracker;
use super::link::Copy;
use super::said::offence;
use super::shapes::CHANGED;
use crate::pg::sqlstate;
use crate::sqlstate_class::SqlstateClass;

impl Tracker {
    /// The body of an error that says that our CopyFail has ended a COPY, as PostgreSQL would have said it of the
    /// message in whose stead that was sent; `None` if it is another error.
    pub(super) fn offends(&self, body: &[u8]) -> Option<BytesMut> {
        let link = self.link.as_deref().filter(|link| link.inbound.kept)?;
        let Copy::Offended(kind) = link.copy else {
            return None;
        };
        let offence = offence(kind);
        let mut told = BytesMut::with_capacity(body.len());
        let mut is_ours = false;
        for field in body.split_inclusive(|&byte| byte == 0) {
            match field {
                [b'C', .., 0] => {
                    told.extend_from_slice(b"C");
                    told.extend_from_slice(sqlstate::PROTOCOL_VIOLATION.as_bytes());
                    told.extend_from_slice(b"\0");
                }
                [b'M', message @ .., 0] if message.ends_with(offence.as_bytes()) => {
                    is_ours = true;
                    told.extend_from_slice(b"M");
                    told.extend_from_slice(offence.as_bytes());
                    told.extend_from_slice(b"\0");
                }
                field => told.extend_from_slice(field),
            }
        }
        is_ours.then_some(told)
    }

    /// Passes on an error that was kept, in the client's words.
    pub(super) fn pass_error(&self, body: &[u8], input: &mut Passing<'_>) {
        let Some(link) = self.link.as_deref().filter(|link| link.inbound.kept) else {
            return;
        };
        // An error may speak of many statements, and the client may have many.
        let by_number = LazyCell::new(|| {
            let names = self.names.iter().chain(link.replies.names());
            let numbers = names.filter_map(|(name, named)| match named {
                Named::Shared(shared) => Some((shared.statement.id, name)),
                Named::Own(_) | Named::BySql => None,
            });
            work::note(1);
            numbers.collect::<HashMap<u64, &Bytes>>()
        });
        let shifts = link.replies.front().and_then(|owed| owed.shifts.as_ref());
        let clients = |server_name: &[u8]| {
            if let Some(own) = clients_own(server_name) {
                return Some(Bytes::copy_from_slice(own));
            }
            let name = by_number.get(&numbered(server_name)?)?;
            Some(Bytes::clone(name))
        };
        let changed = in_clients_words(body, shifts, clients);
        let said = match self.is_refused(body) {
            true => CHANGED,
            false => changed.as_deref().unwrap_or(body),
        };
        if let Some(parameters) = self.parameters_before(body) {
            put_header(input.ours(), b't', parameters.len());
            input.ours().extend_from_slice(parameters);
        }
        put_header(input.ours(), b'E', said.len());
        input.ours().extend_from_slice(said);
    }
}

/// Whether an ErrorResponse's untranslated severity is one after which the connection is closed.
pub(super) fn is_fatal(body: &[u8]) -> bool {
    matches!(field(body, b'V'), Some([b'F' | b'P', ..]))
}

/// The class of an ErrorResponse's SQLSTATE.
pub(super) fn class_of(body: &[u8]) -> SqlstateClass {
    field(body, b'C').map_or(SqlstateClass::OTHER, SqlstateClass::of)
}

/// A field of an ErrorResponse; of one that was cut, as much as there is.
pub(in super::super) fn field(mut body: &[u8], wanted: u8) -> Option<&[u8]> {
    while let [code, rest @ ..] = body {
        let end = rest.iter().position(|&byte| byte == 0);
        if *code == wanted {
            return Some(&rest[..end.unwrap_or(rest.len())]);
        }
        body = &rest[end? + 1..];
    }
    None
}

//! `currval` and `lastval` mean the values that the session itself has drawn. A backend keeps those of
//! whoever drew the last ones, which are nobody else's to see.
//!
//! Nobody can tell whether a statement draws values (a column's default does), so they are made
//! forgotten when a backend changes hands; but only for tenants of which a client has ever asked for
//! one. The first that asks is helped only if it asks before it has done anything on that backend.

use bytes::BytesMut;

use super::super::pins::Pin;
use super::super::replies::{Owed, To, What};
use super::super::request::{put_bare, put_run};
use super::super::sql::{Script, Step};
use super::Tracker;
use crate::pg::TransactionStatus;

impl Tracker {
    /// Whether a statement asks for values of which the backend may have those of somebody else.
    pub(super) fn asks_for_others_values(&self, script: Option<&Script>) -> bool {
        let asks = |step: &Step| step.pins.contains(Pin::SequenceValue);
        if !script.is_some_and(|script| script.steps.iter().any(asks)) {
            return false;
        }
        self.commons.values_matter();
        let others = |link: &super::link::Link| link.others_values && !link.ran;
        // A failed transaction refuses us as it will refuse the client.
        self.link.as_ref().is_some_and(others) && self.status != TransactionStatus::Failed
    }

    /// The backend has changed hands.
    pub(super) fn discard_values_that_matter(&mut self, to_backend: &mut BytesMut) {
        let others = self.link.as_ref().is_some_and(|link| link.others_values);
        if others && self.commons.do_values_matter() {
            self.discard_others_values(true, to_backend);
        }
    }

    /// Makes the backend forget them, within the batch that is open, or in one of its own.
    pub(super) fn discard_others_values(&mut self, apart: bool, to_backend: &mut BytesMut) {
        let Some(link) = &mut self.link else {
            return;
        };
        link.others_values = false;
        put_run(to_backend, "DISCARD SEQUENCES");
        for what in [
            What::Parse,
            What::Bind,
            What::Execute,
            What::Close,
            What::Close,
        ] {
            match apart {
                true => link.push(Owed::new(what, To::Nobody)),
                false => link.push_extended(Owed::new(what, To::NobodyUnlessError)),
            }
        }
        if apart {
            put_bare(to_backend, b'S');
            link.push(Owed::new(What::Sync, To::Nobody));
        }
    }
}

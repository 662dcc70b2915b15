//! Names of statements that are taken: the backend, which knows the shared ones under other names, must refuse them as
//! it would if it knew them under the client's.

use std::collections::HashSet;

use bytes::Bytes;

use super::super::changes::Change;
use super::super::names::Named;
use super::super::outbound::Passing;
use super::super::prepared::own_name;
use super::super::replies::{Owed, To, What};
use super::super::request::{Request, put_bare, put_parse};
use super::super::sql::{Act, Script};
use super::Tracker;
use super::said::Fate;
use super::text::Text;
use super::traces::asks;

impl Tracker {
    /// Whether a batch of ours may have to go before a text, and cannot yet: it is not certain what
    /// there is, or its Sync would end what the backend ignores because of an error of the client's.
    pub(super) fn must_wait_for_batch(&self, read: &Text) -> bool {
        let script = read.script.as_deref();
        if self.prepares_undecided(script) {
            return true;
        }
        let may_need = !read.needs.is_empty()
            || prepared_by(script).next().is_some()
            || self.needs_discard(asks(script), read.traces);
        may_need && self.cannot_go_before()
    }

    /// Whether a batch of ours that is to go before a message, or to be part of the client's, cannot yet.
    pub(super) fn cannot_go_before(&self) -> bool {
        let link = self.link.as_deref();
        link.is_some_and(|link| match link.batch_open {
            true => !link.replies.is_empty(),
            false => link.replies.may_skip(),
        })
    }

    /// Whether it is not certain yet what a name means that a script prepares.
    pub(super) fn prepares_undecided(&self, script: Option<&Script>) -> bool {
        let replies = self.link.as_deref().map(|link| &link.replies);
        let Some(replies) = replies.filter(|replies| replies.has_changes()) else {
            return false;
        };
        if prepared_by(script).next().is_none() {
            return false;
        }
        // In one go for all of them: there may be as many as there are changes.
        let names: HashSet<&Bytes> = prepared_by(script).collect();
        let prepared =
            |change: &Change| matches!(change, Change::Name { name, .. } if names.contains(name));
        replies.before_sync().any(prepared)
            || replies.has_change(|change| prepared(change) && was_own(change))
    }

    /// SQL PREPARE of a name that a shared statement has: the backend must refuse it, so it is given
    /// a statement of that name, `apart` from the client's batch or in it, which goes again behind that.
    pub(super) fn refuse_taken(&mut self, script: &Script, apart: bool, input: &mut Passing<'_>) {
        for step in &script.steps {
            match &step.act {
                Act::Prepare(name) if matches!(self.names.get(name), Some(Named::Shared(..))) => {
                    let Some(link) = &mut self.link else {
                        return;
                    };
                    put_parse(input.ours(), name, EMPTY_STATEMENT);
                    link.leftovers.push(name.clone());
                    if apart {
                        link.push(Owed::new(What::Parse, To::Nobody));
                        put_bare(input.ours(), b'S');
                        link.push(Owed::new(What::Sync, To::Nobody));
                    } else {
                        link.push_extended(Owed::new(What::Parse, To::NobodyUnlessError));
                    }
                }
                Act::Deallocate(..) | Act::DeallocateAll | Act::DiscardAll => return,
                _ => {}
            }
        }
    }

    /// Whether the backend may turn out to have a statement of this name still.
    pub(super) fn may_own_yet(&self, name: &Bytes) -> bool {
        let may = |change: &Change| is_about_name(change, name) && was_own(change);
        let link = self.link.as_deref();
        link.is_some_and(|link| link.replies.has_change(may))
    }

    /// A name that is taken. The backend must refuse it, in its own words and after it has looked at
    /// the text; so it is given a statement of that name first, which goes again after the batch.
    pub(super) fn parse_again(
        &mut self,
        name: &Bytes,
        source: &[u8],
        request: Request<'_>,
        input: &mut Passing<'_>,
    ) -> Fate {
        self.occupy(name, input);
        self.push_extended(Owed::new(What::Parse, To::Client));
        self.pass_about(request, name, source, input)
    }

    /// Gives the backend a statement of this name, until the batch is over.
    pub(super) fn occupy(&mut self, name: &Bytes, input: &mut Passing<'_>) {
        put_parse(input.ours(), &own_name(name), EMPTY_STATEMENT);
        self.push_extended(Owed::new(What::Parse, To::NobodyUnlessError));
        if let Some(link) = &mut self.link {
            link.leftovers.push(own_name(name));
        }
    }

    /// A Parse under the client's own name, which is nearly always forwarded as it is.
    pub(super) fn pass_about(
        &mut self,
        request: Request<'_>,
        name: &Bytes,
        source: &[u8],
        input: &mut Passing<'_>,
    ) -> Fate {
        let own = own_name(name);
        if own == name {
            return Fate::Passes;
        }
        put_parse(input.ours(), &own, source);
        Fate::Rewritten(request.total)
    }
}

/// The names that SQL PREPARE gives.
fn prepared_by(script: Option<&Script>) -> impl Iterator<Item = &Bytes> {
    let steps = script.into_iter().flat_map(|script| &script.steps);
    steps.filter_map(|step| match &step.act {
        Act::Prepare(name) => Some(name),
        _ => None,
    })
}

/// A name of the client's that is taken; it is about this one.
pub(super) fn is_about_name(change: &Change, name: &[u8]) -> bool {
    matches!(change, Change::Name { name: other, .. } if other == name)
}

/// A name is taken of which the backend may turn out to have a statement still.
fn was_own(change: &Change) -> bool {
    matches!(change, Change::Name { before: Some(before), .. } if before.is_own())
}

/// A Parse's body behind the name, for a statement without text or parameters.
const EMPTY_STATEMENT: &[u8] = b"\0\0\0";

//! Messages about statements: Query, Parse, Bind, Describe, Execute.

use std::rc::Rc;

use bytes::Bytes;

use super::super::commons::PreparedStatements;
use super::super::names::{BYTES_LIMIT, NAMES_LIMIT, Named};
use super::super::outbound::Passing;
use super::super::prepared::own_name;
use super::super::renamed::Shifts;
use super::super::replies::{Change, Owed, To, Unnamed, What};
use super::super::request::{
    HEADER, NAME_LIMIT, Request, put_about_statement, put_bare, put_header, put_parse, put_query,
    string,
};
use super::super::sql::{Act, Script};
use super::super::statement::Draft;
use super::said::Fate;
use super::text::Text;
use super::{Fault, Tracker};
use crate::pg::{ErrorResponse, TransactionStatus};

impl Tracker {
    pub(super) fn query(
        &mut self,
        request: Request<'_>,
        input: &mut Passing<'_>,
    ) -> Result<Fate, Fault> {
        if request.is_long() {
            self.push_query(Some(Rc::default()), true, None);
            return Ok(Fate::Passes);
        }
        if !request.is_whole() {
            return Ok(Fate::Incomplete);
        }
        let Some((text, _)) = string(request.body()) else {
            self.push_query(None, false, None);
            return Ok(Fate::Passes);
        };
        let Some(read) = self.read(text) else {
            return Ok(Fate::Held);
        };
        if self.must_wait_for_batch(&read) {
            return Ok(Fate::Held);
        }
        if self.asks_for_others_values(read.script.as_deref()) {
            let apart = self.link.as_ref().is_some_and(|link| !link.batch_open);
            self.discard_others_values(apart, input.ours());
        }
        if let Some(script) = &read.script {
            self.refuse_taken(script, input);
        }
        let mut fate = Fate::Passes;
        if let Some(renamed) = &read.renamed {
            for key in &read.needs {
                self.provide_apart(key, input);
            }
            put_query(input.ours(), renamed);
            fate = Fate::Rewritten(request.total);
        }
        let barrier = self.is_barrier(read.script.as_deref());
        self.push_query(read.script, barrier, read.shifts);
        Ok(fate)
    }

    /// Whether a batch of ours may have to go before a text, and cannot yet: it is not certain what
    /// there is, or its Sync would end what the backend ignores because of an error of the client's.
    fn must_wait_for_batch(&self, read: &Text) -> bool {
        let steps = read.script.iter().flat_map(|script| &script.steps);
        let mut prepares = steps.filter_map(|step| match &step.act {
            Act::Prepare(name) => Some(name),
            _ => None,
        });
        let undecided = |name: &Bytes| {
            self.is_undecided(|change| is_about_name(change, name)) || self.may_own_yet(name)
        };
        if prepares.clone().any(undecided) {
            return true;
        }
        let may_need = !read.needs.is_empty()
            || prepares.next().is_some()
            || self.asks_for_others_values(read.script.as_deref());
        let link = self.link.as_ref();
        may_need
            && link.is_some_and(|link| match link.batch_open {
                true => !link.replies.is_empty(),
                false => link.replies.may_skip(),
            })
    }

    fn push_query(&mut self, script: Option<Rc<Script>>, barrier: bool, shifts: Option<Shifts>) {
        let mut owed = Owed::new(What::Query, To::Client).doing(script);
        owed.barrier = barrier;
        owed.shifts = shifts;
        owed.changes
            .extend(self.change_unnamed(Unnamed::Absent, Unnamed::Absent));
        if let Some(link) = &mut self.link {
            // The end of a Query is the end of a batch that no Sync has ended.
            link.batch_open = false;
            link.ran = true;
        }
        self.push(owed);
    }

    /// SQL PREPARE of a name that a shared statement has: the backend must refuse it, so it is given
    /// a statement of that name, which goes again behind the Query.
    fn refuse_taken(&mut self, script: &Script, input: &mut Passing<'_>) {
        for step in &script.steps {
            match &step.act {
                Act::Prepare(name) if matches!(self.names.get(name), Some(Named::Shared(..))) => {
                    let Some(link) = &mut self.link else {
                        return;
                    };
                    put_parse(input.ours(), name, EMPTY_STATEMENT);
                    link.leftovers.push(name.clone());
                    if link.batch_open && self.status == TransactionStatus::Idle {
                        link.push(Owed::new(What::Parse, To::NobodyUnlessError));
                    } else {
                        link.push(Owed::new(What::Parse, To::Nobody));
                        put_bare(input.ours(), b'S');
                        link.push(Owed::new(What::Sync, To::Nobody));
                    }
                }
                Act::Deallocate(..) | Act::DeallocateAll | Act::DiscardAll => return,
                _ => {}
            }
        }
    }

    pub(super) fn parse(
        &mut self,
        request: Request<'_>,
        input: &mut Passing<'_>,
    ) -> Result<Fate, Fault> {
        let Some((name, source)) = string(request.body()) else {
            return self.headless(request, What::Parse);
        };
        if !request.is_whole() && !request.is_long() {
            return Ok(Fate::Incomplete);
        }
        if request.is_long() {
            return Ok(self.parse_long(name));
        }
        let draft = self.draft(source);
        if name.is_empty() {
            self.parse_unnamed(draft);
            return Ok(Fate::Passes);
        }
        let name = Bytes::copy_from_slice(name);
        if self.is_undecided(|change| is_about_name(change, &name)) {
            return Ok(Fate::Held);
        }
        match self.names.get(&name) {
            Some(Named::Own(_)) => {
                // The backend has it, and will say so.
                self.push_extended(Owed::new(What::Parse, To::Client));
                Ok(self.pass_about(request, &name, source, input))
            }
            Some(Named::Shared(..)) if self.may_own_yet(&name) => Ok(Fate::Held),
            Some(Named::Shared(..)) => Ok(self.parse_again(&name, source, request, input)),
            None if self.names.is_full() => Err(too_many()),
            None if self.commons.rules().prepared_statements == PreparedStatements::Pin => {
                self.push_parse_own(&name, draft.script);
                Ok(self.pass_about(request, &name, source, input))
            }
            None => {
                self.parse_shared(&name, draft, input);
                Ok(Fate::Rewritten(request.total))
            }
        }
    }

    /// A statement that others may share. It is prepared anew even if the backend has it already:
    /// so it fails as it would on a direct connection, and what the tables are like *now* counts.
    fn parse_shared(&mut self, name: &Bytes, draft: Draft, input: &mut Passing<'_>) {
        let statement = self.commons.share(draft);
        let key = self.key(&statement);
        let epoch = self.commons.next_epoch();
        let mut owed = self.prepare(&key, epoch, To::Client, input.ours());
        let named = Named::Shared(statement, epoch);
        owed.changes.push(Change::Name {
            name: name.clone(),
            before: self.names.set(name, Some(named)),
        });
        self.push_extended(owed);
    }

    fn parse_unnamed(&mut self, draft: Draft) {
        let statement = Unnamed::Known(self.commons.own(draft));
        let mut owed = Owed::new(What::Parse, To::Client);
        owed.changes
            .extend(self.change_unnamed(statement.clone(), statement));
        self.push_extended(owed);
    }

    /// A statement too long to be read. It stays where it is, and so does its client.
    fn parse_long(&mut self, name: &[u8]) -> Fate {
        if name.is_empty() {
            let mut owed = Owed::new(What::Parse, To::Client);
            owed.changes
                .extend(self.change_unnamed(Unnamed::Unknown, Unnamed::Unknown));
            self.push_extended(owed);
            return Fate::Passes;
        }
        let name = Bytes::copy_from_slice(name);
        if self.is_undecided(|change| is_about_name(change, &name)) {
            return Fate::Held;
        }
        match self.names.get(&name) {
            Some(_) => self.push_extended(Owed::new(What::Parse, To::Client)),
            None => self.push_parse_own(&name, Some(Rc::default())),
        }
        Fate::Passes
    }

    fn push_parse_own(&mut self, name: &Bytes, script: Option<Rc<Script>>) {
        let mut owed = Owed::new(What::Parse, To::Client);
        owed.changes.push(Change::Name {
            name: name.clone(),
            before: self.names.set(name, Some(Named::Own(script))),
        });
        self.push_extended(owed);
    }

    /// Whether the backend may turn out to have a statement of this name still.
    fn may_own_yet(&self, name: &Bytes) -> bool {
        let may = |change: &Change| match change {
            Change::Name {
                name: other,
                before,
            } => other == name && matches!(before, Some(Named::Own(_))),
            _ => false,
        };
        let link = self.link.as_ref();
        link.is_some_and(|link| link.replies.has_change(may))
    }

    /// A name that is taken. The backend must refuse it, in its own words and after it has looked at
    /// the text; so it is given a statement of that name first, which goes again after the batch.
    fn parse_again(
        &mut self,
        name: &Bytes,
        source: &[u8],
        request: Request<'_>,
        input: &mut Passing<'_>,
    ) -> Fate {
        put_parse(input.ours(), &own_name(name), EMPTY_STATEMENT);
        self.push_extended(Owed::new(What::Parse, To::NobodyUnlessError));
        self.push_extended(Owed::new(What::Parse, To::Client));
        if let Some(link) = &mut self.link {
            link.leftovers.push(own_name(name));
        }
        self.pass_about(request, name, source, input)
    }

    /// A Parse under the client's own name, which is nearly always forwarded as it is.
    fn pass_about(
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

    pub(super) fn bind(
        &mut self,
        request: Request<'_>,
        input: &mut Passing<'_>,
    ) -> Result<Fate, Fault> {
        let head = string(request.body())
            .and_then(|(portal, rest)| string(rest).map(|(name, _)| (portal, name)));
        let Some((portal, name)) = head else {
            return self.headless(request, What::Bind);
        };
        let Some(meant) = self.provide(name, input) else {
            return Ok(Fate::Held);
        };
        if self.asks_for_others_values(meant.script.as_deref()) {
            self.discard_others_values(false, input.ours());
        }
        self.note_portal(portal, meant.script);
        self.push_extended(Owed::new(What::Bind, To::Client));
        Ok(match meant.server_name {
            None => Fate::Passes,
            Some(server_name) => {
                let length = request.total - HEADER - name.len() + server_name.len();
                let out = input.ours();
                put_header(out, b'B', length);
                out.extend_from_slice(portal);
                out.extend_from_slice(b"\0");
                out.extend_from_slice(&server_name);
                out.extend_from_slice(b"\0");
                Fate::Rewritten(HEADER + portal.len() + 1 + name.len() + 1)
            }
        })
    }

    pub(super) fn describe(
        &mut self,
        request: Request<'_>,
        input: &mut Passing<'_>,
    ) -> Result<Fate, Fault> {
        if !request.is_whole() {
            return Ok(Fate::Incomplete);
        }
        let Some((b'S', name)) = about(request.body()) else {
            self.push_extended(Owed::new(What::DescribePortal, To::Client));
            return Ok(Fate::Passes);
        };
        let Some(meant) = self.provide(name, input) else {
            return Ok(Fate::Held);
        };
        self.push_extended(Owed::new(What::DescribeStatement, To::Client));
        Ok(match meant.server_name {
            None => Fate::Passes,
            Some(server_name) => {
                put_about_statement(input.ours(), b'D', &server_name);
                Fate::Rewritten(request.total)
            }
        })
    }

    pub(super) fn execute(&mut self, request: Request<'_>) -> Fate {
        if !request.is_whole() {
            return Fate::Incomplete;
        }
        let script = string(request.body()).and_then(|(portal, _)| {
            let known = self.portals.iter().find(|(name, _)| name == portal);
            known.map(|(_, script)| Rc::clone(script))
        });
        let barrier = self.is_barrier(script.as_deref());
        let mut owed = Owed::new(What::Execute, To::Client).doing(script);
        owed.barrier = barrier;
        if let Some(link) = &mut self.link {
            link.ran = true;
        }
        self.push_extended(owed);
        Fate::Passes
    }

    /// A message whose names cannot be read: because they have not come, or because they are none.
    /// The backend refuses the latter in its own words.
    fn headless(&mut self, request: Request<'_>, what: What) -> Result<Fate, Fault> {
        if request.is_whole() {
            self.push_extended(Owed::new(what, To::Client));
            return Ok(Fate::Passes);
        }
        if request.seen.len() > NAME_LIMIT {
            return Err(Fault::Client(ErrorResponse::fatal(
                PROGRAM_LIMIT_EXCEEDED,
                format!("names of statements and portals are limited to {NAME_LIMIT} bytes"),
            )));
        }
        Ok(Fate::Incomplete)
    }
}

/// A name of the client's that is taken; it is about this one.
pub(super) fn is_about_name(change: &Change, name: &Bytes) -> bool {
    matches!(change, Change::Name { name: other, .. } if other == name)
}

/// The body of Describe and Close: whether it is a statement or a portal, and its name.
pub(super) fn about(body: &[u8]) -> Option<(u8, &[u8])> {
    let (&kind, rest) = body.split_first()?;
    let (name, _) = string(rest)?;
    Some((kind, name))
}

fn too_many() -> Fault {
    Fault::Client(ErrorResponse::fatal(
        PROGRAM_LIMIT_EXCEEDED,
        format!(
            "a client may have {NAMES_LIMIT} prepared statements of together {BYTES_LIMIT} bytes"
        ),
    ))
}

/// A Parse's body behind the name, for a statement without text or parameters.
const EMPTY_STATEMENT: &[u8] = b"\0\0\0";

/// The SQLSTATE `program_limit_exceeded`.
const PROGRAM_LIMIT_EXCEEDED: &str = "54000";

//! Describe, and what is learnt from its answer.
//!
//! In a failed transaction PostgreSQL describes statements that return nothing, and refuses the others. It refuses also to
//! prepare: so a statement that the backend lacks is described here, if any backend has done so before.

use std::rc::Rc;

use bytes::{Bytes, BytesMut};

use super::super::changes::Unnamed;
use super::super::names::Named;
use super::super::outbound::Passing;
use super::super::replies::{Owed, To, What};
use super::super::request::{Request, put_about_statement, put_bare, put_header};
use super::super::statement::Statement;
use super::heard::DESCRIPTION_LIMIT;
use super::link::Link;
use super::said::Fate;
use super::statements::about;
use super::{Fault, Tracker};
use crate::pg::TransactionStatus;

impl Link {
    /// Whether something may be learnt from the answer to a Describe.
    pub(super) fn is_describing(&self) -> bool {
        let front = self.replies.front();
        front.is_some_and(|owed| owed.describes.is_some())
    }
}

impl Tracker {
    pub(super) fn describe(
        &mut self,
        request: Request<'_>,
        input: &mut Passing<'_>,
        to_client: &mut BytesMut,
    ) -> Result<Fate, Fault> {
        if !request.is_whole() {
            return Ok(Fate::Incomplete);
        }
        let Some((b'S', name)) = about(request.body()) else {
            self.push_extended(Owed::new(What::DescribePortal, To::Client));
            return Ok(Fate::Passes);
        };
        let statement = self.statement_named(name);
        if self.status == TransactionStatus::Failed && self.is_amidst() {
            return Ok(Fate::Held);
        }
        if self.status == TransactionStatus::Failed
            && let Some(statement) = &statement
            && self.describe_here(statement, to_client)
        {
            return Ok(Fate::Dropped);
        }
        let Some(meant) = self.provide(name, input) else {
            return Ok(Fate::Held);
        };
        let mut owed = Owed::new(What::DescribeStatement, To::Client);
        owed.describes = statement.filter(|statement| {
            let as_now = self.commons.acceptance(self.settings.context());
            statement.is_undescribed(as_now) && !self.is_obscured()
        });
        self.push_extended(owed);
        Ok(match meant.server_name {
            None => Fate::Passes,
            Some(server_name) => {
                put_about_statement(input.ours(), b'D', &server_name);
                Fate::Rewritten(request.total)
            }
        })
    }

    /// The statement that a client means by a name, unless that is the backend's to know.
    fn statement_named(&self, name: &[u8]) -> Option<Rc<Statement>> {
        match (name, &self.unnamed, self.names.get(name)) {
            (b"", Unnamed::Known(statement), _) => Some(Rc::clone(statement)),
            (b"", ..) => None,
            (_, _, Some(Named::Shared(statement, _))) => Some(Rc::clone(statement)),
            _ => None,
        }
    }

    /// Describes a statement that the backend lacks, if it is known to return nothing, and nothing else is owed.
    fn describe_here(&self, statement: &Rc<Statement>, to_client: &mut BytesMut) -> bool {
        let key = self.key(statement);
        let as_now = self.commons.acceptance(key.context);
        let (Some(parameters), Some(link)) = (statement.described_as_nothing(as_now), &self.link)
        else {
            return false;
        };
        let memory = &link.memory;
        let is_there = matches!(&memory.unnamed, Unnamed::Known(there) if there == statement)
            || memory.prepared.contains(&key);
        if is_there || !link.replies.is_empty() {
            return false;
        }
        put_header(to_client, b't', parameters.len());
        to_client.extend_from_slice(&parameters);
        put_bare(to_client, b'n');
        true
    }

    /// What the backend says of the statement at the front.
    pub(super) fn described(&self, kind: u8, body: &[u8]) {
        let Some(front) = self.link.as_deref().and_then(|link| link.replies.front()) else {
            return;
        };
        let Some(statement) = &front.describes else {
            return;
        };
        match kind {
            b't' if body.len() < DESCRIPTION_LIMIT => {
                statement.takes(Bytes::copy_from_slice(body));
            }
            b't' => {}
            _ => {
                let as_now = self.commons.acceptance(self.settings.context());
                statement.returns(kind == b'n', as_now);
            }
        }
    }
}

//! Describe, and what is learnt from its answer.
//!
//! In a failed transaction PostgreSQL describes statements that return nothing, and refuses the others. It refuses also to
//! prepare: so a statement that the backend lacks is described here, if any backend has done so before.

use std::rc::Rc;

use bytes::BytesMut;

use super::super::changes::Unnamed;
use super::super::names::Named;
use super::super::outbound::Passing;
use super::super::replies::{Owed, To, What};
use super::super::request::{Request, put_about_statement, put_bare, put_header};
use super::super::statement::Statement;
use super::said::Fate;
use super::shapes::{By, Changed, Described};
use super::statements::about;
use super::{Fault, Tracker};
use crate::pg::TransactionStatus;

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
        let name = match about(request.body()) {
            Some((b'S', name)) => name,
            other => {
                let mut owed = Owed::new(What::DescribePortal, To::Client);
                owed.describes = other.and_then(|(_, portal)| self.described_by_portal(portal));
                self.push_extended(owed);
                return Ok(Fate::Passes);
            }
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
        owed.refused = meant.changed.is_some();
        owed.describes = statement.and_then(|statement| match meant.changed {
            Some(Changed { parameters }) => Some(Box::new(Described {
                parameters,
                ..Described::new(&statement, By::Nobody)
            })),
            None => self.described_by_statement(&statement, name),
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

    /// What the description of a statement tells: the client, and us, where we may say it to somebody in a backend's
    /// stead.
    fn described_by_statement(
        &self,
        statement: &Rc<Statement>,
        name: &[u8],
    ) -> Option<Box<Described>> {
        let by = match (&self.unnamed, self.names.shared(name)) {
            _ if !statement.keeps_shape() => By::Nobody,
            (Unnamed::Known(_, None), _) if name.is_empty() => By::Unnamed,
            (_, Some((name, shared))) if shared.told.is_none() => By::name(name, shared),
            _ => By::Nobody,
        };
        let as_now = self.commons.acceptance(self.settings.context());
        let when = (!self.is_obscured()).then_some(as_now);
        // Under settings that cannot be seen its names may mean other tables than they do for others.
        let is_shared = when.is_some() && !name.is_empty() && !statement.names_others;
        let key = is_shared.then(|| self.key(statement));
        let prepared = &self.link.as_deref()?.memory.prepared;
        let entry = key.and_then(|key| Some((prepared.get(&key)?, key)));
        let is_known = when.is_none_or(|now| {
            let of_entry = entry.as_ref().is_none_or(|(entry, _)| entry.is_described());
            of_entry && statement.is_described(now)
        });
        if matches!(by, By::Nobody) && is_known {
            return None;
        }
        let mut described = Described::new(statement, by);
        described.when = when;
        described.entry = entry.map(|(entry, key)| (key, entry.made));
        Some(Box::new(described))
    }

    /// The statement that a client means by a name, unless that is the backend's to know.
    fn statement_named(&self, name: &[u8]) -> Option<Rc<Statement>> {
        match (name, &self.unnamed, self.names.get(name)) {
            (b"", Unnamed::Known(statement, _), _) => Some(Rc::clone(statement)),
            (b"", ..) => None,
            (_, _, Some(Named::Shared(shared))) => Some(Rc::clone(&shared.statement)),
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
        let is_there = matches!(&memory.unnamed, Unnamed::Known(there, _) if there == statement)
            || memory.prepared.contains(&key);
        if is_there || !link.replies.is_empty() {
            return false;
        }
        put_header(to_client, b't', parameters.len());
        to_client.extend_from_slice(&parameters);
        put_bare(to_client, b'n');
        true
    }
}

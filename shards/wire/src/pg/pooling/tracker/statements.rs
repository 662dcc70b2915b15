//! Messages about statements: Query, Parse, Bind, Describe, Execute.

use std::rc::Rc;

use bytes::Bytes;

use super::super::changes::{Change, Unnamed};
use super::super::commons::PreparedStatements;
use super::super::names::{BYTES_LIMIT, NAMES_LIMIT, Named, Shared};
use super::super::outbound::Passing;
use super::super::prepared::own_name;
use super::super::renamed::Shifts;
use super::super::replies::{Owed, To, What};
use super::super::request::{HEADER, NAME_LIMIT, Request, put_header, put_query, string};
use super::super::sql::{Reading, Script, Traces};
use super::super::statement::{Draft, Statement};
use super::said::Fate;
use super::taken::is_about_name;
use super::text::Text;
use super::traces::asks;
use super::{Fault, Tracker};
use crate::pg::{ErrorResponse, TransactionStatus};

impl Tracker {
    pub(super) fn query(
        &mut self,
        request: Request<'_>,
        input: &mut Passing<'_>,
    ) -> Result<Fate, Fault> {
        if !request.is_whole() && !request.is_long() {
            return Ok(Fate::Incomplete);
        }
        let read = match string(request.body()) {
            _ if request.is_long() => Some(Text::unread()),
            Some((text, _)) => self.read(text),
            None => Some(Text::default()),
        };
        let Some(read) = read else {
            return Ok(Fate::Held);
        };
        if self.must_wait_for_batch(&read) {
            return Ok(Fate::Held);
        }
        if self.needs_discard(asks(read.script.as_deref()), read.traces) {
            self.discard_others_values_before(input.ours());
        }
        self.note_traces(read.traces);
        if let Some(script) = &read.script {
            let in_batch = self.link.as_deref().is_some_and(|link| link.batch_open);
            // A Sync of ours would commit what the client's own batch has done.
            let apart = !in_batch || self.status != TransactionStatus::Idle;
            self.refuse_taken(script, apart, input);
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

    fn push_query(&mut self, script: Option<Rc<Script>>, barrier: bool, shifts: Option<Shifts>) {
        let mut owed = Owed::new(What::Query, To::Client).doing(script);
        owed.barrier = barrier;
        owed.shifts = shifts;
        if let Some(link) = &mut self.link {
            // The end of a Query is the end of a batch that no Sync has ended.
            link.batch_open = false;
            link.ran = true;
            link.push(owed);
        }
        self.change_unnamed(Unnamed::Absent, Unnamed::Absent);
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
            self.provide_for(None, Traces::ALL, input);
            return Ok(self.parse_long(name, request, input));
        }
        if self.waits_to_read() {
            return Ok(Fate::Held);
        }
        // Before it is read, which may take long.
        if !name.is_empty() && self.is_undecided(|change| is_about_name(change, name)) {
            return Ok(Fate::Held);
        }
        let reading = self.read_source(source);
        if name.is_empty() {
            self.parse_unnamed(source, reading);
            return Ok(Fate::Passes);
        }
        let name = Bytes::copy_from_slice(name);
        match self.names.get(&name) {
            // The backend has it, and will say so.
            Some(Named::Own(_)) => {
                self.push_extended(Owed::new(What::Parse, To::Client));
                Ok(self.pass_about(request, &name, source, input))
            }
            Some(Named::BySql) => {
                self.push_extended(Owed::new(What::Parse, To::Client));
                Ok(Fate::Passes)
            }
            Some(Named::Shared(..)) if self.may_own_yet(&name) => Ok(Fate::Held),
            Some(Named::Shared(..)) => Ok(self.parse_again(&name, source, request, input)),
            None if self.is_full_of_names() => Err(too_many(self.names.is_full())),
            None => {
                let multiplexes =
                    self.commons.rules().prepared_statements == PreparedStatements::Multiplex;
                let draft = Draft::new(source, reading);
                if multiplexes && self.commons.may_share(&draft) {
                    self.parse_shared(name, draft, input);
                    return Ok(Fate::Rewritten(request.total));
                }
                self.provide_for(None, draft.traces, input);
                self.push_parse_own(name.clone(), draft.script);
                Ok(self.pass_about(request, &name, source, input))
            }
        }
    }

    /// Whether the client may prepare no more.
    pub(super) fn is_full_of_names(&self) -> bool {
        self.names.is_full() || self.names.are_too_many()
    }

    /// A statement that others may share. It is prepared anew even if the backend has it already:
    /// so it fails as it would on a direct connection, and what the tables are like *now* counts.
    fn parse_shared(&mut self, name: Bytes, draft: Draft, input: &mut Passing<'_>) {
        let statement = self.commons.share(draft);
        let key = self.key(&statement);
        let epoch = self.commons.next_epoch();
        self.prepare(&key, epoch, None, To::Client, input.ours());
        let shared = Shared {
            statement,
            epoch,
            told: None,
        };
        self.change_name(name, Some(Named::Shared(shared)));
    }

    fn parse_unnamed(&mut self, source: &[u8], reading: Reading) {
        if source.len() > KEPT_BEYOND_BUDGET && self.commons.budget().is_spent() {
            let draft = Draft::new(source, reading);
            // Without its text nobody can say what it names.
            let unread = draft.names_others.then(Rc::default);
            self.parse_unkept(unread.or(draft.script), draft.traces);
            return;
        }
        let again = self.unnamed_again(source, &reading);
        let new = || self.commons.own(Draft::new(source, reading));
        let statement = Unnamed::Known(again.unwrap_or_else(new), None);
        self.push_extended(Owed::new(What::Parse, To::Client));
        self.change_unnamed(statement.clone(), statement);
    }

    /// The unnamed statement, if the client says again what it and its backend have, and nobody else has it, who might
    /// mean it as it was said before.
    fn unnamed_again(&self, source: &[u8], reading: &Reading) -> Option<Rc<Statement>> {
        let (Unnamed::Known(known, _), Some(link)) = (&self.unnamed, &self.link) else {
            return None;
        };
        let holders = (Rc::strong_count(known), Rc::weak_count(known));
        let is_theirs = holders == (2, 0) && link.memory.unnamed == self.unnamed;
        (is_theirs && known.is(source, reading)).then(|| Rc::clone(known))
    }

    fn parse_unkept(&mut self, script: Option<Rc<Script>>, traces: Traces) {
        let statement = Unnamed::Unkept { script, traces };
        self.push_extended(Owed::new(What::Parse, To::Client));
        self.change_unnamed(statement.clone(), statement);
    }

    /// A statement too long to be read. It stays where it is, and so does its client.
    fn parse_long(&mut self, name: &[u8], request: Request<'_>, input: &mut Passing<'_>) -> Fate {
        if name.is_empty() {
            self.parse_unkept(Some(Rc::default()), Traces::ALL);
            return Fate::Passes;
        }
        let name = Bytes::copy_from_slice(name);
        if self.is_undecided(|change| is_about_name(change, &name)) {
            return Fate::Held;
        }
        match self.names.get(&name) {
            Some(Named::Shared(..)) if self.may_own_yet(&name) => return Fate::Held,
            Some(Named::BySql) => {
                self.push_extended(Owed::new(What::Parse, To::Client));
                return Fate::Passes;
            }
            Some(named) => {
                if !named.is_own() {
                    self.occupy(&name, input);
                }
                self.push_extended(Owed::new(What::Parse, To::Client));
            }
            None => self.push_parse_own(name.clone(), Some(Rc::default())),
        }
        let own = own_name(&name);
        if own == name {
            return Fate::Passes;
        }
        let out = input.ours();
        put_header(out, b'P', request.total - HEADER - name.len() + own.len());
        out.extend_from_slice(&own);
        out.extend_from_slice(b"\0");
        Fate::Rewritten(HEADER + name.len() + 1)
    }

    fn push_parse_own(&mut self, name: Bytes, script: Option<Rc<Script>>) {
        self.push_extended(Owed::new(What::Parse, To::Client));
        self.change_name(name, Some(Named::Own(script)));
    }

    pub(super) fn bind(
        &mut self,
        request: Request<'_>,
        input: &mut Passing<'_>,
    ) -> Result<Fate, Fault> {
        let head = string(request.body())
            .and_then(|(portal, rest)| string(rest).map(|(name, values)| (portal, name, values)));
        let Some((portal, name, values)) = head else {
            return self.headless(request, What::Bind);
        };
        let will_be_whole = !request.is_whole() && !request.is_long();
        if will_be_whole && self.is_bound(name) {
            return Ok(Fate::Incomplete);
        }
        let Some(mut meant) = self.provide(name, input) else {
            return Ok(Fate::Held);
        };
        self.bind_settings(&mut meant, request.is_whole().then_some(values));
        self.provide_for(meant.script.as_deref(), meant.traces, input);
        let mut owed = Owed::new(What::Bind, To::Client);
        owed.refused = meant.changed.is_some();
        self.push_extended(owed);
        self.note_portal(portal, meant.script);
        self.note_bound(portal, meant.untold);
        Ok(match meant.server_name {
            None => Fate::Passes,
            Some(server_name) => {
                let length = request.total - HEADER - name.len() + server_name.len();
                let out = input.ours();
                put_header(out, b'B', length);
                out.extend_from_slice(&request.body()[..portal.len() + 1]);
                out.extend_from_slice(&server_name);
                // The NUL behind the client's own name stands behind ours.
                Fate::Rewritten(HEADER + portal.len() + 1 + name.len())
            }
        })
    }

    pub(super) fn execute(&mut self, request: Request<'_>, input: &mut Passing<'_>) -> Fate {
        if !request.is_whole() {
            return Fate::Incomplete;
        }
        let portal = match self.portals.are_touched() {
            true => string(request.body()).map(|(portal, _)| portal),
            // None does anything, whichever it is.
            false => None,
        };
        if portal.is_some() && self.is_undecided(|change| is_about_portal(change, portal)) {
            return Fate::Held;
        }
        let script = portal.and_then(|portal| self.portals.get(portal).cloned());
        let again = (portal.zip(script.as_ref())).filter(|(_, script)| !script.is_unread());
        let again = again.map(|(portal, _)| portal);
        if let Some(script) = &script {
            if self.prepares_undecided(Some(script)) {
                return Fate::Held;
            }
            self.refuse_taken(script, false, input);
        }
        let barrier = self.is_barrier(script.as_deref());
        let mut owed = Owed::new(What::Execute, To::Client).doing(script);
        owed.barrier = barrier;
        if let Some(link) = &mut self.link {
            link.ran = true;
        }
        self.push_extended(owed);
        if let Some(portal) = again {
            // Executed again it goes on, and what it does then is not what it has done.
            self.note_portal(portal, Some(Rc::default()));
        }
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

/// The body of Describe and Close: whether it is a statement or a portal, and its name.
pub(super) fn about(body: &[u8]) -> Option<(u8, &[u8])> {
    let (&kind, rest) = body.split_first()?;
    let (name, _) = string(rest)?;
    Some((kind, name))
}

fn is_about_portal(change: &Change, portal: Option<&[u8]>) -> bool {
    matches!((change, portal), (Change::Portal { name, .. }, Some(portal)) if name == portal)
}

fn too_many(own: bool) -> Fault {
    let message = match own {
        true => format!(
            "a client may have {NAMES_LIMIT} prepared statements of together {BYTES_LIMIT} bytes"
        ),
        false => {
            "all clients of this database together have too many prepared statements, and this one no fewer than others"
                .to_owned()
        }
    };
    Fault::Client(ErrorResponse::fatal(PROGRAM_LIMIT_EXCEEDED, message))
}

/// The longest unnamed statement that is kept when the budget of its tenant is spent, in bytes.
const KEPT_BEYOND_BUDGET: usize = 4 * 1024;

/// The SQLSTATE `program_limit_exceeded`.
const PROGRAM_LIMIT_EXCEEDED: &str = "54000";

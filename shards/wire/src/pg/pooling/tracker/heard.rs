//! What the backend says: each message goes to whom it belongs, and settles what was owed.

use bytes::{Bytes, BytesMut};
use std::rc::Rc;

use super::super::backend_memory::parameter;
use super::super::changes::{Change, Tables};
use super::super::outbound::Passing;
use super::super::replies::{To, What};
use super::super::request::{HEADER, put_bare, put_header};
use super::asking::ANSWER_LIMIT;
use super::errors::{class_of, is_fatal};
use super::inbound::{Body, Header, Inbound, LENGTH, Turn, out_of_turn, pass_rows};
use super::link::Copy;
use super::shapes::CHANGED;
use super::{BackendFault, Fault, Tracker};
use crate::error::WireError;
use crate::pg::walker::BACKEND_LIMIT;
use crate::pg::{ErrorResponse, TransactionStatus, backend, sqlstate};

impl Tracker {
    /// Goes through what has come, to its end.
    pub(super) fn hear(&mut self, input: &mut Passing<'_>) -> Result<(), Fault> {
        while !input.rest().is_empty() {
            let Some(link) = &mut self.link else {
                return Err(out_of_turn(input.rest()[0]).into());
            };
            if link.inbound.left == 0 {
                pass_rows(link, input);
                if input.rest().is_empty() {
                    return Ok(());
                }
                let Some(header) = link.inbound.gather_header(input) else {
                    return Ok(());
                };
                self.begin(header, input)?;
            }
            let Some(link) = &mut self.link else {
                return Ok(());
            };
            match link.inbound.pass_body(input) {
                Body::Open => {}
                Body::Whole(body) => self.heard(body, input)?,
                Body::Gathered(mut body) => {
                    self.heard(&body, input)?;
                    body.clear();
                    if let Some(link) = &mut self.link {
                        link.inbound.gathered = body;
                    }
                }
            }
        }
        Ok(())
    }

    /// Enters a message: whose is it?
    fn begin(&mut self, header: Header, input: &mut Passing<'_>) -> Result<(), Fault> {
        let [kind, length @ ..] = header.bytes;
        let length = u32::from_be_bytes(length);
        // Of a ReadyForQuery of another length the client would already have its head before it is seen to be none.
        let fits = match kind {
            b'Z' => length == LENGTH + 1,
            _ => (LENGTH..=BACKEND_LIMIT).contains(&length),
        };
        if !fits {
            return Err(BackendFault::Wire(MALFORMED_HEADER).into());
        }
        let Some(link) = &mut self.link else {
            return Ok(());
        };
        // What RESET brought up is not what the client will see: it is told after the correction.
        let Turn { passes, completes } = Turn::of(kind, &link.replies)?;
        let passes = passes && !(kind == b'S' && self.settings.differ());
        let left = (length - LENGTH) as usize;
        link.inbound.kind = kind;
        link.inbound.completes = completes;
        link.inbound.left = left;
        link.inbound.passes = passes;
        link.inbound.kept = passes
            && match kind {
                b'E' => left <= ERROR_LIMIT,
                b'Z' => self.settings.differ(),
                _ => false,
            };
        link.inbound.gathers = match kind {
            b'S' => PARAMETER_LIMIT,
            b'E' => ERROR_LIMIT,
            b'C' | b'Z' => TAG_LIMIT,
            b't' | b'T' => link.gathers_of_description(kind),
            b'D' if link.is_asking() => ANSWER_LIMIT,
            _ => 0,
        };
        match (passes && !link.inbound.kept, header.in_input) {
            (true, true) => input.keep(HEADER),
            (false, true) => input.skip(HEADER),
            (true, false) => input.ours().extend_from_slice(&header.bytes),
            (false, false) => {}
        }
        Ok(())
    }

    /// A message has come to its end.
    fn heard(&mut self, body: &[u8], input: &mut Passing<'_>) -> Result<(), Fault> {
        let Some(link) = &mut self.link else {
            return Ok(());
        };
        let Inbound {
            kind,
            passes,
            completes,
            ..
        } = link.inbound;
        match kind {
            b'N' => self.remarked(),
            b'A' => {}
            b'S' => self.parameter_changed(passes, Bytes::copy_from_slice(body)),
            b'E' => self.heard_error(passes, body, input)?,
            _ => {
                self.heard_reply(kind, body)?;
                if completes {
                    self.settle(kind, input)?;
                }
            }
        }
        Ok(())
    }

    /// ErrorResponse, whose ever.
    fn heard_error(
        &mut self,
        passes: bool,
        body: &[u8],
        input: &mut Passing<'_>,
    ) -> Result<(), Fault> {
        let offends = self.offends(body);
        if passes {
            let told = match self.is_refused(body) {
                true => CHANGED,
                false => offends.as_deref().unwrap_or(body),
            };
            self.tally.errors.push(class_of(told));
        }
        if let Some(told) = offends {
            put_header(input.ours(), b'E', told.len());
            input.ours().extend_from_slice(&told);
            return Err(Fault::Client(ErrorResponse::fatal(
                sqlstate::PROTOCOL_VIOLATION,
                "terminating connection because protocol synchronization was lost",
            )));
        }
        self.pass_error(body, input);
        self.failed(passes, body);
        self.say_own(input);
        Ok(())
    }

    /// What a reply to the front says, of ours or of the client's.
    fn heard_reply(&mut self, kind: u8, body: &[u8]) -> Result<(), Fault> {
        match kind {
            b'1' => self.accepted(),
            b'G' => self.copy_begins(),
            b't' | b'T' | b'n' => self.described(kind, body),
            b'D' if !body.is_empty() => self.hear_what_is_left(body),
            b'C' | b's' | b'I' => self.statement_done(kind, body),
            b'Z' => self.ready(body)?,
            _ => {}
        }
        Ok(())
    }

    /// Takes out the front, which this reply completes.
    fn settle(&mut self, kind: u8, input: &mut Passing<'_>) -> Result<(), Fault> {
        let Some(link) = &mut self.link else {
            return Ok(());
        };
        let ready_kept = kind == b'Z' && link.inbound.kept;
        link.moved = true;
        match link.replies.pop() {
            Some(To::Us) => self.is_set(input)?,
            Some(To::Client) if kind == b'Z' => self.tally.ready(self.status),
            _ => {}
        }
        if ready_kept {
            // The client hears what a database reports before it hears that the database is ready.
            match (self.needs_correction(), &mut self.link) {
                (true, Some(link)) => link.ready_waits = true,
                _ => backend::ready_for_query(self.status, input.ours()),
            }
        }
        let next = self.link.as_deref().and_then(|link| link.replies.front());
        if next.is_some_and(|owed| matches!(owed.what, What::CloseHere | What::CopyEnd)) {
            self.say_own(input);
        }
        Ok(())
    }

    /// NoticeResponse.
    fn remarked(&mut self) {
        let link = self.link.as_deref_mut();
        if let Some(front) = link.and_then(|link| link.replies.front_mut()) {
            front.remarked = true;
        }
    }

    /// ParseComplete: a statement is in order. Who prepares it next need not ask a backend, unless
    /// that was said of what is not there for others yet, or under settings that nobody knows, or there was something to
    /// remark on.
    fn accepted(&self) {
        let Some(link) = &self.link else {
            return;
        };
        let remarked = link.replies.front().is_some_and(|owed| owed.remarked);
        if self.status != TransactionStatus::Idle || remarked || self.is_obscured() {
            return;
        }
        for change in link.replies.changed_by_front() {
            if let Change::Prepared { key, .. } = change
                // Of the text as it is said, not of one in which parameters have been given types.
                && link.memory.prepared.get(key).is_some_and(|entry| !entry.typed)
            {
                key.statement.accept(self.commons.acceptance(key.context));
            }
        }
    }

    /// Says what is ours to say, now that its turn has come.
    fn say_own(&mut self, input: &mut Passing<'_>) {
        let Some(link) = &mut self.link else {
            return;
        };
        while let Some(what @ (What::CloseHere | What::CopyEnd)) =
            link.replies.front().map(|owed| owed.what)
        {
            if what == What::CloseHere {
                put_bare(input.ours(), b'3');
            }
            link.replies.pop();
        }
    }

    /// ParameterStatus: what the backend reports, and what the client has been told.
    fn parameter_changed(&mut self, passes: bool, body: Bytes) {
        let Some(link) = &mut self.link else {
            return;
        };
        let Some((name, value)) = parameter(body) else {
            return;
        };
        self.usual.set(false);
        let reported = &mut link.memory.reported;
        let same = (self.told.as_ref()).is_some_and(|told| Rc::ptr_eq(told, reported));
        if same && passes {
            // One copy for both, so that they are seen to be the same at a glance.
            self.told = None;
            Rc::make_mut(reported).set(&name, value);
            self.told = Some(Rc::clone(reported));
            return;
        }
        Rc::make_mut(reported).set(&name, value.clone());
        if let (true, Some(told)) = (passes, &mut self.told) {
            Rc::make_mut(told).set(&name, value);
        }
    }

    /// ErrorResponse.
    fn failed(&mut self, passes: bool, body: &[u8]) {
        if passes && is_fatal(body) {
            self.explained = true;
        }
        self.settings.fail();
        let Some(link) = &mut self.link else {
            return;
        };
        link.moved = true;
        let Some(front) = link.replies.front() else {
            return;
        };
        link.copy = Copy::No;
        if front.to == To::Us {
            link.refused = Some(self.settings.refused(body));
        }
        if let Some(step) = front.failing_step() {
            self.lasting = self.lasting.union(step.pins.that_survive_errors());
            // A lock that was waited for in vain.
            link.doubted = link.doubted.union(step.may_have_ended());
        }
        let extended = front.is_extended();
        link.replies.fail();
        if extended {
            let mut tables = Tables {
                names: &mut self.names,
                portals: &mut self.portals,
                prepared: &mut link.memory.prepared,
                client_unnamed: &mut self.unnamed,
                backend_unnamed: &mut link.memory.unnamed,
                values: &mut link.values,
            };
            let goes_on = link.replies.skip_to_sync(&mut tables);
            link.forget_comparison();
            link.forget_bound();
            if !goes_on {
                link.skipping = true;
                // Even if it was a Query that seemed to end it.
                link.batch_open = true;
            }
        }
    }

    /// CopyInResponse.
    fn copy_begins(&mut self) {
        let Some(link) = &mut self.link else {
            return;
        };
        link.moved = true;
        link.copy = if link.replies.enter_copy() {
            Copy::Ended
        } else {
            Copy::Open
        };
        // A Sync that was read as part of the COPY has not ended the batch.
        let ends = |what| matches!(what, What::Query | What::FunctionCall | What::Sync);
        let last = link.replies.iter().last();
        link.batch_open = last.is_some_and(|owed| !ends(owed.what));
    }

    /// ReadyForQuery.
    fn ready(&mut self, body: &[u8]) -> Result<(), Fault> {
        let status = match body {
            [byte] => TransactionStatus::from_byte(*byte),
            _ => None,
        };
        let malformed = BackendFault::Wire(WireError::Malformed {
            what: "ReadyForQuery",
        });
        self.status = status.ok_or(malformed)?;
        self.statements_over();
        self.settings.is_ready();
        Ok(())
    }

    /// The backend has been set, or would not be.
    fn is_set(&mut self, input: &mut Passing<'_>) -> Result<(), Fault> {
        let Some(link) = &mut self.link else {
            return Ok(());
        };
        link.setting = false;
        if let Some(fault) = link.refused.take() {
            return Err(fault.into());
        }
        let wanted = self.settings.wanted();
        self.commons.learn(wanted, &link.memory.reported);
        self.settings.corrected();
        if self.status == TransactionStatus::Idle {
            self.settings.commit();
        }
        let mut differences = BytesMut::new();
        self.tell_differences(&mut differences);
        if !differences.is_empty() {
            input.ours().extend_from_slice(&differences);
        }
        if let Some(link) = &mut self.link
            && std::mem::take(&mut link.ready_waits)
        {
            backend::ready_for_query(self.status, input.ours());
        }
        Ok(())
    }
}

const MALFORMED_HEADER: WireError = WireError::Malformed {
    what: "message header from the database",
};

/// How much of a ParameterStatus is kept, in bytes.
const PARAMETER_LIMIT: usize = 64 * 1024;

/// How much of an ErrorResponse is kept, in bytes.
const ERROR_LIMIT: usize = 64 * 1024;

/// How much of a CommandComplete is kept, in bytes.
const TAG_LIMIT: usize = 64;

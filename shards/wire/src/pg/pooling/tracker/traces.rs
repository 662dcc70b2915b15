//! What statements leave behind in a backend that their texts do not tell.
//!
//! `currval` and `lastval` mean the values that the session itself has drawn. A backend keeps those of whoever drew
//! the last ones, which are nobody else's to see. So they are made forgotten before another client draws values of its own
//! on that backend, or asks for one. (Not each time that it changes hands: reading draws none.) Which statements
//! draw values is seen from their texts; a trigger, or a function of the tenant's own, may draw some as well. Hence
//! where a client has ever asked for one, they are made forgotten whenever the backend changes hands.
//!
//! A function of the tenant's own may leave anything: then the backend is cleaned before anybody else has it. And it
//! may set anything, as may a `set_config` of what is computed: what is prepared on the backend from then on may mean something
//! else than its text says there otherwise, and is prepared anew for whoever uses it next.

use bytes::BytesMut;

use super::super::backend_memory::Memory;
use super::super::changes::{Change, Values};
use super::super::outbound::Passing;
use super::super::pins::Pin;
use super::super::replies::{Owed, To, What};
use super::super::request::{Request, put_bare, put_run};
use super::super::restore;
use super::super::sql::{Script, Step, Traces};
use super::Tracker;
use super::link::Link;
use super::said::Fate;
use crate::pg::TransactionStatus;

impl Values {
    /// At the moment that the session of this number gets a backend.
    pub(super) fn on(memory: &Memory, number: u64) -> Values {
        match memory.drawn_by {
            0 => Values::Unknown,
            by if by == number => Values::Own,
            _ => Values::Others,
        }
    }

    /// Notes it, for whoever gets the backend next, as the session of this number gives it up.
    pub(super) fn leave(self, memory: &mut Memory, number: u64) {
        match self {
            Values::Unknown => memory.drawn_by = 0,
            Values::Own => memory.drawn_by = number,
            // Still those of whoever it was.
            Values::Others => {}
        }
    }
}

impl Tracker {
    /// Whether the backend must forget the values of others before something that may ask for them.
    pub(super) fn needs_discard(&self, asks: bool, traces: Traces) -> bool {
        if asks {
            self.commons.values_matter();
        }
        let Some(link) = &self.link else {
            return false;
        };
        let others = match link.values {
            Values::Others => asks || traces.draws,
            // What a client has drawn itself where nobody could see it must not be taken from it.
            Values::Unknown => asks && link.strangers && !link.ran,
            Values::Own => false,
        };
        // A failed transaction refuses us as it will refuse the client.
        others && self.status != TransactionStatus::Failed
    }

    /// Sees to it that a statement of the extended protocol finds no values of others, and notes what it may leave.
    pub(super) fn provide_for(
        &mut self,
        script: Option<&Script>,
        traces: Traces,
        input: &mut Passing<'_>,
    ) {
        if self.needs_discard(asks(script), traces) {
            self.discard_others_values(false, input.ours());
        }
        self.note_traces(traces);
    }

    /// A statement is sent that may leave this.
    pub(super) fn note_traces(&mut self, traces: Traces) {
        if let Some(link) = &mut self.link {
            link.calls |= traces.calls;
            link.respells |= traces.respells;
            if traces.obscures {
                link.memory.prepared.becomes_uncertain();
            }
            if traces.draws && link.values == Values::Unknown {
                link.values = Values::Own;
            }
        }
    }

    /// Whether something may have set the backend that cannot be seen: what it says of a statement then is not so for others.
    pub(super) fn is_obscured(&self) -> bool {
        let uncertain = |link: &Link| link.memory.prepared.is_uncertain();
        self.link.as_deref().is_some_and(uncertain)
    }

    /// Whether it is known how a text that the client says now will be read. (Since PostgreSQL 14 a setting is reported at
    /// the end of the batch only.)
    pub(super) fn is_legible(&self) -> bool {
        let respelt = |link: &Link| link.respells && !link.is_answered();
        self.settings.is_reported() && !self.link.as_deref().is_some_and(respelt)
    }

    /// Whether that will be known by itself: when the batches are answered that have been said to their ends.
    pub(super) fn waits_to_read(&self) -> bool {
        let waits = |link: &Link| link.respells && !link.batch_open && !link.replies.is_empty();
        self.link.as_deref().is_some_and(waits)
    }

    /// FunctionCall, of a function that is known by its OID only.
    pub(super) fn function_call(&mut self, request: Request<'_>, input: &mut Passing<'_>) -> Fate {
        let about_large_objects = match request.body().first_chunk() {
            Some(oid) => LARGE_OBJECTS.contains(&u32::from_be_bytes(*oid)),
            None if request.is_whole() => false,
            None => return Fate::Incomplete,
        };
        let traces = match about_large_objects {
            true => Traces::NONE,
            false => Traces::ALL,
        };
        // It may be `lastval`.
        if self.needs_discard(!about_large_objects, traces) {
            if self.cannot_go_before() {
                return Fate::Held;
            }
            self.discard_others_values_before(input.ours());
        }
        self.note_traces(traces);
        if let Some(link) = &mut self.link {
            // As with a Query, its end is the end of a batch that no Sync has ended.
            link.batch_open = false;
        }
        self.push(Owed::new(What::FunctionCall, To::Client));
        Fate::Passes
    }

    /// The backend has changed hands.
    pub(super) fn discard_values_that_matter(&mut self, to_backend: &mut BytesMut) {
        if self.commons.do_values_matter() && self.link.as_deref().is_some_and(Link::knows_others) {
            self.discard_others_values(true, to_backend);
        }
    }

    /// The same before a message that ends the client's batch, as part of that if there is one.
    pub(super) fn discard_others_values_before(&mut self, to_backend: &mut BytesMut) {
        let apart = self.link.as_deref().is_some_and(|link| !link.batch_open);
        self.discard_others_values(apart, to_backend);
    }

    /// Makes the backend forget them, within the batch that is open, or in one of its own.
    pub(super) fn discard_others_values(&mut self, apart: bool, to_backend: &mut BytesMut) {
        let Some(link) = &mut self.link else {
            return;
        };
        // It takes a snapshot, as it is. In a transaction of the client's it is not ours to say what that takes, nor
        // allowed behind its first statement.
        let begin = match apart && self.status == TransactionStatus::Idle && link.is_answered() {
            true => restore::begin(self.settings.actual()),
            false => "",
        };
        let before = match link.strangers {
            // Nothing was seen of them; but there may be some.
            true => Values::Others,
            false => link.values,
        };
        link.values = Values::Unknown;
        link.strangers = false;
        for sql in [begin, "DISCARD SEQUENCES"] {
            if sql.is_empty() {
                continue;
            }
            put_run(to_backend, sql);
            for what in RUN {
                match apart {
                    true => link.push(Owed::new(what, To::Nobody)),
                    false => link.push_extended(Owed::new(what, To::NobodyUnlessError)),
                }
                if what == What::Execute {
                    link.replies.note(Change::Values { before });
                }
            }
        }
        if apart {
            put_bare(to_backend, b'S');
            link.push(Owed::new(What::Sync, To::Nobody));
        }
    }
}

/// What is owed for a statement that is run by [`put_run`].
const RUN: [What; 5] = [
    What::Parse,
    What::Bind,
    What::Execute,
    What::Close,
    What::Close,
];

/// Whether a script asks for values of sequences.
pub(super) fn asks(script: Option<&Script>) -> bool {
    let asks = |step: &Step| step.pins.contains(Pin::SequenceValue);
    script.is_some_and(|script| script.steps.iter().any(asks))
}

/// The functions for large objects, which drivers call in this way: what they open ends with the transaction.
const LARGE_OBJECTS: [u32; 16] = [
    715, 764, 765, 767, 952, 953, 954, 955, 956, 957, 958, 964, 1004, 3170, 3171, 3172,
];

impl Link {
    /// Whether the backend may know values of others.
    fn knows_others(&self) -> bool {
        self.values == Values::Others || self.values == Values::Unknown && self.strangers
    }
}

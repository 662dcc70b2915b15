//! A client and a backend while they are together: what is owed, and where in the streams they stand.

use bytes::{Bytes, BytesMut};

use super::super::backend_memory::Memory;
use super::super::changes::Values;
use super::super::pins::Pins;
use super::super::replies::{Owed, Replies, To, What};
use super::super::request::{put_about_statement, put_bare};
use super::inbound::Inbound;
use super::shapes::{Bound, Comparison};
use super::{BackendFault, Tracker};

/// The attachment. It lies at rest with a backend that nobody is attached to.
#[derive(Debug)]
pub(in super::super) struct Link {
    pub(in super::super) memory: Memory,
    /// Its room is used again and again.
    pub(super) replies: Replies,
    pub(super) inbound: Inbound,
    pub(super) copy: Copy,
    /// Messages of the extended protocol have been sent and no Sync behind them.
    pub(super) batch_open: bool,
    /// A Flush stands behind them.
    pub(super) flushed: bool,
    /// After an error the backend ignores everything up to the next Sync; nothing is sent until then.
    pub(super) skipping: bool,
    /// The backend is being set; nothing of the client's is sent until then.
    pub(super) setting: bool,
    /// It would not be set.
    pub(super) refused: Option<BackendFault>,
    /// The client's next message waits for a reply.
    pub(super) holds: bool,
    /// Something has come to its end that it may wait for: no row does, nor a notice.
    pub(super) moved: bool,
    /// Something of the client's has been sent.
    pub(super) touched: bool,
    /// Statements under clients' names that must go as soon as a message has ended the batch.
    pub(super) leftovers: Vec<Bytes>,
    /// The client's last message has ended the batch for good, even if that had failed.
    pub(super) ended: bool,
    /// Whose values of sequences the backend knows.
    pub(super) values: Values,
    /// Somebody else has used the backend since these were made forgotten.
    pub(super) strangers: bool,
    /// The client has called functions that may have left anything.
    pub(super) calls: bool,
    /// The client may set how texts are read, without it being seen to what: it is known only when all is answered.
    pub(super) respells: bool,
    /// The client has run something.
    pub(super) ran: bool,
    /// The client waits for a ReadyForQuery that has come: first the backend is put right.
    pub(super) ready_waits: bool,
    /// Whether the statement of the client's next message is as it was told.
    pub(super) comparison: Comparison,
    /// The portal that was bound last, if the client may be told by it what a statement returns.
    pub(super) bound: Option<Bound>,
    /// What pins the client, and may be gone.
    pub(super) doubted: Pins,
    /// What of it the backend has been asked about last.
    pub(super) asked_about: Pins,
}

/// COPY FROM STDIN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Copy {
    /// None has been announced.
    No,
    /// The backend reads data until CopyDone or CopyFail.
    Open,
    /// Its end has been sent, and is not confirmed.
    Ended,
    /// The client has sent a message of this type, which has no place in it; it was ended with
    /// CopyFail in its stead. The error that follows says whether the COPY was still there to be ended.
    Offended(u8),
}

impl Tracker {
    /// Whether the client waits for a reply of the backend, so that a query is running.
    pub fn is_owed(&self) -> bool {
        self.link.as_deref().is_some_and(Link::is_owed)
    }

    /// Whether what the client is owed may be cancelled once nobody waits for it: an error then ends
    /// all that the backend has been sent. Of several messages that each end with ReadyForQuery, it
    /// would end one only: without its BEGIN, what stands behind would stay.
    pub fn may_be_cancelled(&self) -> bool {
        let alone = |link: &Link| link.is_owed() && link.asked() <= 1;
        self.link.as_deref().is_some_and(alone)
    }

    /// Whether nothing is owed, and yet the client hears the half of a message: one that the backend sends by itself,
    /// into which nothing of ours may be put.
    pub(super) fn is_amidst(&self) -> bool {
        let amidst = |link: &Link| link.replies.is_empty() && !link.is_between_messages();
        self.link.as_deref().is_some_and(amidst)
    }

    /// Whether the backend waits for the client: it reads the data of a COPY.
    pub fn awaits_data(&self) -> bool {
        let reads = |link: &Link| link.copy == Copy::Open;
        self.link.as_deref().is_some_and(reads)
    }
}

impl Link {
    /// Of a backend that nobody has been attached to.
    pub(in super::super) fn new(memory: Memory) -> Link {
        Link {
            memory,
            replies: Replies::default(),
            inbound: Inbound::default(),
            copy: Copy::No,
            batch_open: false,
            flushed: false,
            skipping: false,
            setting: false,
            refused: None,
            holds: false,
            moved: false,
            touched: false,
            leftovers: Vec::new(),
            ended: false,
            values: Values::Unknown,
            strangers: false,
            calls: false,
            respells: false,
            ran: false,
            ready_waits: false,
            comparison: Comparison::None,
            bound: None,
            doubted: Pins::NONE,
            asked_about: Pins::NONE,
        }
    }

    /// The session of this number gets the backend; nothing is left of what was before but what is
    /// remembered, and room.
    pub(super) fn begin(&mut self, number: u64) {
        debug_assert!(self.replies.is_empty() && self.leftovers.is_empty());
        let user = std::mem::replace(&mut self.memory.user, number);
        self.values = Values::on(&self.memory, number);
        self.strangers = user != 0 && user != number;
        self.inbound.begin();
        self.copy = Copy::No;
        self.refused = None;
        self.comparison = Comparison::None;
        self.bound = None;
        self.doubted = Pins::NONE;
        self.asked_about = Pins::NONE;
        self.batch_open = false;
        self.flushed = false;
        self.skipping = false;
        self.setting = false;
        self.holds = false;
        self.moved = false;
        self.touched = false;
        self.ended = false;
        self.calls = false;
        self.respells = false;
        self.ran = false;
        self.ready_waits = false;
    }

    /// The session of this number gives the backend up, in between two transactions.
    pub(super) fn rest(&mut self, number: u64) {
        self.replies.trim();
        self.values.leave(&mut self.memory, number);
        if !self.calls {
            // What was set in a way that could not be seen has ended with its transaction.
            self.memory.prepared.is_certain_again();
        }
    }

    /// Whether nothing is under way: the backend waits for a message that begins something new.
    pub(super) fn is_settled(&self) -> bool {
        self.is_done() && self.is_between_messages()
    }

    /// The same, save that the backend may be about to say something by itself.
    pub(super) fn is_done(&self) -> bool {
        self.is_answered() && self.leftovers.is_empty() && !self.setting && self.copy == Copy::No
    }

    /// Whether everything that was asked is answered, and no batch is open.
    pub(super) fn is_answered(&self) -> bool {
        self.replies.is_empty() && !self.batch_open && !self.skipping
    }

    pub(super) fn is_between_messages(&self) -> bool {
        self.inbound.have == 0 && self.inbound.left == 0
    }

    /// Whether something has been asked that makes the backend answer by itself.
    pub(super) fn is_owed(&self) -> bool {
        self.copy != Copy::No || self.flushed && !self.replies.is_empty() || self.asked() > 0
    }

    /// How many ReadyForQuery have been asked for and not been heard.
    fn asked(&self) -> usize {
        let ends =
            |owed: &&Owed| matches!(owed.what, What::Sync | What::Query | What::FunctionCall);
        self.replies.iter().filter(ends).count()
    }

    /// Notes something that was sent and belongs to a batch.
    pub(super) fn push_extended(&mut self, owed: Owed) {
        self.batch_open = true;
        self.flushed = false;
        self.push(owed);
    }

    pub(super) fn push(&mut self, owed: Owed) {
        // What goes by itself before a message of the client's is sent along with that, or only puts the backend right.
        self.touched |= !matches!(owed.to, To::Us | To::Nobody);
        self.replies.push(owed);
    }

    /// Sends the Closes, and their Sync, that must follow the end of the client's batch.
    pub(super) fn clear_leftovers(&mut self, to_backend: &mut BytesMut) {
        if self.leftovers.is_empty() {
            return;
        }
        for name in std::mem::take(&mut self.leftovers) {
            put_about_statement(to_backend, b'C', &name);
            self.push(Owed::new(What::Close, To::Nobody));
        }
        put_bare(to_backend, b'S');
        self.push(Owed::new(What::Sync, To::Nobody));
    }

    /// Whether CopyData and its like may mean something to the backend: there is a COPY, or
    /// something is unanswered that may turn out to be one.
    pub(super) fn may_copy(&self) -> bool {
        match self.copy {
            Copy::Open => true,
            // Data behind the end of one COPY may belong to the next.
            Copy::No | Copy::Ended => self.replies.iter().any(|owed| owed.copies),
            Copy::Offended(_) => false,
        }
    }
}

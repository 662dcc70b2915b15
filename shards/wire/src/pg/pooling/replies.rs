//! What a backend owes: one queue of everything that was asked, in the order in which it was asked.
//!
//! Not all that is asked comes from the client, and not all that the client asks goes to the
//! backend. Both stand in the one queue, so that replies cannot get out of order: what we asked for
//! ourselves is swallowed when its reply comes; what we answer ourselves is answered when its turn
//! comes; and what follows an error up to the next Sync is dropped, whoever would have answered.

use std::collections::VecDeque;
use std::rc::Rc;

use bytes::Bytes;

use super::changes::{Change, Tables, Unnamed};
use super::names::Named;
use super::renamed::Shifts;
use super::shape::Shape;
use super::sql::{Script, Step};
use super::tracker::Described;

/// Something that was asked.
#[derive(Debug)]
pub(super) struct Owed {
    pub(super) what: What,
    pub(super) to: To,
    /// What it does to the session, statement by statement.
    script: Option<Rc<Script>>,
    next_step: u32,
    /// How many of the queue's changes it has made.
    changes: u32,
    /// What it does decides how later messages are to be understood: they wait for its reply.
    pub(super) barrier: bool,
    /// It may turn out to be a COPY FROM STDIN.
    pub(super) copies: bool,
    /// The backend has remarked on it (NoticeResponse).
    pub(super) remarked: bool,
    /// Where its text differs from the client's.
    pub(super) shifts: Option<Shifts>,
    /// The backend refuses it for want of the statement, and the client is told that this has changed its shape.
    pub(super) refused: bool,
    /// What it describes, if the answer is of use.
    pub(super) describes: Option<Box<Described>>,
}

/// What was asked, by which the replies to it are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Parse,
    Bind,
    DescribeStatement,
    DescribePortal,
    Execute,
    Close,
    Sync,
    Query,
    FunctionCall,
    /// CopyDone or CopyFail, sent before it was known whether there would be a COPY to end. It has no
    /// reply.
    CopyEnd,
    /// A Close that the backend never saw: its CloseComplete is ours to say.
    CloseHere,
}

/// Who is to hear the replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum To {
    Client,
    /// Nobody, as long as it succeeds; its error is the client's, whose request needed it.
    NobodyUnlessError,
    /// Nobody at all.
    Nobody,
    /// Us: it makes the backend fit for the client.
    Us,
}

/// How far a reply brings what it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Advance {
    /// More is to come.
    Continues,
    /// That was all.
    Completes,
    /// It is no reply to this.
    OutOfTurn,
}

/// Room for so many is kept between transactions.
const ROOM_KEPT: usize = 32;

/// How much may be owed at a time before the client's next message waits. Each message is held against all of it, so that
/// the work of a pipeline grows with the square of this.
const REPLIES_LIMIT: usize = 2048;

/// How many bytes of statements may be under way to be prepared before it waits. One may have as many.
const TEXTS_LIMIT: usize = 1024 * 1024;

impl Owed {
    pub(super) fn new(what: What, to: To) -> Owed {
        Owed {
            what,
            to,
            script: None,
            next_step: 0,
            changes: 0,
            barrier: false,
            copies: false,
            remarked: false,
            shifts: None,
            refused: false,
            describes: None,
        }
    }

    /// With what it does to the session.
    pub(super) fn doing(self, script: Option<Rc<Script>>) -> Owed {
        let copies = script.as_ref().is_some_and(|script| script.may_copy());
        Owed {
            script,
            copies,
            ..self
        }
    }

    /// What a message of this type from the backend means for it. An ErrorResponse and the
    /// asynchronous messages are not asked about here.
    #[inline]
    pub(super) fn advance(&self, kind: u8) -> Advance {
        use Advance::{Completes, Continues, OutOfTurn};
        match (self.what, kind) {
            (What::Parse, b'1') | (What::Bind, b'2') | (What::Close, b'3') => Completes,
            (What::DescribeStatement, b't') => Continues,
            (What::DescribeStatement | What::DescribePortal, b'T' | b'n') => Completes,
            (What::Execute, b'C' | b'I' | b's') => Completes,
            (What::Execute, b'D' | b'G' | b'H' | b'd' | b'c') => Continues,
            (What::Query, b'T' | b'D' | b'C' | b'I' | b'G' | b'H' | b'd' | b'c') => Continues,
            (What::FunctionCall, b'V') => Continues,
            (What::Sync | What::Query | What::FunctionCall, b'Z') => Completes,
            _ => OutOfTurn,
        }
    }

    /// Whether an error here makes the backend ignore everything up to the next Sync.
    pub(super) fn is_extended(&self) -> bool {
        !matches!(self.what, What::Sync | What::Query | What::FunctionCall)
    }

    /// Whether anything is to be learnt from its CommandComplete.
    pub(super) fn is_followed(&self) -> bool {
        self.script.is_some()
    }

    /// The step that has just come to its end; `None` if that was more than we had read.
    pub(super) fn take_step(&mut self) -> Option<(Rc<Script>, usize)> {
        let script = self.script.as_ref()?;
        let at = self.next_step as usize;
        self.next_step += 1;
        (at < script.steps.len()).then(|| (Rc::clone(script), at))
    }

    /// Whether not all that was read in it has come to its end.
    pub(super) fn has_steps_left(&self) -> bool {
        let more = |script: &Rc<Script>| (self.next_step as usize) < script.steps.len();
        self.script.as_ref().is_some_and(more)
    }

    /// The step that has failed, or will not be reached.
    pub(super) fn failing_step(&self) -> Option<&Step> {
        self.script.as_ref()?.steps.get(self.next_step as usize)
    }
}

/// The queue. The front is what the backend is answering.
#[derive(Debug, Default)]
pub(super) struct Replies {
    queue: VecDeque<Owed>,
    barriers: usize,
    /// How many bytes the shared statements have that are being prepared.
    texts: usize,
    /// What was changed in our tables in the belief that it will succeed: by what is owed first, by what is owed next,
    /// and so on.
    changes: VecDeque<Change>,
}

impl Replies {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Gives back room that was needed for once.
    pub(super) fn trim(&mut self) {
        debug_assert!(self.is_empty());
        if self.queue.capacity() > ROOM_KEPT {
            self.queue = VecDeque::new();
        }
        if self.changes.capacity() > ROOM_KEPT {
            self.changes = VecDeque::new();
        }
    }

    pub(super) fn front(&self) -> Option<&Owed> {
        self.queue.front()
    }

    pub(super) fn front_mut(&mut self) -> Option<&mut Owed> {
        self.queue.front_mut()
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Owed> {
        self.queue.iter()
    }

    #[inline]
    pub(super) fn push(&mut self, owed: Owed) {
        debug_assert_eq!(owed.changes, 0, "changes are noted behind it");
        self.barriers += usize::from(owed.barrier);
        self.queue.push_back(owed);
    }

    /// What was asked last has changed this.
    #[inline]
    pub(super) fn note(&mut self, change: Change) {
        if let Some(last) = self.queue.back_mut() {
            last.changes += 1;
            self.texts += change.text();
            self.changes.push_back(change);
        }
    }

    /// What the front has changed.
    pub(super) fn changed_by_front(&self) -> impl Iterator<Item = &Change> {
        let count = self.front().map_or(0, |front| front.changes as usize);
        self.changes.range(..count)
    }

    /// Takes the front out; who was to hear the replies. What it has changed is so for good.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<To> {
        let owed = self.queue.pop_front()?;
        self.barriers -= usize::from(owed.barrier);
        for _ in 0..owed.changes {
            if let Some(change) = self.changes.pop_front() {
                self.texts -= change.text();
            }
        }
        Some(owed.to)
    }

    /// The front has failed: what is left of it will not be reached. A Parse of the unnamed statement has destroyed the
    /// one before it all the same.
    pub(super) fn fail(&mut self) {
        if let Some(front) = self.queue.front_mut() {
            front.script = None;
        }
        let Some(front) = self.queue.front().filter(|front| front.what == What::Parse) else {
            return;
        };
        for change in self.changes.range_mut(..front.changes as usize) {
            if let Change::Unnamed { client, backend } = change {
                *backend = Unnamed::Absent;
                if front.to == To::Client {
                    *client = Unnamed::Absent;
                }
            }
        }
    }

    /// Whether something that is owed has changed our tables.
    pub(super) fn has_changes(&self) -> bool {
        !self.changes.is_empty()
    }

    /// Whether something is owed that later messages must wait for.
    pub(super) fn has_barrier(&self) -> bool {
        self.barriers > 0
    }

    /// Whether so much is owed that the client's next message waits: because each look at what is owed takes as long, or
    /// because of the texts that we send for messages of a few bytes, where the backend lacks what these mean.
    pub(super) fn is_full(&self) -> bool {
        self.queue.len() >= REPLIES_LIMIT || self.texts >= TEXTS_LIMIT
    }

    /// Whether the last thing owed is a Query that later messages must wait for.
    pub(super) fn ends_with_barrier(&self) -> bool {
        let last = self.queue.back();
        last.is_some_and(|owed| owed.barrier && owed.what == What::Query)
    }

    /// Whether it is not certain what our tables say of something: it was changed by a message
    /// before the last Sync, which may fail while the next message does not.
    ///
    /// A change behind the last Sync is as good as certain: if it fails, so does whatever follows it.
    pub(super) fn is_undecided(&self, concerns: impl Fn(&Change) -> bool) -> bool {
        if self.changes.is_empty() {
            return false;
        }
        let Some(last) = self.changes.iter().rposition(concerns) else {
            return false;
        };
        let mut behind = self.changes.len();
        for owed in self.queue.iter().rev() {
            behind -= owed.changes as usize;
            if behind <= last {
                return false;
            }
            if owed.what == What::Sync {
                return true;
            }
        }
        false
    }

    /// The changes that such messages have made.
    pub(super) fn before_sync(&self) -> impl Iterator<Item = &Change> {
        let behind_sync = (self.queue.iter().rev()).take_while(|owed| owed.what != What::Sync);
        let behind: usize = behind_sync.map(|owed| owed.changes as usize).sum();
        self.changes.range(..self.changes.len() - behind)
    }

    /// Whether such a change is not certain yet, in whichever batch.
    pub(super) fn has_change(&self, concerns: impl Fn(&Change) -> bool) -> bool {
        self.changes.iter().any(concerns)
    }

    /// What names meant before messages that are not answered changed it.
    pub(super) fn names(&self) -> impl Iterator<Item = (&Bytes, &Named)> {
        self.changes.iter().filter_map(|change| match change {
            Change::Name { name, before } => Some((name, before.as_ref()?)),
            _ => None,
        })
    }

    /// The client has been told this of what it has prepared in this epoch, if a message may yet fail that has taken it
    /// away.
    pub(super) fn tell(&mut self, epoch: u64, shape: &Rc<Shape>) {
        for change in &mut self.changes {
            if let Change::Name {
                before: Some(named),
                ..
            } = change
            {
                named.tell(epoch, shape);
            }
        }
    }

    /// Whether messages of the extended protocol may still fail, so that the backend ignores what
    /// follows them up to the next Sync.
    pub(super) fn may_skip(&self) -> bool {
        let mut behind_sync = (self.queue.iter().rev()).take_while(|owed| owed.what != What::Sync);
        behind_sync.any(Owed::is_extended)
    }

    /// An error at the front, which belongs to the extended protocol: takes out everything that the
    /// backend will ignore, the front first. Whether a Sync is left at which it goes on.
    pub(super) fn skip_to_sync(&mut self, tables: &mut Tables<'_>) -> bool {
        let mut undone = Vec::new();
        while let Some(owed) = self.queue.front() {
            if owed.what == What::Sync {
                break;
            }
            undone.extend(self.changes.drain(..owed.changes as usize));
            self.barriers -= usize::from(owed.barrier);
            self.queue.pop_front();
        }
        for change in undone.into_iter().rev() {
            self.texts -= change.text();
            self.undo(change, tables);
        }
        !self.queue.is_empty()
    }

    /// Takes one change back: from the tables, or, where something later has changed the same again,
    /// from what that one found.
    fn undo(&mut self, change: Change, tables: &mut Tables<'_>) {
        let later = self
            .changes
            .iter_mut()
            .find(|later| later.concerns_same(&change));
        match later {
            Some(later) => later.found_instead(change),
            None => tables.restore(change),
        }
    }

    /// CopyInResponse at the front: what has been sent behind it is read as part of the COPY, where a
    /// Sync is ignored. Whether the end of the COPY is among it.
    ///
    /// Nothing else can be: it waited for the reply, as behind all that may turn out to be a COPY.
    pub(super) fn enter_copy(&mut self) -> bool {
        while let Some(What::Sync | What::CopyEnd) = self.queue.get(1).map(|next| next.what) {
            let removed = self.queue.remove(1);
            if removed.is_some_and(|removed| removed.what == What::CopyEnd) {
                return true;
            }
        }
        false
    }
}

//! When a backend may go, and what must become of it then.

use std::rc::Rc;

use super::super::changes::Unnamed;
use super::super::pins::{Pin, Pins};
use super::super::{BackendMemory, Cleanup, Release, Reset};
use super::Tracker;
use super::link::Link;
use crate::pg::TransactionStatus;

impl Tracker {
    /// Whether the attached backend may be released: nothing is owed or kept, no transaction is
    /// open, no message is half forwarded, nothing pins. (That nothing of it is unread is for the
    /// socket's owner to see.)
    pub fn may_release(&self) -> bool {
        self.link.is_some() && self.at_rest() && self.pins().is_empty()
    }

    /// Whether the session may end here without a loss: as above, pinned or not.
    pub fn at_rest(&self) -> bool {
        let settled = self.link.as_deref().is_none_or(Link::is_settled);
        settled
            && self.status == TransactionStatus::Idle
            && self.tail.is_none()
            && self.kept.is_empty()
    }

    /// Whether the backend has been passed the beginning of a message and not its end.
    pub fn is_midway(&self) -> bool {
        self.tail.as_ref().is_some_and(|tail| tail.passes)
    }

    /// What keeps the client at its backend.
    pub fn pins(&self) -> Pins {
        let mut pins = self.lasting.union(self.settings.pins());
        if self.names.any_own() {
            pins.insert(Pin::PreparedStatement);
        }
        if matches!(self.unnamed, Unnamed::Unkept { .. }) {
            pins.insert(Pin::LongStatement);
        }
        pins
    }

    /// Gives up the backend: after [`may_release`](Tracker::may_release), or because the client has
    /// left or must leave. `None` if there is none.
    pub fn detach(&mut self) -> Option<Release> {
        let before = self.pins();
        let mut link = self.link.take()?;
        let settled = link.is_settled() && self.tail.is_none();
        if !settled || !before.for_good().is_empty() {
            return Some(Release::Close);
        }
        let calls = link.calls;
        link.rest(self.number);
        let open = self.status != TransactionStatus::Idle;
        if open {
            self.settings.rollback();
            self.status = TransactionStatus::Idle;
        }
        let pins = match open {
            // What ended within the transaction is there again after its rollback.
            true => before.union(self.pins()),
            false => before,
        };
        if !Rc::ptr_eq(&link.memory.settings, self.settings.actual()) {
            link.memory.settings = Rc::clone(self.settings.actual());
        }
        let memory = BackendMemory(link);
        let reset = self.commons.rules().reset;
        let left = if reset == Reset::Never {
            Pins::NONE
        } else {
            pins
        };
        let all = match reset {
            Reset::Always => true,
            Reset::Smart => calls,
            Reset::Never => false,
        };
        let sheds = self.commons.budget().is_spent() && !memory.is_unprepared();
        if !open && left.is_empty() && !all && !sheds {
            return Some(Release::Clean(memory));
        }
        Some(Release::Cleanup(Cleanup::new(
            memory,
            open,
            left,
            all,
            sheds,
            self.names.own(),
        )))
    }
}

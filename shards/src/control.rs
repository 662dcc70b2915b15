//! How a running session is told to go: a flag that it reads, and a waker so that it looks. And what
//! it tells of itself, so that one that takes too long over something is found.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Instant;

use slab::Slab;

use crate::contract::Timeouts;
use crate::pace::{Overdue, Pace, Verdict};

/// Why a session shall go at its next boundary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// The process is stopping.
    Stopping,
    /// The tenant is being removed, or points elsewhere now.
    TenantClosed,
    /// Not at the next boundary but now: the time for reaching it is over.
    CutOff,
}

/// The sessions of one tenant.
#[derive(Default)]
pub struct Sessions {
    listed: RefCell<Slab<Rc<Control>>>,
    /// What those are told who come now: that their like has been told to go, and why.
    closed: Cell<Option<Leave>>,
}

/// One session's ear.
#[derive(Default)]
pub struct Control {
    leave: Cell<Option<Leave>>,
    pace: Cell<Pace>,
    /// What has been found overdue, unless the session has gone on since.
    overdue: Cell<Option<Overdue>>,
    waker: RefCell<Option<Waker>>,
}

/// A session's entry among the sessions of its tenant, gone when dropped.
pub struct Listed<'a> {
    sessions: &'a Sessions,
    key: usize,
    /// What the session listens to.
    pub control: Rc<Control>,
}

impl Sessions {
    /// Enters a session. Where all have been told to go, whoever comes after that is told why and
    /// does not get in: nobody would tell it again.
    pub fn enter(&self) -> Result<Listed<'_>, Leave> {
        if let Some(why) = self.closed.get() {
            return Err(why);
        }
        let control = Rc::<Control>::default();
        let key = self.listed.borrow_mut().insert(Rc::clone(&control));
        Ok(Listed {
            sessions: self,
            key,
            control,
        })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.listed.borrow().len()
    }

    /// Tells all to go, and those who will come that they cannot stay.
    pub fn tell_to_leave(&self, why: Leave) {
        // Who comes is in the middle of nothing, so it hears the reason that has words.
        if why != Leave::CutOff {
            self.closed.set(Some(why));
        }
        for (_, control) in self.listed.borrow().iter() {
            control.leave.set(Some(why));
            control.wake();
        }
    }

    /// Whoever comes from now on may stay.
    pub fn reopen(&self) {
        self.closed.set(None);
    }

    /// Tells those that are overdue at `now`; when the first of the others will be, `None` for never.
    pub fn tell_overdue(&self, limits: &Timeouts, now: Instant) -> Option<Instant> {
        let mut first: Option<Instant> = None;
        for (_, control) in self.listed.borrow().iter() {
            match control.pace.get().judge(limits, now) {
                Verdict::Free => {}
                Verdict::Until(at) => first = Some(first.map_or(at, |first| first.min(at))),
                Verdict::Overdue(overdue) => {
                    control.overdue.set(Some(overdue));
                    control.wake();
                }
            }
        }
        first
    }
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.sessions.listed.borrow_mut().remove(self.key);
    }
}

impl Control {
    /// The session waits for a backend.
    pub fn waits(&self) {
        self.note(Pace::waits);
    }

    /// Somebody's turn begins: the database's if the client waits for an answer, else the client's.
    pub fn turn(&self, busy: bool, in_transaction: bool, now: Instant) {
        self.note(|pace| pace.turn(busy, in_transaction, now));
    }

    fn note(&self, change: impl FnOnce(&mut Pace)) {
        let mut pace = self.pace.get();
        change(&mut pace);
        self.pace.set(pace);
        self.overdue.set(None);
    }

    /// What the session has taken too long over. Whoever asks is woken as for
    /// [`asked_to_leave`](Self::asked_to_leave).
    pub fn overdue(&self) -> Option<Overdue> {
        self.overdue.get()
    }

    /// Waking only queues the task, so nobody enters or leaves by it.
    fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Whether to go, and if not yet, whom to wake when it is time. Cheap when asked again and
    /// again by the same task.
    pub fn asked_to_leave(&self, cx: &Context<'_>) -> Option<Leave> {
        // Also after it has been asked: it may be told again, more firmly.
        let mut waker = self.waker.borrow_mut();
        if !waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            *waker = Some(cx.waker().clone());
        }
        drop(waker);
        self.leave.get()
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn who_comes_after_all_were_told_to_go_does_not_get_in() {
        let sessions = Sessions::default();
        let early = sessions.enter().ok();
        for (told, heard) in [
            (Leave::TenantClosed, Leave::TenantClosed),
            (Leave::CutOff, Leave::TenantClosed),
            (Leave::Stopping, Leave::Stopping),
        ] {
            sessions.tell_to_leave(told);
            assert_eq!(sessions.enter().err(), Some(heard));
            let cx = Context::from_waker(Waker::noop());
            let control = early.as_ref().map(|listed| &listed.control);
            assert_eq!(control.and_then(|it| it.asked_to_leave(&cx)), Some(told));
        }
        sessions.reopen();
        assert!(sessions.enter().is_ok());
        assert_eq!(sessions.count(), 1);
    }
}

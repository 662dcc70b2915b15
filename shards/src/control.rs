//! How a running session is told to go: a flag that it reads, and a waker so that it looks.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};

use slab::Slab;

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
pub struct Sessions(RefCell<Slab<Rc<Control>>>);

/// One session's ear.
#[derive(Default)]
pub struct Control {
    leave: Cell<Option<Leave>>,
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
    /// Enters a session.
    pub fn enter(&self) -> Listed<'_> {
        let control = Rc::<Control>::default();
        let key = self.0.borrow_mut().insert(Rc::clone(&control));
        Listed {
            sessions: self,
            key,
            control,
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.borrow().len()
    }

    /// Tells all to go.
    pub fn tell_to_leave(&self, why: Leave) {
        for (_, control) in self.0.borrow().iter() {
            control.leave.set(Some(why));
            // Waking only queues the task, so nobody enters or leaves during this loop.
            if let Some(waker) = control.waker.borrow_mut().take() {
                waker.wake();
            }
        }
    }
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.sessions.0.borrow_mut().remove(self.key);
    }
}

impl Control {
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

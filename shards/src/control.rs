//! How a running session is told to go: a flag that it reads, and a waker so that it looks. And what
//! it tells of itself, so that one that takes too long over something is found.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Waker};
use std::time::Instant;

use slab::Slab;

use crate::contract::{SessionId, SessionSnapshot, Timeouts, Who};
use crate::pace::{Overdue, Pace, Verdict};
use crate::random;

/// Why a session shall go at its next boundary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// The process is stopping.
    Stopping,
    /// The tenant is being removed, or points elsewhere now.
    TenantClosed,
    /// Not at the next boundary but now: the time for reaching it is over.
    CutOff,
    /// An operator has ended this session, now.
    Ended,
}

impl Leave {
    /// Whether no boundary is waited for.
    pub fn is_at_once(self) -> bool {
        match self {
            Leave::Stopping | Leave::TenantClosed => false,
            Leave::CutOff | Leave::Ended => true,
        }
    }
}

/// The sessions of one tenant.
#[derive(Default)]
pub struct Sessions {
    listed: RefCell<Slab<Rc<Control>>>,
    /// What those are told who come now: that their like has been told to go, and why.
    closed: Cell<Option<Leave>>,
    /// What the last one was called, which most others are, too.
    user: RefCell<Option<Arc<str>>>,
    application: RefCell<Option<Arc<str>>>,
}

/// One session's ear.
pub struct Control {
    id: SessionId,
    who: RefCell<Arc<Who>>,
    /// What the database has for the number of the backend that the session holds.
    backend: Cell<Option<u32>>,
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
    pub fn enter(&self, who: Who) -> Result<Listed<'_>, Leave> {
        if let Some(why) = self.closed.get() {
            return Err(why);
        }
        let who = Who {
            user: alike(&self.user, who.user),
            application: who.application.map(|name| alike(&self.application, name)),
            ..who
        };
        let control = Rc::new(Control::of(who));
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

    /// Each of them, as it is now.
    pub fn snapshots(&self, now: Instant) -> Vec<SessionSnapshot> {
        let listed = self.listed.borrow();
        let snapshots = listed.iter().map(|(_, control)| control.snapshot(now));
        snapshots.collect()
    }

    /// Tells one of them to go at once. False if it is not here (any more).
    pub fn end(&self, id: SessionId) -> bool {
        let listed = self.listed.borrow();
        let found = listed.iter().find(|(_, control)| control.id == id);
        if let Some((_, control)) = found {
            control.tell(Leave::Ended);
        }
        found.is_some()
    }

    /// Tells all to go, and those who will come that they cannot stay.
    pub fn tell_to_leave(&self, why: Leave) {
        // Who comes is in the middle of nothing, so it hears the reason that has words.
        if why != Leave::CutOff {
            self.closed.set(Some(why));
        }
        for (_, control) in self.listed.borrow().iter() {
            control.tell(why);
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

/// The last text itself where this one says the same: thousands that are alike take the room of one.
fn alike(last: &RefCell<Option<Arc<str>>>, text: Arc<str>) -> Arc<str> {
    let mut last = last.borrow_mut();
    match &*last {
        Some(known) if *known == text => Arc::clone(known),
        _ => Arc::clone(last.insert(text)),
    }
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.sessions.listed.borrow_mut().remove(self.key);
    }
}

/// Where a process begins to count its sessions: by chance, so that whoever has looked at one process and asks another, a
/// replica or the one after a restart, ends nobody there. Far below 2^53, up to which JavaScript tells numbers apart.
fn first_id() -> u64 {
    let [a, b, c, d, e] = random::bytes();
    LEAST_ID + u64::from_le_bytes([a, b, c, d, e, 0, 0, 0])
}

/// All ids are about as long, and so stand below each other.
const LEAST_ID: u64 = 1 << 40;

impl Control {
    fn of(who: Who) -> Control {
        /// Never the same again while the process lives, so that nobody ends a session that has taken another's place.
        static NEXT: LazyLock<AtomicU64> = LazyLock::new(|| AtomicU64::new(first_id()));
        Control {
            id: SessionId(NEXT.fetch_add(1, Ordering::Relaxed)),
            who: RefCell::new(Arc::new(who)),
            backend: Cell::default(),
            leave: Cell::default(),
            pace: Cell::default(),
            overdue: Cell::default(),
            waker: RefCell::default(),
        }
    }

    fn snapshot(&self, now: Instant) -> SessionSnapshot {
        let pace = self.pace.get();
        let who = Arc::clone(&self.who.borrow());
        SessionSnapshot {
            id: self.id,
            connected: now.saturating_duration_since(who.since),
            who,
            state: pace.state(),
            in_state: pace.lasted(now),
            in_transaction: pace.transaction_lasted(now),
            backend: self.backend.get(),
        }
    }

    /// The client has proved to be another user.
    pub fn becomes(&self, user: &str) {
        let mut who = self.who.borrow_mut();
        *who = Arc::new(who.becomes(user.as_bytes()));
    }

    /// The session has this backend now, or none.
    pub fn holds(&self, backend: Option<u32>) {
        self.backend.set(backend);
    }

    fn tell(&self, why: Leave) {
        // Whom an operator has ended is not given until its next boundary after that.
        if self.leave.get() != Some(Leave::Ended) {
            self.leave.set(Some(why));
        }
        self.wake();
    }

    /// The session needs a backend.
    pub fn needs_backend(&self) {
        self.note(Pace::needs_backend);
    }

    /// The session waits for a backend from now on.
    pub fn waits(&self, now: Instant) {
        self.note(|pace| pace.waits(now));
    }

    /// Nobody can tell what the session is at.
    pub fn cannot_be_followed(&self) {
        self.note(Pace::cannot_be_followed);
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
    use std::net::SocketAddr;
    use std::task::Waker;

    use super::*;

    /// One whose client does not matter.
    impl Default for Control {
        fn default() -> Control {
            Control::of(somebody())
        }
    }

    fn somebody() -> Who {
        let peer = SocketAddr::from(([127, 0, 0, 1], 5));
        Who::new(b"u", None, peer, Instant::now())
    }

    #[test]
    fn who_comes_after_all_were_told_to_go_does_not_get_in() {
        let sessions = Sessions::default();
        let early = sessions.enter(somebody()).ok();
        for (told, heard) in [
            (Leave::TenantClosed, Leave::TenantClosed),
            (Leave::CutOff, Leave::TenantClosed),
            (Leave::Stopping, Leave::Stopping),
        ] {
            sessions.tell_to_leave(told);
            assert_eq!(sessions.enter(somebody()).err(), Some(heard));
            let cx = Context::from_waker(Waker::noop());
            let control = early.as_ref().map(|listed| &listed.control);
            assert_eq!(control.and_then(|it| it.asked_to_leave(&cx)), Some(told));
        }
        sessions.reopen();
        assert!(sessions.enter(somebody()).is_ok());
        assert_eq!(sessions.count(), 1);
    }

    #[test]
    fn processes_begin_to_count_at_different_numbers_that_javascript_can_tell_apart() {
        let most = 1 << 53;
        assert_ne!(first_id(), first_id());
        for id in [first_id(), Control::default().id.0] {
            assert!((LEAST_ID..most).contains(&id), "{id}");
        }
    }

    #[test]
    fn thousands_that_are_called_alike_share_their_name() {
        let sessions = Sessions::default();
        let both = [somebody(), somebody()].map(|who| sessions.enter(who).ok());
        let [one, other] = both.map(|it| it.map(|it| it.control.who.borrow().user.clone()));
        let (Some(one), Some(other)) = (one, other) else {
            unreachable!("nobody has been told to go");
        };
        assert!(Arc::ptr_eq(&one, &other));
    }

    #[test]
    fn one_is_ended_alone_and_nobody_who_has_its_place_later() {
        let sessions = Sessions::default();
        let (Ok(first), Ok(second)) = (sessions.enter(somebody()), sessions.enter(somebody()))
        else {
            unreachable!("nobody has been told to go");
        };
        let cx = Context::from_waker(Waker::noop());
        let (one, other) = (first.control.id, second.control.id);
        assert!(sessions.end(one));
        // Who is told so does not hear later that there is time.
        first.control.tell(Leave::Stopping);
        assert_eq!(first.control.asked_to_leave(&cx), Some(Leave::Ended));
        assert_eq!(second.control.asked_to_leave(&cx), None);
        drop(first);
        let third = sessions.enter(somebody()).ok();
        assert!(!sessions.end(one));
        let third = third.and_then(|third| third.control.asked_to_leave(&cx));
        assert_eq!(third, None);
        let ids: Vec<_> = sessions
            .snapshots(Instant::now())
            .iter()
            .map(|it| it.id)
            .collect();
        assert!(ids.contains(&other) && !ids.contains(&one), "{ids:?}");
    }
}

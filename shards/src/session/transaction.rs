//! A PostgreSQL client's session in transaction mode: a backend for each transaction.
//!
//! ```text
//!            welcome              client speaks            attached
//!   login ───────────▶ without ──────────────▶ waiting ─────────────▶ with a backend
//!     │                a backend ◀───────────────────────────────────── │
//!     └─ cold start: with a backend until it is known     may be released: clean it, give it back
//! ```
//!
//! What is owed, what must be rewritten and when a backend may go is the [`Tracker`]'s to say; this
//! file waits, [`work`] and [`speech`] move the bytes. A backend that is given up is cleaned off the
//! client's path.

mod speech;
mod work;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use pool::{CloseReason, Serial};
use sockets::{Chunk, Sleep};
use wire::pg::pooling::{BackendFault, Fault, Outbound, Release, Tracker};
use wire::pg::{self, NamedStartup, TransactionStatus};

use super::{Client, client_broke, postgres};
use crate::backend::{Backend, Shape};
use crate::cancel::{Aim, Registered, SecretLength};
use crate::context::ShardContext;
use crate::control::{Control, Leave};
use crate::farewell::SessionEnd;
use crate::lease::Lease;
use crate::relay::{has_room, lasted};
use crate::seated::Seated;
use crate::stats::Meter;
use crate::tenant::Tenant;

/// Serves a client that has proved who it is, to its end.
///
/// What is given is on the heap, or it would be held twice for the session's whole life: as an
/// argument, and where it is used.
pub async fn serve(
    shard: &Rc<ShardContext>,
    client: Box<Client>,
    seated: Seated,
    named: Box<NamedStartup>,
) {
    let tenant = seated.tenant();
    let listed = match tenant.sessions.enter(postgres::who(&client, &named)) {
        Ok(listed) => listed,
        Err(why) => return postgres::leave(shard, *client, Some(tenant), &why.into()),
    };
    let tracker = match Tracker::new(Rc::clone(&tenant.commons), &named.parameters) {
        Ok(tracker) => tracker,
        Err(refusal) => {
            let end = SessionEnd::ClientRefused(refusal);
            return postgres::leave(shard, *client, Some(tenant), &end);
        }
    };
    let length = SecretLength::for_minor(named.minor);
    drop(named);
    let mut session = Session {
        shard,
        tenant,
        client,
        tracker,
        registered: shard.cancels.register(None, length, &tenant.stats),
        control: &listed.control,
        lease: None,
        last: None,
        aimed: false,
        stalled: None,
        half_closed: None,
        out: Outbound::default(),
        meter: Meter::new(&tenant.stats, &listed.control),
    };
    let end = match session.run().await {
        Ok(never) => match never {},
        Err(end) => end,
    };
    if !session.tracker.may_speak() {
        session.client.conn.say_no_more();
    }
    postgres::leave(shard, *session.client, Some(tenant), &end);
    if session.tracker.may_be_cancelled() && session.lease.is_some() {
        // The database would go on with a query that nobody waits for. Not a part of what an idle session holds.
        Box::pin(session.registered.cancel()).await;
    }
    let lease = session.lease.take();
    end_lease(lease, &mut session.tracker, &session.registered, &end);
}

/// One client between its login and its leave.
struct Session<'a> {
    shard: &'a ShardContext,
    tenant: &'a Rc<Tenant>,
    client: Box<Client>,
    tracker: Tracker,
    /// The client's cancel key, and whom it means at this moment.
    registered: Registered<'a>,
    control: &'a Control,
    lease: Option<Lease>,
    /// Which backend it had last.
    last: Option<Serial>,
    /// The client's key means the backend: something of the client's may have reached it.
    aimed: bool,
    /// Runs while the client reads nothing though bytes wait for it.
    stalled: Option<Sleep>,
    /// The client has closed its sending side, or has said Terminate, while it was owed an answer; until then it
    /// may take.
    half_closed: Option<Sleep>,
    /// What the tracker wants said; empty between turns.
    out: Outbound,
    meter: Meter<'a>,
}

/// What a session with a backend is at work for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    /// The backend is set as the client's startup asks.
    Set,
    /// The backend may serve somebody else.
    Released,
}

/// A session goes on until somebody ends it.
enum Never {}

impl Session<'_> {
    /// From the welcome on; what ends it is the error.
    async fn run(&mut self) -> Result<Never, SessionEnd> {
        self.welcome().await?;
        loop {
            if self.lease.is_none() {
                self.listen().await?;
                self.take_backend().await?;
            }
            if self.lease.is_some() {
                self.work(Until::Released).await?;
                self.release(CloseReason::Unclean);
            }
        }
    }

    /// Tells the client the settings of its session, from what is known of the tenant's database;
    /// where not enough is known, a backend is asked.
    async fn welcome(&mut self) -> Result<(), SessionEnd> {
        if self.tracker.welcome().is_none() {
            // Not a part of what an idle session holds.
            Box::pin(self.set_a_backend()).await?;
        }
        let Some(parameters) = self.tracker.welcome() else {
            unreachable!("a backend that has been set has told its settings");
        };
        let mut words = BytesMut::new();
        let key = Some(self.registered.key());
        pg::backend::welcome(&parameters, key, TransactionStatus::Idle, &mut words);
        self.client.conn.say(words);
        Ok(())
    }

    /// Has a backend take the session's settings, which then tells all of them.
    async fn set_a_backend(&mut self) -> Result<(), SessionEnd> {
        self.take_backend().await?;
        let limit = self.tenant.spec().connect_timeout;
        let set = sockets::timeout(limit, self.work(Until::Set)).await;
        set.unwrap_or_else(|_| {
            let why = format!("it has not taken the session's settings within {limit:?}");
            Err(SessionEnd::DatabaseUnreachable(why))
        })
    }

    /// Without a backend: hears the client until one is needed.
    async fn listen(&mut self) -> Result<(), SessionEnd> {
        self.registered.aim(Aim::Nobody);
        while !self.tracker.needs_backend() {
            if self.half_closed.is_some() || self.tracker.has_terminated() {
                return Err(SessionEnd::ClientLeft);
            }
            let chunk = match self.client.conn.take_unread() {
                Some(unread) => unread,
                None => poll_fn(|cx| self.poll_alone(cx)).await?,
            };
            self.hear_client(chunk)?;
        }
        Ok(())
    }

    /// The next bytes of a client that has no backend, unless it must leave first.
    fn poll_alone(&mut self, cx: &mut Context<'_>) -> Poll<Result<Chunk, SessionEnd>> {
        if self.poll_room(cx)? {
            match self.client.conn.channel().poll_recv(cx) {
                Poll::Ready(Ok(chunk)) if chunk.is_empty() => {
                    return Poll::Ready(Err(SessionEnd::ClientLeft));
                }
                Poll::Ready(Ok(chunk)) => return Poll::Ready(Ok(chunk)),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(SessionEnd::ClientBroke(error))),
                Poll::Pending => {}
            }
        }
        self.poll_ended(cx).map(Err)
    }

    /// Whether there is room for the client to be sent more. A client that makes none for too long
    /// must leave.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Result<bool, SessionEnd> {
        let room = match has_room(self.client.conn.channel(), cx) {
            Poll::Ready(Ok(())) => true,
            Poll::Ready(Err(error)) => return Err(SessionEnd::ClientBroke(error)),
            Poll::Pending => false,
        };
        match self.shard.settings.client_stall_timeout {
            Some(limit) if lasted(&mut self.stalled, !room, limit, cx) => {
                Err(SessionEnd::ClientStalled(limit))
            }
            _ => Ok(room),
        }
    }

    /// Ready when the session is told to end, from outside or by its own time.
    fn poll_ended(&self, cx: &Context<'_>) -> Poll<SessionEnd> {
        match self.control.asked_to_leave(cx) {
            Some(why) if why.is_at_once() || self.tracker.at_rest() => Poll::Ready(why.into()),
            _ => match self.control.overdue() {
                Some(overdue) => Poll::Ready(SessionEnd::Overdue(overdue)),
                None => Poll::Pending,
            },
        }
    }

    /// Gets a backend and has it set for this client. There is none if the client has cancelled what
    /// it needed one for.
    async fn take_backend(&mut self) -> Result<(), SessionEnd> {
        self.registered.aim(Aim::Waiting);
        self.control.needs_backend();
        let shape = Shape::Postgres(pg::Parameters::default());
        let lease = match Lease::try_acquire(self.tenant, &shape, self.last)? {
            Some(lease) => Some(lease),
            // Apart, so that who does not wait holds no room for waiting.
            None => Box::pin(self.acquire(shape)).await?,
        };
        match lease {
            Some(lease) => self.attach(lease),
            None => Ok(()),
        }
    }

    /// Has a backend set for this client, and says what waited for it.
    fn attach(&mut self, mut lease: Lease) -> Result<(), SessionEnd> {
        let backend = lease.backend_mut();
        let Some(memory) = backend.memory.take() else {
            unreachable!("a backend that is not lent out has its memory, in transaction mode");
        };
        self.last = lease.serial();
        self.control.holds(lease.backend().number());
        self.lease = Some(lease);
        self.aimed = false;
        let attached = self.tracker.attach(memory, &mut self.out);
        self.speak(None, None);
        let (busy, open) = (self.tracker.is_owed(), self.tracker.is_open());
        self.control.turn(busy, open, sockets::now());
        attached.map_err(fault)?;
        self.take_aim()
    }

    /// Waits in line; a client that leaves meanwhile waits no longer, nor does one that has cancelled
    /// all that it needs a backend for.
    async fn acquire(&mut self, shape: Shape) -> Result<Option<Lease>, SessionEnd> {
        let tenant = self.tenant;
        let patience = tenant.spec().acquire_timeout;
        let since = sockets::now();
        self.control.waits(since);
        let mut lease = pin!(Lease::in_line(tenant, &shape, patience));
        poll_fn(|cx| {
            if let Poll::Ready(leased) = lease.as_mut().poll(cx) {
                return Poll::Ready(leased.map(Some));
            }
            while self.registered.poll_cancelled(cx).is_ready() {
                if self.cancel_waiting()? && !self.tracker.needs_backend() {
                    return Poll::Ready(Ok(None));
                }
                self.control.waits(since);
            }
            if let Some(why @ Leave::Ended) = self.control.asked_to_leave(cx) {
                return Poll::Ready(Err(why.into()));
            }
            let gone = self.client.conn.poll_gone(cx);
            gone.map(|gone| Err(client_broke(gone)))
        })
        .await
    }

    /// A cancel request has come for what waits, for a backend or until one is set. False if nothing
    /// does.
    fn cancel_waiting(&mut self) -> Result<bool, SessionEnd> {
        self.registered.aim(Aim::Waiting);
        let cancelled = self.tracker.cancel_waiting(&mut self.out);
        self.speak(None, None);
        cancelled.map_err(fault)
    }

    /// Lets the client's key mean its backend, once that has been set. (A cancel must not hit what
    /// sets it: it was not meant.)
    fn take_aim(&mut self) -> Result<(), SessionEnd> {
        if !self.aimed && !self.tracker.is_setting() {
            self.registered.aim(Aim::at(self.backend()));
            self.aimed = true;
        }
        Ok(())
    }

    fn backend(&self) -> &Backend {
        match &self.lease {
            Some(lease) => lease.backend(),
            None => unreachable!("work is done with a backend only"),
        }
    }

    /// Gives the backend up: clean, to be cleaned, or to be closed for `reason`.
    fn release(&mut self, reason: CloseReason) {
        let lease = self.lease.take();
        self.control.holds(None);
        give_up(lease, &mut self.tracker, &self.registered, reason);
    }

    /// The backend is of no use any more.
    fn lose_backend(&mut self) -> Option<Lease> {
        self.registered.aim(Aim::Nobody);
        self.control.holds(None);
        self.lease.take()
    }
}

/// Sees to the backend of a session that has ended, if it has one.
fn end_lease(
    mut lease: Option<Lease>,
    tracker: &mut Tracker,
    registered: &Registered<'_>,
    end: &SessionEnd,
) {
    if let (Some(lease), true) = (&mut lease, tracker.is_midway()) {
        lease.cut_short();
    }
    match lease {
        // It has said why, so it has said something.
        Some(lease) if matches!(end, SessionEnd::DatabaseLeft { .. }) => {
            lease.end_with(end, tracker.is_explained());
        }
        lease => give_up(lease, tracker, registered, CloseReason::SessionEnd),
    }
}

fn give_up(
    lease: Option<Lease>,
    tracker: &mut Tracker,
    registered: &Registered<'_>,
    reason: CloseReason,
) {
    // A cancel that was meant for this client could still hit the next one.
    let cancelled = registered.aim(Aim::Nobody);
    let (Some(lease), Some(release)) = (lease, tracker.detach()) else {
        return;
    };
    match release {
        _ if cancelled || !lease.backend().conn.is_quiet() => lease.close(CloseReason::Unclean),
        Release::Clean(memory) => lease.give_back(memory),
        Release::Cleanup(cleanup) => sockets::spawn(lease.clean(cleanup)).detach(),
        Release::Close => lease.close(reason),
    }
}

fn fault(fault: Fault) -> SessionEnd {
    match fault {
        Fault::Client(refusal) => SessionEnd::ClientRefused(refusal),
        Fault::Backend(BackendFault::SettingsRefused(refusal) | BackendFault::Worn(refusal)) => {
            SessionEnd::SettingsRefused(refusal)
        }
        Fault::Backend(BackendFault::Wire(error)) => SessionEnd::DatabaseMisbehaved(error),
        Fault::Backend(fault @ BackendFault::OutOfTurn { .. }) => {
            SessionEnd::DatabaseOutOfTurn(fault.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the future holds that a function makes.
    fn size<A, B, C, D, F>(_: impl FnOnce(A, B, C, D) -> F) -> usize {
        size_of::<F>()
    }

    /// What the future of a session may hold, in bytes. There are thousands of them.
    const SESSION: usize = 1400;

    #[test]
    fn an_idle_session_holds_little() {
        let session = size(|shard: &'static Rc<ShardContext>, client, seated, named| {
            serve(shard, client, seated, named)
        });
        let parts = [
            ("session", session),
            ("of it tracker", size_of::<Tracker>()),
            ("beside it client", size_of::<Client>()),
            ("beside it control", size_of::<Control>()),
        ];
        println!("bytes: {parts:?}");
        assert!(session <= SESSION, "{session} > {SESSION}");
    }
}

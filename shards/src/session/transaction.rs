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
//! file moves the bytes and waits. A backend that is given up is cleaned off the client's path.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use pool::CloseReason;
use sockets::Chunk;
use wire::pg::pooling::{BackendFault, Fault, Outbound, Passage, Release, Tracker};
use wire::pg::{self, NamedStartup, TransactionStatus};

use super::{Client, client_broke, postgres};
use crate::backend::{Backend, Shape};
use crate::cancel::{Aim, Registered, SecretLength};
use crate::context::ShardContext;
use crate::control::Control;
use crate::farewell::SessionEnd;
use crate::lease::Lease;
use crate::relay::has_room;
use crate::stats::Meter;
use crate::tenant::Tenant;

/// Serves a client that has proved who it is, to its end.
pub async fn serve(
    shard: &Rc<ShardContext>,
    client: Client,
    tenant: &Rc<Tenant>,
    named: &NamedStartup,
) {
    let tracker = match Tracker::new(Rc::clone(&tenant.commons), &named.parameters) {
        Ok(tracker) => tracker,
        Err(refusal) => {
            let end = SessionEnd::ClientRefused(refusal);
            return postgres::leave(shard, client, Some(tenant), &end);
        }
    };
    let length = SecretLength::for_minor(named.minor);
    let listed = tenant.sessions.enter();
    let mut session = Session {
        shard,
        tenant,
        client,
        tracker,
        registered: shard.cancels.register(None, length, &tenant.stats),
        control: &listed.control,
        lease: None,
        out: Outbound::default(),
        meter: Meter::new(&tenant.stats),
    };
    let end = match session.run().await {
        Ok(never) => match never {},
        Err(end) => end,
    };
    session.leave(end).await;
}

/// One client between its login and its leave.
struct Session<'a> {
    shard: &'a ShardContext,
    tenant: &'a Rc<Tenant>,
    client: Client,
    tracker: Tracker,
    /// The client's cancel key, and whom it means at this moment.
    registered: Registered<'a>,
    control: &'a Control,
    lease: Option<Lease>,
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

/// One turn's outcome.
enum Turn {
    /// What the work was for has been reached.
    Reached,
    /// The backend closed.
    BackendLeft,
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
            self.work(Until::Released).await?;
            self.release(CloseReason::Unclean);
        }
    }

    /// Tells the client the settings of its session, from what is known of the tenant's database;
    /// where not enough is known, a backend is asked.
    async fn welcome(&mut self) -> Result<(), SessionEnd> {
        if self.tracker.welcome().is_none() {
            self.take_backend().await?;
            self.work(Until::Set).await?;
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

    /// Without a backend: hears the client until one is needed.
    async fn listen(&mut self) -> Result<(), SessionEnd> {
        self.registered.aim(Aim::Nobody);
        while !self.tracker.needs_backend() {
            let chunk = match self.client.conn.take_unread() {
                Some(unread) => unread,
                None => self.next_of_client().await?,
            };
            self.hear_client(chunk)?;
        }
        Ok(())
    }

    /// The next bytes of a client that has no backend, unless it is asked to leave first.
    async fn next_of_client(&mut self) -> Result<Chunk, SessionEnd> {
        let (client, tracker, control) = (&self.client, &self.tracker, self.control);
        poll_fn(|cx| {
            match client.conn.channel().poll_recv(cx) {
                Poll::Ready(Ok(chunk)) if chunk.is_empty() => {
                    return Poll::Ready(Err(SessionEnd::ClientLeft));
                }
                Poll::Ready(Ok(chunk)) => return Poll::Ready(Ok(chunk)),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(SessionEnd::ClientBroke(error))),
                Poll::Pending => {}
            }
            match control.asked_to_leave(cx) {
                Some(why) if tracker.at_rest() => Poll::Ready(Err(why.into())),
                _ => Poll::Pending,
            }
        })
        .await
    }

    /// Gets a backend and has it set for this client.
    async fn take_backend(&mut self) -> Result<(), SessionEnd> {
        self.registered.aim(Aim::Waiting);
        let mut lease = self.acquire().await?;
        let backend = lease.backend_mut();
        let Some(memory) = backend.memory.take() else {
            unreachable!("a backend that is not lent out has its memory, in transaction mode");
        };
        self.registered.aim(Aim::at(backend));
        self.lease = Some(lease);
        let attached = self.tracker.attach(memory, &mut self.out);
        self.speak(None, None);
        attached.map_err(fault)
    }

    /// Waits in line; a client that leaves or cancels meanwhile waits no longer.
    async fn acquire(&mut self) -> Result<Lease, SessionEnd> {
        let patience = self.tenant.spec().acquire_timeout;
        let shape = Shape::Postgres(pg::Parameters::default());
        let mut lease = pin!(Lease::acquire(self.tenant, &shape, patience));
        let (client, registered) = (&mut self.client, &self.registered);
        poll_fn(|cx| {
            if let Poll::Ready(leased) = lease.as_mut().poll(cx) {
                return Poll::Ready(leased);
            }
            if registered.poll_cancelled(cx).is_ready() {
                return Poll::Ready(Err(SessionEnd::ClientCancelled));
            }
            client
                .conn
                .poll_gone(cx)
                .map(|gone| Err(client_broke(gone)))
        })
        .await
    }

    /// With a backend: passes bytes both ways until the goal is reached. A backend that breaks
    /// before anything of the client's has reached it is replaced by another one.
    async fn work(&mut self, until: Until) -> Result<(), SessionEnd> {
        loop {
            match poll_fn(|cx| self.poll_work(until, cx)).await? {
                Turn::Reached => return Ok(()),
                Turn::BackendLeft if self.tracker.is_untouched() => {
                    self.tracker.forsake();
                    self.lose_backend();
                    self.take_backend().await?;
                }
                Turn::BackendLeft => {
                    let may_speak = !self.tracker.is_explained() && self.tracker.may_speak();
                    return Err(SessionEnd::DatabaseLeft { may_speak });
                }
            }
        }
    }

    fn poll_work(&mut self, until: Until, cx: &mut Context<'_>) -> Poll<Result<Turn, SessionEnd>> {
        if until == Until::Released
            && let Some(unread) = self.client.conn.take_unread()
        {
            self.hear_client(unread)?;
        }
        loop {
            let heard_client = until == Until::Released && self.poll_client(cx)?;
            let heard_backend = match self.poll_backend(cx)? {
                Heard::Something => true,
                Heard::Nothing => false,
                Heard::End => return Poll::Ready(Ok(Turn::BackendLeft)),
            };
            if heard_client || heard_backend {
                continue;
            }
            return match until {
                Until::Set if !self.tracker.is_setting() => Poll::Ready(Ok(Turn::Reached)),
                Until::Released if self.tracker.may_release() => Poll::Ready(Ok(Turn::Reached)),
                _ => match self.control.asked_to_leave(cx) {
                    Some(why) if self.tracker.at_rest() => Poll::Ready(Err(why.into())),
                    _ => Poll::Pending,
                },
            };
        }
    }

    /// One chunk of the client's, if there is one and room for it.
    fn poll_client(&mut self, cx: &mut Context<'_>) -> Result<bool, SessionEnd> {
        if self.tracker.is_full() || has_room(self.backend().conn.channel(), cx).is_pending() {
            return Ok(false);
        }
        match self.client.conn.channel().poll_recv(cx) {
            Poll::Pending => Ok(false),
            Poll::Ready(Ok(chunk)) if chunk.is_empty() => Err(SessionEnd::ClientLeft),
            Poll::Ready(Ok(chunk)) => self.hear_client(chunk).map(|()| true),
            Poll::Ready(Err(error)) => Err(SessionEnd::ClientBroke(error)),
        }
    }

    /// One chunk of the backend's, if there is one and room for it at the client.
    fn poll_backend(&mut self, cx: &mut Context<'_>) -> Result<Heard, SessionEnd> {
        match has_room(self.client.conn.channel(), cx) {
            Poll::Pending => return Ok(Heard::Nothing),
            Poll::Ready(Err(error)) => return Err(SessionEnd::ClientBroke(error)),
            Poll::Ready(Ok(())) => {}
        }
        match self.backend().conn.channel().poll_recv(cx) {
            Poll::Pending => Ok(Heard::Nothing),
            Poll::Ready(Ok(chunk)) if !chunk.is_empty() => {
                let owed = self.tracker.is_owed();
                let passage = self.tracker.backend_said(&chunk, &mut self.out);
                self.meter.backend_said(chunk.len(), 0);
                if owed && !self.tracker.is_owed() {
                    let ended = self.tracker.status() == TransactionStatus::Idle;
                    self.meter.answered(1, u32::from(ended), false);
                    self.meter.pinned(self.tracker.pins());
                }
                self.speak(None, whole(&passage, chunk));
                passage.map(|_| Heard::Something).map_err(fault)
            }
            // A reset is how some servers end a connection.
            Poll::Ready(Ok(_) | Err(_)) => Ok(Heard::End),
        }
    }

    /// Lets the tracker hear the client, and does what it says.
    fn hear_client(&mut self, chunk: Chunk) -> Result<(), SessionEnd> {
        let passage = self.tracker.client_said(&chunk, &mut self.out);
        let asks = self.tracker.needs_backend() || self.tracker.is_owed();
        self.meter.client_said(chunk.len(), u32::from(asks));
        if asks {
            self.meter.asked();
        }
        self.speak(whole(&passage, chunk), None);
        passage.map(|_| ()).map_err(fault)?;
        match self.tracker.has_terminated() {
            true => Err(SessionEnd::ClientLeft),
            false => Ok(()),
        }
    }

    /// Sends what passed whole, and what the tracker wants said behind it.
    fn speak(&mut self, to_backend: Option<Chunk>, to_client: Option<Chunk>) {
        if let Some(lease) = &self.lease {
            let channel = lease.backend().conn.channel();
            if let Some(chunk) = to_backend {
                channel.send(chunk);
            }
            if !self.out.to_backend.is_empty() {
                channel.send(self.out.to_backend.split());
            }
        }
        if let Some(chunk) = to_client {
            self.client.conn.channel().send(chunk);
        }
        self.client.conn.say(self.out.to_client.split());
    }

    fn backend(&self) -> &Backend {
        match &self.lease {
            Some(lease) => lease.backend(),
            None => unreachable!("work is done with a backend only"),
        }
    }

    /// Gives the backend up: clean, to be cleaned, or to be closed for `reason`.
    fn release(&mut self, reason: CloseReason) {
        // A cancel that was meant for this client could still hit the next one.
        let cancelled = self.registered.aim(Aim::Nobody);
        let (Some(lease), Some(release)) = (self.lease.take(), self.tracker.detach()) else {
            return;
        };
        match release {
            _ if cancelled || !lease.backend().conn.is_quiet() => lease.close(CloseReason::Unclean),
            Release::Clean(memory) => lease.give_back(memory),
            Release::Cleanup(cleanup) => sockets::spawn(lease.clean(cleanup)).detach(),
            Release::Close { .. } => lease.close(reason),
        }
    }

    /// The backend broke.
    fn lose_backend(&mut self) {
        self.registered.aim(Aim::Nobody);
        if let Some(lease) = self.lease.take() {
            lease.close(CloseReason::Broken);
        }
    }

    /// The last words; then the backend is seen to.
    async fn leave(mut self, end: SessionEnd) {
        let busy = self.tracker.is_owed();
        let quiet = !self.tracker.may_speak();
        if busy && self.lease.is_some() {
            // The database would go on with a query that nobody waits for.
            self.registered.cancel().await;
        }
        self.release(CloseReason::SessionEnd);
        if quiet {
            self.client.conn.say_no_more();
        }
        postgres::leave(self.shard, self.client, Some(self.tenant), &end);
    }
}

/// What came from a backend.
enum Heard {
    Something,
    Nothing,
    End,
}

/// The chunk, where the tracker lets it pass as it is.
fn whole(passage: &Result<Passage, Fault>, chunk: Chunk) -> Option<Chunk> {
    matches!(passage, Ok(Passage::Whole)).then_some(chunk)
}

fn fault(fault: Fault) -> SessionEnd {
    match fault {
        Fault::Client(refusal) => SessionEnd::ClientRefused(refusal),
        Fault::Backend(BackendFault::SettingsRefused(refusal)) => {
            SessionEnd::SettingsRefused(refusal)
        }
        Fault::Backend(BackendFault::Wire(error)) => SessionEnd::DatabaseMisbehaved(error),
        Fault::Backend(fault @ BackendFault::OutOfTurn { .. }) => {
            SessionEnd::DatabaseOutOfTurn(fault.to_string())
        }
    }
}

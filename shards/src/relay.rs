//! The relay: passes a client's bytes to its backend and back, until one of them goes.
//!
//! ```text
//!             client_said                      send
//!   client ───────────────▶ watch ───────────────────▶ backend
//!          ◀───────────────        ◀───────────────────
//!             send            backend_said
//! ```
//!
//! Bodies are never looked at here: a [`Watch`] of the dialect follows the headers. Each direction
//! stops taking while the other side's send queue is full, so a slow reader costs a bounded amount
//! of memory and slows down nobody but its own peer.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use sockets::{Chunk, Sleep};

use crate::channel::Channel;
use crate::conn::Conn;
use crate::control::Control;
use crate::farewell::SessionEnd;

/// What a dialect makes of the bytes that pass.
pub trait Watch {
    /// The client's bytes: forwards what is for the backend, answers what is not.
    fn client_said(
        &mut self,
        chunk: Chunk,
        client: &Channel,
        backend: &Channel,
    ) -> Result<Said, SessionEnd>;

    /// The backend's bytes, which then go to the client unchanged.
    fn backend_said(&mut self, chunk: &[u8]) -> Result<Said, SessionEnd>;

    /// The backend closed: why, as far as its last words told.
    fn backend_left(&self) -> SessionEnd;

    /// Nothing is owed and no transaction is open: the session may end here without a loss.
    fn at_rest(&self) -> bool;
}

/// What became of one side's bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    /// They went their way.
    Passed,
    /// The turn has come of something that is no relaying: the watch holds it, and the relay stops
    /// for it.
    Interrupts,
}

/// Why a relay stopped.
#[derive(Debug)]
pub enum RelayEnd {
    /// The session is over.
    Over(SessionEnd),
    /// The watch has taken something out that the session must deal with; then it may relay again.
    Interrupted,
}

/// Two connections, what watches over them, and who may end it from outside.
pub struct Relay<'a, W> {
    /// The client's side; what it has said already goes first.
    pub client: &'a mut Conn,
    /// The backend's side.
    pub backend: &'a Conn,
    /// The dialect's eyes.
    pub watch: &'a mut W,
    /// The session's ear.
    pub control: &'a Control,
    /// How long the client may read nothing while bytes wait for it; `None` is for ever.
    pub stall: Option<Duration>,
}

impl<W: Watch> Relay<'_, W> {
    /// Passes bytes until the session ends. Cancel-safe in that nothing received is lost: what was
    /// taken from one side has been queued at the other.
    pub async fn run(mut self) -> RelayEnd {
        if let Some(unread) = self.client.take_unread() {
            match self.take(unread) {
                Flow::Ends(end) => return end,
                Flow::Waits | Flow::Blocked | Flow::Closed => {}
            }
        }
        let mut stalled = None;
        // A client that closes its sending side while it is owed an answer still gets the answer,
        // as it would from the database itself; but not for ever.
        let mut half_closed = None::<Sleep>;
        poll_fn(|cx| {
            if half_closed.is_none() {
                match self.pass_to_backend(cx) {
                    Flow::Waits | Flow::Blocked => {}
                    Flow::Closed if self.watch.at_rest() => return over(SessionEnd::ClientLeft),
                    Flow::Closed => {
                        self.backend.channel().shutdown_write();
                        half_closed = Some(sockets::sleep(HALF_CLOSED));
                    }
                    Flow::Ends(end) => return Poll::Ready(end),
                }
            }
            let blocked = match self.pass_to_client(cx) {
                Flow::Waits => false,
                Flow::Blocked => true,
                Flow::Closed if half_closed.is_some() => return over(SessionEnd::ClientLeft),
                Flow::Closed => return over(self.watch.backend_left()),
                Flow::Ends(end) => return Poll::Ready(end),
            };
            if let Some(limit) = self.stall
                && lasted(&mut stalled, blocked, limit, cx)
            {
                return over(SessionEnd::ClientStalled(limit));
            }
            if is_over(&mut half_closed, cx) {
                return over(SessionEnd::ClientLeft);
            }
            if let Some(overdue) = self.control.overdue() {
                return over(SessionEnd::Overdue(overdue));
            }
            match self.control.asked_to_leave(cx) {
                Some(why) if why.is_at_once() || self.watch.at_rest() => over(why.into()),
                _ => Poll::Pending,
            }
        })
        .await
    }

    /// Client to backend, as far as it goes now.
    fn pass_to_backend(&mut self, cx: &mut Context<'_>) -> Flow {
        loop {
            // An error of the backend's socket shows where its last words are read: below.
            if has_room(self.backend.channel(), cx).is_pending() {
                return Flow::Blocked;
            }
            match self.client.channel().poll_recv(cx) {
                Poll::Pending => return Flow::Waits,
                Poll::Ready(Ok(chunk)) if chunk.is_empty() => return Flow::Closed,
                Poll::Ready(Ok(chunk)) => match self.take(chunk) {
                    Flow::Waits => {}
                    stopped => return stopped,
                },
                Poll::Ready(Err(error)) => return Flow::ends(SessionEnd::ClientBroke(error)),
            }
        }
    }

    /// Shows the watch what the client said.
    fn take(&mut self, chunk: Chunk) -> Flow {
        match self
            .watch
            .client_said(chunk, self.client.channel(), self.backend.channel())
        {
            Ok(Said::Passed) => Flow::Waits,
            Ok(Said::Interrupts) => Flow::Ends(RelayEnd::Interrupted),
            Err(end) => Flow::ends(end),
        }
    }

    /// Backend to client, as far as it goes now.
    fn pass_to_client(&mut self, cx: &mut Context<'_>) -> Flow {
        loop {
            match has_room(self.client.channel(), cx) {
                Poll::Pending => return Flow::Blocked,
                Poll::Ready(Err(error)) => return Flow::ends(SessionEnd::ClientBroke(error)),
                Poll::Ready(Ok(())) => {}
            }
            match self.backend.channel().poll_recv(cx) {
                Poll::Pending => return Flow::Waits,
                Poll::Ready(Ok(chunk)) if !chunk.is_empty() => {
                    let said = match self.watch.backend_said(&chunk) {
                        Ok(said) => said,
                        Err(end) => return Flow::ends(end),
                    };
                    self.client.channel().send(chunk);
                    if said == Said::Interrupts {
                        return Flow::Ends(RelayEnd::Interrupted);
                    }
                }
                // A reset is how some servers end a connection; what they said before it has been
                // passed on by now.
                Poll::Ready(Ok(_) | Err(_)) => return Flow::Closed,
            }
        }
    }
}

/// How far one direction has come in one go.
enum Flow {
    /// All that was there has been passed; the source wakes us.
    Waits,
    /// The sink's queue is full; the sink wakes us.
    Blocked,
    /// The source closed its sending side.
    Closed,
    /// The relay stops.
    Ends(RelayEnd),
}

impl Flow {
    fn ends(end: SessionEnd) -> Flow {
        Flow::Ends(RelayEnd::Over(end))
    }
}

fn over(end: SessionEnd) -> Poll<RelayEnd> {
    Poll::Ready(RelayEnd::Over(end))
}

/// Whether a condition has lasted for `limit`; the timer exists only while the condition holds.
pub fn lasted(
    timer: &mut Option<Sleep>,
    holds: bool,
    limit: Duration,
    cx: &mut Context<'_>,
) -> bool {
    if !holds {
        *timer = None;
    } else if timer.is_none() {
        *timer = Some(sockets::sleep(limit));
    }
    is_over(timer, cx)
}

/// Whether a timer runs, and is over.
pub fn is_over(timer: &mut Option<Sleep>, cx: &mut Context<'_>) -> bool {
    timer
        .as_mut()
        .is_some_and(|sleep| Pin::new(sleep).poll(cx).is_ready())
}

/// Ready while the peer's send queue is below the mark; else wakes when it has drained.
pub fn has_room(peer: &Channel, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    peer.poll_room(QUEUE_HIGH, QUEUE_LOW, cx)
}

/// Bytes that may wait to be sent to one side before the other side is not read any more.
const QUEUE_HIGH: usize = 256 << 10;
/// Bytes below which reading goes on.
const QUEUE_LOW: usize = 64 << 10;
/// How long an answer may take for a client that has closed its sending side.
pub const HALF_CLOSED: Duration = Duration::from_secs(10);

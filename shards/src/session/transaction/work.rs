//! With a backend: bytes pass both ways until the goal is reached.

use std::future::poll_fn;
use std::task::{Context, Poll};

use pool::CloseReason;
use wire::Refusal;
use wire::pg::pooling::{BackendFault, Fault};

use super::speech::whole;
use super::{Session, Until, fault};
use crate::farewell::SessionEnd;
use crate::relay::{HALF_CLOSED, has_room, is_over};

/// One turn's outcome.
enum Turn {
    /// What the work was for has been reached.
    Reached,
    /// The backend closed.
    BackendLeft,
    /// The backend has served others, who have done what keeps it from being set for this client.
    BackendWorn(Refusal),
}

/// What came from a backend.
enum Heard {
    Something,
    Nothing,
    End,
    Worn(Refusal),
}

impl Session<'_> {
    /// Works until the goal is reached. A backend that breaks before anything of the client's has
    /// reached it is replaced by another one; but of those that nobody had before, once. (It may be
    /// what the client wants set that breaks them.) So is one that cannot be set any more: in the end by
    /// one that nobody had before; but others, who come first, may have each worn out by then.
    pub(super) async fn work(&mut self, until: Until) -> Result<(), SessionEnd> {
        let mut replaced = false;
        let mut worn = 0u16;
        while let Some(lease) = &self.lease {
            let is_new = !lease.backend().has_served;
            match poll_fn(|cx| self.poll_work(until, cx)).await? {
                Turn::Reached => return Ok(()),
                Turn::BackendLeft if self.tracker.is_untouched() && !(is_new && replaced) => {
                    replaced |= is_new;
                    self.tracker.forsake();
                    if let Some(lease) = self.lose_backend() {
                        lease.lose();
                    }
                    self.take_backend().await?;
                }
                Turn::BackendWorn(refusal) => {
                    worn = worn.saturating_add(1);
                    self.give_up_worn(refusal, worn)?;
                    self.take_backend().await?;
                }
                Turn::BackendLeft => {
                    let may_speak = !self.tracker.is_explained() && self.tracker.may_speak();
                    return Err(SessionEnd::DatabaseLeft { may_speak });
                }
            }
        }
        Ok(())
    }

    /// Closes a backend that is worn, as the `worn`th in a row: all that there are may be, and some that others got first.
    fn give_up_worn(&mut self, refusal: Refusal, worn: u16) -> Result<(), SessionEnd> {
        let most = 2 * self.tenant.spec().limits.max;
        if usize::from(worn) > most {
            return Err(SessionEnd::SettingsRefused(refusal));
        }
        self.tracker.forsake();
        if let Some(lease) = self.lose_backend() {
            lease.close(CloseReason::Unclean);
        }
        Ok(())
    }

    fn poll_work(&mut self, until: Until, cx: &mut Context<'_>) -> Poll<Result<Turn, SessionEnd>> {
        if until == Until::Released
            && let Some(unread) = self.client.conn.take_unread()
        {
            self.hear_client(unread)?;
        }
        loop {
            self.poll_aim(cx)?;
            let heard_client = until == Until::Released && self.poll_client(cx)?;
            let heard_backend = match self.poll_backend(cx)? {
                Heard::Something => true,
                Heard::Nothing => false,
                Heard::End => return Poll::Ready(Ok(Turn::BackendLeft)),
                Heard::Worn(refusal) => return Poll::Ready(Ok(Turn::BackendWorn(refusal))),
            };
            if heard_client || heard_backend {
                continue;
            }
            if self.tracker.has_terminated() && self.half_closed.is_none() {
                // What stands before Terminate is done, as the database itself would do it.
                self.half_closed = Some(sockets::sleep(HALF_CLOSED));
            }
            let reached = match until {
                Until::Set => !self.tracker.is_setting(),
                Until::Released => self.tracker.may_release(),
            };
            if reached {
                return Poll::Ready(Ok(Turn::Reached));
            }
            if self.half_closed.is_some() && !self.is_answered_still()
                || is_over(&mut self.half_closed, cx)
            {
                return Poll::Ready(Err(SessionEnd::ClientLeft));
            }
            return self.poll_ended(cx).map(Err);
        }
    }

    /// Whether another backend can do what this one could not any more.
    fn may_be_replaced(&self) -> bool {
        self.tracker.is_untouched() && self.backend().has_served
    }

    /// Whether a client that says nothing more may get an answer: one is owed, no data of
    /// its own is waited for, and it has not closed the other side as well. (A send that failed has
    /// taken the reset that tells; then receiving only shows an end.)
    fn is_answered_still(&self) -> bool {
        self.tracker.is_owed()
            && !self.tracker.awaits_data()
            && !self.client.conn.channel().has_failed()
    }

    /// Until the backend has been set, a cancel is meant for what waits for that.
    fn poll_aim(&mut self, cx: &Context<'_>) -> Result<(), SessionEnd> {
        while !self.aimed && self.registered.poll_cancelled(cx).is_ready() {
            self.cancel_waiting()?;
        }
        self.take_aim()
    }

    /// One chunk of the client's, if there is one and room for it.
    fn poll_client(&mut self, cx: &mut Context<'_>) -> Result<bool, SessionEnd> {
        if self.half_closed.is_some()
            || self.tracker.is_full()
            || has_room(self.backend().conn.channel(), cx).is_pending()
        {
            return Ok(false);
        }
        match self.client.conn.channel().poll_recv(cx) {
            Poll::Pending => Ok(false),
            // One that closes its sending side still gets the answer that it is owed, as it would
            // from the database itself; but not for ever.
            Poll::Ready(Ok(chunk)) if chunk.is_empty() && self.tracker.is_owed() => {
                self.half_closed = Some(sockets::sleep(HALF_CLOSED));
                Ok(false)
            }
            Poll::Ready(Ok(chunk)) if chunk.is_empty() => Err(SessionEnd::ClientLeft),
            Poll::Ready(Ok(chunk)) => self.hear_client(chunk).map(|()| true),
            Poll::Ready(Err(error)) => Err(SessionEnd::ClientBroke(error)),
        }
    }

    /// One chunk of the backend's, if there is one and room for it at the client.
    fn poll_backend(&mut self, cx: &mut Context<'_>) -> Result<Heard, SessionEnd> {
        if !self.poll_room(cx)? {
            return Ok(Heard::Nothing);
        }
        match self.backend().conn.channel().poll_recv(cx) {
            Poll::Pending => Ok(Heard::Nothing),
            Poll::Ready(Ok(chunk)) if !chunk.is_empty() => {
                let passage = self.tracker.backend_said(&chunk, &mut self.out);
                self.speak(None, whole(&passage, chunk));
                match passage {
                    Err(Fault::Backend(BackendFault::Worn(refusal))) if self.may_be_replaced() => {
                        Ok(Heard::Worn(refusal))
                    }
                    passage => passage.map(|_| Heard::Something).map_err(fault),
                }
            }
            // A reset is how some servers end a connection.
            Poll::Ready(Ok(_) | Err(_)) => Ok(Heard::End),
        }
    }
}

//! Streams that were dropped with bytes unsent: each is to get its last words through, and not to be
//! closed before the peer has read them. Of those that do not end soon there are so many at most.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::reactor::{Reactor, remember};
use crate::socket::Socket;
use crate::timer::timeout;

/// Who lingers on one executor, by the order in which they came.
#[derive(Default)]
pub(crate) struct Lingerers {
    came: Cell<u64>,
    here: RefCell<BTreeMap<u64, Option<Waker>>>,
}

impl Lingerers {
    /// One more, by its number. Where that is one too many, whoever has been here for longest has had
    /// the most time.
    fn enter(&self, most: usize) -> u64 {
        let number = self.came.get();
        self.came.set(number + 1);
        let crowded_out = {
            let mut here = self.here.borrow_mut();
            here.insert(number, None);
            let is_full = here.len() > most;
            is_full.then(|| here.pop_first()).flatten()
        };
        if let Some((_, Some(waker))) = crowded_out {
            waker.wake();
        }
        number
    }

    /// Ready when others need the place.
    fn poll_crowded_out(&self, number: u64, cx: &Context<'_>) -> Poll<()> {
        match self.here.borrow_mut().get_mut(&number) {
            Some(waker) => {
                remember(waker, cx);
                Poll::Pending
            }
            None => Poll::Ready(()),
        }
    }
}

/// A socket whose stream was dropped with bytes unsent.
pub(crate) struct Lingering {
    socket: Rc<Socket>,
    number: u64,
}

impl Lingering {
    pub(crate) fn new(socket: &Rc<Socket>) -> Lingering {
        let reactor = socket.reactor();
        Lingering {
            socket: Rc::clone(socket),
            number: reactor.lingerers.enter(reactor.limits.lingering),
        }
    }

    /// Whatever the outcome, it is closed then.
    pub(crate) async fn see_out(self) {
        let limit = self.reactor().limits.linger;
        let ended = {
            let mut ended = pin!(timeout(limit, self.until_the_peer_closes()));
            poll_fn(|cx| match ended.as_mut().poll(cx) {
                Poll::Ready(_) => Poll::Ready(true),
                Poll::Pending => {
                    let lingerers = &self.reactor().lingerers;
                    lingerers.poll_crowded_out(self.number, cx).map(|()| false)
                }
            })
            .await
        };
        if !ended {
            let _ = timeout(LAST_MOMENT, self.sent()).await;
        }
    }

    /// Sends the rest, then reads to the end: closing with bytes unread would reset the connection,
    /// and the peer could lose the very message that was sent last.
    async fn until_the_peer_closes(&self) -> io::Result<()> {
        self.sent().await?;
        self.socket.shutdown_write();
        while !poll_fn(|cx| self.socket.poll_recv(cx)).await?.is_empty() {}
        Ok(())
    }

    async fn sent(&self) -> io::Result<()> {
        poll_fn(|cx| self.socket.poll_drained(0, cx)).await
    }

    fn reactor(&self) -> &Reactor {
        self.socket.reactor()
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        self.reactor()
            .lingerers
            .here
            .borrow_mut()
            .remove(&self.number);
        self.socket.close();
    }
}

/// How long a dropped stream may take to send its last bytes and see the peer close.
pub const LINGER: Duration = Duration::from_secs(3);
/// How long one that is crowded out may take to hand its last bytes to the kernel.
const LAST_MOMENT: Duration = Duration::from_millis(100);

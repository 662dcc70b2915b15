//! A backend held for one client, and the way to get one: the pool's answers turned into waiting.
//!
//! A lease that is dropped gives its backend back to be closed, so a session may end anywhere, at
//! any await, and the pool's count stays right.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use log::warn;
use pool::{Acquired, Checkout, CloseReason, Serial, Ticket, Verdict};

use wire::pg::pooling::{BackendMemory, Cleanup};

use crate::backend::{Backend, Shape};
use crate::control::Leave;
use crate::dial::DialFailure;
use crate::farewell::{Exhausted, SessionEnd};
use crate::relay::is_over;
use crate::seat::Seat;
use crate::tenant::Tenant;

/// What a waiting client is given.
pub type Gift = Result<Checkout<Box<Backend>>, NotServed>;

/// Why a waiting client gets nothing.
#[derive(Clone, Debug)]
pub enum NotServed {
    /// The database could not be logged in to.
    NoDial(DialFailure),
    /// The database has failed its health checks.
    Unwell(String),
    /// Nobody is served any more.
    Closed(Leave),
}

/// A backend, held.
pub struct Lease {
    tenant: Rc<Tenant>,
    /// There until the lease ends.
    held: Option<Checkout<Box<Backend>>>,
}

impl Lease {
    /// A backend of the given shape: an idle one (the `last` that the client had, if that is), or a
    /// place in the queue until `patience` is over.
    ///
    /// Cancel-safe: a backend that is handed to a caller who has gone goes to the next in line.
    pub async fn acquire(
        tenant: &Rc<Tenant>,
        shape: &Shape,
        last: Option<Serial>,
        patience: Option<Duration>,
    ) -> Result<Lease, SessionEnd> {
        match Lease::try_acquire(tenant, shape, last)? {
            Some(lease) => Ok(lease),
            // Apart, so that who does not wait holds no room for waiting.
            None => Box::pin(Lease::in_line(tenant, shape, patience)).await,
        }
    }

    /// An idle backend of the given shape, if there is one: else [`in_line`](Lease::in_line).
    pub fn try_acquire(
        tenant: &Rc<Tenant>,
        shape: &Shape,
        last: Option<Serial>,
    ) -> Result<Option<Lease>, SessionEnd> {
        match tenant.fails_fast() {
            Some(why) => Err(SessionEnd::DatabaseUnhealthy(why)),
            None => Lease::at_once(tenant, shape, last, Duration::ZERO),
        }
    }

    /// An idle backend, if there is one.
    fn at_once(
        tenant: &Rc<Tenant>,
        shape: &Shape,
        last: Option<Serial>,
        waited: Duration,
    ) -> Result<Option<Lease>, SessionEnd> {
        loop {
            let checkout = match tenant.with_pool(|pool| pool.acquire(shape, last)) {
                Acquired::Ready(checkout) => checkout,
                Acquired::Refused(refusal) => return Err(refused(refusal)),
                Acquired::Full => return Ok(None),
            };
            if let Some(lease) = Lease::sound(tenant, checkout, waited) {
                return Ok(Some(lease));
            }
        }
    }

    /// The backend that comes free when it is this client's turn. Cancel-safe as [`acquire`](Lease::acquire).
    pub async fn in_line(
        tenant: &Rc<Tenant>,
        shape: &Shape,
        patience: Option<Duration>,
    ) -> Result<Lease, SessionEnd> {
        let mut waited = Duration::ZERO;
        loop {
            let began = sockets::now();
            let gift = wait(tenant, shape, patience, waited).await?;
            waited += sockets::now().duration_since(began);
            let checkout = match gift {
                Ok(checkout) => checkout,
                Err(NotServed::NoDial(failure)) => return Err(failure.into()),
                Err(NotServed::Unwell(why)) => return Err(SessionEnd::DatabaseUnhealthy(why)),
                Err(NotServed::Closed(why)) => return Err(why.into()),
            };
            if let Some(lease) = Lease::sound(tenant, checkout, waited) {
                return Ok(lease);
            }
            if let Some(lease) = Lease::at_once(tenant, shape, None, waited)? {
                return Ok(lease);
            }
        }
    }

    /// Which of the pool's connections is held.
    pub fn serial(&self) -> Option<Serial> {
        self.held.as_ref().map(Checkout::serial)
    }

    /// Takes the backend, unless it died, or said something, while nobody listened: then it is not
    /// to be trusted, and closed.
    fn sound(
        tenant: &Rc<Tenant>,
        checkout: Checkout<Box<Backend>>,
        waited: Duration,
    ) -> Option<Lease> {
        let mut lease = Lease {
            tenant: Rc::clone(tenant),
            held: Some(checkout),
        };
        if !lease.backend_mut().is_sound() {
            lease.lose();
            return None;
        }
        tenant.stats.count(|counts| counts.wait_time.add(waited, 1));
        Some(lease)
    }

    /// What is held.
    pub fn backend(&self) -> &Backend {
        match &self.held {
            Some(checkout) => checkout,
            None => unreachable!("a lease holds its backend until it ends, and ending consumes it"),
        }
    }

    /// What is held, to be changed.
    pub fn backend_mut(&mut self) -> &mut Backend {
        match &mut self.held {
            Some(checkout) => checkout,
            None => unreachable!("a lease holds its backend until it ends, and ending consumes it"),
        }
    }

    /// Ends the lease; the backend may serve the next client at once.
    pub fn give_back(mut self, memory: BackendMemory) {
        let backend = self.backend_mut();
        backend.memory = Some(memory);
        backend.has_served = true;
        self.end(Verdict::Reusable);
    }

    /// Ends the lease; the backend may serve the next client when it has been cleaned, which is
    /// done here, off any client's path. One that cannot be cleaned in time is closed.
    pub async fn clean(mut self, mut cleanup: Cleanup) {
        let conn = &mut self.backend_mut().conn;
        match sockets::timeout(CLEANUP_LIMIT, conn.carry(&mut cleanup)).await {
            Ok(Ok(memory)) => {
                self.tenant.stats.count(|counts| counts.cleanups += 1);
                self.give_back(memory);
            }
            failed => {
                let why = match failed {
                    Ok(Err(broken)) => broken.to_string(),
                    _ => format!("not done within {CLEANUP_LIMIT:?}"),
                };
                let (id, sql) = (&self.tenant.spec().id, cleanup.sql());
                let stats = &self.tenant.stats;
                stats.count(|counts| counts.cleanup_failures += 1);
                warn!("tenant {id}: a backend could not be cleaned by {sql:?}: {why}");
                self.close(CloseReason::Unclean);
            }
        }
    }

    /// The client's part is over in the middle of a message. The backend, which is to be closed now, is told nothing more: it
    /// would take what we say for the rest of it, and run what its client never finished.
    pub fn cut_short(&mut self) {
        self.backend_mut().conn.say_no_more();
    }

    /// Ends the lease; the backend is closed.
    pub fn close(mut self, reason: CloseReason) {
        self.end(Verdict::Close(reason));
    }

    /// Ends the lease as its session has ended, whose client may have had something of the backend.
    pub fn end_with(self, end: &SessionEnd, was_answered: bool) {
        match end {
            SessionEnd::DatabaseLeft { .. } if was_answered => self.close(CloseReason::Broken),
            SessionEnd::DatabaseLeft { .. } => self.lose(),
            _ => self.close(CloseReason::SessionEnd),
        }
    }

    /// Ends the lease; the backend has died, or is not to be trusted, before this client has had
    /// anything of it.
    pub fn lose(mut self) {
        let verdict = match self.backend().has_served {
            true => Verdict::Close(CloseReason::Broken),
            false => Verdict::Stillborn,
        };
        self.end(verdict);
    }

    fn end(&mut self, verdict: Verdict) {
        if let Some(checkout) = self.held.take() {
            self.tenant.give_back(checkout, verdict);
        }
    }
}

/// Whoever drops it, such as the end of the shard, does not know where the client stands, so nothing is said.
impl Drop for Lease {
    fn drop(&mut self) {
        if self.held.is_some() {
            self.cut_short();
        }
        self.end(Verdict::Close(CloseReason::SessionEnd));
    }
}

/// Waits in line. The outer error is for who waited too long, the time that it had `waited` before
/// included.
async fn wait(
    tenant: &Rc<Tenant>,
    shape: &Shape,
    patience: Option<Duration>,
    waited: Duration,
) -> Result<Gift, SessionEnd> {
    let (theirs, ours) = Seat::new();
    let ticket = tenant.with_pool(|pool| pool.enqueue(shape.clone(), theirs));
    let waiting = Waiting {
        tenant,
        ticket,
        seat: ours,
    };
    tenant.dial_what_is_due();
    let mut left = patience.map(|patience| sockets::sleep(patience.saturating_sub(waited)));
    poll_fn(|cx| match (waiting.seat.poll_given(cx), patience) {
        (Poll::Ready(gift), _) => Poll::Ready(Ok(gift)),
        (Poll::Pending, Some(patience)) if is_over(&mut left, cx) => {
            tenant.stats.count(|counts| {
                counts.exhausted += 1;
                counts.wait_time.add(patience, 1);
            });
            Poll::Ready(Err(SessionEnd::PoolExhausted(Exhausted {
                within: patience,
                in_use: tenant.in_use(),
                // Those of a pool that this one has taken the place of count there, too.
                pinned: tenant.stats.pinned().min(tenant.in_use()),
            })))
        }
        (Poll::Pending, _) => Poll::Pending,
    })
    .await
}

/// A place in line, left when dropped.
struct Waiting<'a> {
    tenant: &'a Rc<Tenant>,
    ticket: Ticket,
    seat: Seat<Gift>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.tenant.with_pool(|pool| pool.abandon(self.ticket));
        // It was called in the same moment as it gave up: the next in line gets it.
        if let Some(Ok(checkout)) = self.seat.take() {
            self.tenant.give_back(checkout, Verdict::Reusable);
        }
    }
}

fn refused(refusal: pool::Refusal) -> SessionEnd {
    match refusal {
        pool::Refusal::Draining => SessionEnd::TenantClosed,
        pool::Refusal::QueueFull => SessionEnd::ShardBusy,
    }
}

/// How long a cleanup may take before the backend is rather closed.
const CLEANUP_LIMIT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::mpsc;

    use pool::Placed;

    use super::*;
    use crate::context::ShardContext;
    use crate::trial;

    /// A database that lets one in until it is told to close, and says nothing to who comes then.
    fn dying(listener: &TcpListener, told: &mpsc::Receiver<()>) {
        let (mut first, _) = listener.accept().unwrap();
        let count = first.read(&mut [0; 1024]).unwrap();
        assert!(count > 0, "a startup");
        first.write_all(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I").unwrap();
        told.recv().unwrap();
        drop(first);
        let _second = listener.accept();
        // Until the test is over.
        let _ = told.recv();
    }

    #[test]
    fn who_is_given_what_has_died_waits_no_longer_than_it_would_have() {
        let (listener, address) = trial::listener();
        let (tell, told) = mpsc::channel();
        let database = std::thread::spawn(move || dying(&listener, &told));
        trial::run(async move {
            let shard = ShardContext::new(trial::shard());
            let tenant = Tenant::new(
                trial::tenant("t", address),
                Rc::default(),
                &shard.names,
                &std::sync::Arc::default(),
            );
            let shape = Shape::usual(&tenant.spec());
            let held = Lease::acquire(&tenant, &shape, None, None).await;
            let mut held = held.map_err(|end| end.to_string()).unwrap();
            held.backend_mut().has_served = true;
            // So long that a machine that stalls meanwhile makes no difference.
            let patience = Duration::from_secs(8);
            let next = sockets::spawn({
                let tenant = Rc::clone(&tenant);
                async move {
                    let lease = Lease::acquire(&tenant, &shape, None, Some(patience)).await;
                    matches!(lease, Err(SessionEnd::PoolExhausted(_)))
                }
            });
            sockets::sleep(patience * 5 / 8).await;
            // It dies in the moment in which the next in line is given it.
            tell.send(()).unwrap();
            while held.backend_mut().is_sound() {
                sockets::sleep(Duration::from_millis(1)).await;
            }
            let checkout = held.held.take().unwrap();
            let now = sockets::now();
            let placed = tenant.with_pool(|pool| pool.release(checkout, Verdict::Reusable, now));
            let Placed::Handed { waiter, checkout } = placed else {
                panic!("somebody waits for it");
            };
            waiter.give(Ok(checkout));
            // What is left of its patience is over before this is; were it counted anew, it would not be.
            let told = sockets::timeout(patience * 3 / 4, next).await;
            assert!(told.unwrap(), "it waited too long, and is told so");
        });
        database.join().unwrap();
    }
}

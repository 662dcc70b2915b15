//! Noticing at once when an idle backend dies, with one task for a tenant and none for a backend.
//!
//! A backend that goes idle is given the waker of its tenant's watcher; whatever arrives on its
//! socket, the end or words out of turn, wakes it, and the watcher then looks through the idle ones.
//! A backend that is leased has its waker replaced by whoever reads from it.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use crate::backend::Backend;
use crate::tenant::Tenant;

/// The watcher's waker; there since the watcher ran first, which is before any dial can end.
#[derive(Default)]
pub struct Vigil(RefCell<Option<Waker>>);

impl Vigil {
    /// Watches over a backend that goes idle. False if it is not fit to: it has died, or has said
    /// something that nobody asked for.
    pub fn begin(&self, backend: &mut Backend) -> bool {
        let waker = self.0.borrow();
        let mut cx = Context::from_waker(waker.as_ref().unwrap_or(Waker::noop()));
        backend.poll_useless(&mut cx).is_pending()
    }
}

impl Drop for Vigil {
    /// The tenant is gone, and so shall the watcher be.
    fn drop(&mut self) {
        if let Some(waker) = self.0.take() {
            waker.wake();
        }
    }
}

/// The watcher's life: until its tenant is gone.
pub async fn keep(tenant: Weak<Tenant>) {
    poll_fn(|cx| {
        let Some(tenant) = tenant.upgrade() else {
            return Poll::Ready(());
        };
        *tenant.vigil.0.borrow_mut() = Some(cx.waker().clone());
        bury_the_dead(&tenant, cx);
        Poll::Pending
    })
    .await;
}

/// Closes the idle backends that died, and opens what is missing then.
fn bury_the_dead(tenant: &Rc<Tenant>, cx: &mut Context<'_>) {
    let dead = tenant.with_pool(|pool| {
        pool.remove_idle(sockets::now(), |backend| {
            backend.poll_useless(cx).is_ready()
        })
    });
    if dead.is_empty() {
        return;
    }
    for backend in dead {
        tenant.dismiss(backend, pool::CloseReason::Broken);
    }
    tenant.dial_what_is_due();
    tenant.try_again_later();
}

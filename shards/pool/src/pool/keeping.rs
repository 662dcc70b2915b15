//! Which connections are not kept, and why.

use std::time::Instant;

use super::Pool;
use crate::connection::{CloseReason, Idle, Pooled, Terms};
use crate::state::Gate;

impl<C: Pooled, W> Pool<C, W> {
    /// Why a connection must not be used again, whoever waits for it.
    pub(super) fn overdue(&self, terms: &Terms, now: Instant) -> Option<CloseReason> {
        let reason = match self.gate {
            Gate::Draining => CloseReason::Draining,
            Gate::Paused => CloseReason::Paused,
            Gate::Open if terms.epoch != self.epoch => CloseReason::Reconnect,
            Gate::Open if self.total() > self.limits.max => CloseReason::OverMax,
            Gate::Open if terms.is_over(&self.limits, now) => CloseReason::MaxLifetime,
            Gate::Open => return None,
        };
        Some(reason)
    }

    /// Why an idle connection is more than is needed.
    pub(super) fn surplus(&self, idle: &Idle<C>, now: Instant) -> Option<CloseReason> {
        let is_surplus = idle.is_over(&self.limits, now) && self.total() > self.limits.floor();
        is_surplus.then_some(CloseReason::IdleTimeout)
    }
}

//! What the model says should happen: everything counted anew from plain lists.

use pool::{CloseReason, DialReason, LIFETIME_SPREAD};

use crate::{Fate, Gate, Run};

impl Run {
    /// The shape and reason of the next dial, were none held back.
    pub fn dial_wanted(&self) -> Option<(u8, DialReason)> {
        let total = self.total();
        let max = self.limits.max;
        let room = total < max || (total == max && !self.idle.is_empty());
        room.then(|| self.dial_wanted_given_room())?
            .map(|(_, shape, reason)| (shape, reason))
    }

    pub fn dial_wanted_given_room(&self) -> Option<(usize, u8, DialReason)> {
        let at_once = match (self.failures, self.limits.max_dials) {
            (0, 0) => usize::MAX,
            (0, max_dials) => max_dials,
            _ => 1,
        };
        if self.gate != Gate::Open || self.permits.len() >= at_once {
            return None;
        }
        for (position, &(_, _, shape)) in self.queue.iter().enumerate() {
            let before = self.queue[..position]
                .iter()
                .filter(|waiter| waiter.2 == shape)
                .count();
            let dials = self
                .permits
                .iter()
                .filter(|(permit, _)| *permit.shape() == shape)
                .count();
            if before >= dials {
                return Some((position, shape, DialReason::Waiting));
            }
        }
        let ahead = (usize::MAX, self.usual, DialReason::BelowMin);
        (self.total() < self.floor()).then_some(ahead)
    }

    /// What should become of a connection that is given back, and counted nowhere now.
    pub fn fate(&self, number: usize) -> Fate {
        let total = self.total() + 1;
        if let Some(reason) = self.overdue(number, total) {
            return Fate::Closed(reason);
        }
        let shape = self.known[number].shape;
        let first = self.queue.iter().position(|waiter| waiter.2 == shape);
        let room = total < self.limits.max || !self.idle.is_empty();
        if let Some((position, _, DialReason::Waiting)) = self.dial_wanted_given_room() {
            let held_back = self.held_until > self.now;
            if !room && !held_back && position < first.unwrap_or(usize::MAX) {
                return Fate::Closed(CloseReason::MadeRoom);
            }
        }
        first.map_or(Fate::Parked, |first| Fate::Handed(self.queue[first].1))
    }

    pub fn overdue(&self, number: usize, total: usize) -> Option<CloseReason> {
        let known = self.known[number];
        let lifetime = self.limits.max_lifetime;
        let spread = lifetime.mul_f64(LIFETIME_SPREAD * known.part);
        let too_old = !lifetime.is_zero() && self.now >= known.born + (lifetime - spread);
        let reasons = [
            (self.gate == Gate::Draining, CloseReason::Draining),
            (self.gate == Gate::Paused, CloseReason::Paused),
            (known.epoch != self.epoch, CloseReason::Reconnect),
            (total > self.limits.max, CloseReason::OverMax),
            (too_old, CloseReason::MaxLifetime),
        ];
        reasons
            .into_iter()
            .find(|(applies, _)| *applies)
            .map(|(_, reason)| reason)
    }

    pub fn floor(&self) -> usize {
        self.limits.min.min(self.limits.max)
    }

    pub fn total(&self) -> usize {
        self.idle.len() + self.checkouts.len() + self.permits.len()
    }
}

//! Whether an idle executor should look out for the next completion instead of sleeping: only while
//! waits are so short that falling asleep and being woken is most of them. So a lone client that
//! asks again as soon as it is answered is served without a sleep, and a shard that has little to do
//! burns nothing.

use std::time::Duration;

/// What the last waits were like.
pub(crate) struct Haste {
    limit: Duration,
    /// One more for each short wait, several less for each long one.
    score: u32,
}

impl Haste {
    /// Looks out for at most `limit`; zero is never.
    pub(crate) fn new(limit: Duration) -> Haste {
        Haste { limit, score: 0 }
    }

    /// How long to look out for a completion before the next sleep, if that is worth it.
    pub(crate) fn spins(&self) -> Option<Duration> {
        (self.score >= ENOUGH && !self.limit.is_zero()).then_some(self.limit)
    }

    /// A sleep took so long.
    pub(crate) fn slept(&mut self, time: Duration) {
        self.note(time < SHORT);
    }

    /// Something came while it was looked out for; or nothing did.
    pub(crate) fn looked_out(&mut self, came: bool) {
        self.note(came);
    }

    fn note(&mut self, short: bool) {
        self.score = match short {
            true => (self.score + 1).min(MOST),
            false => self.score.saturating_sub(PRICE),
        };
    }
}

/// A sleep that is mostly falling asleep and being woken.
const SHORT: Duration = Duration::from_micros(120);

/// From so many short waits on it is looked out for the next completion: where completions are rare,
/// so many do not come by chance.
const ENOUGH: u32 = 8;

/// More of them say nothing more.
const MOST: u32 = 16;

/// So many short waits a long one weighs: looking out in vain must be rare.
const PRICE: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_micros(50);

    fn hasty() -> Haste {
        let mut haste = Haste::new(LIMIT);
        for _ in 0..ENOUGH {
            assert_eq!(haste.spins(), None);
            haste.slept(SHORT / 2);
        }
        assert_eq!(haste.spins(), Some(LIMIT));
        haste
    }

    #[test]
    fn spinning_is_earned_by_short_waits_and_lost_by_a_long_one() {
        let mut haste = hasty();
        haste.looked_out(false);
        assert_eq!(haste.spins(), None);
        (0..PRICE).for_each(|_| haste.slept(SHORT / 2));
        assert_eq!(haste.spins(), Some(LIMIT));
    }

    #[test]
    fn where_it_nearly_always_pays_one_miss_is_forgiven() {
        let mut haste = hasty();
        (0..100).for_each(|_| haste.looked_out(true));
        haste.looked_out(false);
        assert_eq!(haste.spins(), Some(LIMIT));
        (0..2).for_each(|_| haste.looked_out(false));
        assert_eq!(haste.spins(), None);
    }

    #[test]
    fn long_sleeps_among_short_ones_keep_it_asleep() {
        let mut haste = Haste::new(LIMIT);
        for _ in 0..100 {
            (0..PRICE).for_each(|_| haste.slept(SHORT / 2));
            haste.slept(SHORT);
            assert_eq!(haste.spins(), None);
        }
    }

    #[test]
    fn no_limit_is_never() {
        let mut haste = Haste::new(Duration::ZERO);
        (0..=ENOUGH).for_each(|_| haste.slept(Duration::ZERO));
        assert_eq!(haste.spins(), None);
    }
}

//! Whether an idle executor should look out for the next completion instead of sleeping: only while
//! waits are so short that falling asleep and being woken is most of them. So a lone client that
//! asks again as soon as it is answered is served without a sleep, and a shard that has little to do
//! burns nothing.

use std::time::Duration;

/// What the last waits were like.
pub(crate) struct Haste {
    limit: Duration,
    /// One more for each short wait, several less for each long one.
    score: i32,
    /// What looking out in vain costs next: the more often it was in vain, the more, so that where
    /// waits are short but not short enough hardly anything is spent on it.
    price: i32,
}

impl Haste {
    /// Looks out for at most `limit`; zero is never.
    pub(crate) fn new(limit: Duration) -> Haste {
        Haste {
            limit,
            score: 0,
            price: PRICE,
        }
    }

    /// How long to look out for a completion before the next sleep, if that is worth it.
    pub(crate) fn spins(&self) -> Option<Duration> {
        (self.score >= ENOUGH && !self.limit.is_zero()).then_some(self.limit)
    }

    /// A sleep took so long.
    pub(crate) fn slept(&mut self, time: Duration) {
        match time < SHORT {
            true => self.gain(),
            // A debt is neither paid off so, nor made.
            false => self.score = (self.score - PRICE).max(self.score.min(0)),
        }
    }

    /// Something came while it was looked out for; or nothing did.
    pub(crate) fn looked_out(&mut self, came: bool) {
        if came {
            self.price = (self.price - 1).max(PRICE);
            self.gain();
        } else {
            self.score -= self.price;
            self.price = (self.price * 2).min(DEAREST);
        }
    }

    fn gain(&mut self) {
        self.score = (self.score + 1).min(MOST);
    }
}

/// A sleep that is mostly falling asleep and being woken: on virtual machines either may take 50 to
/// 100 microseconds.
const SHORT: Duration = Duration::from_micros(200);

/// From so many short waits on it is looked out for the next completion: where completions are rare,
/// so many do not come by chance.
const ENOUGH: i32 = 8;

/// More of them say nothing more.
const MOST: i32 = 16;

/// So many short waits a long one weighs, and looking out in vain for the first time.
const PRICE: i32 = 4;

/// So many short waits, of some 100 microseconds, it weighs at most: then it takes a hundredth of the time.
const DEAREST: i32 = 96;

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

    /// How often it was looked out in vain in so many short waits, of which one of `paying` is short
    /// enough.
    fn in_vain(waits: u32, paying: u32) -> usize {
        let mut haste = Haste::new(LIMIT);
        let looks = (1..=waits).filter(|wait| {
            let comes = wait % paying == 0;
            let looks = haste.spins().is_some();
            match looks {
                true => haste.looked_out(comes),
                false => haste.slept(SHORT / 2),
            }
            looks && !comes
        });
        looks.count()
    }

    #[test]
    fn where_waits_are_not_short_enough_it_is_hardly_tried() {
        assert!((10..=115).contains(&in_vain(10_000, u32::MAX)));
        // A client that asks at once and a database that takes its time.
        assert!((10..=115).contains(&in_vain(10_000, 2)));
    }

    #[test]
    fn no_limit_is_never() {
        let mut haste = Haste::new(Duration::ZERO);
        (0..=ENOUGH).for_each(|_| haste.slept(Duration::ZERO));
        assert_eq!(haste.spins(), None);
    }
}

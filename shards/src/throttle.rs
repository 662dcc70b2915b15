//! Failed logins cost whoever makes them: counted by the tenant's name and the client's address,
//! whether or not there is such a tenant, and forgotten as time passes.
//!
//! ```text
//!   failures of the last minute   a login is looked at        a failed one is answered
//!   none                          at once                     at once
//!   some                          at once                     later, the more there are
//!   as many as are allowed        in turn, seconds later      later
//!   more wait their turn          not at all
//! ```
//!
//! One that was looked at is asked the same again before its client is told: of a crowd that came
//! together, no more are told than of one that came one by one.
//!
//! Each failure adds its share of a minute to a debt that time pays off. A login that is looked at
//! only in its turn pays ahead and gets it back if it succeeds, so who knows the password is slowed
//! and not locked out. It knows no clock: the time is an argument.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::contract::{Neighbourhood, TenantId};

/// The debts of one shard's clients.
#[derive(Debug)]
pub struct Throttle {
    /// What one failure costs; `None` if nothing does.
    price: Option<Duration>,
    /// When each debt will be paid off. The younger half, and the older one that goes first.
    young: HashMap<Key, Instant>,
    old: HashMap<Key, Instant>,
}

type Key = (TenantId, Neighbourhood);

/// A login that is going to be looked at.
#[derive(Debug)]
#[must_use]
pub struct Turn {
    key: Key,
    /// How long until then.
    pub wait: Duration,
    paid: bool,
}

impl Throttle {
    /// With so many failures a minute allowed; `None` for any number.
    pub fn new(a_minute: Option<usize>) -> Throttle {
        let price = a_minute.map(|count| MINUTE / u32::try_from(count.max(1)).unwrap_or(u32::MAX));
        Throttle {
            price,
            young: HashMap::new(),
            old: HashMap::new(),
        }
    }

    /// When a login may be looked at; or, since too many wait already, how long until it might.
    pub fn arrives(
        &mut self,
        tenant: &TenantId,
        address: IpAddr,
        now: Instant,
    ) -> Result<Turn, Duration> {
        self.take((tenant.clone(), Neighbourhood::of(address)), now)
    }

    fn take(&mut self, key: Key, now: Instant) -> Result<Turn, Duration> {
        let wait = self.debt(&key, now).saturating_sub(MINUTE);
        if wait > PATIENCE {
            return Err(wait);
        }
        let paid = !wait.is_zero();
        if paid {
            self.add(&key, now);
        }
        Ok(Turn { key, wait, paid })
    }

    /// A login has been looked at, and its client knows nothing yet: when it may be told, or, as for one that
    /// arrives, how long until it might. Who came in time for a look at once may be one of a crowd that came together,
    /// so that each had nothing against it yet.
    pub fn again(&mut self, turn: Turn, now: Instant) -> Result<Turn, Duration> {
        match turn.paid {
            true => Ok(Turn {
                wait: Duration::ZERO,
                ..turn
            }),
            false => self.take(turn.key, now),
        }
    }

    /// A login has failed: how long its answer waits.
    pub fn failed(&mut self, turn: Turn, now: Instant) -> Duration {
        let Some(price) = self.price else {
            return Duration::ZERO;
        };
        let before = self.debt(&turn.key, now);
        if !turn.paid {
            self.add(&turn.key, now);
        }
        let failures = before.as_nanos().div_ceil(price.as_nanos().max(1));
        DELAY
            .saturating_mul(u32::try_from(failures).unwrap_or(u32::MAX))
            .min(LONGEST_DELAY)
    }

    /// A login has not failed.
    pub fn succeeded(&mut self, turn: Turn) {
        if let (true, Some(price)) = (turn.paid, self.price)
            && let Some(until) = self.young.get_mut(&turn.key)
            && let Some(earlier) = until.checked_sub(price)
        {
            *until = earlier;
        }
    }

    /// How long until nothing is remembered of it.
    fn debt(&self, key: &Key, now: Instant) -> Duration {
        let until = self.young.get(key).or_else(|| self.old.get(key));
        until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }

    fn add(&mut self, key: &Key, now: Instant) {
        let Some(price) = self.price else {
            return;
        };
        let debt = (self.debt(key, now) + price).min(MOST);
        // Names are the clients' choice, so there must be an end. It takes as many failures to push
        // one out as are kept.
        if self.young.len() >= KEPT {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key.clone(), now + debt);
    }
}

const MINUTE: Duration = Duration::from_secs(60);
/// The most that a login waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);
/// The largest debt: what has failed is not held against an address for longer than another minute.
const MOST: Duration = Duration::from_secs(120);
/// How much later the answer comes for each failure before.
const DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(1);
/// Debts of each half.
const KEPT: usize = 8192;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    fn tenant(name: &str) -> TenantId {
        TenantId::parse(name).unwrap()
    }

    /// Fails once; how long the answer waits.
    fn fail(throttle: &mut Throttle, name: &str, now: Instant) -> Duration {
        let turn = throttle.arrives(&tenant(name), HERE, now).unwrap();
        throttle.failed(turn, now)
    }

    #[test]
    fn answers_to_failures_come_later_and_later_and_time_heals() {
        let (mut throttle, now) = (Throttle::new(Some(30)), Instant::now());
        let delays: Vec<_> = (0..14)
            .map(|_| fail(&mut throttle, "t", now).as_millis())
            .collect();
        assert_eq!(delays[..4], [0, 100, 200, 300]);
        assert_eq!(delays[12..], [1000, 1000]);
        assert!(fail(&mut throttle, "other", now).is_zero());
        assert!(fail(&mut throttle, "t", now + MINUTE).is_zero());
    }

    #[test]
    fn beyond_the_limit_logins_take_turns_and_the_right_ones_get_theirs_back() {
        let (mut throttle, now) = (Throttle::new(Some(30)), Instant::now());
        let t = tenant("t");
        for _ in 0..31 {
            fail(&mut throttle, "t", now);
        }
        let waits: Vec<_> = std::iter::from_fn(|| throttle.arrives(&t, HERE, now).ok()).collect();
        let seconds: Vec<_> = waits.iter().map(|turn| turn.wait.as_secs()).collect();
        assert_eq!(seconds, [2, 4]);
        assert_eq!(
            throttle.arrives(&t, HERE, now).unwrap_err().as_secs(),
            6,
            "and no more"
        );
        assert!(throttle.arrives(&t, THERE, now).unwrap().wait.is_zero());
        for turn in waits {
            throttle.succeeded(turn);
        }
        assert_eq!(throttle.arrives(&t, HERE, now).unwrap().wait.as_secs(), 2);
    }

    #[test]
    fn of_a_crowd_that_came_together_no_more_are_told_than_one_by_one() {
        let (mut throttle, now) = (Throttle::new(Some(30)), Instant::now());
        let t = tenant("t");
        let crowd: Vec<_> = (0..100)
            .map(|_| throttle.arrives(&t, HERE, now).unwrap())
            .collect();
        assert!(crowd.iter().all(|turn| turn.wait.is_zero()));
        let mut waits = Vec::new();
        for turn in crowd {
            if let Ok(turn) = throttle.again(turn, now) {
                waits.push(turn.wait.as_secs());
                throttle.failed(turn, now);
            }
        }
        assert_eq!(waits[..31], [0; 31]);
        assert_eq!(waits[31..], [2, 4], "and nobody else");
        // Who had to wait for its look has paid for it.
        let (mut throttle, then) = (Throttle::new(Some(30)), now + MINUTE);
        for _ in 0..31 {
            fail(&mut throttle, "t", now);
        }
        let paid = throttle.arrives(&t, HERE, now).unwrap();
        assert!(!paid.wait.is_zero());
        assert!(throttle.again(paid, then).unwrap().wait.is_zero());
    }

    #[test]
    fn memory_is_bounded_and_the_youngest_debts_stay() {
        let (mut throttle, now) = (Throttle::new(Some(1)), Instant::now());
        for n in 0..3 * KEPT {
            fail(&mut throttle, &format!("t{n}"), now);
        }
        assert!(throttle.young.len() + throttle.old.len() <= 2 * KEPT);
        let last = tenant(&format!("t{}", 3 * KEPT - 1));
        assert!(
            !throttle
                .debt(&(last, Neighbourhood::of(HERE)), now)
                .is_zero()
        );
    }

    #[test]
    fn nothing_costs_anything_where_it_is_switched_off() {
        let (mut throttle, now) = (Throttle::new(None), Instant::now());
        for _ in 0..100 {
            assert!(fail(&mut throttle, "t", now).is_zero());
        }
        assert!(throttle.young.is_empty());
    }
}

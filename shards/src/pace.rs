//! How long a session takes over what it is at.
//!
//! ```text
//!           asked                answered, transaction open
//!   Idle ───────────▶ Busy ───────────────────────────────▶ IdleInTransaction
//!    ▲ ◀───────────────┘ ▲ ◀──────────────────────────────────┘
//!    │   answered        │ served                    asked
//!    └───────────────▶ Exempt ────▶ InLine
//!                 needs a backend    waits for it
//! ```
//!
//! A session only notes what it is at, and since when, by a clock that it has read anyway. It has no
//! timer: [`rounds`](crate::rounds) finds those that take too long.

use std::fmt;
use std::time::{Duration, Instant};

use crate::contract::{SessionState, Timeouts};

/// What a session is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It needs a backend, and is given one at once or has to wait.
    Exempt,
    /// It waits for a backend, which has a time-out of its own.
    InLine,
    /// Nobody knows: no time-out may end it.
    Unknown,
    /// The client says nothing, and has no transaction open.
    Idle,
    /// The client waits for an answer.
    Busy,
    /// The client says nothing, and has a transaction open.
    IdleInTransaction,
}

/// What a session is at, and since when.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    phase: Phase,
    since: Instant,
    /// When its transaction began, while one is open or a single statement runs.
    transaction: Option<Instant>,
}

/// Which time-out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// `query_timeout`.
    Query,
    /// `transaction_timeout`.
    Transaction,
    /// `idle_transaction_timeout`.
    IdleTransaction,
    /// `client_idle_timeout`.
    ClientIdle,
}

/// A time-out that is over, and how long it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overdue {
    /// Which.
    pub limit: Limit,
    /// How long the session had.
    pub after: Duration,
}

impl fmt::Display for Overdue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, key) = match self.limit {
            Limit::Query => ("the query was not answered", "query_timeout"),
            Limit::Transaction => ("the transaction was not over", "transaction_timeout"),
            Limit::IdleTransaction => (
                "the client said nothing in an open transaction",
                "idle_transaction_timeout",
            ),
            Limit::ClientIdle => ("the client said nothing", "client_idle_timeout"),
        };
        let after = self.after;
        write!(
            f,
            "terminating connection due to {key}: {what} for {after:?}"
        )
    }
}

impl Default for Pace {
    /// A client that has just come in.
    fn default() -> Pace {
        Pace {
            phase: Phase::Idle,
            since: Instant::now(),
            transaction: None,
        }
    }
}

impl Pace {
    /// The client needs a backend.
    pub fn needs_backend(&mut self) {
        self.phase = Phase::Exempt;
        self.transaction = None;
    }

    /// There was none for it at once, so it waits, which has a time-out of its own.
    pub fn waits(&mut self, now: Instant) {
        self.needs_backend();
        self.phase = Phase::InLine;
        self.since = now;
    }

    /// Nobody can tell what it is at (any more).
    pub fn cannot_be_followed(&mut self) {
        self.phase = Phase::Unknown;
        self.transaction = None;
    }

    /// Somebody's turn begins: the database's if the client waits for an answer, else the client's.
    pub fn turn(&mut self, busy: bool, in_transaction: bool, now: Instant) {
        self.since = now;
        self.phase = match (busy, in_transaction) {
            (true, _) => Phase::Busy,
            (false, true) => Phase::IdleInTransaction,
            (false, false) => Phase::Idle,
        };
        self.transaction = match (self.phase, self.transaction) {
            (Phase::Idle, _) => None,
            (_, Some(began)) if in_transaction => Some(began),
            _ => Some(now),
        };
    }

    /// What the session is at, for people.
    pub fn state(&self) -> SessionState {
        match self.phase {
            Phase::Exempt | Phase::InLine => SessionState::Waiting,
            Phase::Unknown => SessionState::Unknown,
            Phase::Idle => SessionState::Idle,
            Phase::Busy => SessionState::Active,
            Phase::IdleInTransaction => SessionState::IdleInTransaction,
        }
    }

    /// For how long; `None` where nobody looked at a clock when that began.
    pub fn lasted(&self, now: Instant) -> Option<Duration> {
        let is_timed = !matches!(self.phase, Phase::Exempt | Phase::Unknown);
        is_timed.then(|| now.saturating_duration_since(self.since))
    }

    /// How long its transaction has been open; `None` if it has none.
    pub fn transaction_lasted(&self, now: Instant) -> Option<Duration> {
        let began = self.transaction?;
        Some(now.saturating_duration_since(began))
    }

    /// When the first of its time-outs is over, and which; `None` for never.
    fn deadline(&self, limits: &Timeouts) -> Option<(Instant, Overdue)> {
        let own = match self.phase {
            Phase::Exempt | Phase::InLine | Phase::Unknown => None,
            Phase::Idle => limits.client_idle.map(|after| (Limit::ClientIdle, after)),
            Phase::Busy => limits.query.map(|after| (Limit::Query, after)),
            Phase::IdleInTransaction => {
                let limit = limits.idle_transaction;
                limit.map(|after| (Limit::IdleTransaction, after))
            }
        };
        let ends = |since: Instant, limit: Limit, after: Duration| {
            let at = since.checked_add(after)?;
            Some((at, Overdue { limit, after }))
        };
        let own = own.and_then(|(limit, after)| ends(self.since, limit, after));
        let transaction = self.transaction.zip(limits.transaction);
        let whole = transaction.and_then(|(began, after)| ends(began, Limit::Transaction, after));
        own.into_iter().chain(whole).min_by_key(|(at, _)| *at)
    }

    /// What is overdue now, or when it will be.
    pub fn judge(&self, limits: &Timeouts, now: Instant) -> Verdict {
        match self.deadline(limits) {
            Some((at, overdue)) if at <= now => Verdict::Overdue(overdue),
            Some((at, _)) => Verdict::Until(at),
            None => Verdict::Free,
        }
    }
}

/// How a session stands with the time-outs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// None of them applies.
    Free,
    /// One is over then.
    Until(Instant),
    /// This one is over.
    Overdue(Overdue),
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Timeouts = Timeouts {
        query: Some(Duration::from_secs(3)),
        transaction: Some(Duration::from_secs(10)),
        idle_transaction: Some(Duration::from_secs(5)),
        client_idle: Some(Duration::from_secs(60)),
    };

    fn over(verdict: Verdict) -> Option<Limit> {
        match verdict {
            Verdict::Overdue(overdue) => Some(overdue.limit),
            Verdict::Free | Verdict::Until(_) => None,
        }
    }

    #[test]
    fn each_phase_has_its_own_time_out() {
        let mut pace = Pace::default();
        let began = pace.since;
        let after = |secs| began + Duration::from_secs(secs);
        assert_eq!(over(pace.judge(&LIMITS, after(59))), None);
        assert_eq!(
            over(pace.judge(&LIMITS, after(60))),
            Some(Limit::ClientIdle)
        );
        pace.turn(true, false, after(1));
        assert_eq!(pace.judge(&LIMITS, after(1)), Verdict::Until(after(4)));
        assert_eq!(over(pace.judge(&LIMITS, after(4))), Some(Limit::Query));
        pace.turn(false, true, after(3));
        assert_eq!(over(pace.judge(&LIMITS, after(7))), None);
        assert_eq!(
            over(pace.judge(&LIMITS, after(8))),
            Some(Limit::IdleTransaction)
        );
        pace.waits(after(9));
        assert_eq!(pace.judge(&LIMITS, after(1000)), Verdict::Free);
        assert_eq!(pace.lasted(after(1000)), Some(Duration::from_secs(991)));
    }

    #[test]
    fn a_transaction_is_timed_through_all_its_queries_and_ends_with_its_last() {
        let mut pace = Pace::default();
        let began = pace.since;
        let after = |secs| began + Duration::from_secs(secs);
        pace.turn(true, false, after(0));
        for second in 1..9 {
            pace.turn(second % 2 == 0, true, after(second));
        }
        pace.turn(true, true, after(9));
        assert_eq!(
            over(pace.judge(&LIMITS, after(10))),
            Some(Limit::Transaction)
        );
        // A pipeline: one transaction has ended, the next has begun.
        pace.turn(true, false, after(9));
        assert_eq!(over(pace.judge(&LIMITS, after(11))), None);
        pace.turn(false, false, after(11));
        assert_eq!(over(pace.judge(&LIMITS, after(70))), None);
    }

    #[test]
    fn what_is_off_ends_nothing() {
        let mut pace = Pace::default();
        pace.turn(true, true, pace.since);
        let later = pace.since + Duration::from_secs(1_000_000);
        assert_eq!(pace.judge(&Timeouts::default(), later), Verdict::Free);
        assert_eq!(Timeouts::default().shortest(), None);
    }
}

//! How many lines of one kind a thread may log: what clients can cause as often as they like must
//! neither fill a disk nor hide what else is said.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use crate::contract::EndKind;

thread_local! {
    /// One for each: a storm of one kind does not silence the others.
    static BUDGETS: RefCell<[Budget; About::COUNT]> = const {
        RefCell::new([Budget::FRESH; About::COUNT])
    };
}

/// What lines are about that clients can cause.
#[derive(Clone, Copy, Debug)]
pub enum About {
    /// The end of a session, for a reason of this kind.
    End(EndKind),
    /// A MySQL server whose answers could not be followed.
    LostTrack,
    /// A MySQL backend that was not killed.
    NotKilled,
}

impl About {
    const COUNT: usize = EndKind::ALL.len() + 2;

    fn index(self) -> usize {
        match self {
            About::End(kind) => kind as usize,
            About::LostTrack => EndKind::ALL.len(),
            About::NotKilled => EndKind::ALL.len() + 1,
        }
    }
}

/// Whether there is a line left for this; if so, what it has to say at its end of those that have been left out.
pub fn spend(about: About) -> Option<String> {
    let unsaid = BUDGETS.with_borrow_mut(|budgets| budgets[about.index()].spend(Instant::now()))?;
    Some(match unsaid {
        0 => String::new(),
        unsaid => format!(" (and {unsaid} lines of this reason were left out before)"),
    })
}

/// Lines for one second, and how many more were wanted.
struct Budget {
    /// When the second began.
    since: Option<Instant>,
    said: u32,
    unsaid: u64,
}

impl Budget {
    const FRESH: Budget = Budget {
        since: None,
        said: 0,
        unsaid: 0,
    };

    fn spend(&mut self, now: Instant) -> Option<u64> {
        if self
            .since
            .is_none_or(|since| now.duration_since(since) >= SECOND)
        {
            self.since = Some(now);
            self.said = 0;
        }
        if self.said == LINES {
            self.unsaid += 1;
            return None;
        }
        self.said += 1;
        Some(std::mem::take(&mut self.unsaid))
    }
}

const SECOND: Duration = Duration::from_secs(1);
/// Lines of one kind that a thread says in a second: enough for a person, few for a disk.
const LINES: u32 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_is_cut_short_and_counted() {
        let mut budget = Budget::FRESH;
        let begin = Instant::now();
        let said: Vec<_> = (0..50).filter_map(|_| budget.spend(begin)).collect();
        assert_eq!(said, [0; LINES as usize]);
        assert_eq!(budget.spend(begin + SECOND / 2), None);
        assert_eq!(budget.spend(begin + SECOND), Some(31));
        assert_eq!(budget.spend(begin + SECOND), Some(0));
    }
}

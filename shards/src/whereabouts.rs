//! Where a host is, by what its name is said to stand for.
//!
//! Some names are answered with one address of several in turn, or with some of many by chance. None of these answers says
//! where the host is not, so an answer counts only when it is given again and again: the more so, the more often it
//! became another before it counted, or one that had counted before.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::IpAddr;

use sockets::Address;

/// What is known of one name.
#[derive(Debug)]
pub struct Whereabouts {
    /// The latest answer, in order.
    answer: Vec<IpAddr>,
    /// How many times in a row it has been given.
    times: u32,
    /// How many times it takes to count.
    needed: u32,
    /// Answers that have counted and became others, the latest last.
    left: VecDeque<Vec<IpAddr>>,
}

impl Default for Whereabouts {
    fn default() -> Whereabouts {
        Whereabouts {
            answer: Vec::new(),
            times: 0,
            needed: LEAST,
            left: VecDeque::new(),
        }
    }
}

impl Whereabouts {
    /// The name was looked up, with this answer. All the addresses that the host has, once that is sure.
    pub fn heard(&mut self, mut answer: Vec<IpAddr>) -> Option<&[IpAddr]> {
        answer.sort_unstable();
        answer.dedup();
        if answer != self.answer {
            self.changes_to(answer);
        }
        self.times = self.times.saturating_add(1);
        if self.times >= FORGIVING {
            self.needed = LEAST;
            self.left.clear();
        }
        (self.times >= self.needed).then_some(&self.answer)
    }

    fn changes_to(&mut self, answer: Vec<IpAddr>) {
        let has_counted = self.times >= self.needed;
        let goes_round = self.left.contains(&answer) || (self.times > 0 && !has_counted);
        let before = std::mem::replace(&mut self.answer, answer);
        if has_counted && !self.left.contains(&before) {
            if self.left.len() == MOST_PLACES {
                self.left.pop_front();
            }
            self.left.push_back(before);
        }
        if goes_round {
            self.needed = (self.needed * 2).min(MOST);
        }
        self.times = 0;
    }
}

/// The addresses at which a tenant's connections were opened since all of them were replaced last.
#[derive(Debug, Default)]
pub struct Places(RefCell<VecDeque<IpAddr>>);

impl Places {
    /// A connection was opened there.
    pub fn been_at(&self, address: &Address) {
        let mut places = self.0.borrow_mut();
        if let Address::Internet(address) = address
            && !places.contains(&address.ip())
        {
            if places.len() == MOST_PLACES {
                places.pop_front();
            }
            places.push_back(address.ip());
        }
    }

    /// All connections are replaced from now on.
    pub fn leave(&self) {
        self.0.borrow_mut().clear();
    }

    /// One of them that is none of these addresses; `None` if there is none.
    pub fn other_than(&self, addresses: &[IpAddr]) -> Option<IpAddr> {
        let places = self.0.borrow();
        let mut others = places.iter().filter(|place| !addresses.contains(place));
        others.next().copied()
    }
}

/// How many times the same must be said of a name that has always stood for the same.
const LEAST: u32 = 3;
/// How many times it must be said of one that goes round.
const MOST: u32 = 60;
/// After how many times it is one that has always stood for the same.
const FORGIVING: u32 = 360;
/// How many are remembered, of a name that has very many.
const MOST_PLACES: usize = 64;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn at(last: &[u8]) -> Vec<IpAddr> {
        let address = |last: &u8| IpAddr::V4(Ipv4Addr::new(10, 0, 0, *last));
        last.iter().map(address).collect()
    }

    #[test]
    fn a_name_that_goes_round_slowly_is_found_out_and_forgiven_when_it_stays() {
        let mut whereabouts = Whereabouts::default();
        let mut believed = 0;
        for turn in 0..600 {
            let (place, since) = (1 + turn / 6 % 2, turn % 6);
            let is_news = whereabouts.heard(at(&[place as u8])).is_some() && since < 5;
            believed += u32::from(is_news);
        }
        assert!(believed < 10, "{believed}");
        for _ in 0..FORGIVING {
            whereabouts.heard(at(&[1]));
        }
        let moves = (1..=MOST).find(|_| whereabouts.heard(at(&[2])).is_some());
        assert_eq!(moves, Some(LEAST));
    }

    #[test]
    fn what_is_said_again_and_again_is_believed_also_when_it_changes() {
        let mut whereabouts = Whereabouts::default();
        for place in [&[1][..], &[2], &[3, 1], &[3]] {
            for _ in 1..LEAST {
                assert_eq!(whereabouts.heard(at(place)), None);
            }
            let (mut sorted, mut turned) = (at(place), at(place));
            sorted.sort();
            turned.reverse();
            for answer in [at(place), turned] {
                assert_eq!(whereabouts.heard(answer), Some(&sorted[..]));
            }
        }
    }

    #[test]
    fn a_name_that_goes_round_is_nowhere_until_it_stays() {
        let mut whereabouts = Whereabouts::default();
        // Sometimes twice the same, and later on for longer.
        let turns = (0..1_000_u32).map(|turn| turn / (1 + turn / 100) % 3);
        for turn in turns {
            assert_eq!(whereabouts.heard(at(&[turn as u8])), None);
        }
        let stays = (1..=MOST).find(|_| whereabouts.heard(at(&[9])).is_some());
        assert_eq!(stays, Some(MOST));
    }
}

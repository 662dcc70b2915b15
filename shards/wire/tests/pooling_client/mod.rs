//! A client of the model of pooling: what it will say, what it hears alone with the database, and what it
//! has heard so far through a pool.

use std::collections::VecDeque;
use std::rc::Rc;

use wire::pg::pooling::{Commons, Tally, Tracker};
use wire::pg::{Parameters, Sender, Walker};

use crate::fake_postgres::FakePostgres;
use crate::pooling_turns::*;

pub struct Client {
    startup: Vec<(String, String)>,
    pub tracker: Tracker,
    /// The frames of its turns that have not been sent.
    turns: VecDeque<Turn>,
    /// Bytes of turns that are begun.
    sending: Vec<u8>,
    pub heard: Vec<u8>,
    /// How much must have been heard before the next turn.
    pub awaited: usize,
    /// What it hears alone, and what the database reports to it at the end.
    pub alone: Vec<u8>,
    /// What passes then, in numbers.
    tally: Tally,
    reported: Parameters,
    pub backend: Option<usize>,
    pub welcomed: bool,
    pub leaves_early: bool,
    pub gone: bool,
}

struct Turn {
    frames: Vec<u8>,
    /// How much has been heard, alone, when all of it has been answered.
    heard: usize,
    /// Whether the next turn may come before.
    pipelined: bool,
}

impl Client {
    pub fn new(commons: &Rc<Commons>, random: &mut Random) -> Client {
        let mut startup = Vec::new();
        for (name, values) in STARTUP {
            if random.below(3) == 0 {
                let value = values[random.below(values.len())];
                startup.push((name.to_owned(), value.to_owned()));
            }
        }
        let mut alone = FakePostgres::connect(&startup);
        let mut turns = VecDeque::new();
        let mut heard = 0;
        let mut said = Vec::new();
        for at in 0..TURNS {
            let frames = if at + 1 < TURNS {
                turn(random)
            } else {
                last_turn()
            };
            alone.send(&frames);
            while alone.is_busy() {
                alone.step();
            }
            said.extend(alone.receive(usize::MAX));
            heard = heard.max(comparable(&said).len());
            turns.push_back(Turn {
                frames,
                heard,
                pipelined: random.below(3) == 0,
            });
        }
        let asked = startup.iter().cloned().collect();
        let tally = direct_tally(turns.iter().flat_map(|turn| &turn.frames), &said);
        Client {
            startup,
            tracker: Tracker::new(Rc::clone(commons), &asked).unwrap(),
            turns,
            sending: Vec::new(),
            heard: Vec::new(),
            awaited: 0,
            reported: parameters(&alone),
            alone: comparable(&said),
            tally,
            backend: None,
            welcomed: false,
            leaves_early: random.below(5) == 0,
            gone: false,
        }
    }

    pub fn may_send(&self) -> bool {
        !self.sending.is_empty()
            || !self.turns.is_empty() && comparable(&self.heard).len() >= self.awaited
    }

    pub fn is_over(&self) -> bool {
        self.turns.is_empty()
            && self.sending.is_empty()
            && comparable(&self.heard).len() >= self.alone.len()
    }

    /// The next bytes it sends: any part of what it has to say.
    pub fn next_chunk(&mut self, random: &mut Random) -> Vec<u8> {
        if self.sending.is_empty() || random.below(4) == 0 {
            while comparable(&self.heard).len() >= self.awaited
                && let Some(turn) = self.turns.pop_front()
            {
                self.sending.extend(turn.frames);
                if !turn.pipelined {
                    self.awaited = turn.heard;
                }
                if random.below(2) == 0 {
                    break;
                }
            }
        }
        let most = match random.below(3) {
            0 => 1 + random.below(12),
            _ => self.sending.len(),
        };
        self.sending.drain(..most.min(self.sending.len())).collect()
    }

    pub fn check_welcome(&mut self) {
        self.heard.clear();
        let told = self.tracker.welcome().expect("the backend has been set");
        let alone = parameters(&FakePostgres::connect(&self.startup));
        for (name, value) in alone.iter() {
            assert_eq!(told.get(name), Some(value), "{name}");
        }
        self.welcomed = true;
    }

    /// So far it has heard what it hears alone.
    pub fn check_heard(&self) {
        if !self.welcomed {
            return;
        }
        let heard = comparable(&self.heard);
        let same = self.alone.starts_with(&heard);
        assert!(
            same,
            "heard\n{}\nalone\n{}",
            readable(&heard),
            readable(&self.alone)
        );
    }

    pub fn check_end(&mut self) {
        self.check_heard();
        let tally = Tally {
            prepared_hits: 0,
            prepared_misses: 0,
            ..self.tracker.take_tally()
        };
        // By what it heard: errors of COPY have another class when it hears them alone.
        let heard = Walker::new(Sender::Backend).feed(&self.heard).unwrap();
        assert_eq!(tally.errors, heard.errors);
        assert_eq!(tally.errors.len(), self.tally.errors.len());
        let alone = Tally {
            errors: heard.errors,
            ..self.tally.clone()
        };
        assert_eq!(tally, alone);
        assert_eq!(comparable(&self.heard).len(), self.alone.len());
        // Wherever it was told of a setting, the last word was right.
        for (name, value) in told(&self.heard) {
            assert_eq!(self.reported.get(&name).map(|it| &it[..]), Some(&value[..]));
        }
    }
}

/// What passes between a client and a database that speak to each other directly.
fn direct_tally<'a>(said: impl Iterator<Item = &'a u8>, heard: &[u8]) -> Tally {
    let said: Vec<u8> = said.copied().collect();
    let asked = Walker::new(Sender::Frontend).feed(&said).unwrap();
    let answered = Walker::new(Sender::Backend).feed(heard).unwrap();
    Tally {
        requests: asked.requests,
        awaits_ready: asked.awaits_ready,
        ready: answered.ready,
        transactions: answered.transactions,
        errors: answered.errors,
        ..Tally::default()
    }
}

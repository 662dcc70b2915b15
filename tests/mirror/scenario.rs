//! A scenario: what some clients say in turn, and how much must come back before the next one speaks.
//!
//! It is played to the database itself and through the bouncer, and each reply of the one must be
//! the other's, byte for byte. What differs by nature is made the same first, by name: see [`same`].

use std::collections::BTreeMap;
use std::io::ErrorKind;

use testbed::Door;
use testbed::raw::{Message, Raw, startup};

use crate::frames::{Frame, copy_done, query, ready_for, sync, terminate};

/// What is played.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub name: String,
    /// How many backends it holds at a time.
    pub backends: usize,
    turns: Vec<Turn>,
    speaker: usize,
}

#[derive(Clone, Debug)]
struct Turn {
    client: usize,
    act: Act,
}

#[derive(Clone, Debug)]
enum Act {
    /// Logs in with these parameters beside user and database. Who speaks without, has [`PARAMETERS`].
    Opens(Vec<(&'static str, &'static str)>),
    Says(Vec<u8>, Until),
    /// Terminate.
    Leaves,
    /// A reset.
    Vanishes,
}

/// What a turn brings.
#[derive(Clone, Copy, Debug)]
enum Until {
    Ready(usize),
    Messages(usize),
    /// The answer to a Query without a statement in it.
    Mark,
}

impl Scenario {
    /// One that is to be told what its clients do. Client 0 begins.
    pub fn named(name: impl Into<String>) -> Scenario {
        Scenario {
            name: name.into(),
            backends: 1,
            turns: Vec::new(),
            speaker: 0,
        }
    }

    /// From now on this client speaks.
    pub fn client(mut self, client: usize) -> Scenario {
        self.speaker = client;
        self
    }

    /// The client logs in with these startup parameters.
    pub fn opens(self, parameters: &[(&'static str, &'static str)]) -> Scenario {
        self.turn(Act::Opens(parameters.to_vec()))
    }

    /// The client says this, and waits for the ReadyForQuery of each Query, FunctionCall and Sync.
    pub fn says(self, frames: &[Frame]) -> Scenario {
        let frames = frames.concat();
        let ready = ready_for(&frames);
        self.turn(Act::Says(frames, Until::Ready(ready)))
    }

    /// What was just said brings another number of ReadyForQuery.
    pub fn ready(self, count: usize) -> Scenario {
        self.until(Until::Ready(count))
    }

    /// What was just said brings so many messages.
    pub fn messages(self, count: usize) -> Scenario {
        self.until(Until::Messages(count))
    }

    /// The client says this, which may end in whatever way, and behind it what ends everything but a transaction; then
    /// it waits until all of that is answered. There must be no Query without a statement among it.
    pub fn says_to_the_mark(self, frames: &[Frame]) -> Scenario {
        let mark = [copy_done(), sync(), query("")];
        self.turn(Act::Says([frames, &mark].concat().concat(), Until::Mark))
    }

    /// The client says this, whole messages or not, and hears nothing of the answer.
    pub fn says_to_nobody(self, bytes: &[u8]) -> Scenario {
        self.turn(Act::Says(bytes.to_vec(), Until::Messages(0)))
    }

    /// The client says Terminate and goes.
    pub fn leaves(self) -> Scenario {
        self.turn(Act::Leaves)
    }

    /// The client's connection is reset.
    pub fn vanishes(self) -> Scenario {
        self.turn(Act::Vanishes)
    }

    /// Its clients hold so many backends at a time.
    pub fn on(mut self, backends: usize) -> Scenario {
        self.backends = backends;
        self
    }

    fn turn(mut self, act: Act) -> Scenario {
        let client = self.speaker;
        self.turns.push(Turn { client, act });
        self
    }

    fn until(mut self, expected: Until) -> Scenario {
        if let Some(Act::Says(_, until)) = self.turns.last_mut().map(|turn| &mut turn.act) {
            *until = expected;
        }
        self
    }

    /// Plays it both ways; panics at the first reply that differs, and if the scenario waits for more
    /// or for less than the database says.
    pub fn play(&self, straight: &Door, through: &Door) {
        let mut sides = [Side::of(straight), Side::of(through)];
        for (at, turn) in self.turns.iter().enumerate() {
            self.hold_together(&mut sides, at, |side| side.play(turn));
        }
        // Nothing is left over that would come ahead of the next answer.
        let clients: Vec<usize> = sides[0].clients.keys().copied().collect();
        for client in clients {
            let act = Act::Says(query("SELECT 'the end'"), Until::Ready(1));
            let last = Turn { client, act };
            self.hold_together(&mut sides, self.turns.len(), |side| side.play(&last));
            self.hold_together(&mut sides, self.turns.len(), |side| {
                side.play(&Turn {
                    client,
                    act: Act::Leaves,
                })
            });
        }
    }

    fn hold_together(
        &self,
        sides: &mut [Side; 2],
        at: usize,
        mut play: impl FnMut(&mut Side) -> Vec<String>,
    ) {
        let [straight, through] = sides;
        let expected = play(straight);
        let wrong = |line: &&String| line.starts_with(NO_MORE) || line.starts_with(TOO_MUCH);
        if let Some(line) = expected.iter().find(wrong) {
            panic!(
                "{}, turn {}: {line} from the database itself: {expected:#?}",
                self.name,
                at + 1
            );
        }
        let got = play(through);
        if expected == got {
            return;
        }
        let first = expected
            .iter()
            .zip(&got)
            .take_while(|(one, other)| one == other)
            .count();
        let from = first.saturating_sub(3);
        let shown = |heard: &[String]| {
            heard
                .iter()
                .skip(from)
                .take(12)
                .map(|line| format!("\n    {line}"))
                .collect::<String>()
        };
        panic!(
            "{}, turn {} of {}, from message {}:\n  straight:{}\n  through:{}",
            self.name,
            at + 1,
            self.turns.len(),
            from + 1,
            shown(&expected),
            shown(&got)
        );
    }
}

/// The clients of one way.
struct Side<'a> {
    door: &'a Door,
    clients: BTreeMap<usize, Raw>,
}

impl Side<'_> {
    fn of(door: &Door) -> Side<'_> {
        Side {
            door,
            clients: BTreeMap::new(),
        }
    }

    /// What the client hears, in a form that can be compared and read.
    fn play(&mut self, turn: &Turn) -> Vec<String> {
        let Turn { client, act } = turn;
        match act {
            Act::Opens(parameters) => {
                let (raw, greeting) = open(self.door, parameters);
                self.clients.insert(*client, raw);
                greeting
            }
            Act::Says(frames, until) => {
                let door = self.door;
                let mut heard = Vec::new();
                let raw = self.clients.entry(*client).or_insert_with(|| {
                    let (raw, greeting) = open(door, PARAMETERS);
                    heard = greeting;
                    raw
                });
                raw.say(frames);
                heard.extend(hear(raw, *until));
                heard
            }
            Act::Leaves => {
                let mut raw = self.clients.remove(client).expect("who leaves was there");
                raw.say(&terminate());
                let rest = raw.rest();
                (!rest.is_empty())
                    .then(|| format!("{TOO_MUCH}: {}", rest.escape_ascii()))
                    .into_iter()
                    .collect()
            }
            Act::Vanishes => {
                self.clients
                    .remove(client)
                    .expect("who vanishes was there")
                    .vanish();
                Vec::new()
            }
        }
    }
}

/// Logs in; what is told, with the parameters in the order of their names and without the cancel key.
pub fn open(door: &Door, parameters: &[(&str, &str)]) -> (Raw, Vec<String>) {
    let mut raw = Raw::to(door.address);
    let mut all = vec![("user", door.user.as_str()), ("database", &door.dbname)];
    all.extend_from_slice(parameters);
    raw.say(&startup(&all));
    let mut greeting: Vec<String> = hear(&mut raw, Until::Ready(1))
        .into_iter()
        .filter(|line| !line.starts_with("K "))
        .collect();
    greeting.sort();
    (raw, greeting)
}

/// Hears so many ReadyForQuery and what comes before them.
pub fn hear_ready(raw: &mut Raw, count: usize) -> Vec<String> {
    hear(raw, Until::Ready(count))
}

/// Hears until enough has come, or the connection ends.
fn hear(raw: &mut Raw, until: Until) -> Vec<String> {
    let mut heard: Vec<String> = Vec::new();
    let (mut ready, mut marked) = (0, false);
    loop {
        let enough = match until {
            Until::Ready(count) => ready >= count,
            Until::Messages(count) => heard.len() >= count,
            Until::Mark => marked,
        };
        if enough {
            let reports = |line: &String| line.starts_with("S ");
            for run in heard.chunk_by_mut(|one, other| reports(one) && reports(other)) {
                run.sort();
            }
            return heard;
        }
        match raw.try_message() {
            Ok(message) => {
                ready += usize::from(message.0 == b'Z');
                let behind_mark = heard
                    .last()
                    .is_some_and(|line: &String| line.starts_with("I "));
                marked |= message.0 == b'Z' && behind_mark;
                heard.push(readable(&same(message)));
            }
            Err(error) => {
                heard.push(match error.kind() {
                    ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset => "closed".to_owned(),
                    _ => format!("{NO_MORE}: {error}"),
                });
                return heard;
            }
        }
    }
}

/// The message without what differs by nature between two sessions:
///
/// - the process id in a notification, which is the notifying backend's;
/// - OIDs of what was created after the databases were, in RowDescription and ParameterDescription;
/// - the order of settings that are reported together (see [`hear`]);
/// - in which line of its source the database refuses what has no place in a COPY, and ends;
/// - by which of its functions the database refuses what is said in a failed transaction: a Bind may need a Parse first;
/// - in which line of its source the database refuses what returns something else than it did.
fn same((kind, mut body): Message) -> Message {
    match kind {
        b'A' => body[..4].fill(0),
        b'T' => {
            let mut at = 2;
            while let Some(name) = body
                .get(at..)
                .and_then(|rest| rest.iter().position(|&byte| byte == 0))
            {
                at += name + 1;
                alike(&mut body[at..at + 4]); // the table
                alike(&mut body[at + 6..at + 10]); // the type
                at += 18;
            }
        }
        b't' => body[2..].chunks_exact_mut(4).for_each(alike),
        b'E' if body
            .split(|&byte| byte == 0)
            .any(|field| field == b"C25P02" || field == b"C08P01") =>
        {
            let fields = body.split_inclusive(|&byte| byte == 0);
            let told = fields.filter(|field| !matches!(field.first(), Some(b'F' | b'L' | b'R')));
            body = told.collect::<Vec<_>>().concat();
        }
        b'E' if body
            .split(|&byte| byte == 0)
            .any(|field| field == b"RRevalidateCachedQuery") =>
        {
            let fields = body.split_inclusive(|&byte| byte == 0);
            let told = fields.filter(|field| field.first() != Some(&b'L'));
            body = told.collect::<Vec<_>>().concat();
        }
        _ => {}
    }
    (kind, body)
}

/// An OID, unless it is one of the system's own, which are the same everywhere.
fn alike(oid: &mut [u8]) {
    const FIRST_NORMAL: u32 = 16_384;
    if let Ok(bytes) = <[u8; 4]>::try_from(&*oid)
        && u32::from_be_bytes(bytes) >= FIRST_NORMAL
    {
        oid.copy_from_slice(&FIRST_NORMAL.to_be_bytes());
    }
}

/// A message on one line, without losing a byte of it.
fn readable((kind, body): &Message) -> String {
    format!("{} {}", *kind as char, body.escape_ascii())
}

/// With what clients log in who do not say otherwise.
pub const PARAMETERS: &[(&str, &str)] =
    &[("application_name", "mirror"), ("DateStyle", "iso, dmy")];

/// How a line begins that says that the database was waited for in vain.
const NO_MORE: &str = "nothing more comes";

/// How a line begins that says that the database had said more than was waited for.
const TOO_MUCH: &str = "unheard until now";

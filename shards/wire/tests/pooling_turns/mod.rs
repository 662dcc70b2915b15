//! What the clients of the model say, turn by turn, drawn from a seed; and how what they hear is compared.

use wire::pg::Parameters;

use crate::fake_postgres::FakePostgres;

/// One turn of a client: a few messages, most often up to a Sync.
pub fn turn(random: &mut Random) -> Vec<u8> {
    let mut out = Vec::new();
    match random.below(14) {
        0..=4 => {
            let count = 1 + random.below(3);
            let mut texts: Vec<_> = (0..count).map(|_| random.pick(STATEMENTS)).collect();
            // What RESET has reset is put right behind the Query, not in the midst of it.
            texts.sort_by_key(|text| text.starts_with("RESET"));
            frame(&mut out, b'Q', format!("{}\0", texts.join("; ")).as_bytes());
        }
        5 => copy(random, &mut out),
        6 => frame(&mut out, b'F', &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0]),
        7 => {
            let text = match random.pick(STATEMENTS) {
                "EXECUTE a" | "PREPARE a AS SELECT one" => "RESET ALL",
                text => text,
            };
            frame(&mut out, b'P', format!("\0{text}\0\0\0").as_bytes());
            bind(&mut out, "", "");
            execute(&mut out, "", 0);
            frame(&mut out, b'S', b"");
        }
        _ => {
            for _ in 0..1 + random.below(7) {
                extended(random, &mut out);
            }
            match random.below(8) {
                0 => frame(&mut out, b'H', b""),
                1 => {
                    let text = format!("{}\0", random.pick(STATEMENTS));
                    frame(&mut out, b'Q', text.as_bytes());
                }
                _ => frame(&mut out, b'S', b""),
            }
        }
    }
    out
}

/// A message of the extended protocol, about one of few names.
pub fn extended(random: &mut Random, out: &mut Vec<u8>) {
    let name = random.pick(NAMES);
    let portal = random.pick(&["", "", "p"]);
    match random.below(10) {
        0..=2 => {
            let text = match preparable(random) {
                // EXECUTE of what names a statement itself is not followed.
                "DEALLOCATE a" if !name.is_empty() => "SELECT instead",
                text => text,
            };
            let types = random.pick(&["\0\0", "\0\u{1}\0\0\0\u{17}"]);
            frame(out, b'P', format!("{name}\0{text}\0{types}").as_bytes());
        }
        3 | 4 => bind(out, portal, name),
        5 => {
            // Not in a failed transaction, where the tracker does not always know what would be described.
            frame(out, b'S', b"");
            frame(out, b'Q', b"ROLLBACK\0");
            frame(out, b'D', format!("S{name}\0").as_bytes());
        }
        6 => frame(out, b'D', format!("P{portal}\0").as_bytes()),
        7 => frame(out, b'C', format!("S{name}\0").as_bytes()),
        8 => {
            // What drivers say most.
            let text = preparable(random);
            frame(out, b'P', format!("\0{text}\0\0\0").as_bytes());
            bind(out, "", "");
            execute(out, "", 0);
        }
        _ => {
            bind(out, "", name);
            execute(out, "", random.below(3) as u32);
        }
    }
}

/// A statement to be prepared. Not one that may execute itself, which would use up the database's
/// stack; nor PREPARE, whose name is taken for free if a shared statement has it; nor RESET,
/// which is put right behind the batch.
pub fn preparable(random: &mut Random) -> &'static str {
    match random.pick(STATEMENTS) {
        "EXECUTE a" | "PREPARE a AS SELECT one" => "SELECT instead",
        "RESET ALL" | "RESET timezone" | "DISCARD ALL" => "SELECT instead",
        text => text,
    }
}

pub fn bind(out: &mut Vec<u8>, portal: &str, name: &str) {
    let body = format!("{portal}\0{name}\0\0\0\0\0\0\0");
    frame(out, b'B', body.as_bytes());
}

pub fn execute(out: &mut Vec<u8>, portal: &str, most: u32) {
    let body = [portal.as_bytes(), b"\0", &most.to_be_bytes()].concat();
    frame(out, b'E', &body);
}

/// COPY FROM STDIN, with data that is good or bad, and an end.
pub fn copy(random: &mut Random, out: &mut Vec<u8>) {
    let is_extended = random.below(2) == 0;
    let mut copies = 1;
    if is_extended {
        frame(out, b'P', b"\0COPY t FROM STDIN\0\0\0");
        bind(out, "", "");
        execute(out, "", 0);
        frame(out, b'S', b"");
    } else {
        let text = random.pick(&[
            "COPY t FROM STDIN",
            "SELECT 1; COPY t FROM STDIN; SELECT 2",
            "COPY t FROM STDIN; COPY t FROM STDIN",
        ]);
        frame(out, b'Q', format!("{text}\0").as_bytes());
        copies = text.matches("COPY").count();
    }
    for _ in 0..copies {
        for _ in 0..random.below(3) {
            frame(
                out,
                b'd',
                random.pick(&["good\n", "good\n", "bad\n"]).as_bytes(),
            );
        }
        match random.below(5) {
            0 => frame(out, b'f', b"no more\0"),
            _ => frame(out, b'c', b""),
        }
    }
    if is_extended {
        frame(out, b'S', b"");
        // Lest it be bound again, without data.
        frame(out, b'P', b"\0SELECT 1\0\0\0");
        frame(out, b'S', b"");
    }
}

/// Ends whatever may be open.
pub fn last_turn() -> Vec<u8> {
    let mut out = Vec::new();
    frame(&mut out, b'c', b"");
    frame(&mut out, b'c', b"");
    frame(&mut out, b'S', b"");
    frame(&mut out, b'Q', b"ROLLBACK\0");
    for name in ["timezone", "application_name", "search_path", "app.tenant"] {
        frame(&mut out, b'Q', format!("SHOW {name}\0").as_bytes());
    }
    out
}

/// What is said in dialogues.
pub const STATEMENTS: &[&str] = &[
    "SELECT 1",
    "SELECT two",
    "SELECT three",
    "SELECT missing",
    "SELECT 1/0",
    "SYNTAX",
    "",
    "BEGIN",
    "BEGIN",
    "COMMIT",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT a",
    "SAVEPOINT b",
    "ROLLBACK TO a",
    "RELEASE a",
    "SHOW timezone",
    "SHOW search_path",
    "SHOW app.tenant",
    "SET timezone TO 'one'",
    "SET timezone TO 'two'",
    "SET search_path TO 'a', 'b'",
    "SET app.tenant TO 'seven'",
    "SET LOCAL app.tenant TO 'local'",
    "SELECT set_config('app.tenant', 'eight', false)",
    "SELECT set_config('app.tenant', 'nine', true)",
    "RESET timezone",
    "RESET ALL",
    "DISCARD ALL",
    "LISTEN news",
    "UNLISTEN *",
    "SELECT listens",
    "CREATE TEMP TABLE t (a int)",
    "DISCARD TEMP",
    "SELECT tables",
    "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
    "CLOSE ALL",
    "SELECT cursors",
    "SELECT pg_advisory_lock(1)",
    "SELECT pg_advisory_unlock_all()",
    "SELECT locks",
    "PREPARE a AS SELECT one",
    "EXECUTE a",
    "DEALLOCATE a",
    "DEALLOCATE ALL",
    "COPY t TO STDOUT",
];

/// Names of statements; few, so that they meet.
pub const NAMES: &[&str] = &["", "a", "b", "c"];

/// What startup packets ask for.
pub const STARTUP: [(&str, &[&str]); 4] = [
    ("TimeZone", &["one", "three"]),
    ("application_name", &["app", "other"]),
    ("search_path", &["mine"]),
    ("app.tenant", &["4711", "it\"s"]),
];

/// Turns of a client.
pub const TURNS: usize = 9;

/// How many statements one pipeline may prepare beyond the limit, by taking evictions back.
pub const PIPELINED_STATEMENTS: usize = 8;

pub fn parameters(database: &FakePostgres) -> Parameters {
    database.reports().into_iter().collect()
}

pub fn frame(out: &mut Vec<u8>, kind: u8, body: &[u8]) {
    out.push(kind);
    out.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
    out.extend_from_slice(body);
}

/// The messages of a stream, as far as they are whole, and where each ends.
pub fn messages(mut stream: &[u8]) -> Vec<&[u8]> {
    let mut messages = Vec::new();
    while let Some(header) = stream.first_chunk::<5>() {
        let length = 1 + u32::from_be_bytes(header[1..].try_into().unwrap()) as usize;
        if stream.len() < length {
            break;
        }
        let (message, rest) = stream.split_at(length);
        messages.push(message);
        stream = rest;
    }
    messages
}

/// What of a stream must be the same: not ParameterStatus, which may come a little earlier or later.
pub fn comparable(stream: &[u8]) -> Vec<u8> {
    let mut comparable = Vec::new();
    for message in messages(stream) {
        if message[0] != b'S' {
            comparable.extend(message);
        }
    }
    comparable
}

/// What a stream reports, in order.
pub fn told(stream: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut told: Vec<(String, Vec<u8>)> = Vec::new();
    for message in messages(stream)
        .into_iter()
        .filter(|message| message[0] == b'S')
    {
        let mut parts = message[5..].split(|&byte| byte == 0);
        let name = String::from_utf8(parts.next().unwrap().to_vec()).unwrap();
        told.retain(|(known, _)| *known != name);
        told.push((name, parts.next().unwrap().to_vec()));
    }
    told
}

pub fn readable(stream: &[u8]) -> String {
    let lines = messages(stream).into_iter().map(|message| {
        let body = String::from_utf8_lossy(message.get(5..).unwrap_or(b"?")).replace('\0', " ");
        format!("{} {body}", message[0] as char)
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// A small generator: splitmix64.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

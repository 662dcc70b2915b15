//! PostgreSQL's protocol, as far as a benchmark needs it: requests made once, replies counted by
//! their headers, and a backend that answers without thinking.
//! Message formats: PostgreSQL documentation, 55.7.

use std::io::{self, ErrorKind, Write};
use std::net::TcpStream;

use crate::scram::Secret;
use crate::talk::{Act, Mode};

/// What a client says once before it sends prepared statements.
pub fn preparation() -> Vec<u8> {
    [parse(b"s1"), sync()].concat()
}

/// One transaction.
pub fn transaction(mode: Mode) -> Vec<u8> {
    match mode {
        Mode::Simple => query(QUERY),
        Mode::Extended => {
            let describe = message(b'D', b"P\0");
            [parse(b""), bind(b""), describe, execute(), sync()].concat()
        }
        Mode::Prepared => [bind(b"s1"), execute(), sync()].concat(),
    }
}

/// A client's first message.
pub fn startup(tenant: &str) -> Vec<u8> {
    let parameters = [
        ("user", format!("{tenant}__app")),
        ("database", tenant.to_owned()),
        ("client_encoding", "UTF8".to_owned()),
    ];
    let mut body = 0x0003_0000_u32.to_be_bytes().to_vec();
    for (name, value) in parameters {
        body.extend([name.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat());
    }
    body.push(0);
    let len = (body.len() + 4) as u32;
    [&len.to_be_bytes(), &body[..]].concat()
}

/// A Query message.
pub fn query(sql: &str) -> Vec<u8> {
    message(b'Q', &[sql.as_bytes(), b"\0"].concat())
}

/// A Terminate message.
pub fn terminate() -> Vec<u8> {
    message(b'X', b"")
}

fn parse(name: &[u8]) -> Vec<u8> {
    let body = [name, b"\0", QUERY.as_bytes(), b"\0", &0_u16.to_be_bytes()];
    message(b'P', &body.concat())
}

fn bind(statement: &[u8]) -> Vec<u8> {
    message(b'B', &[b"\0", statement, b"\0", &[0; 6]].concat())
}

fn execute() -> Vec<u8> {
    message(b'E', b"\0\0\0\0\0")
}

fn sync() -> Vec<u8> {
    message(b'S', b"")
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let len = (body.len() + 4) as u32;
    [&[kind], &len.to_be_bytes()[..], body].concat()
}

/// Finds the end of each answer in a stream of messages of which only headers are looked at.
#[derive(Default)]
pub struct Answers {
    header: [u8; 5],
    have: usize,
    /// Bytes of the current message that are still to come.
    skip: usize,
}

impl Answers {
    /// How many ReadyForQuery are complete with these bytes. An ErrorResponse is an error, for in a
    /// benchmark there should be none.
    pub fn count(&mut self, mut bytes: &[u8]) -> Result<usize, String> {
        let mut complete = 0;
        loop {
            if self.have == 5 {
                let step = self.skip.min(bytes.len());
                bytes = &bytes[step..];
                self.skip -= step;
                if self.skip > 0 {
                    return Ok(complete);
                }
                complete += usize::from(self.header[0] == b'Z');
                self.have = 0;
            }
            if bytes.is_empty() {
                return Ok(complete);
            }
            let step = (5 - self.have).min(bytes.len());
            self.header[self.have..self.have + step].copy_from_slice(&bytes[..step]);
            self.have += step;
            bytes = &bytes[step..];
            if self.have == 5 {
                let [kind, len @ ..] = self.header;
                if kind == b'E' {
                    return Err(String::from_utf8_lossy(bytes).replace('\0', " "));
                }
                self.skip = (u32::from_be_bytes(len) as usize).saturating_sub(4);
            }
        }
    }
}

/// A client: its login, then answers to be counted.
pub struct Client {
    secret: Option<&'static Secret>,
    /// Of the login, what is not understood so far.
    unread: Vec<u8>,
    logged_in: bool,
    answers: Answers,
}

impl Client {
    /// One that proves to know the secret if it is asked to.
    pub fn new(secret: Option<&'static Secret>) -> Client {
        Client {
            secret,
            unread: Vec::new(),
            logged_in: false,
            answers: Answers::default(),
        }
    }

    /// See [`crate::talk::Client::hear`].
    pub fn hear(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<usize, String> {
        if self.logged_in {
            return self.answers.count(bytes);
        }
        let mut unread = std::mem::take(&mut self.unread);
        unread.extend_from_slice(bytes);
        let mut at = 0;
        while let Some((kind, body)) = next(&unread[at..], true) {
            at += 5 + body.len();
            match kind {
                b'R' => self.prove(body, out)?,
                b'E' => return Err(String::from_utf8_lossy(body).replace('\0', " ")),
                b'Z' => {
                    self.logged_in = true;
                    return Ok(1 + self.answers.count(&unread[at..])?);
                }
                _ => {}
            }
        }
        unread.drain(..at);
        self.unread = unread;
        Ok(0)
    }

    /// Authentication messages: PostgreSQL documentation, 55.7.
    fn prove(&self, body: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        let (request, rest) = body.split_first_chunk().ok_or("half a message")?;
        let request = u32::from_be_bytes(*request);
        if request == 0 {
            return Ok(());
        }
        let secret = self.secret.ok_or("the proxy wants a proof")?;
        match request {
            10 => {
                let first = secret.first();
                let len = (first.len() as u32).to_be_bytes();
                let body = [b"SCRAM-SHA-256\0", &len[..], first.as_bytes()];
                out.extend(message(b'p', &body.concat()));
            }
            11 => {
                let last = secret.last(&String::from_utf8_lossy(rest))?;
                out.extend(message(b'p', last.as_bytes()));
            }
            12 => {}
            other => return Err(format!("the proxy wants another proof: {other}")),
        }
        Ok(())
    }
}

/// One connection of the null backend: what it has not understood yet, and its words.
#[derive(Default)]
pub struct Backend {
    unread: Vec<u8>,
    started: bool,
}

impl Backend {
    /// Hears the other side and answers into `out`.
    pub fn hear(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Act {
        self.unread.extend_from_slice(bytes);
        let mut at = 0;
        let mut act = Act::Answered;
        while let Some((kind, body)) = next(&self.unread[at..], self.started) {
            at += body.len() + if self.started { 5 } else { 4 };
            match kind {
                0 => self.started = begin(body, out),
                b'X' => act = Act::Leave,
                b'Q' => act = answer(body, out),
                b'P' => out.extend(message(b'1', b"")),
                b'B' => out.extend(message(b'2', b"")),
                b'C' => out.extend(message(b'3', b"")),
                b'D' => {
                    if body.first() == Some(&b'S') {
                        out.extend(message(b't', b"\0\0"));
                    }
                    out.extend_from_slice(ROW_DESCRIPTION);
                }
                b'E' => out.extend_from_slice(ROW),
                b'S' => out.extend_from_slice(READY),
                _ => {}
            }
        }
        self.unread.drain(..at);
        act
    }
}

/// The next whole message: its type, 0 for the first, and its body.
fn next(bytes: &[u8], started: bool) -> Option<(u8, &[u8])> {
    let (kind, rest) = match started {
        true => (*bytes.first()?, &bytes[1..]),
        false => (0, bytes),
    };
    let len = u32::from_be_bytes(*rest.first_chunk()?) as usize;
    Some((kind, rest.get(4..len)?))
}

/// Answers a client's first message; whether it was the StartupMessage.
fn begin(body: &[u8], out: &mut Vec<u8>) -> bool {
    if !body.starts_with(&[0, 3]) {
        out.push(b'N'); // no TLS, no GSSAPI
        return false;
    }
    out.extend(message(b'R', &[0; 4]));
    for (name, value) in PARAMETERS {
        let body = [name.as_bytes(), b"\0", value.as_bytes(), b"\0"];
        out.extend(message(b'S', &body.concat()));
    }
    out.extend(message(b'K', &[0, 0, 1, 0, 1, 2, 3, 4]));
    out.extend_from_slice(READY);
    true
}

fn answer(body: &[u8], out: &mut Vec<u8>) -> Act {
    let sql = body.strip_suffix(b"\0").unwrap_or(body);
    if sql == HANG.as_bytes() {
        return Act::Answered;
    }
    if sql == BIG.as_bytes() {
        out.extend_from_slice(ROW_DESCRIPTION);
        return Act::Stream(BIG_BYTES + big_end().len());
    }
    if sql.starts_with(b"SELECT") {
        out.extend_from_slice(ROW_DESCRIPTION);
        out.extend_from_slice(ROW);
    } else {
        out.extend(message(b'C', b"SET\0"));
    }
    out.extend_from_slice(READY);
    Act::Answered
}

/// Rows of the big result, whole messages.
pub fn big_rows() -> Vec<u8> {
    const VALUE: usize = 1024 - 11;
    let len = (VALUE as u32).to_be_bytes();
    let body = [&[0, 1], &len[..], &[b'x'; VALUE]].concat();
    message(b'D', &body).repeat(64)
}

/// What follows the rows of the big result.
pub fn big_end() -> Vec<u8> {
    [&message(b'C', b"SELECT 102400\0"), READY].concat()
}

/// What is asked in each transaction.
pub const QUERY: &str = "SELECT abalance FROM pgbench_accounts WHERE aid = 4711";

/// Sends as much of the big result as goes: the rows, then what ends them.
pub fn stream_big(socket: &mut TcpStream, pending: &mut usize, rows: &[u8]) -> io::Result<()> {
    let end = big_end();
    while *pending > 0 {
        let piece = match pending.checked_sub(end.len()) {
            None | Some(0) => &end[end.len() - *pending..],
            Some(rest) => {
                // Where in the repeated block of rows the stream stands.
                let at = (BIG_BYTES - rest) % rows.len();
                &rows[at..][..(rows.len() - at).min(rest)]
            }
        };
        match socket.write(piece) {
            Ok(count) => *pending -= count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What is answered by [`BIG_BYTES`] of rows.
pub const BIG: &str = "SELECT filler FROM big";

/// Bytes of the big result's rows: 100 MiB.
pub const BIG_BYTES: usize = 100 << 20;

/// What is never answered.
pub const HANG: &str = "SELECT pg_sleep(3600)";

const ROW_DESCRIPTION: &[u8] =
    b"T\0\0\0\x21\0\x01abalance\0\0\0\x40\0\0\x03\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0";
const ROW: &[u8] = b"D\0\0\0\x0e\0\x01\0\0\0\x044711C\0\0\0\x0dSELECT 1\0";
const READY: &[u8] = b"Z\0\0\0\x05I";

/// What a PostgreSQL reports at a login.
const PARAMETERS: [(&str, &str); 15] = [
    ("in_hot_standby", "off"),
    ("integer_datetimes", "on"),
    ("TimeZone", "Etc/UTC"),
    ("IntervalStyle", "postgres"),
    ("search_path", "\"$user\", public"),
    ("is_superuser", "off"),
    ("application_name", ""),
    ("default_transaction_read_only", "off"),
    ("scram_iterations", "4096"),
    ("DateStyle", "ISO, MDY"),
    ("standard_conforming_strings", "on"),
    ("session_authorization", "app"),
    ("client_encoding", "UTF8"),
    ("server_version", "18.0"),
    ("server_encoding", "UTF8"),
];

//! MySQL's protocol, as far as a benchmark needs it: a client that counts packets, for it knows how
//! many an answer has, and a backend that answers without thinking.
//! Packet formats: MySQL Internals, "Client/Server Protocol".

use crate::postgres::{HANG, QUERY};
use crate::talk::{Act, Mode};

/// One transaction.
pub fn transaction(mode: Mode) -> Vec<u8> {
    match mode {
        Mode::Prepared => packet(0, &[&[STMT_EXECUTE], &ID[..], &[0, 1, 0, 0, 0]].concat()),
        Mode::Simple | Mode::Extended => query(QUERY),
    }
}

/// COM_QUERY.
pub fn query(sql: &str) -> Vec<u8> {
    packet(0, &[&[COM_QUERY], sql.as_bytes()].concat())
}

/// COM_STMT_PREPARE.
pub fn preparation() -> Vec<u8> {
    packet(0, &[&[STMT_PREPARE], QUERY.as_bytes()].concat())
}

/// COM_QUIT.
pub fn quit() -> Vec<u8> {
    packet(0, &[COM_QUIT])
}

/// A client that is greeted, logs in with an empty password, may prepare, and asks.
pub struct Client {
    tenant: String,
    unread: Vec<u8>,
    logged_in: bool,
    /// Packets of the current answer.
    have: usize,
    /// Whether results have no packet between columns and rows.
    deprecates_eof: bool,
    /// Packets of an answer: what follows the first one of a prepared statement's is fewer.
    prepared: bool,
}

impl Client {
    /// Of a tenant.
    pub fn new(tenant: &str) -> Client {
        Client {
            tenant: tenant.to_owned(),
            unread: Vec::new(),
            logged_in: false,
            have: 0,
            deprecates_eof: false,
            prepared: false,
        }
    }

    /// See [`crate::talk::Client::hear`].
    pub fn hear(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<usize, String> {
        let mut unread = std::mem::take(&mut self.unread);
        unread.extend_from_slice(bytes);
        let (mut at, mut complete) = (0, 0);
        while let Some((sequence, payload)) = next(&unread[at..]) {
            at += 4 + payload.len();
            complete += usize::from(self.take(sequence, payload, out)?);
        }
        unread.drain(..at);
        self.unread = unread;
        Ok(complete)
    }

    /// One packet; whether an answer ends with it.
    fn take(&mut self, sequence: u8, payload: &[u8], out: &mut Vec<u8>) -> Result<bool, String> {
        let first = payload.first().copied().unwrap_or(0);
        if first == ERR {
            let text = payload.get(3..).unwrap_or_default();
            return Err(String::from_utf8_lossy(text).into_owned());
        }
        if !self.logged_in {
            match first {
                GREETING => out.extend(self.introduce(sequence, payload)),
                OK => {
                    self.logged_in = true;
                    return Ok(true);
                }
                AUTH_SWITCH => out.extend(packet(sequence + 1, b"")),
                _ => {}
            }
            return Ok(false);
        }
        if self.have == 0 {
            // The answer to COM_STMT_PREPARE begins with a zero and has a packet for its one column.
            self.prepared = first == OK && payload.len() == 12;
        }
        self.have += 1;
        let packets = match (self.prepared, self.deprecates_eof) {
            (true, true) => 2,
            (true, false) => 3,
            (false, true) => 4,
            (false, false) => 5,
        };
        let ends = self.have == packets;
        if ends {
            self.have = 0;
        }
        Ok(ends)
    }

    /// HandshakeResponse41.
    fn introduce(&mut self, sequence: u8, greeting: &[u8]) -> Vec<u8> {
        let offered = capabilities_of(greeting).unwrap_or(0);
        let wanted = CAPABILITIES & offered;
        self.deprecates_eof = wanted & DEPRECATE_EOF != 0;
        let (user, database) = (
            format!("{}__app\0", self.tenant),
            format!("{}\0", self.tenant),
        );
        let body = [
            &wanted.to_le_bytes()[..],
            &(16_u32 << 20).to_le_bytes(),
            &[UTF8MB4],
            &[0; 23],
            user.as_bytes(),
            &[0],
            database.as_bytes(),
            PLUGIN,
        ];
        packet(sequence + 1, &body.concat())
    }
}

/// What the server can, as it says in its greeting.
fn capabilities_of(greeting: &[u8]) -> Option<u32> {
    let version = greeting.iter().position(|&byte| byte == 0)?;
    // Behind the version: the connection's number, eight bytes of the nonce, a zero.
    let lower = version + 1 + 4 + 8 + 1;
    let bytes = |at: usize| {
        Some(u32::from(u16::from_le_bytes(
            *greeting.get(at..)?.first_chunk()?,
        )))
    };
    Some(bytes(lower)? | bytes(lower + 2 + 1 + 2)? << 16)
}

/// One connection of the null backend.
#[derive(Default)]
pub struct Backend {
    unread: Vec<u8>,
    started: bool,
    deprecates_eof: bool,
}

impl Backend {
    /// Hears the other side and answers into `out`.
    pub fn hear(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Act {
        let mut unread = std::mem::take(&mut self.unread);
        unread.extend_from_slice(bytes);
        let (mut at, mut act) = (0, Act::Answered);
        while let Some((sequence, payload)) = next(&unread[at..]) {
            at += 4 + payload.len();
            if !self.started {
                let flags = payload
                    .first_chunk()
                    .map_or(0, |flags| u32::from_le_bytes(*flags));
                self.deprecates_eof = flags & DEPRECATE_EOF != 0;
                self.started = true;
                out.extend(packet(sequence + 1, OK_BODY));
                continue;
            }
            match payload.first().copied() {
                Some(COM_QUIT) => act = Act::Leave,
                Some(COM_QUERY) => self.answer(&payload[1..], out),
                Some(STMT_EXECUTE) => self.rows(BINARY_ROW, out),
                Some(STMT_PREPARE) => self.statement(out),
                Some(STMT_CLOSE) => {}
                _ => out.extend(packet(1, OK_BODY)),
            }
        }
        unread.drain(..at);
        self.unread = unread;
        act
    }

    fn answer(&self, sql: &[u8], out: &mut Vec<u8>) {
        if sql == HANG.as_bytes() {
            return;
        }
        match sql.starts_with(b"SELECT") {
            true => self.rows(TEXT_ROW, out),
            false => out.extend(packet(1, OK_BODY)),
        }
    }

    fn rows(&self, row: &[u8], out: &mut Vec<u8>) {
        self.packets(&[&[1], COLUMN], &[row], out);
    }

    fn statement(&self, out: &mut Vec<u8>) {
        let statement = [&[OK], &ID[..], &[1, 0, 0, 0, 0, 0, 0]].concat();
        let end = (!self.deprecates_eof).then_some(EOF_BODY);
        let all = [&statement[..], COLUMN].into_iter().chain(end);
        number(all, out);
    }

    /// Head, what ends it, rows, what ends them.
    fn packets(&self, head: &[&[u8]], rows: &[&[u8]], out: &mut Vec<u8>) {
        let (between, end) = match self.deprecates_eof {
            true => (None, EOF_OK_BODY),
            false => (Some(EOF_BODY), EOF_BODY),
        };
        let all = head.iter().copied().chain(between);
        number(all.chain(rows.iter().copied()).chain([end]), out);
    }
}

fn number<'a>(payloads: impl Iterator<Item = &'a [u8]>, out: &mut Vec<u8>) {
    for (sequence, payload) in (1..).zip(payloads) {
        out.extend(packet(sequence, payload));
    }
}

/// The first word of a server (HandshakeV10).
pub fn greeting() -> Vec<u8> {
    let [low, high] = [CAPABILITIES & 0xffff, CAPABILITIES >> 16].map(|half| half as u16);
    let body = [
        &[GREETING][..],
        b"9.7.0-null\0",
        &[1, 0, 0, 0],
        b"12345678\0",
        &low.to_le_bytes(),
        &[UTF8MB4, 2, 0],
        &high.to_le_bytes(),
        &[21],
        &[0; 10],
        b"123456789012\0",
        PLUGIN,
    ];
    packet(0, &body.concat())
}

fn packet(sequence: u8, payload: &[u8]) -> Vec<u8> {
    let [a, b, c, _] = (payload.len() as u32).to_le_bytes();
    [&[a, b, c, sequence], payload].concat()
}

/// The next whole packet: its number and payload.
fn next(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let [a, b, c, sequence] = *bytes.first_chunk()?;
    let len = u32::from_le_bytes([a, b, c, 0]) as usize;
    Some((sequence, bytes.get(4..4 + len)?))
}

const GREETING: u8 = 10;
const OK: u8 = 0;
const ERR: u8 = 0xff;
const AUTH_SWITCH: u8 = 0xfe;
const COM_QUIT: u8 = 1;
const COM_QUERY: u8 = 3;
const STMT_PREPARE: u8 = 0x16;
const STMT_EXECUTE: u8 = 0x17;
const STMT_CLOSE: u8 = 0x19;
/// The number of every prepared statement.
const ID: [u8; 4] = [1, 0, 0, 0];
const UTF8MB4: u8 = 255;
const DEPRECATE_EOF: u32 = 1 << 24;
/// LONG_PASSWORD, LONG_FLAG, CONNECT_WITH_DB, PROTOCOL_41, TRANSACTIONS, SECURE_CONNECTION,
/// MULTI_STATEMENTS, MULTI_RESULTS, PS_MULTI_RESULTS, PLUGIN_AUTH, DEPRECATE_EOF.
const CAPABILITIES: u32 = 0x0000_2205 | 8 | 1 << 15 | 7 << 16 | 1 << 19 | DEPRECATE_EOF;
const PLUGIN: &[u8] = b"caching_sha2_password\0";
const OK_BODY: &[u8] = &[0, 0, 0, 2, 0, 0, 0];
const EOF_BODY: &[u8] = &[0xfe, 0, 0, 2, 0];
const EOF_OK_BODY: &[u8] = &[0xfe, 0, 0, 2, 0, 0, 0];
const COLUMN: &[u8] = b"\x03def\0\0\0\x08abalance\0\x0c\x3f\0\x0b\0\0\0\x03\0\0\0\0\0";
const TEXT_ROW: &[u8] = b"\x044711";
const BINARY_ROW: &[u8] = b"\0\0\x67\x12\0\0";

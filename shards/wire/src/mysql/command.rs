//! The commands, by number, and the dialogues of two that have one answer: ping and KILL.

use bytes::BytesMut;

use super::cursor::Cursor;
use super::message::{ERR, OK, OkPacket, parse_err};
use super::packet::{self, Header, MAX_LOGIN_PACKET};
use crate::error::WireError;
use crate::exchange::{Exchange, Progress};

/// Ends the session; there is no answer.
pub const COM_QUIT: u8 = 0x01;
/// A statement as text.
pub const COM_QUERY: u8 = 0x03;
/// The columns of a table.
pub const COM_FIELD_LIST: u8 = 0x04;
/// A line of text about the server.
pub const COM_STATISTICS: u8 = 0x09;
/// SHOW PROCESSLIST by number.
pub const COM_PROCESS_INFO: u8 = 0x0A;
/// KILL by number; gone from MySQL 9.
pub const COM_PROCESS_KILL: u8 = 0x0C;
/// "Are you there?"
pub const COM_PING: u8 = 0x0E;
/// A new login on the same connection.
pub const COM_CHANGE_USER: u8 = 0x11;
/// A replica asks for the binary log.
pub const COM_BINLOG_DUMP: u8 = 0x12;
/// A statement is prepared.
pub const COM_STMT_PREPARE: u8 = 0x16;
/// A prepared statement is executed.
pub const COM_STMT_EXECUTE: u8 = 0x17;
/// A part of a parameter; there is no answer.
pub const COM_STMT_SEND_LONG_DATA: u8 = 0x18;
/// A prepared statement is forgotten; there is no answer.
pub const COM_STMT_CLOSE: u8 = 0x19;
/// A prepared statement's parameters are forgotten, and its cursor is closed.
pub const COM_STMT_RESET: u8 = 0x1A;
/// Rows of an open cursor.
pub const COM_STMT_FETCH: u8 = 0x1C;
/// A replica asks for the binary log from a set of transactions on.
pub const COM_BINLOG_DUMP_GTID: u8 = 0x1E;
/// The session's state is thrown away, its user and database stay.
pub const COM_RESET_CONNECTION: u8 = 0x1F;
/// A prepared statement is executed for many rows; MariaDB only.
pub const COM_STMT_BULK_EXECUTE: u8 = 0xFA;

/// A command, as far as it says what comes of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Command {
    /// Its number; 0, COM_SLEEP, is what servers take an empty packet for.
    pub number: u8,
    /// The prepared statement that it is about; 0 if about none.
    pub statement: u32,
}

impl Command {
    /// Reads the front of a payload of this length; `None` as long as too little of it has come.
    pub fn peek(front: &[u8], length: usize) -> Option<Command> {
        if length == 0 {
            return Some(Command::default());
        }
        let number = *front.first()?;
        let names_one = matches!(
            number,
            COM_STMT_EXECUTE
                | COM_STMT_BULK_EXECUTE
                | COM_STMT_FETCH
                | COM_STMT_RESET
                | COM_STMT_CLOSE
        );
        let statement = match names_one && length > size_of::<u32>() {
            true => Cursor::new(front.get(1..)?).u32("statement").ok()?,
            false => 0,
        };
        Some(Command { number, statement })
    }
}

impl From<u8> for Command {
    fn from(number: u8) -> Command {
        Command {
            number,
            statement: 0,
        }
    }
}

/// Appends a command that has no body.
pub fn put(out: &mut BytesMut, command: u8) {
    packet::put(out, 0, &[command]);
}

/// A command that is answered by one OK or ERR. The backend must be between commands.
#[derive(Debug)]
pub struct Ask {
    command: Vec<u8>,
    asked: bool,
}

impl Ask {
    /// COM_PING: the connection is alive and in step.
    pub fn ping() -> Self {
        Ask {
            command: vec![COM_PING],
            asked: false,
        }
    }

    /// KILL of another connection of the same account, with whatever it is at. An ERR (1094) says that
    /// it has gone already.
    pub fn kill(connection_id: u32) -> Self {
        Ask {
            command: [&[COM_QUERY], format!("KILL {connection_id}").as_bytes()].concat(),
            asked: false,
        }
    }
}

impl Exchange for Ask {
    type Outcome = OkPacket;

    fn advance(
        &mut self,
        inbound: &mut BytesMut,
        outbound: &mut BytesMut,
    ) -> Result<Progress<OkPacket>, WireError> {
        if !std::mem::replace(&mut self.asked, true) {
            packet::put(outbound, 0, &self.command);
        }
        // A server that gives up on us sends its ERR unasked, with sequence id 0 (4031 after
        // `wait_timeout`).
        let unasked = Header::peek(inbound).is_some_and(|header| header.sequence == 0);
        let Some(packet) = packet::take(inbound, MAX_LOGIN_PACKET, u8::from(!unasked))? else {
            return Ok(Progress::NeedMore);
        };
        match packet.payload.first() {
            Some(&OK) if !unasked => Ok(Progress::Done(OkPacket::parse(&packet.payload)?)),
            Some(&ERR) => Err(WireError::Refused(parse_err(&packet.payload)?)),
            _ => Err(WireError::Unexpected {
                expected: "OK or ERR",
                got: "another packet".to_owned(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_command_is_known_once_its_statement_is() {
        let fetch = b"\x1C\x07\0\0\x01\x0A\0\0\0";
        for cut in 0..5 {
            assert_eq!(Command::peek(&fetch[..cut], fetch.len()), None, "{cut}");
        }
        let statement = 0x0100_0007;
        let number = COM_STMT_FETCH;
        assert_eq!(
            Command::peek(&fetch[..5], fetch.len()),
            Some(Command { number, statement })
        );
        // One that is too short for what it should say, and what is behind it is not its own.
        assert_eq!(Command::peek(fetch, 4), Some(COM_STMT_FETCH.into()));
        assert_eq!(Command::peek(b"\x03", 9), Some(COM_QUERY.into()));
        assert_eq!(Command::peek(b"", 0), Some(Command::default()));
    }

    #[test]
    fn ping_is_one_byte_and_done_with_ok() {
        let (mut ping, mut out) = (Ask::ping(), BytesMut::new());
        assert!(matches!(
            ping.advance(&mut BytesMut::new(), &mut out),
            Ok(Progress::NeedMore)
        ));
        assert_eq!(&out[..], b"\x01\x00\x00\x00\x0E");
        let mut inbound = BytesMut::from(&b"\x07\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00"[..]);
        match ping.advance(&mut inbound, &mut out).unwrap() {
            Progress::Done(ok) => assert_eq!(ok.status, 2),
            other => panic!("{other:?}"),
        }
        assert_eq!(out.len(), 5, "asked once");
    }

    #[test]
    fn kill_is_a_query() {
        let mut out = BytesMut::new();
        let asked = Ask::kill(17).advance(&mut BytesMut::new(), &mut out);
        assert!(matches!(asked, Ok(Progress::NeedMore)));
        assert_eq!(&out[..], b"\x08\0\0\0\x03KILL 17");
    }

    #[test]
    fn a_server_that_gave_up_on_us_is_heard_though_its_err_was_unasked() {
        let mut inbound = BytesMut::from(&b"\x0B\x00\x00\x00\xFF\xBF\x0F#HY000gone"[..]);
        inbound[0] = (inbound.len() - 4) as u8;
        match Ask::ping().advance(&mut inbound, &mut BytesMut::new()) {
            Err(WireError::Refused(refusal)) => assert_eq!(refusal.number, 4031),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_answer_that_is_neither_ok_nor_err_is_out_of_step() {
        let mut inbound = BytesMut::from(&b"\x01\x00\x00\x01\x02"[..]);
        let error = Ask::ping()
            .advance(&mut inbound, &mut BytesMut::new())
            .unwrap_err();
        assert!(matches!(error, WireError::Unexpected { .. }));
    }
}

//! A dialogue between a client and a server, for tests of what the server owes.
#![allow(dead_code, reason = "each test program uses its part")]

use bytes::{Buf, BytesMut};
use wire::mysql::code::ER_NO_SUCH_THREAD;
use wire::mysql::packet::{self, HEADER};
use wire::mysql::{Capabilities, Next, Replies, Watch, put_err, status};

/// With EOF packets, and with OK packets in their place.
pub const MODES: [Capabilities; 2] = [
    Capabilities::OFFERED.without(Capabilities::DEPRECATE_EOF),
    Capabilities::OFFERED,
];

pub const AUTOCOMMIT: u16 = status::AUTOCOMMIT;
pub const MORE: u16 = AUTOCOMMIT | status::MORE_RESULTS;

/// A client and a server, seen by those between them.
pub struct Talk {
    pub capabilities: Capabilities,
    pub watch: Watch,
    pub replies: Replies,
    /// The sequence id of the next packet.
    pub sequence: u8,
}

impl Talk {
    pub fn new(capabilities: Capabilities) -> Talk {
        Talk {
            capabilities,
            watch: Watch::default(),
            replies: Replies::new(capabilities, AUTOCOMMIT),
            sequence: 0,
        }
    }

    pub fn deprecate_eof(&self) -> bool {
        self.capabilities.has(Capabilities::DEPRECATE_EOF)
    }

    /// The client sends a command.
    pub fn asks(&mut self, command: &[u8]) -> &mut Talk {
        self.sequence = 0;
        self.client(command)
    }

    /// The client sends a packet that continues the talk.
    pub fn client(&mut self, payload: &[u8]) -> &mut Talk {
        let mut bytes = BytesMut::new();
        self.sequence = packet::put(&mut bytes, self.sequence, payload);
        while !bytes.is_empty() {
            let look = self
                .watch
                .look(&bytes, self.capabilities, &mut self.replies);
            let look = look.unwrap();
            bytes.advance(look.pass);
            if let Next::Command(_, length) = look.next {
                bytes.advance(length);
            }
        }
        self
    }

    /// The server sends a packet, byte by byte, with which the answer has not ended.
    pub fn says(&mut self, payload: &[u8]) -> &mut Talk {
        let awaited = self.replies.awaited();
        assert!(awaited > 0);
        for byte in self.packet(payload) {
            assert!(!self.replies.is_quiet() && !self.replies.at_rest());
            self.replies.backend_said(&[byte]);
            assert_eq!(self.replies.lost(), None, "{payload:?}");
            assert_eq!(self.replies.awaited(), awaited, "{payload:?}");
        }
        assert!(!self.replies.is_quiet() && !self.replies.at_rest());
        self.waits()
    }

    /// The server sends the packet that ends the answer.
    pub fn ends(&mut self, payload: &[u8]) -> &mut Talk {
        let awaited = self.replies.awaited();
        for byte in self.packet(payload) {
            assert!(!self.replies.is_quiet() && !self.replies.at_rest());
            self.replies.backend_said(&[byte]);
            assert_eq!(self.replies.lost(), None, "{payload:?}");
        }
        assert_eq!(self.replies.awaited(), awaited - 1, "{payload:?}");
        assert_eq!(self.replies.is_quiet(), awaited == 1);
        self
    }

    /// The client waits for the packet that comes next.
    pub fn waits(&mut self) -> &mut Talk {
        assert_eq!(self.replies.next_sequence(), Some(self.sequence));
        self
    }

    /// Nothing is awaited, and the session may end.
    pub fn rests(&mut self) -> &mut Talk {
        assert!(self.replies.at_rest(), "{:?}", self.replies);
        assert_eq!(self.replies.next_sequence(), Some(1));
        self
    }

    pub fn packet(&mut self, payload: &[u8]) -> BytesMut {
        let mut bytes = BytesMut::new();
        self.sequence = packet::put(&mut bytes, self.sequence, payload);
        bytes
    }

    /// The EOF behind definitions, where there is one.
    pub fn definitions_end(&mut self, flags: u16) -> &mut Talk {
        if !self.deprecate_eof() {
            self.says(&eof(flags));
        }
        self
    }

    /// What ends rows, with these flags.
    pub fn terminator(&self, flags: u16) -> Vec<u8> {
        match self.deprecate_eof() {
            true => ok_as(0xFE, flags, b""),
            false => eof(flags),
        }
    }

    /// Two columns and three rows, up to the terminator.
    pub fn rows(&mut self) -> &mut Talk {
        self.says(b"\x02").says(DEFINITION).says(DEFINITION);
        self.definitions_end(AUTOCOMMIT);
        self.says(b"\x011\x012").says(b"\xFB\xFB").says(BINARY_ROW)
    }
}

pub const DEFINITION: &[u8] = b"\x03def\0\0\0\x01a\0\x0C\x3F\0\x01\0\0\0\x08\x81\0\0\0\0";
/// It begins like an OK, and is one byte longer than the shortest.
pub const BINARY_ROW: &[u8] = b"\0\0\x01\0\0\0\x02\0";

pub fn eof(flags: u16) -> Vec<u8> {
    [&[0xFE, 0, 0][..], &flags.to_le_bytes()].concat()
}

pub fn ok(flags: u16) -> Vec<u8> {
    ok_as(0, flags, b"")
}

pub fn ok_as(first: u8, flags: u16, rest: &[u8]) -> Vec<u8> {
    let [low, high] = flags.to_le_bytes();
    // Rows and an id of all lengths that an OK may have them in.
    let numbers = b"\xFC\x2C\x01\xFE\x01\x02\x03\x04\x05\x06\x07\x08";
    [&[first][..], numbers, &[low, high, 0, 0], rest].concat()
}

pub fn err() -> Vec<u8> {
    let mut out = BytesMut::new();
    put_err(&mut out, 0, ER_NO_SUCH_THREAD, "no");
    out[HEADER..].to_vec()
}

pub fn in_each_mode(scene: impl Fn(&mut Talk)) {
    for mode in MODES {
        scene(&mut Talk::new(mode));
    }
}

//! A MySQL database that keeps to a script, for logins of ours to meet.

use bytes::BytesMut;
use wire::mysql::response::FirstPacket;
use wire::mysql::{Capabilities, Greeting, HandshakeResponse, MAX_LOGIN_PACKET, packet};

use crate::mysql_support::nonce;

/// A database that answers each packet by the next line of its script; fast_auth_success is followed
/// by the line after it at once.
pub struct Database {
    greeting: Option<Greeting>,
    capabilities: Capabilities,
    script: std::vec::IntoIter<Vec<u8>>,
    /// The payloads it got, an SSLRequest left out.
    pub heard: Vec<Vec<u8>>,
    pub under_tls: bool,
    sequence: u8,
}

impl Database {
    pub fn new(greeting: Greeting, script: Vec<Vec<u8>>) -> Self {
        Database {
            capabilities: greeting.capabilities,
            greeting: Some(greeting),
            script: script.into_iter(),
            heard: Vec::new(),
            under_tls: false,
            sequence: 1,
        }
    }

    pub fn turn(&mut self, heard: &mut BytesMut, said: &mut BytesMut) {
        if let Some(greeting) = self.greeting.take() {
            greeting.put(said);
        }
        while let Some(packet) = packet::take(heard, MAX_LOGIN_PACKET, self.sequence).unwrap() {
            self.sequence += 1;
            let first = self.heard.is_empty() && !self.under_tls;
            let parsed = FirstPacket::parse(&packet.payload, self.capabilities);
            if first && parsed == Ok(FirstPacket::SslRequest) {
                self.under_tls = true;
                continue;
            }
            self.heard.push(packet.payload.to_vec());
            for line in self.script.by_ref() {
                self.sequence = packet::put(said, self.sequence, &line);
                if line != FAST_AUTH_SUCCESS {
                    break;
                }
            }
        }
    }

    pub fn response(&self) -> HandshakeResponse {
        match FirstPacket::parse(&self.heard[0], self.capabilities) {
            Ok(FirstPacket::Response(response)) => response,
            other => panic!("{other:?}"),
        }
    }
}

pub fn ok() -> Vec<u8> {
    b"\x00\x00\x00\x02\x00\x00\x00".to_vec()
}

pub fn switch(plugin: &str) -> Vec<u8> {
    [b"\xFE", plugin.as_bytes(), b"\0", nonce().as_bytes(), b"\0"].concat()
}

/// Followed by the line after it at once.
pub const FAST_AUTH_SUCCESS: &[u8] = b"\x01\x03";

//! What clients and databases of PostgreSQL say, good and bad: for tests that cut it and for those that change it.
#![allow(dead_code, reason = "each test program uses its part")]

use std::sync::LazyLock;

use bytes::BytesMut;
use wire::Secret;
use wire::pg::md5::Md5Hash;
use wire::pg::scram::{ChannelBinding, ScramServer, Verifier};
use wire::pg::{Challenge, MockKey, Sender, Stored};

use crate::pg_pair::{self, message};

pub const SSL: &[u8] = b"\0\0\0\x08\x04\xd2\x16\x2f";
pub const GSS: &[u8] = b"\0\0\0\x08\x04\xd2\x16\x30";

/// First bytes of clients.
pub fn prefaces() -> Vec<Vec<u8>> {
    let packet = |body: &[u8]| [&(body.len() as u32 + 4).to_be_bytes()[..], body].concat();
    let mut startup = b"\0\x03\0\x03user\0acme__u\0_pq_.x\0\0".to_vec();
    startup.extend(b"options\0-c a=b\\ c --tenant-id=acme -S 12\0replication\0database\0\0");
    let startup = packet(&startup);
    let mut cancel = BytesMut::new();
    pg_pair::key().write_cancel_request(&mut cancel);
    vec![
        startup.clone(),
        packet(b"\0\x03\0\0user\0u\0tenant_id\0a\0options\0-c TENANT_ID=b\0\0"),
        packet(b"\0\x03\0\0user\0u\0database\0d\0options\0-cdbbouncer.tenant_id=a -e\0user\0v\0\0"),
        [&startup[..], b"behind"].concat(),
        cancel.to_vec(),
        SSL.to_vec(),
        GSS.to_vec(),
        b"\0\0\0\x09\0\x02\0\0\0".to_vec(),
        b"\0\0\0\x07\0\x03\0".to_vec(),
        b"\0\0\x27\x15\0\x03\0\0".to_vec(),
        b"\0\0\0\x10\0\x03\0\0user\0u\0x".to_vec(),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\0\x01".to_vec(),
        b"\x54\0\0\x01\x8d\xa6\xff\x19".to_vec(),
    ]
}

/// What databases say that refuse a login.
pub const REFUSALS: [&[u8]; 3] = [
    b"E\0\0\0\x10C57P03\0Mno\0\0",
    b"\x4a\0\0\0\x0a8.0",
    b"J\0\0\0\x08abcd",
];

/// A session's traffic, from the client and from the database.
pub fn traffic() -> [(Sender, Vec<u8>); 2] {
    let client = [
        message(b'Q', b"select 1\0"),
        message(b'P', b"\0;\0\0\0"),
        message(b'B', b"\0\0\0\0\0\0\0\0"),
        message(b'E', b"\0\0\0\0\0"),
        message(b'S', b""),
        message(b'd', b"1\t2\n"),
        message(b'c', b""),
        message(b'F', b"\0\0\0\0"),
        message(b'X', b""),
    ];
    let database = [
        message(b'T', b"\0\0"),
        message(b'D', b"\0\x01\0\0\0\x04abcd"),
        message(b'C', b"SELECT 1\0"),
        message(b'Z', b"I"),
        message(b'N', b"SWARNING\0Mho\0\0"),
        message(b'E', b"SERROR\0VERROR\0Mno\0\0"),
        message(b'Z', b"E"),
        message(b'E', b"SFATAL\0VFATAL\0Mbye\0\0"),
    ];
    [
        (Sender::Frontend, client.concat()),
        (Sender::Backend, database.concat()),
    ]
}

pub const PASSWORD: &str = "secret";

/// Derived in one round, for tests that log in many times.
pub static VERIFIER: LazyLock<Verifier> =
    LazyLock::new(|| Verifier::derive(PASSWORD, b"salt", 1).unwrap());

/// How many kinds of challenge there are.
pub const CHALLENGES: usize = 7;

/// A challenge of each kind; kind 0 asks nothing, kind 1 is plain SCRAM, kind 6 can be bound to TLS.
pub fn challenge(kind: usize) -> Challenge {
    let scram =
        |verifier, binding| Challenge::ScramSha256(ScramServer::new(verifier, [2; 18], binding));
    match kind {
        0 => Challenge::Trust,
        1 => scram(VERIFIER.clone(), ChannelBinding::None),
        2 => scram(
            MockKey::new([0; 32]).verifier("acme", "alice"),
            ChannelBinding::None,
        ),
        3 => Challenge::Md5 {
            hash: Md5Hash::of(PASSWORD, pg_pair::USER),
            salt: [1, 2, 3, 4],
        },
        4 => Challenge::Password(Stored::Plain(Secret::new(PASSWORD))),
        5 => Challenge::Password(Stored::Scram(VERIFIER.clone())),
        _ => scram(
            VERIFIER.clone(),
            ChannelBinding::ServerEndPoint(b"hash of a certificate".to_vec()),
        ),
    }
}

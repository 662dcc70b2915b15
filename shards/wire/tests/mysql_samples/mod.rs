//! What clients and databases of MySQL say, good and bad: for tests that cut it and for those that change it.
#![allow(dead_code, reason = "each test program uses its part")]

use bytes::BytesMut;
use wire::mysql::code::ER_ACCESS_DENIED_ERROR;
use wire::mysql::response::put_ssl_request;
use wire::mysql::verifier::{caching_sha2_token, native_token};
use wire::mysql::{
    BackendChangeUser, Capabilities, Expect, Greeting, HandshakeResponse, Login, LoginStep,
    Verifier, packet, put_err,
};
use wire::{Exchange, Progress, Secret};

use crate::mysql_support::{House, greeting, nonce, put_ok, request};

pub fn greeting_with_tls() -> Greeting {
    let mut greeting = greeting();
    greeting.capabilities = greeting.capabilities | Capabilities::SSL;
    greeting
}

pub fn house() -> House {
    let verifier = Verifier::of_password(&Secret::new("secret"));
    House::new(greeting(), Expect::Password(verifier))
}

/// One that cannot judge tokens.
pub fn house_with_a_slow_hash() -> House {
    let verifier = Verifier::of_nobody_in_full(5000);
    House::new(greeting(), Expect::Password(verifier))
}

pub fn change_user() -> BackendChangeUser {
    let mut login = Login::new(request("secret"));
    let mut inbound = BytesMut::from(&databases()[0][..]);
    loop {
        match login.advance(&mut inbound, &mut BytesMut::new()) {
            Ok(Progress::Done(LoginStep::LoggedIn(backend))) => {
                return BackendChangeUser::new(request("secret"), &backend, false);
            }
            Ok(Progress::NeedMore) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// What clients say before their OK.
pub fn clients() -> Vec<Vec<u8>> {
    let response = |plugin: &str, token: Vec<u8>| {
        let response = HandshakeResponse {
            capabilities: Capabilities::OFFERED,
            charset: 45,
            user: "acme__app".to_owned(),
            token: token.into(),
            database: Some("acme__shop".to_owned()),
            plugin: Some(plugin.to_owned()),
            attributes: vec![
                (b"_os".to_vec(), b"Linux".to_vec()),
                (b"tenant_id".to_vec(), b"acme".to_vec()),
            ],
        };
        transcript(|out| response.put(out, 1))
    };
    let mut switched = response("dialog", Vec::new());
    let token = native_token(b"secret", &nonce());
    switched.extend(transcript(|out| packet::put(out, 3, &token)));
    let by_token = response(
        "caching_sha2_password",
        caching_sha2_token(b"secret", &nonce()),
    );
    let mut asks_key = by_token.clone();
    asks_key.extend(transcript(|out| packet::put(out, 3, &[2])));
    vec![
        by_token,
        asks_key,
        response("mysql_native_password", native_token(b"wrong", &nonce())),
        switched,
        transcript(|out| put_ssl_request(out, 1, Capabilities::OFFERED, 45)),
        b"\x00\x00\x00\x08\x04\xD2\x16\x2F".to_vec(),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
    ]
}

/// What databases say to a login; the first one lets us in.
pub fn databases() -> Vec<Vec<u8>> {
    let mut mariadb = greeting();
    mariadb.version = "5.5.5-10.11.14-MariaDB".to_owned();
    mariadb.capabilities = Capabilities(0x81FF_F7FE);
    let switch = [b"\xFEmysql_native_password\0", nonce().as_bytes(), b"\0"].concat();
    vec![
        transcript(|out| {
            greeting().put(out);
            packet::put(out, 2, b"\x01\x03");
            put_ok(out, 3);
        }),
        transcript(|out| {
            mariadb.put(out);
            packet::put(out, 2, &switch);
            put_ok(out, 4);
        }),
        transcript(|out| {
            greeting().put(out);
            packet::put(out, 2, b"\x01\x04");
            packet::put(out, 4, b"\x01no key at all");
        }),
        transcript(|out| {
            greeting().put(out);
            put_err(out, 2, ER_ACCESS_DENIED_ERROR, "Access denied");
        }),
        b"\x17\x00\x00\x00\xFF\x10\x04Too many connections".to_vec(),
        b"SSH-2.0-OpenSSH_9.2p1\r\n".to_vec(),
    ]
}

/// What databases say to our COM_CHANGE_USER.
pub fn changes_of_user() -> Vec<Vec<u8>> {
    let switch = [b"\xFEcaching_sha2_password\0", nonce().as_bytes(), b"\0"].concat();
    vec![
        transcript(|out| {
            packet::put(out, 1, &switch);
            packet::put(out, 3, b"\x01\x03");
            put_ok(out, 4);
        }),
        transcript(|out| {
            packet::put(out, 1, &switch);
            put_err(out, 3, ER_ACCESS_DENIED_ERROR, "Access denied");
        }),
    ]
}

/// What databases say to a ping.
pub fn answers() -> Vec<Vec<u8>> {
    vec![
        transcript(|out| put_ok(out, 1)),
        transcript(|out| put_err(out, 1, ER_ACCESS_DENIED_ERROR, "no")),
        transcript(|out| put_err(out, 0, ER_ACCESS_DENIED_ERROR, "gone")),
        transcript(|out| put_ok(out, 0)),
    ]
}

/// What a client says after its OK.
pub fn session() -> Vec<u8> {
    transcript(|out| {
        for command in [
            b"\x03SELECT 1",
            KILL,
            b"\x16SELECT ?",
            CHANGE_USER,
            b"\x0E",
            b"",
        ] {
            packet::put(out, 0, command);
        }
        for (sequence, data) in [(2, &b"a\tb\n"[..]), (3, b""), (0, b"\x01")] {
            packet::put(out, sequence, data);
        }
    })
}

pub fn transcript<T>(compose: impl FnOnce(&mut BytesMut) -> T) -> Vec<u8> {
    let mut out = BytesMut::new();
    compose(&mut out);
    out.to_vec()
}

pub const CHANGE_USER: &[u8] =
    b"\x11acme__app\0\x03abcshop\0\x2D\x00mysql_native_password\0\x04\x01a\x01b";
pub const KILL: &[u8] = b"\x03/* it */ KILL QUERY 2147483655; -- now";

//! Every MySQL transcript, cut at every byte, gives the same outcome; and garbage in any place where
//! a peer can put it gives an error or nothing: no panic, and no memory beyond a bound.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod mysql_support;

use std::fmt::Debug;

use bytes::{Buf, BytesMut};
use mysql_support::{House, greeting, nonce, put_ok, request};
use wire::mysql::code::ER_ACCESS_DENIED_ERROR;
use wire::mysql::response::{FirstPacket, put_ssl_request};
use wire::mysql::verifier::{caching_sha2_token, native_token};
use wire::mysql::watch::MAX_HELD;
use wire::mysql::{
    Ask, BackendChangeUser, Capabilities, ChangeUser, EofPacket, Expect, Greeting,
    HandshakeResponse, Kill, Login, LoginStep, Next, OkPacket, PrefaceReader, Replies, Verifier,
    Watch, name_tenant, packet, parse_err, put_err,
};
use wire::{Exchange, Progress, Secret};

#[test]
fn a_client_that_comes_in_pieces_is_the_same_client() {
    for transcript in clients() {
        same_however_cut(&transcript, || PrefaceReader::new(greeting_with_tls()));
        same_however_cut(&transcript, house);
    }
}

#[test]
fn a_database_that_answers_in_pieces_is_the_same_database() {
    for transcript in databases() {
        same_however_cut(&transcript, || Login::new(request("secret")));
    }
    for transcript in changes_of_user() {
        same_however_cut(&transcript, change_user);
    }
    for transcript in answers() {
        same_however_cut(&transcript, Ask::ping);
    }
}

#[test]
fn garbage_from_clients_is_an_error_at_worst() {
    mutated("preface", &clients(), |bytes, rng| {
        let mut reader = PrefaceReader::new(greeting_with_tls());
        feed(&mut reader, bytes, rng);
    });
    mutated("house", &clients(), |bytes, rng| {
        feed(&mut house(), bytes, rng)
    });
}

#[test]
fn garbage_from_databases_is_an_error_at_worst() {
    mutated("login", &databases(), |bytes, rng| {
        feed(&mut Login::new(request("secret")), bytes, rng);
    });
    mutated("change of user", &changes_of_user(), |bytes, rng| {
        feed(&mut change_user(), bytes, rng);
    });
    mutated("ask", &answers(), |bytes, rng| {
        feed(&mut Ask::reset(), bytes, rng)
    });
}

#[test]
fn garbage_in_a_payload_is_an_error_at_worst() {
    let client_payloads: Vec<Vec<u8>> = clients()
        .into_iter()
        .chain([session()])
        .map(|bytes| bytes[4..].to_vec())
        .collect();
    mutated("response", &client_payloads, |bytes, _| {
        if let Ok(FirstPacket::Response(mut response)) =
            FirstPacket::parse(bytes, Capabilities::OFFERED)
            && let Ok(named) = name_tenant(&mut response)
        {
            assert!(named.tenant.is_none_or(|id| wire::is_tenant_id(&id)));
        }
    });
    mutated("COM_CHANGE_USER", &[CHANGE_USER.to_vec()], |bytes, _| {
        let _ = ChangeUser::parse(bytes, Capabilities::OFFERED).map(|mut it| it.name_tenant());
    });
    mutated(
        "KILL",
        &[KILL.to_vec(), b"\x0C\x05\0\0\x80".to_vec()],
        |bytes, _| {
            if let Some(kill) = Kill::parse(bytes) {
                let mut out = BytesMut::new();
                kill.put_with(u32::MAX, &mut out);
                assert_eq!(Kill::parse(&out[4..]).unwrap().id, u32::MAX);
            }
        },
    );
    let server_payloads: Vec<Vec<u8>> = databases()
        .into_iter()
        .chain(answers())
        .map(|bytes| bytes[4..].to_vec())
        .collect();
    mutated("what servers say", &server_payloads, |bytes, _| {
        let _ = Greeting::parse(bytes);
        let _ = OkPacket::parse(bytes);
        let _ = EofPacket::parse(bytes);
        let _ = parse_err(bytes).map(|refusal| assert!(refusal.message.len() <= 3 * 512));
    });
}

#[test]
fn a_relay_of_garbage_keeps_its_place_and_holds_little() {
    mutated("watch", &[session()], |bytes, rng| {
        let (mut watch, mut held) = (Watch::default(), BytesMut::new());
        let mut replies = Replies::new(Capabilities::OFFERED, 0);
        for piece in rng.pieces(bytes) {
            held.extend_from_slice(piece);
            if !relay(&mut watch, &mut held, &mut replies) {
                return;
            }
        }
    });
}

/// Lets pass what may; false if the session ends by it.
fn relay(watch: &mut Watch, held: &mut BytesMut, replies: &mut Replies) -> bool {
    loop {
        let Ok(look) = watch.look(held, Capabilities::OFFERED, replies) else {
            return false;
        };
        held.advance(look.pass);
        match look.next {
            Next::Command(_, length) => held.advance(length),
            Next::Incomplete => {
                assert!(held.len() <= MAX_HELD, "{} bytes held", held.len());
                return true;
            }
            Next::Nothing => {
                assert!(held.is_empty());
                return true;
            }
        }
    }
}

/// What an exchange came to, and all it sent.
type End = (String, Vec<u8>);

fn same_however_cut<E: Exchange>(transcript: &[u8], begin: impl Fn() -> E)
where
    E::Outcome: Debug,
{
    let whole = run(&mut begin(), &[transcript]);
    for cut in 0..=transcript.len() {
        let (front, back) = transcript.split_at(cut);
        assert_eq!(run(&mut begin(), &[front, back]), whole, "cut at {cut}");
    }
    let bytewise: Vec<&[u8]> = transcript.chunks(1).collect();
    assert_eq!(run(&mut begin(), &bytewise), whole, "byte by byte");
}

fn run<E: Exchange>(exchange: &mut E, pieces: &[&[u8]]) -> End
where
    E::Outcome: Debug,
{
    let (mut inbound, mut outbound) = (BytesMut::new(), BytesMut::new());
    let mut progress = exchange.advance(&mut inbound, &mut outbound);
    for piece in pieces {
        if !matches!(progress, Ok(Progress::NeedMore)) {
            break;
        }
        inbound.extend_from_slice(piece);
        progress = exchange.advance(&mut inbound, &mut outbound);
    }
    assert!(
        outbound.len() <= MAX_OUTBOUND,
        "{} bytes outbound",
        outbound.len()
    );
    (format!("{progress:?}"), outbound.to_vec())
}

fn feed<E: Exchange>(exchange: &mut E, bytes: &[u8], rng: &mut Rng)
where
    E::Outcome: Debug,
{
    let (mut inbound, mut outbound) = (BytesMut::new(), BytesMut::new());
    for piece in std::iter::once(&[][..]).chain(rng.pieces(bytes)) {
        inbound.extend_from_slice(piece);
        let progress = exchange.advance(&mut inbound, &mut outbound);
        assert!(
            outbound.len() <= MAX_OUTBOUND,
            "{} bytes outbound",
            outbound.len()
        );
        if !matches!(progress, Ok(Progress::NeedMore)) {
            return;
        }
    }
}

/// Runs `check` on [`ROUNDS`] mutations of `transcripts`.
fn mutated(name: &str, transcripts: &[Vec<u8>], mut check: impl FnMut(&[u8], &mut Rng)) {
    let seed = std::env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(SEED);
    println!("{name}: SEED={seed}");
    let mut rng = Rng(seed);
    for _ in 0..ROUNDS {
        let mut bytes = transcripts[rng.below(transcripts.len())].clone();
        rng.mutate(&mut bytes);
        check(&bytes, &mut rng);
    }
}

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    /// Changes a few bytes, cuts, repeats, or throws all away for garbage.
    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        if self.below(16) == 0 {
            let length = self.below(64);
            *bytes = (0..length).map(|_| self.next() as u8).collect();
        }
        for _ in 0..self.below(5) {
            let at = self.below(bytes.len());
            match self.below(6) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, self.next() as u8),
                2 => drop(bytes.drain(at..(at + self.below(8)).min(bytes.len()))),
                3 => bytes.extend_from_within(at..),
                4 if at < bytes.len() => bytes[at] = EDGES[self.below(EDGES.len())],
                _ if at < bytes.len() => bytes[at] = self.next() as u8,
                _ => {}
            }
        }
    }

    /// Cuts in up to four pieces.
    fn pieces<'a>(&mut self, bytes: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut cuts = [
            0,
            self.below(bytes.len()),
            self.below(bytes.len()),
            bytes.len(),
        ];
        cuts.sort_unstable();
        (0..3).map(move |i| &bytes[cuts[i]..cuts[i + 1]])
    }
}

fn greeting_with_tls() -> Greeting {
    let mut greeting = greeting();
    greeting.capabilities = greeting.capabilities | Capabilities::SSL;
    greeting
}

fn house() -> House {
    let verifier = Verifier::of_password(&Secret::new("secret"));
    House::new(greeting(), Expect::Password(verifier))
}

fn change_user() -> BackendChangeUser {
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
fn clients() -> Vec<Vec<u8>> {
    let response = |plugin: &str, token: Vec<u8>| {
        let response = HandshakeResponse {
            capabilities: Capabilities::OFFERED,
            charset: 45,
            user: "acme__app".to_owned(),
            token,
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
    vec![
        response(
            "caching_sha2_password",
            caching_sha2_token(b"secret", &nonce()),
        ),
        response("mysql_native_password", native_token(b"wrong", &nonce())),
        switched,
        transcript(|out| put_ssl_request(out, 1, Capabilities::OFFERED, 45)),
        b"\x00\x00\x00\x08\x04\xD2\x16\x2F".to_vec(),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
    ]
}

/// What databases say to a login; the first one lets us in.
fn databases() -> Vec<Vec<u8>> {
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
fn changes_of_user() -> Vec<Vec<u8>> {
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
fn answers() -> Vec<Vec<u8>> {
    vec![
        transcript(|out| put_ok(out, 1)),
        transcript(|out| put_err(out, 1, ER_ACCESS_DENIED_ERROR, "no")),
        transcript(|out| put_err(out, 0, ER_ACCESS_DENIED_ERROR, "gone")),
        transcript(|out| put_ok(out, 0)),
    ]
}

/// What a client says after its OK.
fn session() -> Vec<u8> {
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

fn transcript<T>(compose: impl FnOnce(&mut BytesMut) -> T) -> Vec<u8> {
    let mut out = BytesMut::new();
    compose(&mut out);
    out.to_vec()
}

const CHANGE_USER: &[u8] =
    b"\x11acme__app\0\x03abcshop\0\x2D\x00mysql_native_password\0\x04\x01a\x01b";
const KILL: &[u8] = b"\x03/* it */ KILL QUERY 2147483655; -- now";

/// Values at which lengths and types change their meaning.
const EDGES: [u8; 10] = [0, 1, 3, 4, 0x11, 0xFA, 0xFB, 0xFC, 0xFE, 0xFF];

const ROUNDS: usize = 200_000;
const SEED: u64 = 20_261_123;

/// No dialogue sends more than a login's packet and the few behind it.
const MAX_OUTBOUND: usize = 4096;

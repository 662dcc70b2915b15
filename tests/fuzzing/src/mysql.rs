//! MySQL: both sides of a login, everything that is read in payloads, and the traffic of a session.

use std::fmt::Debug;

use bytes::{Buf, BytesMut};
use wire::Exchange;
use wire::mysql::response::FirstPacket;
use wire::mysql::watch::MAX_HELD;
use wire::mysql::{
    Ask, Capabilities, ChangeUser, EofPacket, Greeting, HandshakeResponse, Intercepted, Kill,
    Login, Next, OkPacket, PrefaceReader, Replies, Verifier, Watch, name_tenant, packet, parse_err,
};

use crate::Target;
use crate::dice::Dice;
use crate::feed::{Course, feed_both};
use crate::mysql_samples::{
    CHANGE_USER, KILL, answers, change_user, changes_of_user, clients, databases,
    greeting_with_tls, house, house_with_a_slow_hash, session,
};
use crate::mysql_support::request;
use crate::pg::prefixed;

/// What a client says to our greeting, and then to prove itself. `[door, cut] bytes`
pub const CLIENT: Target = Target {
    name: "mysql_client",
    samples: || {
        prefixed(&[0, 4], clients())
            .chain(prefixed(&[1, 0], clients()))
            .chain(prefixed(&[2, 0], clients()))
            .collect()
    },
    run: |input| {
        let mut dice = Dice::new(input);
        let door = dice.below(3);
        let size = 1 + dice.below(48);
        let bytes = dice.rest();
        match door {
            0 => told_alike(|| PrefaceReader::new(greeting_with_tls()), bytes, size),
            1 => told_alike(house, bytes, size),
            _ => told_alike(house_with_a_slow_hash, bytes, size),
        };
    },
    rounds: 120_000,
};

/// What a database says to our login, to a change of user, to a ping. `[what, cut] bytes`
pub const DATABASE: Target = Target {
    name: "mysql_database",
    samples: || {
        prefixed(&[0, 4], databases())
            .chain(prefixed(&[1, 9], changes_of_user()))
            .chain(prefixed(&[2, 0], answers()))
            .collect()
    },
    run: |input| {
        let mut dice = Dice::new(input);
        let what = dice.below(3);
        let size = 1 + dice.below(48);
        let bytes = dice.rest();
        match what {
            0 => told_alike(|| Login::new(request("secret")), bytes, size),
            1 => told_alike(change_user, bytes, size),
            _ => told_alike(Ask::ping, bytes, size),
        };
    },
    rounds: 80_000,
};

/// The payload of any packet that is read. `bytes`
pub const PAYLOADS: Target = Target {
    name: "mysql_payloads",
    samples: || {
        let logins = clients().into_iter().chain(databases()).chain(answers());
        let payloads = logins
            .filter(|bytes| bytes.len() > 4)
            .map(|bytes| bytes[4..].to_vec());
        let commands = [
            CHANGE_USER,
            KILL,
            b"\x0C\x05\0\0\x80",
            b"\x03KILL CONNECTION 2147483655",
        ];
        payloads.chain(commands.map(<[u8]>::to_vec)).collect()
    },
    run: payloads,
    rounds: 200_000,
};

/// A session, from either side in turns. `[modes, status] (who piece)…`
pub const RELAY: Target = Target {
    name: "mysql_relay",
    samples: || {
        let answer = crate::mysql_samples::answers().concat();
        let mut samples = Vec::new();
        for mode in [0, 1] {
            let mut input = vec![mode, 2];
            for piece in [&session()[..], &answer] {
                input.extend([0, piece.len() as u8]);
                input.extend_from_slice(piece);
            }
            for (command, reply) in EXCHANGES {
                for (who, payload) in [(0, command), (1, reply)] {
                    let mut packet = BytesMut::new();
                    packet::put(&mut packet, who, payload);
                    input.extend([who, packet.len() as u8]);
                    input.extend_from_slice(&packet);
                }
            }
            samples.push(input);
        }
        samples
    },
    run: |input| {
        let whole = relay(input, usize::MAX);
        let size = 1 + usize::from(input.get(1).copied().unwrap_or(0)) % 16;
        assert_eq!(relay(input, size), whole, "in pieces of {size}");
    },
    rounds: 120_000,
};

/// Whether at once or in pieces, the same is said and the same is the end; but what stands behind an end is left.
fn told_alike<E: Exchange>(begin: impl Fn() -> E, bytes: &[u8], size: usize) -> Course
where
    E::Outcome: Debug,
{
    feed_both(begin, bytes, size, HELD, true)
}

fn payloads(bytes: &[u8]) {
    for capabilities in [
        Capabilities::OFFERED,
        Capabilities::OFFERED.without(Capabilities::PLUGIN_AUTH),
    ] {
        if let Ok(FirstPacket::Response(mut response)) = FirstPacket::parse(bytes, capabilities) {
            sent_on(&response);
            if let Ok(named) = name_tenant(&mut response) {
                assert!(named.tenant.is_none_or(|id| wire::is_tenant_id(&id)));
                sent_on(&response);
            }
        }
    }
    if let Ok(mut change) = ChangeUser::parse(bytes, Capabilities::OFFERED)
        && let Ok(named) = change.name_tenant()
    {
        assert!(named.tenant.is_none_or(|id| wire::is_tenant_id(&id)));
    }
    if let Some(kill) = Kill::parse(bytes) {
        let mut out = BytesMut::new();
        kill.put_with(u32::MAX, &mut out);
        assert_eq!(Kill::parse(&out[4..]).unwrap().id, u32::MAX);
    }
    if let Ok(greeting) = Greeting::parse(bytes) {
        let _ = (greeting.flavour(), greeting.server_version());
    }
    let _ = (OkPacket::parse(bytes), EofPacket::parse(bytes));
    if let Ok(refusal) = parse_err(bytes) {
        assert!(refusal.message.len() <= 3 * 512);
    }
    let _ = Verifier::parse(&String::from_utf8_lossy(bytes));
}

/// A response that was understood can be written, and then says the same.
fn sent_on(response: &HandshakeResponse) {
    let mut out = BytesMut::new();
    response.put(&mut out, 1);
    match FirstPacket::parse(&out[4..], Capabilities::OFFERED) {
        Ok(FirstPacket::Response(again)) => {
            assert_eq!(
                (again.user, again.token),
                (response.user.clone(), response.token.clone())
            );
        }
        other => panic!("{response:?} is written as {other:?}"),
    }
}

/// Lets pass what may, and tells what is known in the end.
fn relay(input: &[u8], size: usize) -> String {
    let mut dice = Dice::new(input);
    let capabilities = match dice.below(2) {
        0 => Capabilities::OFFERED,
        _ => Capabilities::OFFERED.without(Capabilities::DEPRECATE_EOF),
    };
    let mut replies = Replies::new(capabilities, u16::from(dice.byte()));
    let (mut watch, mut held) = (Watch::default(), BytesMut::new());
    let mut commands = 0;
    for _ in 0..MOVES {
        if dice.is_empty() {
            break;
        }
        let from_client = dice.below(2) == 0;
        for piece in dice.piece().chunks(size) {
            if !from_client {
                replies.backend_said(piece);
                assert!(!replies.at_rest() || replies.is_quiet());
                continue;
            }
            held.extend_from_slice(piece);
            match look(&mut watch, &mut held, capabilities, &mut replies) {
                Some(stopped) => commands += stopped,
                None => return "refused".to_owned(),
            }
        }
    }
    format!(
        "{commands} {:?}",
        (
            (held.to_vec(), watch.at_boundary(), replies.awaited()),
            (
                replies.is_quiet(),
                replies.at_rest(),
                replies.in_transaction()
            ),
            (replies.next_sequence(), replies.lost()),
        )
    )
}

/// How many commands stopped the client's stream; `None` if the session ends by one.
fn look(
    watch: &mut Watch,
    held: &mut BytesMut,
    capabilities: Capabilities,
    replies: &mut Replies,
) -> Option<usize> {
    let mut stopped = 0;
    loop {
        let look = watch.look(held, capabilities, replies).ok()?;
        held.advance(look.pass);
        match look.next {
            Next::Command(Intercepted::Quit, _) => return None,
            Next::Command(_, length) => {
                held.advance(length);
                stopped += 1;
            }
            Next::Incomplete => {
                assert!(held.len() <= MAX_HELD, "{} bytes are held", held.len());
                return Some(stopped);
            }
            Next::Nothing => {
                assert!(held.is_empty());
                return Some(stopped);
            }
        }
    }
}

/// Commands, and what a server answers.
const EXCHANGES: [(&[u8], &[u8]); 8] = [
    (b"\x03SELECT 1", b"\x01"),
    (b"\x03DO 1", b"\0\0\0\x02\0\0\0"),
    (b"\x0E", b"\0\0\0\x03\0\0\0"),
    (b"\x16SELECT ?", b"\0\x01\0\0\0\0\0\0\0\0\0\0"),
    (b"\x17\x01\0\0\0\0\x01\0\0\0", b"\xFE\0\0\x02\0"),
    (b"\x19\x01\0\0\0", b"\xFF\x10\x04#08004no"),
    (b"\x03LOAD DATA LOCAL INFILE 'x' INTO TABLE t", b"\xFBx"),
    (b"\x01", b""),
];

/// The most turns of a session.
const MOVES: usize = 200;
/// What an exchange may leave unread while it wants more, in bytes.
const HELD: usize = packet::HEADER + packet::MAX_LOGIN_PACKET;

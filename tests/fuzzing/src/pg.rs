//! PostgreSQL: the first bytes of a client, both sides of a login, and the headers of a session's traffic.

use std::sync::LazyLock;

use bytes::{Bytes, BytesMut};
use wire::pg::greet::ANSWER_LIMIT;
use wire::pg::login::LOGIN_LIMIT;
use wire::pg::preface::{HASTE, PACKET_LIMIT};
use wire::pg::scram::{ClientKeys, Verifier};
use wire::pg::{
    Greet, Login, LoginRequest, Ping, Preface, PrefaceReader, Sender, StartupMessage, Stored,
    TlsOffer, TlsRequest, error_response, name_tenant, options,
};
use wire::{Exchange, Progress, is_tenant_id};

use crate::Target;
use crate::dice::Dice;
use crate::feed::{feed, feed_both, walk};
use crate::pg_pair::{meet, request};
use crate::pg_samples::{
    CHALLENGES, PASSWORD, REFUSALS, SSL, VERIFIER, challenge, prefaces, traffic,
};

/// A session's traffic, seen by its headers. `[sender, cut] bytes`
pub const WALKER: Target = Target {
    name: "pg_walker",
    samples: || {
        let [(_, client), (_, database)] = traffic();
        vec![
            [&[0, 4], &client[..]].concat(),
            [&[1, 4], &database[..]].concat(),
        ]
    },
    run: |input| {
        let mut dice = Dice::new(input);
        let sender = dice.pick(&[Sender::Frontend, Sender::Backend]);
        let size = 1 + dice.below(16);
        let bytes = dice.rest();
        let whole = walk(sender, std::iter::once(bytes));
        assert_eq!(
            walk(sender, bytes.chunks(size)),
            whole,
            "in pieces of {size}"
        );
    },
    rounds: 200_000,
};

/// A client's first bytes, up to what is known of its tenant. `[tls, cut] bytes`
pub const PREFACE: Target = Target {
    name: "pg_preface",
    samples: || {
        let hasty = [SSL, &prefaces()[0]].concat();
        prefixed(&[0, 3], prefaces())
            .chain(prefixed(&[2, 0], prefaces()))
            .chain(prefixed(&[1, 7], vec![hasty]))
            .collect()
    },
    run: preface,
    rounds: 150_000,
};

/// Texts inside other messages: `options`, stored passwords, errors and the answer to SSLRequest. `bytes`
pub const OPTIONS: Target = Target {
    name: "pg_options",
    samples: || {
        vec![
            b"-c a=b -ec tenant_id=x --c-d=e\\ f -S 12".to_vec(),
            VERIFIER.to_text().into_bytes(),
            b"md5d3b07384d113edec49eaa6238ad5ff00".to_vec(),
            b"SFATAL\0VFATAL\0C57P01\0Mbye\0Hcome again\0\0".to_vec(),
        ]
    },
    run: texts,
    rounds: 60_000,
};

/// What a client answers to our question for its password. `[challenge, cut] bytes`
pub const GREET: Target = Target {
    name: "pg_greet",
    samples: || {
        let answers = |kind| meet(request(Some(PASSWORD)), |_| challenge(kind)).answers;
        let kinds = 1..CHALLENGES;
        kinds
            .flat_map(|kind| prefixed(&[kind as u8 - 1, 7], vec![answers(kind)]))
            .collect()
    },
    run: |input| {
        let mut dice = Dice::new(input);
        let kind = 1 + dice.below(CHALLENGES - 1);
        let size = 1 + dice.below(64);
        feed_both(
            || Greet::new(challenge(kind)),
            dice.rest(),
            size,
            ANSWER_LIMIT + 1,
            false,
        );
    },
    rounds: 60_000,
};

/// What a database says to our login. `[password, cut] bytes`
pub const LOGIN: Target = Target {
    name: "pg_login",
    samples: || {
        let replies = (0..CHALLENGES).map(|kind| meet(known(), |_| challenge(kind)).replies);
        let refused = REFUSALS.map(<[u8]>::to_vec);
        prefixed(&[1, 9], replies.chain(refused).collect()).collect()
    },
    run: |input| {
        let mut dice = Dice::new(input);
        let request = match dice.below(4) {
            0 => request(None),
            _ => known(),
        };
        let size = 1 + dice.below(128);
        let bytes = dice.rest();
        feed_both(
            || Login::new(request.clone()),
            bytes,
            size,
            LOGIN_LIMIT,
            true,
        );
        feed_both(Ping::default, bytes, size, LOGIN_LIMIT, true);
    },
    rounds: 60_000,
};

fn preface(input: &[u8]) {
    let mut dice = Dice::new(input);
    let tls = dice.pick(&[
        TlsOffer::Unavailable,
        TlsOffer::Available,
        TlsOffer::Started,
    ]);
    let size = 1 + dice.below(24);
    let bytes = dice.rest();
    let whole = feed(
        PrefaceReader::new(tls),
        std::iter::once(bytes),
        PACKET_LIMIT,
        false,
    );
    // Only here it matters what has come: nothing may stand behind a request for encryption.
    if !whole.end.contains(HASTE) && tls != TlsOffer::Available {
        let cut = feed(
            PrefaceReader::new(tls),
            bytes.chunks(size),
            PACKET_LIMIT,
            false,
        );
        assert_eq!(cut, whole, "in pieces of {size}");
    }
    let mut inbound = BytesMut::from(bytes);
    let read = PrefaceReader::new(tls).advance(&mut inbound, &mut BytesMut::new());
    match read {
        Ok(Progress::Done(Preface::Startup(startup))) => understood(startup),
        Ok(Progress::Done(Preface::Cancel(key))) => {
            let mut again = BytesMut::new();
            key.write_cancel_request(&mut again);
            assert!(bytes.starts_with(&again) || bytes.windows(again.len()).any(|it| it == again));
        }
        _ => {}
    }
}

/// What is sent on of a StartupMessage says the same, and nothing of what was for us.
fn understood(startup: StartupMessage) {
    let mut written = BytesMut::new();
    startup.write(&mut written);
    let again = PrefaceReader::new(TlsOffer::Started).advance(&mut written, &mut BytesMut::new());
    let Ok(Progress::Done(Preface::Startup(again))) = again else {
        panic!("{startup:?} is written as {again:?}")
    };
    assert_eq!(again, startup);
    let named = match name_tenant(startup) {
        Ok(named) => named,
        Err(error) => return error.response().write(&mut BytesMut::new()),
    };
    assert!(is_tenant_id(&named.tenant));
    assert!(!named.user.is_empty() && named.raw_user.ends_with(&named.user));
    let switches = named.parameters.get("options").cloned().unwrap_or_default();
    let switches = options::parse(&switches).expect("what we encoded can be read");
    let settings = switches
        .iter()
        .filter_map(|switch| switch.setting())
        .map(|it| &*it.name);
    for name in named
        .parameters
        .iter()
        .map(|(name, _)| name)
        .chain(settings)
    {
        let name = name.to_ascii_lowercase();
        assert!(!["tenant_id", "dbbouncer.tenant_id", "user", "database"].contains(&&*name));
    }
}

fn texts(bytes: &[u8]) {
    if let Ok(switches) = options::parse(bytes) {
        let encoded = options::encode(&switches);
        assert_eq!(options::parse(&encoded).as_ref(), Ok(&switches));
        assert_eq!(options::encode(&switches), encoded);
    }
    let stored = Stored::parse(&String::from_utf8_lossy(bytes), "u");
    if let Stored::Scram(verifier) = &stored {
        assert_eq!(
            Verifier::parse(&verifier.to_text()).as_ref(),
            Some(verifier)
        );
    }
    let refusal = error_response::parse(Bytes::copy_from_slice(bytes));
    assert_eq!(refusal.sqlstate.len(), 5);
    assert!(refusal.message.len() <= error_response::TEXT_LIMIT);
    // Whether anything stands behind its one byte matters here, so it is not cut.
    feed(
        TlsRequest::default(),
        std::iter::once(bytes),
        PACKET_LIMIT,
        false,
    );
}

/// Each of these with the choices before it.
pub fn prefixed(choices: &[u8], inputs: Vec<Vec<u8>>) -> impl Iterator<Item = Vec<u8>> + use<> {
    let choices = choices.to_vec();
    inputs
        .into_iter()
        .map(move |input| [&choices[..], &input].concat())
}

/// A login with the keys of an earlier one, so that nothing dear is computed.
pub fn known() -> LoginRequest {
    static KEYS: LazyLock<ClientKeys> = LazyLock::new(|| {
        let login = meet(request(Some(PASSWORD)), |_| challenge(1)).login;
        login.unwrap().keys.expect("SCRAM leaves keys behind")
    });
    LoginRequest {
        keys: Some(KEYS.clone()),
        ..request(Some(PASSWORD))
    }
}

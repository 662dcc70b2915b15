//! Our login and our greeting, put face to face without a socket.
#![allow(dead_code, reason = "each test program uses its part")]

use bytes::{BufMut, Bytes, BytesMut};
use wire::{
    Exchange, Progress, Secret, WireError,
    pg::{
        CancelKey, Challenge, ErrorResponse, Greet, LoggedIn, Login, LoginRequest, NamedStartup,
        Parameters, Preface, PrefaceReader, TlsOffer, TransactionStatus, backend::welcome,
        name_tenant,
    },
};

/// What came of a login met by a greeting.
pub struct Meeting {
    pub login: Result<LoggedIn, WireError>,
    pub greeting: Result<(), WireError>,
    /// The startup as the greeting side understood it.
    pub named: NamedStartup,
    /// All that the client said, behind its StartupMessage.
    pub answers: Vec<u8>,
    /// All that the server said.
    pub replies: Vec<u8>,
    /// How many costly computations the client, and the server, asked for.
    pub derivations: (usize, usize),
}

/// Lets a login meet the greeting that `challenge` makes of its startup.
pub fn meet(request: LoginRequest, challenge: impl FnOnce(&NamedStartup) -> Challenge) -> Meeting {
    let mut login = Login::new(request);
    let (mut to_server, mut to_client) = (BytesMut::new(), BytesMut::new());
    let opening = run(&mut login, &mut to_client, &mut to_server, &mut 0);
    assert!(matches!(opening, Ok(None)), "{opening:?}");

    let mut reader = PrefaceReader::new(TlsOffer::Unavailable);
    let preface = run(&mut reader, &mut to_server, &mut to_client, &mut 0);
    let Ok(Some(Preface::Startup(startup))) = preface else {
        panic!("{preface:?}")
    };
    let named = name_tenant(startup).unwrap();
    let mut greet = Greet::new(challenge(&named));

    let mut meeting = Meeting {
        login: Err(WireError::BadCredentials),
        greeting: Err(WireError::BadCredentials),
        named,
        answers: Vec::new(),
        replies: Vec::new(),
        derivations: (0, 0),
    };
    let mut greeted = false;
    for _ in 0..ROUNDS {
        if !greeted {
            match run(
                &mut greet,
                &mut to_server,
                &mut to_client,
                &mut meeting.derivations.1,
            ) {
                Ok(None) => {}
                end => {
                    meeting.greeting = end.map(|_| ());
                    greeted = true;
                    match meeting.greeting {
                        Ok(()) => welcome(
                            &settings(),
                            Some(&key()),
                            TransactionStatus::Idle,
                            &mut to_client,
                        ),
                        Err(WireError::BadCredentials) => unproven().write(&mut to_client),
                        Err(_) => {}
                    }
                }
            }
        }
        meeting.replies.extend_from_slice(&to_client);
        match run(
            &mut login,
            &mut to_client,
            &mut to_server,
            &mut meeting.derivations.0,
        ) {
            Ok(None) => {}
            Ok(Some(logged_in)) => {
                meeting.login = Ok(logged_in);
                return meeting;
            }
            Err(error) => {
                meeting.login = Err(error);
                return meeting;
            }
        }
        meeting.answers.extend_from_slice(&to_server);
    }
    panic!("no end after {ROUNDS} rounds");
}

/// What whoever carries a greeting tells a client that has not proved who it is.
pub fn unproven() -> ErrorResponse {
    ErrorResponse::fatal("28P01", "password authentication failed")
}

/// Runs an exchange as far as it goes, computing what it asks for.
pub fn run<E: Exchange>(
    exchange: &mut E,
    inbound: &mut BytesMut,
    outbound: &mut BytesMut,
    derivations: &mut usize,
) -> Result<Option<E::Outcome>, WireError> {
    loop {
        match exchange.advance(inbound, outbound)? {
            Progress::NeedMore => return Ok(None),
            Progress::Done(outcome) => return Ok(Some(outcome)),
            Progress::Derive(derivation) => {
                *derivations += 1;
                exchange.derived(derivation.run());
            }
        }
    }
}

/// A login of alice at acme.
pub fn request(password: Option<&str>) -> LoginRequest {
    LoginRequest {
        user: USER.to_owned(),
        password: password.map(Secret::new),
        database: "shop".to_owned(),
        parameters: [
            ("application_name", "test"),
            ("options", "-c search_path=a\\ b"),
        ]
        .into_iter()
        .collect(),
        nonce: [1; 18],
        end_point: None,
        keys: None,
    }
}

/// One message, composed by hand.
pub fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![kind];
    message.put_u32(body.len() as u32 + 4);
    message.put_slice(body);
    message
}

/// The settings that the greeting side reports.
pub fn settings() -> Parameters {
    [
        ("server_version", "15.18"),
        ("TimeZone", "Etc/UTC"),
        ("application_name", ""),
    ]
    .into_iter()
    .collect()
}

/// The cancel key that the greeting side gives.
pub fn key() -> CancelKey {
    CancelKey::new(
        4242,
        Bytes::from_static(b"0123456789abcdef0123456789abcdef"),
    )
    .unwrap()
}

/// The user as the client writes it.
pub const USER: &str = "acme__alice";

/// More than any of the dialogues takes.
const ROUNDS: usize = 8;

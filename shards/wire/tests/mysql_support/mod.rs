//! What the MySQL test files share: fixed values, and a house that a login can knock at.

use bytes::BytesMut;
use wire::mysql::{
    Capabilities, Code, Expect, Greet, Greeting, LoginRequest, Nonce, Preface, PrefaceReader,
    Shape, Tls, code, packet, put_err, status,
};
use wire::{Derived, Exchange, Progress, Secret, WireError};

/// The connection id that [`House`] tells its guests.
pub const CONNECTION_ID: u32 = 0x8000_0007;

pub fn nonce() -> Nonce {
    Nonce::from_random(std::array::from_fn(|i| i as u8 * 11))
}

/// Our greeting, without TLS.
pub fn greeting() -> Greeting {
    Greeting::to_client("8.0.36-DBBouncer", CONNECTION_ID, nonce(), false)
}

/// A login of a client that took all it was offered.
pub fn request(password: &str) -> LoginRequest {
    LoginRequest {
        user: "acme__app".to_owned(),
        password: Secret::new(password),
        shape: Shape {
            capabilities: Capabilities::OFFERED.of_session(),
            charset: 45,
            database: Some("shop".to_owned()),
        },
        attributes: vec![(b"_client_name".to_vec(), b"test".to_vec())],
        tls: Tls::Off,
        scramble: [9; 32],
    }
}

/// Our side towards clients, as the shards run it: preface, authentication, OK or ERR.
pub struct House {
    door: Door,
    expect: Expect,
}

enum Door {
    Preface(PrefaceReader),
    Greet(Greet),
}

impl House {
    pub fn new(greeting: Greeting, expect: Expect) -> Self {
        House {
            door: Door::Preface(PrefaceReader::new(greeting)),
            expect,
        }
    }
}

impl Exchange for House {
    type Outcome = ();

    fn advance(
        &mut self,
        inbound: &mut BytesMut,
        outbound: &mut BytesMut,
    ) -> Result<Progress<()>, WireError> {
        if let Door::Preface(reader) = &mut self.door {
            match reader.advance(inbound, outbound)? {
                Progress::Done(Preface::Login(login)) => {
                    let expect = self.expect.clone();
                    self.door = Door::Greet(Greet::new(&login, expect));
                }
                Progress::Done(Preface::StartTls) => panic!("TLS was not offered"),
                _ => return Ok(Progress::NeedMore),
            }
        }
        let Door::Greet(greet) = &mut self.door else {
            return Ok(Progress::NeedMore);
        };
        match greet.advance(inbound, outbound) {
            Ok(Progress::Done(greeted)) => {
                put_ok(outbound, greeted.sequence);
                Ok(Progress::Done(()))
            }
            Ok(Progress::Derive(derivation)) => Ok(Progress::Derive(derivation)),
            Ok(Progress::NeedMore) => Ok(Progress::NeedMore),
            Err(error) => {
                put_refusal(
                    outbound,
                    greet.next_sequence(),
                    code::ER_ACCESS_DENIED_ERROR,
                );
                Err(error)
            }
        }
    }

    fn derived(&mut self, derived: Derived) {
        if let Door::Greet(greet) = &mut self.door {
            greet.derived(derived);
        }
    }
}

pub fn put_ok(out: &mut BytesMut, sequence: u8) {
    let [low, high] = status::AUTOCOMMIT.to_le_bytes();
    // Nothing changed, no warnings, no text.
    packet::put(out, sequence, &[0, 0, 0, low, high, 0, 0, 0]);
}

pub fn put_refusal(out: &mut BytesMut, sequence: u8, code: Code) {
    put_err(out, sequence, code, "Access denied");
}

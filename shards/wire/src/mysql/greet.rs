//! Authenticating a client, in its first login and in a later COM_CHANGE_USER.
//!
//! Knows the client's proof and the verifier, not the config that the verifier came from. It ends
//! *before* the OK: that is sent when there is a backend. For a client that nobody knows the same
//! path is walked to the same end as for a wrong password.
//!
//! ```text
//!   us                         client
//!                    ◀───────  token, for the greeting's nonce
//!   AuthSwitchRequest ──────▶                         only if the token is of no use
//!                    ◀───────  token of the method asked for
//!   AuthMoreData 03  ───────▶                         caching_sha2_password only: fast path done
//!   (the OK or ERR is the caller's)
//! ```
//!
//! A 32-byte token is taken for `caching_sha2_password` and a 20-byte one for
//! `mysql_native_password`, whatever the method's name: some drivers answer our greeting with a
//! native token at once. Since a token can always be checked, the full authentication that would
//! make some drivers send the password in clear is never asked for. Who sends it so all the same, by
//! `mysql_clear_password`, is heard inside TLS only.

use bytes::{BufMut, BytesMut};

use super::change_user::ChangeUser;
use super::cursor::put_nul_bytes;
use super::expect::{Expect, Verdict, is_empty};
use super::greeting::Nonce;
use super::message::EOF;
use super::packet;
use super::preface::ClientLogin;
use super::verifier::Plugin;
use crate::error::WireError;
use crate::exchange::{Exchange, Progress};

/// The client has proved what was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Greeted {
    /// The sequence id of the OK, or of the ERR if no backend can be had.
    pub sequence: u8,
}

/// The authentication of one client.
///
/// When it fails, with [`WireError::BadCredentials`] or otherwise, an ERR packet is due with
/// [`Greet::next_sequence`].
#[derive(Debug)]
pub struct Greet {
    expect: Expect,
    nonce: Nonce,
    sequence: u8,
    step: Step,
    used_password: bool,
}

#[derive(Debug)]
enum Step {
    /// So was the client's first token judged; it is to be told.
    Judged(Verdict),
    /// The answer to our AuthSwitchRequest is to come.
    Switched,
    /// Said and done.
    Over,
}

impl Greet {
    /// Goes on where the preface ended.
    pub fn new(login: &ClientLogin, expect: Expect) -> Self {
        let (response, nonce) = (&login.response, login.nonce);
        let plugin = response.plugin.as_deref();
        let verdict = expect.first(plugin, &response.token, &nonce, login.secured);
        Greet {
            expect,
            nonce,
            sequence: login.sequence,
            step: Step::Judged(verdict),
            used_password: !is_empty(&response.token),
        }
    }

    /// For a COM_CHANGE_USER in the middle of a session, with the nonce of the greeting. As MariaDB
    /// does it, the token that came with the command is not looked at (libmysqlclient sends none)
    /// and asked for again, for the *same* nonce: libmariadb uses that one whatever it is asked.
    pub fn change_user(request: &ChangeUser, nonce: Nonce, expect: Expect) -> Self {
        let plugin = match request.plugin.as_deref() {
            Some(name) if name == Plugin::CachingSha2.name() => Plugin::CachingSha2,
            _ => Plugin::Native,
        };
        let plugin = expect.checkable(plugin);
        Greet {
            expect,
            nonce,
            sequence: 1,
            step: Step::Judged(Verdict::Switch(plugin)),
            used_password: !is_empty(&request.token),
        }
    }

    /// The sequence id of our next packet.
    pub fn next_sequence(&self) -> u8 {
        self.sequence
    }

    /// Whether the client sent a proof at all: the YES or NO in "using password" of ERR 1045.
    pub fn used_password(&self) -> bool {
        self.used_password
    }

    /// Takes the token that was asked for.
    fn answered(&mut self, inbound: &mut BytesMut) -> Result<Option<Verdict>, WireError> {
        let taken = packet::take(inbound, MAX_TOKEN_PACKET, self.sequence);
        if let Ok(None) = taken {
            return Ok(None);
        }
        // Also where the packet was refused: our ERR stands behind it.
        self.sequence = self.sequence.wrapping_add(1);
        Ok(taken?.map(|packet| {
            self.used_password |= !is_empty(&packet.payload);
            self.expect.judge(&packet.payload, &self.nonce)
        }))
    }
}

impl Exchange for Greet {
    type Outcome = Greeted;

    fn advance(
        &mut self,
        inbound: &mut BytesMut,
        outbound: &mut BytesMut,
    ) -> Result<Progress<Greeted>, WireError> {
        loop {
            let verdict = match std::mem::replace(&mut self.step, Step::Over) {
                Step::Judged(verdict) => verdict,
                Step::Switched => match self.answered(inbound)? {
                    Some(verdict) => verdict,
                    None => {
                        self.step = Step::Switched;
                        return Ok(Progress::NeedMore);
                    }
                },
                Step::Over => {
                    return Err(WireError::Unexpected {
                        expected: "nothing, the authentication is over",
                        got: "more bytes".to_owned(),
                    });
                }
            };
            match verdict {
                Verdict::Deny => return Err(WireError::BadCredentials),
                Verdict::Switch(plugin) => {
                    self.sequence = put_auth_switch(outbound, self.sequence, plugin, &self.nonce);
                    self.step = Step::Switched;
                    continue;
                }
                Verdict::AcceptFast => {
                    self.sequence = packet::put(outbound, self.sequence, &FAST_AUTH_SUCCESS);
                }
                Verdict::Accept => {}
            }
            let sequence = self.sequence;
            return Ok(Progress::Done(Greeted { sequence }));
        }
    }
}

fn put_auth_switch(out: &mut BytesMut, sequence: u8, plugin: Plugin, nonce: &Nonce) -> u8 {
    let mut payload = BytesMut::with_capacity(64);
    payload.put_u8(EOF);
    put_nul_bytes(&mut payload, plugin.name().as_bytes());
    payload.put_slice(nonce.as_bytes());
    payload.put_u8(0);
    packet::put(out, sequence, &payload)
}

/// AuthMoreData of `caching_sha2_password`: the token was enough.
const FAST_AUTH_SUCCESS: [u8; 2] = [1, 3];

/// Longest answer to an AuthSwitchRequest, in bytes. Tokens have 32 at most; passwords in clear,
/// which a confused client might send, are let in to be refused as wrong.
const MAX_TOKEN_PACKET: usize = 1024;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::capability::Capabilities;
    use super::super::response::HandshakeResponse;
    use super::super::verifier::{Verifier, caching_sha2_token, native_token};
    use super::*;
    use crate::secret::Secret;

    const STORED_NATIVE: &str = "*14E65567ABDB5135D0CFD9A70B3032C179A49EE7";

    fn nonce() -> Nonce {
        Nonce::from_random([77; 20])
    }

    fn secret() -> Expect {
        Expect::Password(Verifier::of_password(&Secret::new("secret")))
    }

    fn login(plugin: Option<&str>, token: Vec<u8>) -> ClientLogin {
        let response = HandshakeResponse {
            capabilities: Capabilities::OFFERED
                .with_if(Capabilities::PLUGIN_AUTH, plugin.is_some()),
            charset: 45,
            user: "acme__app".to_owned(),
            token,
            database: None,
            plugin: plugin.map(str::to_owned),
            attributes: Vec::new(),
        };
        ClientLogin {
            response,
            nonce: nonce(),
            connection_id: 7,
            secured: false,
            sequence: 2,
        }
    }

    /// What the first round comes to, and what was sent in it.
    fn first(
        plugin: Option<&str>,
        token: Vec<u8>,
        expect: Expect,
    ) -> (Result<Progress<Greeted>, WireError>, Vec<u8>) {
        let mut out = BytesMut::new();
        let mut greet = Greet::new(&login(plugin, token), expect);
        let progress = greet.advance(&mut BytesMut::new(), &mut out);
        (progress, out.to_vec())
    }

    fn done(progress: Result<Progress<Greeted>, WireError>) -> u8 {
        match progress {
            Ok(Progress::Done(greeted)) => greeted.sequence,
            other => panic!("{other:?}"),
        }
    }

    const SHA2: Option<&str> = Some("caching_sha2_password");
    const NATIVE: Option<&str> = Some("mysql_native_password");

    #[test]
    fn a_password_in_clear_is_heard_inside_tls_only() {
        for (password, secured, right) in [
            (&b"secret\0"[..], true, true),
            (b"Secret\0", true, false),
            (b"secret\0", false, false),
        ] {
            let login = ClientLogin {
                secured,
                ..login(Some("mysql_clear_password"), password.to_vec())
            };
            let mut out = BytesMut::new();
            let progress = Greet::new(&login, secret()).advance(&mut BytesMut::new(), &mut out);
            match (right, secured) {
                (true, _) => assert_eq!(done(progress), 2),
                (false, true) => assert!(matches!(progress, Err(WireError::BadCredentials))),
                // Another method is asked for, and what was said is not looked at.
                (false, false) => assert!(matches!(progress, Ok(Progress::NeedMore))),
            }
        }
    }

    #[test]
    fn a_sha2_token_ends_on_the_fast_path() {
        let (progress, out) = first(SHA2, caching_sha2_token(b"secret", &nonce()), secret());
        assert_eq!(done(progress), 3);
        assert_eq!(out, b"\x02\x00\x00\x02\x01\x03");
    }

    #[test]
    fn a_native_token_for_the_greetings_nonce_is_taken_at_once_whatever_its_name() {
        for plugin in [NATIVE, SHA2, None] {
            let (progress, out) = first(plugin, native_token(b"secret", &nonce()), secret());
            assert_eq!(done(progress), 2);
            assert_eq!(out, b"");
        }
    }

    #[test]
    fn wrong_passwords_and_nobody_end_alike() {
        for (plugin, token) in [
            (SHA2, caching_sha2_token(b"wrong", &nonce())),
            (NATIVE, native_token(b"wrong", &nonce())),
            (None, native_token(b"wrong", &nonce())),
            (SHA2, Vec::new()),
            (SHA2, vec![0]),
            (SHA2, b"cleartext".to_vec()),
        ] {
            for expect in [secret(), Expect::Nobody] {
                let (progress, out) = first(plugin, token.clone(), expect);
                assert!(matches!(progress, Err(WireError::BadCredentials)));
                assert_eq!(out, b"");
            }
        }
        // Nor does nobody get in with the one password whose hash would be all zeros, were there one.
        let (progress, _) = first(SHA2, caching_sha2_token(b"", &nonce()), Expect::Nobody);
        assert!(matches!(progress, Err(WireError::BadCredentials)));
    }

    #[test]
    fn no_password_is_right_only_where_there_is_none() {
        for token in [Vec::new(), vec![0]] {
            let empty = Expect::Password(Verifier::of_password(&Secret::new("")));
            let (progress, out) = first(SHA2, token, empty);
            assert_eq!((done(progress), out), (2, Vec::new()));
        }
    }

    #[test]
    fn a_method_of_no_use_is_switched_to_native() {
        for (plugin, token) in [
            (Some("client_ed25519"), vec![1; 64]),
            (Some("mysql_clear_password"), b"secret\0".to_vec()),
            (Some("sha256_password"), vec![1]),
            (NATIVE, Vec::new()),
        ] {
            for expect in [secret(), Expect::Trust, Expect::Nobody] {
                let (progress, out) = first(plugin, token.clone(), expect);
                assert!(matches!(progress, Ok(Progress::NeedMore)), "{plugin:?}");
                assert_eq!(&out[3..27], b"\x02\xFEmysql_native_password\0");
                assert_eq!(&out[27..], [nonce().as_bytes(), &[0]].concat());
            }
        }
    }

    #[test]
    fn the_answer_to_a_switch_decides() {
        for (password, right) in [("secret", true), ("wrong", false)] {
            let mut greet = Greet::new(&login(Some("dialog"), Vec::new()), secret());
            let mut out = BytesMut::new();
            let asked = greet.advance(&mut BytesMut::new(), &mut out);
            assert!(matches!(asked, Ok(Progress::NeedMore)));
            assert!(!greet.used_password());
            let mut inbound = BytesMut::new();
            packet::put(
                &mut inbound,
                3,
                &native_token(password.as_bytes(), &nonce()),
            );
            match greet.advance(&mut inbound, &mut out) {
                Ok(Progress::Done(greeted)) if right => assert_eq!(greeted.sequence, 4),
                Err(WireError::BadCredentials) if !right => assert_eq!(greet.next_sequence(), 4),
                other => panic!("{other:?}"),
            }
            assert!(greet.used_password());
        }
    }

    #[test]
    fn a_stored_form_for_one_method_makes_the_client_switch_to_it() {
        let stored = || Expect::Password(Verifier::parse(STORED_NATIVE).unwrap());
        let (progress, out) = first(SHA2, caching_sha2_token(b"secret", &nonce()), stored());
        assert!(matches!(progress, Ok(Progress::NeedMore)));
        assert_eq!(&out[5..26], b"mysql_native_password");
        // A client that names no methods cannot be asked.
        let (progress, _) = first(None, caching_sha2_token(b"secret", &nonce()), stored());
        assert!(matches!(progress, Err(WireError::BadCredentials)));
    }

    #[test]
    fn trust_takes_any_token_and_still_ends_the_method_properly() {
        let (progress, out) = first(SHA2, vec![5; 32], Expect::Trust);
        assert_eq!((done(progress), &out[4..]), (3, &b"\x01\x03"[..]));
        let (progress, out) = first(SHA2, Vec::new(), Expect::Trust);
        assert_eq!((done(progress), out), (2, Vec::new()));
    }

    #[test]
    fn a_change_of_user_is_always_asked_for_its_token() {
        let request = ChangeUser {
            user: "acme__app".to_owned(),
            token: caching_sha2_token(b"secret", &nonce()),
            database: None,
            charset: None,
            plugin: SHA2.map(str::to_owned),
            attributes: Vec::new(),
        };
        let mut greet = Greet::change_user(&request, nonce(), secret());
        let mut out = BytesMut::new();
        assert!(matches!(
            greet.advance(&mut BytesMut::new(), &mut out),
            Ok(Progress::NeedMore)
        ));
        assert_eq!(&out[3..27], b"\x01\xFEcaching_sha2_password\0");
        let mut inbound = BytesMut::new();
        packet::put(&mut inbound, 2, &caching_sha2_token(b"secret", &nonce()));
        assert_eq!(done(greet.advance(&mut inbound, &mut out)), 4);
    }
}

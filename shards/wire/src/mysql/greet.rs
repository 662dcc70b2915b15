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
//!   AuthMoreData 04  ───────▶                         or, inside TLS: only a slow hash is known
//!                    ◀───────  the password
//!   (the OK or ERR is the caller's)
//! ```
//!
//! A 32-byte token is taken for `caching_sha2_password` and a 20-byte one for
//! `mysql_native_password`, whatever the method's name: some drivers answer our greeting with a
//! native token at once. Wherever a token can be checked, the full authentication, for which drivers
//! must send the password itself, is not asked for; and never without TLS, where some of them would
//! send it in clear. Who sends it in clear all the same, by
//! `mysql_clear_password`, is heard inside TLS only.

use bytes::{BufMut, Bytes, BytesMut};
use zeroize::Zeroizing;

use super::change_user::ChangeUser;
use super::cursor::put_nul_bytes;
use super::expect::{Expect, Verdict, is_empty};
use super::greeting::Nonce;
use super::message::EOF;
use super::packet;
use super::preface::ClientLogin;
use super::verifier::{Digested, Plugin, SHA2_TOKEN};
use crate::error::WireError;
use crate::exchange::{Derivation, Derived, Exchange, Progress};

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
    /// Nobody on the way can read what is said.
    secured: bool,
    sequence: u8,
    step: Step,
    used_password: bool,
    learnt: Option<Digested>,
}

/// ```text
///   ┌──▶ Switched ──┐
///   │               ▼
/// Judged ────────▶ Judged ──▶ Over
///   │               ▲
///   └──▶ Full ──▶ Hash ──▶ Hashing
/// ```
#[derive(Debug)]
enum Step {
    /// So was the client's last answer judged; it is to be told.
    Judged(Verdict),
    /// The answer to our AuthSwitchRequest is to come.
    Switched,
    /// The password itself is to come, inside TLS.
    Full,
    /// The password is here, with the NUL behind it, and to be hashed.
    Hash(InClear),
    /// It is being hashed elsewhere.
    Hashing,
    /// Said and done.
    Over,
}

/// A password as it came.
struct InClear(Zeroizing<Vec<u8>>);

impl std::fmt::Debug for InClear {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InClear(..)")
    }
}

impl Greet {
    /// Goes on where the preface ended.
    pub fn new(login: &ClientLogin, expect: Expect) -> Self {
        let response = &login.response;
        let plugin = response.plugin.as_deref();
        let verdict = expect.first(plugin, &response.token, &login.nonce, login.secured);
        let step = match verdict {
            Verdict::Clear => Step::Hash(InClear(Zeroizing::new(response.token.clone()))),
            verdict => Step::Judged(verdict),
        };
        Greet {
            expect,
            nonce: login.nonce,
            secured: login.secured,
            sequence: login.sequence,
            step,
            used_password: !is_empty(&response.token),
            learnt: None,
        }
    }

    /// For a COM_CHANGE_USER in the middle of a session, with the nonce of the greeting. As MariaDB
    /// does it, the token that came with the command is not looked at (libmysqlclient sends none)
    /// and asked for again, for the *same* nonce: libmariadb uses that one whatever it is asked.
    pub fn change_user(request: &ChangeUser, nonce: Nonce, secured: bool, expect: Expect) -> Self {
        let plugin = match request.plugin.as_deref() {
            Some(name) if name == Plugin::CachingSha2.name() => Plugin::CachingSha2,
            _ => Plugin::Native,
        };
        let plugin = expect.checkable(plugin, secured);
        Greet {
            expect,
            nonce,
            secured,
            sequence: 1,
            step: Step::Judged(Verdict::Switch(plugin)),
            used_password: !is_empty(&request.token),
            learnt: None,
        }
    }

    /// The sequence id of our next packet.
    pub fn next_sequence(&self) -> u8 {
        self.sequence
    }

    /// What it said last has not been sent: its number is free again.
    pub fn take_back(&mut self) {
        self.sequence = self.sequence.wrapping_sub(1);
    }

    /// Whether the client sent a proof at all: the YES or NO in "using password" of ERR 1045.
    pub fn used_password(&self) -> bool {
        self.used_password
    }

    /// What the client's password has shown, if it was right and only a slow hash was known of it.
    pub fn learnt(&mut self) -> Option<Digested> {
        self.learnt.take()
    }

    /// Takes the client's next packet.
    fn answered(&mut self, inbound: &mut BytesMut) -> Result<Option<Bytes>, WireError> {
        let taken = packet::take(inbound, MAX_TOKEN_PACKET, self.sequence);
        if let Ok(None) = taken {
            return Ok(None);
        }
        // Also where the packet was refused: our ERR stands behind it.
        self.sequence = self.sequence.wrapping_add(1);
        Ok(taken?.map(|packet| {
            self.used_password |= !is_empty(&packet.payload);
            packet.payload
        }))
    }

    /// What a client says that was asked for its password.
    fn said_in_full(answer: Bytes) -> Step {
        match is_empty(&answer) {
            true => Step::Judged(Verdict::Deny),
            false => Step::Hash(InClear(Zeroizing::new(answer.to_vec()))),
        }
    }

    /// Compares a password with what is stored of it: whether it is right, and its digest.
    fn hashing(&self, said: InClear) -> Derivation {
        let expect = self.expect.clone();
        Derivation::new(move || {
            let password = said.0.strip_suffix(&[0]).unwrap_or(&said.0);
            match expect.accepts_clear(password) {
                true => Digested::of(password).0.to_vec(),
                false => Vec::new(),
            }
        })
    }

    fn hashed(&mut self, derived: &[u8]) -> Verdict {
        let Ok(digest) = <[u8; SHA2_TOKEN]>::try_from(derived) else {
            return Verdict::Deny;
        };
        if self.expect.is_slow() {
            self.learnt = Some(Digested(Zeroizing::new(digest)));
        }
        Verdict::Accept
    }

    /// Tells the verdict; the next step, if there is one.
    fn tell(&mut self, verdict: Verdict, outbound: &mut BytesMut) -> Result<Step, WireError> {
        match verdict {
            Verdict::Deny | Verdict::Clear => return Err(WireError::BadCredentials),
            // Some drivers say their password in clear then, whoever listens.
            Verdict::Full if !self.secured => return Err(WireError::BadCredentials),
            Verdict::Switch(plugin) => {
                self.sequence = put_auth_switch(outbound, self.sequence, plugin, &self.nonce);
                return Ok(Step::Switched);
            }
            Verdict::Full => {
                self.sequence = packet::put(outbound, self.sequence, &FULL_AUTHENTICATION);
                return Ok(Step::Full);
            }
            Verdict::AcceptFast => {
                self.sequence = packet::put(outbound, self.sequence, &FAST_AUTH_SUCCESS);
            }
            Verdict::Accept => {}
        }
        Ok(Step::Over)
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
            self.step = match std::mem::replace(&mut self.step, Step::Over) {
                Step::Judged(verdict) => match self.tell(verdict, outbound)? {
                    Step::Over => {
                        let sequence = self.sequence;
                        return Ok(Progress::Done(Greeted { sequence }));
                    }
                    next => next,
                },
                step @ (Step::Switched | Step::Full) => match (self.answered(inbound)?, step) {
                    (Some(answer), Step::Full) => Self::said_in_full(answer),
                    (Some(token), _) => Step::Judged(self.expect.judge(&token, &self.nonce)),
                    (None, step) => {
                        self.step = step;
                        return Ok(Progress::NeedMore);
                    }
                },
                Step::Hash(said) => {
                    self.step = Step::Hashing;
                    return Ok(Progress::Derive(self.hashing(said)));
                }
                Step::Hashing => {
                    self.step = Step::Hashing;
                    return Ok(Progress::NeedMore);
                }
                Step::Over => {
                    return Err(WireError::Unexpected {
                        expected: "nothing, the authentication is over",
                        got: "more bytes".to_owned(),
                    });
                }
            };
        }
    }

    fn derived(&mut self, derived: Derived) {
        if matches!(self.step, Step::Hashing) {
            self.step = Step::Judged(self.hashed(&derived.0));
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

const AUTH_MORE_DATA: u8 = 1;
/// AuthMoreData of `caching_sha2_password`: the token was enough.
const FAST_AUTH_SUCCESS: [u8; 2] = [AUTH_MORE_DATA, 3];
/// The same: it was not, the password itself is asked for.
const FULL_AUTHENTICATION: [u8; 2] = [AUTH_MORE_DATA, 4];

/// Longest answer of a client, in bytes. Tokens have 32 at most; passwords in clear,
/// which a confused client might send unasked, are let in to be refused as wrong.
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

    /// A round with what the client says in it, computations included, and what it is told.
    fn advance(greet: &mut Greet, said: &[u8]) -> (Result<Progress<Greeted>, WireError>, Vec<u8>) {
        let (mut inbound, mut out) = (BytesMut::from(said), BytesMut::new());
        loop {
            match greet.advance(&mut inbound, &mut out) {
                Ok(Progress::Derive(derivation)) => greet.derived(derivation.run()),
                progress => return (progress, out.to_vec()),
            }
        }
    }

    fn packet(sequence: u8, payload: &[u8]) -> BytesMut {
        let mut packet = BytesMut::new();
        packet::put(&mut packet, sequence, payload);
        packet
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
            let mut greet = Greet::new(&login, secret());
            let progress = advance(&mut greet, &[]).0;
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

    /// As MySQL keeps it, of `secret`.
    const STORED_SHA2: &str = "0x2441243030412478522C354F4E2C42522D2C130F58317E1F0D6012416C4138546A434E2E2E50413157534D496B30522E39785271536D7568487A70306868576D324E32724F39";

    /// A client whose token cannot be judged, or not any more.
    fn asked_in_full(expect: Expect) -> Greet {
        let login = ClientLogin {
            secured: true,
            ..login(SHA2, caching_sha2_token(b"secret", &nonce()))
        };
        let mut greet = Greet::new(&login, expect);
        let (progress, out) = advance(&mut greet, &[]);
        assert!(matches!(progress, Ok(Progress::NeedMore)));
        assert_eq!(out, b"\x02\0\0\x02\x01\x04");
        greet
    }

    #[test]
    fn a_slow_hash_is_proved_by_the_password_and_from_then_on_by_a_token() {
        let stored = || Verifier::parse(STORED_SHA2).unwrap();
        let mut greet = asked_in_full(Expect::Password(stored()));
        let (progress, out) = advance(&mut greet, &packet(3, b"secret\0"));
        assert_eq!((done(progress), out), (4, Vec::new()));
        let digested = greet.learnt().unwrap();

        let knowing = Expect::Password(stored().knowing(&digested));
        let (progress, _) = first(
            SHA2,
            caching_sha2_token(b"secret", &nonce()),
            knowing.clone(),
        );
        assert_eq!(done(progress), 3);
        let (progress, out) = first(SHA2, caching_sha2_token(b"Secret", &nonce()), knowing);
        assert!(matches!(progress, Err(WireError::BadCredentials)));
        assert_eq!(out, b"");
    }

    #[test]
    fn without_tls_nobody_is_asked_for_the_password() {
        let stored = Expect::Password(Verifier::parse(STORED_SHA2).unwrap());
        for expect in [stored, Expect::Password(Verifier::of_nobody_in_full(5000))] {
            let (progress, out) = first(SHA2, caching_sha2_token(b"secret", &nonce()), expect);
            assert!(matches!(progress, Err(WireError::BadCredentials)));
            assert_eq!(out, b"");
        }
    }

    #[test]
    fn wrong_passwords_end_alike_whoever_they_are_of() {
        let stored = || Verifier::parse(STORED_SHA2).unwrap();
        let plain = Verifier::of_password(&Secret::new("other")).asked_in_full(5000);
        for (verifier, said) in [
            (stored(), &b"Secret\0"[..]),
            (stored(), b"\0"),
            (stored(), b""),
            (Verifier::of_nobody_in_full(5000), b"secret\0"),
            (plain, b"secret\0"),
        ] {
            let mut greet = asked_in_full(Expect::Password(verifier));
            let (progress, out) = advance(&mut greet, &packet(3, said));
            assert!(
                matches!(progress, Err(WireError::BadCredentials)),
                "{said:?}"
            );
            assert_eq!((out, greet.next_sequence()), (Vec::new(), 4));
            assert!(greet.learnt().is_none());
        }
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
        let mut greet = Greet::change_user(&request, nonce(), false, secret());
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

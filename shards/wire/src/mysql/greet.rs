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
            Verdict::Clear => Step::Hash(InClear(response.token.clone())),
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
mod tests;

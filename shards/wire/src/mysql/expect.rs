//! What a client must prove, and what its token comes to.
//!
//! Pure judgement: no packets and no order of events; [`super::greet`] carries it out.

use super::greeting::Nonce;
use super::verifier::{NATIVE_TOKEN, Plugin, SHA2_TOKEN, Verifier};

/// What a client must prove.
#[derive(Debug, Clone)]
pub enum Expect {
    /// Nothing: the config says `client_auth: trust`.
    Trust,
    /// That it knows the password of this verifier.
    ///
    /// One that serves both methods looks like [`Expect::Nobody`] to who has the wrong password.
    /// One that was stored for a single method is told apart by its AuthSwitchRequest to who
    /// answers with the other.
    Password(Verifier),
    /// Whatever it proves will not do: the tenant or the user is unknown.
    Nobody,
}

/// What a token comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It proves what was expected.
    Accept,
    /// It does, on the fast path of `caching_sha2_password`, which says so before the OK.
    AcceptFast,
    /// It cannot be judged; one of this method can.
    Switch(Plugin),
    /// It is the password itself, and to be judged as that.
    Clear,
    /// It proves nothing, but the password itself may.
    Full,
    /// It proves nothing.
    Deny,
}

impl Expect {
    /// Judges the token that came with a client's first packet, in the method that it names. Only
    /// where nobody can listen is one in clear looked at; elsewhere another method is asked for.
    pub(super) fn first(
        &self,
        plugin: Option<&str>,
        token: &[u8],
        nonce: &Nonce,
        secured: bool,
    ) -> Verdict {
        let Some(name) = plugin else {
            // A client that names no method cannot be asked for another one.
            return self.judge(token, nonce);
        };
        let named = Plugin::named(name.as_bytes());
        let usable = match named {
            Some(Plugin::Clear) if secured && !is_empty(token) => return Verdict::Clear,
            Some(Plugin::CachingSha2) => true,
            // A client told to use another method than the greeting's has no nonce for it, sends
            // nothing, and waits to be asked.
            Some(Plugin::Native) => !is_empty(token),
            _ => false,
        };
        let method = method_of(token).or(named).unwrap_or(Plugin::Native);
        let checkable = self.checkable(method, secured);
        if !usable || (checkable != method && !is_empty(token)) {
            return Verdict::Switch(checkable);
        }
        self.judge(token, nonce)
    }

    /// Judges a token as it is; the method is known by its length.
    pub(super) fn judge(&self, token: &[u8], nonce: &Nonce) -> Verdict {
        let token = if is_empty(token) { &[] } else { token };
        let proved = match self {
            Expect::Trust => true,
            Expect::Password(verifier) => verifier.accepts(token, nonce),
            Expect::Nobody => {
                // The same work for the same time, and its result thrown away.
                std::hint::black_box(Verifier::of_nobody().accepts(token, nonce));
                false
            }
        };
        match (proved, method_of(token)) {
            (false, Some(Plugin::CachingSha2)) if self.is_slow() => Verdict::Full,
            (false, _) => Verdict::Deny,
            (true, Some(Plugin::CachingSha2)) => Verdict::AcceptFast,
            (true, _) => Verdict::Accept,
        }
    }

    /// Judges a password in clear. Takes milliseconds where [`Expect::is_slow`].
    pub(super) fn accepts_clear(&self, password: &[u8]) -> bool {
        match self {
            Expect::Trust => true,
            Expect::Password(verifier) => verifier.accepts_clear(password),
            Expect::Nobody => {
                std::hint::black_box(Verifier::of_nobody().accepts_clear(password));
                false
            }
        }
    }

    /// Whether a password in clear is compared with a slow hash.
    pub(super) fn is_slow(&self) -> bool {
        matches!(self, Expect::Password(verifier) if verifier.rounds().is_some())
    }

    /// `method`, or the other one if only its tokens can be checked.
    pub(super) fn checkable(&self, method: Plugin, secured: bool) -> Plugin {
        let (method, other) = match method {
            Plugin::CachingSha2 => (Plugin::CachingSha2, Plugin::Native),
            _ => (Plugin::Native, Plugin::CachingSha2),
        };
        match self {
            Expect::Password(verifier) if !verifier.serves(method, secured) => other,
            _ => method,
        }
    }
}

/// No password: nothing at all or, from libmysqlclient, a single NUL.
pub(super) fn is_empty(token: &[u8]) -> bool {
    matches!(token, [] | [0])
}

/// The method that makes tokens of this length.
fn method_of(token: &[u8]) -> Option<Plugin> {
    match token.len() {
        SHA2_TOKEN => Some(Plugin::CachingSha2),
        NATIVE_TOKEN => Some(Plugin::Native),
        _ => None,
    }
}

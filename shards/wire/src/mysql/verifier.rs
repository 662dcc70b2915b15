//! What a client's proof is compared with, and how proofs ("tokens") are made.
//!
//! Knows the arithmetic of `mysql_native_password` (SHA-1) and of the fast path of
//! `caching_sha2_password` (SHA-256). Both are the same idea: the server keeps `H(H(password))`, the
//! client sends `H(password)` masked by a hash over that and the server's nonce. What MySQL keeps on
//! disk for the latter is a hash of another kind, [`super::stored_sha2`]: with that alone the password
//! itself must be asked for, once.

use aws_lc_rs::digest::{self, Algorithm, Digest};
use subtle::ConstantTimeEq;

use zeroize::Zeroizing;

use super::greeting::Nonce;
use super::stored_sha2::StoredSha2;
use crate::secret::Secret;

/// An authentication method by its name on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Plugin {
    /// `caching_sha2_password`: MySQL's default since 8.0.
    CachingSha2,
    /// `mysql_native_password`: MariaDB's default, gone from MySQL 9.
    Native,
    /// `sha256_password`: the password itself, under RSA or TLS. Spoken towards databases only.
    Sha256,
    /// `mysql_clear_password`: the password itself. Spoken towards databases over TLS only.
    Clear,
    /// MariaDB's `ed25519`: a signature. Spoken towards databases only.
    Ed25519,
    /// MariaDB's `parsec`: a signature, by a key that is hashed slowly. Spoken towards databases only.
    Parsec,
}

impl Plugin {
    /// All that are spoken, towards databases at least.
    const ALL: [Plugin; 6] = [
        Plugin::CachingSha2,
        Plugin::Native,
        Plugin::Sha256,
        Plugin::Clear,
        Plugin::Ed25519,
        Plugin::Parsec,
    ];

    /// The name in packets.
    pub fn name(self) -> &'static str {
        match self {
            Plugin::CachingSha2 => "caching_sha2_password",
            Plugin::Native => "mysql_native_password",
            Plugin::Sha256 => "sha256_password",
            Plugin::Clear => "mysql_clear_password",
            Plugin::Ed25519 => "client_ed25519",
            Plugin::Parsec => "parsec",
        }
    }

    /// The method of that name, if it is one we speak.
    pub fn named(name: &[u8]) -> Option<Plugin> {
        let mut all = Plugin::ALL.into_iter();
        all.find(|plugin| plugin.name().as_bytes() == name)
    }
}

/// The token that proves `password` to whoever sent `nonce`; 32 bytes. Empty for no password.
pub fn caching_sha2_token(password: &[u8], nonce: &Nonce) -> Vec<u8> {
    if password.is_empty() {
        return Vec::new();
    }
    let stage1 = sha256(&[password]);
    let stage2 = sha256(&[stage1.as_ref()]);
    xor(
        stage1.as_ref(),
        sha256(&[stage2.as_ref(), nonce.as_bytes()]).as_ref(),
    )
}

/// The token that proves `password` to whoever sent `nonce`; 20 bytes. Empty for no password.
pub fn native_token(password: &[u8], nonce: &Nonce) -> Vec<u8> {
    if password.is_empty() {
        return Vec::new();
    }
    let stage1 = sha1(&[password]);
    let stage2 = sha1(&[stage1.as_ref()]);
    xor(
        stage1.as_ref(),
        sha1(&[nonce.as_bytes(), stage2.as_ref()]).as_ref(),
    )
}

/// What is kept of a password to recognise it: enough to check a token, not to make one.
///
/// Made from the password it serves both methods; from a stored form, the one it was stored for.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    /// `SHA256(SHA256(password))`.
    sha2: Option<[u8; SHA2_TOKEN]>,
    /// `SHA1(SHA1(password))`.
    native: Option<[u8; NATIVE_TOKEN]>,
    /// By which the password itself is judged, where no token proves it.
    stored: Option<StoredSha2>,
    /// There is no password; an empty token is the right one.
    empty: bool,
}

/// `SHA256(SHA256(password))` of a password that a client has said: from then on a token is enough.
#[derive(Clone)]
pub struct Digested(pub(super) Zeroizing<[u8; SHA2_TOKEN]>);

impl std::fmt::Debug for Digested {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Digested(..)")
    }
}

impl Digested {
    /// What this password shows.
    pub fn of(password: &[u8]) -> Digested {
        let mut digest = Zeroizing::new([0; SHA2_TOKEN]);
        digest.copy_from_slice(sha256(&[sha256(&[password]).as_ref()]).as_ref());
        Digested(digest)
    }
}

impl Verifier {
    const NONE: Verifier = Verifier {
        sha2: None,
        native: None,
        stored: None,
        empty: false,
    };

    /// From the password in clear.
    pub fn of_password(password: &Secret) -> Self {
        let password = password.expose().as_bytes();
        Verifier {
            sha2: Some(*Digested::of(password).0),
            native: sha1(&[sha1(&[password]).as_ref()]).as_ref().try_into().ok(),
            empty: password.is_empty(),
            ..Verifier::NONE
        }
    }

    /// How many rounds of hashing it takes to judge the password itself; `None` if a token is enough.
    pub fn rounds(&self) -> Option<u32> {
        self.stored.as_ref().map(|stored| stored.rounds)
    }

    /// The same, where of others only slow hashes are known: whose token proves nothing is asked for the
    /// password itself like one of those, and it takes as many rounds to refuse it.
    pub fn asked_in_full(mut self, rounds: u32) -> Self {
        let hash = || StoredSha2::of_nobody(rounds);
        self.stored.get_or_insert_with(hash);
        self
    }

    /// Of somebody unknown there.
    pub fn of_nobody_in_full(rounds: u32) -> Self {
        Verifier::NONE.asked_in_full(rounds)
    }

    /// The same after its client has said the password, once.
    pub fn knowing(self, digested: &Digested) -> Self {
        Verifier {
            sha2: Some(*digested.0),
            ..self
        }
    }

    /// A verifier that no known password satisfies, for the mock authentication of somebody unknown.
    pub(super) fn of_nobody() -> Self {
        Verifier {
            sha2: Some([0; SHA2_TOKEN]),
            native: Some([0; NATIVE_TOKEN]),
            ..Verifier::NONE
        }
    }

    /// From a stored form: `*` and 40 hexadecimal digits are `SHA1(SHA1(password))`, as MySQL and
    /// MariaDB keep it; `SHA256$` and 64 digits are `SHA256(SHA256(password))`; `$A$` and 67 bytes are
    /// what MySQL keeps for `caching_sha2_password`, and `0x` and 140 digits the same in hexadecimal.
    /// One for either method, with a space between, serves clients of both without a switch.
    pub fn parse(text: &str) -> Option<Self> {
        let mut verifier = Verifier::NONE;
        let mut rest = text;
        loop {
            // The salt behind it may hold spaces.
            let length = match rest.starts_with(STORED) {
                true => StoredSha2::LENGTH,
                false => rest.find(' ').unwrap_or(rest.len()),
            };
            let (form, behind) = rest.split_at_checked(length)?;
            verifier.take(form)?;
            match behind.strip_prefix(' ') {
                Some(more) => rest = more,
                None => return behind.is_empty().then_some(verifier),
            }
        }
    }

    /// One more form, if its method has none yet.
    fn take(&mut self, form: &str) -> Option<()> {
        let is_new = match form.starts_with('*') {
            true => self.native.is_none(),
            false => self.sha2.is_none() && self.stored.is_none(),
        };
        if let Some(digits) = form.strip_prefix('*') {
            self.native = Some(unhex(digits)?);
        } else if let Some(digits) = form.strip_prefix(DIGESTED) {
            self.sha2 = Some(unhex(digits)?);
        } else if let Some(digits) = form.strip_prefix("0x") {
            let stored: [u8; StoredSha2::LENGTH] = unhex(digits)?;
            self.stored = Some(StoredSha2::parse(&stored)?);
        } else {
            self.stored = Some(StoredSha2::parse(form.as_bytes())?);
        }
        is_new.then_some(())
    }

    /// Whether proofs by this method can be checked. Where only a slow hash is there for one, that takes
    /// the password itself, which nobody is asked for on a connection that is not `secured`: whoever can
    /// prove it by a token of the other method is to do that.
    pub fn serves(&self, plugin: Plugin, secured: bool) -> bool {
        match plugin {
            Plugin::CachingSha2 => {
                self.sha2.is_some() || self.stored.is_some() && (secured || self.native.is_none())
            }
            Plugin::Native => self.native.is_some(),
            Plugin::Sha256 | Plugin::Clear | Plugin::Ed25519 | Plugin::Parsec => false,
        }
    }

    /// Whether `token` proves the password to the sender of `nonce`. The comparison takes the same
    /// time wherever the difference is.
    pub fn accepts(&self, token: &[u8], nonce: &Nonce) -> bool {
        match (token.len(), &self.sha2, &self.native) {
            (0, _, _) => self.empty,
            (SHA2_TOKEN, Some(stored), _) => {
                let mask = sha256(&[stored, nonce.as_bytes()]);
                let stage1 = xor(token, mask.as_ref());
                bool::from(sha256(&[&stage1]).as_ref().ct_eq(stored)) && !self.empty
            }
            (NATIVE_TOKEN, _, Some(stored)) => {
                let mask = sha1(&[nonce.as_bytes(), stored]);
                let stage1 = xor(token, mask.as_ref());
                bool::from(sha1(&[&stage1]).as_ref().ct_eq(stored)) && !self.empty
            }
            _ => false,
        }
    }
}

impl Verifier {
    /// Whether this is the password itself, said in clear. Takes as many [`Verifier::rounds`] for a wrong
    /// one as for the right one.
    pub fn accepts_clear(&self, password: &[u8]) -> bool {
        let as_stored = self.stored.as_ref().map(|stored| stored.accepts(password));
        self.is_digest_of(password) || as_stored == Some(true)
    }

    fn is_digest_of(&self, password: &[u8]) -> bool {
        if password.is_empty() || self.empty {
            return password.is_empty() && self.empty;
        }
        match (&self.sha2, &self.native) {
            (Some(stored), _) => bool::from(Digested::of(password).0.ct_eq(stored)),
            (None, Some(stored)) => {
                let said = sha1(&[sha1(&[password]).as_ref()]);
                bool::from(said.as_ref().ct_eq(stored))
            }
            (None, None) => false,
        }
    }
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Verifier(..)")
    }
}

/// Bytes of a `caching_sha2_password` token.
pub const SHA2_TOKEN: usize = 32;
/// Bytes of a `mysql_native_password` token.
pub const NATIVE_TOKEN: usize = 20;

const DIGESTED: &str = "SHA256$";
const STORED: &str = "$A$";

fn sha256(parts: &[&[u8]]) -> Digest {
    hash(&digest::SHA256, parts)
}

fn sha1(parts: &[&[u8]]) -> Digest {
    hash(&digest::SHA1_FOR_LEGACY_USE_ONLY, parts)
}

fn hash(algorithm: &'static Algorithm, parts: &[&[u8]]) -> Digest {
    let mut context = digest::Context::new(algorithm);
    for part in parts {
        context.update(part);
    }
    context.finish()
}

fn xor(left: &[u8], right: &[u8]) -> Vec<u8> {
    left.iter().zip(right).map(|(a, b)| a ^ b).collect()
}

fn unhex<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let digits = digits.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let nibble = |digit: u8| char::from(digit).to_digit(16).map(|value| value as u8);
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Nonces and tokens that go-sql-driver's tests publish.
    const SHA2_NONCE: [u8; 20] = [
        10, 47, 74, 111, 75, 73, 34, 48, 88, 76, 114, 74, 37, 13, 3, 80, 82, 2, 23, 21,
    ];
    const NATIVE_NONCE: [u8; 20] = [
        70, 114, 92, 94, 1, 38, 11, 116, 63, 114, 23, 101, 126, 103, 26, 95, 81, 17, 24, 21,
    ];

    #[test]
    fn caching_sha2_tokens_are_the_published_ones() {
        let nonce = Nonce::received(&SHA2_NONCE).unwrap();
        for (password, token) in [
            (
                "secret",
                "f490e76f66d9d86665ce54d98c78d0acfe2fb0b08b423da807144873d30b312c",
            ),
            (
                "secret2",
                "abc3934a012cf342e876071c8ee202de51785b430258a7a0138bc79c4d800bc6",
            ),
        ] {
            let token: [u8; 32] = unhex(token).unwrap();
            assert_eq!(caching_sha2_token(password.as_bytes(), &nonce), token);
            assert!(Verifier::of_password(&Secret::new(password)).accepts(&token, &nonce));
        }
    }

    #[test]
    fn the_native_token_is_the_published_one() {
        let nonce = Nonce::received(&NATIVE_NONCE).unwrap();
        let token = [
            53, 177, 140, 159, 251, 189, 127, 53, 109, 252, 172, 50, 211, 192, 240, 164, 26, 48,
            207, 45,
        ];
        assert_eq!(native_token(b"secret", &nonce), token);
        assert!(Verifier::of_password(&Secret::new("secret")).accepts(&token, &nonce));
    }

    #[test]
    fn a_stored_form_accepts_what_it_was_stored_for_and_nothing_else() {
        let nonce = Nonce::received(&NATIVE_NONCE).unwrap();
        // SELECT PASSWORD('secret') on MariaDB.
        let native = Verifier::parse("*14E65567ABDB5135D0CFD9A70B3032C179A49EE7").unwrap();
        assert!(native.serves(Plugin::Native, false) && !native.serves(Plugin::CachingSha2, true));
        assert!(native.accepts(&native_token(b"secret", &nonce), &nonce));
        assert!(!native.accepts(&native_token(b"Secret", &nonce), &nonce));
        assert!(!native.accepts(&caching_sha2_token(b"secret", &nonce), &nonce));
        assert!(!native.accepts(b"", &nonce));

        let sha2 = "SHA256$3881219d087dd9c634373fd33dfa33a2cb6bfc6c520b64b8bb60ef2ceb534ae7";
        let both = format!("*14E65567ABDB5135D0CFD9A70B3032C179A49EE7 {sha2}");
        let both = Verifier::parse(&both).unwrap();
        assert!(both.serves(Plugin::Native, false) && both.serves(Plugin::CachingSha2, false));
        assert!(both.accepts(&native_token(b"secret", &nonce), &nonce));
        assert!(both.accepts(&caching_sha2_token(b"secret", &nonce), &nonce));

        for stored in [
            "0x2441243030412478522C354F4E2C42522D2C130F58317E1F0D6012416C4138546A434E2E2E50413157534D496B30522E39785271536D7568487A70306868576D324E32724F39",
            "$A$00A$xR,5ON,BR-,\u{13}\u{f}X1~\u{1f}\r`\u{12}AlA8TjCN..PA1WSMIk0R.9xRqSmuhHzp0hhWm2N2rO9",
        ] {
            let alone = Verifier::parse(stored).unwrap();
            assert!(alone.rounds() == Some(10_000) && alone.serves(Plugin::CachingSha2, false));
            assert!(alone.accepts_clear(b"secret") && !alone.accepts_clear(b"Secret"));
            assert!(!alone.accepts(&caching_sha2_token(b"secret", &nonce), &nonce));
            let knowing = alone.knowing(&Digested::of(b"secret"));
            assert!(knowing.accepts(&caching_sha2_token(b"secret", &nonce), &nonce));
            for both in [
                format!("{stored} *14E65567ABDB5135D0CFD9A70B3032C179A49EE7"),
                format!("*14E65567ABDB5135D0CFD9A70B3032C179A49EE7 {stored}"),
            ] {
                let both = Verifier::parse(&both).unwrap();
                assert!(both.serves(Plugin::Native, false));
                // It takes the password itself, which nobody is asked for where others can listen.
                assert!(both.serves(Plugin::CachingSha2, true));
                assert!(!both.serves(Plugin::CachingSha2, false));
            }
            for bad in [
                format!("{stored} {sha2}"),
                format!("{stored} {stored}"),
                format!("{stored}."),
                stored[..stored.len() - 1].to_owned(),
            ] {
                assert_eq!(Verifier::parse(&bad), None, "{bad}");
            }
        }

        for bad in [
            "",
            "*",
            "*14E65567ABDB5135D0CFD9A70B3032C179A49EE7 ",
            "*14E65567ABDB5135D0CFD9A70B3032C179A49EE7 *14E65567ABDB5135D0CFD9A70B3032C179A49EE7",
            &format!("{sha2} {sha2}"),
            "*14E6",
            "secret",
            "SHA256$00",
            &format!("*{}", "Z".repeat(40)),
        ] {
            assert_eq!(Verifier::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn another_nonce_another_length_or_no_password_is_refused() {
        let (nonce, other) = (
            Nonce::received(&NATIVE_NONCE).unwrap(),
            Nonce::received(&SHA2_NONCE).unwrap(),
        );
        let verifier = Verifier::of_password(&Secret::new("secret"));
        let token = caching_sha2_token(b"secret", &nonce);
        assert!(!verifier.accepts(&token, &other));
        assert!(!verifier.accepts(&token[..31], &nonce));
        assert!(!verifier.accepts(b"", &nonce));

        let empty = Verifier::of_password(&Secret::new(""));
        assert!(empty.accepts(b"", &nonce));
        assert!(!empty.accepts(&token, &nonce));
    }
}

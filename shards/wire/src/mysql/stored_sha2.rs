//! What MySQL keeps of a password for `caching_sha2_password`: a slow hash, by which the password itself can be
//! recognised, and no token.
//!
//! It stands in `mysql.user.authentication_string` as `$A$`, the rounds in thousands as three hexadecimal digits, `$`, 20
//! bytes of salt and 43 digits of the hash. The hash is SHA256-crypt (U. Drepper, "Unix crypt using SHA-256 and
//! SHA-512"), whose salt ends after 16 bytes everywhere else; that is why no crate for it fits.

use aws_lc_rs::digest::{SHA256, digest};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// The hash of one password.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct StoredSha2 {
    /// How often the hash is hashed again.
    pub(super) rounds: u32,
    salt: [u8; SALT],
    hash: [u8; HASH],
}

impl StoredSha2 {
    /// As MySQL stores it, which is [`StoredSha2::LENGTH`] bytes.
    pub(super) fn parse(stored: &[u8]) -> Option<StoredSha2> {
        let rest = stored.strip_prefix(b"$A$")?;
        let (thousands, rest) = rest.split_at_checked(3)?;
        let (salt, encoded) = rest.strip_prefix(b"$")?.split_at_checked(SALT)?;
        let thousands = u32::from_str_radix(std::str::from_utf8(thousands).ok()?, 16).ok()?;
        Some(StoredSha2 {
            rounds: (thousands > 0).then_some(thousands * 1000)?,
            salt: salt.try_into().ok()?,
            hash: decode(encoded)?,
        })
    }

    /// One that no known password has.
    pub(super) fn of_nobody(rounds: u32) -> StoredSha2 {
        StoredSha2 {
            rounds,
            salt: [b'.'; SALT],
            hash: [0; HASH],
        }
    }

    /// Whether it is of this password. Takes milliseconds for the usual 5000 rounds.
    pub(super) fn accepts(&self, password: &[u8]) -> bool {
        // MySQL takes no longer one, and each round would take longer for it.
        let fits = (1..=LONGEST_PASSWORD).contains(&password.len());
        let password = if fits { password } else { b"?" };
        let hash = sha256_crypt(password, &self.salt, self.rounds);
        fits & bool::from(hash.ct_eq(&self.hash))
    }

    /// Bytes of the stored form.
    pub(super) const LENGTH: usize = 7 + SALT + DIGITS;
}

/// SHA256-crypt. The letters are its description's.
fn sha256_crypt(password: &[u8], salt: &[u8], rounds: u32) -> Zeroizing<[u8; HASH]> {
    let mut input = Zeroizing::new(Vec::with_capacity(
        3 * LONGEST_PASSWORD.max(HASH) + 2 * SALT,
    ));
    let hash = |input: &[u8]| {
        let mut out = Zeroizing::new([0; HASH]);
        out.copy_from_slice(digest(&SHA256, input).as_ref());
        out
    };
    for part in [password, salt, password] {
        input.extend_from_slice(part);
    }
    let b = hash(&input);

    input.truncate(password.len() + salt.len());
    input.extend(b.iter().cycle().take(password.len()));
    let mut bits = password.len();
    while bits > 0 {
        match bits & 1 {
            1 => input.extend_from_slice(&*b),
            _ => input.extend_from_slice(password),
        }
        bits >>= 1;
    }
    let mut a = hash(&input);

    let repeated = |of: &[u8], times: usize, length: usize| {
        let dp = hash(&Zeroizing::new(of.repeat(times)));
        Zeroizing::new(dp.iter().copied().cycle().take(length).collect::<Vec<_>>())
    };
    let p = repeated(password, password.len(), password.len());
    let s = repeated(salt, 16 + usize::from(a[0]), salt.len());

    for round in 0..rounds {
        input.clear();
        let (first, last) = match round % 2 {
            0 => (&a[..], &p[..]),
            _ => (&p[..], &a[..]),
        };
        input.extend_from_slice(first);
        if round % 3 != 0 {
            input.extend_from_slice(&s);
        }
        if round % 7 != 0 {
            input.extend_from_slice(&p);
        }
        input.extend_from_slice(last);
        a = hash(&input);
    }
    a
}

/// The hash in crypt's own base 64: three bytes, of places far from each other, in four digits.
fn decode(encoded: &[u8]) -> Option<[u8; HASH]> {
    if encoded.len() != DIGITS {
        return None;
    }
    let mut hash = [0; HASH];
    for (digits, group) in encoded.chunks(4).zip(0..) {
        let mut bits = 0;
        for (&digit, place) in digits.iter().zip(0..) {
            let value = ALPHABET.iter().position(|&known| known == digit)?;
            bits |= value << (6 * place);
        }
        let [_, high, middle, low] = (bits as u32).to_be_bytes();
        // Three columns of ten, of which each next row begins one to the left; then the two that are left over.
        match group {
            10 => (hash[31], hash[30]) = (middle, low),
            _ => {
                let row = [group, group + 10, group + 20];
                let turn = 2 * group % 3;
                hash[row[turn % 3]] = high;
                hash[row[(turn + 1) % 3]] = middle;
                hash[row[(turn + 2) % 3]] = low;
            }
        }
        if group == 10 && high != 0 {
            return None;
        }
    }
    Some(hash)
}

const SALT: usize = 20;
const HASH: usize = 32;
const DIGITS: usize = 43;
const LONGEST_PASSWORD: usize = 256;
const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// What a MySQL 9.7 made of these passwords: `SELECT HEX(authentication_string) FROM mysql.user`.
    const STORED: &[(&str, &str)] = &[
        (
            "secret",
            "2441243030412478522C354F4E2C42522D2C130F58317E1F0D6012416C4138546A434E2E2E50413157534D496B30522E39785271536D7568487A70306868576D324E32724F39",
        ),
        (
            "x",
            "244124303041243D6F2D53756B146576622C7B06567A610B632C017873613148787A4C78536D466F646F486B55575A4B7A7A415270544A4E72735444614A6658522E384E352F",
        ),
        (
            "correct horse battery staple and some more of it, over 64 bytes in all, you see",
            "244124303041247E0B207375235C5A3C4A2C417B39202F4C7917155A45586C6C523171477878564374697178714232336B676859746A56624D58364A513868466E6C537A3835",
        ),
        (
            "pässwörd",
            "244124303041245B750D3E3279767239331E4206227A4C52650C3C42486F3235747A304B4B466C6E66776A445671515442586747616A736E776D7252534E30506D324E754F31",
        ),
    ];

    fn bytes(digits: &str) -> Vec<u8> {
        let pairs = digits.as_bytes().chunks(2);
        let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        pairs.map(byte).collect()
    }

    #[test]
    fn what_a_real_mysql_stored_accepts_its_password_and_no_other() {
        for (password, stored) in STORED {
            let stored = StoredSha2::parse(&bytes(stored)).unwrap();
            assert_eq!(stored.rounds, 10_000);
            assert!(stored.accepts(password.as_bytes()), "{password}");
            for wrong in ["Secret", "", &format!("{password} "), &"s".repeat(257)] {
                assert!(!stored.accepts(wrong.as_bytes()), "{wrong}");
            }
        }
        assert!(!StoredSha2::of_nobody(5000).accepts(b"?"));
    }

    #[test]
    fn what_is_not_of_that_form_is_none() {
        let good = bytes(STORED[0].1);
        assert_eq!(good.len(), StoredSha2::LENGTH);
        let changed = |at: usize, to: u8| {
            let mut bad = good.clone();
            bad[at] = to;
            bad
        };
        let zero_rounds = changed(5, b'0');
        for bad in [
            &good[..69],
            &[&good[..], b"."].concat(),
            &changed(0, b'A'),
            &changed(1, b'B'),
            &changed(4, b'x'),
            &changed(6, b'x'),
            &changed(30, b'!'),
            &changed(69, b'z'),
            &zero_rounds,
            b"",
        ] {
            assert!(StoredSha2::parse(bad).is_none(), "{bad:?}");
        }
    }
}

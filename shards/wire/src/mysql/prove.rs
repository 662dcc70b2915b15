//! Proving a password to a database: everything between our first proof and its OK or ERR.
//!
//! The same for a login and for COM_CHANGE_USER. Knows the methods, not what opened the dialogue.
//!
//! ```text
//!   database                            us
//!   AuthSwitchRequest       ─────▶           at most once
//!                           ◀─────      token of that method
//!   AuthMoreData 03         ─────▶           caching_sha2_password: known, OK follows
//!   AuthMoreData 04         ─────▶           caching_sha2_password: not cached
//!                           ◀─────      02, or over TLS the password
//!   AuthMoreData <RSA key>  ─────▶
//!                           ◀─────      the password, sealed
//!   AuthMoreData <salt>     ─────▶           parsec, see there
//!                           ◀─────      signature
//!   OK or ERR               ─────▶
//! ```

use bytes::{Bytes, BytesMut};
use zeroize::Zeroizing;

use super::cursor::Cursor;
use super::ed25519::{self, SCRAMBLE};
use super::greeting::Nonce;
use super::message::{EOF, ERR, OK, parse_err};
use super::packet::{self, MAX_LOGIN_PACKET};
use super::parsec::{PBKDF2, Salt};
use super::rsa;
use super::verifier::{Plugin, caching_sha2_token, native_token};
use crate::error::WireError;
use crate::exchange::{Derived, Progress};
use crate::secret::Secret;

/// Who may listen in on what is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Privacy {
    /// Everybody on the way: the password may not go in clear.
    None,
    /// Nobody, since it does not leave the machine. (`sha256_password` does not count on that: it asks for TLS or RSA.)
    Local,
    /// Nobody, since it is under TLS.
    Tls,
}

impl Privacy {
    /// Of what goes under TLS, or to a database beside us.
    pub(super) fn of(secured: bool, local: bool) -> Privacy {
        match (secured, local) {
            (true, _) => Privacy::Tls,
            (false, true) => Privacy::Local,
            (false, false) => Privacy::None,
        }
    }
}

/// The proof of one password in one dialogue.
#[derive(Debug)]
pub(super) struct Proof {
    password: Secret,
    privacy: Privacy,
    plugin: Plugin,
    nonce: Nonce,
    /// What the methods that sign have to sign: the server's, and ours for `parsec`.
    scrambles: [[u8; SCRAMBLE]; 2],
    switched: bool,
    /// The next AuthMoreData is the RSA key.
    key_asked: bool,
    /// The next packet is the salt of `parsec`.
    salt_asked: bool,
    /// What that has come to, which is to be sent.
    derived: Option<Derived>,
    /// Packets that came.
    heard: u8,
    /// The sequence id of the next packet, theirs or ours.
    pub(super) sequence: u8,
}

impl Proof {
    /// `scramble` is ours, and unpredictable.
    pub(super) fn new(
        password: Secret,
        privacy: Privacy,
        plugin: Plugin,
        nonce: Nonce,
        scramble: [u8; SCRAMBLE],
    ) -> Self {
        Proof {
            password,
            privacy,
            plugin,
            nonce,
            scrambles: [[0; SCRAMBLE], scramble],
            switched: false,
            key_asked: false,
            salt_asked: false,
            derived: None,
            heard: 0,
            sequence: 0,
        }
    }

    pub(super) fn plugin(&self) -> Plugin {
        self.plugin
    }

    /// What to send first in this method.
    pub(super) fn token(&mut self) -> Result<Zeroizing<Vec<u8>>, WireError> {
        let password = self.password.expose().as_bytes();
        let token = match self.plugin {
            Plugin::CachingSha2 => caching_sha2_token(password, &self.nonce),
            Plugin::Native => native_token(password, &self.nonce),
            Plugin::Sha256 if password.is_empty() => Vec::new(),
            Plugin::Sha256 if self.privacy != Privacy::Tls => {
                self.key_asked = true;
                vec![SHA256_ASK_KEY]
            }
            Plugin::Sha256 | Plugin::Clear => return self.in_clear(),
            Plugin::Ed25519 => ed25519::sign(password, &self.scrambles[0]).to_vec(),
            Plugin::Parsec => {
                self.salt_asked = true;
                Vec::new()
            }
        };
        Ok(Zeroizing::new(token))
    }

    /// Answers what the database sends, until its OK, whose payload is the result.
    pub(super) fn advance(
        &mut self,
        inbound: &mut BytesMut,
        outbound: &mut BytesMut,
    ) -> Result<Progress<Bytes>, WireError> {
        if let Some(derived) = self.derived.take() {
            self.sequence = packet::put(outbound, self.sequence, &derived.0);
        }
        while let Some(packet) = packet::take(inbound, MAX_LOGIN_PACKET, self.sequence)? {
            self.sequence = packet.sequence.wrapping_add(1);
            self.heard += 1;
            if self.heard > MAX_PACKETS {
                return Err(WireError::Unexpected {
                    expected: "OK or ERR",
                    got: "an authentication without end".to_owned(),
                });
            }
            let answer = match packet.payload.first() {
                Some(&OK) => return Ok(Progress::Done(packet.payload)),
                Some(&ERR) => return Err(WireError::Refused(parse_err(&packet.payload)?)),
                Some(&EOF) => Some(self.switch(&packet.payload[1..])?),
                // The layout that MariaDB describes has no byte in front.
                Some(&(AUTH_MORE_DATA | PBKDF2)) if std::mem::take(&mut self.salt_asked) => {
                    let held = packet.payload.strip_prefix(&[AUTH_MORE_DATA]);
                    let held = held.unwrap_or(&packet.payload);
                    let salt = Salt::parse(held).ok_or(WireError::Malformed {
                        what: "salt of the database",
                    })?;
                    let [theirs, ours] = self.scrambles;
                    let answer = salt.answer(self.password.clone(), theirs, ours);
                    return Ok(Progress::Derive(answer));
                }
                Some(&AUTH_MORE_DATA) => self.more(&packet.payload[1..])?,
                _ => {
                    return Err(WireError::Malformed {
                        what: "answer to our login",
                    });
                }
            };
            if let Some(answer) = answer {
                self.sequence = packet::put(outbound, self.sequence, &answer);
            }
        }
        Ok(Progress::NeedMore)
    }

    /// What [`Progress::Derive`] came to.
    pub(super) fn derived(&mut self, derived: Derived) {
        self.derived = Some(derived);
    }

    /// An AuthSwitchRequest: another method, another nonce.
    fn switch(&mut self, body: &[u8]) -> Result<Zeroizing<Vec<u8>>, WireError> {
        if std::mem::replace(&mut self.switched, true) {
            return Err(WireError::Unexpected {
                expected: "OK or ERR",
                got: "a second AuthSwitchRequest".to_owned(),
            });
        }
        let mut cursor = Cursor::new(body);
        // The bare byte asks for the hash of before 4.1.
        let name = if body.is_empty() {
            b"mysql_old_password"
        } else {
            cursor.nul_or_end()
        };
        self.plugin = Plugin::named(name).ok_or_else(|| WireError::Unsupported {
            what: format!(
                "the database asks for the client plugin '{}' for the tenant's account, where caching_sha2_password, \
                 mysql_native_password, sha256_password, ed25519, parsec and, over TLS, mysql_clear_password are spoken: that",
                String::from_utf8_lossy(&name[..name.len().min(64)]).escape_debug()
            ),
        })?;
        self.key_asked = false;
        match self.plugin {
            Plugin::Clear => {}
            Plugin::Ed25519 | Plugin::Parsec => self.scrambles[0] = scramble(cursor.rest())?,
            _ => self.nonce = Nonce::received(cursor.rest())?,
        }
        self.token()
    }

    /// AuthMoreData: what the method itself has to say.
    fn more(&mut self, body: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>, WireError> {
        if std::mem::take(&mut self.key_asked) {
            let password = self.password.expose().as_bytes();
            return Ok(Some(Zeroizing::new(rsa::seal(
                password,
                &self.nonce,
                body,
            )?)));
        }
        match (self.plugin, body) {
            (Plugin::CachingSha2, [FAST_AUTH_SUCCESS]) => Ok(None),
            (Plugin::CachingSha2, [FULL_AUTHENTICATION]) if self.privacy != Privacy::None => {
                self.in_clear().map(Some)
            }
            (Plugin::CachingSha2, [FULL_AUTHENTICATION]) => {
                self.key_asked = true;
                Ok(Some(Zeroizing::new(vec![CACHING_SHA2_ASK_KEY])))
            }
            _ => Err(WireError::Unexpected {
                expected: "OK, ERR or AuthSwitchRequest",
                got: "AuthMoreData of no known meaning".to_owned(),
            }),
        }
    }

    /// The password and its NUL, where nobody listens only.
    fn in_clear(&self) -> Result<Zeroizing<Vec<u8>>, WireError> {
        if self.privacy == Privacy::None {
            let what = format!(
                "sending the password in clear ({}, no TLS)",
                self.plugin.name()
            );
            return Err(WireError::Unsupported { what });
        }
        let mut clear = Zeroizing::new(Vec::with_capacity(self.password.expose().len() + 1));
        clear.extend_from_slice(self.password.expose().as_bytes());
        clear.push(0);
        Ok(clear)
    }
}

/// What a server wants signed, perhaps with a NUL behind it.
fn scramble(bytes: &[u8]) -> Result<[u8; SCRAMBLE], WireError> {
    match bytes.split_first_chunk() {
        Some((scramble, [] | [0])) => Ok(*scramble),
        _ => Err(WireError::Malformed {
            what: "scramble of the database",
        }),
    }
}

/// Most packets of a database before its OK; the longest path takes four. Each may cost us an
/// encryption.
const MAX_PACKETS: u8 = 8;

const AUTH_MORE_DATA: u8 = 1;
const FAST_AUTH_SUCCESS: u8 = 3;
const FULL_AUTHENTICATION: u8 = 4;
const CACHING_SHA2_ASK_KEY: u8 = 2;
const SHA256_ASK_KEY: u8 = 1;

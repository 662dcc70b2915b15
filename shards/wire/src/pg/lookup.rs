//! Asking a database what it keeps of a user's secret.
//!
//! ```text
//!   us         Parse, Bind, Execute, Sync
//!   database   ParseComplete, BindComplete, DataRow (none or one), CommandComplete, ReadyForQuery
//! ```
//!
//! The name is a parameter of the extended protocol, never part of the text, so it means nothing but
//! itself whatever is in it.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::error_response;
use super::frame::{compose, cut_i32, put_string, take_message, type_name};
use crate::error::WireError;
use crate::exchange::{Exchange, Progress};
use crate::secret::Secret;

/// The question. Its outcome is `None` if there is no such user, or none that may log in.
#[derive(Debug)]
pub struct Lookup {
    question: Option<(String, String)>,
    found: Option<Bytes>,
    heard: usize,
}

/// What a database keeps of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The verifier or hash.
    pub secret: Secret,
    /// How long it is valid still; `None` is without end.
    pub valid_for: Option<Duration>,
}

impl Lookup {
    /// Asks `query`, whose `$1` is the user's name. Its answer is one row at most: the secret alone,
    /// the name and the secret, or these and the seconds that the secret stays valid.
    pub fn new(query: impl Into<String>, user: impl Into<String>) -> Lookup {
        Lookup {
            question: Some((query.into(), user.into())),
            found: None,
            heard: 0,
        }
    }

    fn hear(&mut self, kind: u8, body: Bytes) -> Result<bool, WireError> {
        match kind {
            // ParseComplete, BindComplete, CommandComplete, and what may come at any time.
            b'1' | b'2' | b'C' | b'N' | b'S' | b'A' => {}
            b'D' if self.found.is_none() => self.found = Some(body),
            b'D' | b's' => {
                return Err(WireError::Unexpected {
                    expected: "one user at most",
                    got: "more than one row".to_owned(),
                });
            }
            b'E' => return Err(WireError::Refused(error_response::parse(body))),
            b'Z' => return Ok(true),
            other => {
                return Err(WireError::Unexpected {
                    expected: "the answer to a query for a user's secret",
                    got: type_name(other),
                });
            }
        }
        Ok(false)
    }
}

impl Exchange for Lookup {
    type Outcome = Option<Found>;

    fn advance(
        &mut self,
        inbound: &mut BytesMut,
        outbound: &mut BytesMut,
    ) -> Result<Progress<Option<Found>>, WireError> {
        if let Some((query, user)) = self.question.take() {
            ask(&query, &user, outbound);
        }
        while let Some(message) = take_message(inbound, ANSWER_LIMIT)? {
            self.heard += message.body.len();
            if self.heard > ANSWER_LIMIT {
                return Err(WireError::TooLarge {
                    what: "the answer to a query for a user's secret",
                    limit: ANSWER_LIMIT,
                });
            }
            if self.hear(message.kind, message.body)? {
                return match self.found.take() {
                    Some(row) => read(row).map(Progress::Done),
                    None => Ok(Progress::Done(None)),
                };
            }
        }
        Ok(Progress::NeedMore)
    }
}

fn ask(query: &str, user: &str, out: &mut BytesMut) {
    compose(out, b'P', |body| {
        put_string(body, b"");
        put_string(body, query.as_bytes());
        body.put_u16(0);
    });
    compose(out, b'B', |body| {
        put_string(body, b"");
        put_string(body, b"");
        body.put_u16(0);
        body.put_u16(1);
        body.put_u32(user.len() as u32);
        body.put_slice(user.as_bytes());
        body.put_u16(0);
    });
    compose(out, b'E', |body| {
        put_string(body, b"");
        body.put_u32(2);
    });
    compose(out, b'S', |_| {});
}

/// A row's meaning.
fn read(mut row: Bytes) -> Result<Option<Found>, WireError> {
    let columns = columns(&mut row).ok_or(WireError::Malformed { what: "DataRow" })?;
    let (secret, seconds) = match &columns[..] {
        [secret] | [_, secret] => (secret, &None),
        [_, secret, seconds] => (secret, seconds),
        _ => {
            return Err(WireError::Unexpected {
                expected: "a secret, a name and a secret, or these and seconds",
                got: format!("{} columns", columns.len()),
            });
        }
    };
    let valid_for = match seconds.as_deref().map(str::parse::<f64>) {
        None => None,
        Some(Ok(seconds)) if seconds > 0.0 => Duration::try_from_secs_f64(seconds).ok(),
        // It was valid when the query began.
        Some(Ok(_)) => return Ok(None),
        Some(Err(_)) => return Err(WireError::Malformed { what: "seconds" }),
    };
    let secret = secret.as_deref().filter(|secret| !secret.is_empty());
    Ok(secret.map(|secret| Found {
        secret: Secret::new(secret),
        valid_for,
    }))
}

/// The values of a DataRow, in the text format.
fn columns(row: &mut Bytes) -> Option<Vec<Option<String>>> {
    let count = (row.len() >= 2).then(|| row.get_u16())?;
    let column = |_| {
        let length = cut_i32(row)?;
        let Ok(length) = usize::try_from(length) else {
            return Some(None);
        };
        let value = (row.len() >= length).then(|| row.split_to(length))?;
        Some(Some(String::from_utf8(value.to_vec()).ok()?))
    };
    (0..count.min(COLUMNS_LIMIT)).map(column).collect()
}

/// What every PostgreSQL keeps of its users, for those who may read it: superusers. It leaves out
/// whoever may not log in, or not any more; every name in it is the server's own, whatever the search
/// path. PostgreSQL before 17 cannot subtract from infinity.
pub const PG_AUTHID: &str = "SELECT rolname, rolpassword, CASE WHEN pg_catalog.isfinite(rolvaliduntil) \
    THEN pg_catalog.date_part('epoch', rolvaliduntil OPERATOR(pg_catalog.-) pg_catalog.now()) END \
    FROM pg_catalog.pg_authid WHERE rolcanlogin \
    AND rolname::pg_catalog.text OPERATOR(pg_catalog.=) $1::pg_catalog.text \
    AND (rolvaliduntil IS NULL OR rolvaliduntil OPERATOR(pg_catalog.>) pg_catalog.now())";

/// The most that a database may answer, in bytes.
const ANSWER_LIMIT: usize = 64 << 10;
/// Columns that are looked at; three mean something.
const COLUMNS_LIMIT: u16 = 4;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = (body.len() as u32 + 4).to_be_bytes();
        [&[kind][..], &length, body].concat()
    }

    fn row(values: &[Option<&str>]) -> Vec<u8> {
        let mut body = (values.len() as u16).to_be_bytes().to_vec();
        for value in values {
            match value {
                Some(value) => {
                    body.extend((value.len() as u32).to_be_bytes());
                    body.extend(value.as_bytes());
                }
                None => body.extend((-1_i32).to_be_bytes()),
            }
        }
        message(b'D', &body)
    }

    fn answer(rows: &[Vec<u8>]) -> Vec<u8> {
        let ends = [message(b'C', b"SELECT 1\0"), message(b'Z', b"I")].concat();
        [message(b'1', b""), message(b'2', b""), rows.concat(), ends].concat()
    }

    fn look_up(bytes: &[u8]) -> Result<Option<Found>, WireError> {
        let mut lookup = Lookup::new("q", "u");
        match lookup.advance(&mut BytesMut::from(bytes), &mut BytesMut::new())? {
            Progress::Done(found) => Ok(found),
            other => panic!("{other:?}"),
        }
    }

    fn found(secret: &str, seconds: Option<u64>) -> Option<Found> {
        Some(Found {
            secret: Secret::new(secret),
            valid_for: seconds.map(Duration::from_secs),
        })
    }

    #[test]
    fn the_name_is_a_parameter_whatever_is_in_it() {
        let mut out = BytesMut::new();
        let asked = Lookup::new("q", "a'; --").advance(&mut BytesMut::new(), &mut out);
        assert!(matches!(asked, Ok(Progress::NeedMore)));
        let expected = b"P\0\0\0\x09\0q\0\0\0B\0\0\0\x16\0\0\0\0\0\x01\0\0\0\x06a'; --\0\0E\0\0\0\x09\0\0\0\0\x02S\0\0\0\x04";
        assert_eq!(&out[..], expected);
    }

    #[test]
    fn an_answer_means_the_same_wherever_it_is_cut() {
        let bytes = answer(&[row(&[Some("u"), Some("s"), Some("1.0")])]);
        for cut in 0..bytes.len() {
            let (mut lookup, mut out) = (Lookup::new("q", "u"), BytesMut::new());
            let mut inbound = BytesMut::from(&bytes[..cut]);
            let early = lookup.advance(&mut inbound, &mut out).unwrap();
            assert!(matches!(early, Progress::NeedMore), "{cut}");
            inbound.extend_from_slice(&bytes[cut..]);
            match lookup.advance(&mut inbound, &mut out).unwrap() {
                Progress::Done(answer) => assert_eq!(answer, found("s", Some(1))),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn rows_have_one_to_three_columns() {
        for (values, meaning) in [
            (&[Some("s")][..], found("s", None)),
            (&[Some("u"), Some("s")], found("s", None)),
            (&[Some("u"), Some("s"), None], found("s", None)),
            (&[Some("u"), Some("s"), Some("2")], found("s", Some(2))),
            (&[Some("u"), Some("s"), Some("0")], None),
            (&[Some("u"), Some("s"), Some("-1")], None),
            (&[Some("u"), None, None], None),
            (&[Some("")], None),
        ] {
            assert_eq!(look_up(&answer(&[row(values)])), Ok(meaning), "{values:?}");
        }
        assert_eq!(look_up(&answer(&[])), Ok(None));
    }

    #[test]
    fn what_a_database_may_not_answer_is_refused() {
        let one = row(&[Some("s")]);
        for bad in [
            answer(&[one.clone(), one.clone()]),
            [one.clone(), message(b's', b"")].concat(),
            answer(&[row(&[])]),
            answer(&[row(&[None, None, None, None])]),
            answer(&[row(&[Some("u"), Some("s"), Some("soon")])]),
            answer(&[message(b'D', b"\0\x01\0\0\0\x09short")]),
            answer(&[message(b'D', b"\0")]),
            message(b'G', b"\0\0\0"),
            message(b'E', b"C42501\0Mpermission denied\0\0"),
            answer(&vec![message(b'N', &[0; 60_000]); 2]),
        ] {
            assert!(look_up(&bad).is_err(), "{bad:?}");
        }
    }
}

//! The key by which a client may cancel a query on another connection: BackendKeyData and
//! CancelRequest.

use bytes::{BufMut, Bytes, BytesMut};
use subtle::ConstantTimeEq;

use super::frame::compose_untyped;
use crate::error::WireError;

/// A process id and a secret. Protocol 3.0 knows secrets of four bytes; 3.2 up to 256.
///
/// Comparing takes the same time wherever two secrets of one length differ.
#[derive(Clone)]
pub struct CancelKey {
    process_id: i32,
    secret: Bytes,
}

impl CancelKey {
    /// Checks that the secret has a length that the protocol can carry.
    pub fn new(process_id: i32, secret: impl Into<Bytes>) -> Result<Self, WireError> {
        let secret = secret.into();
        if !(SECRET_MIN..=SECRET_LIMIT).contains(&secret.len()) {
            return Err(WireError::Malformed {
                what: "secret of a cancel key",
            });
        }
        Ok(CancelKey { process_id, secret })
    }

    /// The process that serves the session, as `pg_backend_pid()` says it.
    pub fn process_id(&self) -> i32 {
        self.process_id
    }

    /// The same process under another secret.
    pub fn with_secret(&self, secret: impl Into<Bytes>) -> Result<Self, WireError> {
        CancelKey::new(self.process_id, secret)
    }

    /// 4 to 256 bytes.
    pub fn secret(&self) -> &[u8] {
        &self.secret
    }

    /// Appends a CancelRequest, which is all that its connection ever carries.
    pub fn write_cancel_request(&self, out: &mut BytesMut) {
        compose_untyped(out, |body| {
            body.put_i32(CANCEL_REQUEST_CODE);
            body.put_i32(self.process_id);
            body.put_slice(&self.secret);
        });
    }
}

impl PartialEq for CancelKey {
    fn eq(&self, other: &Self) -> bool {
        self.process_id == other.process_id && bool::from(self.secret.ct_eq(&other.secret))
    }
}

impl Eq for CancelKey {}

impl std::fmt::Debug for CancelKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CancelKey")
            .field("process_id", &self.process_id)
            .finish_non_exhaustive()
    }
}

/// Shortest secret, in bytes: the only length that protocol 3.0 knows.
pub const SECRET_MIN: usize = 4;

/// Longest secret, in bytes (protocol 3.2).
pub const SECRET_LIMIT: usize = 256;

/// What stands in the place of the protocol version in a CancelRequest.
pub(crate) const CANCEL_REQUEST_CODE: i32 = 80_877_102;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_cancel_request_has_the_bytes_of_the_standard() {
        let mut out = BytesMut::new();
        let key = CancelKey::new(7, &b"abcd"[..]).unwrap();
        key.write_cancel_request(&mut out);
        assert_eq!(&out[..], b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x07abcd");
    }

    #[test]
    fn keys_differ_by_pid_secret_and_length() {
        let key = |pid, secret: &'static [u8]| CancelKey::new(pid, secret).unwrap();
        assert_eq!(key(1, b"abcd"), key(1, b"abcd"));
        assert_ne!(key(1, b"abcd"), key(2, b"abcd"));
        assert_ne!(key(1, b"abcd"), key(1, b"abce"));
        assert_ne!(key(1, b"abcd"), key(1, b"abcde"));
        assert!(CancelKey::new(1, &b"abc"[..]).is_err());
        assert!(CancelKey::new(1, vec![0; 257]).is_err());
        assert!(!format!("{:?}", key(1, b"abcd")).contains("abcd"));
    }
}

//! Messages that a client sends, composed. (A CancelRequest is composed by its key, a
//! StartupMessage by itself.)

use bytes::{BufMut, BytesMut};

use super::frame::{compose, compose_untyped, put_string};

/// SSLRequest: asks whether the other side speaks TLS.
pub fn ssl_request(out: &mut BytesMut) {
    compose_untyped(out, |body| body.put_i32(SSL_REQUEST_CODE));
}

/// PasswordMessage: a password in clear, or what md5 made of it.
pub(crate) fn password_message(password: &[u8], out: &mut BytesMut) {
    compose(out, b'p', |body| put_string(body, password));
}

/// SASLInitialResponse: the mechanism chosen, and its first message.
pub(crate) fn sasl_initial_response(mechanism: &str, first: &str, out: &mut BytesMut) {
    compose(out, b'p', |body| {
        put_string(body, mechanism.as_bytes());
        body.put_u32(first.len() as u32);
        body.put_slice(first.as_bytes());
    });
}

/// SASLResponse: a later message of the mechanism.
pub(crate) fn sasl_response(data: &str, out: &mut BytesMut) {
    compose(out, b'p', |body| body.put_slice(data.as_bytes()));
}

/// Terminate: the polite end of a session.
pub fn terminate(out: &mut BytesMut) {
    compose(out, b'X', |_| {});
}

/// What stands in the place of the protocol version in an SSLRequest.
pub(crate) const SSL_REQUEST_CODE: i32 = 80_877_103;

/// What stands in the place of the protocol version in a GSSENCRequest.
pub(crate) const GSSENC_REQUEST_CODE: i32 = 80_877_104;

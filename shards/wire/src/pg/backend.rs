//! Messages that a database sends, composed: what we say to a client in its place.

use bytes::{BufMut, BytesMut};

use super::{
    CancelKey, Parameters, ProtocolVersion, TransactionStatus,
    frame::{compose, put_string},
};

/// What follows AuthenticationOk: the settings, the cancel key, ReadyForQuery.
pub fn welcome(
    parameters: &Parameters,
    key: Option<&CancelKey>,
    status: TransactionStatus,
    out: &mut BytesMut,
) {
    out.reserve(USUAL_WELCOME);
    for (name, value) in parameters.iter() {
        parameter_status(name, value, out);
    }
    if let Some(key) = key {
        backend_key_data(key, out);
    }
    ready_for_query(status, out);
}

/// Bytes of a welcome with the parameters that PostgreSQL reports by itself.
const USUAL_WELCOME: usize = 512;

/// ParameterStatus: the value of a setting that drivers care about.
pub fn parameter_status(name: &str, value: &[u8], out: &mut BytesMut) {
    compose(out, b'S', |body| {
        put_string(body, name.as_bytes());
        put_string(body, value);
    });
}

/// BackendKeyData: the key for a later CancelRequest.
pub fn backend_key_data(key: &CancelKey, out: &mut BytesMut) {
    compose(out, b'K', |body| {
        body.put_i32(key.process_id());
        body.put_slice(key.secret());
    });
}

/// ReadyForQuery: it is the client's turn.
pub fn ready_for_query(status: TransactionStatus, out: &mut BytesMut) {
    compose(out, b'Z', |body| body.put_u8(status.as_byte()));
}

/// NegotiateProtocolVersion: what of the wished-for protocol is not spoken here.
///
/// The version is sent whole (major and minor), as PostgreSQL sends it and libpq reads it.
pub(crate) fn negotiate_protocol_version<'a>(
    version: ProtocolVersion,
    unrecognized: impl ExactSizeIterator<Item = &'a str>,
    out: &mut BytesMut,
) {
    compose(out, b'v', |body| {
        body.put_u16(version.major);
        body.put_u16(version.minor);
        body.put_u32(unrecognized.len() as u32);
        for option in unrecognized {
            put_string(body, option.as_bytes());
        }
    });
}

/// The Authentication messages, by the number that tells them apart.
pub(crate) mod authentication {
    use super::{BufMut, BytesMut, compose, put_string};

    pub(crate) const OK: i32 = 0;
    pub(crate) const KERBEROS_V5: i32 = 2;
    pub(crate) const CLEARTEXT_PASSWORD: i32 = 3;
    pub(crate) const MD5_PASSWORD: i32 = 5;
    pub(crate) const GSS: i32 = 7;
    pub(crate) const SSPI: i32 = 9;
    pub(crate) const SASL: i32 = 10;
    pub(crate) const SASL_CONTINUE: i32 = 11;
    pub(crate) const SASL_FINAL: i32 = 12;

    /// AuthenticationOk, AuthenticationCleartextPassword, or one whose data follows the number:
    /// AuthenticationMD5Password, AuthenticationSASLContinue, AuthenticationSASLFinal.
    pub(crate) fn write(number: i32, data: &[u8], out: &mut BytesMut) {
        compose(out, b'R', |body| {
            body.put_i32(number);
            body.put_slice(data);
        });
    }

    /// AuthenticationSASL: the mechanisms on offer, the most wanted first.
    pub(crate) fn write_sasl(mechanisms: &[&str], out: &mut BytesMut) {
        compose(out, b'R', |body| {
            body.put_i32(SASL);
            for mechanism in mechanisms {
                put_string(body, mechanism.as_bytes());
            }
            body.put_u8(0);
        });
    }
}

//! The shape of every dialogue that has an end: login, greeting, preface, reset, ping.
//!
//! An exchange knows bytes in and bytes out. It knows no socket, no clock and no thread: whoever
//! carries it reads from the peer into `inbound`, writes `outbound` to the peer, and calls
//! [`Exchange::advance`] again whenever more bytes have arrived.

use bytes::BytesMut;

use crate::error::WireError;

/// A dialogue with a beginning and an end.
pub trait Exchange {
    /// What is known when the dialogue is over.
    type Outcome;

    /// Takes what it understands from `inbound`, appends what must be sent to `outbound`.
    ///
    /// Called first with whatever has arrived, perhaps nothing (the side that speaks first then
    /// appends its opening). Bytes behind the end of the dialogue stay in `inbound`. On an error,
    /// `outbound` may hold a last message that the peer should still get; the exchange is over.
    fn advance(
        &mut self,
        inbound: &mut BytesMut,
        outbound: &mut BytesMut,
    ) -> Result<Progress<Self::Outcome>, WireError>;

    /// Hands in the result of a [`Derivation`] that `advance` asked for. Then call `advance` again.
    fn derived(&mut self, _derived: Derived) {}
}

/// How far an exchange has come.
#[derive(Debug)]
#[must_use]
pub enum Progress<T> {
    /// Send what is outbound, wait for more from the peer.
    NeedMore,
    /// A computation of a millisecond or so is due, which is not for an executor's thread: run it
    /// elsewhere and hand the result to [`Exchange::derived`].
    Derive(Derivation),
    /// The dialogue is over. What is outbound must still be sent.
    Done(T),
}

/// A costly computation as a value: `Send`, complete in itself, to be run on any thread.
pub struct Derivation(Box<dyn FnOnce() -> Derived + Send>);

/// What a [`Derivation`] came to; opaque bytes that only the exchange that asked understands.
pub struct Derived(pub(crate) zeroize::Zeroizing<Vec<u8>>);

impl Derivation {
    /// Wraps a computation whose result is the bytes it returns.
    pub(crate) fn new(compute: impl FnOnce() -> Vec<u8> + Send + 'static) -> Self {
        Derivation(Box::new(move || {
            Derived(zeroize::Zeroizing::new(compute()))
        }))
    }

    /// Computes. Takes about a millisecond for SCRAM's 4096 rounds of PBKDF2.
    pub fn run(self) -> Derived {
        (self.0)()
    }
}

impl std::fmt::Debug for Derivation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Derivation")
    }
}

impl std::fmt::Debug for Derived {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Derived(..)")
    }
}

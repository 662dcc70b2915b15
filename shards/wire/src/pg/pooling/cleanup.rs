//! Making a backend fit for the next client.

use bytes::BytesMut;

use super::BackendMemory;
use crate::{Exchange, Progress, WireError};

/// What must become of a backend that a tracker gave up.
#[derive(Debug)]
#[must_use]
pub enum Release {
    /// Nothing is left on it: it may be parked or handed on at once.
    Clean(BackendMemory),
    /// Something may be left on it: carry this out first (with a time limit); it gives the memory
    /// back. If it fails, close the backend.
    Cleanup(Cleanup),
    /// It cannot be used again.
    Close {
        /// A statement may be running: the database would go on with it unless it is cancelled.
        busy: bool,
    },
}

/// The dialogue that takes away what a client left: one Query, and its replies up to a
/// ReadyForQuery that says idle.
#[derive(Debug)]
pub struct Cleanup {}

impl Exchange for Cleanup {
    type Outcome = BackendMemory;

    fn advance(
        &mut self,
        _inbound: &mut BytesMut,
        _outbound: &mut BytesMut,
    ) -> Result<Progress<BackendMemory>, WireError> {
        todo!()
    }
}

//! Where a tracker puts bytes: beside the chunk that it was given, so that most chunks pass uncopied.

use bytes::BytesMut;

/// What must be sent, behind the chunk that passed whole (if it did).
#[derive(Debug, Default)]
pub struct Outbound {
    /// For the client.
    pub to_client: BytesMut,
    /// For the backend that the tracker is attached to.
    pub to_backend: BytesMut,
}

/// What became of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Passage {
    /// Forward the chunk as it is, then send what is outbound.
    Whole,
    /// Drop the chunk; what is to be sent of it has been copied to what is outbound.
    Copied,
}

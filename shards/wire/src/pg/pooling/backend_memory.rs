//! What one backend remembers: how it is set, and what has been prepared on it.

/// Stays with a backend in the pool; a [`Tracker`](super::Tracker) has it while it is attached.
#[derive(Debug)]
pub struct BackendMemory {}

impl BackendMemory {
    /// Takes what an idle backend says by itself: a changed setting (ParameterStatus), a notice.
    ///
    /// An error tells why the backend must be closed.
    pub fn idle_said(&mut self, chunk: &[u8]) -> Result<(), super::BackendFault> {
        let _ = chunk;
        todo!()
    }
}

//! One client in transaction mode: what it said, what it is owed, and what it has made of its session.

use std::rc::Rc;

use super::{BackendMemory, Commons, Outbound, Passage, Pins, Release};
use crate::error::{Refusal, WireError};
use crate::pg::{ErrorResponse, Parameters, TransactionStatus};

/// Follows one client from its login to its leave.
#[derive(Debug)]
pub struct Tracker {
    _commons: Rc<Commons>,
}

/// What a backend did wrong. Each means that it must be closed, and that its client cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BackendFault {
    /// It said what was not its turn to say; whose reply that was is not to be known any more.
    #[error("the database sent {got} where nothing of the kind was owed")]
    OutOfTurn {
        /// The message type.
        got: String,
    },
    /// What it sent is not the protocol.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// It would not be set as the client's session asks (a startup parameter that does not exist,
    /// a role that was dropped): the client must be told so in these words, FATAL.
    #[error("the session's settings were refused: {0}")]
    SettingsRefused(Refusal),
}

impl Tracker {
    /// A client that has proven who it is, and asked for these startup parameters (user, database
    /// and replication left out, `options` as it remains).
    ///
    /// An error is FATAL for the client: `options` with switches that are not settings.
    pub fn new(commons: Rc<Commons>, startup: &Parameters) -> Result<Tracker, ErrorResponse> {
        let _ = startup;
        Ok(Tracker { _commons: commons })
    }

    /// The settings to be reported to the client at its login, exactly as a database would report
    /// them; `None` if that is not known yet. Then attach a backend, let the tracker set it (until
    /// [`is_setting`](Self::is_setting) ends), and ask again.
    pub fn welcome(&mut self) -> Option<Parameters> {
        todo!()
    }

    /// Takes bytes from the client. What cannot go on yet, for want of a backend or because an
    /// answer decides what it means, is kept, and goes on by itself later.
    ///
    /// An error is the client's fault and FATAL: tell it so, and end the session.
    pub fn client_said(
        &mut self,
        chunk: &[u8],
        out: &mut Outbound,
    ) -> Result<Passage, ErrorResponse> {
        let _ = (chunk, out);
        todo!()
    }

    /// Whether so much is kept that no more should be received from the client for now.
    pub fn is_full(&self) -> bool {
        todo!()
    }

    /// Whether what is kept waits for a backend to be attached.
    pub fn needs_backend(&self) -> bool {
        todo!()
    }

    /// Takes a backend, sets it as the session needs it, and lets go on what was kept.
    pub fn attach(
        &mut self,
        memory: BackendMemory,
        out: &mut Outbound,
    ) -> Result<(), ErrorResponse> {
        let _ = (memory, out);
        todo!()
    }

    /// Takes bytes from the attached backend. It may also let go on what was kept of the client's.
    pub fn backend_said(
        &mut self,
        chunk: &[u8],
        out: &mut Outbound,
    ) -> Result<Passage, BackendFault> {
        let _ = (chunk, out);
        todo!()
    }

    /// Whether a backend is attached.
    pub fn is_attached(&self) -> bool {
        todo!()
    }

    /// Whether the attached backend is still being set; nothing of the client's has reached it.
    pub fn is_setting(&self) -> bool {
        todo!()
    }

    /// Whether the attached backend may be released: nothing is owed or kept, no transaction is
    /// open, no message is half forwarded, nothing pins.
    pub fn may_release(&self) -> bool {
        todo!()
    }

    /// Whether the session may end here without a loss: as above, pinned or not.
    pub fn at_rest(&self) -> bool {
        todo!()
    }

    /// Whether the client waits for a reply, so that a query is running.
    pub fn is_owed(&self) -> bool {
        todo!()
    }

    /// What the last ReadyForQuery that the client got said.
    pub fn status(&self) -> TransactionStatus {
        todo!()
    }

    /// What keeps the client at its backend.
    pub fn pins(&self) -> Pins {
        todo!()
    }

    /// Whether the client has said Terminate.
    pub fn has_terminated(&self) -> bool {
        todo!()
    }

    /// Whether the backend has told the client, FATAL, why it will close.
    pub fn is_explained(&self) -> bool {
        todo!()
    }

    /// Whether a message of ours may be put between what the client has been sent so far.
    pub fn may_speak(&self) -> bool {
        todo!()
    }

    /// Gives up the backend: after [`may_release`](Self::may_release), or because the client has
    /// left or must leave. `None` if there is none.
    pub fn detach(&mut self) -> Option<Release> {
        todo!()
    }
}

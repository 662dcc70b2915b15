//! What is under way in a PostgreSQL session in session mode, as far as headers tell.

use sockets::Chunk;
use wire::pg::{Sender, TransactionStatus, Walker};

use crate::channel::Channel;
use crate::control::Control;
use crate::farewell::SessionEnd;
use crate::relay::{Said, Watch};
use crate::stats::{Meter, Stats};

/// Follows both directions of a PostgreSQL session by headers.
pub(super) struct PgWatch<'a> {
    client: Walker,
    backend: Walker,
    /// ReadyForQuery messages that the client has asked for and not been given. An error in a
    /// pipeline can leave it too high, never too low: such a session counts as busy.
    owed: i64,
    /// `owed` may be too high: an error, or a COPY whose data is already under way, may have swallowed some of it.
    doubtful: bool,
    /// The client has begun a batch and not ended it.
    batch_open: bool,
    status: TransactionStatus,
    /// The client has said Terminate.
    terminated: bool,
    /// The database has said why it will close.
    explained: bool,
    /// The database has said something.
    answered: bool,
    meter: Meter<'a>,
}

impl<'a> PgWatch<'a> {
    pub(super) fn new(stats: &'a Stats, control: &'a Control) -> PgWatch<'a> {
        PgWatch {
            meter: Meter::new(stats, control),
            client: Walker::new(Sender::Frontend),
            backend: Walker::new(Sender::Backend),
            owed: 0,
            doubtful: false,
            batch_open: false,
            status: TransactionStatus::Idle,
            terminated: false,
            explained: false,
            answered: false,
        }
    }

    /// Whether the client has heard anything from its database.
    pub(super) fn is_answered(&self) -> bool {
        self.answered
    }

    /// Whether what the client is owed may be cancelled once nobody waits for it. Where several queries are under way, a
    /// cancel would end one of them: without its BEGIN, what stands behind would stay.
    pub(super) fn may_be_cancelled(&self) -> bool {
        !self.at_rest() && self.owed <= 1
    }

    /// Whether the backend has been passed the beginning of a message and not its end.
    pub(super) fn is_midway(&self) -> bool {
        !self.client.at_boundary()
    }

    /// Whether a message of ours may be put behind what the client has been sent so far.
    pub(super) fn may_speak(&self) -> bool {
        self.backend.at_boundary()
    }
}

impl Watch for PgWatch<'_> {
    fn client_said(
        &mut self,
        chunk: Chunk,
        _client: &Channel,
        backend: &Channel,
    ) -> Result<Said, SessionEnd> {
        let passed = self
            .client
            .feed(&chunk)
            .map_err(SessionEnd::ClientMisbehaved)?;
        self.meter.client_said(chunk.len(), passed.requests);
        self.owed += i64::from(passed.awaits_ready);
        self.batch_open = passed.batch_open.unwrap_or(self.batch_open);
        if passed.awaits_ready > 0 || self.batch_open {
            self.meter.asked(self.status != TransactionStatus::Idle);
        }
        self.terminated |= passed.terminate;
        backend.send(chunk);
        Ok(Said::Passed)
    }

    fn backend_said(&mut self, chunk: &[u8]) -> Result<Said, SessionEnd> {
        self.answered = true;
        let passed = self
            .backend
            .feed(chunk)
            .map_err(SessionEnd::DatabaseMisbehaved)?;
        match (passed.copies, self.client.syncs_behind_execute()) {
            (0, _) => {}
            // The database reads them as part of the COPY, where they mean nothing.
            (1, Some(ignored)) => self.owed -= i64::from(ignored),
            _ => self.doubtful = true,
        }
        self.doubtful |= !passed.errors.is_empty() && self.owed > 1;
        self.owed -= i64::from(passed.ready);
        if passed.ready > 0 {
            // A cancel that hit the COPY before they were read has made them mean something after all.
            self.owed = self.owed.max(0);
        }
        self.doubtful &= self.owed > 0;
        self.meter.backend_said(chunk.len(), &passed.errors);
        self.status = passed.status.unwrap_or(self.status);
        if passed.ready > 0 {
            let more = self.owed > 0 && !self.doubtful || self.batch_open;
            let open = self.status != TransactionStatus::Idle;
            self.meter
                .answered(passed.ready, passed.transactions, more, open);
        }
        self.explained |= passed.fatal;
        Ok(Said::Passed)
    }

    fn backend_left(&self) -> SessionEnd {
        if self.terminated {
            SessionEnd::ClientLeft
        } else {
            SessionEnd::DatabaseLeft {
                may_speak: !self.explained && self.may_speak(),
            }
        }
    }

    fn at_rest(&self) -> bool {
        let between_messages = self.client.at_boundary() && self.backend.at_boundary();
        between_messages
            && self.owed <= 0
            && !self.batch_open
            && self.status == TransactionStatus::Idle
    }
}

//! What passes in a session, in numbers.

use crate::pg::TransactionStatus;
use crate::sqlstate_class::SqlstateClass;

/// How many messages of each kind have passed between a client and its tracker: the same numbers as a
/// [`Walker`](crate::pg::Walker) finds where client and database speak to each other directly.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// From the client: Query, Execute and FunctionCall.
    pub requests: u32,
    /// From the client: Query, FunctionCall and Sync, which ask for a ReadyForQuery.
    pub awaits_ready: u32,
    /// To the client: ReadyForQuery.
    pub ready: u32,
    /// To the client: ReadyForQuery that says idle, which is where a transaction has ended.
    pub transactions: u32,
    /// To the client: the class of each ErrorResponse of the database.
    pub errors: Vec<SqlstateClass>,
    /// Times that a shared statement was needed and was prepared already, where it was needed.
    pub prepared_hits: u32,
    /// Times that a shared statement was prepared on a backend.
    pub prepared_misses: u32,
}

impl Tally {
    /// A message of the client has been dealt with.
    pub(super) fn said(&mut self, kind: u8) {
        match kind {
            b'Q' | b'F' => {
                self.requests += 1;
                self.awaits_ready += 1;
            }
            b'E' => self.requests += 1,
            b'S' => self.awaits_ready += 1,
            _ => {}
        }
    }

    /// The client is told ReadyForQuery.
    pub(super) fn ready(&mut self, status: TransactionStatus) {
        self.ready += 1;
        self.transactions += u32::from(status == TransactionStatus::Idle);
    }
}

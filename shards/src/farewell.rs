//! Why a session ended, and what its client and the log are told: one enum, one table.

pub mod budget;
mod refusal;
mod sentence;
mod tally;
mod words;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use log::Level;
use wire::pg::ErrorResponse;
use wire::{Refusal, WireError, mysql, pg};

use self::budget::About;
pub use self::refusal::{is_about_the_client, is_full};
pub use self::tally::Unproven;
use crate::admission::Crowd;
use crate::channel::NotSecured;
use crate::contract::{Dialect, TenantId};
use crate::control::Leave;
use crate::pace::Overdue;

/// Why a session ended. Whoever is at fault, or made the choice, stands first in the name.
#[derive(Debug)]
pub enum SessionEnd {
    /// The client said goodbye, or closed its connection where that is no loss.
    ClientLeft,
    /// The client's connection broke.
    ClientBroke(io::Error),
    /// The client broke the protocol.
    ClientMisbehaved(WireError),
    /// There was no TLS with the client: it did not believe our certificate, or we not its.
    ClientNotSecured(NotSecured),
    /// The client speaks in clear where all must use TLS.
    ClientNotEnciphered,
    /// The client asked for something legitimate that is not to be had.
    ClientUnsupported(&'static str),
    /// The client's login was to be passed on to its database, and could not be.
    ClientNotPassed(String),
    /// What the client asked for was refused, in these words.
    ClientRefused(ErrorResponse),
    /// The client's names make no sense, or name no tenant.
    ClientMisnamed(Misnamed),
    /// The client asked for a database that is not its tenant's.
    ClientWrongDatabase {
        /// What it asked for.
        asked: String,
    },
    /// Wrong password, unknown user or unknown tenant: never told apart, save in the log.
    ClientUnproven(Unproven),
    /// The login was not over in time.
    ClientTooSlow(Duration),
    /// The client did not read what it had asked for.
    ClientStalled(Duration),
    /// What the session was at took longer than its tenant allows.
    Overdue(Overdue),
    /// All places are taken, of one kind or another.
    TooMany(Crowd),
    /// So many logins failed from the client's address that it is not looked at for now.
    TooManyFailures {
        /// How long until then.
        wait: Duration,
    },
    /// More clients are on their way to the shard, or wait there, than it takes.
    ShardBusy,
    /// No backend became free in time.
    PoolExhausted(Exhausted),
    /// The tenant takes no clients any more.
    TenantClosed,
    /// The database could not be reached.
    DatabaseUnreachable(String),
    /// There is no connection to the database for want of something of our own.
    OwnLack(String),
    /// The database has failed its health checks: nobody waits for it.
    DatabaseUnhealthy(String),
    /// The database refused our login.
    DatabaseRefused(Refusal),
    /// The database would not be set as the client's startup parameters ask.
    SettingsRefused(Refusal),
    /// The database broke the protocol.
    DatabaseMisbehaved(WireError),
    /// The database said something that was not its turn to say.
    DatabaseOutOfTurn(String),
    /// The database closed the connection.
    DatabaseLeft {
        /// Something of ours is to be said: the client listens, and has not been given the
        /// database's own reason.
        may_speak: bool,
    },
    /// We are stopping.
    Stopping,
    /// It had not come to a boundary in time, and nothing is said in the middle of a message.
    CutOff,
    /// An operator ended it.
    EndedByOperator,
}

impl From<Leave> for SessionEnd {
    fn from(why: Leave) -> SessionEnd {
        match why {
            Leave::Stopping => SessionEnd::Stopping,
            Leave::TenantClosed => SessionEnd::TenantClosed,
            Leave::CutOff => SessionEnd::CutOff,
            Leave::Ended => SessionEnd::EndedByOperator,
        }
    }
}

/// A pool that nobody gave anything back to.
#[derive(Debug)]
pub struct Exhausted {
    /// How long the client has waited.
    pub within: Duration,
    /// How many of the pool's backends sessions have now.
    pub in_use: usize,
    /// How many of these sessions are pinned to theirs.
    pub pinned: usize,
}

/// A client's names, in its protocol's own complaint.
#[derive(Debug)]
pub enum Misnamed {
    /// PostgreSQL.
    Postgres(pg::NamingError),
    /// MySQL.
    MySql(mysql::NamingError),
    /// MySQL, and no tenant anywhere.
    MySqlNoTenant,
}

impl SessionEnd {
    /// The last message for a client that speaks PostgreSQL; empty where silence is right.
    pub fn to_postgres(&self) -> BytesMut {
        let response = match self {
            SessionEnd::ClientMisnamed(Misnamed::Postgres(error)) => Some(error.response()),
            SessionEnd::ClientMisbehaved(error) => Some(ErrorResponse::from(error)),
            SessionEnd::ClientRefused(response) => Some(response.clone()),
            _ => self.words().map(|words| {
                let response = ErrorResponse::fatal(words.sqlstate, words.text);
                match words.hint {
                    Some(hint) => response.hint(hint),
                    None => response,
                }
            }),
        };
        let mut out = BytesMut::new();
        if let Some(response) = response {
            response.write(&mut out);
        }
        out
    }

    /// The last packet for a client that speaks MySQL, with the next sequence id of the dialogue;
    /// empty where silence is right.
    pub fn to_mysql(&self, sequence: u8) -> BytesMut {
        let mut out = BytesMut::new();
        if let Some(words) = self.words() {
            let text = match self {
                SessionEnd::ClientUnproven(unproven) => unproven.as_mysql_says_it(),
                _ => words.text,
            };
            mysql::message::put_err(&mut out, sequence, words.mysql, &text);
        }
        out
    }

    /// Whether a MySQL client that has a session sees its connection end, and hears nothing. Servers that stop, die, or
    /// kill a session are as silent; and that alone do all drivers, pools and ORMs take for a connection that is lost, by
    /// errors of their own (2006, 2013). An ERR many take for one of the statement's (SQLAlchemy does 1053, 1158).
    pub fn is_a_lost_connection(&self) -> bool {
        matches!(
            self,
            SessionEnd::DatabaseLeft { .. }
                | SessionEnd::Stopping
                | SessionEnd::TenantClosed
                | SessionEnd::EndedByOperator
        )
    }

    /// The last message in the client's own protocol; `sequence` is MySQL's next sequence id.
    pub fn last_words(&self, dialect: Dialect, sequence: u8) -> BytesMut {
        match dialect {
            Dialect::Postgres => self.to_postgres(),
            Dialect::MySql => self.to_mysql(sequence),
        }
    }

    /// The last message for a client that has not been greeted yet.
    pub fn before_greeting(&self, dialect: Dialect) -> BytesMut {
        match (dialect, self.words()) {
            (Dialect::MySql, Some(words)) => {
                let mut out = BytesMut::new();
                mysql::put_err_before_greeting(&mut out, words.mysql, &words.text);
                out
            }
            _ => self.last_words(dialect, 0),
        }
    }

    /// One line for the log, with everything that an operator needs to find the client. Of those
    /// that clients can cause by the thousand, as many as the budget has; the others are counted.
    pub fn log(&self, dialect: Dialect, peer: SocketAddr, tenant: Option<&TenantId>) {
        let level = self.level();
        if !log::log_enabled!(level) {
            return;
        }
        let Some(more) = budget::spend(About::End(self.kind())) else {
            return;
        };
        log::log!(
            level,
            tenant = tenant.map_or("-", TenantId::as_str),
            client:% = peer,
            reason:% = self.kind().word();
            "{dialect} client: {self}{more}"
        );
    }

    fn level(&self) -> Level {
        match self {
            // Worth knowing, also where the client is not told.
            SessionEnd::DatabaseLeft { .. } => Level::Warn,
            SessionEnd::ClientNotSecured(NotSecured::Tls(_)) => Level::Warn,
            _ => self.words().map_or(Level::Debug, |words| words.level),
        }
    }
}

#[cfg(test)]
mod documented;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::Disproof;

    fn unproven(disproof: Disproof) -> SessionEnd {
        let peer = SocketAddr::from(([127, 0, 0, 1], 5));
        SessionEnd::ClientUnproven(Unproven {
            user: "u".into(),
            peer,
            used_password: true,
            disproof,
        })
    }

    #[test]
    fn a_client_cannot_tell_why_its_login_failed() {
        let (tenant, password) = (
            unproven(Disproof::NoTenant),
            unproven(Disproof::WrongPassword),
        );
        assert_eq!(tenant.to_postgres(), password.to_postgres());
        assert_eq!(tenant.to_mysql(2), password.to_mysql(2));
        assert_ne!(tenant.to_string(), password.to_string());
    }

    #[test]
    fn a_database_that_wants_what_is_not_spoken_is_not_said_to_break_the_protocol() {
        let what = "the plugin 'x'".to_owned();
        let end = SessionEnd::DatabaseMisbehaved(WireError::Unsupported { what });
        assert!(!end.to_string().contains("violation"), "{end}");
        assert_eq!(end.to_mysql(2)[5..7], 1429u16.to_le_bytes());
    }

    #[test]
    fn nobody_speaks_to_a_client_that_has_been_told_or_has_gone() {
        for end in [
            SessionEnd::ClientLeft,
            SessionEnd::DatabaseLeft { may_speak: false },
            SessionEnd::CutOff,
        ] {
            assert!(end.to_postgres().is_empty() && end.to_mysql(0).is_empty());
        }
    }
}

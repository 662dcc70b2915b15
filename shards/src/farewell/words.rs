//! The table of what the end of a session is in both protocols: a SQLSTATE, an error number, how loud.

use std::borrow::Cow;

use log::Level;
use wire::WireError;
use wire::mysql::code::{self, Code};
use wire::pg::sqlstate;

use super::refusal::{is_about_the_client, refused};
use super::{SessionEnd, Unproven};
use crate::pace::Limit;

/// What one end sounds like in both protocols.
pub(super) struct Words {
    pub(super) level: Level,
    pub(super) sqlstate: Cow<'static, str>,
    pub(super) mysql: Code,
    pub(super) text: String,
    pub(super) hint: Option<&'static str>,
}

/// A row of the table: all but the text.
struct Row(Level, &'static str, Code, Option<&'static str>);

impl SessionEnd {
    /// `None`: nobody is there to be told, or the client has been told already.
    pub(super) fn words(&self) -> Option<Words> {
        if let SessionEnd::DatabaseRefused(refusal) = self {
            return Some(refused(refusal, is_about_the_client(refusal)));
        }
        if let SessionEnd::SettingsRefused(refusal) = self {
            return Some(refused(refusal, true));
        }
        let Row(level, sqlstate, mysql, hint) = self.row()?;
        Some(Words {
            level,
            sqlstate: sqlstate.into(),
            mysql,
            text: self.text(),
            hint,
        })
    }

    /// The table. It names each end, so that a new one cannot be forgotten.
    fn row(&self) -> Option<Row> {
        use Level::{Error, Info, Warn};
        let row = |level, sqlstate, mysql| Some(Row(level, sqlstate, mysql, None));
        match self {
            SessionEnd::ClientNotEnciphered => Some(Row(
                Warn,
                sqlstate::INVALID_AUTHORIZATION_SPECIFICATION,
                code::ER_SECURE_TRANSPORT_REQUIRED,
                Some("Connect with sslmode=require or better."),
            )),
            SessionEnd::ClientMisbehaved(_) => {
                row(Warn, sqlstate::PROTOCOL_VIOLATION, code::ER_HANDSHAKE_ERROR)
            }
            // What is refused in words of its own is refused to PostgreSQL's clients alone.
            SessionEnd::ClientUnsupported(_) | SessionEnd::ClientRefused(_) => row(
                Info,
                sqlstate::FEATURE_NOT_SUPPORTED,
                code::ER_UNKNOWN_COM_ERROR,
            ),
            SessionEnd::ClientMisnamed(_) | SessionEnd::ClientNotPassed(_) => row(
                Warn,
                sqlstate::INVALID_AUTHORIZATION_SPECIFICATION,
                code::ER_ACCESS_DENIED_ERROR,
            ),
            SessionEnd::ClientWrongDatabase { .. } => Some(Row(
                Warn,
                sqlstate::INVALID_CATALOG_NAME,
                code::ER_BAD_DB_ERROR,
                Some(
                    "A tenant is one database: leave the database name out, or give the tenant's own.",
                ),
            )),
            SessionEnd::ClientUnproven(_) => row(
                Warn,
                sqlstate::INVALID_PASSWORD,
                code::ER_ACCESS_DENIED_ERROR,
            ),
            SessionEnd::ClientTooSlow(_) | SessionEnd::ClientStalled(_) => row(
                Warn,
                sqlstate::CONNECTION_FAILURE,
                code::ER_NET_READ_INTERRUPTED,
            ),
            SessionEnd::Overdue(overdue) => {
                let (sqlstate, mysql) = overdue_codes(overdue.limit);
                row(Info, sqlstate, mysql)
            }
            SessionEnd::TooMany(_)
            | SessionEnd::TooManyFailures { .. }
            | SessionEnd::ShardBusy
            | SessionEnd::PoolExhausted(_) => row(
                Warn,
                sqlstate::TOO_MANY_CONNECTIONS,
                code::ER_CON_COUNT_ERROR,
            ),
            SessionEnd::DatabaseUnreachable(_) | SessionEnd::DatabaseUnhealthy(_) => row(
                Warn,
                sqlstate::CANNOT_CONNECT_NOW,
                code::ER_CONNECT_TO_FOREIGN_DATA_SOURCE,
            ),
            SessionEnd::OwnLack(_) => Some(Row(
                Error,
                sqlstate::INSUFFICIENT_RESOURCES,
                code::ER_OUT_OF_RESOURCES,
                Some(
                    "Whoever runs this pooler must allow it more, such as open files (LimitNOFILE=, ulimit -n).",
                ),
            )),
            // It did nothing wrong; as where it refuses the tenant's account.
            SessionEnd::DatabaseMisbehaved(WireError::Unsupported { .. }) => row(
                Error,
                sqlstate::CANNOT_CONNECT_TO_DATABASE,
                code::ER_CONNECT_TO_FOREIGN_DATA_SOURCE,
            ),
            SessionEnd::DatabaseMisbehaved(_) | SessionEnd::DatabaseOutOfTurn(_) => {
                row(Error, sqlstate::CONNECTION_FAILURE, code::ER_NET_READ_ERROR)
            }
            SessionEnd::DatabaseLeft { may_speak: true } => {
                row(Warn, sqlstate::CONNECTION_FAILURE, code::ER_NET_READ_ERROR)
            }
            SessionEnd::Stopping | SessionEnd::TenantClosed | SessionEnd::EndedByOperator => {
                row(Info, sqlstate::ADMIN_SHUTDOWN, code::ER_SERVER_SHUTDOWN)
            }
            // In the database's own words, above.
            SessionEnd::DatabaseRefused(_) | SessionEnd::SettingsRefused(_) => None,
            // Nothing can be said without TLS that the client would believe; TLS has its own alerts.
            SessionEnd::ClientNotSecured(_) => None,
            SessionEnd::ClientLeft | SessionEnd::ClientBroke(_) => None,
            SessionEnd::DatabaseLeft { may_speak: false } | SessionEnd::CutOff => None,
        }
    }

    /// What the client reads: the truth, save where it has not proved who it is.
    fn text(&self) -> String {
        match self {
            // Whoever is asked for nothing is expected to have shown a certificate, also where there is no tenant.
            SessionEnd::ClientUnproven(Unproven {
                user,
                used_password: false,
                ..
            }) => {
                format!("certificate authentication failed for user \"{user}\"")
            }
            SessionEnd::ClientUnproven(Unproven { user, .. }) => {
                format!("password authentication failed for user \"{user}\"")
            }
            other => other.to_string(),
        }
    }
}

/// What servers say when they end a session, or a query, for the same reason.
fn overdue_codes(limit: Limit) -> (&'static str, Code) {
    match limit {
        Limit::Query => (sqlstate::QUERY_CANCELED, code::ER_QUERY_TIMEOUT),
        Limit::Transaction => (sqlstate::TRANSACTION_TIMEOUT, code::ER_QUERY_INTERRUPTED),
        Limit::IdleTransaction => (
            sqlstate::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
            code::ER_CLIENT_INTERACTION_TIMEOUT,
        ),
        Limit::ClientIdle => (
            sqlstate::IDLE_SESSION_TIMEOUT,
            code::ER_CLIENT_INTERACTION_TIMEOUT,
        ),
    }
}

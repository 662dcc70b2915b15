//! The end of a session in a sentence.

use std::fmt;

use wire::WireError;

use super::{Exhausted, Misnamed, SessionEnd, tally};

/// The whole truth in a sentence. What a client is told is the same, save where it has not proved
/// who it is.
impl fmt::Display for SessionEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SessionEnd::ClientLeft => write!(f, "the client left"),
            SessionEnd::ClientBroke(error) => write!(f, "the client's connection broke: {error}"),
            SessionEnd::ClientMisbehaved(error) => {
                write!(f, "protocol violation by the client: {error}")
            }
            SessionEnd::ClientNotSecured(error) => {
                write!(f, "no agreement with the client: {error}")
            }
            SessionEnd::ClientNotEnciphered => {
                write!(f, "this server takes connections with TLS only")
            }
            SessionEnd::ClientUnsupported(what) => write!(f, "{what}"),
            SessionEnd::ClientNotPassed(why) => {
                write!(f, "the login could not be passed on to the database: {why}")
            }
            SessionEnd::ClientRefused(response) => write!(f, "{}", response.message()),
            SessionEnd::SettingsRefused(refusal) => {
                write!(f, "the database refused the session's settings: {refusal}")
            }
            SessionEnd::DatabaseOutOfTurn(what) => write!(f, "{what}"),
            SessionEnd::ClientMisnamed(Misnamed::Postgres(error)) => write!(f, "{error}"),
            SessionEnd::ClientMisnamed(Misnamed::MySql(error)) => write!(f, "{error}"),
            SessionEnd::ClientMisnamed(Misnamed::MySqlNoTenant) => {
                write!(
                    f,
                    "No tenant named: connect as user TENANT__USER, or with the connection attribute tenant_id"
                )
            }
            SessionEnd::ClientWrongDatabase { asked } => {
                write!(f, "database \"{asked}\" is not this tenant's")
            }
            SessionEnd::ClientUnproven(unproven) => write!(
                f,
                "login of {:?} refused: {}",
                unproven.user,
                tally::in_words(unproven.disproof)
            ),
            SessionEnd::ClientTooSlow(limit) => {
                write!(f, "the login was not complete within {limit:?}")
            }
            SessionEnd::ClientStalled(limit) => write!(f, "the client read nothing for {limit:?}"),
            SessionEnd::Overdue(overdue) => write!(f, "{overdue}"),
            SessionEnd::TooMany(crowd) => write!(f, "{crowd}"),
            SessionEnd::TooManyFailures { wait } => write!(
                f,
                "too many failed logins at this tenant from this address; try again in {wait:?}"
            ),
            SessionEnd::ShardBusy => write!(f, "too many clients are waiting; try again"),
            SessionEnd::PoolExhausted(exhausted) => write!(f, "{exhausted}"),
            SessionEnd::TenantClosed => write!(
                f,
                "terminating connection: the tenant is being drained, removed or moved"
            ),
            SessionEnd::DatabaseUnreachable(why) => {
                write!(f, "the tenant's database cannot be reached: {why}")
            }
            SessionEnd::OwnLack(why) => write!(
                f,
                "no connection to the tenant's database can be made: DBBouncer has run out of what that takes: {why}"
            ),
            SessionEnd::DatabaseUnhealthy(why) => {
                write!(f, "the tenant's database is unhealthy: {why}")
            }
            SessionEnd::DatabaseRefused(refusal) => {
                write!(f, "the tenant's database refused the connection: {refusal}")
            }
            SessionEnd::DatabaseMisbehaved(error @ WireError::Unsupported { .. }) => {
                write!(f, "no agreement with the tenant's database: {error}")
            }
            SessionEnd::DatabaseMisbehaved(error) => {
                write!(f, "protocol violation by the tenant's database: {error}")
            }
            SessionEnd::DatabaseLeft { .. } => {
                write!(f, "the tenant's database closed the connection")
            }
            SessionEnd::Stopping => {
                write!(f, "terminating connection: the pooler is shutting down")
            }
            SessionEnd::EndedByOperator => {
                write!(
                    f,
                    "terminating connection: an operator of the pooler ended it"
                )
            }
            SessionEnd::CutOff => write!(f, "cut off: the time to finish was over"),
        }
    }
}

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Exhausted {
            within,
            in_use,
            pinned,
        } = self;
        write!(
            f,
            "pool exhausted: no database connection became free within {within:?} ({in_use} in use"
        )?;
        match pinned {
            0 => write!(f, ")"),
            pinned => write!(f, ", {pinned} by pinned sessions, which keep theirs)"),
        }
    }
}

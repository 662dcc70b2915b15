//! What the end of a session counts as, and the truth about a login.

use std::net::SocketAddr;

use super::SessionEnd;
use crate::contract::{Disproof, EndKind};
use crate::pace::Limit;
use crate::stats::Stats;

impl SessionEnd {
    /// Counts it, for the tenant or for those that have none.
    pub fn count_in(&self, stats: &Stats) {
        stats.count(|counts| {
            counts.ended[self.kind() as usize] += 1;
            if let SessionEnd::ClientUnproven(unproven) = self {
                counts.login_failures[unproven.disproof as usize] += 1;
            }
        });
    }

    /// What it counts as.
    pub fn kind(&self) -> EndKind {
        match self {
            SessionEnd::ClientLeft => EndKind::ClientLeft,
            SessionEnd::ClientBroke(_) => EndKind::ClientBroke,
            SessionEnd::ClientMisbehaved(_) => EndKind::ClientMisbehaved,
            SessionEnd::ClientNotSecured(_) | SessionEnd::ClientNotEnciphered => {
                EndKind::ClientNotSecured
            }
            SessionEnd::ClientUnsupported(_) | SessionEnd::ClientNotPassed(_) => {
                EndKind::ClientUnsupported
            }
            SessionEnd::ClientRefused(_) | SessionEnd::SettingsRefused(_) => {
                EndKind::ClientUnsupported
            }
            SessionEnd::ClientMisnamed(_) => EndKind::ClientMisnamed,
            SessionEnd::ClientWrongDatabase { .. } => EndKind::ClientWrongDatabase,
            SessionEnd::ClientUnproven(_) => EndKind::ClientUnproven,
            SessionEnd::ClientTooSlow(_) => EndKind::ClientTooSlow,
            SessionEnd::ClientStalled(_) => EndKind::ClientStalled,
            SessionEnd::Overdue(overdue) => match overdue.limit {
                Limit::Query => EndKind::QueryTimeout,
                Limit::Transaction => EndKind::TransactionTimeout,
                Limit::IdleTransaction => EndKind::TransactionIdle,
                Limit::ClientIdle => EndKind::ClientIdle,
            },
            SessionEnd::TooMany(crowd) => crowd.kind(),
            SessionEnd::TooManyFailures { .. } => EndKind::TooManyFailures,
            SessionEnd::ShardBusy => EndKind::ShardBusy,
            SessionEnd::PoolExhausted(_) => EndKind::PoolExhausted,
            SessionEnd::TenantClosed => EndKind::TenantClosed,
            SessionEnd::DatabaseUnreachable(_) => EndKind::DatabaseUnreachable,
            SessionEnd::OwnLack(_) => EndKind::OwnLack,
            SessionEnd::DatabaseUnhealthy(_) => EndKind::DatabaseUnhealthy,
            SessionEnd::DatabaseRefused(_) => EndKind::DatabaseRefused,
            SessionEnd::DatabaseMisbehaved(_) | SessionEnd::DatabaseOutOfTurn(_) => {
                EndKind::DatabaseMisbehaved
            }
            SessionEnd::DatabaseLeft { .. } => EndKind::DatabaseLeft,
            SessionEnd::Stopping => EndKind::Stopping,
            SessionEnd::CutOff => EndKind::CutOff,
            SessionEnd::EndedByOperator => EndKind::EndedByOperator,
        }
    }
}

/// Whose login failed.
#[derive(Debug)]
pub struct Unproven {
    /// The user as the client wrote it.
    pub user: String,
    /// Where it came from.
    pub peer: SocketAddr,
    /// Whether it sent a proof at all.
    pub used_password: bool,
    /// The truth, for the log and the sums only.
    pub disproof: Disproof,
}

impl Unproven {
    /// In the server's own words, which drivers and people know.
    pub(super) fn as_mysql_says_it(&self) -> String {
        let used = if self.used_password { "YES" } else { "NO" };
        format!(
            "Access denied for user '{}'@'{}' (using password: {used})",
            self.user,
            self.peer.ip()
        )
    }
}

/// The truth about a login, for the log.
pub(super) fn in_words(disproof: Disproof) -> &'static str {
    match disproof {
        Disproof::NoTenant => "no such tenant on this port",
        Disproof::NoSecret => {
            "the tenant has neither a password nor users, so nobody may come in (client_auth: trust would let everybody in)"
        }
        Disproof::NoUser => "no such user",
        Disproof::NotAllowed => "the address is not in the tenant's allowed_addresses",
        Disproof::WrongPassword => "wrong password",
        Disproof::LookupFailed => "the database could not be asked for the user",
        Disproof::NoCertificate => {
            "no certificate was shown that names the user (client_auth: cert)"
        }
    }
}

//! What clients are told, against the operators' table of it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use wire::{Refusal, WireError};

use super::{Exhausted, Misnamed, SessionEnd, Unproven};
use crate::admission::Crowd;
use crate::channel::NotSecured;
use crate::contract::{Disproof, EndKind};
use crate::pace::{Limit, Overdue};

/// The rows of the table: a cell of SQLSTATEs and one of MySQL's numbers.
fn rows() -> Vec<(&'static str, &'static str)> {
    let page = include_str!("../../../docs/operating.md");
    let (_, table) = page.split_once("## What each refusal means").unwrap();
    let cells = table.lines().filter(|line| line.starts_with("| "));
    cells
        .filter_map(|line| {
            let mut cells = line.split('|').skip(1).map(str::trim);
            Some((cells.next()?, cells.next()?))
        })
        .collect()
}

/// One end of each kind, and more where kinds have more than one.
fn ends() -> Vec<SessionEnd> {
    let second = Duration::from_secs(1);
    let violation = || WireError::Malformed { what: "Query" };
    let unspoken = || WireError::Unsupported { what: "it".into() };
    let refusal = |sqlstate: &str, number| Refusal {
        sqlstate: sqlstate.to_owned(),
        number,
        message: String::new(),
    };
    let overdue = |limit| {
        SessionEnd::Overdue(Overdue {
            limit,
            after: second,
        })
    };
    vec![
        SessionEnd::ClientLeft,
        SessionEnd::ClientBroke(io::ErrorKind::BrokenPipe.into()),
        SessionEnd::ClientMisbehaved(violation()),
        SessionEnd::ClientNotSecured(NotSecured::Closed),
        SessionEnd::ClientNotEnciphered,
        SessionEnd::ClientUnsupported(""),
        SessionEnd::ClientNotPassed(String::new()),
        SessionEnd::ClientMisnamed(Misnamed::MySqlNoTenant),
        SessionEnd::ClientWrongDatabase {
            asked: String::new(),
        },
        SessionEnd::ClientUnproven(Unproven {
            user: String::new(),
            peer: SocketAddr::from(([127, 0, 0, 1], 5)),
            used_password: true,
            disproof: Disproof::WrongPassword,
        }),
        SessionEnd::ClientTooSlow(second),
        SessionEnd::ClientStalled(second),
        overdue(Limit::Query),
        overdue(Limit::Transaction),
        overdue(Limit::IdleTransaction),
        overdue(Limit::ClientIdle),
        SessionEnd::TooMany(Crowd::Clients(1)),
        SessionEnd::TooMany(Crowd::Logins(1)),
        SessionEnd::TooMany(Crowd::FromAddress(1)),
        SessionEnd::TooMany(Crowd::OfTenant(1)),
        SessionEnd::TooManyFailures { wait: second },
        SessionEnd::ShardBusy,
        SessionEnd::PoolExhausted(Exhausted {
            within: second,
            in_use: 2,
            pinned: 1,
        }),
        SessionEnd::TenantClosed,
        SessionEnd::DatabaseUnreachable(String::new()),
        SessionEnd::DatabaseUnhealthy(String::new()),
        SessionEnd::OwnLack(String::new()),
        SessionEnd::DatabaseRefused(refusal("28P01", 0)),
        SessionEnd::DatabaseRefused(refusal("53300", 0)),
        SessionEnd::DatabaseRefused(refusal("57P03", 0)),
        SessionEnd::DatabaseMisbehaved(violation()),
        SessionEnd::DatabaseMisbehaved(unspoken()),
        SessionEnd::DatabaseOutOfTurn(String::new()),
        SessionEnd::DatabaseLeft { may_speak: true },
        SessionEnd::Stopping,
        SessionEnd::CutOff,
        SessionEnd::EndedByOperator,
    ]
}

#[test]
fn each_refusal_has_its_row() {
    let rows = rows();
    for end in ends() {
        let Some(words) = end.words() else { continue };
        let (state, number) = (&words.sqlstate, words.mysql.number.to_string());
        let class = format!("{}xxx", &state[..2]);
        assert!(
            rows.iter().any(|(states, numbers)| {
                (states.contains(state.as_ref()) || states.contains(&class))
                    && numbers.contains(&number)
            }),
            "{end}: no row has {state} and {number}"
        );
    }
    for kind in EndKind::ALL {
        assert!(
            ends().iter().any(|end| end.kind() == kind),
            "{kind:?} has no example here"
        );
    }
}

/// Some are told by others than the end of a session.
#[test]
fn each_code_of_ours_has_its_row() {
    let quoted = |line: &'static str| line.split('"').nth(1);
    let states = include_str!("../../wire/src/pg/sqlstate.rs");
    for state in states.lines().filter_map(quoted) {
        let found = rows().iter().any(|(states, _)| states.contains(state));
        assert!(found, "no row has {state}");
    }
    let codes = include_str!("../../wire/src/mysql/code.rs");
    let numbers: Vec<_> = codes
        .lines()
        .filter_map(|line| line.trim().strip_prefix("ER_")?.split(['=', '"']).nth(1))
        .map(str::trim)
        .collect();
    assert!(numbers.contains(&"1045"));
    for number in numbers {
        let found = rows().iter().any(|(_, numbers)| numbers.contains(number));
        assert!(found, "no row has {number}");
    }
}

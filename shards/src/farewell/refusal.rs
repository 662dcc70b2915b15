//! What a database's refusal is about, and what a client is told of it.

use log::Level;
use wire::Refusal;
use wire::mysql::code::{self, Code};
use wire::pg::sqlstate;

use super::SessionEnd;
use super::words::Words;

/// Whether a database refused because it has no place left: in all, or for the tenant's account.
pub fn is_full(refusal: &Refusal) -> bool {
    refusal.sqlstate.starts_with("53") || FULL.contains(&refusal.number)
}

/// MySQL's `ER_CON_COUNT_ERROR`, `ER_TOO_MANY_USER_CONNECTIONS` and `ER_USER_LIMIT_REACHED`. By their
/// SQLSTATEs two of them would be errors of syntax.
const FULL: [u16; 3] = [1040, 1203, 1226];

/// Whether a database refused what one client's login asks for (a startup parameter, a database),
/// rather than the tenant as such: then it is that client's business alone.
pub fn is_about_the_client(refusal: &Refusal) -> bool {
    // Classes: data exception, syntax error or access rule violation, invalid catalog name.
    let classes = ["22", "42", "3D"];
    !is_full(refusal)
        && classes
            .iter()
            .any(|class| refusal.sqlstate.starts_with(class))
}

/// What a client is told of its database's refusal: in the database's own words where the client
/// asked for it, in ours where it did not; under the database's own code wherever a client can act
/// on it.
pub(super) fn refused(refusal: &Refusal, is_the_clients: bool) -> Words {
    let text = SessionEnd::DatabaseRefused(refusal.clone()).to_string();
    let words = |sqlstate, mysql, text| Words {
        level: Level::Warn,
        sqlstate,
        mysql,
        text,
        hint: None,
    };
    if is_the_clients {
        let mysql = Code {
            number: refusal.number,
            sqlstate: code::ER_BAD_DB_ERROR.sqlstate,
        };
        words(
            refusal.sqlstate.clone().into(),
            mysql,
            refusal.message.clone(),
        )
    } else if is_full(refusal) || refusal.sqlstate.starts_with("57") {
        words(
            refusal.sqlstate.clone().into(),
            code::ER_CON_COUNT_ERROR,
            text,
        )
    } else {
        words(
            sqlstate::CANNOT_CONNECT_TO_DATABASE.into(),
            code::ER_CONNECT_TO_FOREIGN_DATA_SOURCE,
            text,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(sqlstate: &str, number: u16) -> Refusal {
        Refusal {
            sqlstate: sqlstate.into(),
            number,
            message: "no".into(),
        }
    }

    #[test]
    fn a_full_database_is_not_a_clients_fault_whatever_its_sqlstate() {
        for (sqlstate, number) in [
            ("53300", 0),
            ("08004", 1040),
            ("42000", 1203),
            ("42000", 1226),
        ] {
            let refusal = refusal(sqlstate, number);
            assert!(
                is_full(&refusal) && !is_about_the_client(&refusal),
                "{number}"
            );
            let mut told = bytes::BytesMut::new();
            told.extend_from_slice(&SessionEnd::DatabaseRefused(refusal).to_mysql(1));
            assert_eq!(told[5..7], 1040u16.to_le_bytes(), "{number}");
        }
        let unknown = refusal("42000", 1049);
        assert!(!is_full(&unknown) && is_about_the_client(&unknown));
    }
}

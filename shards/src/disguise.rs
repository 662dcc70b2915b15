//! What MySQL clients are greeted as, which is before anybody knows which database they are for.
//!
//! Some drivers tell MariaDB from MySQL by that. All threads share one; what databases say of themselves decides between two
//! versions of ours and no more, for it is told to other tenants' clients.

use std::sync::atomic::{AtomicBool, Ordering};

use wire::mysql::Flavour;

/// Shared by acceptors, who greet, and shards, who see the databases.
#[derive(Debug, Default)]
pub struct Disguise {
    /// As the config has it; `None` goes by the databases.
    fixed: Option<String>,
    /// Whether any database has been a MySQL.
    has_mysql: AtomicBool,
    /// Whether any has been a MariaDB.
    has_mariadb: AtomicBool,
    /// Whether it was said that one is not what its clients are greeted as.
    is_told: AtomicBool,
}

impl Disguise {
    /// This version always; or by the databases, as far as they have been seen.
    pub fn new(fixed: Option<String>) -> Disguise {
        Disguise {
            fixed,
            ..Disguise::default()
        }
    }

    /// The version to be greeted with now.
    pub fn version(&self) -> &str {
        let has = |seen: &AtomicBool| seen.load(Ordering::Relaxed);
        match &self.fixed {
            Some(version) => version,
            None if has(&self.has_mariadb) && !has(&self.has_mysql) => MARIADB_VERSION,
            None => MYSQL_VERSION,
        }
    }

    /// A database is of this flavour. Whether somebody must be told that clients are greeted as by the other one; once.
    pub fn saw(&self, flavour: Flavour) -> bool {
        let seen = match flavour {
            Flavour::MySql => &self.has_mysql,
            Flavour::MariaDb => &self.has_mariadb,
        };
        seen.store(true, Ordering::Relaxed);
        Flavour::of_version(self.version()) != flavour
            && !self.is_told.swap(true, Ordering::Relaxed)
    }
}

/// The version where a database is a MySQL, or none has been seen.
const MYSQL_VERSION: &str = "8.0.36-DBBouncer";
/// The version where all databases are MariaDBs: of the oldest release that is common still.
const MARIADB_VERSION: &str = "10.6.0-MariaDB-DBBouncer";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_greeted_as_by_what_all_databases_are() {
        let disguise = Disguise::default();
        assert_eq!(disguise.version(), MYSQL_VERSION);
        for _ in 0..2 {
            assert!(!disguise.saw(Flavour::MariaDb));
            assert_eq!(disguise.version(), MARIADB_VERSION);
        }
        // One is enough, and whoever is not what it is called is told of once.
        assert!(!disguise.saw(Flavour::MySql));
        assert_eq!(disguise.version(), MYSQL_VERSION);
        let told = [Flavour::MariaDb, Flavour::MySql, Flavour::MariaDb]
            .map(|flavour| disguise.saw(flavour));
        assert_eq!(told, [true, false, false]);
    }

    #[test]
    fn what_the_config_says_is_said_whatever_the_databases_are() {
        let disguise = Disguise::new(Some("9.1.0".to_owned()));
        assert!(disguise.saw(Flavour::MariaDb));
        assert_eq!(disguise.version(), "9.1.0");
    }
}

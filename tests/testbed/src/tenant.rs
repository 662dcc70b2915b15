//! A tenant made for a test: a database that knows its own name, and an account that owns it.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::{Kind, Server};

/// A tenant, as the config will name it.
#[derive(Clone, Debug)]
pub struct Tenant {
    /// The id clients say.
    pub id: String,
    /// What serves it.
    pub kind: Kind,
    /// Where the bouncer finds its server. A test may put a [`crate::Middleman`] here.
    pub address: std::net::SocketAddr,
    /// Its database. A table `whoami` in it has one row: the tenant's id.
    pub dbname: String,
    /// The account at the server.
    pub username: String,
    /// That account's password, and so the clients'.
    pub password: String,
    /// More lines of its config entry, such as `max_connections: 3`.
    pub settings: Vec<String>,
}

impl Tenant {
    /// Makes a tenant on this server. No two have the same id, whatever the name.
    #[must_use]
    pub fn on(server: &Server, name: &str) -> Tenant {
        Tenant::many_on(server, name, 1).remove(0)
    }

    /// Makes several at once, which is quicker than one by one.
    #[must_use]
    pub fn many_on(server: &Server, name: &str, count: usize) -> Vec<Tenant> {
        let tenants: Vec<_> = (0..count).map(|_| Tenant::planned(server, name)).collect();
        if server.kind.is_postgres() {
            let roles = tenants
                .iter()
                .map(Tenant::postgres_role)
                .collect::<String>();
            server.sql("", &roles);
            server.sql(
                "",
                &tenants
                    .iter()
                    .map(Tenant::postgres_contents)
                    .collect::<String>(),
            );
        } else {
            server.sql(
                "",
                &tenants.iter().map(Tenant::mysql_script).collect::<String>(),
            );
        }
        tenants
    }

    /// The same with this line in its config entry, instead of another with the same key.
    #[must_use]
    pub fn with(mut self, setting: &str) -> Tenant {
        self.set(setting);
        self
    }

    /// Puts a line into its config entry, instead of another with the same key.
    pub fn set(&mut self, setting: &str) {
        let key = |line: &str| line.split(':').next().map(ToOwned::to_owned);
        self.settings.retain(|line| key(line) != key(setting));
        self.settings.push(setting.to_owned());
    }

    fn planned(server: &Server, name: &str) -> Tenant {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        // The process is part of the name for the case of a server that outlives it.
        let id = format!(
            "{name}-{:x}-{}",
            std::process::id(),
            NUMBER.fetch_add(1, Ordering::Relaxed)
        );
        let stem = id.replace('-', "_");
        Tenant {
            kind: server.kind,
            address: server.address,
            dbname: format!("{stem}_db"),
            username: format!("{stem}_user"),
            password: format!("secret of {id}"),
            settings: Vec::new(),
            id,
        }
    }

    fn postgres_role(&self) -> String {
        let Tenant {
            dbname,
            username,
            password,
            ..
        } = self;
        format!(
            "CREATE ROLE {username} LOGIN PASSWORD '{password}';\nCREATE DATABASE {dbname} OWNER {username};\n"
        )
    }

    fn postgres_contents(&self) -> String {
        let Tenant {
            id,
            dbname,
            username,
            ..
        } = self;
        format!(
            "\\c {dbname} -\nSET ROLE {username};\nCREATE TABLE whoami AS SELECT '{id}'::text AS id;\n"
        )
    }

    fn mysql_script(&self) -> String {
        let Tenant {
            id,
            dbname,
            username,
            password,
            ..
        } = self;
        format!(
            "CREATE DATABASE {dbname} CHARACTER SET utf8mb4;\n\
             CREATE USER {username}@'%' IDENTIFIED BY '{password}';\n\
             GRANT ALL ON {dbname}.* TO {username}@'%';\n\
             CREATE TABLE {dbname}.whoami AS SELECT '{id}' AS id;\n"
        )
    }
}

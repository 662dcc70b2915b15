//! What a client says to reach its tenant's database: through the bouncer, or straight to the server.

use std::net::SocketAddr;

use crate::{Bouncer, Config, Kind, Tenant};

/// Whether doors lead straight to the servers, for trying a scenario without the program.
#[must_use]
pub fn direct() -> bool {
    std::env::var_os("DIRECT").is_some_and(|value| value == "1")
}

/// An address and a login.
#[derive(Clone, Debug)]
pub struct Door {
    /// What serves behind it.
    pub kind: Kind,
    /// Where to connect.
    pub address: SocketAddr,
    /// The user name, with the tenant in it when it leads through the bouncer.
    pub user: String,
    /// Its password.
    pub password: String,
    /// The database to ask for.
    pub dbname: String,
}

impl Door {
    /// Straight to the tenant's own server.
    #[must_use]
    pub fn of_server(tenant: &Tenant) -> Door {
        Door {
            kind: tenant.kind,
            address: tenant.address,
            user: tenant.username.clone(),
            password: tenant.password.clone(),
            dbname: tenant.dbname.clone(),
        }
    }

    /// The address's host, as the command lines want it.
    #[must_use]
    pub fn host(&self) -> String {
        self.address.ip().to_string()
    }

    /// The address's port, as the command lines want it.
    #[must_use]
    pub fn port(&self) -> String {
        self.address.port().to_string()
    }
}

/// What the clients of a test connect to: a bouncer with these tenants, or under `DIRECT=1` their servers.
#[derive(Debug)]
pub struct Front {
    bouncer: Option<Bouncer>,
}

impl Front {
    /// Opens for these tenants, with all settings at their defaults.
    #[must_use]
    pub fn for_tenants(tenants: &[Tenant]) -> Front {
        Front::with(Config::for_tenants(tenants))
    }

    /// Opens with this config.
    #[must_use]
    pub fn with(config: Config) -> Front {
        Front {
            bouncer: (!direct()).then(|| Bouncer::start(&config)),
        }
    }

    /// The way to this tenant.
    #[must_use]
    pub fn door(&self, tenant: &Tenant) -> Door {
        match &self.bouncer {
            None => Door::of_server(tenant),
            Some(bouncer) => bouncer.door(tenant),
        }
    }

    /// Stops the bouncer, if there is one, and checks that it went well.
    pub fn close(self) {
        if let Some(bouncer) = self.bouncer {
            bouncer.stop();
        }
    }
}

//! A connection to a tenant's database, logged in.

use std::fmt;
use std::net::SocketAddr;

use bytes::BytesMut;
use wire::{mysql, pg};

use crate::conn::Conn;
use crate::contract::{Dialect, TenantSpec};

/// What a backend was opened for, beyond the tenant's own credentials: all that a client's login
/// decides and that cannot be changed on a connection without being seen. Two shapes that are
/// equal are interchangeable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// The startup parameters other than user and database, in the client's order.
    Postgres(pg::Parameters),
    /// Capabilities, collation and database.
    MySql(mysql::Shape),
}

impl Shape {
    /// What backends are opened for before any client has come.
    pub fn usual(spec: &TenantSpec) -> Shape {
        match spec.dialect {
            Dialect::Postgres => Shape::Postgres(pg::Parameters::default()),
            Dialect::MySql => Shape::MySql(mysql::Shape {
                capabilities: mysql::Capabilities::OFFERED.of_session(),
                charset: UTF8MB4_GENERAL_CI,
                database: Some(spec.dbname.clone()),
            }),
        }
    }
}

/// What the database said when it let us in.
#[derive(Debug)]
pub enum Welcome {
    /// Parameters, process id and cancel key.
    Postgres(pg::LoggedIn),
    /// Thread id, version, status.
    MySql(mysql::LoggedIn),
}

/// A logged-in connection to a database.
pub struct Backend {
    /// The socket.
    pub conn: Conn,
    /// What it was opened for.
    pub shape: Shape,
    /// Where it goes: cancel requests must reach the same host, whatever its name means by then.
    pub address: SocketAddr,
    /// What the database said at the login.
    pub welcome: Welcome,
}

impl Backend {
    /// What it speaks.
    pub fn dialect(&self) -> Dialect {
        match self.shape {
            Shape::Postgres(_) => Dialect::Postgres,
            Shape::MySql(_) => Dialect::MySql,
        }
    }

    /// Says goodbye and closes.
    pub fn dismiss(self) {
        let mut out = BytesMut::new();
        match self.welcome {
            Welcome::Postgres(_) => pg::frontend::terminate(&mut out),
            Welcome::MySql(_) => mysql::command::put(&mut out, mysql::command::COM_QUIT),
        }
        self.conn.say(out);
    }
}

impl pool::Pooled for Backend {
    type Shape = Shape;

    fn shape(&self) -> &Shape {
        &self.shape
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.welcome {
            Welcome::Postgres(login) => {
                write!(
                    f,
                    "backend {} at {}",
                    login.key.as_ref().map_or(0, pg::CancelKey::process_id),
                    self.address
                )
            }
            Welcome::MySql(login) => {
                write!(f, "backend {} at {}", login.connection_id, self.address)
            }
        }
    }
}

/// The collation that most MySQL and MariaDB drivers ask for, by its number.
const UTF8MB4_GENERAL_CI: u16 = 45;

//! A connection to a tenant's database, logged in.

use std::fmt;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use sockets::Address;
use wire::pg::pooling::BackendMemory;
use wire::{mysql, pg};

use crate::conn::Conn;
use crate::contract::{Dialect, TenantSpec};
use crate::guest::Guest;
use crate::tls::DatabaseTls;

/// What a backend was opened for, beyond the tenant's own credentials: all that a client's login
/// decides and that cannot be changed on a connection without being seen. Two shapes that are
/// equal are interchangeable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// The startup parameters other than user and database, in the client's order.
    Postgres(pg::Parameters),
    /// The same, logged in as this user and not as the tenant's own.
    PostgresAs(String, pg::Parameters),
    /// Logged in by this client itself, and for it alone.
    Guest(Guest),
    /// Capabilities, collation and database.
    MySql(mysql::Shape),
}

impl Shape {
    /// Whether it cannot be tried again: its client has begun to log in.
    pub fn is_spent(&self) -> bool {
        matches!(self, Shape::Guest(guest) if guest.is_asked())
    }

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

/// The way to a database's server.
#[derive(Debug)]
pub struct Route {
    /// Where it listens: the same host, whatever its name means by then.
    pub address: Address,
    /// The name it was found by, which its certificate may have to bear.
    pub host: String,
    /// Whether the way is enciphered.
    pub tls: DatabaseTls,
}

/// A logged-in connection to a database.
pub struct Backend {
    /// The socket.
    pub conn: Conn,
    /// What it was opened for.
    pub shape: Shape,
    /// How it was reached: cancel requests go the same way.
    pub route: Rc<Route>,
    /// What the database said at the login.
    pub welcome: Welcome,
    /// In transaction mode, what has been made on it; out while it is lent.
    pub memory: Option<BackendMemory>,
    /// It has been of use to somebody.
    pub has_served: bool,
}

impl Backend {
    /// What it speaks.
    pub fn dialect(&self) -> Dialect {
        match self.shape {
            Shape::Postgres(_) | Shape::PostgresAs(..) | Shape::Guest(_) => Dialect::Postgres,
            Shape::MySql(_) => Dialect::MySql,
        }
    }

    /// The number that its database has for it: PostgreSQL's process id, MySQL's connection id. Some that speak
    /// PostgreSQL's protocol tell none.
    pub fn number(&self) -> Option<u32> {
        match &self.welcome {
            Welcome::Postgres(welcome) => {
                let key = welcome.key.as_ref()?;
                u32::try_from(key.process_id()).ok()
            }
            Welcome::MySql(welcome) => Some(welcome.connection_id),
        }
    }

    /// Ready when an idle backend is of no use any more; until then `cx` is woken by whatever it
    /// says. See [`is_sound`](Backend::is_sound) for what it may say.
    pub fn poll_useless(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Poll::Ready(said) = self.conn.channel().poll_recv(cx) {
            let may_be_said = match (said, &mut self.memory) {
                (Ok(chunk), Some(memory)) => !chunk.is_empty() && memory.idle_said(&chunk).is_ok(),
                _ => false,
            };
            if !may_be_said {
                return Poll::Ready(());
            }
        }
        match self.conn.is_quiet() {
            true => Poll::Pending,
            false => Poll::Ready(()),
        }
    }

    /// Whether nothing is amiss with a backend that was idle. Settings and notices that a server
    /// sends by itself are noted where somebody will want to know them; anything else, and the end
    /// of the connection, makes the backend useless.
    pub fn is_sound(&mut self) -> bool {
        if let Some(memory) = &mut self.memory {
            while let Some(chunk) = self.conn.channel().try_recv() {
                if memory.idle_said(&chunk).is_err() {
                    return false;
                }
            }
        }
        self.conn.is_quiet()
    }

    /// Says goodbye and closes.
    pub fn dismiss(self) {
        let mut out = BytesMut::new();
        match self.welcome {
            Welcome::Postgres(_) => pg::frontend::terminate(&mut out),
            Welcome::MySql(_) => mysql::command::put(&mut out, mysql::command::COM_QUIT),
        }
        self.conn.close_with(out);
    }
}

impl pool::Pooled for Backend {
    type Shape = Shape;

    fn shape(&self) -> &Shape {
        &self.shape
    }

    fn is_repeatable(shape: &Shape) -> bool {
        !matches!(shape, Shape::Guest(_))
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
                    self.route.address
                )
            }
            Welcome::MySql(login) => {
                write!(
                    f,
                    "backend {} at {}",
                    login.connection_id, self.route.address
                )
            }
        }
    }
}

/// The collation that most MySQL and MariaDB drivers ask for, by its number.
const UTF8MB4_GENERAL_CI: u16 = 45;

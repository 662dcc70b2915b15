//! What is said on a connection, in either dialect: by a client that asks over and over, and by a
//! backend that answers without thinking.

use clap::ValueEnum;
use serde::Serialize;

use crate::mysql;
use crate::postgres;
use crate::scram::Secret;

/// Whose protocol is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// PostgreSQL's
    Postgres,
    /// MySQL's
    Mysql,
}

/// How queries are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// One Query message, or COM_QUERY
    Simple,
    /// Parse, Bind, Describe, Execute, Sync with the unnamed statement; PostgreSQL only
    Extended,
    /// Bind, Execute, Sync, or COM_STMT_EXECUTE, with a statement that was prepared before
    Prepared,
}

impl Mode {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Simple => "simple",
            Mode::Extended => "extended",
            Mode::Prepared => "prepared",
        }
    }
}

impl Dialect {
    /// Whether it has that way to ask.
    pub fn has(self, mode: Mode) -> bool {
        self == Dialect::Postgres || mode != Mode::Extended
    }

    /// One transaction.
    pub fn transaction(self, mode: Mode) -> Vec<u8> {
        match self {
            Dialect::Postgres => postgres::transaction(mode),
            Dialect::Mysql => mysql::transaction(mode),
        }
    }

    /// What a client says once after its login; nothing in most modes.
    pub fn preparation(self, mode: Mode) -> Vec<u8> {
        match (self, mode) {
            (_, Mode::Simple | Mode::Extended) => Vec::new(),
            (Dialect::Postgres, Mode::Prepared) => postgres::preparation(),
            (Dialect::Mysql, Mode::Prepared) => mysql::preparation(),
        }
    }

    /// A client that leaves says this.
    pub fn farewell(self) -> Vec<u8> {
        match self {
            Dialect::Postgres => postgres::terminate(),
            Dialect::Mysql => mysql::quit(),
        }
    }
}

/// A client's side of one connection.
pub enum Client {
    /// Of PostgreSQL
    Postgres(postgres::Client),
    /// Of MySQL
    Mysql(mysql::Client),
}

impl Client {
    /// Of a tenant; it says the first word, if any, into `out`.
    pub fn new(dialect: Dialect, login: &Login, out: &mut Vec<u8>) -> Client {
        match dialect {
            Dialect::Postgres => {
                out.extend(postgres::startup(&login.tenant));
                Client::Postgres(postgres::Client::new(login.secret))
            }
            Dialect::Mysql => Client::Mysql(mysql::Client::new(&login.tenant)),
        }
    }

    /// How many answers are complete with these bytes; the login is the first one. What it must say
    /// to go on goes into `out`. A refusal or an error is an error, for in a benchmark there should
    /// be none.
    pub fn hear(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<usize, String> {
        match self {
            Client::Postgres(client) => client.hear(bytes, out),
            Client::Mysql(client) => client.hear(bytes, out),
        }
    }
}

/// As whom a client logs in.
#[derive(Clone, Debug)]
pub struct Login {
    /// The tenant.
    pub tenant: String,
    /// What it proves to know where it is asked to.
    pub secret: Option<&'static Secret>,
}

/// One connection of the null backend.
pub enum Backend {
    /// Of PostgreSQL
    Postgres(postgres::Backend),
    /// Of MySQL
    Mysql(mysql::Backend),
}

/// What the backend does beside answering.
#[derive(Debug, PartialEq, Eq)]
pub enum Act {
    /// Nothing more.
    Answered,
    /// Sends so many bytes: [`postgres::BIG_BYTES`] of rows, and [`postgres::big_end`].
    Stream(usize),
    /// The client has left.
    Leave,
}

impl Backend {
    /// A new connection; its first word, if any, goes into `out`.
    pub fn new(dialect: Dialect, out: &mut Vec<u8>) -> Backend {
        match dialect {
            Dialect::Postgres => Backend::Postgres(postgres::Backend::default()),
            Dialect::Mysql => {
                out.extend(mysql::greeting());
                Backend::Mysql(mysql::Backend::default())
            }
        }
    }

    /// Hears the other side and answers into `out`.
    pub fn hear(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Act {
        match self {
            Backend::Postgres(backend) => backend.hear(bytes, out),
            Backend::Mysql(backend) => backend.hear(bytes, out),
        }
    }
}

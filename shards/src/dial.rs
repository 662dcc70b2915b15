//! From a permit to a logged-in backend: resolve, connect, log in.

use std::io;
use std::net::SocketAddr;

use pool::Blame;
use sockets::{SocketOptions, Stream};
use wire::mysql::{self, LoginStep, Tls};
use wire::{Refusal, Secret, WireError, pg};

use crate::backend::{Backend, Shape, Welcome};
use crate::conn::{Broken, Conn};
use crate::contract::{DialFault, PoolMode, TenantSpec};
use crate::farewell::{SessionEnd, is_about_the_client};
use crate::keys::Keys;
use crate::random;
use crate::resolve::resolve;
use crate::tenant::Tenant;

/// Why there is no backend. Cloned for everybody who waited for it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DialFailure {
    /// Nobody answered at the tenant's address, or not in time.
    #[error("{0}")]
    Unreachable(String),
    /// The database said no.
    #[error("the database refused: {0}")]
    Refused(Refusal),
    /// What answered does not speak the protocol as it should.
    #[error("protocol violation by the database: {0}")]
    Misbehaved(WireError),
}

impl DialFailure {
    /// Whom the pool is to blame, which decides who is told and whether dials are held back.
    pub fn blame(&self) -> Blame {
        match self {
            DialFailure::Unreachable(_) => Blame::Database,
            DialFailure::Refused(refusal) if is_about_the_client(refusal) => Blame::Shape,
            DialFailure::Refused(refusal) if is_full(refusal) => Blame::Database,
            // Starting up, shutting down: it may be over in a moment.
            DialFailure::Refused(refusal) if refusal.sqlstate.starts_with("57") => Blame::Database,
            DialFailure::Refused(_) => Blame::Tenant,
            DialFailure::Misbehaved(_) => Blame::Tenant,
        }
    }

    /// What it counts as.
    pub fn fault(&self) -> DialFault {
        match self {
            DialFailure::Unreachable(_) => DialFault::Unreachable,
            DialFailure::Refused(_) => DialFault::Refused,
            DialFailure::Misbehaved(_) => DialFault::Misbehaved,
        }
    }
}

impl From<DialFailure> for SessionEnd {
    fn from(failure: DialFailure) -> SessionEnd {
        match failure {
            DialFailure::Unreachable(why) => SessionEnd::DatabaseUnreachable(why),
            DialFailure::Refused(refusal) => SessionEnd::DatabaseRefused(refusal),
            DialFailure::Misbehaved(error) => SessionEnd::DatabaseMisbehaved(error),
        }
    }
}

/// Opens one backend of the given shape within the tenant's connect time-out.
pub async fn dial(tenant: &Tenant, shape: &Shape) -> Result<Backend, DialFailure> {
    let spec = tenant.spec();
    match shape {
        Shape::PostgresAs(user, _) => dial_as(tenant, &spec.logged_in_as(user), shape).await,
        _ => dial_as(tenant, &spec, shape).await,
    }
}

/// The same with the account of this spec, which may be another than the tenant's own.
pub async fn dial_as(
    tenant: &Tenant,
    spec: &TenantSpec,
    shape: &Shape,
) -> Result<Backend, DialFailure> {
    let limit = spec.connect_timeout;
    let dialled = sockets::timeout(limit, async {
        let (stream, address) = connect(spec)
            .await
            .map_err(|error| DialFailure::Unreachable(error.to_string()))?;
        let mut conn = Conn::new(stream);
        let welcome = match shape {
            Shape::Postgres(parameters) => {
                let keys = &tenant.scram_keys;
                Welcome::Postgres(log_in_postgres(keys, spec, parameters, &mut conn).await?)
            }
            Shape::PostgresAs(_, parameters) => {
                let keys = &tenant.client_keys;
                Welcome::Postgres(log_in_postgres(keys, spec, parameters, &mut conn).await?)
            }
            Shape::MySql(shape) => Welcome::MySql(log_in_mysql(spec, shape, &mut conn).await?),
        };
        let memory = match (&welcome, spec.pool_mode) {
            (Welcome::Postgres(welcome), PoolMode::Transaction) => {
                Some(tenant.commons.backend_opened(&welcome.parameters))
            }
            _ => None,
        };
        Ok(Backend {
            conn,
            shape: shape.clone(),
            address,
            welcome,
            memory,
        })
    });
    dialled.await.unwrap_or_else(|_| {
        Err(DialFailure::Unreachable(format!(
            "no login within {limit:?}"
        )))
    })
}

/// The first of the host's addresses that answers.
async fn connect(spec: &TenantSpec) -> io::Result<(Stream, SocketAddr)> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in resolve(&spec.host, spec.port).await? {
        match Stream::connect(address, &SocketOptions::default()).await {
            Ok(stream) => return Ok((stream, address)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn log_in_postgres(
    keys: &Keys,
    spec: &TenantSpec,
    parameters: &pg::Parameters,
    conn: &mut Conn,
) -> Result<pg::LoggedIn, DialFailure> {
    let mut login = pg::Login::new(pg::LoginRequest {
        user: spec.username.clone(),
        password: spec.password.clone(),
        database: spec.dbname.clone(),
        parameters: parameters.clone(),
        nonce: random::bytes(),
        keys: keys.of(&spec.username),
    });
    let mut logged_in = conn.carry(&mut login).await.map_err(database_broke)?;
    if let Some(left) = logged_in.keys.take() {
        keys.keep(&spec.username, left);
    }
    Ok(logged_in)
}

async fn log_in_mysql(
    spec: &TenantSpec,
    shape: &mysql::Shape,
    conn: &mut Conn,
) -> Result<mysql::LoggedIn, DialFailure> {
    match conn
        .carry(&mut mysql::Login::new(login_request(spec, shape)))
        .await
        .map_err(database_broke)?
    {
        LoginStep::LoggedIn(logged_in) => Ok(logged_in),
        LoginStep::StartTls => unreachable!("TLS is off in every request that is made here"),
    }
}

/// Whom a MySQL backend is logged in as.
pub fn login_request(spec: &TenantSpec, shape: &mysql::Shape) -> mysql::LoginRequest {
    mysql::LoginRequest {
        user: spec.username.clone(),
        password: spec.password.clone().unwrap_or_else(|| Secret::new("")),
        shape: shape.clone(),
        attributes: Vec::new(),
        tls: Tls::Off,
    }
}

/// Whether a database refused because it has no place left.
pub fn is_full(refusal: &Refusal) -> bool {
    refusal.sqlstate.starts_with("53") || refusal.number == TOO_MANY_CONNECTIONS
}

/// A dialogue with the database came to nothing.
pub fn database_broke(broken: Broken) -> DialFailure {
    match broken {
        Broken::Closed => {
            DialFailure::Unreachable("the database closed the connection during the login".into())
        }
        Broken::Io(error) => DialFailure::Unreachable(error.to_string()),
        Broken::Wire(WireError::Refused(refusal)) => DialFailure::Refused(refusal),
        Broken::Wire(error) => DialFailure::Misbehaved(error),
    }
}

/// MySQL's `ER_CON_COUNT_ERROR`.
const TOO_MANY_CONNECTIONS: u16 = 1040;

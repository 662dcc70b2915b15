//! From a permit to a logged-in backend: resolve, connect, log in.

use std::io;
use std::rc::Rc;

use log::{debug, warn};
use pool::Blame;
use sockets::Address;
use wire::mysql::{self, LoginStep, Tls};
use wire::pg::scram::ClientKeys;
use wire::pg::{self, TlsAnswer, sqlstate};
use wire::{Refusal, Secret, WireError};

use crate::backend::{Backend, Route, Shape, Welcome};
use crate::channel::NotSecured;
use crate::conn::{Broken, Conn};
use crate::contract::{DialFault, PoolMode, TenantSpec};
use crate::farewell::{SessionEnd, is_about_the_client, is_full};
use crate::keys::Keys;
use crate::race;
use crate::random;
use crate::tenant::Tenant;
use crate::tls::{ALPN_POSTGRESQL, DatabaseTls, Negotiation, SslMode, TlsError};

/// Why there is no backend. Cloned for everybody who waited for it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DialFailure {
    /// Nobody answered at the tenant's address, or not in time.
    #[error("{0}")]
    Unreachable(String),
    /// Nobody was asked, for want of something of our own.
    #[error("DBBouncer has run out of what a connection takes: {0}")]
    OwnLack(String),
    /// The database said no.
    #[error("the database refused: {0}")]
    Refused(Refusal),
    /// The database said no to what one client's startup parameters ask of it.
    #[error("the database refused what a client asks for: {0}")]
    ShapeRefused(Refusal),
    /// There is no TLS with what answered, or not on the terms of the tenant's sslmode.
    #[error("no TLS connection to the database: {0}")]
    NotSecured(String),
    /// The same, where an earlier connection's TLS session was to be resumed, which may be why. Seen by nobody but
    /// [`dial_as`], which begins again without it.
    #[error("{0}")]
    NotResumed(Box<DialFailure>),
    /// What answered does not speak the protocol as it should.
    #[error("protocol violation by the database: {0}")]
    Misbehaved(WireError),
    /// The client that was to log in itself did not.
    #[error("the client did not log in to the database: {0}")]
    ClientFailed(String),
}

impl DialFailure {
    /// Whom the pool is to blame, which decides who is told and whether dials are held back.
    pub fn blame(&self) -> Blame {
        match self {
            DialFailure::Unreachable(_) | DialFailure::OwnLack(_) => Blame::Database,
            DialFailure::ShapeRefused(_) => Blame::Shape,
            DialFailure::Refused(refusal) if is_about_the_client(refusal) => Blame::Shape,
            DialFailure::Refused(refusal) if is_full(refusal) => Blame::Database,
            // Starting up, shutting down: it may be over in a moment.
            DialFailure::Refused(refusal) if refusal.sqlstate.starts_with("57") => Blame::Database,
            DialFailure::Refused(_) => Blame::Tenant,
            DialFailure::Misbehaved(_) | DialFailure::NotSecured(_) => Blame::Tenant,
            DialFailure::ClientFailed(_) => Blame::Shape,
            DialFailure::NotResumed(failure) => failure.blame(),
        }
    }

    /// What it counts as.
    pub fn fault(&self) -> DialFault {
        match self {
            DialFailure::Unreachable(_) => DialFault::Unreachable,
            DialFailure::OwnLack(_) => DialFault::OwnLack,
            DialFailure::Refused(_)
            | DialFailure::ShapeRefused(_)
            | DialFailure::ClientFailed(_) => DialFault::Refused,
            DialFailure::Misbehaved(_) => DialFault::Misbehaved,
            DialFailure::NotSecured(_) => DialFault::NotSecured,
            DialFailure::NotResumed(failure) => failure.fault(),
        }
    }

    /// Whether it might not have failed without TLS: the handshake did, or the server lets this
    /// account in from plain connections only.
    fn may_be_of_tls(&self) -> bool {
        match self {
            DialFailure::NotSecured(_) => true,
            DialFailure::Refused(refusal) => {
                refusal.sqlstate == sqlstate::INVALID_AUTHORIZATION_SPECIFICATION
                    && refusal.number == 0
            }
            DialFailure::Unreachable(_)
            | DialFailure::OwnLack(_)
            | DialFailure::ShapeRefused(_)
            | DialFailure::NotResumed(_)
            | DialFailure::Misbehaved(_)
            | DialFailure::ClientFailed(_) => false,
        }
    }

    /// Where a client has the startup parameters say more than every login does, they are to blame
    /// for a refusal, save one that has to do with who logs in, with room, or with the server's being
    /// started or stopped: of what a parameter can bring about there is no end (55P02 for one that
    /// only a start of the server sets, 58P01 for a library that is not there, what a login trigger
    /// raises).
    fn of_shape(self, spec: &TenantSpec, shape: &Shape) -> DialFailure {
        let asks_for_more = matches!(shape, Shape::Postgres(_)) && *shape != Shape::usual(spec);
        match self {
            DialFailure::Refused(refusal)
                if asks_for_more
                    && !["28", "53", "57"]
                        .iter()
                        .any(|class| refusal.sqlstate.starts_with(class)) =>
            {
                DialFailure::ShapeRefused(refusal)
            }
            failure => failure,
        }
    }
}

impl From<DialFailure> for SessionEnd {
    fn from(failure: DialFailure) -> SessionEnd {
        match failure {
            DialFailure::Unreachable(why) => SessionEnd::DatabaseUnreachable(why),
            DialFailure::OwnLack(why) => SessionEnd::OwnLack(why),
            DialFailure::Refused(refusal) => SessionEnd::DatabaseRefused(refusal),
            DialFailure::ShapeRefused(refusal) => SessionEnd::SettingsRefused(refusal),
            DialFailure::Misbehaved(error) => SessionEnd::DatabaseMisbehaved(error),
            failure @ DialFailure::NotSecured(_) => {
                SessionEnd::DatabaseUnreachable(failure.to_string())
            }
            DialFailure::ClientFailed(why) => SessionEnd::ClientNotPassed(why),
            DialFailure::NotResumed(failure) => (*failure).into(),
        }
    }
}

/// Opens one backend of the given shape within the tenant's connect time-out.
pub async fn dial(tenant: &Tenant, shape: &Shape) -> Result<Backend, DialFailure> {
    let spec = tenant.spec();
    match shape {
        Shape::PostgresAs(user, _) => dial_as(tenant, &spec.logged_in_as(user), shape).await,
        Shape::Guest(guest) => dial_as(tenant, &spec.logged_in_as(guest.user()), shape).await,
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
    // What never leaves the machine is not enciphered, whatever is configured: as libpq does it.
    let tls = match spec.local() {
        Some(_) => &DatabaseTls::OFF,
        None => &spec.tls,
    };
    let dialled = sockets::timeout(limit, async {
        let mut opened = open(tenant, spec, tls, shape).await;
        if matches!(opened, Err(DialFailure::NotResumed(_))) {
            opened = open(tenant, spec, &tls.from_the_start(), shape).await;
        }
        match opened {
            // As libpq does it: whoever only prefers TLS would rather be without than alone.
            Err(failure)
                if tls.mode == SslMode::Prefer && failure.may_be_of_tls() && !shape.is_spent() =>
            {
                debug!("tenant {}: trying again without TLS: {failure}", spec.id);
                open(tenant, spec, &DatabaseTls::OFF, shape).await
            }
            opened => opened,
        }
    });
    let dialled = dialled.await.unwrap_or_else(|_| {
        let why = format!("no login within {limit:?}");
        // What a client takes its time with is no fault of its database's.
        Err(match shape.is_spent() {
            true => DialFailure::ClientFailed(why),
            false => DialFailure::Unreachable(why),
        })
    });
    // Also where nothing was heard until the time was over, as behind what swallows such handshakes.
    if tls.has_given_up_resuming() {
        warn!("tenant {}: {GIVEN_UP}", spec.id);
    }
    dialled.map_err(|failure| failure.of_shape(spec, shape))
}

/// What the log says where TLS sessions are not resumed any more.
const GIVEN_UP: &str = "TLS connections to its database that would resume a session fail again and again, \
                        so each begins from the start from now on, which costs the database more";

/// Connects, on these terms, and logs in.
async fn open(
    tenant: &Tenant,
    spec: &TenantSpec,
    tls: &DatabaseTls,
    shape: &Shape,
) -> Result<Backend, DialFailure> {
    let unreachable = |error: io::Error| DialFailure::Unreachable(error.to_string());
    let addresses = match spec.local() {
        Some(socket) => vec![socket],
        None => {
            let found = tenant.names.resolve(&spec.host, spec.port).await;
            let found = found.map_err(unreachable)?;
            found.into_iter().map(Address::from).collect()
        }
    };
    let (stream, address) = race::connect(addresses).await.map_err(not_connected)?;
    let route = Route {
        address,
        host: spec.host.clone(),
        tls: tls.clone(),
    };
    let mut conn = Conn::new(stream);
    let welcome = match shape {
        Shape::Postgres(parameters) => {
            secure_postgres(&mut conn, &route).await?;
            let keys = &tenant.scram_keys;
            Welcome::Postgres(log_in_postgres(keys, spec, parameters, &mut conn).await?)
        }
        Shape::PostgresAs(_, parameters) => {
            secure_postgres(&mut conn, &route).await?;
            let keys = &tenant.client_keys;
            Welcome::Postgres(log_in_postgres(keys, spec, parameters, &mut conn).await?)
        }
        Shape::Guest(guest) => {
            secure_postgres(&mut conn, &route).await?;
            let parameters = guest.parameters();
            let request = request_postgres(spec, parameters, None, None);
            Welcome::Postgres(guest.log_in(&mut conn, request).await?)
        }
        Shape::MySql(shape) => Welcome::MySql(log_in_mysql(spec, shape, &route, &mut conn).await?),
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
        route: Rc::new(route),
        welcome,
        memory,
        has_served: false,
    })
}

/// Has a connection to PostgreSQL enciphered, as far as the route demands it and the server lets us.
pub async fn secure_postgres(conn: &mut Conn, route: &Route) -> Result<(), DialFailure> {
    let tls = &route.tls;
    if tls.mode == SslMode::Disable {
        return Ok(());
    }
    if tls.negotiation == Negotiation::Postgres {
        let asked = conn.carry(&mut pg::TlsRequest::default()).await;
        match asked.map_err(database_broke)? {
            TlsAnswer::Accepted => {}
            TlsAnswer::Refused if tls.mode == SslMode::Prefer => return Ok(()),
            TlsAnswer::Refused => return Err(no_tls()),
        }
    }
    secure(conn, route).await?;
    if tls.negotiation == Negotiation::Direct && conn.alpn().as_deref() != Some(ALPN_POSTGRESQL) {
        return Err(DialFailure::NotSecured(TlsError::NoAlpn.to_string()));
    }
    Ok(())
}

/// The handshake, and whom it is made with.
async fn secure(conn: &mut Conn, route: &Route) -> Result<(), DialFailure> {
    let begun = route.tls.begin(&route.host);
    let (session, offer) = begun.map_err(|error| DialFailure::NotSecured(error.to_string()))?;
    let secured = conn.secure(session).await.map_err(|error| match error {
        NotSecured::Io(error) => DialFailure::Unreachable(error.to_string()),
        error => DialFailure::NotSecured(error.to_string()),
    });
    match (secured, offer) {
        (Ok(()), Some(offer)) => offer.heard(),
        (Err(failure), Some(_)) => return Err(DialFailure::NotResumed(Box::new(failure))),
        (secured, None) => secured?,
    }
    Ok(())
}

fn no_tls() -> DialFailure {
    DialFailure::NotSecured("the database offers no TLS, which sslmode demands".to_owned())
}

async fn log_in_postgres(
    keys: &Keys,
    spec: &TenantSpec,
    parameters: &pg::Parameters,
    conn: &mut Conn,
) -> Result<pg::LoggedIn, DialFailure> {
    let (kept, end_point) = (keys.of(&spec.username), conn.end_point());
    let mut login = pg::Login::new(request_postgres(spec, parameters, kept, end_point));
    let carried = conn.carry_for(&spec.id, &mut login).await;
    let mut logged_in = carried.map_err(database_broke)?;
    if let Some(left) = logged_in.keys.take() {
        keys.keep(&spec.username, left);
    }
    Ok(logged_in)
}

fn request_postgres(
    spec: &TenantSpec,
    parameters: &pg::Parameters,
    keys: Option<ClientKeys>,
    end_point: Option<Vec<u8>>,
) -> pg::LoginRequest {
    pg::LoginRequest {
        user: spec.username.clone(),
        password: spec.password.clone(),
        database: spec.dbname.clone(),
        parameters: parameters.clone(),
        nonce: random::bytes(),
        end_point,
        keys,
    }
}

async fn log_in_mysql(
    spec: &TenantSpec,
    shape: &mysql::Shape,
    route: &Route,
    conn: &mut Conn,
) -> Result<mysql::LoggedIn, DialFailure> {
    let request = login_request(spec, shape, route);
    let demands_tls = request.tls == Tls::Require;
    let mut login = mysql::Login::new(request);
    loop {
        match conn.carry_for(&spec.id, &mut login).await {
            Ok(LoginStep::LoggedIn(logged_in)) => return Ok(logged_in),
            Ok(LoginStep::StartTls) => {
                secure(conn, route).await?;
                login.secured();
            }
            Err(Broken::Wire(WireError::Unsupported { .. }))
                if demands_tls && !login.offers_tls() =>
            {
                return Err(no_tls());
            }
            Err(broken) => return Err(database_broke(broken)),
        }
    }
}

/// Whom a MySQL backend is logged in as.
pub fn login_request(
    spec: &TenantSpec,
    shape: &mysql::Shape,
    route: &Route,
) -> mysql::LoginRequest {
    mysql::LoginRequest {
        user: spec.username.clone(),
        password: spec.password.clone().unwrap_or_else(|| Secret::new("")),
        shape: shape.clone(),
        attributes: Vec::new(),
        tls: match route.tls.mode {
            _ if route.address.is_local() => Tls::Needless,
            SslMode::Disable => Tls::Off,
            SslMode::Prefer => Tls::Prefer,
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => Tls::Require,
        },
        scramble: random::bytes(),
    }
}

/// Whoever is let in and then finds the door closed has not come in.
pub fn stillborn() -> DialFailure {
    let why = "the database closed the connection, or spoke out of turn, right after the login";
    DialFailure::Unreachable(why.into())
}

fn not_connected(error: io::Error) -> DialFailure {
    match sockets::is_our_lack(&error) {
        true => DialFailure::OwnLack(error.to_string()),
        false => DialFailure::Unreachable(error.to_string()),
    }
}

/// A dialogue with the database came to nothing.
pub fn database_broke(broken: Broken) -> DialFailure {
    match broken {
        Broken::Closed => DialFailure::Unreachable("the database hung up during the login".into()),
        Broken::Io(error) => DialFailure::Unreachable(error.to_string()),
        Broken::Wire(WireError::Refused(refusal)) => DialFailure::Refused(refusal),
        Broken::Wire(error) => DialFailure::Misbehaved(error),
    }
}

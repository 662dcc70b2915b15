//! A client's first words, and TLS before or between them: who it is and what it wants.
//!
//! ```text
//!   PostgreSQL   ┌─ SSLRequest: S, handshake ─┐
//!           ─────┼─ handshake at once ────────┼──▶ StartupMessage, CancelRequest
//!                └────────────────────────────┘
//!   MySQL    greeting ──┬─ SSLRequest, handshake ─┬──▶ HandshakeResponse
//!                       └─────────────────────────┘
//! ```
//!
//! What was sent in clear before a handshake is never read as if it had come through it.

use wire::pg::{self, CancelKey, TlsOffer};
use wire::{ByHost, is_tenant_id, mysql};

use crate::conn::{Broken, Conn};
use crate::connection_ids::OwnIds;
use crate::contract::{Dialect, TenantId};
use crate::farewell::{Misnamed, SessionEnd};
use crate::handoff::Preface;
use crate::random;
use crate::tls::{ALPN_POSTGRESQL, ClientsTls, Mode, TlsError};

/// What a client's first words were.
pub enum FirstWords {
    /// It wants a session.
    Client(TenantId, Preface),
    /// It wants another connection to be left alone.
    Cancel(CancelKey),
}

/// A client that goes no further.
pub enum NotTaken {
    /// It left, or never spoke: nothing to say, nothing to log above debug.
    Gone(Broken),
    /// It is to be told before we have said a word.
    Early(SessionEnd),
    /// It is to be told, with this MySQL sequence id.
    Tell(SessionEnd, u8),
}

/// A PostgreSQL client's first words.
pub async fn read_startup(
    conn: &mut Conn,
    tls: Option<&ClientsTls>,
) -> Result<FirstWords, NotTaken> {
    let mut offer = match tls {
        Some(_) => TlsOffer::Available,
        None => TlsOffer::Unavailable,
    };
    loop {
        let preface = conn.carry(&mut pg::PrefaceReader::new(offer)).await;
        let is_direct = match preface.map_err(not_taken)? {
            pg::Preface::Cancel(key) => return Ok(FirstWords::Cancel(key)),
            pg::Preface::Terminate => return Err(NotTaken::Gone(Broken::Closed)),
            pg::Preface::Startup(startup) => {
                demand_tls(conn, tls, 0)?;
                let host = by_host(conn, tls);
                let misnamed = |error| {
                    NotTaken::Tell(SessionEnd::ClientMisnamed(Misnamed::Postgres(error)), 0)
                };
                let named = pg::name_tenant_at(startup, host.as_ref()).map_err(misnamed)?;
                let tenant = TenantId::parse(&named.tenant).ok_or_else(|| {
                    misnamed(pg::NamingError::InvalidTenant(named.tenant.clone()))
                })?;
                return Ok(FirstWords::Client(tenant, Preface::Postgres(named)));
            }
            pg::Preface::StartTls => false,
            pg::Preface::DirectTls => true,
        };
        Box::pin(secure(conn, tls, Dialect::Postgres)).await?;
        if is_direct && conn.alpn().as_deref() != Some(ALPN_POSTGRESQL) {
            return Err(NotTaken::Tell(
                SessionEnd::ClientNotSecured(TlsError::NoAlpn.into()),
                0,
            ));
        }
        offer = TlsOffer::Started;
    }
}

/// A MySQL client's first words, after ours.
pub async fn read_handshake(
    conn: &mut Conn,
    tls: Option<&ClientsTls>,
    version: &str,
) -> Result<FirstWords, NotTaken> {
    let nonce = mysql::Nonce::from_random(random::bytes());
    let greeting = mysql::Greeting::to_client(version, OwnIds::fresh(), nonce, tls.is_some());
    let mut reader = mysql::PrefaceReader::new(greeting);
    loop {
        match conn.carry(&mut reader).await.map_err(not_taken)? {
            mysql::Preface::StartTls => {
                Box::pin(secure(conn, tls, Dialect::MySql)).await?;
                reader.secured();
            }
            mysql::Preface::Login(mut login) => {
                demand_tls(conn, tls, login.sequence)?;
                let sequence = login.sequence;
                let misnamed = |error| NotTaken::Tell(SessionEnd::ClientMisnamed(error), sequence);
                let host = by_host(conn, tls);
                let named = mysql::name_tenant_at(&mut login.response, host.as_ref())
                    .map_err(|error| misnamed(Misnamed::MySql(error)))?;
                let tenant = named.tenant.as_deref().and_then(TenantId::parse);
                let tenant = tenant.ok_or_else(|| misnamed(Misnamed::MySqlNoTenant))?;
                return Ok(FirstWords::Client(
                    tenant,
                    Preface::MySql(Box::new(login), named),
                ));
            }
        }
    }
}

/// The TLS handshake.
async fn secure(
    conn: &mut Conn,
    tls: Option<&ClientsTls>,
    dialect: Dialect,
) -> Result<(), NotTaken> {
    let Some(tls) = tls else {
        unreachable!("a reader that may not offer TLS does not let it begin");
    };
    let not_secured = |error| NotTaken::Tell(SessionEnd::ClientNotSecured(error), AFTER_GREETING);
    let session = tls
        .begin(dialect)
        .map_err(|error| not_secured(error.into()))?;
    conn.secure(session).await.map_err(not_secured)
}

/// Refuses a client in clear where all must use TLS.
fn demand_tls(conn: &Conn, tls: Option<&ClientsTls>, sequence: u8) -> Result<(), NotTaken> {
    match tls {
        Some(tls) if tls.mode == Mode::Require && !conn.is_secured() => {
            Err(NotTaken::Tell(SessionEnd::ClientNotEnciphered, sequence))
        }
        _ => Ok(()),
    }
}

/// The tenant that the host's name stands for, by which the client has connected.
///
/// With `tls_sni_domain` only hosts right below it are tenants', and they are as good as any other
/// word of the client's. Without it the first label of a longer name may be a tenant's or that of the
/// service, so it counts only where nothing else has been said.
fn by_host(conn: &Conn, tls: Option<&ClientsTls>) -> Option<ByHost> {
    let host = conn.server_name()?;
    let tenant = |label: &str| is_tenant_id(label).then(|| label.to_owned());
    match tls?.sni_domain.as_deref() {
        Some(domain) => {
            let below = host.len().checked_sub(domain.len() + 1)?;
            let (label, parent) = host.split_at_checked(below)?;
            let is_below = parent.strip_prefix('.')?.eq_ignore_ascii_case(domain);
            tenant(label).filter(|_| is_below).map(ByHost::Names)
        }
        None => tenant(host.split_once('.')?.0).map(ByHost::MayName),
    }
}

fn not_taken(broken: Broken) -> NotTaken {
    match broken {
        Broken::Wire(error) => NotTaken::Tell(SessionEnd::ClientMisbehaved(error), AFTER_GREETING),
        gone @ (Broken::Closed | Broken::Io(_)) => NotTaken::Gone(gone),
    }
}

/// The sequence id of a MySQL server's packet behind its greeting and the client's response.
pub const AFTER_GREETING: u8 = 1;

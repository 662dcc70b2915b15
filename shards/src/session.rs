//! A client's session on its shard: from the handoff to the last word.
//!
//! ```text
//!   handoff ─▶ prove who you are ─▶ lease a backend ─▶ welcome ─▶ relay ─▶ farewell
//!                     │                   │                         │
//!                     └───────────────────┴─── SessionEnd ◀─────────┘
//! ```
//!
//! The steps that both protocols share stand here; what differs is in [`postgres`] and [`mysql`].

mod known;
mod mysql;
mod passthrough;
mod postgres;
mod transaction;

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use sockets::Elapsed;

use crate::admission::Place;
use crate::backend::Shape;
use crate::conn::{Broken, Conn};
use crate::context::ShardContext;
use crate::contract::{Access, ClientAuth, Dialect, Disproof, TenantId, Users};
use crate::control::{Control, Leave};
use crate::farewell::{SessionEnd, Unproven};
use crate::handoff::{Handoff, Preface};
use crate::lease::Lease;
use crate::seated::Seated;
use crate::tenant::Tenant;
use crate::throttle::{Throttle, Turn};

/// One client, as both protocols see it.
struct Client {
    conn: Conn,
    peer: SocketAddr,
    /// A proxy stands before it.
    proxied: bool,
    /// What it named; whether it exists is another matter.
    id: TenantId,
    login_deadline: Instant,
    /// Given back when the session has ended.
    place: Place,
}

/// One part of a session's life. It lies on the heap by itself and goes when it is over, so that a
/// client that does nothing, of which there may be thousands, holds no more than its own part needs.
type Phase<'a, T = ()> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Serves one client to its end, and sees to its last words.
pub async fn serve(shard: &Rc<ShardContext>, handoff: Box<Handoff>) {
    let session = match begin(shard, handoff) {
        First::Login(login) => login.await,
        First::Session(session) => Some(session),
    };
    if let Some(session) = session {
        session.await;
    }
}

/// What a client's life begins with.
enum First<'a> {
    /// A login; what follows takes its place, if it may.
    Login(Phase<'a, Option<Phase<'a>>>),
    /// Login and session are one.
    Session(Phase<'a>),
}

fn begin(shard: &Rc<ShardContext>, handoff: Box<Handoff>) -> First<'_> {
    let Handoff {
        conn,
        peer,
        proxied,
        preface,
        tenant: id,
        login_deadline,
        place,
    } = *handoff;
    let client = Client {
        conn: Conn::adopt(conn),
        peer,
        proxied,
        id,
        login_deadline,
        place,
    };
    match preface {
        Preface::Postgres(named) => First::Login(Box::pin(postgres::log_in(shard, client, named))),
        Preface::MySql(login, named) => {
            First::Session(Box::pin(mysql::serve(shard, client, *login, named)))
        }
    }
}

/// The tenant a client named, if it exists, speaks the client's protocol and takes clients from
/// where it comes. Any other is no tenant here, and is refused like one that does not exist.
fn tenant_for(shard: &ShardContext, client: &Client, dialect: Dialect) -> Option<Rc<Tenant>> {
    shard.tenant(&client.id).filter(|tenant| {
        let spec = tenant.spec();
        spec.dialect == dialect && spec.access.allows(client.peer.ip())
    })
}

/// A client that has proved who it is takes one of its tenant's places.
fn admit(client: &mut Client, tenant: &Rc<Tenant>) -> Result<Seated, SessionEnd> {
    client.place.proven();
    tenant.stats.count(|counts| counts.logins += 1);
    Seated::among(tenant)
}

/// What has come of a part of a login, or of the time for all of it.
fn in_time<T>(
    shard: &ShardContext,
    login: Result<Result<T, SessionEnd>, Elapsed>,
) -> Result<T, SessionEnd> {
    login.unwrap_or(Err(SessionEnd::ClientTooSlow(shard.settings.login_timeout)))
}

/// Waits until a login may be looked at: at once, unless many of the same address have failed at
/// this tenant.
async fn take_turn(shard: &ShardContext, client: &mut Client) -> Result<Turn, SessionEnd> {
    let (id, address) = (&client.id, client.peer.ip());
    let arrives = |throttle: &mut Throttle| throttle.arrives(id, address, sockets::now());
    let turn = arrives(&mut shard.throttle.borrow_mut())
        .map_err(|wait| SessionEnd::TooManyFailures { wait })?;
    pause(client, turn.wait).await?;
    Ok(turn)
}

/// A login has come to an end, of which its client has not been told yet. Where others that were under way with it have
/// failed meanwhile, so many that it would not be looked at by now, it takes its turn first, be it right or wrong.
async fn end_turn<T>(
    shard: &ShardContext,
    client: &mut Client,
    turn: Turn,
    proven: Result<T, SessionEnd>,
) -> Result<T, SessionEnd> {
    let is_judged = matches!(proven, Ok(_) | Err(SessionEnd::ClientUnproven(_)));
    let turn = match is_judged {
        true => {
            let turn = shard.throttle.borrow_mut().again(turn, sockets::now());
            let turn = turn.map_err(|wait| SessionEnd::TooManyFailures { wait })?;
            pause(client, turn.wait).await?;
            turn
        }
        false => turn,
    };
    close_turn(shard, client, turn, proven.as_ref().err()).await;
    proven
}

/// The client of a login may know how it ended. That of one that failed is told later the more there have been.
async fn close_turn(
    shard: &ShardContext,
    client: &mut Client,
    turn: Turn,
    end: Option<&SessionEnd>,
) {
    if !matches!(end, Some(SessionEnd::ClientUnproven(_))) {
        return shard.throttle.borrow_mut().succeeded(turn);
    }
    let delay = shard.throttle.borrow_mut().failed(turn, sockets::now());
    // Also of one that leaves meanwhile it is told that it failed.
    let _ = pause(client, delay).await;
}

/// Lets time pass, unless the client leaves first.
async fn pause(client: &mut Client, time: Duration) -> Result<(), SessionEnd> {
    if time.is_zero() {
        return Ok(());
    }
    let mut over = pin!(sockets::sleep(time));
    poll_fn(|cx| match over.as_mut().poll(cx) {
        Poll::Ready(()) => Poll::Ready(Ok(())),
        Poll::Pending => client
            .conn
            .poll_gone(cx)
            .map(|gone| Err(client_broke(gone))),
    })
    .await
}

/// Gets a session its one backend, of this shape. A client that leaves meanwhile, or is ended, leaves the queue, too.
async fn lease_for(
    client: &mut Client,
    tenant: &Rc<Tenant>,
    shape: &Shape,
    control: &Control,
) -> Result<Lease, SessionEnd> {
    control.waits(sockets::now());
    let mut lease = pin!(Lease::acquire(
        tenant,
        shape,
        None,
        tenant.spec().acquire_timeout
    ));
    let lease = poll_fn(|cx| {
        if let ready @ Poll::Ready(_) = lease.as_mut().poll(cx) {
            return ready;
        }
        // All other reasons to leave come by way of the queue.
        if let Some(why @ Leave::Ended) = control.asked_to_leave(cx) {
            return Poll::Ready(Err(why.into()));
        }
        let gone = client.conn.poll_gone(cx);
        gone.map(|gone| Err(client_broke(gone)))
    })
    .await?;
    control.turn(false, false, sockets::now());
    control.holds(lease.backend().number());
    Ok(lease)
}

/// A dialogue with the client came to nothing.
fn client_broke(broken: Broken) -> SessionEnd {
    match broken {
        Broken::Closed => SessionEnd::ClientLeft,
        Broken::Io(error) => SessionEnd::ClientBroke(error),
        Broken::Wire(error) => SessionEnd::ClientMisbehaved(error),
    }
}

/// Why a login was refused that the client cannot be told the reason of.
fn why_unproven(
    shard: &ShardContext,
    client: &Client,
    access: Option<&Access>,
    user: &str,
) -> Disproof {
    match access.map(|access| &access.users) {
        None => match shard.tenant(&client.id) {
            Some(tenant) if !tenant.spec().access.allows(client.peer.ip()) => Disproof::NotAllowed,
            _ => Disproof::NoTenant,
        },
        _ if access.is_some_and(|access| access.method == ClientAuth::Cert) => {
            Disproof::NoCertificate
        }
        Some(Users::Unknown) => Disproof::NoSecret,
        Some(Users::Named(users)) if !users.contains_key(user) => Disproof::NoUser,
        Some(_) => Disproof::WrongPassword,
    }
}

/// The line in the log, and the sums: its tenant's, or those of the clients that have none.
fn ended(
    shard: &ShardContext,
    client: &Client,
    dialect: Dialect,
    tenant: Option<&Tenant>,
    end: &SessionEnd,
) {
    end.log(dialect, client.peer, Some(&client.id));
    end.count_in(tenant.map_or(&shard.strangers, |tenant| &tenant.stats));
}

fn unproven(
    client: &Client,
    raw_user: String,
    used_password: bool,
    disproof: Disproof,
) -> SessionEnd {
    SessionEnd::ClientUnproven(Unproven {
        user: raw_user,
        peer: client.peer,
        used_password,
        disproof,
    })
}

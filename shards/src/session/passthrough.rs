//! A PostgreSQL client's login that is passed on to its database: see [`Guest`].

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use sockets::timeout_at;
use wire::pg::NamedStartup;

use super::postgres::{check, leave, who, work};
use super::{Client, admit, client_broke, close_turn, in_time, take_turn, unproven};
use crate::backend::Shape;
use crate::context::ShardContext;
use crate::contract::{Dialect, Disproof};
use crate::farewell::SessionEnd;
use crate::guest::Guest;
use crate::lease::Lease;
use crate::tenant::Tenant;

/// Serves one client to its end.
pub async fn serve(
    shard: &Rc<ShardContext>,
    mut client: Client,
    tenant: &Rc<Tenant>,
    named: NamedStartup,
) {
    let deadline = client.login_deadline;
    let taken = timeout_at(deadline, take_turn(shard, &mut client)).await;
    let turn = match in_time(shard, taken) {
        Ok(turn) => turn,
        Err(end) => return leave(shard, client, Some(tenant), &end),
    };
    let Client {
        conn,
        peer,
        proxied,
        id,
        login_deadline,
        place,
    } = client;
    let is_private = conn.is_secured() || !proxied && peer.ip().is_loopback();
    let parameters = named.parameters.clone();
    let guest = Guest::new(named.user.clone(), parameters, is_private, conn);
    let leased = timeout_at(deadline, lease(&guest, tenant)).await;
    let leased = in_time(shard, leased);
    let Some(conn) = guest.leave() else {
        // A dial has it still, and both end together.
        if let Err(end) = leased {
            end.log(Dialect::Postgres, peer, Some(&id));
            end.count_in(&tenant.stats);
        }
        return;
    };
    let mut client = Client {
        conn,
        peer,
        proxied,
        id,
        login_deadline,
        place,
    };
    let proven = leased.map_err(|end| match end {
        SessionEnd::DatabaseRefused(refusal) if refusal.sqlstate.starts_with("28") => {
            let raw_user = named.raw_user.clone();
            unproven(&client, raw_user, true, Disproof::WrongPassword)
        }
        end => end,
    });
    // The database has told it already. How many can guess at once is bounded by the pool.
    close_turn(shard, &mut client, turn, proven.as_ref().err()).await;
    let admitted = proven.and_then(|lease| {
        let seated = admit(&mut client, tenant)?;
        check(&client, &tenant.spec(), &named)?;
        Ok((lease, seated))
    });
    match admitted {
        Ok((lease, _seated)) => {
            let listed = match tenant.sessions.enter(who(&client, &named)) {
                Ok(listed) => listed,
                Err(why) => return leave(shard, client, Some(tenant), &why.into()),
            };
            listed.control.holds(lease.backend().number());
            work(shard, client, tenant, lease, &listed.control, named.minor).await;
        }
        Err(end) => leave(shard, client, Some(tenant), &end),
    }
}

/// A place for a backend, and the login on it. A client that leaves while it waits waits no longer.
async fn lease(guest: &Guest, tenant: &Rc<Tenant>) -> Result<Lease, SessionEnd> {
    let shape = Shape::Guest(guest.clone());
    let patience = tenant.spec().acquire_timeout;
    let mut lease = pin!(Lease::acquire(tenant, &shape, None, patience));
    poll_fn(|cx| match lease.as_mut().poll(cx) {
        Poll::Pending => guest.poll_gone(cx).map(|gone| Err(client_broke(gone))),
        ready => ready,
    })
    .await
}

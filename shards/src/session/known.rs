//! What is known of a PostgreSQL client's user: by the config, or by the tenant's own database.

use std::rc::Rc;

use wire::pg::Stored;

use super::Client;
use crate::context::ShardContext;
use crate::contract::{Access, ClientAuth, Credential, Disproof, Users};
use crate::lookup;
use crate::tenant::Tenant;

/// What is known of a user.
pub(super) struct Known {
    pub(super) stored: Option<Stored>,
    /// Why a login fails all the same, if that is another reason than the config tells.
    pub(super) otherwise: Option<Disproof>,
}

/// What the config knows of a user, or else the tenant's own database.
pub(super) async fn known_of(
    shard: &ShardContext,
    client: &Client,
    tenant: Option<&Rc<Tenant>>,
    user: &str,
) -> Known {
    let by_config = |stored| Known {
        stored,
        otherwise: None,
    };
    let Some(tenant) = tenant else {
        if let Some(ttl) = shard.reception.get().lookup_ttl {
            let took = shard.lookup_time();
            sockets::sleep(shard.mock_lookups.time(&client.id, user, ttl, took)).await;
        }
        return by_config(None);
    };
    let access = &tenant.spec().access;
    let stored = stored_secret(access, user);
    let asks = access.method_for(client.peer.ip()) != ClientAuth::Trust;
    if stored.is_some() || access.lookup.is_none() || !asks {
        return by_config(stored);
    }
    let answer = lookup::look_up(tenant, user).await;
    let otherwise = Some(match answer {
        Ok(Some(_)) => Disproof::WrongPassword,
        Ok(None) => Disproof::NoUser,
        Err(_) => Disproof::LookupFailed,
    });
    let secret = answer.ok().flatten();
    let stored = secret.map(|secret| Stored::parse(secret.expose(), user));
    // No database keeps passwords in clear any more; what looks like one is no verifier.
    let stored = stored.filter(|stored| !matches!(stored, Stored::Plain(_)));
    Known { stored, otherwise }
}

/// What the config knows of a user's secret.
fn stored_secret(access: &Access, user: &str) -> Option<Stored> {
    match &access.users {
        Users::Any(password) => Some(Stored::Plain(password.clone())),
        Users::Named(users) => users.get(user).map(|credential| match credential {
            Credential::Password(password) => Stored::Plain(password.clone()),
            Credential::Verifier(verifier) => Stored::parse(verifier.expose(), user),
        }),
        Users::Unknown => None,
    }
}

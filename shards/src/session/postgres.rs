//! A PostgreSQL client's session in session mode: one backend, from login to leave.

mod watch;

use std::rc::Rc;

use bytes::BytesMut;
use sockets::timeout_at;
use wire::WireError;
use wire::pg::md5::Md5Hash;
use wire::pg::scram::{ChannelBinding, ScramServer};
use wire::pg::{self, Challenge, Greet, NamedStartup, Replication, Stored, TransactionStatus};

use super::known::known_of;
use super::{
    Client, Phase, admit, client_broke, end_turn, ended, in_time, lease_for, passthrough,
    take_turn, tenant_for, transaction, unproven, why_unproven,
};
use crate::backend::{Shape, Welcome};
use crate::cancel::{Aim, Registered, SecretLength};
use crate::conn::Broken;
use crate::context::ShardContext;
use crate::contract::{Access, BackendUser, ClientAuth, Dialect, PoolMode, TenantSpec, Who};
use crate::control::Control;
use crate::farewell::SessionEnd;
use crate::lease::Lease;
use crate::random;
use crate::relay::{Relay, RelayEnd};
use crate::seated::Seated;
use crate::tenant::Tenant;
use watch::PgWatch;

/// Lets the client log in; its session, if it may have one.
pub(super) async fn log_in(
    shard: &Rc<ShardContext>,
    mut client: Client,
    named: NamedStartup,
) -> Option<Phase<'_>> {
    let tenant = tenant_for(shard, &client, Dialect::Postgres);
    let address = client.peer.ip();
    if let Some(tenant) = &tenant
        && tenant.spec().access.method_for(address) == ClientAuth::Passthrough
    {
        let tenant = Rc::clone(tenant);
        return Some(Box::pin(async move {
            passthrough::serve(shard, client, &tenant, named).await;
        }));
    }
    let deadline = client.login_deadline;
    let proving = prove(shard, &mut client, tenant.as_ref(), &named);
    let proven = timeout_at(deadline, proving).await;
    let tenant = match (in_time(shard, proven), tenant) {
        (Ok(()), Some(tenant)) => tenant,
        (Ok(()), None) => {
            unreachable!("nobody can prove to be a user of a tenant that does not exist")
        }
        (Err(end), tenant) => {
            leave(shard, client, tenant.as_deref(), &end);
            return None;
        }
    };
    let admitted = admit(&mut client, &tenant)
        .and_then(|seated| check(&client, &tenant.spec(), &named).map(|()| seated));
    let seated = match admitted {
        Ok(seated) => seated,
        Err(end) => {
            leave(shard, client, Some(&tenant), &end);
            return None;
        }
    };
    Some(match tenant.spec().pool_mode {
        PoolMode::Transaction => {
            let (client, named) = (Box::new(client), Box::new(named));
            Box::pin(transaction::serve(shard, client, seated, named))
        }
        PoolMode::Session => Box::pin(serve_by_session(shard, client, seated, named)),
    })
}

/// Session mode: one backend of the client's own shape, from here to its leave.
async fn serve_by_session(
    shard: &Rc<ShardContext>,
    mut client: Client,
    seated: Seated,
    named: NamedStartup,
) {
    let tenant = seated.tenant();
    let minor = named.minor;
    let who = who(&client, &named);
    let shape = match tenant.spec().access.backend_user {
        BackendUser::Tenant => Shape::Postgres(named.parameters),
        BackendUser::Client => Shape::PostgresAs(named.user, named.parameters),
    };
    let listed = match tenant.sessions.enter(who) {
        Ok(listed) => listed,
        Err(why) => return leave(shard, client, Some(tenant), &why.into()),
    };
    match lease_for(&mut client, tenant, &shape, &listed.control).await {
        Ok(lease) => work(shard, client, tenant, lease, &listed.control, minor).await,
        Err(end) => leave(shard, client, Some(tenant), &end),
    }
}

/// Who the client is, for operators: as it called itself when it logged in.
pub(super) fn who(client: &Client, named: &NamedStartup) -> Who {
    let application = named.parameters.get("application_name");
    let application = application.map(|name| &name[..]);
    Who::new(
        named.user.as_bytes(),
        application,
        client.peer,
        sockets::now(),
    )
}

/// The last words, the line in the log, and the sums.
pub(super) fn leave(
    shard: &ShardContext,
    client: Client,
    tenant: Option<&Tenant>,
    end: &SessionEnd,
) {
    ended(shard, &client, Dialect::Postgres, tenant, end);
    client.conn.close_with(end.to_postgres());
}

/// Lets the client prove who it is.
async fn prove(
    shard: &ShardContext,
    client: &mut Client,
    tenant: Option<&Rc<Tenant>>,
    named: &NamedStartup,
) -> Result<(), SessionEnd> {
    let spec = tenant.map(|tenant| tenant.spec());
    let access = spec.as_deref().map(|spec| &spec.access);
    let method = match access {
        Some(access) => access.method_for(client.peer.ip()),
        None => shard.reception.get().method,
    };
    let is_let_in = |access: &Access| {
        let names = client.conn.peer_names();
        access.lets_in(&names, &client.id, &named.user)
    };
    if method == ClientAuth::Cert && !access.is_some_and(is_let_in) {
        let disproof = why_unproven(shard, client, access, &named.user);
        return Err(unproven(client, named.raw_user.clone(), false, disproof));
    }
    let turn = take_turn(shard, client).await?;
    let known = known_of(shard, client, tenant, &named.user).await;
    let method = match (access, method) {
        // Not even where the defaults say so is a stranger let in.
        (None, ClientAuth::Trust) => ClientAuth::Scram,
        _ => method,
    };
    let challenge = challenge(shard, client, method, named, known.stored).await?;
    let mut greet = Greet::new(challenge);
    let greeted = client.conn.carry_silently(&mut greet).await;
    let proven = greeted.map_err(|broken| match broken {
        Broken::Wire(WireError::BadCredentials) => {
            let disproof = known
                .otherwise
                .unwrap_or_else(|| why_unproven(shard, client, access, &named.user));
            unproven(client, named.raw_user.clone(), true, disproof)
        }
        other => client_broke(other),
    });
    if let (Err(SessionEnd::ClientUnproven(_)), Some(tenant)) = (&proven, tenant) {
        tenant.lookups.doubt(&named.user, sockets::now());
    }
    let (keys, last_words) = end_turn(shard, client, turn, proven).await?;
    client.conn.say(last_words);
    if let (Some(keys), Some(tenant)) = (keys, tenant)
        && tenant.spec().access.backend_user == BackendUser::Client
    {
        tenant.client_keys.keep(&named.user, keys);
    }
    Ok(())
}

/// What this client is asked. One that nobody knows is asked the same, for a secret that nobody has.
async fn challenge(
    shard: &ShardContext,
    client: &Client,
    method: ClientAuth,
    named: &NamedStartup,
    stored: Option<Stored>,
) -> Result<Challenge, SessionEnd> {
    let (id, user) = (&client.id, named.user.as_str());
    let mock = shard.verifiers.mock();
    let address = client.peer.ip();
    Ok(match method {
        // Who has come here with a certificate has been let in by it.
        ClientAuth::Trust | ClientAuth::Cert => Challenge::Trust,
        ClientAuth::Password
            if !client.conn.is_secured() && (client.proxied || !address.is_loopback()) =>
        {
            return Err(SessionEnd::ClientUnsupported(
                "client_auth: password sends passwords in clear, so it needs TLS, or a client on this machine",
            ));
        }
        ClientAuth::Password => Challenge::Password(
            stored.unwrap_or_else(|| Stored::Plain(mock.password(id.as_str(), user))),
        ),
        ClientAuth::Md5 => {
            let hash = match stored {
                // The client salts with the name it wrote, tenant included.
                Some(Stored::Plain(password)) => Md5Hash::of(password.expose(), &named.raw_user),
                Some(Stored::Md5 { hash, .. }) => hash,
                Some(Stored::Scram(_)) | None => mock.md5(id.as_str(), user),
            };
            Challenge::Md5 {
                hash,
                salt: random::bytes(),
            }
        }
        // Passed on to the database before it comes to this.
        ClientAuth::Scram | ClientAuth::Passthrough => {
            let verifier = shard
                .verifiers
                .scram(id, user, address, stored.as_ref())
                .await;
            let binding = match client.conn.end_point() {
                Some(hash) => ChannelBinding::ServerEndPoint(hash),
                None => ChannelBinding::None,
            };
            Challenge::ScramSha256(ScramServer::new(verifier, random::bytes(), binding))
        }
    })
}

/// Whether the client may have what it asks for.
pub(super) fn check(
    client: &Client,
    spec: &TenantSpec,
    named: &NamedStartup,
) -> Result<(), SessionEnd> {
    if named.replication != Replication::No {
        return Err(SessionEnd::ClientUnsupported(
            "replication connections are not pooled: connect to the database itself",
        ));
    }
    if let Some(asked) = &named.database
        && ![&spec.dbname, &named.raw_user, &named.user].contains(&asked)
        && asked != client.id.as_str()
    {
        return Err(SessionEnd::ClientWrongDatabase {
            asked: asked.clone(),
        });
    }
    Ok(())
}

/// The session proper: welcome, relay, farewell.
pub(super) async fn work(
    shard: &Rc<ShardContext>,
    mut client: Client,
    tenant: &Rc<Tenant>,
    mut lease: Lease,
    control: &Control,
    minor: u16,
) {
    let backend = lease.backend();
    let Welcome::Postgres(welcome) = &backend.welcome else {
        unreachable!("a PostgreSQL tenant's backends are logged in to PostgreSQL");
    };
    let registered = welcome.key.as_ref().map(|key| {
        let length = SecretLength::for_minor(minor);
        let process_id = Some(key.process_id());
        let registered = shard.cancels.register(process_id, length, &tenant.stats);
        registered.aim(Aim::at(backend));
        registered
    });
    let mut words = BytesMut::new();
    for notice in &welcome.notices {
        words.extend_from_slice(notice);
    }
    pg::backend::welcome(
        &welcome.parameters,
        registered.as_ref().map(Registered::key),
        TransactionStatus::Idle,
        &mut words,
    );
    client.conn.say(words);

    let mut watch = PgWatch::new(&tenant.stats, control);
    let relay = Relay {
        client: &mut client.conn,
        backend: &backend.conn,
        watch: &mut watch,
        control,
        stall: shard.settings.client_stall_timeout,
    };
    let end = match relay.run().await {
        RelayEnd::Over(end) => end,
        RelayEnd::Interrupted => {
            unreachable!("nothing a PostgreSQL client says interrupts its relay")
        }
    };
    let may_be_cancelled = watch.may_be_cancelled();
    let is_midway = watch.is_midway();
    let is_answered = watch.is_answered();
    if !watch.may_speak() {
        client.conn.say_no_more();
    }
    leave(shard, client, Some(tenant), &end);
    if let (true, Some(registered)) = (may_be_cancelled, registered) {
        // The database does not notice by itself that nobody waits for the answer any more.
        registered.cancel().await;
    }
    if is_midway {
        lease.cut_short();
    }
    lease.end_with(&end, is_answered);
}

//! A MySQL or MariaDB client's session: one backend, from login to leave.

mod change_user;
mod watch;

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use bytes::BytesMut;
use log::warn;
use pool::CloseReason;
use sockets::timeout_at;
use wire::WireError;
use wire::mysql::{
    Capabilities, ClientLogin, Expect, Greet, LoggedIn, Named, Nonce, Replies, Shape as MySqlShape,
    Verifier, packet,
};

use super::{
    Client, admit, client_broke, end_turn, ended, in_time, lease_for, take_turn, tenant_for,
    unproven, why_unproven,
};
use crate::backend::{Backend, Shape, Welcome};
use crate::condemned::condemn;
use crate::conn::Broken;
use crate::context::ShardContext;
use crate::contract::{ClientAuth, Dialect, TenantSpec, Users, Who};
use crate::control::Control;
use crate::farewell::SessionEnd;
use crate::farewell::budget::{self, About};
use crate::lease::Lease;
use crate::relay::{Relay, RelayEnd};
use crate::tenant::Tenant;

use watch::MySqlWatch;

/// Serves one client to its end.
pub async fn serve(shard: &Rc<ShardContext>, mut client: Client, login: ClientLogin, named: Named) {
    let tenant = tenant_for(shard, &client, Dialect::MySql);
    let spec = tenant.as_deref().map(Tenant::spec);
    let expected = expect(&client, tenant.as_deref().zip(spec.as_deref()), &named);
    let mut greet = Greet::new(&login, expected);
    let deadline = client.login_deadline;
    let terms = tenant.as_deref().zip(spec.as_deref());
    let proving = prove(shard, &mut client, terms, &named, &mut greet);
    let proven = in_time(shard, timeout_at(deadline, proving).await);
    let (tenant, sequence) = match (proven, tenant) {
        (Ok(sequence), Some(tenant)) => (tenant, sequence),
        (Ok(_), None) => {
            unreachable!("nobody can prove to be a user of a tenant that does not exist")
        }
        (Err(end), tenant) => {
            return leave(
                shard,
                client,
                tenant.as_deref(),
                &end,
                Some(greet.next_sequence()),
            );
        }
    };
    let _seated = match admit(&mut client, &tenant) {
        Ok(seated) => seated,
        Err(end) => return leave(shard, client, Some(&tenant), &end, Some(sequence)),
    };
    let who = who(&client, &login, &named);
    let shape = shape_for(&tenant.spec(), &login, &named);
    let listed = match tenant.sessions.enter(who) {
        Ok(listed) => listed,
        Err(why) => return leave(shard, client, Some(&tenant), &why.into(), Some(sequence)),
    };
    let shape = Shape::MySql(shape);
    let lease = match lease_for(&mut client, &tenant, &shape, &listed.control).await {
        Ok(lease) => lease,
        Err(end) => return leave(shard, client, Some(&tenant), &end, Some(sequence)),
    };
    let session = Session {
        shard,
        tenant: &tenant,
        capabilities: login.response.capabilities,
        own_id: login.connection_id,
        nonce: login.nonce,
    };
    session.work(client, lease, &listed.control, sequence).await;
}

/// The last words, if the client would take any; the line in the log, and the sums.
fn leave(
    shard: &ShardContext,
    client: Client,
    tenant: Option<&Tenant>,
    end: &SessionEnd,
    sequence: Option<u8>,
) {
    ended(shard, &client, Dialect::MySql, tenant, end);
    let words = sequence.map(|sequence| end.to_mysql(sequence));
    client.conn.close_with(words.unwrap_or_default());
}

/// What a client must prove to be `named`, on these terms of its tenant's.
fn expect(client: &Client, tenant: Option<(&Tenant, &TenantSpec)>, named: &Named) -> Expect {
    let Some((tenant, spec)) = tenant else {
        return Expect::Nobody;
    };
    match spec.access.method_for(client.peer.ip()) {
        ClientAuth::Trust => return Expect::Trust,
        ClientAuth::Cert => {
            let names = client.conn.peer_names();
            return match spec.access.lets_in(&names, &client.id, &named.user) {
                true => Expect::Trust,
                false => Expect::Nobody,
            };
        }
        _ => {}
    }
    let verifier = match &spec.access.users {
        Users::Any(password) => Some(Verifier::of_password(password)),
        Users::Named(users) => tenant.digests.verifier(&named.user, users.get(&named.user)),
        Users::Unknown => None,
    };
    verifier.map_or(Expect::Nobody, Expect::Password)
}

/// Lets the client prove who it is, on the terms that hold when it begins; the sequence id of what it
/// is told next.
async fn prove(
    shard: &ShardContext,
    client: &mut Client,
    tenant: Option<(&Tenant, &TenantSpec)>,
    named: &Named,
    greet: &mut Greet,
) -> Result<u8, SessionEnd> {
    let turn = take_turn(shard, client).await?;
    let proven = match client.conn.carry_silently(greet).await {
        Ok((greeted, last_words)) => {
            if let (Some((tenant, spec)), Some(digested)) = (tenant, greet.learnt()) {
                tenant.digests.keep(&spec.access, &named.user, digested);
            }
            Ok((greeted.sequence, last_words))
        }
        Err(Broken::Wire(WireError::BadCredentials)) => {
            let access = tenant.map(|(_, spec)| &spec.access);
            let disproof = why_unproven(shard, client, access, &named.user);
            Err(unproven(
                client,
                named.raw_user.clone(),
                greet.used_password(),
                disproof,
            ))
        }
        Err(broken) => Err(client_broke(broken)),
    };
    let said_last = matches!(&proven, Ok((_, last_words)) if !last_words.is_empty());
    let ended = end_turn(shard, client, turn, proven).await;
    let (sequence, last_words) = ended.inspect_err(|_| {
        if said_last {
            greet.take_back();
        }
    })?;
    client.conn.say(last_words);
    Ok(sequence)
}

/// Who the client is, for operators: as it called itself when it logged in.
fn who(client: &Client, login: &ClientLogin, named: &Named) -> Who {
    let mut attributes = login.response.attributes.iter();
    let program = attributes.find(|(name, _)| name == b"program_name");
    let program = program.map(|(_, name)| &name[..]);
    Who::new(named.user.as_bytes(), program, client.peer, sockets::now())
}

/// What this client's backend must be like. A client that names no database begins in the tenant's.
fn shape_for(spec: &TenantSpec, login: &ClientLogin, named: &Named) -> MySqlShape {
    let shape = MySqlShape::of_client(&login.response, named);
    let database = shape.database.or_else(|| Some(spec.dbname.clone()));
    MySqlShape { database, ..shape }
}

/// A session that has its backend.
struct Session<'a> {
    shard: &'a Rc<ShardContext>,
    tenant: &'a Rc<Tenant>,
    /// The client's, and the backend's.
    capabilities: Capabilities,
    /// The connection id that the client was told.
    own_id: u32,
    /// The greeting's.
    nonce: Nonce,
}

impl Session<'_> {
    /// Welcome, relay, farewell.
    async fn work(self, mut client: Client, mut lease: Lease, control: &Control, sequence: u8) {
        let welcome = welcome_of(lease.backend());
        let mut words = BytesMut::new();
        packet::put(&mut words, sequence, &welcome.ok);
        client.conn.say(words);

        let own_ids = &self.tenant.own_ids;
        let server = lease.backend().route.address.clone();
        let alias = own_ids.register(self.own_id, server.clone(), welcome.connection_id);
        let replies = Replies::new(self.capabilities, welcome.status);
        let mut watch = MySqlWatch::new(self.capabilities, self.tenant, server, control, replies);
        let relayed = self.relay(&mut client, &mut lease, &mut watch, control);
        let end = relayed.await;
        self.part(client, lease, &watch, &end, alias.was_killed());
    }

    /// Passes what is said, and changes the user whenever the client asks for that, until the session ends.
    async fn relay(
        &self,
        client: &mut Client,
        lease: &mut Lease,
        watch: &mut MySqlWatch<'_>,
        control: &Control,
    ) -> SessionEnd {
        loop {
            let backend = lease.backend();
            let relay = Relay {
                client: &mut client.conn,
                backend: &backend.conn,
                watch: &mut *watch,
                control,
                stall: self.shard.settings.client_stall_timeout,
            };
            if let RelayEnd::Over(end) = relay.run().await {
                return end;
            }
            let Some(request) = watch.change.take() else {
                unreachable!(
                    "a MySQL relay is interrupted by what its watch holds, and by nothing else"
                )
            };
            if watch.replies.lost().is_some() {
                return SessionEnd::ClientUnsupported(
                    "COM_CHANGE_USER came when it could not be told whether all before it had been answered",
                );
            }
            let changing = self.change_user(client, lease, request, control);
            match unless_ended(control, changing).await {
                Ok(Ok(status)) => watch.begun_anew(status),
                Ok(Err((end, sequence))) => {
                    watch.say_next = Some(sequence);
                    return end;
                }
                Err(end) => {
                    // The backend may be in the middle of its own part, and would take a goodbye for that.
                    lease.cut_short();
                    return end;
                }
            }
            client.conn.put_back(std::mem::take(&mut watch.held));
        }
    }

    /// The client hears why, if it would, and its backend is given up.
    fn part(
        &self,
        client: Client,
        mut lease: Lease,
        watch: &MySqlWatch<'_>,
        end: &SessionEnd,
        was_killed: bool,
    ) {
        if let Some(lost) = watch.replies.lost()
            && let Some(more) = budget::spend(About::LostTrack)
        {
            warn!(
                "mysql client {} tenant {}: lost track of the database's answers, so the session counted as busy: {lost}{more}",
                client.peer,
                client.id.as_str()
            );
        }
        let sequence = match end.is_a_lost_connection() {
            true => None,
            false => watch.say_next.or(watch.replies.next_sequence()),
        };
        leave(self.shard, client, Some(self.tenant), end, sequence);
        if watch.is_midway() {
            lease.cut_short();
        }
        match end {
            // A client of the tenant's had it so; that says nothing about its database.
            SessionEnd::DatabaseLeft { .. } if was_killed => lease.close(CloseReason::SessionEnd),
            SessionEnd::DatabaseLeft { .. } => lease.end_with(end, watch.is_answered()),
            _ if watch.is_at_work() => condemn(self.tenant, lease),
            _ => lease.end_with(end, watch.is_answered()),
        }
    }
}

/// What comes of this, unless the session must not go on with it: an operator has ended it, or the time to finish is over.
async fn unless_ended<T>(
    control: &Control,
    doing: impl Future<Output = T>,
) -> Result<T, SessionEnd> {
    let mut doing = pin!(doing);
    poll_fn(|cx| match control.asked_to_leave(cx) {
        Some(why) if why.is_at_once() => Poll::Ready(Err(why.into())),
        _ => doing.as_mut().poll(cx).map(Ok),
    })
    .await
}

fn welcome_of(backend: &Backend) -> &LoggedIn {
    match &backend.welcome {
        Welcome::MySql(welcome) => welcome,
        Welcome::Postgres(_) => unreachable!("a MySQL tenant's backends are logged in to MySQL"),
    }
}

//! A MySQL or MariaDB client's session: one backend, from login to leave.

use std::rc::Rc;

use bytes::BytesMut;
use sockets::{Chunk, Stream};
use wire::WireError;
use wire::mysql::{
    BackendChangeUser, Capabilities, ChangeUser, ClientLogin, Expect, Greet, Intercepted, Kill,
    LoggedIn, Named, Next, Nonce, Shape as MySqlShape, Verifier, Walker, packet,
};

use super::{
    Client, client_broke, ended, lease_for, tenant_for, unproven, why_unproven, within_login,
};
use crate::backend::{Backend, Shape, Welcome};
use crate::conn::Broken;
use crate::contract::{ClientAuth, Credential, Dialect, TenantSpec, Users};
use crate::dial::login_request;
use crate::farewell::{Misnamed, SessionEnd};
use crate::lease::Lease;
use crate::relay::{Relay, RelayEnd, Said, Watch};
use crate::shard::Shard;
use crate::stats::Meter;
use crate::tenant::Tenant;

/// Serves one client to its end.
pub async fn serve(shard: &Rc<Shard>, mut client: Client, login: ClientLogin, named: Named) {
    let tenant = tenant_for(shard, &client, Dialect::MySql);
    let mut greet = Greet::new(&login, expect(tenant.as_deref(), &named));
    let deadline = client.login_deadline;
    let proven = within_login(
        shard,
        deadline,
        prove(&mut client, tenant.as_deref(), &named, &mut greet),
    )
    .await;
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
                greet.next_sequence(),
            );
        }
    };
    tenant.stats.count(|counts| counts.logins += 1);
    let shape = shape_for(&tenant.spec(), &login, &named);
    let lease = match lease_for(&mut client, &tenant, &Shape::MySql(shape)).await {
        Ok(lease) => lease,
        Err(end) => return leave(shard, client, Some(&tenant), &end, sequence),
    };
    let session = Session {
        shard,
        tenant: &tenant,
        capabilities: login.response.capabilities,
        own_id: login.connection_id,
        nonce: login.nonce,
    };
    session.work(client, lease, sequence).await;
}

/// The last words, the line in the log, and the sums.
fn leave(shard: &Shard, client: Client, tenant: Option<&Tenant>, end: &SessionEnd, sequence: u8) {
    ended(shard, &client, Dialect::MySql, tenant, end);
    client.conn.close_with(end.to_mysql(sequence));
}

/// What a client must prove to be `named`.
fn expect(tenant: Option<&Tenant>, named: &Named) -> Expect {
    let Some(spec) = tenant.map(Tenant::spec) else {
        return Expect::Nobody;
    };
    if spec.access.method == ClientAuth::Trust {
        return Expect::Trust;
    }
    let verifier = match &spec.access.users {
        Users::Any(password) => Some(Verifier::of_password(password)),
        Users::Named(users) => users
            .get(&named.user)
            .and_then(|credential| match credential {
                Credential::Password(password) => Some(Verifier::of_password(password)),
                Credential::Verifier(stored) => Verifier::parse(stored.expose()),
            }),
        Users::Unknown => None,
    };
    verifier.map_or(Expect::Nobody, Expect::Password)
}

/// Lets the client prove who it is; the sequence id of what it is told next.
async fn prove(
    client: &mut Client,
    tenant: Option<&Tenant>,
    named: &Named,
    greet: &mut Greet,
) -> Result<u8, SessionEnd> {
    match client.conn.carry(greet).await {
        Ok(greeted) => Ok(greeted.sequence),
        Err(Broken::Wire(WireError::BadCredentials)) => {
            let spec = tenant.map(Tenant::spec);
            let disproof = why_unproven(spec.as_deref().map(|spec| &spec.access), &named.user);
            Err(unproven(
                client,
                named.raw_user.clone(),
                greet.used_password(),
                disproof,
            ))
        }
        Err(broken) => Err(client_broke(broken)),
    }
}

/// What this client's backend must be like. A client that names no database begins in the tenant's.
fn shape_for(spec: &TenantSpec, login: &ClientLogin, named: &Named) -> MySqlShape {
    let shape = MySqlShape::of_client(&login.response, named);
    let database = shape.database.or_else(|| Some(spec.dbname.clone()));
    MySqlShape { database, ..shape }
}

/// A session that has its backend.
struct Session<'a> {
    shard: &'a Rc<Shard>,
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
    async fn work(self, mut client: Client, mut lease: Lease, sequence: u8) {
        let (ok, backend_id) = {
            let welcome = welcome_of(lease.backend());
            (welcome.ok.clone(), welcome.connection_id)
        };
        let mut words = BytesMut::new();
        packet::put(&mut words, sequence, &ok);
        client.conn.say(words);

        let _alias = self.tenant.own_ids.register(self.own_id, backend_id);
        let listed = self.tenant.sessions.enter();
        let mut watch = MySqlWatch::new(self.capabilities, self.tenant);
        let end = loop {
            let backend = lease.backend();
            let stall = self.shard.settings.client_stall_timeout;
            let relay = Relay {
                client: &mut client.conn,
                backend: &backend.conn,
                watch: &mut watch,
                control: &listed.control,
                stall,
            };
            match relay.run().await {
                RelayEnd::Over(end) => break end,
                RelayEnd::Interrupted => {
                    let Some(request) = watch.interrupted_by.take() else {
                        unreachable!(
                            "a MySQL relay is interrupted by what its watch holds, and by nothing else"
                        )
                    };
                    if let Err((end, sequence)) =
                        self.change_user(&mut client, &mut lease, request).await
                    {
                        watch.say_next = Some(sequence);
                        break end;
                    }
                    client.conn.put_back(std::mem::take(&mut watch.held));
                }
            }
        };
        let sequence = watch
            .say_next
            .unwrap_or_else(|| watch.backend.next_sequence());
        leave(self.shard, client, Some(self.tenant), &end, sequence);
        lease.close(pool::CloseReason::SessionEnd);
    }

    /// COM_CHANGE_USER: the client logs in anew with us, then its backend is made anew for it.
    async fn change_user(
        &self,
        client: &mut Client,
        lease: &mut Lease,
        mut request: ChangeUser,
    ) -> Result<(), (SessionEnd, u8)> {
        let misnamed = |error| (SessionEnd::ClientMisnamed(error), 1);
        let named = request
            .name_tenant()
            .map_err(|error| misnamed(Misnamed::MySql(error)))?;
        let same_tenant = named
            .tenant
            .as_deref()
            .is_none_or(|tenant| tenant == client.id.as_str());
        let expect = if same_tenant {
            expect(Some(self.tenant), &named)
        } else {
            Expect::Nobody
        };
        // Some clients make every token for the greeting's nonce, whatever they are sent later.
        let nonce = self.nonce;
        let mut greet = Greet::change_user(&request, nonce, expect);
        let deadline = std::time::Instant::now() + self.shard.settings.login_timeout;
        let proven = within_login(
            self.shard,
            deadline,
            prove(client, Some(self.tenant), &named, &mut greet),
        )
        .await;
        let sequence = proven.map_err(|end| (end, greet.next_sequence()))?;

        let spec = self.tenant.spec();
        let shape = MySqlShape {
            capabilities: self.capabilities.of_session(),
            charset: request
                .charset
                .unwrap_or_else(|| welcome_of(lease.backend()).charset),
            database: named.database.or_else(|| Some(spec.dbname.clone())),
        };
        let mut exchange = BackendChangeUser::new(
            login_request(&spec, &shape),
            welcome_of(lease.backend()),
            false,
        );
        let changed = lease
            .backend_mut()
            .conn
            .carry(&mut exchange)
            .await
            .map_err(|broken| (crate::dial::database_broke(broken).into(), sequence))?;
        let mut words = BytesMut::new();
        packet::put(&mut words, sequence, &changed.ok);
        client.conn.say(words);
        Ok(())
    }
}

fn welcome_of(backend: &Backend) -> &LoggedIn {
    match &backend.welcome {
        Welcome::MySql(welcome) => welcome,
        Welcome::Postgres(_) => unreachable!("a MySQL tenant's backends are logged in to MySQL"),
    }
}

/// Watches what a MySQL client sends, and where its backend's packets end.
struct MySqlWatch<'a> {
    client: wire::mysql::Watch,
    backend: Walker,
    capabilities: Capabilities,
    tenant: &'a Tenant,
    /// The beginning of a command that cannot be judged yet, or what came behind an interruption.
    held: BytesMut,
    interrupted_by: Option<ChangeUser>,
    /// The sequence id of our last word, where it is not simply behind the backend's last packet.
    say_next: Option<u8>,
    quit: bool,
    meter: Meter<'a>,
}

impl<'a> MySqlWatch<'a> {
    fn new(capabilities: Capabilities, tenant: &'a Tenant) -> Self {
        MySqlWatch {
            client: wire::mysql::Watch::default(),
            backend: Walker::default(),
            capabilities,
            tenant,
            held: BytesMut::new(),
            interrupted_by: None,
            say_next: None,
            quit: false,
            meter: Meter::new(&tenant.stats),
        }
    }

    /// A KILL of one of our ids goes on with the backend's; of any other id, as it was sent: what to
    /// say to it is the server's business.
    fn kill(&self, kill: &Kill, as_sent: Chunk, backend: &Stream) {
        match self.tenant.own_ids.backend_of(kill.id) {
            Some(id) => {
                self.tenant.stats.count(|counts| counts.cancels += 1);
                let mut out = BytesMut::new();
                kill.put_with(id, &mut out);
                backend.send(out);
            }
            None => backend.send(as_sent),
        }
    }
}

impl Watch for MySqlWatch<'_> {
    fn client_said(
        &mut self,
        chunk: Chunk,
        _client: &Stream,
        backend: &Stream,
    ) -> Result<Said, SessionEnd> {
        let mut bytes = if self.held.is_empty() {
            chunk
        } else {
            self.held.extend_from_slice(&chunk);
            Chunk::from(self.held.split())
        };
        loop {
            let look = self
                .client
                .look(&bytes, self.capabilities)
                .map_err(SessionEnd::ClientMisbehaved)?;
            self.meter.client_said(look.pass, look.commands);
            if look.commands > 0 {
                self.meter.asked();
            }
            if look.pass > 0 {
                backend.send(bytes.split_to(look.pass));
            }
            match look.next {
                Next::Nothing => return Ok(Said::Passed),
                Next::Incomplete => {
                    self.held.extend_from_slice(&bytes);
                    return Ok(Said::Passed);
                }
                Next::Command(command, length) => {
                    let as_sent = bytes.split_to(length);
                    match command {
                        Intercepted::Kill(kill) => self.kill(&kill, as_sent, backend),
                        Intercepted::Quit => {
                            self.quit = true;
                            backend.send(as_sent);
                        }
                        Intercepted::ChangeUser(request) => {
                            self.interrupted_by = Some(request);
                            self.held.extend_from_slice(&bytes);
                            return Ok(Said::Interrupts);
                        }
                    }
                }
            }
        }
    }

    fn backend_said(&mut self, chunk: &[u8]) -> Result<(), SessionEnd> {
        let walked = self.backend.feed(chunk);
        self.meter.backend_said(chunk.len(), walked.errors);
        self.meter.heard();
        Ok(())
    }

    fn backend_left(&self) -> SessionEnd {
        if self.quit {
            SessionEnd::ClientLeft
        } else {
            SessionEnd::DatabaseLeft {
                may_speak: self.backend.at_boundary(),
            }
        }
    }

    /// Never known here: where an answer ends takes more than headers. So a MySQL session is not
    /// ended at a boundary of its own, but by its client or at the end of the grace period.
    fn at_rest(&self) -> bool {
        self.quit
    }
}

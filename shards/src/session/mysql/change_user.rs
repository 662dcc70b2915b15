//! COM_CHANGE_USER in a session: a dialogue with the client, then one with its backend.

use bytes::BytesMut;
use sockets::timeout_at;
use wire::mysql::{
    BackendChangeUser, ChangeUser, Expect, Greet, Shape as MySqlShape, UserChanged, packet,
};

use super::{Session, expect, prove, welcome_of};
use crate::conn::Broken;
use crate::control::Control;
use crate::dial::{self, login_request};
use crate::farewell::{Misnamed, SessionEnd};
use crate::lease::Lease;
use crate::session::{Client, in_time};

impl Session<'_> {
    /// The client logs in anew with us, then its backend is made anew for it, and is in the state answered.
    /// A failure comes with the sequence id of what the client is told of it.
    ///
    /// Cancel-safe only in that the session can be ended: neither side is between commands then.
    pub(super) async fn change_user(
        &self,
        client: &mut Client,
        lease: &mut Lease,
        mut request: ChangeUser,
        control: &Control,
    ) -> Result<u16, (SessionEnd, u8)> {
        let misnamed = |error| (SessionEnd::ClientMisnamed(error), 1);
        let named = request
            .name_tenant()
            .map_err(|error| misnamed(Misnamed::MySql(error)))?;
        let same_tenant = named
            .tenant
            .as_deref()
            .is_none_or(|tenant| tenant == client.id.as_str());
        let spec = self.tenant.spec();
        // What was right at the login need not be so now.
        let is_allowed = spec.access.allows(client.peer.ip());
        let terms = Some((&**self.tenant, &*spec)).filter(|_| is_allowed);
        let expect = if same_tenant {
            expect(client, terms, &named)
        } else {
            Expect::Nobody
        };
        // Some clients make every token for the greeting's nonce, whatever they are sent later.
        let nonce = self.nonce;
        let secured = client.conn.is_secured();
        let mut greet = Greet::change_user(&request, nonce, secured, expect);
        let deadline = sockets::now() + self.shard.settings.login_timeout;
        let proving = prove(self.shard, client, terms, &named, &mut greet);
        let proven = in_time(self.shard, timeout_at(deadline, proving).await);
        let sequence = proven.map_err(|end| (end, greet.next_sequence()))?;
        control.becomes(&named.user);

        let changed = self.change_backend(lease, request.charset, named.database);
        let changed = changed.await;
        if changed.is_err() {
            lease.cut_short();
        }
        let changed = changed.map_err(|end| (end, sequence))?;
        let mut words = BytesMut::new();
        packet::put(&mut words, sequence, &changed.ok);
        client.conn.say(words);
        Ok(changed.status)
    }

    /// The backend logs in anew as well, with what its client asks for.
    async fn change_backend(
        &self,
        lease: &mut Lease,
        charset: Option<u16>,
        database: Option<String>,
    ) -> Result<UserChanged, SessionEnd> {
        let spec = self.tenant.spec();
        let backend = lease.backend_mut();
        let shape = MySqlShape {
            capabilities: self.capabilities.of_session(),
            charset: charset.unwrap_or_else(|| welcome_of(backend).charset),
            database: database.or_else(|| Some(spec.dbname.clone())),
        };
        let mut exchange = BackendChangeUser::new(
            login_request(&spec, &shape, &backend.route),
            welcome_of(backend),
            backend.conn.is_secured(),
        );
        let limit = spec.connect_timeout;
        let changing = backend.conn.carry_for(&spec.id, &mut exchange);
        match sockets::timeout(limit, changing).await {
            Ok(Err(Broken::Closed | Broken::Io(_))) => {
                Err(SessionEnd::DatabaseLeft { may_speak: false })
            }
            Ok(changed) => changed.map_err(|broken| dial::database_broke(broken).into()),
            Err(_) => {
                let why = format!("no change of user within {limit:?}");
                Err(SessionEnd::DatabaseUnreachable(why))
            }
        }
    }
}

//! Who may come in to a tenant, how they prove who they are, and as whom they are served: what a config
//! says of that.

use std::collections::HashMap;
use std::time::Duration;

use shards::contract::{
    Access, BackendUser, ClientAuth, Credential, Dialect, Lookup, Networks, PG_AUTHID, PoolMode,
    Reception, Secret, Users,
};

use super::section::Section;
use super::units::{self, Span};

/// What of it may stand in `defaults` and in each tenant.
#[derive(Debug, Clone)]
pub struct AccessHabits {
    /// What is asked of a client.
    pub client_auth: ClientAuth,
    /// Where clients may come from; no network at all is anywhere.
    pub allowed_addresses: Networks,
    /// Where clients come from of whom nothing is asked.
    pub trust_addresses: Networks,
    /// How the database is asked for a user's secret; `None` if it is not.
    pub auth_query: Option<AuthQuery>,
    /// Who asks; `None` is the tenant's own user.
    pub auth_user: Option<String>,
    /// With which password.
    pub auth_password: Option<Secret>,
    /// How long an answer is believed.
    pub auth_query_ttl: Duration,
    /// Whom a client's backend is logged in as.
    pub backend_user: BackendUser,
}

/// How a database is asked for a user's secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthQuery {
    /// What every server has.
    PgAuthid,
    /// By a query of the operator's.
    Own(String),
}

impl AccessHabits {
    /// What holds where a config says nothing.
    pub const BUILT_IN: AccessHabits = AccessHabits {
        client_auth: ClientAuth::Scram,
        allowed_addresses: Networks::NONE,
        trust_addresses: Networks::NONE,
        auth_query: None,
        auth_user: None,
        auth_password: None,
        auth_query_ttl: Duration::from_secs(60),
        backend_user: BackendUser::Tenant,
    };

    /// What this section says, and for the rest what `otherwise` says.
    pub fn settle(section: &Section, otherwise: &AccessHabits) -> AccessHabits {
        let networks = |key| section.list(key, units::network).map(Networks::new);
        let auth_user = section.text("auth_user", units::name);
        let auth_password = section.secret("auth_password");
        AccessHabits {
            client_auth: section.value_or(
                "client_auth",
                units::choice(CLIENT_AUTH),
                otherwise.client_auth,
            ),
            allowed_addresses: networks("allowed_addresses")
                .unwrap_or_else(|| otherwise.allowed_addresses.clone()),
            trust_addresses: networks("trust_addresses")
                .unwrap_or_else(|| otherwise.trust_addresses.clone()),
            auth_query: section
                .text("auth_query", auth_query)
                .unwrap_or_else(|| otherwise.auth_query.clone()),
            // Another user has another password.
            auth_password: match &auth_user {
                Some(_) => auth_password,
                None => auth_password.or_else(|| otherwise.auth_password.clone()),
            },
            auth_user: auth_user.or_else(|| otherwise.auth_user.clone()),
            auth_query_ttl: section.value_or(
                "auth_query_ttl",
                units::time(Span::MEMORY),
                otherwise.auth_query_ttl,
            ),
            backend_user: section.value_or(
                "backend_user",
                units::choice(BACKEND_USER),
                otherwise.backend_user,
            ),
        }
    }

    /// How clients are received whose tenant does not exist.
    pub fn reception(&self) -> Reception {
        Reception {
            method: self.client_auth,
            lookup_ttl: self.auth_query.as_ref().map(|_| self.auth_query_ttl),
        }
    }

    /// What it means for a tenant with this password.
    pub fn for_tenant(
        self,
        section: &Section,
        password: Option<&Secret>,
        dialect: Option<Dialect>,
        pool_mode: PoolMode,
    ) -> Access {
        let lookup = self.lookup(section, dialect);
        let backend_user = self.backend_user(section, dialect, pool_mode);
        let users = users(section, password, dialect, &self, lookup.is_some());
        self.complain_of_passthrough(section, dialect, pool_mode);
        Access {
            method: self.client_auth,
            users,
            lookup,
            backend_user,
            cert_users: cert_users(section, self.client_auth),
            allowed: self.allowed_addresses,
            trusted: self.trust_addresses,
        }
    }

    fn lookup(&self, section: &Section, dialect: Option<Dialect>) -> Option<Lookup> {
        let query = match self.auth_query.as_ref()? {
            AuthQuery::PgAuthid => PG_AUTHID.to_owned(),
            AuthQuery::Own(query) => query.clone(),
        };
        if dialect == Some(Dialect::MySql) {
            if section.has("auth_query") {
                section.complain("auth_query", "is for PostgreSQL tenants");
            }
            return None;
        }
        let user = self.auth_user.clone();
        Some(Lookup {
            query,
            account: user.map(|user| (user, self.auth_password.clone())),
            ttl: self.auth_query_ttl,
        })
    }

    /// A login can be passed on to a backend only if that is the client's own.
    fn complain_of_passthrough(
        &self,
        section: &Section,
        dialect: Option<Dialect>,
        pool_mode: PoolMode,
    ) {
        if self.client_auth != ClientAuth::Passthrough {
            return;
        }
        if dialect == Some(Dialect::MySql) {
            section.complain("client_auth", "passthrough is for PostgreSQL tenants");
        }
        if pool_mode == PoolMode::Transaction {
            section.complain("client_auth", "passthrough needs pool_mode session");
        }
        for key in ["users", "auth_query", "backend_user"] {
            if section.has(key) {
                section.complain(key, "means nothing to client_auth passthrough");
            }
        }
    }

    /// A backend is a client's own only if it stays with it, and only if the client has proved to be
    /// who it says.
    fn backend_user(
        &self,
        section: &Section,
        dialect: Option<Dialect>,
        pool_mode: PoolMode,
    ) -> BackendUser {
        if self.backend_user == BackendUser::Tenant {
            return BackendUser::Tenant;
        }
        let objection = match dialect {
            Some(Dialect::MySql) => "client is for PostgreSQL tenants",
            _ if pool_mode == PoolMode::Transaction => "client needs pool_mode session",
            _ if matches!(self.client_auth, ClientAuth::Trust | ClientAuth::Cert)
                || !self.trust_addresses.is_empty() =>
            {
                "client needs a proof: neither client_auth trust or cert nor trust_addresses"
            }
            _ => return BackendUser::Client,
        };
        section.complain("backend_user", objection);
        BackendUser::Tenant
    }
}

/// `none`, `pg_authid`, or a query with the user's name as its one parameter.
fn auth_query(text: &str) -> Result<Option<AuthQuery>, String> {
    match text {
        "none" => Ok(None),
        "pg_authid" => Ok(Some(AuthQuery::PgAuthid)),
        query if query.contains("$1") && !query.contains("$2") && !query.contains('\0') => {
            Ok(Some(AuthQuery::Own(query.to_owned())))
        }
        _ => Err(
            "must be none, pg_authid, or a query with the user's name as $1, such as \
             SELECT * FROM lookup.user($1)"
                .to_owned(),
        ),
    }
}

/// Which certificates stand for which users.
fn cert_users(section: &Section, auth: ClientAuth) -> Option<HashMap<String, String>> {
    if !section.has("cert_users") {
        return None;
    }
    if auth != ClientAuth::Cert {
        section.warn("cert_users", "is not looked at: client_auth is not cert");
    }
    let users = section.section("cert_users");
    // Every key is a name of the operator's, so none is unknown.
    Some(users.pairs(units::name).into_iter().collect())
}

/// Who is known: the names listed, or anybody who knows the tenant's own password.
fn users(
    section: &Section,
    password: Option<&Secret>,
    dialect: Option<Dialect>,
    habits: &AccessHabits,
    looks_up: bool,
) -> Users {
    let auth = habits.client_auth;
    let warning = match (auth, dialect) {
        (ClientAuth::Trust, _) => {
            Some("trust: whoever reaches this tenant gets in without a password")
        }
        (ClientAuth::Password, Some(Dialect::Postgres)) => Some(
            "password: clients send theirs in clear, so they need TLS, or to be on this machine",
        ),
        _ => None,
    };
    if let Some(text) = warning {
        section.warn("client_auth", text);
    }
    if !habits.trust_addresses.is_empty() {
        section.warn(
            "trust_addresses",
            "whoever comes from there gets in without a password",
        );
    }
    if !section.has("users") {
        if auth == ClientAuth::Passthrough {
            return Users::Unknown;
        }
        if looks_up {
            return Users::Named(HashMap::new());
        }
        if password.is_none() && !matches!(auth, ClientAuth::Trust | ClientAuth::Cert) {
            section.warn("", "nobody can connect: it has neither a password nor users, and client_auth is not trust");
        }
        return password.cloned().map_or(Users::Unknown, Users::Any);
    }
    let users = section.section("users");
    let mut named = HashMap::new();
    for (name, user) in users.each() {
        if let Err(why) = units::name(name) {
            user.complain("", why);
        }
        if let Some(credential) = credential(&user, name, dialect, auth) {
            named.insert(name.to_owned(), credential);
        }
        user.finish();
    }
    let is_empty = users.each().next().is_none();
    let asks_users = !matches!(
        auth,
        ClientAuth::Trust | ClientAuth::Cert | ClientAuth::Passthrough
    );
    if is_empty && asks_users && !looks_up {
        section.warn("users", "nobody can connect: the list is empty");
    }
    Users::Named(named)
}

/// What a user is recognised by: one of two keys.
fn credential(
    user: &Section,
    name: &str,
    dialect: Option<Dialect>,
    auth: ClientAuth,
) -> Option<Credential> {
    let (password, verifier) = (user.secret("password"), user.secret("verifier"));
    match (user.has("password"), user.has("verifier")) {
        (true, false) => password.map(Credential::Password),
        (false, true) => {
            let credential = Credential::Verifier(verifier?);
            let objection = dialect.and_then(|dialect| credential.objection(name, dialect, auth));
            if let Some(why) = objection {
                user.complain("verifier", why);
            }
            Some(credential)
        }
        _ => {
            user.complain("", "needs either a password or a verifier");
            None
        }
    }
}

/// How a client may be asked to prove itself.
const CLIENT_AUTH: &[(&str, Option<ClientAuth>)] = &[
    ("scram-sha-256", Some(ClientAuth::Scram)),
    ("md5", Some(ClientAuth::Md5)),
    ("password", Some(ClientAuth::Password)),
    ("trust", Some(ClientAuth::Trust)),
    ("cert", Some(ClientAuth::Cert)),
    ("passthrough", Some(ClientAuth::Passthrough)),
];
/// Whom a client's backend can be logged in as.
const BACKEND_USER: &[(&str, Option<BackendUser>)] = &[
    ("tenant", Some(BackendUser::Tenant)),
    ("client", Some(BackendUser::Client)),
];

//! TLS towards a tenant's database, in libpq's words.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::{Resumption, UnbufferedClientConnection};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore};

use super::certificate::chain;
use super::fingerprint::fingerprint;
use super::identity::{IdentityError, IdentityText};
use super::resumption::{Offer, Sessions};
use super::session::{Session, TlsError};
use super::verify::{Trust, Verifier};
use super::{ALPN_POSTGRESQL, provider};
use crate::contract::Dialect;
use crate::tls::clients::Wrong;

/// Whether a connection to the database is enciphered, and whom it is believed to lead to. The later, the safer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SslMode {
    /// Never.
    Disable,
    /// If the database offers it; whoever answers.
    Prefer,
    /// Always; whoever answers, unless there are roots to hold its certificate to.
    Require,
    /// Always; certified by one of the roots.
    VerifyCa,
    /// Always; certified by one of the roots to be the host that is dialled.
    VerifyFull,
}

/// How TLS begins on a connection to PostgreSQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Negotiation {
    /// It is asked for.
    Postgres,
    /// At once. PostgreSQL 17 or newer.
    Direct,
}

/// Who certifies the database.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Roots {
    /// The authorities that this machine trusts.
    System,
    /// These, in PEM. Shared, since all tenants may be told of the same long list.
    Given(Arc<str>),
}

/// What is configured, as text.
#[derive(Clone, Debug)]
pub struct DatabaseTlsText {
    /// Whether and whom to.
    pub mode: SslMode,
    /// How it begins.
    pub negotiation: Negotiation,
    /// Who certifies the database.
    pub roots: Option<Roots>,
    /// What we show, if we are asked.
    pub identity: Option<IdentityText>,
}

/// TLS towards a tenant's database, ready to be used on any thread. Cheap to clone.
#[derive(Clone)]
pub struct DatabaseTls {
    /// Whether and whom to.
    pub mode: SslMode,
    /// How it begins.
    pub negotiation: Negotiation,
    /// `None` where TLS is never used.
    terms: Option<Arc<ClientConfig>>,
    /// Those that may be resumed; `None` where none are.
    sessions: Option<Arc<Sessions>>,
    /// What it is made of; `None` where nothing was configured.
    text: Option<Arc<DatabaseTlsText>>,
    /// The end of the validity of the certificate that we show.
    expires: Option<SystemTime>,
    /// Of certificates and keys.
    fingerprint: [u8; 32],
}

impl DatabaseTls {
    /// No TLS.
    pub const OFF: DatabaseTls = DatabaseTls {
        mode: SslMode::Disable,
        negotiation: Negotiation::Postgres,
        terms: None,
        sessions: None,
        text: None,
        expires: None,
        fingerprint: [0; 32],
    };

    /// Makes it of what is configured.
    pub fn new(text: DatabaseTlsText, dialect: Dialect) -> Result<DatabaseTls, Wrong> {
        let DatabaseTlsText {
            mode, negotiation, ..
        } = text;
        // Each client has a backend of its own in MySQL, and a handshake from the start costs the server more than all the
        // rest of a short session. PostgreSQL resumes none.
        let sessions = (dialect == Dialect::MySql).then(Sessions::new);
        let terms = match mode {
            SslMode::Disable => None,
            _ => Some(Arc::new(terms(&text, dialect, sessions.clone())?)),
        };
        Ok(DatabaseTls {
            mode,
            negotiation,
            terms,
            sessions,
            expires: text.identity.as_ref().and_then(IdentityText::expires),
            fingerprint: text.fingerprint(),
            text: Some(Arc::new(text)),
        })
    }

    /// A connection with the database of that name, and whether it offers to resume an earlier one's session.
    pub fn begin(&self, host: &str) -> Result<(Session, Option<Offer>), TlsError> {
        let Some(terms) = &self.terms else {
            return Err(rustls::Error::General("sslmode is disable".to_owned()).into());
        };
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| rustls::Error::General(format!("{host:?} is no name of a host")))?;
        // Its first words are made here, and the session that they offer is taken for them.
        let connection = UnbufferedClientConnection::new(Arc::clone(terms), name.clone())?;
        let sessions = self.sessions.as_ref();
        let offer = sessions.and_then(|sessions| sessions.offer(name));
        Ok((Session::client(connection), offer))
    }

    /// The same, for a connection that shall begin from the start.
    pub fn from_the_start(&self) -> DatabaseTls {
        let without = |terms: &Arc<ClientConfig>| {
            let mut terms = ClientConfig::clone(terms);
            terms.resumption = Resumption::disabled();
            Arc::new(terms)
        };
        DatabaseTls {
            terms: self.terms.as_ref().map(without),
            sessions: None,
            ..self.clone()
        }
    }

    /// Whether it has turned out, since this was last asked, that sessions had better not be offered there.
    pub fn has_given_up_resuming(&self) -> bool {
        let sessions = self.sessions.as_ref();
        sessions.is_some_and(|sessions| sessions.has_given_up())
    }

    /// Who certifies the database, as configured.
    pub fn roots(&self) -> Option<&Roots> {
        self.text.as_ref()?.roots.as_ref()
    }

    /// What we show, as configured.
    pub fn identity(&self) -> Option<&IdentityText> {
        self.text.as_ref()?.identity.as_ref()
    }

    /// The end of the validity of the certificate that we show; `None` if we show none.
    pub fn expires(&self) -> Option<SystemTime> {
        self.expires
    }

    /// Whether connections opened under the one are as good as those under the other. New
    /// certificates and keys are for new connections; other demands are for all.
    pub fn demands_the_same(&self, other: &DatabaseTls) -> bool {
        self.mode == other.mode && self.negotiation == other.negotiation
    }

    /// Whether what may be said under `other` may be said under this: it is enciphered, and believed on no easier
    /// terms. To be certified by somebody else may be easier; what we show of ourselves does not count.
    pub fn is_as_good_as(&self, other: &DatabaseTls) -> bool {
        let certifier = other.certifier();
        self.mode >= other.mode && (certifier.is_none() || self.certifier() == certifier)
    }

    /// Who must certify the database; `None` where whoever answers is believed.
    fn certifier(&self) -> Option<&Roots> {
        match (self.mode, self.roots()) {
            (SslMode::Disable | SslMode::Prefer, _) => None,
            (SslMode::VerifyFull, None) => Some(&Roots::System),
            (_, roots) => roots,
        }
    }
}

impl DatabaseTlsText {
    /// A hash of the certificates and keys, to tell whether they have changed.
    pub fn fingerprint(&self) -> [u8; 32] {
        let roots = match &self.roots {
            None => "",
            Some(Roots::System) => "system",
            Some(Roots::Given(pem)) => pem,
        };
        let identity = self.identity.as_ref();
        fingerprint(&[
            roots,
            identity.map_or("", |identity| &identity.certificate),
            identity.map_or("", |identity| identity.key.expose()),
        ])
    }
}

impl PartialEq for DatabaseTls {
    fn eq(&self, other: &DatabaseTls) -> bool {
        self.demands_the_same(other) && self.fingerprint == other.fingerprint
    }
}

impl Eq for DatabaseTls {}

impl fmt::Debug for DatabaseTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseTls({:?})", self.mode)
    }
}

/// What a connection is agreed on by.
fn terms(
    text: &DatabaseTlsText,
    dialect: Dialect,
    sessions: Option<Arc<Sessions>>,
) -> Result<ClientConfig, Wrong> {
    let verifier = Verifier {
        trust: trust(text)?,
        algorithms: provider().signature_verification_algorithms,
    };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|error| ("sslmode", error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut terms = match &text.identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let identity = identity.read().map_err(|error| match error {
                IdentityError::Certificate(why) => ("sslcert", why),
                IdentityError::Key(why) => ("sslkey", why),
            })?;
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity)))
        }
    };
    terms.resumption = match sessions {
        // What is resumed was agreed on under these very terms: new ones begin with nothing to resume.
        Some(sessions) => Resumption::store(sessions),
        None => Resumption::disabled(),
    };
    if dialect == Dialect::Postgres {
        terms.alpn_protocols = vec![ALPN_POSTGRESQL.to_vec()];
    }
    Ok(terms)
}

/// Whom the mode lets us believe.
fn trust(text: &DatabaseTlsText) -> Result<Trust, Wrong> {
    let by_name = text.mode == SslMode::VerifyFull;
    let given = match (text.mode, &text.roots) {
        (SslMode::Disable | SslMode::Prefer, _) | (SslMode::Require, None) => {
            return Ok(Trust::Anybody);
        }
        (SslMode::VerifyCa, None) => {
            return Err((
                "sslrootcert",
                "is missing: sslmode verify-ca needs to know whom to believe".to_owned(),
            ));
        }
        (SslMode::VerifyFull, None | Some(Roots::System)) => system_roots()?,
        (_, Some(Roots::System)) => {
            let why = "system: anybody can get a certificate of a public authority for some name, so sslmode must be verify-full";
            return Err(("sslrootcert", why.to_owned()));
        }
        (_, Some(Roots::Given(pem))) => chain(pem).map_err(|why| ("sslrootcert", why))?,
    };
    let mut roots = RootCertStore::empty();
    // One that cannot be an authority may still be the very one that the server shows.
    roots.add_parsable_certificates(given.iter().cloned());
    Ok(Trust::Certified {
        roots,
        given,
        by_name,
    })
}

fn system_roots() -> Result<Vec<CertificateDer<'static>>, Wrong> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        let why = "this machine has no list of authorities that it trusts (the package ca-certificates, or SSL_CERT_FILE): name a file";
        return Err(("sslrootcert", why.to_owned()));
    }
    Ok(found.certs)
}

//! TLS towards clients: what we show them, and what they must show.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, UnbufferedServerConnection,
    WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};
use wire::Secret;

use super::certificate::{Certificate, chain, end_point};
use super::fingerprint::fingerprint;
use super::identity::{IdentityError, IdentityText};
use super::session::{Session, TlsError};
use super::{ALPN_POSTGRESQL, provider};
use crate::contract::Dialect;

/// Whether clients use TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Those that ask for it.
    Allow,
    /// All of them.
    Require,
}

/// What is configured, as text.
#[derive(Clone, Debug)]
pub struct ClientsTlsText {
    /// What we show.
    pub identity: IdentityText,
    /// Whose certificates a client may show, in PEM; `None` if it is not asked for one.
    pub client_ca: Option<String>,
    /// Whether TLS 1.2 will not do.
    pub only_tls13: bool,
    /// Whether clients use it.
    pub mode: Mode,
    /// `TENANT.this` is the host of TENANT.
    pub sni_domain: Option<String>,
}

/// What is wrong with it: the key of the config, and words to go behind it.
pub type Wrong = (&'static str, String);

/// TLS towards clients, ready to be used on any thread. Cheap to clone.
#[derive(Clone)]
pub struct ClientsTls {
    /// Whether clients use it.
    pub mode: Mode,
    /// The end of the certificate's validity.
    pub expires: SystemTime,
    /// `TENANT.this` is the host of TENANT.
    pub sni_domain: Option<Arc<str>>,
    identity: Arc<CertifiedKey>,
    end_point: Option<Arc<[u8]>>,
    terms: Arc<ServerConfig>,
    /// Of everything above.
    fingerprint: [u8; 32],
}

impl ClientsTls {
    /// Makes it of what is configured.
    pub fn new(text: &ClientsTlsText) -> Result<ClientsTls, Wrong> {
        let identity = text.identity.read().map_err(|error| match error {
            IdentityError::Certificate(why) => ("tls_cert", why),
            IdentityError::Key(why) => ("tls_key", why),
        })?;
        let leaf = &identity.cert[0];
        let expires = Certificate::read(leaf).map_or(SystemTime::UNIX_EPOCH, |leaf| leaf.expires());
        let verifier = match &text.client_ca {
            None => WebPkiClientVerifier::no_client_auth(),
            Some(pem) => {
                let mut roots = RootCertStore::empty();
                for certificate in chain(pem).map_err(|why| ("tls_client_ca", why))? {
                    let added = roots.add(certificate);
                    added.map_err(|error| ("tls_client_ca", error.to_string()))?;
                }
                // Who may come in without one is for the tenants to say.
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
                    .allow_unauthenticated()
                    .build()
                    .map_err(|error| ("tls_client_ca", error.to_string()))?
            }
        };
        let versions: &[_] = match text.only_tls13 {
            true => &[&TLS13],
            false => &[&TLS13, &TLS12],
        };
        let tap = Tap {
            identity: Arc::clone(&identity),
            heard: Arc::default(),
        };
        let mut terms = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .map_err(|error| ("tls_min_version", error.to_string()))?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(tap));
        // Clients of databases do not resume sessions, and a resumed one would pass by a certificate
        // or an authority that has been replaced since.
        terms.send_tls13_tickets = 0;
        terms.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(ClientsTls {
            mode: text.mode,
            expires,
            sni_domain: text.sni_domain.as_deref().map(Arc::from),
            end_point: end_point(leaf).map(Arc::from),
            identity,
            terms: Arc::new(terms),
            fingerprint: text.fingerprint(),
        })
    }

    /// A session with a client that speaks this protocol.
    pub fn begin(&self, dialect: Dialect) -> Result<Session, TlsError> {
        let heard = Arc::new(OnceLock::new());
        let mut terms = ServerConfig::clone(&self.terms);
        terms.cert_resolver = Arc::new(Tap {
            identity: Arc::clone(&self.identity),
            heard: Arc::clone(&heard),
        });
        if dialect == Dialect::Postgres {
            terms.alpn_protocols = vec![ALPN_POSTGRESQL.to_vec()];
        }
        let connection = UnbufferedServerConnection::new(Arc::new(terms))?;
        Ok(Session::server(connection, self.end_point.clone(), heard))
    }
}

impl ClientsTlsText {
    /// A hash of all there is, to tell whether anything has changed.
    fn fingerprint(&self) -> [u8; 32] {
        let flags = format!("{:?} {} {:?}", self.mode, self.only_tls13, self.sni_domain);
        fingerprint(&[
            flags.as_str(),
            &self.identity.certificate,
            Secret::expose(&self.identity.key),
            self.client_ca.as_deref().unwrap_or_default(),
        ])
    }
}

impl PartialEq for ClientsTls {
    fn eq(&self, other: &ClientsTls) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for ClientsTls {}

impl fmt::Debug for ClientsTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientsTls({:?})", self.mode)
    }
}

/// Shows our certificate to one client, and hears whom it takes us for.
#[derive(Debug)]
struct Tap {
    identity: Arc<CertifiedKey>,
    heard: Arc<OnceLock<String>>,
}

impl ResolvesServerCert for Tap {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if let Some(name) = hello.server_name() {
            // A second ClientHello, after a HelloRetryRequest, names the same host.
            let _ = self.heard.set(name.to_owned());
        }
        Some(Arc::clone(&self.identity))
    }
}

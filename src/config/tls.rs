//! The keys of TLS: towards clients at the top of a config, towards databases in each tenant.

use shards::contract::{Dialect, Secret};
use shards::tls::{
    ClientsTls, ClientsTlsText, DatabaseTls, DatabaseTlsText, IdentityText, Mode, Negotiation,
    Roots, SslMode,
};

use super::section::Section;
use super::units;

/// TLS towards clients; `None` if there is none, or if something is wrong with it.
pub fn towards_clients(root: &Section) -> Option<ClientsTls> {
    let mode = root.value("tls_mode", units::choice(MODES));
    let version = root.value("tls_min_version", units::choice(VERSIONS));
    let certificate = root.pem("tls_cert");
    let key = root.secret_pem("tls_key");
    let client_ca = root.pem("tls_client_ca");
    let sni_domain = root.text("tls_sni_domain", units::host);
    let is_wanted = !matches!(mode, Some(None));
    let pair = ["tls_cert", "tls_key"];
    if pair.map(|key| root.has(key)) == [false, false] {
        let others = ["tls_client_ca", "tls_min_version", "tls_sni_domain"];
        if is_wanted && mode.is_some() || others.iter().any(|key| root.has(key)) {
            root.complain(
                "tls_cert",
                "is missing: there is no TLS without a certificate",
            );
        }
        return None;
    }
    for (key, other) in [(pair[0], pair[1]), (pair[1], pair[0])] {
        if !root.has(key) {
            root.complain(key, format!("is missing: {other} is of no use alone"));
        }
    }
    let text = ClientsTlsText {
        identity: IdentityText {
            certificate: certificate?,
            key: key?,
        },
        client_ca,
        only_tls13: version.unwrap_or(false),
        mode: mode.flatten().unwrap_or(Mode::Allow),
        sni_domain,
    };
    // Read also where it is switched off, so that it is not found wrong on the day it is needed.
    match ClientsTls::new(&text) {
        Ok(tls) => Some(tls).filter(|_| is_wanted),
        Err((key, why)) => {
            root.complain(key, why);
            None
        }
    }
}

/// TLS towards databases, as `defaults` and each tenant may say it.
#[derive(Debug, Clone)]
pub struct SslHabits {
    mode: SslMode,
    negotiation: Negotiation,
    roots: Option<Roots>,
    identity: Option<IdentityText>,
}

impl SslHabits {
    /// What holds where a config says nothing.
    pub const BUILT_IN: SslHabits = SslHabits {
        mode: SslMode::Prefer,
        negotiation: Negotiation::Postgres,
        roots: None,
        identity: None,
    };

    /// Whether a connection is enciphered, and whom it is believed to lead to.
    pub fn mode(&self) -> SslMode {
        self.mode
    }

    /// How TLS begins.
    pub fn negotiation(&self) -> Negotiation {
        self.negotiation
    }

    /// Who certifies databases.
    pub fn roots(&self) -> Option<&Roots> {
        self.roots.as_ref()
    }

    /// What we show to them.
    pub fn identity(&self) -> Option<&IdentityText> {
        self.identity.as_ref()
    }

    /// What this section says, and for the rest what `otherwise` says.
    pub fn settle(section: &Section, otherwise: &SslHabits) -> SslHabits {
        let roots = match section.text("sslrootcert", |text| Ok(text == "system")) {
            Some(true) => Some(Roots::System),
            Some(false) => section
                .pem("sslrootcert")
                .map(|pem| Roots::Given(pem.into())),
            None => otherwise.roots.clone(),
        };
        let negotiation = section.value("sslnegotiation", units::choice(NEGOTIATIONS));
        SslHabits {
            mode: section.value_or("sslmode", units::choice(SSL_MODES), otherwise.mode),
            negotiation: negotiation.unwrap_or(otherwise.negotiation),
            roots,
            identity: identity(section).unwrap_or_else(|| otherwise.identity.clone()),
        }
    }

    /// Ready for use towards a database of this protocol; off where something is wrong.
    pub fn ready(&self, section: &Section, dialect: Dialect) -> DatabaseTls {
        let SslHabits {
            mode, negotiation, ..
        } = *self;
        if negotiation == Negotiation::Direct {
            if dialect == Dialect::MySql && section.has("sslnegotiation") {
                section.complain(
                    "sslnegotiation",
                    "direct: MySQL's protocol does not know it",
                );
            } else if mode == SslMode::Prefer {
                let why = "direct: leaves no way back to a connection in clear, so sslmode must be require or better";
                section.complain("sslnegotiation", why);
            }
        }
        let text = DatabaseTlsText {
            mode,
            negotiation,
            roots: self.roots.clone(),
            identity: self.identity.clone(),
        };
        DatabaseTls::new(text, dialect).unwrap_or_else(|(key, why)| {
            section.complain(key, why);
            DatabaseTls::OFF
        })
    }
}

/// The certificate to show, if this section says one. `Some(None)`: half of it is missing or wrong.
fn identity(section: &Section) -> Option<Option<IdentityText>> {
    let (certificate, key): (_, Option<Secret>) =
        (section.pem("sslcert"), section.secret_pem("sslkey"));
    match (section.has("sslcert"), section.has("sslkey")) {
        (false, false) => return None,
        (true, false) => section.complain("sslkey", "is missing: sslcert is of no use alone"),
        (false, true) => section.complain("sslcert", "is missing: sslkey is of no use alone"),
        (true, true) => {}
    }
    let both = certificate.zip(key);
    Some(both.map(|(certificate, key)| IdentityText { certificate, key }))
}

/// Whether a text is the certificate or key itself, rather than the path to it.
pub fn is_pem(text: &str) -> bool {
    text.contains("-----BEGIN ")
}

/// Whether clients use TLS. `None` in the inner place is never.
const MODES: &[(&str, Option<Option<Mode>>)] = &[
    ("disable", Some(None)),
    ("allow", Some(Some(Mode::Allow))),
    ("require", Some(Some(Mode::Require))),
];
/// Whether TLS 1.2 will not do.
const VERSIONS: &[(&str, Option<bool>)] = &[("1.2", Some(false)), ("1.3", Some(true))];
/// libpq's words.
const SSL_MODES: &[(&str, Option<SslMode>)] = &[
    ("disable", Some(SslMode::Disable)),
    ("prefer", Some(SslMode::Prefer)),
    ("require", Some(SslMode::Require)),
    ("verify-ca", Some(SslMode::VerifyCa)),
    ("verify-full", Some(SslMode::VerifyFull)),
];
/// libpq's words, since version 17.
const NEGOTIATIONS: &[(&str, Option<Negotiation>)] = &[
    ("postgres", Some(Negotiation::Postgres)),
    ("direct", Some(Negotiation::Direct)),
];

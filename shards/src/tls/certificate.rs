//! What stands in a certificate: whom it names, until when it holds, how it is signed.
//!
//! Reads only; whom to believe is [`verify`](super::verify)'s matter.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{self, Algorithm};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::certificate::X509Certificate;
use x509_parser::der_parser::oid;
use x509_parser::extensions::GeneralName;
use x509_parser::oid_registry::Oid;
use x509_parser::prelude::{FromDer, X509Version};
use x509_parser::signature_algorithm::SignatureAlgorithm;

/// A certificate, taken apart.
pub struct Certificate<'a>(X509Certificate<'a>);

impl<'a> Certificate<'a> {
    /// `None` if it is none, or none that can be read.
    pub fn read(der: &'a CertificateDer<'_>) -> Option<Certificate<'a>> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        Some(Certificate(certificate))
    }

    /// Whether it is of X.509 version 1, which knows no extensions.
    pub fn is_version_1(&self) -> bool {
        self.0.version() == X509Version::V1
    }

    /// The end of its validity.
    pub fn expires(&self) -> SystemTime {
        let seconds = self.0.validity().not_after.timestamp();
        let time = Duration::from_secs(seconds.unsigned_abs());
        let expires = match seconds < 0 {
            false => SystemTime::UNIX_EPOCH.checked_add(time),
            true => SystemTime::UNIX_EPOCH.checked_sub(time),
        };
        expires.unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// Whether it holds at this second since 1970.
    pub fn holds_at(&self, seconds: u64) -> bool {
        let validity = self.0.validity();
        let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
        (validity.not_before.timestamp()..=validity.not_after.timestamp()).contains(&seconds)
    }

    /// Whom it names: the common name, then the alternative names of hosts, mailboxes and services.
    pub fn names(&self) -> Vec<&str> {
        let alternative = self.alternative_names().filter_map(|name| match name {
            GeneralName::DNSName(name) | GeneralName::RFC822Name(name) | GeneralName::URI(name) => {
                Some(*name)
            }
            _ => None,
        });
        self.common_name().into_iter().chain(alternative).collect()
    }

    /// Whether it is for this host, as libpq judges it: by the alternative names; by the common name
    /// only where there are none of hosts.
    pub fn is_for(&self, host: &str) -> bool {
        if let Ok(address) = host.parse::<IpAddr>() {
            let bytes = match address {
                IpAddr::V4(address) => address.octets().to_vec(),
                IpAddr::V6(address) => address.octets().to_vec(),
            };
            let mut names = self.alternative_names();
            if names.any(|name| matches!(name, GeneralName::IPAddress(name) if *name == bytes)) {
                return true;
            }
        }
        let mut hosts = self.alternative_names().filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(*name),
            _ => None,
        });
        let has_hosts = self
            .alternative_names()
            .any(|name| matches!(name, GeneralName::DNSName(_) | GeneralName::IPAddress(_)));
        match has_hosts {
            true => hosts.any(|pattern| names_host(pattern, host)),
            false => self
                .common_name()
                .is_some_and(|pattern| names_host(pattern, host)),
        }
    }

    /// Whether the holder of the other one has signed it, at a time when both hold.
    pub fn is_issued_by(&self, issuer: &Certificate<'_>, seconds: u64) -> bool {
        self.0.issuer().as_raw() == issuer.0.subject().as_raw()
            && self.holds_at(seconds)
            && issuer.holds_at(seconds)
            && self.0.verify_signature(Some(issuer.0.public_key())).is_ok()
    }

    /// Its key, as DER of a SubjectPublicKeyInfo.
    pub fn public_key(&self) -> &[u8] {
        self.0.public_key().raw
    }

    fn common_name(&self) -> Option<&str> {
        let name = self.0.subject().iter_common_name().next()?;
        name.as_str().ok()
    }

    fn alternative_names(&self) -> impl Iterator<Item = &GeneralName<'_>> {
        let names = self.0.subject_alternative_name().ok().flatten();
        names
            .into_iter()
            .flat_map(|names| &names.value.general_names)
    }

    /// The hash in its signature; SHA-256 in place of the weak ones (RFC 5929, 4.1).
    fn hash(&self) -> Option<&'static Algorithm> {
        let algorithm = &self.0.signature_algorithm;
        if let Ok(SignatureAlgorithm::RSASSA_PSS(parameters)) =
            SignatureAlgorithm::try_from(algorithm)
        {
            return by_oid(PSS_HASHES, parameters.hash_algorithm_oid());
        }
        by_oid(SIGNATURES, algorithm.oid())
    }
}

/// What ties a login to the TLS connection of a server with this certificate: its hash, by the hash
/// function of its own signature. `None` where that is not defined, as for Ed25519.
pub fn end_point(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let hash = Certificate::read(certificate)?.hash()?;
    Some(digest::digest(hash, certificate).as_ref().to_vec())
}

/// The certificates in a PEM text, at least one.
pub(super) fn chain(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        _ => Err("holds no certificate in PEM (-----BEGIN CERTIFICATE-----)".to_owned()),
    }
}

/// A name in a certificate against a host's: a `*` stands for the whole of the first label.
fn names_host(pattern: &str, host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let behind_star = pattern.strip_prefix('*').filter(|rest| {
        // `*.com` would be too much.
        rest.starts_with('.') && rest[1..].contains('.')
    });
    match (behind_star, host.split_once('.')) {
        (Some(rest), Some((first, parent))) => {
            !first.is_empty() && rest[1..].eq_ignore_ascii_case(parent)
        }
        _ => pattern.eq_ignore_ascii_case(host),
    }
}

fn by_oid(
    table: &[(Oid<'static>, &'static Algorithm)],
    oid: &Oid<'_>,
) -> Option<&'static Algorithm> {
    let known = table.iter().find(|(known, _)| known == oid);
    known.map(|(_, hash)| *hash)
}

/// The hash functions of signatures that are named with theirs.
static SIGNATURES: &[(Oid<'static>, &Algorithm)] = &[
    (oid!(1.2.840.113549.1.1.4), &digest::SHA256), // MD5 with RSA
    (oid!(1.2.840.113549.1.1.5), &digest::SHA256), // SHA-1 with RSA
    (oid!(1.2.840.113549.1.1.14), &digest::SHA224),
    (oid!(1.2.840.113549.1.1.11), &digest::SHA256),
    (oid!(1.2.840.113549.1.1.12), &digest::SHA384),
    (oid!(1.2.840.113549.1.1.13), &digest::SHA512),
    (oid!(1.2.840.10045.4.1), &digest::SHA256), // SHA-1 with ECDSA
    (oid!(1.2.840.10045.4.3.1), &digest::SHA224),
    (oid!(1.2.840.10045.4.3.2), &digest::SHA256),
    (oid!(1.2.840.10045.4.3.3), &digest::SHA384),
    (oid!(1.2.840.10045.4.3.4), &digest::SHA512),
];

/// The hash functions by themselves, as RSASSA-PSS names them.
static PSS_HASHES: &[(Oid<'static>, &Algorithm)] = &[
    (oid!(1.3.14.3.2.26), &digest::SHA256), // SHA-1
    (oid!(2.16.840.1.101.3.4.2.1), &digest::SHA256),
    (oid!(2.16.840.1.101.3.4.2.2), &digest::SHA384),
    (oid!(2.16.840.1.101.3.4.2.3), &digest::SHA512),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_one_label_and_not_for_a_whole_country() {
        for (pattern, host, matches) in [
            ("db.example.com", "DB.example.COM", true),
            ("db.example.com", "db.example.com.", true),
            ("*.example.com", "db.example.com", true),
            ("*.example.com", "a.db.example.com", false),
            ("*.example.com", "example.com", false),
            ("*.example.com", ".example.com", false),
            ("*.com", "example.com", false),
            ("*", "localhost", false),
            ("d*.example.com", "db.example.com", false),
            ("localhost", "localhost", true),
            ("", "localhost", false),
        ] {
            assert_eq!(names_host(pattern, host), matches, "{pattern} {host}");
        }
    }
}

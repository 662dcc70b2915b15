//! Whom to believe to be a tenant's database, by its certificate.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{
    WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::certificate::Certificate;

/// Who can be believed.
#[derive(Debug)]
pub(super) enum Trust {
    /// Whoever answers. The connection is hidden from those who listen, not from those who answer
    /// in the database's place.
    Anybody,
    /// Who is certified by one of these.
    Certified {
        /// The authorities.
        roots: RootCertStore,
        /// The same as they were given: a server may show one of them, as self-signed ones do.
        given: Vec<CertificateDer<'static>>,
        /// Whether the certificate must also be for the host that was dialled.
        by_name: bool,
    },
}

/// The judge of one tenant's database.
#[derive(Debug)]
pub(super) struct Verifier {
    pub(super) trust: Trust,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Trust::Certified {
            roots,
            given,
            by_name,
        } = &self.trust
        else {
            return Ok(ServerCertVerified::assertion());
        };
        let certificate = Certificate::read(end_entity).ok_or(CertificateError::BadEncoding)?;
        if given.iter().any(|root| root == end_entity) {
            if !certificate.holds_at(now.as_secs()) {
                return Err(CertificateError::Expired.into());
            }
        } else {
            match ParsedCertificate::try_from(end_entity) {
                Ok(parsed) => verify_server_cert_signed_by_trust_anchor(
                    &parsed,
                    roots,
                    intermediates,
                    now,
                    self.algorithms.all,
                )?,
                // OpenSSL makes X.509 version 1 where it is not told otherwise, as in the recipe of
                // PostgreSQL's manual. Such a one has no extensions that could be overlooked.
                Err(error) if !certificate.is_version_1() => return Err(error),
                Err(error) => {
                    let mut roots = given.iter().filter_map(Certificate::read);
                    if !roots.any(|root| certificate.is_issued_by(&root, now.as_secs())) {
                        return Err(error);
                    }
                }
            }
        }
        if *by_name && !certificate.is_for(&server_name.to_str()) {
            return Err(CertificateError::NotValidForName.into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match verify_tls12_signature(message, certificate, signature, &self.algorithms) {
            // It could be anybody's certificate anyway.
            Err(error) if is_unreadable(&error) && matches!(self.trust, Trust::Anybody) => {
                Ok(HandshakeSignatureValid::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match verify_tls13_signature(message, certificate, signature, &self.algorithms) {
            // A certificate of X.509 version 1 or an odd extension: its key is a key all the same.
            Err(error) if is_unreadable(&error) => {
                let read = Certificate::read(certificate).ok_or(error)?;
                let key = SubjectPublicKeyInfoDer::from(read.public_key());
                verify_tls13_signature_with_raw_key(message, &key, signature, &self.algorithms)
            }
            verified => verified,
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Whether rustls could not read the certificate, rather than finding the signature wrong.
fn is_unreadable(error: &Error) -> bool {
    matches!(
        error,
        Error::InvalidCertificate(CertificateError::BadEncoding | CertificateError::Other(_))
    )
}

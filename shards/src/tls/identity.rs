//! A certificate with its key: what one side shows of itself.

use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::sign::CertifiedKey;
use wire::Secret;

use super::certificate::{Certificate, chain};
use super::provider;

/// A certificate and its key as they stand in their files, in PEM.
#[derive(Clone, Debug)]
pub struct IdentityText {
    /// The certificate, and behind it those that lead to its root.
    pub certificate: String,
    /// Its key: PKCS #8, PKCS #1 or SEC1, not encrypted.
    pub key: Secret,
}

/// What is wrong with an identity, and in which of its halves.
#[derive(Debug, PartialEq, Eq)]
pub enum IdentityError {
    /// The certificate.
    Certificate(String),
    /// The key.
    Key(String),
}

impl IdentityText {
    /// The end of the certificate's validity; `None` if it cannot be read.
    pub(super) fn expires(&self) -> Option<SystemTime> {
        let chain = chain(&self.certificate).ok()?;
        Certificate::read(chain.first()?).map(|leaf| leaf.expires())
    }

    /// Reads both, and sees to it that they belong together.
    pub(super) fn read(&self) -> Result<Arc<CertifiedKey>, IdentityError> {
        let chain = chain(&self.certificate).map_err(IdentityError::Certificate)?;
        let key = self.key.expose().as_bytes();
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| {
            let encrypted = self.key.expose().contains("ENCRYPTED");
            IdentityError::Key(
                match encrypted {
                    true => "is encrypted, and there is nobody here to type its password",
                    false => "holds no private key in PEM (-----BEGIN PRIVATE KEY-----)",
                }
                .to_owned(),
            )
        })?;
        let key = provider()
            .key_provider
            .load_private_key(key)
            .map_err(|error| IdentityError::Key(format!("is of no use: {error}")))?;
        let Some(leaf) = Certificate::read(&chain[0]) else {
            let why = "holds something in place of a certificate that cannot be read";
            return Err(IdentityError::Certificate(why.to_owned()));
        };
        // rustls compares them, too, but not for certificates of X.509 version 1.
        if let Some(of_key) = key.public_key()
            && of_key.as_ref() != leaf.public_key()
        {
            let why = "is not the key of the certificate: both must be replaced together";
            return Err(IdentityError::Key(why.to_owned()));
        }
        Ok(Arc::new(CertifiedKey::new(chain, key)))
    }
}

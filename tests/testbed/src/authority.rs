//! Certificates of a test's own making.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};

/// An authority that certifies whatever it is asked to, and the folder with what it has made. The folder goes with the
/// value.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
}

impl Authority {
    /// A new one, unlike all others. Its own certificate is `ca.crt`.
    ///
    /// # Panics
    /// If the temporary folder cannot be written to.
    #[must_use]
    pub fn new() -> Authority {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder =
            std::env::temp_dir().join(format!("dbbouncer-pki-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).expect("the temporary folder can be written to");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
            .distinguished_name
            .push(DnType::CommonName, format!("authority {number}"));
        let key = KeyPair::generate().expect("a key can be made");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("it certifies itself");
        fs::write(folder.join("ca.crt"), issuer.pem())
            .expect("the temporary folder can be written to");
        Authority { issuer, folder }
    }

    /// Writes `file.crt` and `file.key`: for a holder of this name, at these hosts.
    ///
    /// # Panics
    /// If a host is no name of one.
    pub fn certify(&self, file: &str, holder: &str, hosts: &[&str]) -> &Authority {
        let hosts: Vec<_> = hosts.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(hosts).expect("these are hosts");
        params.distinguished_name.push(DnType::CommonName, holder);
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = params
            .signed_by(&key, &self.issuer)
            .expect("a certificate can be signed");
        // Each file is replaced as a whole, as a careful operator does it.
        for (ending, pem) in [("key", key.serialize_pem()), ("crt", certificate.pem())] {
            let path = self.folder.join(format!("{file}.{ending}"));
            let half = self.folder.join(format!("{file}.{ending}.half"));
            fs::write(&half, pem).expect("the temporary folder can be written to");
            restrict(&half);
            fs::rename(&half, path).expect("the temporary folder can be written to");
        }
        self
    }

    /// The path of one of its files.
    #[must_use]
    pub fn path(&self, file: &str) -> String {
        self.folder.join(file).to_string_lossy().into_owned()
    }

    /// The folder with all of them.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Default for Authority {
    fn default() -> Self {
        Authority::new()
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// libpq takes no key that others may read.
fn restrict(file: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let _ = fs::set_permissions(file, fs::Permissions::from_mode(0o600));
}

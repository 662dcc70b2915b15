//! A client's connection: the socket itself, or TLS on it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, client::Resumption};

use crate::Outcome;

/// A certificate for the proxies, and what clients need to believe it.
pub struct Certificate {
    /// The certificate, in PEM.
    pub certificate: String,
    /// Its key, in PEM.
    pub key: String,
    /// How clients do TLS. They resume nothing and use one key exchange, so that every peer has the
    /// same work with them.
    pub clients: Arc<ClientConfig>,
}

impl Certificate {
    /// A new one.
    pub fn new() -> Outcome<Certificate> {
        let made = rcgen::generate_simple_self_signed(vec![HOST.to_owned()])?;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(made.cert.der().to_vec()))?;
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        provider.kx_groups = vec![rustls::crypto::aws_lc_rs::kx_group::X25519];
        let mut clients = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        clients.resumption = Resumption::disabled();
        Ok(Certificate {
            certificate: made.cert.pem(),
            key: made.signing_key.serialize_pem(),
            clients: Arc::new(clients),
        })
    }
}

/// A client's connection. It is never waited for.
pub struct Link {
    socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
}

impl Link {
    /// Connects; in TLS the way PostgreSQL begins it, by asking (documentation, 54.2.9).
    pub fn connect(to: SocketAddr, tls: Option<&Arc<ClientConfig>>) -> Outcome<Link> {
        let mut socket = TcpStream::connect(to)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let tls = match tls {
            None => None,
            Some(config) => {
                socket.write_all(&SSL_REQUEST)?;
                let mut answer = [0];
                socket.read_exact(&mut answer)?;
                if answer != *b"S" {
                    return Err("there is no TLS".into());
                }
                let name = ServerName::try_from(HOST)?;
                let mut tls = ClientConnection::new(Arc::clone(config), name)?;
                while tls.is_handshaking() {
                    tls.complete_io(&mut socket)?;
                }
                Some(Box::new(tls))
            }
        };
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        Ok(Link { socket, tls })
    }

    /// Sends all of it.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(tls) = &mut self.tls else {
            return self.socket.write_all(bytes);
        };
        tls.writer().write_all(bytes)?;
        while tls.wants_write() {
            tls.write_tls(&mut self.socket)?;
        }
        Ok(())
    }

    /// What is there; none is nothing so far, 0 is the end.
    pub fn receive(&mut self, into: &mut [u8]) -> io::Result<Option<usize>> {
        let got = match &mut self.tls {
            None => self.socket.read(into),
            Some(tls) => {
                match tls.read_tls(&mut self.socket) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                    Ok(_) => {
                        tls.process_new_packets().map_err(io::Error::other)?;
                    }
                }
                tls.reader().read(into)
            }
        };
        match got {
            Ok(count) => Ok(Some(count)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// How long a handshake's next word may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The certificate's.
const HOST: &str = "localhost";

const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

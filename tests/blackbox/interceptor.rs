//! Somebody between us and a database who ends TLS himself, with a certificate that we believe, and begins it anew towards
//! the database: what channel binding is there for.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
};
use testbed::Authority;

use crate::tls::SSL_REQUEST;

/// Listens until the process ends; its connections end with either side.
pub struct Interceptor {
    pub address: SocketAddr,
    chosen: Arc<Mutex<Vec<String>>>,
}

/// What it does with the ways of logging in that the database offers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// Passes it on.
    Whole,
    /// Leaves out the one that is bound to the channel.
    Unbound,
}

impl Interceptor {
    /// Before `target`; shows the certificate `file` of an authority that both sides believe.
    pub fn before(
        target: SocketAddr,
        authority: &Authority,
        file: &str,
        offer: Offer,
    ) -> Interceptor {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let chain = CertificateDer::pem_file_iter(authority.path(&format!("{file}.crt"))).unwrap();
        let key = PrivateKeyDer::from_pem_file(authority.path(&format!("{file}.key"))).unwrap();
        let shown = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain.map(Result::unwrap).collect(), key)
            .unwrap();
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_file(authority.path("ca.crt")).unwrap();
        roots.add(root).unwrap();
        let believed = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let interceptor = Interceptor {
            address: listener.local_addr().unwrap(),
            chosen: Arc::default(),
        };
        let chosen = Arc::clone(&interceptor.chosen);
        let (shown, believed) = (Arc::new(shown), Arc::new(believed));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (shown, believed) = (Arc::clone(&shown), Arc::clone(&believed));
                let chosen = Arc::clone(&chosen);
                thread::spawn(move || {
                    let _ = intercept(client, target, shown, believed, offer, &chosen);
                });
            }
        });
        interceptor
    }

    /// How those who came wanted to log in, by the names of SASL.
    pub fn chosen(&self) -> Vec<String> {
        self.chosen.lock().unwrap().clone()
    }
}

fn intercept(
    mut client: TcpStream,
    target: SocketAddr,
    shown: Arc<ServerConfig>,
    believed: Arc<ClientConfig>,
    offer: Offer,
    chosen: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut asked = [0; 8];
    client.read_exact(&mut asked)?;
    assert_eq!(asked, *SSL_REQUEST);
    client.write_all(b"S")?;
    let mut server = TcpStream::connect(target)?;
    server.write_all(SSL_REQUEST)?;
    let mut consent = [0];
    server.read_exact(&mut consent)?;
    assert_eq!(&consent, b"S");
    let name = "localhost".try_into().unwrap();
    let mut ours = ServerConnection::new(shown).map_err(std::io::Error::other)?;
    let mut theirs = ClientConnection::new(believed, name).map_err(std::io::Error::other)?;
    // To its end, however long it takes: from then on nobody is waited for.
    while ours.is_handshaking() {
        ours.complete_io(&mut client)?;
    }
    while theirs.is_handshaking() {
        theirs.complete_io(&mut server)?;
    }
    // Each side in turn: what it has to say is waited for so long.
    for side in [&client, &server] {
        side.set_read_timeout(Some(Duration::from_millis(5)))?;
        side.set_nodelay(true)?;
    }
    let mut client = StreamOwned::new(ours, client);
    let mut server = StreamOwned::new(theirs, server);
    loop {
        if let Some(said) = heard(&mut client)? {
            if said.starts_with(b"p") && said[5..].starts_with(b"SCRAM") {
                let name = said[5..]
                    .split(|byte| *byte == 0)
                    .next()
                    .unwrap_or_default();
                chosen
                    .lock()
                    .unwrap()
                    .push(String::from_utf8_lossy(name).into_owned());
            }
            server.write_all(&said)?;
        }
        if let Some(mut said) = heard(&mut server)? {
            if offer == Offer::Unbound && said == OFFER_OF_BOTH {
                said = OFFER_OF_ONE.to_vec();
            }
            client.write_all(&said)?;
        }
    }
}

/// What one side has said by now; an error at its end.
fn heard(side: &mut impl Read) -> std::io::Result<Option<Vec<u8>>> {
    let mut said = vec![0; 16 << 10];
    match side.read(&mut said) {
        Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
        Ok(length) => {
            said.truncate(length);
            Ok(Some(said))
        }
        Err(error) => match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => Ok(None),
            _ => Err(error),
        },
    }
}

const OFFER_OF_BOTH: &[u8] = b"R\0\0\0\x2a\0\0\0\x0aSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0";
const OFFER_OF_ONE: &[u8] = b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0";

//! Our two sides against each other, with no socket between.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod resumption;

use bytes::BytesMut;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType, IsCa, KeyPair,
};
use wire::Secret;

use super::*;
use crate::contract::Dialect;

/// An authority of the test's own.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "authority");
        let key = KeyPair::generate().unwrap();
        Authority(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate with this common name, for these hosts.
    fn certify(&self, name: &str, hosts: &[&str]) -> IdentityText {
        self.certify_with(name, hosts, Vec::new())
    }

    /// The same, which says this as well.
    fn certify_with(
        &self,
        name: &str,
        hosts: &[&str],
        extensions: Vec<CustomExtension>,
    ) -> IdentityText {
        let hosts: Vec<_> = hosts.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(hosts).unwrap();
        params.custom_extensions = extensions;
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        IdentityText {
            certificate: certificate.pem(),
            key: Secret::new(key.serialize_pem()),
        }
    }
}

fn clients(identity: IdentityText, client_ca: Option<String>) -> ClientsTls {
    ClientsTls::new(&ClientsTlsText {
        identity,
        client_ca,
        only_tls13: false,
        mode: Mode::Allow,
        sni_domain: None,
    })
    .unwrap()
}

fn database(mode: SslMode, roots: Option<String>, identity: Option<IdentityText>) -> DatabaseTls {
    let text = DatabaseTlsText {
        mode,
        negotiation: Negotiation::Postgres,
        roots: roots.map(|pem| Roots::Given(pem.into())),
        identity,
    };
    DatabaseTls::new(text, Dialect::Postgres).unwrap()
}

/// Lets both speak until neither has anything to say.
fn settle(client: &mut Session, server: &mut Session) {
    let mut to_server = BytesMut::new();
    client.arrived(&[], &mut to_server);
    while !to_server.is_empty() {
        let mut to_client = BytesMut::new();
        // Byte by byte, which is as bad as a network can be.
        for byte in to_server.split() {
            server.arrived(&[byte], &mut to_client);
        }
        client.arrived(&to_client, &mut to_server);
    }
}

/// A handshake with the host `db.test`; what each side thinks of it.
fn meet(shown: &ClientsTls, demanded: &DatabaseTls) -> (Session, Session) {
    let mut client = demanded.begin("db.test").unwrap().0;
    let mut server = shown.begin(Dialect::Postgres).unwrap();
    settle(&mut client, &mut server);
    (client, server)
}

fn is_up(session: &Session) -> bool {
    !session.is_handshaking() && session.failure().is_none()
}

#[test]
fn what_is_said_on_one_side_is_heard_on_the_other() {
    let authority = Authority::new();
    let shown = clients(authority.certify("ours", &["db.test"]), None);
    let demanded = database(SslMode::VerifyFull, Some(authority.pem()), None);
    let (mut client, mut server) = meet(&shown, &demanded);
    assert!(is_up(&client) && is_up(&server));
    assert_eq!(client.alpn(), Some(ALPN_POSTGRESQL));
    assert_eq!(server.server_name(), Some("db.test"));
    assert!(client.end_point().is_some());
    assert_eq!(client.end_point(), server.end_point());

    let words = vec![7; 100_000];
    let (mut wire, mut back) = (BytesMut::new(), BytesMut::new());
    server.say(&words, &mut wire);
    client.say(b"meanwhile", &mut back);
    server.arrived(&back, &mut BytesMut::new());
    for piece in wire.chunks(4096) {
        client.arrived(piece, &mut BytesMut::new());
    }
    let heard: Vec<_> = std::iter::from_fn(|| client.take()).collect();
    assert_eq!(heard.concat(), words);
    assert_eq!(server.take().as_deref(), Some(&b"meanwhile"[..]));
    assert!(client.is_quiet() && server.is_quiet());

    let mut goodbye = BytesMut::new();
    server.close(&mut goodbye);
    client.arrived(&goodbye, &mut BytesMut::new());
    assert!(client.is_closed() && client.failure().is_none());
}

#[test]
fn whom_a_mode_believes() {
    use SslMode::{Prefer, Require, VerifyCa, VerifyFull};
    let (authority, other) = (Authority::new(), Authority::new());
    let (right, foreign) = (Some(authority.pem()), Some(other.pem()));
    let shown = clients(authority.certify("x", &["db.test"]), None);
    let misnamed = clients(authority.certify("db.test", &["other.test"]), None);
    let only_common_name = clients(authority.certify("db.test", &[]), None);
    for (shown, mode, roots, believes) in [
        (&shown, Prefer, &None, true),
        (&shown, Prefer, &foreign, true),
        (&shown, Require, &None, true),
        (&shown, Require, &right, true),
        (&shown, Require, &foreign, false),
        (&shown, VerifyCa, &right, true),
        (&shown, VerifyCa, &foreign, false),
        (&shown, VerifyFull, &right, true),
        (&shown, VerifyFull, &foreign, false),
        (&misnamed, VerifyCa, &right, true),
        (&misnamed, VerifyFull, &right, false),
        (&only_common_name, VerifyFull, &right, true),
    ] {
        let (client, server) = meet(shown, &database(mode, roots.clone(), None));
        assert_eq!(is_up(&client), believes, "{mode:?} {:?}", client.failure());
        // The other side hears of it.
        assert_eq!(server.failure().is_some(), !believes, "{mode:?}");
    }
}

#[test]
fn a_certificate_that_demands_to_be_understood_and_is_not_is_none() {
    let authority = Authority::new();
    let roots = Some(authority.pem());
    for (is_critical, believes) in [(false, true), (true, false)] {
        let mut odd = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0]);
        odd.set_criticality(is_critical);
        let shown = clients(authority.certify_with("x", &["db.test"], vec![odd]), None);
        let demanded = database(SslMode::VerifyFull, roots.clone(), None);
        let (client, _) = meet(&shown, &demanded);
        assert_eq!(is_up(&client), believes, "{:?}", client.failure());
    }
}

#[test]
fn a_server_may_show_the_very_certificate_that_is_trusted() {
    let params = CertificateParams::new(vec!["db.test".to_owned()]).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    let identity = IdentityText {
        certificate: certificate.clone(),
        key: Secret::new(key.serialize_pem()),
    };
    let shown = clients(identity, None);
    let (client, _) = meet(
        &shown,
        &database(SslMode::VerifyFull, Some(certificate), None),
    );
    assert!(is_up(&client), "{:?}", client.failure());
}

#[test]
fn a_client_is_known_by_its_certificate_or_by_none_and_not_by_a_strangers() {
    let (authority, other) = (Authority::new(), Authority::new());
    let shown = clients(authority.certify("x", &["db.test"]), Some(authority.pem()));
    let meet_as = |identity| meet(&shown, &database(SslMode::Require, None, identity));
    let (_, server) = meet_as(Some(authority.certify("app", &["app.test"])));
    let certificate = server.peer_certificate().expect("one was shown").clone();
    let names = Certificate::read(&certificate).unwrap();
    assert_eq!(names.names(), ["app", "app.test"]);
    let (_, server) = meet_as(None);
    assert!(is_up(&server) && server.peer_certificate().is_none());
    let (_, server) = meet_as(Some(other.certify("app", &[])));
    assert!(server.failure().is_some());
}

#[test]
fn plain_bytes_before_the_handshake_end_it() {
    let authority = Authority::new();
    let shown = clients(authority.certify("x", &["db.test"]), None);
    let mut server = shown.begin(Dialect::Postgres).unwrap();
    let mut out = BytesMut::new();
    server.arrived(b"\0\0\0\x10\0\x03\0\0user\0u\0\0", &mut out);
    assert!(server.failure().is_some() && server.take().is_none());

    let mut client = database(SslMode::Require, None, None)
        .begin("db.test")
        .unwrap()
        .0;
    client.arrived(b"E\0\0\0\x10Mforged\0\0", &mut out);
    assert!(client.failure().is_some() && client.take().is_none());
}

#[test]
fn another_protocol_by_alpn_is_not_ours() {
    let authority = Authority::new();
    let shown = clients(authority.certify("x", &["db.test"]), None);
    let mut server = shown.begin(Dialect::MySql).unwrap();
    let mut client = database(SslMode::Require, None, None)
        .begin("db.test")
        .unwrap()
        .0;
    settle(&mut client, &mut server);
    // MySQL does not speak of it, and then neither side is the wiser.
    assert!(is_up(&client) && client.alpn().is_none());
}

#[test]
fn halves_that_do_not_belong_together_are_refused_by_name() {
    let authority = Authority::new();
    let (one, two) = (authority.certify("1", &[]), authority.certify("2", &[]));
    let wrong = |certificate: &str, key: Secret| {
        let text = ClientsTlsText {
            identity: IdentityText {
                certificate: certificate.to_owned(),
                key,
            },
            client_ca: None,
            only_tls13: true,
            mode: Mode::Require,
            sni_domain: None,
        };
        ClientsTls::new(&text).err().map(|(key, _)| key)
    };
    assert_eq!(wrong(&one.certificate, one.key.clone()), None);
    assert_eq!(wrong(&one.certificate, two.key.clone()), Some("tls_key"));
    assert_eq!(wrong("nothing", two.key), Some("tls_cert"));
    assert_eq!(wrong(&one.certificate, Secret::new("?")), Some("tls_key"));
}

#[test]
fn what_cannot_be_verified_is_not_promised() {
    let wrong = |mode, roots| {
        let text = DatabaseTlsText {
            mode,
            negotiation: Negotiation::Postgres,
            roots,
            identity: None,
        };
        DatabaseTls::new(text, Dialect::Postgres)
            .err()
            .map(|(key, _)| key)
    };
    assert_eq!(wrong(SslMode::VerifyCa, None), Some("sslrootcert"));
    assert_eq!(
        wrong(SslMode::VerifyCa, Some(Roots::System)),
        Some("sslrootcert")
    );
    let garbage = Some(Roots::Given("garbage".into()));
    assert_eq!(wrong(SslMode::VerifyFull, garbage), Some("sslrootcert"));
}

#[test]
fn what_is_said_to_one_that_is_certified_is_said_to_nobody_else() {
    use SslMode::{Disable, Prefer, Require, VerifyCa, VerifyFull};
    let [one, other] = [Authority::new(), Authority::new()].map(|authority| authority.pem());
    let with = |mode, roots: Option<&String>| database(mode, roots.cloned(), None);
    let (one, other) = (Some(&one), Some(&other));
    for (now, before, is_as_good) in [
        (with(Prefer, None), with(Disable, None), true),
        (with(Disable, None), with(Prefer, None), false),
        (with(Require, None), with(Prefer, one), true),
        (with(VerifyCa, one), with(Require, None), true),
        (with(VerifyFull, one), with(VerifyCa, one), true),
        (with(VerifyCa, one), with(VerifyFull, one), false),
        (with(VerifyFull, other), with(VerifyCa, one), false),
        (with(Require, other), with(Require, one), false),
        (with(Require, None), with(Require, one), false),
    ] {
        let said = format!("{now:?} after {before:?}");
        assert_eq!(now.is_as_good_as(&before), is_as_good, "{said}");
    }
    // A certificate of ours that is renewed makes nobody easier to believe.
    let renewed = Authority::new().certify("us", &[]);
    let renewed = database(VerifyFull, one.cloned(), Some(renewed));
    assert!(renewed.is_as_good_as(&with(VerifyFull, one)));
}

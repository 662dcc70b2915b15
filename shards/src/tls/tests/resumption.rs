//! Sessions that are offered to be resumed, by our side to a database's.

use std::sync::Arc;

use rustls::server::UnbufferedServerConnection;
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};

use super::*;

/// MySQL's, whose sessions are resumed.
fn resuming(mode: SslMode, roots: Option<String>, identity: Option<IdentityText>) -> DatabaseTls {
    let text = DatabaseTlsText {
        mode,
        negotiation: Negotiation::Postgres,
        roots: roots.map(|pem| Roots::Given(pem.into())),
        identity,
    };
    DatabaseTls::new(text, Dialect::MySql).unwrap()
}

/// A database that lets its sessions be resumed, as our own side towards clients does not.
fn database_side(shown: &IdentityText, versions: &[&'static SupportedProtocolVersion]) -> Database {
    let identity = shown.read().unwrap();
    let terms = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(identity)));
    Database(Arc::new(terms))
}

struct Database(Arc<ServerConfig>);

impl Database {
    /// A handshake to its good end; what it offered to resume.
    fn meet(&self, demanded: &DatabaseTls) -> Option<Offer> {
        let (mut client, offer) = demanded.begin("db.test").unwrap();
        let connection = UnbufferedServerConnection::new(Arc::clone(&self.0)).unwrap();
        let mut server = Session::server(connection, None, Arc::default());
        settle(&mut client, &mut server);
        assert!(is_up(&client) && is_up(&server), "{:?}", client.failure());
        offer
    }
}

const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

#[test]
fn a_session_is_offered_on_the_very_terms_of_its_making_and_to_the_host_that_made_it() {
    use SslMode::{Prefer, Require, VerifyCa, VerifyFull};
    let (authority, other) = (Authority::new(), Authority::new());
    let (ours, foreign) = (Some(authority.pem()), Some(other.pem()));
    let shown = authority.certify("x", &["db.test", "b.test"]);
    let identity = Some(other.certify("us", &[]));
    let terms = || {
        [
            resuming(VerifyFull, ours.clone(), None),
            resuming(VerifyFull, ours.clone(), identity.clone()),
            resuming(VerifyFull, ours.clone(), Some(other.certify("us", &[]))),
            resuming(VerifyFull, foreign.clone(), None),
            resuming(VerifyCa, ours.clone(), None),
            resuming(Require, ours.clone(), None),
            resuming(Require, None, None),
            resuming(Prefer, None, None),
        ]
    };
    for (version, first) in VERSIONS.into_iter().zip([1, 6]).chain([(&TLS13, 0)]) {
        let database = database_side(&shown, &[version]);
        let before = &terms()[first];
        assert!(database.meet(before).is_none(), "nothing is kept yet");
        database.meet(before).expect("a session is kept").heard();
        for after in terms() {
            assert!(after.begin("db.test").unwrap().1.is_none(), "{after:?}");
        }
        assert!(before.begin("b.test").unwrap().1.is_none(), "another host");
        let afresh = before.from_the_start();
        assert!(afresh.begin("db.test").unwrap().1.is_none());
        database.meet(before).expect("one is kept still").heard();
    }
}

#[test]
fn who_fails_by_what_it_offers_forgets_it_and_in_the_end_offers_nothing() {
    let shown = Authority::new().certify("x", &["db.test"]);
    for version in VERSIONS {
        let database = database_side(&shown, &[version]);
        let demanded = resuming(SslMode::Require, None, None);
        let offers = || demanded.begin("db.test").unwrap().1;
        for round in 0..3 {
            assert!(!demanded.has_given_up_resuming(), "{round}");
            assert!(
                database.meet(&demanded).is_none(),
                "from the start: {round}"
            );
            // Several fail at once.
            let failing = [offers(), offers()];
            assert!(failing.iter().all(Option::is_some), "{round}");
            drop(failing);
            assert!(offers().is_none(), "all are forgotten: {round}");
        }
        assert!(demanded.has_given_up_resuming());
        assert!(!demanded.has_given_up_resuming(), "told once");
        for _ in 0..3 {
            assert!(database.meet(&demanded).is_none());
        }
    }
}

#[test]
fn a_session_that_is_heard_pardons_those_that_were_not() {
    let shown = Authority::new().certify("x", &["db.test"]);
    for version in VERSIONS {
        let database = database_side(&shown, &[version]);
        let demanded = resuming(SslMode::Require, None, None);
        for _ in 0..5 {
            assert!(database.meet(&demanded).is_none());
            database.meet(&demanded).expect("a session is kept").heard();
            drop(demanded.begin("db.test").unwrap().1.expect("and more"));
        }
        assert!(!demanded.has_given_up_resuming());
    }
}

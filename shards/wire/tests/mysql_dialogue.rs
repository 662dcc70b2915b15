//! Our login meets our greeting, and databases that say what real ones say: every method, with right
//! and wrong passwords, in and out of TLS.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod mysql_database;
mod mysql_support;

use aws_lc_rs::digest;
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{KeySize, OAEP_SHA1_MGF1SHA1, OaepPrivateDecryptingKey, PrivateDecryptingKey};
use base64::Engine;
use bytes::BytesMut;
use mysql_database::{Database, FAST_AUTH_SUCCESS, ok, switch};
use mysql_support::{CONNECTION_ID, House, greeting, nonce, put_ok, put_refusal, request};
use wire::mysql::{
    BackendChangeUser, Capabilities, ChangeUser, Expect, Flavour, Greet, LoggedIn, Login,
    LoginRequest, LoginStep, MAX_LOGIN_PACKET, Tls, Verifier, code, packet, status,
};
use wire::{Exchange, Progress, Secret, WireError};

#[test]
fn each_kind_of_verifier_lets_in_who_knows_the_password_and_nobody_else() {
    for kind in ["password", "native", "sha2", "stored"] {
        for (password, is_right) in [("secret", true), ("wrong", false), ("", false)] {
            // A slow hash is proved inside TLS, and by nobody here.
            let right = is_right && kind != "stored";
            let (client, house) = meet(request(password), expect(kind, "secret"));
            assert_eq!(client.is_ok(), right, "{kind}, {password:?}: {client:?}");
            match (right, client) {
                (true, Ok(backend)) => {
                    assert!(house.is_ok());
                    assert_eq!(backend.connection_id, CONNECTION_ID);
                    assert_eq!(backend.status, status::AUTOCOMMIT);
                }
                (_, Err(WireError::Refused(refusal))) => {
                    assert_eq!(house, Err(WireError::BadCredentials));
                    assert_eq!(refusal.number, code::ER_ACCESS_DENIED_ERROR.number);
                }
                (_, other) => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn an_account_without_password_takes_no_password_only() {
    for (password, right) in [("", true), ("secret", false)] {
        let (client, _) = meet(request(password), expect("password", ""));
        assert_eq!(client.is_ok(), right, "{password:?}");
    }
}

#[test]
fn trust_takes_everybody() {
    for password in ["", "whatever"] {
        assert!(meet(request(password), Expect::Trust).0.is_ok());
    }
}

#[test]
fn nobody_hears_what_a_wrong_password_hears_byte_for_byte() {
    for password in ["wrong", ""] {
        let known = transcript(request(password), expect("password", "secret"));
        let unknown = transcript(request(password), Expect::Nobody);
        assert_eq!(known, unknown);
    }
}

#[test]
fn the_backend_gets_what_the_client_took_and_no_more() {
    let mut request = request("secret");
    request.shape.capabilities =
        Capabilities::PROTOCOL_41 | Capabilities::TRANSACTIONS | Capabilities::FOUND_ROWS;
    let mut database = Database::new(greeting(), vec![ok()]);
    let backend = log_in(request, &mut database).unwrap();
    assert_eq!(
        backend.capabilities.of_session(),
        database.response().capabilities.of_session()
    );
    assert!(!backend.capabilities.has(Capabilities::DEPRECATE_EOF));
    assert!(backend.capabilities.has(Capabilities::FOUND_ROWS));
    assert_eq!(database.response().database.as_deref(), Some("shop"));
    assert_eq!(
        database.response().attributes,
        [(b"_client_name".to_vec(), b"test".to_vec())]
    );
}

#[test]
fn a_database_that_cannot_answer_as_its_client_expects_is_refused() {
    let mut old = greeting();
    old.capabilities = old.capabilities.without(Capabilities::DEPRECATE_EOF);
    let error = log_in(request("secret"), &mut Database::new(old, vec![ok()])).unwrap_err();
    assert!(matches!(error, WireError::Unsupported { .. }), "{error}");
}

#[test]
fn mariadb_is_asked_for_a_collation_it_knows() {
    let mut mariadb = greeting();
    mariadb.version = "5.5.5-10.11.14-MariaDB".to_owned();
    mariadb.capabilities = Capabilities(0x81FF_F7FE);
    mariadb.plugin = "mysql_native_password".to_owned();
    let mut request = request("secret");
    request.shape.charset = 255;
    let mut database = Database::new(mariadb, vec![ok()]);
    let backend = log_in(request, &mut database).unwrap();
    assert_eq!((backend.flavour, backend.charset), (Flavour::MariaDb, 45));
    assert_eq!(backend.server_version, "10.11.14-MariaDB");
    assert_eq!(database.response().charset, 45);
    assert_eq!(database.response().token.len(), 20);
}

#[test]
fn full_authentication_goes_under_the_servers_key() {
    let key = PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap();
    let pem = [&b"\x01"[..], pem(&key).as_bytes()].concat();
    let mut database = Database::new(greeting(), vec![b"\x01\x04".to_vec(), pem, ok()]);
    log_in(request("correct horse"), &mut database).unwrap();
    assert_eq!(database.heard[1], b"\x02");
    assert_eq!(open(key, &database.heard[2]), b"correct horse\0");
}

#[test]
fn sha256_password_asks_for_the_key_by_its_own_byte() {
    for tls in [Tls::Off, Tls::Needless] {
        let key = PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap();
        let pem = [&b"\x01"[..], pem(&key).as_bytes()].concat();
        let mut database = Database::new(greeting(), vec![switch("sha256_password"), pem, ok()]);
        let mut request = request("correct horse");
        request.tls = tls;
        log_in(request, &mut database).unwrap();
        assert_eq!(database.heard[1], b"\x01");
        assert_eq!(open(key, &database.heard[2]), b"correct horse\0");
    }
}

#[test]
fn beside_us_full_authentication_is_the_password_itself() {
    for ask in [b"\x01\x04".to_vec(), switch("mysql_clear_password")] {
        let mut database = Database::new(greeting(), vec![ask, ok()]);
        let mut request = request("correct horse");
        request.tls = Tls::Needless;
        log_in(request, &mut database).unwrap();
        assert_eq!(database.heard[1], b"correct horse\0");
    }
}

#[test]
fn under_tls_full_authentication_is_the_password_itself() {
    for ask in [
        b"\x01\x04".to_vec(),
        switch("mysql_clear_password"),
        switch("sha256_password"),
    ] {
        let mut greeting = greeting();
        greeting.capabilities = greeting.capabilities | Capabilities::SSL;
        let mut database = Database::new(greeting, vec![ask, ok()]);
        let mut request = request("correct horse");
        request.tls = Tls::Require;
        log_in(request, &mut database).unwrap();
        assert!(database.under_tls);
        assert_eq!(database.heard[1], b"correct horse\0");
    }
}

#[test]
fn without_tls_no_database_gets_the_password_in_clear() {
    let mut database = Database::new(greeting(), vec![switch("mysql_clear_password"), ok()]);
    let error = log_in(request("secret"), &mut database).unwrap_err();
    assert!(error.to_string().contains("in clear"), "{error}");
    assert_eq!(database.heard.len(), 1);
}

#[test]
fn tls_that_is_required_and_missing_ends_the_login_before_it_says_anything() {
    let mut request = request("secret");
    request.tls = Tls::Require;
    let mut database = Database::new(greeting(), vec![ok()]);
    assert!(matches!(
        log_in(request, &mut database),
        Err(WireError::Unsupported { .. })
    ));
    assert!(database.heard.is_empty());
}

#[test]
fn plain_bytes_behind_the_greeting_are_not_taken_into_tls() {
    let mut offers_tls = greeting();
    offers_tls.capabilities = offers_tls.capabilities | Capabilities::SSL;
    let (mut inbound, mut outbound) = (BytesMut::new(), BytesMut::new());
    offers_tls.put(&mut inbound);
    put_ok(&mut inbound, 2);
    let mut request = request("secret");
    request.tls = Tls::Prefer;
    let refused = Login::new(request).advance(&mut inbound, &mut outbound);
    assert!(matches!(refused, Err(WireError::Unexpected { .. })));
    assert!(outbound.is_empty());
}

#[test]
fn a_method_is_switched_once_and_only_to_one_that_is_spoken() {
    let native = || switch("mysql_native_password");
    let mut database = Database::new(greeting(), vec![native(), ok()]);
    log_in(request("secret"), &mut database).unwrap();
    assert_eq!(database.heard[1].len(), 20);

    let mut database = Database::new(greeting(), vec![native(), native(), ok()]);
    let error = log_in(request("secret"), &mut database).unwrap_err();
    assert!(matches!(error, WireError::Unexpected { .. }), "{error}");

    for (ask, name) in [
        (switch("auth_gssapi_client"), "auth_gssapi_client"),
        (b"\xFE".to_vec(), "mysql_old_password"),
    ] {
        let mut database = Database::new(greeting(), vec![ask, ok()]);
        let error = log_in(request("secret"), &mut database).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn mariadbs_signatures_are_of_what_was_sent_to_be_signed() {
    let switch = |plugin: &str| [b"\xFE", plugin.as_bytes(), &[0], &[5; 32]].concat();
    let mut database = Database::new(greeting(), vec![switch("client_ed25519"), ok()]);
    log_in(request("secret"), &mut database).unwrap();
    assert_eq!(database.heard[1].len(), 64);

    let signed = [&b"\x01P\x03a salt"[..], b"P\x03a salt"].map(|salt| {
        let mut database = Database::new(greeting(), vec![switch("parsec"), salt.to_vec(), ok()]);
        log_in(request("secret"), &mut database).unwrap();
        assert_eq!(database.heard[1], b"");
        let (ours, signature) = database.heard[2].split_at(32);
        assert_eq!((ours, signature.len()), (&[9; 32][..], 64));
        signature.to_vec()
    });
    assert_eq!(signed[0], signed[1]);

    for script in [
        vec![switch("parsec"), b"\x01P\x04a salt".to_vec()],
        vec![switch("parsec"), b"P\x04a salt".to_vec()],
        vec![b"P\x00a salt".to_vec()],
        vec![self::switch("parsec")],
        vec![self::switch("client_ed25519")],
    ] {
        let error = log_in(request("secret"), &mut Database::new(greeting(), script)).unwrap_err();
        assert!(matches!(error, WireError::Malformed { .. }), "{error}");
    }
}

#[test]
fn an_authentication_without_end_is_given_up() {
    let script = vec![b"\x01\x04".to_vec(), b"\x01no key".to_vec()];
    let error = log_in(request("secret"), &mut Database::new(greeting(), script)).unwrap_err();
    assert!(matches!(error, WireError::Malformed { .. }), "{error}");

    let mut database = Database::new(greeting(), vec![FAST_AUTH_SUCCESS.to_vec(); 100]);
    let error = log_in(request("secret"), &mut database).unwrap_err();
    assert!(error.to_string().contains("without end"), "{error}");
}

#[test]
fn what_a_database_refuses_is_told_in_its_own_words() {
    let unknown_database = b"\xFF\x19\x04#42000Unknown database 'shop'".to_vec();
    let mut database = Database::new(
        greeting(),
        vec![FAST_AUTH_SUCCESS.to_vec(), unknown_database],
    );
    match log_in(request("secret"), &mut database) {
        Err(WireError::Refused(refusal)) => {
            assert_eq!((refusal.number, refusal.sqlstate.as_str()), (1049, "42000"));
            assert_eq!(refusal.message, "Unknown database 'shop'");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_no_mysql_server_is_called_by_its_name() {
    for (bytes, found) in [
        (&b"SSH-2.0-OpenSSH_9"[..], "SSH"),
        (b"HTTP/1.1 400 Bad Request", "HTTP"),
        (b"\x00\xFF\xFF\xFF\x00", "something else"),
    ] {
        let mut inbound = BytesMut::from(bytes);
        let error = Login::new(request(""))
            .advance(&mut inbound, &mut BytesMut::new())
            .unwrap_err();
        assert_eq!(
            error,
            WireError::WrongProtocol {
                expected: "MySQL",
                found
            }
        );
    }
}

#[test]
fn a_change_of_user_begins_the_session_anew_for_who_knows_the_password() {
    for flavour in [Flavour::MySql, Flavour::MariaDb] {
        for (password, right) in [("secret", true), ("wrong", false)] {
            let mut database = Database::new(greeting(), vec![FAST_AUTH_SUCCESS.to_vec(), ok()]);
            let mut backend = log_in(request("secret"), &mut database).unwrap();
            backend.flavour = flavour;

            let mut wanted = request(password);
            wanted.shape.database = Some("other".to_owned());
            let mut change = BackendChangeUser::new(wanted, &backend, false);
            let (mut to_house, mut to_us) = (BytesMut::new(), BytesMut::new());
            assert!(matches!(
                change.advance(&mut to_us, &mut to_house),
                Ok(Progress::NeedMore)
            ));

            let command = packet::take(&mut to_house, MAX_LOGIN_PACKET, 0)
                .unwrap()
                .unwrap();
            let asked = ChangeUser::parse(&command.payload, backend.capabilities).unwrap();
            assert_eq!(
                (asked.user.as_str(), asked.charset),
                ("acme__app", Some(45))
            );
            assert_eq!(asked.database.as_deref(), Some("other"));

            let expect = expect("password", "secret");
            let mut greet = Greet::change_user(&asked, nonce(), false, expect);
            let mut changed = None;
            for _ in 0..MAX_TURNS {
                match greet.advance(&mut to_house, &mut to_us) {
                    Ok(Progress::Done(greeted)) => put_ok(&mut to_us, greeted.sequence),
                    Ok(_) => {}
                    Err(error) => {
                        assert_eq!(error, WireError::BadCredentials);
                        let sequence = greet.next_sequence();
                        put_refusal(&mut to_us, sequence, code::ER_ACCESS_DENIED_ERROR);
                    }
                }
                let progress = change.advance(&mut to_us, &mut to_house);
                if !matches!(progress, Ok(Progress::NeedMore)) {
                    changed = Some(progress);
                    break;
                }
            }
            assert_eq!(
                matches!(changed, Some(Ok(Progress::Done(_)))),
                right,
                "{changed:?}"
            );
        }
    }
}

/// A verifier of `password`, of the kind that a config may hold.
fn expect(kind: &str, password: &str) -> Expect {
    let twice = |algorithm| {
        let once = digest::digest(algorithm, password.as_bytes());
        let digits = digest::digest(algorithm, once.as_ref());
        digits
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02X}"))
            .collect::<String>()
    };
    Expect::Password(match kind {
        "native" => {
            Verifier::parse(&format!("*{}", twice(&digest::SHA1_FOR_LEGACY_USE_ONLY))).unwrap()
        }
        "stored" => Verifier::parse(STORED).unwrap(),
        "sha2" => Verifier::parse(&format!("SHA256${}", twice(&digest::SHA256))).unwrap(),
        _ => Verifier::of_password(&Secret::new(password)),
    })
}

/// What a MySQL 9.7 keeps of `secret`.
const STORED: &str = "0x2441243030412478522C354F4E2C42522D2C130F58317E1F0D6012416C4138546A434E2E2E50413157534D496B30522E39785271536D7568487A70306868576D324E32724F39";

/// Lets a login of ours knock at our own house, until both are done.
fn meet(
    request: LoginRequest,
    expect: Expect,
) -> (Result<LoggedIn, WireError>, Result<(), WireError>) {
    let mut house = House::new(greeting(), expect);
    let mut end_of_house = None;
    let client = converse(&mut Login::new(request), |to_house, to_client| {
        while end_of_house.is_none() {
            match house.advance(to_house, to_client) {
                Ok(Progress::Done(())) => end_of_house = Some(Ok(())),
                Ok(Progress::Derive(derivation)) => house.derived(derivation.run()),
                Ok(Progress::NeedMore) => break,
                Err(error) => end_of_house = Some(Err(error)),
            }
        }
    });
    (
        client,
        end_of_house.expect("the client was done before the house was"),
    )
}

/// All that our house says to such a guest.
fn transcript(request: LoginRequest, expect: Expect) -> Vec<u8> {
    let mut house = House::new(greeting(), expect);
    let mut said = Vec::new();
    let refused = converse(&mut Login::new(request), |to_house, to_client| {
        let before = to_client.len();
        let _ = house.advance(to_house, to_client);
        said.extend_from_slice(&to_client[before..]);
    });
    assert!(refused.is_err());
    said
}

fn log_in(request: LoginRequest, database: &mut Database) -> Result<LoggedIn, WireError> {
    converse(&mut Login::new(request), |heard, said| {
        database.turn(heard, said)
    })
}

/// Takes turns between a login and whatever answers it.
fn converse(
    login: &mut Login,
    mut other: impl FnMut(&mut BytesMut, &mut BytesMut),
) -> Result<LoggedIn, WireError> {
    let (mut to_login, mut to_other) = (BytesMut::new(), BytesMut::new());
    for _ in 0..MAX_TURNS {
        other(&mut to_other, &mut to_login);
        match login.advance(&mut to_login, &mut to_other)? {
            Progress::Done(LoginStep::LoggedIn(logged_in)) => return Ok(logged_in),
            // The two share their memory; that is as private as TLS.
            Progress::Done(LoginStep::StartTls) => {
                other(&mut to_other, &mut to_login);
                login.secured();
                assert!(matches!(
                    login.advance(&mut to_login, &mut to_other)?,
                    Progress::NeedMore
                ));
            }
            Progress::Derive(derivation) => login.derived(derivation.run()),
            Progress::NeedMore => {}
        }
    }
    panic!("no end after {MAX_TURNS} turns");
}

fn pem(key: &PrivateDecryptingKey) -> String {
    let der = key.public_key().as_der().unwrap();
    let digits = base64::engine::general_purpose::STANDARD.encode(der.as_ref());
    format!("-----BEGIN PUBLIC KEY-----\n{digits}\n-----END PUBLIC KEY-----\n")
}

/// What the owner of the key reads: decrypted, and the nonce's mask taken off.
fn open(key: PrivateDecryptingKey, sealed: &[u8]) -> Vec<u8> {
    let key = OaepPrivateDecryptingKey::new(key).unwrap();
    let mut plain = vec![0; key.min_output_size()];
    let plain = key
        .decrypt(&OAEP_SHA1_MGF1SHA1, sealed, &mut plain, None)
        .unwrap();
    let nonce = nonce();
    let mask = nonce.as_bytes().iter().cycle();
    plain
        .iter()
        .zip(mask)
        .map(|(byte, mask)| byte ^ mask)
        .collect()
}

const MAX_TURNS: usize = 10;

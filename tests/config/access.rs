//! Who may come in, and by what.

use std::time::Duration;

use shards::contract::{BackendUser, ClientAuth, Credential, Secret, Users};

use crate::{complaints, lines, meant, tenant};

#[test]
fn users_have_a_password_or_a_verifier() {
    let md5 = "md5ad16ab8cb9f9946be08171afa599199d";
    let more =
        format!("client_auth: md5\nusers: {{alice: {{password: a}}, bob: {{verifier: {md5}}}}}");
    let settings = meant(&tenant(&more));
    let Users::Named(users) = &settings.tenants[0].access.users else {
        panic!("named users")
    };
    assert_eq!(users["alice"], Credential::Password(Secret::new("a")));
    assert_eq!(users["bob"], Credential::Verifier(Secret::new(md5)));
    let more = format!(
        "users: {{a: {{}}, b: {{password: x, verifier: {md5}}}, c: {{verifier: x}}, d: {{verifier: {md5}}}, e: {{pasword: x}}}}"
    );
    let expected = "\
tenants.t1.users.a: needs either a password or a verifier
tenants.t1.users.b: needs either a password or a verifier
tenants.t1.users.c.verifier: must be SCRAM-SHA-256$... or md5... as pg_authid holds it
tenants.t1.users.d.verifier: an md5 hash proves nothing to client_auth scram-sha-256
tenants.t1.users.e: needs either a password or a verifier
tenants.t1.users.e.pasword: is not a known key; did you mean password?
";
    assert_eq!(complaints(&tenant(&more)), expected);
}

#[test]
fn an_open_or_a_closed_door_is_worth_a_warning() {
    let warnings = |text: &str| lines(&meant(text).warnings);
    let open = warnings(&tenant("client_auth: trust"));
    assert_eq!(
        open,
        "tenants.t1.client_auth: trust: whoever reaches this tenant gets in without a password\n"
    );
    let clear = warnings(&tenant("client_auth: password\npassword: p"));
    assert_eq!(
        clear,
        "tenants.t1.client_auth: password: clients send theirs in clear, so they need TLS, or to be on this machine\n"
    );
    let closed = warnings(&tenant(""));
    assert!(
        closed.starts_with("tenants.t1: nobody can connect"),
        "{closed}"
    );
    assert_eq!(meant(&tenant("")).tenants[0].access.users, Users::Unknown);
    let nobody = warnings(&tenant("password: p\nusers: {}"));
    assert_eq!(
        nobody,
        "tenants.t1.users: nobody can connect: the list is empty\n"
    );
    let metrics = warnings("metrics_auth: true");
    assert!(
        metrics.starts_with("metrics_auth: metrics are open to all"),
        "{metrics}"
    );
    assert_eq!(warnings("metrics_auth: true\napi_key: k"), "");
    let api = warnings("listen: {api_host: 0.0.0.0}");
    assert!(
        api.starts_with("listen.api_host: whoever reaches 0.0.0.0 can manage tenants"),
        "{api}"
    );
}

#[test]
fn addresses_are_lists_of_networks_and_limits_can_be_switched_off() {
    let text = "
limits: {client_connections: 9, unauthenticated_connections: 0, client_connections_per_address: 3, failed_logins_per_minute: 0}
proxy_protocol: {trusted: [10.0.0.0/8, '::1']}
defaults: {allowed_addresses: 192.0.2.0/24, max_client_connections: 5}
";
    let settings = meant(&(text.to_owned() + &tenant("trust_addresses: [127.0.0.1]")));
    let (plane, t1) = (&settings.plane, &settings.tenants[0]);
    let places = plane.places;
    assert_eq!(
        (places.clients, places.unproven, places.per_address),
        (9, None, Some(3))
    );
    assert_eq!((plane.failed_logins, t1.max_clients), (None, Some(5)));
    let address = |text: &str| text.parse().unwrap();
    assert!(plane.proxies.contain(address("10.9.9.9")) && plane.proxies.contain(address("::1")));
    assert!(t1.access.allows(address("192.0.2.9")) && !t1.access.allows(address("127.0.0.1")));
    assert_eq!(
        t1.access.method_for(address("127.0.0.1")),
        ClientAuth::Trust
    );
    let anywhere = meant(&(text.to_owned() + &tenant("allowed_addresses: []")));
    assert!(anywhere.tenants[0].access.allows(address("127.0.0.1")));
    let said = complaints(&tenant(
        "allowed_addresses: [10.0.0.0/8, nowhere]\ntrust_addresses: {a: b}",
    ));
    let expected = "\
tenants.t1.allowed_addresses: nowhere: must be an address or a range such as 10.0.0.0/8 or 2001:db8::/32
tenants.t1.trust_addresses: must be a list of texts, not a section with keys of its own
";
    assert_eq!(said, expected);
}

#[test]
fn users_can_be_looked_up_and_served_as_themselves() {
    let own = "auth_query: SELECT * FROM lookup.user($$1)\nauth_user: looker\nauth_password: p\nauth_query_ttl: 5s\nbackend_user: client";
    let t1 = &meant(&tenant(own)).tenants[0];
    let lookup = t1.access.lookup.as_ref().unwrap();
    assert_eq!(lookup.query, "SELECT * FROM lookup.user($1)");
    let account = ("looker".to_owned(), Some(Secret::new("p")));
    assert_eq!(lookup.account, Some(account));
    assert_eq!(lookup.ttl, Duration::from_secs(5));
    assert_eq!(t1.access.backend_user, BackendUser::Client);
    assert_eq!(t1.limits.min, 0);
    // Nobody gets in with the tenant's own password any more.
    let Users::Named(users) = &t1.access.users else {
        panic!("named users")
    };
    assert!(users.is_empty());
    let defaults = "defaults: {auth_query: pg_authid, auth_user: admin, auth_password: a}\n";
    let inherited = meant(&(defaults.to_owned() + &tenant("auth_user: other")));
    let lookup = inherited.tenants[0].access.lookup.as_ref().unwrap();
    assert!(lookup.query.contains("pg_catalog.pg_authid"));
    assert_eq!(
        lookup.account,
        Some(("other".to_owned(), None)),
        "another user has another password"
    );
    for (wrong, says) in [
        (
            "auth_query: SELECT 1",
            "auth_query: must be none, pg_authid, or a query",
        ),
        (
            "auth_query: SELECT $$1, $$2",
            "auth_query: must be none, pg_authid, or a query",
        ),
        (
            "backend_user: client\npool_mode: transaction",
            "backend_user: client needs pool_mode session",
        ),
        (
            "backend_user: client\ntrust_addresses: ::1",
            "backend_user: client needs a proof",
        ),
    ] {
        let said = complaints(&tenant(wrong));
        assert!(said.starts_with(&format!("tenants.t1.{says}")), "{said}");
    }
    let passed = &meant(&tenant("client_auth: passthrough")).tenants[0];
    assert_eq!(passed.access.method, ClientAuth::Passthrough);
    assert_eq!(
        (&passed.access.users, passed.limits.min),
        (&Users::Unknown, 0)
    );
    // Who has proved nothing yet never has them all.
    for (connections, dials) in [(1, 1), (2, 1), (5, 2), (20, 4)] {
        let passed = tenant(&format!(
            "client_auth: passthrough\nmax_connections: {connections}"
        ));
        assert_eq!(
            meant(&passed).tenants[0].limits.max_dials,
            dials,
            "{connections}"
        );
    }
    let said = complaints(&tenant("client_auth: passthrough\npool_mode: transaction"));
    assert_eq!(
        said,
        "tenants.t1.client_auth: passthrough needs pool_mode session\n"
    );
    let mysql = tenant("auth_query: pg_authid").replace("postgres", "mysql");
    assert_eq!(
        complaints(&mysql),
        "tenants.t1.auth_query: is for PostgreSQL tenants\n"
    );
}

#[test]
fn what_tls_cannot_be_is_said_by_key() {
    let said = |more: &str, top: &str| complaints(&(top.to_owned() + &tenant(more)));
    for (more, top, complaint) in [
        (
            "",
            "tls_mode: require\n",
            "tls_cert: is missing: there is no TLS without a certificate\n",
        ),
        (
            "",
            "tls_client_ca: secrets/db\n",
            "tls_cert: is missing: there is no TLS without a certificate\n",
        ),
        (
            "",
            "tls_cert: secrets/db\ntls_key: secrets/db\n",
            "tls_cert: holds no certificate in PEM (-----BEGIN CERTIFICATE-----)\n",
        ),
        (
            "",
            "tls_cert: secrets/db\ntls_key: secrets/db\ntls_mode: disable\n",
            "tls_cert: holds no certificate in PEM (-----BEGIN CERTIFICATE-----)\n",
        ),
        (
            "sslmode: verify-ca",
            "",
            "tenants.t1.sslrootcert: is missing: sslmode verify-ca needs to know whom to believe\n",
        ),
        (
            "sslcert: secrets/db",
            "",
            "tenants.t1.sslkey: is missing: sslcert is of no use alone\n",
        ),
        (
            "sslnegotiation: direct",
            "",
            "tenants.t1.sslnegotiation: direct: leaves no way back to a connection in clear, so sslmode must be require or better\n",
        ),
    ] {
        assert_eq!(said(more, top), complaint, "{more} {top}");
    }
    let by_cert = meant(&tenant(
        "client_auth: cert\ncert_users: {app.example.com: app}",
    ));
    let access = &by_cert.tenants[0].access;
    assert_eq!(access.method, ClientAuth::Cert);
    let names = ["app.example.com".to_owned()];
    assert!(access.lets_in(&names, &by_cert.tenants[0].id, "app"));
    let warned = lines(&by_cert.warnings);
    assert!(
        warned.contains("tls_client_ca: is missing: nobody can connect to tenant t1"),
        "{warned}"
    );
}

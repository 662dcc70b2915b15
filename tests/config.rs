//! What a config file means, and what is said of one that cannot be meant.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use dbbouncer::config::{Complaint, Cpus, Node, Settings, Surroundings, settle};
use shards::contract::{BackendUser, ClientAuth, Credential, Dialect, Secret, Users};

/// Settles a text among the same variables, secrets and four processors each time.
fn read(text: &str) -> Result<Settings, Vec<Complaint>> {
    read_on(
        text,
        Cpus {
            ours: vec![0, 1, 2, 3],
            online: 4,
            parallelism: 4,
        },
    )
}

fn read_on(text: &str, cpus: Cpus) -> Result<Settings, Vec<Complaint>> {
    let env = HashMap::from([
        ("PASSWORD", "s3cret"),
        ("PORT", "5433"),
        ("TRICKY", "file:nowhere"),
    ]);
    let surroundings = Surroundings {
        env: &|name| env.get(name).map(|value| value.to_string()),
        read: &|path| match path == Path::new("secrets/db") {
            true => Ok("from a file\r\n".to_owned()),
            false => Err(io::ErrorKind::NotFound.into()),
        },
        cpus,
    };
    settle(&Node::from_yaml(text).unwrap(), &surroundings)
}

fn meant(text: &str) -> Settings {
    read(text).unwrap_or_else(|complaints| panic!("{}", lines(&complaints)))
}

/// All complaints about a text, a line each.
fn complaints(text: &str) -> String {
    lines(&read(text).expect_err("there is something to complain of"))
}

fn lines(complaints: &[Complaint]) -> String {
    complaints
        .iter()
        .map(|complaint| format!("{complaint}\n"))
        .collect()
}

/// A tenant with these keys more.
fn tenant(more: &str) -> String {
    let indented = more
        .lines()
        .map(|line| format!("    {line}\n"))
        .collect::<String>();
    format!(
        "tenants:\n  t1:\n    db_type: postgres\n    host: db\n    dbname: d\n    username: u\n{indented}"
    )
}

#[test]
fn the_contracts_own_example() {
    let settings = meant(
        "listen:
  postgres_port: 6432
  mysql_port: 3307
  api_port: 8080
defaults:
  min_connections: 2
  max_connections: 20
  idle_timeout: 5m
  max_lifetime: 30m
  acquire_timeout: 10s
  pool_mode: session
tenants:
  tenant_1:
    db_type: postgres
    host: pg-host.example.com
    port: 5432
    dbname: tenant_1_db
    username: app_user
    password: ${PASSWORD}
",
    );
    assert_eq!(
        settings.plane.postgres,
        Some("0.0.0.0:6432".parse().unwrap())
    );
    assert_eq!(settings.plane.mysql, Some("0.0.0.0:3307".parse().unwrap()));
    assert_eq!(
        settings.api.address,
        Some("127.0.0.1:8080".parse().unwrap())
    );
    let [tenant] = &settings.tenants[..] else {
        panic!("one tenant")
    };
    assert_eq!(
        (tenant.id.as_str(), tenant.dialect),
        ("tenant_1", Dialect::Postgres)
    );
    assert_eq!(
        (tenant.host.as_str(), tenant.port),
        ("pg-host.example.com", 5432)
    );
    assert_eq!(
        (tenant.dbname.as_str(), tenant.username.as_str()),
        ("tenant_1_db", "app_user")
    );
    assert_eq!(tenant.password, Some(Secret::new("s3cret")));
    assert_eq!(tenant.access.users, Users::Any(Secret::new("s3cret")));
    assert_eq!(tenant.access.method, ClientAuth::Scram);
    assert_eq!((tenant.limits.min, tenant.limits.max), (2, 20));
    assert_eq!(tenant.limits.idle_timeout, Duration::from_secs(300));
    assert_eq!(tenant.limits.max_lifetime, Duration::from_secs(1800));
    assert_eq!(tenant.acquire_timeout, Some(Duration::from_secs(10)));
    assert_eq!(tenant.connect_timeout, Duration::from_secs(5));
    assert!(settings.warnings.is_empty());
}

#[test]
fn every_complaint_comes_at_once_with_its_dotted_key() {
    let text = "
listen: {host: localhost, postgres_port: 70000, api_prot: 1}
runtime: [1, 2]
limits: {login_timeout: 0, client_connections: none}
shutdown_grace: 30
tls_cert: /x
defaults: {max_connections: 0, pool_mode: statement, pool_mode: session, sslmode: requrie}
tenants:
  bad__name: {}
  t1: {db_type: postgresql, hsot: db, port: 0, dbname: '', username: 5, password: '${NONE}'}
  t1: {db_type: mysql, host: 'db:3306', dbname: d, username: u, min_connections: 9, max_connections: 3}
  t2: nothing
surprise: {}
";
    let expected = "\
listen.host: must be an IP address such as 0.0.0.0, :: or 127.0.0.1
listen.postgres_port: must be a port from 1 to 65535, or 0 for none
runtime: must be a section with keys of its own, not a list
limits.client_connections: must be a whole number from 1 to 1000000
limits.login_timeout: cannot be switched off
listen.api_prot: is not a known key; did you mean api_port?
shutdown_grace: needs a unit: did you mean 30s or 30ms?
defaults.pool_mode: is written more than once; keep one
defaults.max_connections: must be a whole number from 1 to 10000
defaults.pool_mode: must be session or transaction
defaults.sslmode: must be disable or prefer or require or verify-ca or verify-full; did you mean require?
tenants.t1: is written more than once; keep one
tenants.bad__name: is not a tenant's name: 1 to 63 letters, digits, dots, hyphens and single underscores are allowed, with no underscore at either end
tenants.t1.host: is missing
tenants.t1.db_type: must be postgres or mysql; did you mean postgres?
tenants.t1.port: must be a port from 1 to 65535
tenants.t1.dbname: is empty
tenants.t1.username: must be text, not a number: put it in quotes
tenants.t1.password: the environment variable NONE is not set; set it, or write `${NONE:-default}`
tenants.t1.hsot: is not a known key; did you mean host?
tenants.t1.host: must be the host name alone: the port has a key of its own, and IPv6 addresses need no brackets
tenants.t1.min_connections: 9 is more than max_connections, which is 3
tenants.t2: must be a section with keys of its own, not text
tenants.t2.db_type: is missing
tenants.t2.host: is missing
tenants.t2.dbname: is missing
tenants.t2.username: is missing
tls_cert: cannot read /x: entity not found
tls_key: is missing: tls_cert is of no use alone
surprise: is not a known key; known here: listen, runtime, limits, proxy_protocol, api_key, metrics_auth, metrics_tenant_limit, state_file, shutdown_grace, log_format, defaults, tenants, tls_mode, tls_min_version, tls_cert, tls_key, tls_client_ca, tls_sni_domain
";
    assert_eq!(complaints(text), expected);
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

#[test]
fn a_tenant_says_otherwise_than_the_defaults() {
    let defaults =
        "defaults: {max_connections: 7, idle_timeout: 0, acquire_timeout: 0, client_auth: md5}\n";
    let more = "max_connections: 1\nidle_timeout: 1h\npassword: p\nport: ${PORT}";
    let settings = meant(&(defaults.to_owned() + &tenant(more)));
    let t1 = &settings.tenants[0];
    assert_eq!((t1.limits.max, t1.port), (1, 5433));
    assert_eq!(t1.limits.min, 1, "a min that nobody asked for gives way");
    assert_eq!(t1.limits.idle_timeout, Duration::from_secs(3600));
    assert_eq!(
        (t1.acquire_timeout, t1.access.method),
        (None, ClientAuth::Md5)
    );
}

#[test]
fn ports_follow_the_database_unless_said() {
    let mysql = tenant("password: p").replace("postgres", "mysql");
    assert_eq!(meant(&tenant("password: p")).tenants[0].port, 5432);
    assert_eq!(meant(&mysql).tenants[0].port, 3306);
}

#[test]
fn secrets_from_files_and_variables() {
    let password = |more: &str| meant(&tenant(more)).tenants[0].password.clone();
    assert_eq!(
        password("password: file:secrets/db"),
        Some(Secret::new("from a file"))
    );
    assert_eq!(
        password("password: ${PASSWORD}!"),
        Some(Secret::new("s3cret!"))
    );
    assert_eq!(
        password("password: ${TRICKY}"),
        Some(Secret::new("file:nowhere"))
    );
    let said = complaints(&tenant("password: file:secrets/none"));
    assert_eq!(
        said,
        "tenants.t1.password: cannot read secrets/none: entity not found\n"
    );
    let said = complaints(&tenant("password: ${NONE:-}"));
    assert_eq!(
        said,
        "tenants.t1.password: is empty; leave the key out if there is nothing to say\n"
    );
    assert!(complaints(&tenant("password: 0x10")).contains("put it in quotes"));
}

#[test]
fn secrets_are_neither_in_debug_nor_in_complaints() {
    let more = "password: hunter2\nusers: {a: {password: hunter2}, b: {verifier: '*0123456789012345678901234567890123456789'}}";
    let text = tenant(more).replace("postgres", "mysql") + "api_key: hunter2\n";
    let shown = format!("{:?}", meant(&text));
    assert!(
        !shown.contains("hunter2") && !shown.contains("01234567"),
        "{shown}"
    );
    let said = complaints(&tenant(
        "password: [hunter2]\nusers: {b: {verifier: hunter2}}",
    ));
    assert!(
        said.contains("users.b.verifier") && !said.contains("hunter2"),
        "{said}"
    );
}

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
    let api = warnings("listen: {api_host: 0.0.0.0}");
    assert!(
        api.starts_with("listen.api_host: whoever reaches 0.0.0.0 can manage tenants"),
        "{api}"
    );
}

#[test]
fn the_api_is_open_to_the_world_only_with_a_key() {
    let api = meant(
        "{listen: {host: '::', api_port: 9}, api_key: k, metrics_auth: true, state_file: /s}",
    )
    .api;
    assert_eq!(api.address, Some("[::]:9".parse().unwrap()));
    assert_eq!((api.key, api.metrics_auth), (Some(Secret::new("k")), true));
    assert_eq!(api.state_file.as_deref(), Some(Path::new("/s")));
    assert_eq!(
        meant("listen: {host: '::'}").api.address,
        Some("127.0.0.1:8080".parse().unwrap())
    );
    assert_eq!(meant("listen: {api_port: 0}").api.address, None);
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
fn probes_and_metrics_may_have_a_port_without_a_key() {
    let api = meant("listen: {host: '::', metrics_port: 9090}").api;
    assert_eq!(api.metrics_address, Some("[::]:9090".parse().unwrap()));
    assert_eq!(api.address, Some("127.0.0.1:8080".parse().unwrap()));
    assert_eq!(meant("").api.metrics_address, None);
    let said = complaints("listen: {metrics_port: 6432}");
    assert_eq!(
        said,
        "listen.metrics_port: 6432 is taken by postgres_port already\n"
    );
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
fn listeners_do_not_share_a_port() {
    let said = complaints("listen: {postgres_port: 5000, mysql_port: 5000, api_port: 5000}");
    let expected = "\
listen.mysql_port: 5000 is taken by postgres_port already
listen.api_port: 5000 is taken by postgres_port already
listen.api_port: 5000 is taken by mysql_port already
";
    assert_eq!(said, expected);
    meant("listen: {host: 127.0.0.1, postgres_port: 5000, api_host: 127.0.0.2, api_port: 5000}");
    let said = complaints("listen: {postgres_port: 0, mysql_port: 0}");
    assert_eq!(
        said,
        "listen: postgres_port and mysql_port are both 0: there is nothing to do\n"
    );
}

#[test]
fn shards_follow_the_processors_and_stay_on_those_set_aside() {
    let on = |text, ours: &[usize], online, parallelism| {
        let cpus = Cpus {
            ours: ours.to_vec(),
            online,
            parallelism,
        };
        let plane = read_on(text, cpus).unwrap().plane;
        (plane.shards, plane.cpus)
    };
    assert_eq!(on("", &[0, 1, 2, 3], 4, 4), (4, vec![]));
    assert_eq!(on("", &[0, 1, 2, 3], 4, 2), (2, vec![]), "a quota");
    assert_eq!(on("", &[6, 7], 64, 2), (2, vec![6, 7]));
    assert_eq!(
        on("runtime: {pin_cores: false}", &[6, 7], 64, 2),
        (2, vec![])
    );
    assert_eq!(
        on("runtime: {pin_cores: true, shards: 1}", &[0, 1], 2, 2),
        (1, vec![0, 1])
    );
    assert_eq!(
        on("runtime: {shards: 3}", &[6, 7], 64, 2),
        (3, vec![]),
        "not one for each"
    );
    let said = complaints("runtime: {pin_cores: true, shards: 5}");
    assert_eq!(
        said,
        "runtime.pin_cores: 5 shards need as many processors, and there are 4\n"
    );
    let said = complaints("runtime: {shards: 0}");
    assert_eq!(
        said,
        "runtime.shards: must be a whole number from 1 to 256, or auto\n"
    );
}

#[test]
fn an_empty_config_serves_no_tenants() {
    for empty in ["", "# nothing\n", "tenants:\n", "{listen: {}, tenants: {}}"] {
        assert!(meant(empty).tenants.is_empty(), "{empty}");
    }
}

#[test]
fn the_documented_defaults_are_the_defaults() {
    let (documented, none) = (meant(DOCUMENTED), meant(""));
    assert_eq!(
        format!("{:?}", documented.plane),
        format!("{:?}", none.plane)
    );
    assert_eq!(documented.api, none.api);
    assert_eq!(documented.shutdown_grace, none.shutdown_grace);
    let bare = meant(&tenant("password: p"));
    let (tenant, bare) = (&documented.tenants[0], &bare.tenants[0]);
    assert_eq!(
        (tenant.limits, tenant.access.method),
        (bare.limits, bare.access.method)
    );
    assert_eq!(
        (tenant.acquire_timeout, tenant.connect_timeout),
        (bare.acquire_timeout, bare.connect_timeout)
    );
    assert!(documented.warnings.is_empty());
    meant(include_str!("../configs/minimal.yaml"));
}

#[test]
fn the_documented_config_is_complete() {
    let text = "{x: 1, listen: {x: 1}, runtime: {x: 1}, limits: {x: 1}, proxy_protocol: {x: 1}, defaults: {x: 1}, \
                 tenants: {t: {x: 1, db_type: mysql, users: {u: {x: 1}}}}}";
    let said = complaints(text);
    let lists = said
        .lines()
        .filter_map(|line| line.split_once("known here: "));
    let (mut sections, mut keys) = (0, Vec::new());
    for (_, list) in lists {
        sections += 1;
        keys.extend(list.split(", "));
    }
    assert_eq!(sections, 8, "{said}");
    for key in keys {
        let is_key = |line: &str| {
            line.trim_start_matches([' ', '#'])
                .starts_with(&format!("{key}:"))
        };
        assert!(DOCUMENTED.lines().any(is_key), "{key}");
    }
}

const DOCUMENTED: &str = include_str!("../configs/dbbouncer.yaml");

//! TLS towards the tenants' databases: what each `sslmode` believes, and both sides at once.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};

use testbed::{
    Authority, Bouncer, Config, Door, Kind, Middleman, Plan, Server, Tenant, World, eventually,
    python,
};
use tokio_postgres::error::SqlState;

use crate::drivers::postgres;
use crate::operator::ask;
use crate::tls::{SSL_REQUEST, WHOAMI, mysql_at, psql};

pub fn plan(plan: &mut Plan) {
    use Kind::{MariaDb, MySql, Postgres};
    let mut add = |world, kinds: &[Kind], name, scenario: fn(&'static Server)| {
        plan.add(world, kinds, name, async move |server| scenario(server));
    };
    add(
        World::Bouncer,
        &[Postgres],
        "sslmodes_by_servers",
        sslmodes_by_servers,
    );
    add(
        World::Bouncer,
        &[Postgres],
        "forged_answer_to_the_ssl_request",
        forged_answer,
    );
    add(
        World::Python,
        &[Postgres],
        "tls_on_both_sides",
        tls_on_both_sides,
    );
    add(
        World::Bouncer,
        &[MariaDb, MySql],
        "mysql_sslmodes",
        mysql_sslmodes,
    );
    add(
        World::Bouncer,
        &[MySql],
        "tls_sessions_are_resumed_on_their_own_terms_and_where_that_is_borne",
        resumption,
    );
    plan.add(
        World::Bouncer,
        &[Postgres],
        "a_cancel_goes_inside_tls_like_its_connection",
        a_cancel_goes_inside_tls,
    );
}

/// What a tenant's database is like.
struct Answers {
    name: &'static str,
    server: &'static Server,
    /// A role whose members it lets in on a condition.
    role: Option<&'static str>,
    /// For the modes of [`MODES`]: in clear, inside TLS, or not at all.
    outcomes: [&'static str; 5],
}

const MODES: [&str; 5] = ["disable", "prefer", "require", "verify-ca", "verify-full"];

fn sslmodes_by_servers(plain: &'static Server) {
    let authority = Authority::new();
    let (other, folder) = (Authority::new(), authority.folder());
    authority.certify("server", "localhost", &["localhost"]);
    authority.certify("client", "bouncer", &[]);
    let secured: &'static Server =
        Box::leak(Box::new(Server::start_with_tls(Kind::Postgres, folder)));
    secured.sql("", "CREATE ROLE by_tls; CREATE ROLE by_cert");
    let servers = [
        Answers {
            name: "off",
            server: plain,
            role: None,
            outcomes: ["f", "f", "", "", ""],
        },
        Answers {
            name: "on",
            server: secured,
            role: None,
            outcomes: ["f", "t", "t", "t", "t"],
        },
        Answers {
            name: "only",
            server: secured,
            role: Some("by_tls"),
            outcomes: ["", "t", "t", "t", "t"],
        },
        Answers {
            name: "cert",
            server: secured,
            role: Some("by_cert"),
            outcomes: ["", "t", "t", "t", "t"],
        },
        Answers {
            name: "nocert",
            server: secured,
            role: Some("by_cert"),
            outcomes: ["", "", "", "", ""],
        },
    ];
    let mut cases = Vec::new();
    for answers in &servers {
        let tenants = Tenant::many_on(answers.server, answers.name, MODES.len());
        for ((mode, outcome), tenant) in MODES.iter().zip(answers.outcomes).zip(tenants) {
            if let Some(role) = answers.role {
                answers
                    .server
                    .sql("", &format!("GRANT {role} TO {}", tenant.username));
            }
            let mut tenant = tenant
                .with("host: localhost")
                .with(&format!("sslmode: {mode}"));
            if mode.starts_with("verify") {
                tenant.set(&format!("sslrootcert: {}", authority.path("ca.crt")));
            }
            if answers.name == "cert" {
                tenant.set(&format!("sslcert: {}", authority.path("client.crt")));
                tenant.set(&format!("sslkey: {}", authority.path("client.key")));
            }
            cases.push((format!("{} {mode}", answers.name), tenant, outcome));
        }
    }
    let (theirs, ours) = (other.path("ca.crt"), authority.path("ca.crt"));
    for (name, host, mode, roots, outcome) in [
        (
            "foreign root, verify-ca",
            "localhost",
            "verify-ca",
            &theirs,
            "",
        ),
        (
            "foreign root, verify-full",
            "localhost",
            "verify-full",
            &theirs,
            "",
        ),
        ("foreign root, require", "localhost", "require", &theirs, ""),
        (
            "other name, verify-ca",
            "127.0.0.1",
            "verify-ca",
            &ours,
            "t",
        ),
        (
            "other name, verify-full",
            "127.0.0.1",
            "verify-full",
            &ours,
            "",
        ),
    ] {
        let tenant = Tenant::on(secured, "named")
            .with(&format!("host: {host}"))
            .with(&format!("sslmode: {mode}"))
            .with(&format!("sslrootcert: {roots}"));
        cases.push((name.to_owned(), tenant, outcome));
    }
    let tenants: Vec<_> = cases.iter().map(|(_, tenant, _)| tenant.clone()).collect();
    let bouncer =
        Bouncer::start(&Config::for_tenants(&tenants).with("defaults: {min_connections: 0}"));
    let is_secured = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    for (name, tenant, outcome) in &cases {
        let said = psql(&bouncer.door(tenant), "sslmode=disable", is_secured);
        assert_eq!(said.out.trim_end(), *outcome, "{name}: {}", said.err);
        assert_eq!(said.ok, !outcome.is_empty(), "{name}: {}", said.err);
    }
    bouncer.log_line(&["the database offers no TLS, which sslmode demands"]);
    bouncer.log_line(&["NotValidForName"]);
    bouncer.stop();
}

/// T1, the other side: words in clear behind a database's consent to TLS.
fn forged_answer(server: &'static Server) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut tenant = Tenant::on(server, "forged")
        .with("sslmode: require")
        .with("min_connections: 0")
        .with("health_check: {interval: 0}");
    tenant.address = listener.local_addr().unwrap();
    let forger = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut asked = [0; 8];
        socket.read_exact(&mut asked).unwrap();
        assert_eq!(asked, *SSL_REQUEST);
        let _ = socket.write_all(b"SR\0\0\0\x08\0\0\0\0Z\0\0\0\x05I");
        let mut heard = Vec::new();
        let _ = socket.read_to_end(&mut heard);
        heard
    });
    let bouncer = Bouncer::start(&Config::for_tenants(std::slice::from_ref(&tenant)));
    let said = psql(&bouncer.door(&tenant), "sslmode=disable", WHOAMI);
    assert!(
        said.err.contains("unencrypted data behind it"),
        "{}",
        said.err
    );
    assert_eq!(forger.join().unwrap(), b"", "nothing was said to a forger");
    bouncer.stop();
}

/// In both modes: a forwarder between sees no cancel request in clear, and yet the query ends.
async fn a_cancel_goes_inside_tls(_: &'static Server) {
    let authority = Authority::new();
    authority.certify("server", "localhost", &["localhost"]);
    let server = Server::start_with_tls(Kind::Postgres, authority.folder());
    for mode in ["session", "transaction"] {
        let between = Middleman::before(server.address);
        let mut tenant = Tenant::on(&server, "cancelled")
            .with("host: localhost")
            .with("sslmode: verify-full")
            .with(&format!("sslrootcert: {}", authority.path("ca.crt")))
            .with(&format!("pool_mode: {mode}"))
            .with("min_connections: 0")
            .with("health_check: {interval: 0}");
        tenant.address = between.address();
        let bouncer = Bouncer::start(&Config::for_tenants(std::slice::from_ref(&tenant)));
        let client = postgres(&bouncer.door(&tenant)).await;
        let token = client.cancel_token();
        let asked = async {
            let asleep = client.batch_execute("SELECT 1; SELECT pg_sleep(60)").await;
            asleep.unwrap_err().code().cloned()
        };
        let cancelled = async {
            let asleep = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)' AND wait_event = 'PgSleep'";
            eventually("the query runs", || {
                (server.sql("", asleep).trim() == "1").then_some(())
            });
            token.cancel_query(tokio_postgres::NoTls).await.unwrap();
        };
        let (code, ()) = tokio::join!(asked, cancelled);
        assert_eq!(code, Some(SqlState::QUERY_CANCELED), "{mode}");
        let openings = between.openings();
        assert_eq!(
            openings.len(),
            2,
            "{mode}: a backend, and its cancel request"
        );
        for opening in openings {
            assert_eq!(opening[..8], *SSL_REQUEST, "{mode}");
            assert_eq!(
                opening[8..10],
                [0x16, 3],
                "{mode}: TLS, and nothing before it"
            );
        }
        bouncer.stop();
    }
}

/// In both modes, with libpq 18: verified both ways, bound to the channel, records of all sizes, COPY, pipelines, cancel.
fn tls_on_both_sides(_: &'static Server) {
    let authority = Authority::new();
    let other = Authority::new();
    authority.certify("server", "localhost", &["localhost"]);
    std::fs::copy(other.path("ca.crt"), authority.path("other.crt")).unwrap();
    let server = Server::start_with_tls(Kind::Postgres, authority.folder());
    let inner = ["session", "transaction"].map(|mode| {
        Tenant::on(&server, "inner")
            .with("host: localhost")
            .with("sslmode: verify-full")
            .with(&format!("sslrootcert: {}", authority.path("ca.crt")))
            .with(&format!("pool_mode: {mode}"))
    });
    let shown = |config: Config| {
        config
            .with(&format!("tls_cert: {}", authority.path("server.crt")))
            .with(&format!("tls_key: {}", authority.path("server.key")))
            .with(&format!("tls_client_ca: {}", authority.path("ca.crt")))
            .with("tls_mode: require")
    };
    let bouncer = Bouncer::start(&shown(Config::for_tenants(&inner)));
    for tenant in &inner {
        authority.certify("app", "app", &[]);
        let door = bouncer.door(tenant);
        let script = python("psycopg_tls.py").expect("the plan has asked for the Python drivers");
        let out = script
            .args([
                &door.host(),
                &door.port(),
                &door.user,
                &door.password,
                &door.dbname,
            ])
            .args([
                &tenant.id,
                &authority.folder().to_string_lossy().into_owned(),
            ])
            .run()
            .expect_ok();
        assert!(out.ends_with("all of it"), "{out}");
    }
    // A database that begins TLS at once: PostgreSQL 17 can, and so can we in its place.
    let mut chained = inner[0].clone();
    chained.address = bouncer.postgres();
    chained.username = format!("{}__app", inner[0].id);
    chained.set("sslnegotiation: direct");
    let outer = Bouncer::start(&Config::for_tenants(std::slice::from_ref(&chained)));
    let said = psql(&outer.door(&chained), "sslmode=disable", WHOAMI);
    assert_eq!(said.expect_ok(), chained.id);
    outer.stop();
    bouncer.stop();
}

fn mysql_sslmodes(plain: &'static Server) {
    let authority = Authority::new();
    let other = Authority::new();
    authority.certify("server", "localhost", &["localhost"]);
    let server = Server::start_with_tls(plain.kind, authority.folder());
    let (ours, theirs) = (authority.path("ca.crt"), other.path("ca.crt"));
    // MySQL offers TLS with a certificate of its own making where it is told of none.
    let mut cases: Vec<(&Server, &str, &str, bool)> = vec![
        (&server, "sslmode: disable", "", false),
        (&server, "sslmode: prefer", "", true),
        (&server, "sslmode: require", "", true),
        (&server, "sslmode: verify-ca", &ours, true),
        (&server, "sslmode: verify-full", &ours, true),
    ];
    let mut failing: Vec<(&Server, &str, &str)> = vec![(&server, "sslmode: verify-full", &theirs)];
    if plain.kind == Kind::MariaDb {
        cases.push((plain, "sslmode: prefer", "", false));
        failing.push((plain, "sslmode: require", ""));
    }
    let tenant = |server: &Server, mode: &str, roots: &str| {
        let mut tenant = Tenant::on(server, "modes")
            .with("host: localhost")
            .with("min_connections: 0")
            .with(mode);
        if !roots.is_empty() {
            tenant.set(&format!("sslrootcert: {roots}"));
        }
        tenant
    };
    let passing: Vec<_> = cases
        .iter()
        .map(|(server, mode, roots, _)| tenant(server, mode, roots))
        .collect();
    let refused: Vec<_> = failing
        .iter()
        .map(|(server, mode, roots)| tenant(server, mode, roots))
        .collect();
    let bouncer = Bouncer::start(&Config::for_tenants(&[&passing[..], &refused[..]].concat()));
    for ((_, mode, _, secured), tenant) in cases.iter().zip(&passing) {
        let said = mysql_at(
            &bouncer.door(tenant),
            &["--skip-ssl"],
            "SHOW STATUS LIKE 'Ssl_cipher'",
        );
        let said = said.expect_ok();
        let cipher = said.split_once('\t').map(|(_, cipher)| cipher);
        assert_eq!(
            cipher.is_some_and(|cipher| !cipher.is_empty()),
            *secured,
            "{mode}: {said}"
        );
        // MariaDB never says that one was.
        if *secured && plain.kind == Kind::MySql {
            is_resumed(&bouncer.door(tenant));
        }
    }
    for tenant in &refused {
        let said = mysql_at(&bouncer.door(tenant), &["--skip-ssl"], WHOAMI);
        assert!(
            said.err.contains("no TLS connection to the database"),
            "{}",
            said.err
        );
    }
    bouncer.stop();
}

/// A later backend of the same tenant spares the server the costly part of the handshake.
fn is_resumed(door: &Door) {
    let said = mysql_at(
        door,
        &["--skip-ssl"],
        "SHOW STATUS LIKE 'Ssl_sessions_reused'",
    );
    assert_eq!(said.expect_ok(), "Ssl_sessions_reused\t1");
}

fn resumption(plain: &'static Server) {
    let authority = Authority::new();
    authority.certify("server", "localhost", &["localhost", "127.0.0.1"]);
    let server = Server::start_with_tls(plain.kind, authority.folder());
    dropped_for_resuming(&server, &authority);
    terms_that_change(&server, &authority);
}

/// Somebody in between cuts each connection that offers a session: no client notices, and after the third none is offered.
fn dropped_for_resuming(server: &Server, authority: &Authority) {
    let between = Middleman::before(server.address);
    between.cut_who_resumes();
    for mode in ["prefer", "verify-full"] {
        let mut tenant = Tenant::on(server, "dropped")
            .with("host: localhost")
            .with(&format!("sslmode: {mode}"))
            .with(&format!("sslrootcert: {}", authority.path("ca.crt")))
            .with("min_connections: 0")
            .with("health_check: {interval: 0}");
        tenant.address = between.address();
        let bouncer = Bouncer::start(&Config::for_tenants(std::slice::from_ref(&tenant)));
        let door = bouncer.door(&tenant);
        let before = between.accepted();
        for _ in 0..8 {
            let said = mysql_at(&door, &["--skip-ssl"], "SHOW STATUS LIKE 'Ssl_cipher'");
            let said = said.expect_ok();
            assert!(said.len() > "Ssl_cipher\t".len(), "{mode}: inside TLS");
        }
        assert_eq!(between.accepted() - before, 8 + 3, "{mode}");
        bouncer.log_line(&["WARN", &tenant.id, "fail again and again"]);
        bouncer.stop();
    }
}

/// Resumed, a connection is not verified again; so one on new terms begins from the start.
fn terms_that_change(server: &Server, authority: &Authority) {
    let other = Authority::new();
    authority.certify("client", "bouncer", &[]);
    let tenant = Tenant::on(server, "changed")
        .with("host: localhost")
        .with("min_connections: 0")
        .with("health_check: {interval: 0}");
    let [ours, theirs] = [authority, &other].map(|one| one.path("ca.crt"));
    let with = |settings: &[String]| {
        let settings = settings.iter();
        settings.fold(tenant.clone(), |tenant, setting| tenant.with(setting))
    };
    let roots = |path: &str| format!("sslrootcert: {path}");
    let full = "sslmode: verify-full".to_owned();
    let terms = [
        with(&["sslmode: require".to_owned()]),
        with(&["sslmode: verify-ca".to_owned(), roots(&ours)]),
        with(&[full.clone(), roots(&ours)]),
        with(&["host: 127.0.0.1".to_owned(), full.clone(), roots(&ours)]),
        with(&[
            full.clone(),
            roots(&ours),
            format!("sslcert: {}", authority.path("client.crt")),
            format!("sslkey: {}", authority.path("client.key")),
        ]),
    ];
    let config = Config::for_tenants(std::slice::from_ref(&terms[0]));
    let bouncer = Bouncer::start(&config);
    let door = bouncer.door(&tenant);
    let resumed = || {
        let asked = "SHOW STATUS LIKE 'Ssl_sessions_reused'";
        mysql_at(&door, &["--skip-ssl"], asked).expect_ok()
    };
    let changes_to = |terms: &Tenant| {
        bouncer.rewrite(&config.clone().instead(std::slice::from_ref(terms)));
        assert_eq!(ask(bouncer.api(), "POST", "/reload", ""), 200);
        // The shard answers this when it has heard of the change.
        let stats = format!("/tenants/{}/stats", tenant.id);
        assert_eq!(ask(bouncer.api(), "GET", &stats, ""), 200);
    };
    for (round, terms) in terms.iter().enumerate() {
        changes_to(terms);
        assert_eq!(resumed(), "Ssl_sessions_reused\t0", "{round}");
        assert_eq!(resumed(), "Ssl_sessions_reused\t1", "{round}");
    }
    changes_to(&with(&[full, roots(&theirs)]));
    let said = mysql_at(&door, &["--skip-ssl"], WHOAMI);
    assert!(
        said.err.contains("no TLS connection to the database"),
        "{}",
        said.err
    );
    bouncer.stop();
}

//! TLS towards databases as PostgreSQL has it since 17: begun at once, and with logins that are bound to it.

use testbed::{
    Authority, Bouncer, Config, Kind, Middleman, Plan, Server, Tenant, World, eventually,
};
use tokio_postgres::error::SqlState;

use crate::drivers::{postgres, postgres_config, try_postgres, whoami};
use crate::interceptor::{Interceptor, Offer};
use crate::tls::psql;

pub fn plan(plan: &mut Plan) {
    let kinds = [Kind::Postgres17];
    plan.add(
        World::Bouncer,
        &kinds,
        "tls_begins_at_once_and_cancels_as_well",
        tls_begins_at_once,
    );
    plan.add(
        World::Bouncer,
        &kinds,
        "who_ends_tls_on_the_way_ends_the_login",
        who_ends_tls_on_the_way,
    );
}

/// A tenant that believes `ca.crt` only, and waits for nobody.
fn careful(server: &Server, authority: &Authority) -> Tenant {
    Tenant::on(server, "careful")
        .with("host: localhost")
        .with("sslmode: verify-full")
        .with(&format!("sslrootcert: {}", authority.path("ca.crt")))
        .with("min_connections: 0")
        .with("health_check: {interval: 0}")
}

async fn tls_begins_at_once(plain: &'static Server) {
    let (authority, other) = (Authority::new(), Authority::new());
    authority.certify("server", "localhost", &["localhost"]);
    let server = Server::start_with_tls(plain.kind, authority.folder());
    let direct = |server: &Server| careful(server, &authority).with("sslnegotiation: direct");
    let between = ["session", "transaction"].map(|_| Middleman::before(server.address));
    let mut good =
        ["session", "transaction"].map(|mode| direct(&server).with(&format!("pool_mode: {mode}")));
    for (tenant, between) in good.iter_mut().zip(&between) {
        tenant.address = between.address();
    }
    let bad = [
        (
            direct(&server).with(&format!("sslrootcert: {}", other.path("ca.crt"))),
            "UnknownIssuer",
        ),
        (direct(&server).with("host: 127.0.0.1"), "NotValidForName"),
        // One without TLS takes the handshake for a startup that cannot be.
        (direct(plain), "no TLS connection to the database"),
    ];
    let tenants: Vec<_> = good
        .iter()
        .chain(bad.iter().map(|(tenant, _)| tenant))
        .cloned()
        .collect();
    let bouncer = Bouncer::start(&Config::for_tenants(&tenants));
    for (tenant, between) in good.iter().zip(&between) {
        let door = bouncer.door(tenant);
        let client = postgres(&door).await;
        let secured = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        assert!(
            client
                .query_one(secured, &[])
                .await
                .unwrap()
                .get::<_, bool>(0)
        );
        let token = client.cancel_token();
        let asked = async {
            let asleep = client.batch_execute("SELECT 1; SELECT pg_sleep(60)").await;
            asleep.unwrap_err().code().cloned()
        };
        let cancelled = async {
            let asleep = format!(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND wait_event = 'PgSleep'",
                tenant.dbname
            );
            eventually("the query runs", || {
                (server.sql("", &asleep).trim() == "1").then_some(())
            });
            token.cancel_query(tokio_postgres::NoTls).await.unwrap();
        };
        let (code, ()) = tokio::join!(asked, cancelled);
        assert_eq!(code, Some(SqlState::QUERY_CANCELED));
        let openings = between.openings();
        assert_eq!(openings.len(), 2, "a backend, and its cancel request");
        for opening in openings {
            assert_eq!(opening[..2], [0x16, 3], "TLS, and nothing before it");
        }
    }
    for (tenant, why) in &bad {
        let said = psql(&bouncer.door(tenant), "sslmode=disable", "SELECT 1");
        assert!(said.err.contains(why), "{why}: {}", said.err);
    }
    bouncer.stop();
}

/// It shows a certificate that we believe as much as the database's own; and only if it has the very key of the
/// database can anybody log in through it.
async fn who_ends_tls_on_the_way(plain: &'static Server) {
    let authority = Authority::new();
    authority.certify("server", "localhost", &["localhost"]);
    authority.certify("other", "localhost", &["localhost"]);
    let server = Server::start_with_tls(plain.kind, authority.folder());
    let stages = [
        ("server", Offer::Whole),
        ("other", Offer::Whole),
        ("other", Offer::Unbound),
    ];
    let stages = stages.map(|(file, offer)| {
        let between = Interceptor::before(server.address, &authority, file, offer);
        let mut tenant = careful(&server, &authority);
        tenant.address = between.address;
        (between, tenant)
    });
    let tenants: Vec<_> = stages.iter().map(|(_, tenant)| tenant.clone()).collect();
    let bouncer = Bouncer::start(&Config::for_tenants(&tenants));
    let [owner, other, robber] = &stages;
    assert_eq!(whoami(&bouncer.door(&owner.1)).await, owner.1.id);
    assert_eq!(owner.0.chosen(), ["SCRAM-SHA-256-PLUS"]);
    for ((between, tenant), how, why) in [
        (other, "SCRAM-SHA-256-PLUS", "channel binding check failed"),
        // We say that we would have bound it; the database knows that it has offered to.
        (robber, "SCRAM-SHA-256", "channel binding"),
    ] {
        let refused = match try_postgres(&postgres_config(&bouncer.door(tenant))).await {
            Ok(client) => client.simple_query("SELECT 1").await.err(),
            Err(error) => Some(error),
        };
        let refused = refused.expect("nobody gets in through it");
        let said = refused
            .as_db_error()
            .map(ToString::to_string)
            .unwrap_or_default();
        assert!(said.contains(why), "{refused}: {said}");
        assert_eq!(between.chosen()[0], how);
    }
    bouncer.stop();
}

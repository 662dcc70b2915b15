//! `client_auth: passthrough`: clients log in to the database itself, through us.

use testbed::{Bouncer, Config, Door, Kind, Plan, Server, Tenant, World, eventually};
use tokio_postgres::error::SqlState;

use crate::drivers::{postgres_config, try_postgres};
use crate::health::sample;
use crate::limits::refusal;
use crate::raw::{Complaint, Raw, startup};

pub fn plan(plan: &mut Plan) {
    let kinds = [Kind::Postgres, Kind::Postgres18];
    plan.add(
        World::Bouncer,
        &kinds,
        "logins_are_passed_on",
        logins_are_passed_on,
    );
    plan.add(
        World::Bouncer,
        &[Kind::Postgres],
        "passed_on_logins_take_places_and_give_them_back",
        places,
    );
    plan.add(
        World::Bouncer,
        &[Kind::Postgres],
        "a_login_that_its_client_does_not_finish_is_no_fault_of_the_databases",
        unfinished,
    );
    plan.add(
        World::Bouncer,
        &[Kind::Postgres],
        "who_has_proved_nothing_has_half_of_the_places",
        strangers,
    );
}

fn passed_on(tenant: Tenant) -> Tenant {
    tenant
        .with("pool_mode: session")
        .with("client_auth: passthrough")
        .with("max_connections: 2")
        .with("acquire_timeout: 3s")
}

async fn logins_are_passed_on(server: &'static Server) {
    let tenant = passed_on(Tenant::on(server, "passed"));
    let role = |name: &str| format!("{}_{name}", tenant.dbname);
    let [alice, md5, clear] = ["alice", "md5", "clear"].map(role);
    server.sql(
        "",
        &format!(
            "CREATE ROLE {alice} LOGIN PASSWORD 'secret';
             CREATE ROLE {clear} LOGIN PASSWORD 'secret' IN ROLE by_password;
             SET password_encryption = md5;
             CREATE ROLE {md5} LOGIN PASSWORD 'secret' IN ROLE by_md5;"
        ),
    );
    let bouncer = Bouncer::start(&Config::for_tenants(std::slice::from_ref(&tenant)));
    let door = |user: &str, password: &str| Door {
        user: format!("{}__{user}", tenant.id),
        password: password.to_owned(),
        ..bouncer.door(&tenant)
    };
    for user in [&alice, &clear] {
        let client = try_postgres(&postgres_config(&door(user, "secret"))).await;
        let client = client.unwrap();
        let row = client.query_one("SELECT session_user::text", &[]).await;
        assert_eq!(row.unwrap().get::<_, &str>(0), user);
        // The cancel key is ours, and works.
        let (cancel, asleep) = (
            client.cancel_token(),
            client.batch_execute("SELECT pg_sleep(60)"),
        );
        let (asleep, ()) = tokio::join!(asleep, async {
            let sleeps = format!(
                "SELECT count(*) FROM pg_stat_activity WHERE usename = '{user}' AND wait_event = 'PgSleep'"
            );
            eventually("it sleeps", || {
                (server.sql("", &sleeps) == "1").then_some(())
            });
            cancel.cancel_query(tokio_postgres::NoTls).await.unwrap();
        });
        assert_eq!(asleep.unwrap_err().code(), Some(&SqlState::QUERY_CANCELED));
    }
    // An md5 hash has the user's name in it: the one that the client says must be the database's.
    let mut config = postgres_config(&door(&md5, "secret"));
    config
        .user(&md5)
        .options(&*format!("-c tenant_id={}", tenant.id));
    let client = try_postgres(&config).await.unwrap();
    client.batch_execute("SELECT 1").await.unwrap();
    drop(client);
    // Wrong, unknown, and no tenant at all: as ever.
    let stranger = Door {
        user: "nobody-knows-it__app".to_owned(),
        ..door(&alice, "wrong")
    };
    for door in [
        door(&alice, "wrong"),
        door("nobody", "secret"),
        stranger.clone(),
    ] {
        let told = refusal(&door).await;
        assert_eq!(told.state, "28P01");
        let expected = format!("password authentication failed for user \"{}\"", door.user);
        assert_eq!(told.message, expected);
    }
    let asked = [&door(&alice, ""), &stranger].map(|door| {
        Raw::to(door.address)
            .say(&startup(&[("user", &door.user)]))
            .message()
    });
    assert_eq!(asked[0], asked[1]);
    bouncer.stop();
}

async fn unfinished(server: &'static Server) {
    let tenant = passed_on(Tenant::on(server, "unfinished")).with("connect_timeout: 3s");
    let bouncer = Bouncer::start(&Config::for_tenants(std::slice::from_ref(&tenant)));
    let door = Door {
        user: format!("{}__{}", tenant.id, tenant.username),
        ..bouncer.door(&tenant)
    };
    // Asked for their password, they say nothing until they are told to go.
    for _ in 0..2 {
        let mut raw = Raw::to(door.address);
        assert_eq!(raw.say(&startup(&[("user", &door.user)])).message().0, b'R');
        raw.rest();
    }
    let series = format!(
        "dbbouncer_backend_connect_failures_total{{reason=\"unreachable\",tenant=\"{}\"}}",
        tenant.id
    );
    let failures = sample(bouncer.api(), &series);
    assert_eq!(failures, 0.0);
    let client = try_postgres(&postgres_config(&door)).await.unwrap();
    client.batch_execute("SELECT 1").await.unwrap();
    bouncer.stop();
}

async fn strangers(server: &'static Server) {
    let tenant = passed_on(Tenant::on(server, "strangers"));
    let bouncer = Bouncer::start(&Config::for_tenants(std::slice::from_ref(&tenant)));
    let door = bouncer.door(&tenant);
    let user = format!("{}__{}", tenant.id, tenant.username);
    let knocks = || {
        let mut raw = Raw::to(door.address);
        let (kind, body) = raw.say(&startup(&[("user", &user)])).message();
        (raw, kind, body)
    };
    // Asked for its password, the one says nothing; the other has not been asked when its time is over.
    let (_asked, kind, _) = knocks();
    assert_eq!(kind, b'R');
    let (_, kind, body) = knocks();
    assert_eq!(kind, b'E');
    assert_eq!(Complaint::of_postgres(&body).state, "53300");
    bouncer.stop();
}

async fn places(server: &'static Server) {
    let tenant = passed_on(Tenant::on(server, "places"));
    let bouncer = Bouncer::start(&Config::for_tenants(std::slice::from_ref(&tenant)));
    let door = Door {
        user: format!("{}__{}", tenant.id, tenant.username),
        ..bouncer.door(&tenant)
    };
    let count = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}'",
        tenant.dbname
    );
    let until_gone = || {
        eventually("every backend is closed", || {
            (server.sql("", &count) == "0").then_some(())
        });
    };
    for _ in 0..2 {
        // Clients that leave in the middle of their login, and before it begins.
        for _ in 0..5 {
            let mut raw = Raw::to(door.address);
            raw.say(&startup(&[("user", &door.user)])).message();
            drop(raw);
            Raw::to(door.address).say(&startup(&[("user", &door.user)]));
        }
        until_gone();
        let config = postgres_config(&door);
        let held = [
            try_postgres(&config).await.unwrap(),
            try_postgres(&config).await.unwrap(),
        ];
        assert_eq!(refusal(&door).await.state, "53300");
        for client in &held {
            client.batch_execute("SELECT 1").await.unwrap();
        }
        drop(held);
        until_gone();
    }
    bouncer.stop();
}

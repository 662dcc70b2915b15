//! `auth_query`: users and their secrets as the tenant's own database keeps them.

use testbed::{Bouncer, Config, Door, Kind, Plan, Server, Tenant, World, eventually};

use crate::drivers::{postgres, postgres_config, try_postgres, whoami};
use crate::health::sample;
use crate::limits::refusal;
use crate::operator::ask;

pub fn plan(plan: &mut Plan) {
    let kinds = [Kind::Postgres, Kind::Postgres18];
    plan.add(
        World::Bouncer,
        &kinds,
        "auth_query_knows_the_databases_users",
        the_databases_users,
    );
    plan.add(
        World::Bouncer,
        &kinds,
        "auth_query_cannot_be_tricked",
        cannot_be_tricked,
    );
    plan.add(
        World::Bouncer,
        &kinds,
        "clients_have_backends_of_their_own_name",
        backends_of_their_own_name,
    );
    plan.add(
        World::Bouncer,
        &[Kind::Postgres],
        "auth_query_without_an_answer",
        without_an_answer,
    );
    plan.add(
        World::Bouncer,
        &[Kind::Postgres],
        "auth_query_that_changes_during_a_question",
        changes_during_a_question,
    );
    plan.add(
        World::Bouncer,
        &[Kind::Postgres],
        "auth_query_is_asked_on_a_new_connection_behind_a_reconnect",
        asked_on_a_new_connection,
    );
}

/// The server's superuser looks, for only such a one may read `pg_authid`.
fn looked_up(tenant: Tenant) -> Tenant {
    tenant
        .with("auth_query: pg_authid")
        .with("auth_user: admin")
        .with("auth_password: admin")
}

/// The way in for a user of the database.
fn door_of(bouncer: &Bouncer, tenant: &Tenant, user: &str, password: &str) -> Door {
    Door {
        user: format!("{}__{user}", tenant.id),
        password: password.to_owned(),
        ..bouncer.door(tenant)
    }
}

async fn gets_in(door: &Door) -> bool {
    try_postgres(&postgres_config(door)).await.is_ok()
}

async fn the_databases_users(server: &'static Server) {
    let tenant = looked_up(Tenant::on(server, "users"))
        .with("auth_query_ttl: 1h")
        .with("users: {listed: {password: of the config}}");
    let name = |suffix: &str| format!("{}_{suffix}", tenant.dbname);
    let sql = |text: String| server.sql("", &text);
    let [alice, past, asleep, soon, md5] = ["alice", "past", "asleep", "soon", "md5"].map(name);
    sql(format!(
        "CREATE ROLE {alice} LOGIN PASSWORD 'secret';
         CREATE ROLE {past} LOGIN PASSWORD 'secret' VALID UNTIL 'yesterday';
         CREATE ROLE {asleep} NOLOGIN PASSWORD 'secret';
         CREATE ROLE {soon} LOGIN PASSWORD 'secret' VALID UNTIL 'infinity';
         SET password_encryption = md5;
         CREATE ROLE {md5} LOGIN PASSWORD 'secret';"
    ));
    let bouncer = Bouncer::start(
        &Config::for_tenants(std::slice::from_ref(&tenant))
            .with("limits: {failed_logins_per_minute: 0}"),
    );
    let door = |user: &str, password: &str| door_of(&bouncer, &tenant, user, password);
    assert_eq!(whoami(&door(&alice, "secret")).await, tenant.id);
    assert!(gets_in(&door(&soon, "secret")).await);
    assert!(gets_in(&door("listed", "of the config")).await);
    // Known or not, expired or asleep, with a hash of the wrong kind or the tenant's own password: one answer.
    let refused = [
        door(&alice, "wrong"),
        door("nobody", "secret"),
        door(&past, "secret"),
        door(&asleep, "secret"),
        door(&md5, "secret"),
        door("anybody", &tenant.password),
    ];
    for door in &refused {
        let told = refusal(door).await;
        assert_eq!(told.state, "28P01");
        let expected = format!("password authentication failed for user \"{}\"", door.user);
        assert_eq!(told.message, expected);
    }
    let reason = |reason: &str| {
        let labels = format!("{{tenant=\"{}\",reason=\"{reason}\"}}", tenant.id);
        sample(
            bouncer.api(),
            &format!("dbbouncer_login_failures_total{labels}"),
        )
    };
    assert_eq!((reason("wrong_password"), reason("no_user")), (2.0, 4.0));
    // Remembered: the same user again is no question.
    let asked = || {
        let labels = format!("{{tenant=\"{}\"}}", tenant.id);
        sample(
            bouncer.api(),
            &format!("dbbouncer_auth_queries_total{labels}"),
        )
    };
    // Once before that: somebody has failed as her, by which what was known of her is doubted, unless it was quite fresh.
    assert!(gets_in(&door(&alice, "secret")).await);
    let before = asked();
    assert!(gets_in(&door(&alice, "secret")).await);
    assert_eq!(asked(), before);
    // But a password that has changed is found out by the first who fails with it.
    sql(format!("ALTER ROLE {alice} PASSWORD 'another'"));
    let changed = door(&alice, "another");
    let began = std::time::Instant::now();
    while !gets_in(&changed).await {
        assert!(began.elapsed() < testbed::PATIENCE, "{}", bouncer.log());
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(!gets_in(&door(&alice, "secret")).await);
    // What ends while it is remembered is not believed beyond its end.
    sql(format!(
        "ALTER ROLE {soon} VALID UNTIL '{}'",
        server.sql("", "SELECT now() + interval '2 seconds'")
    ));
    bouncer.stop();
    let bouncer = Bouncer::start(&Config::for_tenants(std::slice::from_ref(&tenant)));
    let door = door_of(&bouncer, &tenant, &soon, "secret");
    let _ = gets_in(&door).await;
    eventually("its time is over", || {
        (server.sql(
            "",
            &format!("SELECT rolvaliduntil < now() FROM pg_authid WHERE rolname = '{soon}'"),
        ) == "t")
            .then_some(())
    });
    assert!(!gets_in(&door).await);
    bouncer.stop();
}

/// Everything that a tenant's owner and its clients can do to be taken for somebody else.
async fn cannot_be_tricked(server: &'static Server) {
    let tenant = looked_up(Tenant::on(server, "tricks"));
    let (user, db) = (&tenant.username, &tenant.dbname);
    let victim = format!("{db}_victim");
    let quoted = format!("{db}_o'brien\"; --");
    let doubled = quoted.replace('"', "\"\"");
    let evil = "SCRAM-SHA-256$4096:s6pcpOrqMWGqBVwoJNe/bg==$UrGVgYZEcvN2VQYDGTYXjLoxxsVkOVSySEO1Px1/eBY=:4gWQf+4Bl5fsC559iP5/Y/CKQUhQJZGNSEDUMWdZN6U=";
    server.sql("", &format!("CREATE ROLE {victim} LOGIN PASSWORD 'right'; CREATE ROLE \"{doubled}\" LOGIN PASSWORD 'right';"));
    // A verifier of the password `secret`, in relations and functions that stand before the real ones.
    server.sql(
        db,
        &format!(
            "SET ROLE {user};
             CREATE SCHEMA evil;
             CREATE TABLE evil.pg_authid (rolname name, rolpassword text, rolvaliduntil timestamptz, rolcanlogin bool);
             INSERT INTO evil.pg_authid VALUES ('{victim}', '{evil}', NULL, true);
             CREATE VIEW evil.pg_shadow AS SELECT rolname AS usename, rolpassword AS passwd FROM evil.pg_authid;
             CREATE FUNCTION evil.now() RETURNS timestamptz LANGUAGE sql AS $$ SELECT '-infinity'::timestamptz $$;
             CREATE FUNCTION evil.always(text, text) RETURNS bool LANGUAGE sql AS $$ SELECT true $$;
             CREATE OPERATOR evil.= (leftarg = text, rightarg = text, function = evil.always);
             ALTER DATABASE {db} SET search_path = evil, public;
             RESET ROLE;
             ALTER ROLE admin IN DATABASE {db} SET search_path = evil, public;"
        ),
    );
    let bouncer = Bouncer::start(&Config::for_tenants(std::slice::from_ref(&tenant)));
    let door = |user: &str, password: &str| door_of(&bouncer, &tenant, user, password);
    assert!(gets_in(&door(&victim, "right")).await);
    assert!(gets_in(&door(&quoted, "right")).await);
    for (name, password) in [
        (&*victim, "secret"),
        (&quoted, "secret"),
        ("' OR '1'='1", "secret"),
        ("x'; DROP TABLE whoami; --", "right"),
        ("$1", "right"),
        (&format!("{victim}%"), "right"),
        (&victim.to_uppercase(), "right"),
    ] {
        let mut config = postgres_config(&door(name, password));
        assert!(try_postgres(&config).await.is_err(), "{name}");
        config.options("-c search_path=evil");
        assert!(try_postgres(&config).await.is_err(), "{name}");
    }
    assert!(
        !bouncer.log().contains("has no answer"),
        "{}",
        bouncer.log()
    );
    assert_eq!(whoami(&door(&victim, "right")).await, tenant.id);
    bouncer.stop();
}

/// A function of the operator's, for a user that may do nothing else; and one that fails.
async fn without_an_answer(server: &'static Server) {
    let tenants = Tenant::many_on(server, "function", 2);
    let (good, bad) = (&tenants[0], &tenants[1]);
    let looker = format!("{}_looker", good.dbname);
    server.sql("", &format!("CREATE ROLE {looker} LOGIN PASSWORD 'look'"));
    for db in [&good.dbname, &bad.dbname] {
        server.sql(
            db,
            &format!(
                "CREATE SCHEMA lookup; GRANT USAGE ON SCHEMA lookup TO {looker};
                 CREATE FUNCTION lookup.user(text) RETURNS TABLE (name name, secret text) LANGUAGE sql SECURITY DEFINER
                 SET search_path = pg_catalog AS $$ SELECT rolname, rolpassword FROM pg_authid WHERE rolname = $1 $$;"
            ),
        );
    }
    server.sql(
        &bad.dbname,
        "REVOKE EXECUTE ON FUNCTION lookup.user FROM PUBLIC",
    );
    let with_function = |tenant: &Tenant| {
        tenant
            .clone()
            .with("auth_query: 'SELECT * FROM lookup.user($1)'")
            .with(&format!("auth_user: {looker}"))
            .with("auth_password: look")
    };
    let tenants = [with_function(good), with_function(bad)];
    let bouncer = Bouncer::start(&Config::for_tenants(&tenants));
    let user = |tenant: &Tenant| door_of(&bouncer, tenant, &tenant.username, &tenant.password);
    assert_eq!(whoami(&user(&tenants[0])).await, tenants[0].id);
    // The client is told what every client is told that proves nothing; the log tells the operator.
    let told = refusal(&user(&tenants[1])).await;
    assert_eq!(told.state, "28P01");
    bouncer.log_line(&[&tenants[1].id, "has no answer", "permission denied"]);
    let labels = format!("{{tenant=\"{}\",reason=\"lookup_failed\"}}", tenants[1].id);
    let failures = format!("dbbouncer_login_failures_total{labels}");
    assert_eq!(sample(bouncer.api(), &failures), 1.0);
    bouncer.stop();
}

/// Who waits while the terms change is judged by the new ones, and nothing that was found out under the
/// old ones is remembered.
async fn changes_during_a_question(server: &'static Server) {
    let tenant = Tenant::on(server, "changes");
    let having = |condition: &str| {
        let query = "SELECT rolname, rolpassword FROM pg_authid WHERE rolname = $1 AND";
        looked_up(tenant.clone())
            .with("min_connections: 0")
            .with("connect_timeout: 30s")
            .with(&format!("auth_query: '{query} {condition}'"))
    };
    // As long as somebody holds the lock, there is no answer.
    let before = having("pg_advisory_xact_lock_shared(1) IS NOT NULL");
    let config = Config::for_tenants(std::slice::from_ref(&before));
    let bouncer = Bouncer::start(&config);
    let holder = postgres(&Door::of_server(&tenant)).await;
    let lock = "SELECT pg_advisory_lock(1)";
    holder.batch_execute(lock).await.unwrap();
    let door = door_of(&bouncer, &tenant, &tenant.username, &tenant.password);
    let waiting = tokio::spawn(async move { gets_in(&door).await });
    let asked = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'advisory' AND datname = '{}'",
        tenant.dbname
    );
    eventually("the question is asked", || {
        (server.sql("", &asked) == "1").then_some(())
    });
    let after = having("rolname <> $1");
    bouncer.rewrite(&config.instead(std::slice::from_ref(&after)));
    bouncer.log_line(&["config loaded: 1 tenants changed"]);
    drop(holder);
    assert!(!waiting.await.unwrap(), "it is judged by the new terms");
    let door = door_of(&bouncer, &tenant, &tenant.username, &tenant.password);
    assert!(!gets_in(&door).await, "nothing old is remembered");
    bouncer.stop();
}

/// `backend_user: client`: no password of theirs is in the config, only what the database keeps of it.
async fn backends_of_their_own_name(server: &'static Server) {
    let mut tenants = Tenant::many_on(server, "own-name", 2);
    let [alice, bob, carol] =
        ["alice", "bob", "carol"].map(|name| format!("{}_{name}", tenants[0].dbname));
    server.sql(
        "",
        &[&alice, &bob, &carol]
            .map(|user| format!("CREATE ROLE {user} LOGIN PASSWORD 'secret of {user}';"))
            .concat(),
    );
    let verifier = |user: &str| {
        server.sql(
            "",
            &format!("SELECT rolpassword FROM pg_authid WHERE rolname = '{user}'"),
        )
    };
    // Carol's is one of the same password with another salt, which proves her to us and not to the database.
    let elsewhere = verifier(&carol);
    server.sql(
        "",
        &format!("ALTER ROLE {carol} PASSWORD 'secret of {carol}'"),
    );
    let listed = [
        format!("{alice}: {{verifier: {}}}", verifier(&alice)),
        format!("{bob}: {{password: secret of {bob}}}"),
        format!("{carol}: {{verifier: {elsewhere}}}"),
    ];
    tenants[0].set(&format!(
        "users: {{{}}}",
        listed.join(", ").replace('$', "$$")
    ));
    tenants[1] = looked_up(tenants[1].clone());
    for tenant in &mut tenants {
        tenant.set("pool_mode: session");
        tenant.set("backend_user: client");
        tenant.set("min_connections: 1");
        tenant.set("max_connections: 3");
    }
    let bouncer = Bouncer::start(&Config::for_tenants(&tenants));
    for tenant in &tenants {
        for user in [&alice, &bob, &alice, &bob] {
            let door = door_of(&bouncer, tenant, user, &format!("secret of {user}"));
            let client = try_postgres(&postgres_config(&door)).await.unwrap();
            let row = client
                .query_one("SELECT session_user::text, current_database()::text", &[])
                .await
                .unwrap();
            assert_eq!((row.get(0), row.get(1)), (&**user, &*tenant.dbname));
        }
        let wrong = door_of(&bouncer, tenant, &alice, &format!("secret of {bob}"));
        assert_eq!(refusal(&wrong).await.state, "28P01");
    }
    let door = door_of(&bouncer, &tenants[0], &carol, &format!("secret of {carol}"));
    let told = refusal(&door).await;
    assert!(["08001", "08006"].contains(&&*told.state), "{told:?}");
    // Hers is not the tenant's trouble.
    let door = door_of(&bouncer, &tenants[0], &alice, &format!("secret of {alice}"));
    assert!(gets_in(&door).await);
    bouncer.stop();
}

async fn asked_on_a_new_connection(server: &'static Server) {
    let tenant = looked_up(Tenant::on(server, "moved")).with("auth_query_ttl: 0");
    let user = format!("{}_user", tenant.dbname);
    server.sql("", &format!("CREATE ROLE {user} LOGIN PASSWORD 'secret'"));
    let bouncer = Bouncer::start(&Config::for_tenants(std::slice::from_ref(&tenant)));
    let door = door_of(&bouncer, &tenant, &user, "secret");
    let asks = format!(
        "SELECT pid FROM pg_stat_activity WHERE usename = 'admin' AND datname = '{}'",
        tenant.dbname
    );
    let connections = || server.sql("", &asks);
    assert!(gets_in(&door).await && gets_in(&door).await);
    let before = connections();
    assert_eq!(before.lines().count(), 1, "{before}");
    let path = format!("/tenants/{}/reconnect", tenant.id);
    assert_eq!(ask(bouncer.api(), "POST", &path, ""), 202);
    assert!(gets_in(&door).await);
    let now = connections();
    assert!(now.lines().any(|pid| pid != before), "{now}");
    bouncer.stop();
}

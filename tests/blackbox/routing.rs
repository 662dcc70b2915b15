//! How a client names its tenant: every spelling leads to the tenant's database, and what contradicts itself or names
//! none leads nowhere.

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use testbed::{Bouncer, Config, Kind, Plan, Server, Tenant, World, tool};

use crate::drivers::{mysql_options, postgres_config, try_postgres};
use crate::raw::{Raw, startup};

pub fn plan(plan: &mut Plan) {
    let mysql = [Kind::MariaDb, Kind::MySql];
    plan.add(
        World::Bouncer,
        &[Kind::Postgres],
        "tenant_in_options",
        tenant_in_options,
    );
    plan.add(
        World::Bouncer,
        &[Kind::Postgres],
        "tenant_in_user_name",
        tenant_in_user_name,
    );
    plan.add(
        World::Bouncer,
        &[Kind::Postgres],
        "tenant_as_startup_parameter",
        tenant_as_startup_parameter,
    );
    plan.add(
        World::Bouncer,
        &[Kind::Postgres],
        "tenant_badly_named",
        tenant_badly_named,
    );
    plan.add(
        World::Bouncer,
        &[Kind::Postgres],
        "database_by_any_fair_name",
        database_by_any_fair_name,
    );
    plan.add(
        World::Bouncer,
        &mysql,
        "tenant_in_user_name",
        mysql_tenant_in_user_name,
    );
    plan.add(
        World::Bouncer,
        &mysql,
        "tenant_in_database_or_attribute",
        tenant_in_database_or_attribute,
    );
    plan.add(
        World::Bouncer,
        &mysql,
        "tenant_badly_named",
        mysql_tenant_badly_named,
    );
    plan.add(
        World::Bouncer,
        &mysql,
        "the_lines_of_the_readme",
        the_mysql_line_of_the_readme,
    );
    plan.add(
        World::Bouncer,
        &[Kind::Postgres],
        "the_lines_of_the_readme",
        the_psql_line_of_the_readme,
    );
}

fn bouncer_for(server: &Server) -> (Tenant, Bouncer) {
    let tenant = Tenant::on(server, "route");
    let bouncer = Bouncer::start(&Config::for_tenants(std::slice::from_ref(&tenant)));
    (tenant, bouncer)
}

async fn tenant_in_options(server: &'static Server) {
    let (tenant, bouncer) = bouncer_for(server);
    let id = &tenant.id;
    for options in [
        format!("-c tenant_id={id}"),
        format!("-ctenant_id={id}"),
        format!("--tenant_id={id}"),
        format!("--tenant-id={id}"),
        format!("-c TENANT_ID={id}"),
        format!("-c dbbouncer.tenant_id={id}"),
        format!("-c work_mem=3MB   -c tenant_id={id}"),
        format!("-c tenant_id={id} -c work_mem=3MB -c tenant_id={id}"),
    ] {
        let mut config = postgres_config(&bouncer.door(&tenant));
        config.user("anybody").options(&options);
        let client = try_postgres(&config)
            .await
            .unwrap_or_else(|error| panic!("{options}: {error:?}"));
        let row = client
            .query_one("SELECT id, current_setting('work_mem') FROM whoami", &[])
            .await
            .unwrap();
        assert_eq!(row.get::<_, &str>(0), *id, "{options}");
        assert_eq!(
            row.get::<_, &str>(1) == "3MB",
            options.contains("3MB"),
            "the rest arrives: {options}"
        );
    }
    bouncer.stop();
}

async fn tenant_in_user_name(server: &'static Server) {
    let (tenant, bouncer) = bouncer_for(server);
    let mut config = postgres_config(&bouncer.door(&tenant));
    for user in ["app", "with__more__of_it", "_", "Ünïcode"] {
        config.user(format!("{}__{user}", tenant.id));
        let client = try_postgres(&config).await.unwrap();
        let row = client
            .query_one("SELECT id, current_user::text FROM whoami", &[])
            .await
            .unwrap();
        assert_eq!(row.get::<_, &str>(0), tenant.id);
        assert_eq!(
            row.get::<_, &str>(1),
            tenant.username,
            "the database is entered as the config says"
        );
    }
    bouncer.stop();
}

async fn tenant_as_startup_parameter(server: &'static Server) {
    let tenant = Tenant::on(server, "route").with("client_auth: trust");
    let bouncer = Bouncer::start(&Config::for_tenants(std::slice::from_ref(&tenant)));
    let mut raw = Raw::to(bouncer.postgres());
    raw.say(&startup(&[
        ("user", "anybody"),
        ("tenant_id", &tenant.id),
        ("application_name", "raw"),
    ]));
    let seen = raw.until_ready();
    assert_eq!(seen[0], (b'R', vec![0, 0, 0, 0]), "AuthenticationOk");
    assert!(
        seen.iter()
            .any(|(kind, body)| *kind == b'S' && body == b"application_name\0raw\0")
    );
    assert!(
        seen.iter()
            .any(|(kind, body)| *kind == b'K' && body.len() == 8),
        "BackendKeyData of protocol 3.0"
    );
    bouncer.log_line(&[&tenant.id, "trust"]);
    bouncer.stop();
}

async fn tenant_badly_named(server: &'static Server) {
    let tenants = Tenant::many_on(server, "route", 2);
    let bouncer = Bouncer::start(&Config::for_tenants(&tenants));
    let (one, two) = (&tenants[0].id, &tenants[1].id);
    for (user, options) in [
        ("anybody".to_owned(), String::new()),
        (format!("{one}__app"), format!("-c tenant_id={two}")),
        (
            "anybody".to_owned(),
            format!("-c tenant_id={one} -c tenant_id={two}"),
        ),
        ("anybody".to_owned(), "-c tenant_id=a/b".to_owned()),
        ("anybody".to_owned(), "-c tenant_id=".to_owned()),
        ("__app".to_owned(), String::new()),
        (format!("{}__app", "a".repeat(64)), String::new()),
    ] {
        let mut raw = Raw::to(bouncer.postgres());
        let complaint = raw
            .say(&startup(&[("user", &user), ("options", &options)]))
            .last_words();
        assert_eq!(complaint.state, "28000", "{user} {options}: {complaint:?}");
        assert!(complaint.message.contains("tenant"), "{complaint:?}");
    }
    bouncer.stop();
}

async fn database_by_any_fair_name(server: &'static Server) {
    let (tenant, bouncer) = bouncer_for(server);
    let user = format!("{}__app", tenant.id);
    let mut config = postgres_config(&bouncer.door(&tenant));
    for name in [tenant.dbname.as_str(), &tenant.id, &user, "app"] {
        let client = try_postgres(config.dbname(name)).await.unwrap();
        let database: String = client
            .query_one("SELECT current_database()::text", &[])
            .await
            .unwrap()
            .get(0);
        assert_eq!(database, tenant.dbname);
    }
    let error = try_postgres(config.dbname("postgres"))
        .await
        .expect_err("not the tenant's");
    assert_eq!(error.code().map(|code| code.code()), Some("3D000"));
    bouncer.stop();
}

async fn mysql_tenant_in_user_name(server: &'static Server) {
    let (tenant, bouncer) = bouncer_for(server);
    let door = bouncer.door(&tenant);
    for user in ["app", "with__more__of_it"] {
        let mut client =
            Conn::new(mysql_options(&door).user(Some(format!("{}__{user}", tenant.id))))
                .await
                .unwrap();
        let row: Option<(String, String)> = client
            .query_first("SELECT id, current_user() FROM whoami")
            .await
            .unwrap();
        assert_eq!(
            row,
            Some((tenant.id.clone(), format!("{}@%", tenant.username)))
        );
        client.disconnect().await.unwrap();
    }
    let mut client = Conn::new(mysql_options(&door).db_name(None::<String>))
        .await
        .unwrap();
    let database: Option<String> = client.query_first("SELECT database()").await.unwrap();
    assert_eq!(
        database,
        Some(tenant.dbname),
        "without a database, the tenant's own"
    );
    client.disconnect().await.unwrap();
    bouncer.stop();
}

async fn tenant_in_database_or_attribute(server: &'static Server) {
    let (tenant, bouncer) = bouncer_for(server);
    let door = bouncer.door(&tenant);
    let by_database = format!("{}__{}", tenant.id, tenant.dbname);
    let mut client = Conn::new(
        mysql_options(&door)
            .user(Some("anybody"))
            .db_name(Some(by_database)),
    )
    .await
    .unwrap();
    assert_eq!(
        client.query_first("SELECT id FROM whoami").await.unwrap(),
        Some(tenant.id.clone())
    );
    client.disconnect().await.unwrap();

    let attribute = format!("--connect-attributes=tenant_id={}", tenant.id);
    let said = tool("mariadb")
        .args([
            "--no-defaults",
            "-N",
            "-h",
            &door.host(),
            "-P",
            &door.port(),
            "-u",
            "anybody",
        ])
        .args([
            &format!("-p{}", tenant.password),
            &attribute,
            &tenant.dbname,
            "-e",
            "SELECT id FROM whoami",
        ])
        .run();
    // Debian's command line may be too old for the option; then there is nothing to see here.
    if !said.err.contains("unknown variable") {
        assert_eq!(said.expect_ok(), tenant.id);
    }
    bouncer.stop();
}

async fn mysql_tenant_badly_named(server: &'static Server) {
    let tenants = Tenant::many_on(server, "route", 2);
    let bouncer = Bouncer::start(&Config::for_tenants(&tenants));
    let (one, two) = (&tenants[0], &tenants[1]);
    let door = bouncer.door(one);
    for (user, database) in [
        ("anybody".to_owned(), one.dbname.clone()),
        (
            format!("{}__app", one.id),
            format!("{}__{}", two.id, two.dbname),
        ),
        ("__app".to_owned(), one.dbname.clone()),
        (format!("{}__", one.id), one.dbname.clone()),
    ] {
        let error = Conn::new(
            mysql_options(&door)
                .user(Some(&user))
                .db_name(Some(&database)),
        )
        .await
        .unwrap_err();
        let mysql_async::Error::Server(error) = error else {
            panic!("{user} {database}: {error}")
        };
        assert_eq!(error.code, 1045, "{user} {database}: {error}");
    }
    bouncer.stop();
}

async fn the_psql_line_of_the_readme(server: &'static Server) {
    let (tenant, bouncer) = bouncer_for(server);
    let line = format!(
        "host=localhost port={} user=myuser options='-c tenant_id={}'",
        bouncer.postgres().port(),
        tenant.id
    );
    let said = tool("psql")
        .args([&line, "-XAtc", "SELECT id FROM whoami"])
        .env("PGPASSWORD", &tenant.password)
        .run();
    assert_eq!(said.expect_ok(), tenant.id);
    bouncer.stop();
}

async fn the_mysql_line_of_the_readme(server: &'static Server) {
    let (tenant, bouncer) = bouncer_for(server);
    let said = tool("mariadb")
        // 127.0.0.1: the command line takes localhost for a socket file.
        .args([
            "--no-defaults",
            "-N",
            "-h",
            "127.0.0.1",
            "-P",
            &bouncer.mysql().port().to_string(),
        ])
        .args([
            "-u",
            &format!("{}__appuser", tenant.id),
            &format!("-p{}", tenant.password),
            "-e",
            "SELECT id FROM whoami",
        ])
        .run();
    assert_eq!(said.expect_ok(), tenant.id);
    bouncer.stop();
}

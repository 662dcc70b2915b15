//! Secrets in every place where one can stand, everything done with them that can be done and fail, and everything that
//! came out of it read at the most talkative level: none of them is in it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mysql_async::prelude::Queryable;
use testbed::{Authority, Bouncer, Config, Door, Kind, Plan, Server, Tenant, World, eventually};

use crate::drivers::{mysql_options, postgres_config, try_postgres};

pub fn plan(plan: &mut Plan) {
    let each = [Kind::Postgres, Kind::MariaDb];
    let name = "secrets_come_out_nowhere";
    plan.add(World::Bouncer, &each, name, secrets_come_out_nowhere);
}

/// All of the secrets of the scene have this in them, and nothing else has.
const MARK: &str = "hush";

async fn secrets_come_out_nowhere(server: &'static Server) {
    let mut tenant = Tenant::on(server, "discreet");
    tenant.password = format!("{MARK}-tenant");
    let verifier = set_password(server, &tenant);
    let folder =
        std::env::temp_dir().join(format!("dbbouncer-{MARK}-{}", tenant.id).replace(MARK, "quiet"));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("secret");
    std::fs::write(&file, format!("{MARK}-file\n")).unwrap();
    tenant.set(&format!(
        "users: {{app: {{password: {MARK}-app}}, bob: {{verifier: '{verifier}'}}, eve: {{password: '${{HUSH}}'}}}}"
    ));
    // Its database refuses it, and says so in its own words.
    let mut wrong = tenant.clone();
    wrong.id = format!("{}-wrong", tenant.id);
    wrong.settings.clear();
    wrong.set(&format!(
        "users: {{app: {{password: 'file:{}'}}}}",
        file.display()
    ));
    wrong.set("acquire_timeout: 1s");
    wrong.password = format!("{MARK}-not-the-one");
    let authority = Authority::new();
    authority.certify("server", "localhost", &["localhost"]);
    authority.certify("client", "bouncer", &[]);
    tenant.set(&format!("sslcert: {}", authority.path("client.crt")));
    tenant.set(&format!("sslkey: {}", authority.path("client.key")));
    let mut tenants = vec![tenant.clone(), wrong.clone()];
    if server.kind.is_postgres() {
        tenants.extend(by_the_database(server, &tenant));
    }
    let config = Config::for_tenants(&tenants)
        .env("RUST_LOG", "trace")
        .env("HUSH", &format!("{MARK}-env"))
        .with(&format!("api_key: {MARK}-api-key"))
        .with(&format!("tls_cert: {}", authority.path("server.crt")))
        .with(&format!("tls_key: {}", authority.path("server.key")));
    let bouncer = Bouncer::start(&config);
    let keys = ["server.key", "client.key"]
        .map(|key| std::fs::read_to_string(authority.path(key)).unwrap())
        .concat();

    let mut came_out = Vec::new();
    let door = |tenant: &Tenant, user: &str, password: &str| {
        let mut door = bouncer.door(tenant);
        door.user = format!("{}__{user}", tenant.id);
        door.password = format!("{MARK}-{password}");
        door
    };
    let mut logins = vec![
        (&tenant, "app", "app", true),
        (&tenant, "bob", "tenant", true),
        (&tenant, "eve", "env", true),
        (&tenant, "app", "a-bad-guess", false),
        (&tenant, "nobody", "a-bad-guess", false),
        (&wrong, "app", "file", false),
    ];
    for (tenant, is_good) in tenants[2..].iter().zip([true, true, false]) {
        logins.push((tenant, &tenant.username, "tenant", is_good));
        logins.push((tenant, &tenant.username, "a-bad-guess", false));
    }
    for (tenant, user, password, is_good) in logins {
        let told = work(&door(tenant, user, password)).await;
        assert_eq!(told.is_ok(), is_good, "{user}: {told:?}");
        came_out.extend(told.err());
    }
    came_out.extend(ask_for_everything(&bouncer, &tenant));
    let no_key = format!("-----BEGIN PRIVATE KEY-----\n{MARK}\n-----END PRIVATE KEY-----\n");
    std::fs::write(authority.path("server.key"), no_key).unwrap();
    came_out.push(reload_what_is_bad(&bouncer, &config, &tenant));
    let log = bouncer.log();
    assert!(
        log.contains("TRACE") || log.contains("DEBUG"),
        "the log is not talkative"
    );
    came_out.push(log);
    std::fs::remove_dir_all(&folder).unwrap();

    let mut secrets = vec![MARK.to_owned(), "HUSH-".to_owned()];
    secrets.extend(
        ["tenant", "app", "env", "file", "api-key", "auth"]
            .map(|word| STANDARD.encode(format!("{MARK}-{word}"))),
    );
    secrets.extend(["tenant", "app", "auth"].map(|word| hex(&format!("{MARK}-{word}"))));
    let lines = keys.lines().filter(|line| !line.starts_with('-'));
    secrets.extend(lines.map(str::to_owned));
    // Of a verifier, what follows its salt.
    secrets.extend(
        verifier
            .split(['$', ':'])
            .filter(|part| part.len() > 24)
            .map(str::to_owned),
    );
    for said in &came_out {
        for secret in &secrets {
            let place = said.find(secret.as_str());
            let around = place.map(|at| {
                said[at.saturating_sub(300)..]
                    .chars()
                    .take(500)
                    .collect::<String>()
            });
            assert_eq!(around, None, "{secret} came out");
        }
    }
    bouncer.stop();
}

/// The same tenant with users that its own database decides on: passed on to it, looked up in it, and looked up by somebody
/// whom it refuses.
fn by_the_database(server: &Server, tenant: &Tenant) -> [Tenant; 3] {
    let looker = format!("{}_looker", tenant.dbname);
    server.sql(
        "",
        &format!("CREATE ROLE {looker} SUPERUSER LOGIN PASSWORD '{MARK}-auth'"),
    );
    let like = |name: &str, settings: &[&str]| {
        let id = format!("{}-{name}", tenant.id);
        let mut like = Tenant {
            id,
            settings: Vec::new(),
            ..tenant.clone()
        };
        for setting in settings {
            like.set(setting);
        }
        like
    };
    let (asks, by) = ("auth_query: pg_authid", format!("auth_user: {looker}"));
    let right = format!("auth_password: {MARK}-auth");
    let wrong = format!("auth_password: {MARK}-not-auth");
    [
        like(
            "passed",
            &["client_auth: passthrough", "pool_mode: session"],
        ),
        like("looked", &[asks, &by, &right]),
        like("refused", &[asks, &by, &wrong]),
    ]
}

/// Gives the tenant's account its password, and answers how the database keeps it.
fn set_password(server: &Server, tenant: &Tenant) -> String {
    let Tenant {
        username, password, ..
    } = tenant;
    if server.kind.is_postgres() {
        server.sql("", &format!("ALTER ROLE {username} PASSWORD '{password}'"));
        server.sql(
            "",
            &format!("SELECT rolpassword FROM pg_authid WHERE rolname = '{username}'"),
        )
    } else {
        server.sql(
            "",
            &format!("ALTER USER {username}@'%' IDENTIFIED BY '{password}'"),
        );
        server.sql("", &format!("SELECT PASSWORD('{password}')"))
    }
}

/// Logs in and says a secret to the database; the error, if it does not come to that.
async fn work(door: &Door) -> Result<(), String> {
    if door.kind.is_postgres() {
        let client = try_postgres(&postgres_config(door))
            .await
            .map_err(|error| format!("{error:?}"))?;
        client
            .batch_execute(&format!("SET app.token TO '{MARK}-sql'; SELECT 1"))
            .await
            .unwrap();
        client
            .query("SELECT $1::text", &[&format!("{MARK}-value")])
            .await
            .unwrap();
        client
            .batch_execute(&format!("SELECT '{MARK}-error'::int"))
            .await
            .unwrap_err();
    } else {
        let client = mysql_async::Conn::new(mysql_options(door)).await;
        let mut client = client.map_err(|error| format!("{error:?}"))?;
        client
            .query_drop(format!("SELECT '{MARK}-sql'"))
            .await
            .unwrap();
        client
            .exec_drop("SELECT ?", (format!("{MARK}-value"),))
            .await
            .unwrap();
        client
            .query_drop(format!("SELECT {MARK}_error"))
            .await
            .unwrap_err();
        client.disconnect().await.unwrap();
    }
    Ok(())
}

/// Everything that the API can be asked, with and without the token; and what it is told that is wrong.
fn ask_for_everything(bouncer: &Bouncer, tenant: &Tenant) -> Vec<String> {
    let (api, id) = (bouncer.api(), &tenant.id);
    let mut answers = Vec::new();
    let key = format!("{MARK}-api-key");
    for token in [&key, &format!("{MARK}-no-key")] {
        for path in [
            "/",
            "/tenants",
            &format!("/tenants/{id}"),
            &format!("/tenants/{id}/stats"),
            "/config",
            "/shards",
            "/metrics",
            "/health",
            "/ready",
            "/openapi.json",
            "/nothing",
        ] {
            answers.push(ask(api, token, "GET", path, ""));
        }
        answers.push(ask(api, token, "POST", "/reload", ""));
    }
    let made = |password: &str, rest: &str| {
        format!(
            r#"{{"id": "made", "db_type": "postgres", "host": "127.0.0.1", "port": 1, "dbname": "d", "username": "u",
            "min_connections": 0, "password": {password}{rest}}}"#
        )
    };
    let users = format!(
        r#", "users": {{"x": {{"password": "{MARK}-x"}}, "y": {{"verifier": "md5{MARK}"}}}}"#
    );
    for (method, path, body) in [
        ("POST", "/tenants", made(&format!(r#""{MARK}-made""#), "")),
        ("GET", "/tenants/made", String::new()),
        (
            "PUT",
            "/tenants/made",
            made(&format!(r#""{MARK}-made-anew""#), &users),
        ),
        (
            "PUT",
            "/tenants/made",
            made(&format!(r#"["{MARK}-in-a-list"]"#), ""),
        ),
        (
            "PUT",
            "/tenants/made",
            made(&format!(r#"{{"k": "{MARK}"}}"#), ""),
        ),
        (
            "PUT",
            "/tenants/made",
            made(
                &format!(r#""{MARK}-twice", "password": "{MARK}-twice""#),
                "",
            ),
        ),
        (
            "PUT",
            "/tenants/made",
            made(
                &format!(r#""file:/{MARK}""#),
                &users.replace("md5", "SCRAM-SHA-256$"),
            ),
        ),
        (
            "PUT",
            "/tenants/made",
            made(
                &format!(r#""${{{MARK}-no-variable""#),
                &format!(r#", "passwrod": "{MARK}""#),
            ),
        ),
        (
            "PUT",
            "/tenants/made",
            made("1", &format!(r#", "users": "{MARK}""#)),
        ),
        (
            "PUT",
            "/tenants/made",
            format!(r#"{{"password": "{MARK}" "no JSON""#),
        ),
        ("POST", "/tenants/made/drain", String::new()),
        ("DELETE", "/tenants/made", String::new()),
    ] {
        answers.push(ask(api, &key, method, path, &body));
    }
    answers
}

/// One request, and all of its answer.
fn ask(api: SocketAddr, token: &str, method: &str, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(api).expect("the API listens");
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    stream
        .write_all((head + body).as_bytes())
        .expect("the API reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the API answers");
    answer
}

/// Puts a config in place that is wrong where its secrets are; what the log says of it is in the log, and what the
/// command line says of it is answered.
fn reload_what_is_bad(bouncer: &Bouncer, config: &Config, tenant: &Tenant) -> String {
    let mut bad = tenant.clone();
    bad.password = String::new();
    bad.settings.clear();
    bad.set(&format!(
        "users: {{a: {{password: [{MARK}]}}, b: {{verifier: {MARK}}}, c: {{k: {MARK}}}, d: {MARK}}}"
    ));
    bad.set(&format!("passwrod: {MARK}"));
    let path = bouncer.rewrite(
        &config
            .clone()
            .instead(&[bad])
            .with(&format!("api_key: [{MARK}]")),
    );
    let token = format!("{MARK}-api-key");
    let answer = ask(bouncer.api(), &token, "POST", "/reload", "");
    eventually("the reload has failed", || {
        bouncer.log().contains("passwrod").then_some(())
    });
    let checked = Command::new(bouncer.program())
        .args(["check", "--config"])
        .arg(path)
        .output()
        .unwrap();
    assert!(!checked.status.success());
    [answer.as_bytes(), &checked.stdout, &checked.stderr]
        .map(String::from_utf8_lossy)
        .concat()
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

//! TLS towards clients: who is let in, what is shown, and what must never pass in clear.

use testbed::{
    Authority, Bouncer, Config, Door, Kind, Plan, Said, Server, Tenant, Tool, World, tool,
};

use crate::raw::Raw;

pub fn plan(plan: &mut Plan) {
    use Kind::{MariaDb, MySql, Postgres};
    let mut add = |world, kinds: &[Kind], name, scenario: fn(&'static Server)| {
        plan.add(world, kinds, name, async move |server| scenario(server));
    };
    add(World::Bouncer, &[Postgres], "tls_clients", tls_clients);
    add(World::Bouncer, &[Postgres], "tls_required", tls_required);
    add(
        World::Bouncer,
        &[Postgres],
        "sni_names_the_tenant",
        sni_names_the_tenant,
    );
    add(
        World::Bouncer,
        &[Postgres],
        "bytes_before_the_handshake_end_it",
        bytes_before,
    );
    add(
        World::Bouncer,
        &[MariaDb, MySql],
        "mysql_tls_clients",
        mysql_tls_clients,
    );
}

/// An authority that has certified the bouncer, and the lines of its config.
pub fn certified(config: Config) -> (Authority, Config) {
    let authority = Authority::new();
    authority.certify("server", "localhost", &["localhost", "*.pool.test"]);
    let config = config
        .with(&format!("tls_cert: {}", authority.path("server.crt")))
        .with(&format!("tls_key: {}", authority.path("server.key")));
    (authority, config)
}

/// psql with these parts of a connection string.
pub fn psql(door: &Door, parts: &str, sql: &str) -> Said {
    psql_tool(&conninfo(door, parts), &door.password)
        .args(["-c", sql])
        .run()
}

/// A connection string, with these parts.
pub fn conninfo(door: &Door, parts: &str) -> String {
    format!(
        "host=localhost hostaddr={} port={} user={} dbname={} {parts}",
        door.host(),
        door.port(),
        door.user,
        door.dbname
    )
}

fn psql_tool(conninfo: &str, password: &str) -> Tool {
    tool("psql")
        .args([
            "-X",
            "-A",
            "-t",
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            "-d",
            conninfo,
        ])
        .env("PGPASSWORD", password)
}

pub const WHOAMI: &str = "SELECT id FROM whoami";

fn tls_clients(server: &'static Server) {
    let tenant = Tenant::on(server, "tls");
    let clear = Tenant::on(server, "clear").with("client_auth: password");
    let (authority, config) = certified(Config::for_tenants(&[tenant.clone(), clear.clone()]));
    let other = Authority::new();
    let bouncer = Bouncer::start(&config);
    let door = bouncer.door(&tenant);
    let roots = |authority: &Authority| format!("sslrootcert={}", authority.path("ca.crt"));
    for parts in [
        "sslmode=require".to_owned(),
        "sslmode=require channel_binding=require".to_owned(),
        format!("sslmode=verify-full {}", roots(&authority)),
        "sslmode=disable".to_owned(),
    ] {
        assert_eq!(
            psql(&door, &parts, WHOAMI).expect_ok(),
            tenant.id,
            "{parts}"
        );
    }
    let distrusting = psql(
        &door,
        &format!("sslmode=verify-ca {}", roots(&other)),
        WHOAMI,
    );
    assert!(
        distrusting.err.contains("certificate verify failed"),
        "{}",
        distrusting.err
    );
    bouncer.log_line(&["WARN", "no agreement with the client", "UnknownCA"]);
    let wrong = Door {
        password: "wrong".to_owned(),
        ..door
    };
    let refused = psql(&wrong, "sslmode=require channel_binding=require", WHOAMI);
    assert!(
        refused.err.contains("password authentication failed"),
        "{}",
        refused.err
    );
    let by_password = psql(&bouncer.door(&clear), "sslmode=require", WHOAMI);
    assert_eq!(by_password.expect_ok(), clear.id);
    bouncer.stop();
}

fn tls_required(server: &'static Server) {
    let tenant = Tenant::on(server, "required");
    let (_authority, config) = certified(Config::for_tenants(std::slice::from_ref(&tenant)));
    let config = config
        .with("tls_mode: require")
        .with("tls_min_version: 1.3");
    let bouncer = Bouncer::start(&config);
    let door = bouncer.door(&tenant);
    assert_eq!(
        psql(&door, "sslmode=require", WHOAMI).expect_ok(),
        tenant.id
    );
    let plain = psql(&door, "sslmode=disable", WHOAMI);
    assert!(
        plain.err.contains("takes connections with TLS only"),
        "{}",
        plain.err
    );
    let old = psql(
        &door,
        "sslmode=require ssl_max_protocol_version=TLSv1.2",
        WHOAMI,
    );
    assert!(old.err.contains("protocol version"), "{}", old.err);

    let mut raw = Raw::to(bouncer.postgres());
    raw.say(&startup(&door.user));
    assert_eq!(raw.last_words().state, "28000");
    // A MySQL client is told in its own protocol.
    let refused = tool("mariadb")
        .args([
            "--no-defaults",
            "--skip-ssl",
            "-h",
            "127.0.0.1",
            "-uacme__app",
            "-px",
        ])
        .args(["-P", &bouncer.mysql().port().to_string(), "-e", "SELECT 1"])
        .run();
    assert!(refused.err.contains("ERROR 3159"), "{}", refused.err);
    bouncer.stop();
}

fn sni_names_the_tenant(server: &'static Server) {
    let tenant = Tenant::on(server, "sni");
    let (authority, config) = certified(Config::for_tenants(std::slice::from_ref(&tenant)));
    let bouncer = Bouncer::start(&config.clone().with("tls_sni_domain: pool.test"));
    let named = |bouncer: &Bouncer, host: &str, user: &str| {
        let conninfo = format!(
            "host={host} hostaddr=127.0.0.1 port={} user={user} dbname={} sslmode=verify-full sslrootcert={}",
            bouncer.postgres().port(),
            tenant.dbname,
            authority.path("ca.crt")
        );
        psql_tool(&conninfo, &tenant.password)
            .args(["-c", WHOAMI])
            .run()
    };
    let host = format!("{}.pool.test", tenant.id);
    let with_tenant = format!("{}__app", tenant.id);
    assert_eq!(named(&bouncer, &host, "app").expect_ok(), tenant.id);
    assert_eq!(named(&bouncer, &host, &with_tenant).expect_ok(), tenant.id);
    assert_eq!(
        named(&bouncer, "localhost", &with_tenant).expect_ok(),
        tenant.id
    );
    let conflict = named(&bouncer, "other.pool.test", &with_tenant);
    assert!(
        conflict.err.contains("conflicting tenant ids"),
        "{}",
        conflict.err
    );
    bouncer.stop();

    // Without the domain a host is nobody's in particular: it helps out, and contradicts nobody.
    let bouncer = Bouncer::start(&config);
    assert_eq!(named(&bouncer, &host, "app").expect_ok(), tenant.id);
    assert_eq!(
        named(&bouncer, "other.pool.test", &with_tenant).expect_ok(),
        tenant.id
    );
    bouncer.stop();
}

fn startup(user: &str) -> Vec<u8> {
    let body = format!("user\0{user}\0\0");
    let mut message = (body.len() as u32 + 8).to_be_bytes().to_vec();
    message.extend_from_slice(&196_608_u32.to_be_bytes());
    message.extend_from_slice(body.as_bytes());
    message
}

pub const SSL_REQUEST: &[u8] = b"\0\0\0\x08\x04\xd2\x16\x2f";

/// T1: words in clear before TLS must not count as if they had come through it.
fn bytes_before(server: &'static Server) {
    let tenant = Tenant::on(server, "t1");
    let (_authority, config) = certified(Config::for_tenants(std::slice::from_ref(&tenant)));
    let bouncer = Bouncer::start(&config);
    let user = bouncer.door(&tenant).user;
    // In one segment with the request.
    let mut raw = Raw::to(bouncer.postgres());
    raw.say(&[SSL_REQUEST, &startup(&user)].concat());
    assert_eq!(raw.last_words().state, "08P01");
    // And behind the answer to it: what comes back is an alert of TLS, if anything, and never a word of PostgreSQL's.
    let mut raw = Raw::to(bouncer.postgres());
    raw.say(SSL_REQUEST);
    assert_eq!(raw.take(1), b"S");
    raw.say(&startup(&user));
    let said = raw.rest();
    assert!(said.is_empty() || said[0] == 0x15, "{said:?}");
    // The same in MySQL: an SSLRequest, and a login in clear behind it.
    let mut raw = Raw::to(bouncer.mysql());
    let (_, greeting) = raw.packet();
    assert_eq!(greeting[0], 10);
    let mut request = vec![32, 0, 0, 1, 0x85, 0xae, 0x0f, 0, 0, 0, 0, 1, 45];
    request.resize(36, 0);
    request.extend_from_slice(b"\x20\0\0\x02\x85\xa6\x0f\0\0\0\0\x01\x2d");
    request.resize(72, 0);
    raw.say(&request);
    let said = raw.rest();
    assert!(said.is_empty() || said[0] == 0x15, "{said:?}");
    // TLS at once, without the name of the protocol: an alert of ours, or the end, but no session.
    let direct = tool("openssl")
        .args([
            "s_client",
            "-quiet",
            "-connect",
            &bouncer.postgres().to_string(),
        ])
        .fed("");
    assert!(direct.out.is_empty(), "{}", direct.out);
    bouncer.log_line(&["no protocol was agreed on by ALPN"]);
    bouncer.stop();
}

pub fn mysql_at(door: &Door, options: &[&str], sql: &str) -> Said {
    let client = tool("mariadb").args(["--no-defaults"]);
    asked_by(client, door, options, sql)
}

/// The same by this client, MariaDB's or MySQL's own.
pub fn asked_by(client: Tool, door: &Door, options: &[&str], sql: &str) -> Said {
    client
        .args([
            "-N",
            "-h",
            "127.0.0.1",
            "-P",
            &door.port(),
            "-u",
            &door.user,
        ])
        .arg(format!("-p{}", door.password))
        .args(options)
        .args([&door.dbname, "-e", sql])
        .run()
}

fn mysql_tls_clients(server: &'static Server) {
    let tenant = Tenant::on(server, "tls");
    let (authority, config) = certified(Config::for_tenants(std::slice::from_ref(&tenant)));
    authority.certify("server", "localhost", &["localhost", "127.0.0.1"]);
    let bouncer = Bouncer::start(&config);
    let door = bouncer.door(&tenant);
    let ca = format!("--ssl-ca={}", authority.path("ca.crt"));
    let big = "SELECT length(repeat('x', 5000000)), id FROM whoami";
    let verified = ["--ssl-verify-server-cert", &ca];
    let said = mysql_at(&door, &verified, big).expect_ok();
    assert_eq!(said, format!("5000000\t{}", tenant.id));
    assert_eq!(
        mysql_at(&door, &["--skip-ssl"], WHOAMI).expect_ok(),
        tenant.id
    );
    let other = Authority::new();
    let foreign = format!("--ssl-ca={}", other.path("ca.crt"));
    let distrusting = mysql_at(&door, &["--ssl-verify-server-cert", &foreign], WHOAMI);
    assert!(
        distrusting.err.contains("TLS/SSL error"),
        "{}",
        distrusting.err
    );
    // A password in clear: inside TLS it is taken, and outside it is not even looked at.
    let clear = ["--default-auth=mysql_clear_password", &ca];
    assert_eq!(mysql_at(&door, &clear, WHOAMI).expect_ok(), tenant.id);
    let wrong = Door {
        password: "wrong".to_owned(),
        ..door.clone()
    };
    let refused = mysql_at(&wrong, &clear, WHOAMI);
    assert!(refused.err.contains("ERROR 1045"), "{}", refused.err);
    bouncer.stop();
}

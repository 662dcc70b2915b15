//! TLS towards clients: who is let in, what is shown, and what must never pass in clear.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};

use testbed::{
    Authority, Bouncer, Config, Door, Kind, Plan, Said, Server, Tenant, Tool, World, eventually,
    tool,
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
        "certificates_replaced_while_connected",
        replaced,
    );
    add(
        World::Bouncer,
        &[Postgres],
        "bytes_before_the_handshake_end_it",
        bytes_before,
    );
    add(
        World::Bouncer,
        &[Postgres, MariaDb],
        "certificates_as_logins",
        certificates_as_logins,
    );
    add(
        World::Bouncer,
        &[MariaDb, MySql],
        "mysql_tls_clients",
        mysql_tls_clients,
    );
}

/// An authority that has certified the bouncer, and the lines of its config.
fn certified(config: Config) -> (Authority, Config) {
    let authority = Authority::new();
    authority.certify("server", "localhost", &["localhost", "*.pool.test"]);
    let config = config
        .with(&format!("tls_cert: {}", authority.path("server.crt")))
        .with(&format!("tls_key: {}", authority.path("server.key")));
    (authority, config)
}

/// psql with these parts of a connection string.
pub fn psql(door: &Door, parts: &str, sql: &str) -> Said {
    let conninfo = format!(
        "host=localhost hostaddr={} port={} user={} dbname={} {parts}",
        door.host(),
        door.port(),
        door.user,
        door.dbname
    );
    psql_tool(&conninfo, &door.password).args(["-c", sql]).run()
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

fn certificates_as_logins(server: &'static Server) {
    let tenant = Tenant::on(server, "bycert").with("client_auth: cert");
    let mapped = Tenant::on(server, "mapped")
        .with("client_auth: cert")
        .with("cert_users: {service.test: app}");
    let (authority, config) = certified(Config::for_tenants(&[tenant.clone(), mapped.clone()]));
    let (stranger, ca) = (Authority::new(), authority.path("ca.crt"));
    let bouncer = Bouncer::start(&config.with(&format!("tls_client_ca: {ca}")));
    let (door, other_door) = (bouncer.door(&tenant), bouncer.door(&mapped));
    authority.certify("own", &door.user, &[]);
    authority.certify("service", "anything", &["service.test"]);
    let user = door.user.strip_prefix(&format!("{}__", tenant.id));
    let user = user.expect("a door names its tenant");
    authority.certify("bare", user, &[]);
    stranger.certify("own", &door.user, &[]);
    let login = |door: &Door, shown: Option<(&Authority, &str)>| {
        let path = |file: &str, ending: &str| format!("{file}.{ending}");
        let (certificate, key) = shown.map_or_else(Default::default, |(authority, file)| {
            (
                authority.path(&path(file, "crt")),
                authority.path(&path(file, "key")),
            )
        });
        if server.kind.is_postgres() {
            let parts = match shown {
                None => "sslmode=require sslcert=/nowhere".to_owned(),
                Some(_) => format!("sslmode=require sslcert={certificate} sslkey={key}"),
            };
            return psql(door, &parts, WHOAMI);
        }
        let (ca, certificate, key) = (
            format!("--ssl-ca={ca}"),
            format!("--ssl-cert={certificate}"),
            format!("--ssl-key={key}"),
        );
        let options = [ca.as_str(), &certificate, &key];
        mysql_at(
            door,
            &options[..if shown.is_some() { 3 } else { 1 }],
            WHOAMI,
        )
    };
    let denied = match server.kind.is_postgres() {
        true => "certificate authentication failed",
        false => "ERROR 1045",
    };
    assert_eq!(
        login(&door, Some((&authority, "own"))).expect_ok(),
        tenant.id
    );
    assert_eq!(
        login(&other_door, Some((&authority, "service"))).expect_ok(),
        mapped.id
    );
    for (door, shown) in [
        (&door, None),
        (&door, Some((&authority, "service"))),
        // A certificate for one tenant does not open another.
        (&other_door, Some((&authority, "own"))),
    ] {
        let said = login(door, shown);
        assert!(said.err.contains(denied), "{}", said.err);
    }
    // However the client names the tenant, the certificate must name it.
    if server.kind.is_postgres() {
        let by_option = Door {
            user: user.to_owned(),
            ..door.clone()
        };
        let parts = |file: &str| {
            let path = |ending: &str| authority.path(&format!("{file}.{ending}"));
            format!(
                "sslmode=require sslcert={} sslkey={} options='-c tenant_id={}'",
                path("crt"),
                path("key"),
                tenant.id
            )
        };
        let said = psql(&by_option, &parts("own"), WHOAMI);
        assert_eq!(said.expect_ok(), tenant.id);
        let said = psql(&by_option, &parts("bare"), WHOAMI);
        assert!(said.err.contains(denied), "{}", said.err);
    }
    let said = login(&door, Some((&stranger, "own")));
    assert!(!said.ok && !said.err.contains(denied), "{}", said.err);
    bouncer.log_line(&["no agreement with the client", "UnknownIssuer"]);
    bouncer.stop();
}

/// A psql that goes on for as long as the test wants.
struct Session(Child);

impl Session {
    fn open(door: &Door, parts: &str) -> Session {
        let conninfo = format!(
            "host=localhost hostaddr={} port={} user={} dbname={} {parts}",
            door.host(),
            door.port(),
            door.user,
            door.dbname
        );
        let child = Command::new("psql")
            .args(["-X", "-A", "-t", "-q", "-d", &conninfo])
            .env("PGPASSWORD", &door.password)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        Session(child.expect("psql is there"))
    }

    /// The first line of the answer.
    fn ask(&mut self, sql: &str) -> String {
        let stdin = self.0.stdin.as_mut().expect("a pipe");
        writeln!(stdin, "{sql};").expect("psql listens");
        let stdout = self.0.stdout.as_mut().expect("a pipe");
        let mut line = String::new();
        let mut byte = [0];
        while stdout.read(&mut byte).expect("psql speaks") == 1 && byte != *b"\n" {
            line.push(char::from(byte[0]));
        }
        line
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn replaced(server: &'static Server) {
    let tenant = Tenant::on(server, "rotation");
    let (authority, config) = certified(Config::for_tenants(std::slice::from_ref(&tenant)));
    let bouncer = Bouncer::start(&config);
    let door = bouncer.door(&tenant);
    let mut session = Session::open(&door, "sslmode=require");
    assert_eq!(session.ask(WHOAMI), tenant.id);
    let serial = || {
        let address = door.address.to_string();
        let shown = tool("openssl")
            .args([
                "s_client",
                "-starttls",
                "postgres",
                "-connect",
                &address,
                "-showcerts",
            ])
            .run();
        let end = "-----END CERTIFICATE-----";
        shown.out.split(end).next().map(ToOwned::to_owned)
    };
    let first = serial();
    // The certificate of one pair and the key of another: what is there stays.
    let key = std::fs::read(authority.path("server.key")).unwrap();
    authority.certify("spare", "localhost", &["localhost"]);
    std::fs::copy(authority.path("spare.key"), authority.path("server.key")).unwrap();
    bouncer.log_line(&["ERROR", "tls_key: is not the key of the certificate"]);
    assert_eq!(serial(), first);
    assert_eq!(
        psql(&door, "sslmode=require", WHOAMI).expect_ok(),
        tenant.id
    );
    std::fs::write(authority.path("server.key"), key).unwrap();

    authority.certify("server", "localhost", &["localhost", "new.test"]);
    bouncer.log_line(&["clients that connect from now on see the new TLS settings"]);
    eventually("the new certificate is shown", || {
        (serial() != first).then_some(())
    });
    let verified = format!(
        "sslmode=verify-full sslrootcert={}",
        authority.path("ca.crt")
    );
    assert_eq!(psql(&door, &verified, WHOAMI).expect_ok(), tenant.id);
    assert_eq!(session.ask(WHOAMI), tenant.id, "who was here is here");
    drop(session);
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

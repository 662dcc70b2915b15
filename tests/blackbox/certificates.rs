//! Certificates: those that clients log in with, and our own, replaced while clients are connected.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};

use testbed::{
    Authority, Bouncer, Config, Door, Kind, Plan, Server, Tenant, World, eventually, tool,
};

use crate::tls::{WHOAMI, certified, conninfo, mysql_at, psql};

pub fn plan(plan: &mut Plan) {
    use Kind::{MariaDb, Postgres};
    let mut add = |kinds: &[Kind], name, scenario: fn(&'static Server)| {
        plan.add(World::Bouncer, kinds, name, async move |server| {
            scenario(server)
        });
    };
    add(
        &[Postgres, MariaDb],
        "certificates_as_logins",
        certificates_as_logins,
    );
    add(
        &[Postgres],
        "certificates_replaced_while_connected",
        replaced,
    );
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
        let child = Command::new("psql")
            .args(["-X", "-A", "-t", "-q", "-d", &conninfo(door, parts)])
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

//! Bad input: whoever is refused is told why in its own protocol, the log has a line with the reason, and nobody else
//! notices. Each scenario keeps a session open beside the trouble and uses it afterwards.

use std::net::SocketAddr;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use testbed::{Bouncer, Config, Kind, Plan, Server, Tenant, World, tool};
use tokio_postgres::Client;

use crate::drivers::{mysql, postgres};
use crate::health::sample;
use crate::limits::refusal;
use crate::raw::{Complaint, Raw, handshake_response, message, packet, startup, startup_of};

pub fn plan(plan: &mut Plan) {
    let postgres = [Kind::Postgres];
    let each = [Kind::Postgres, Kind::MariaDb];
    plan.add(
        World::Bouncer,
        &each,
        "a_probe_is_no_event",
        a_probe_is_no_event,
    );
    plan.add(
        World::Bouncer,
        &each,
        "garbage_is_refused",
        garbage_is_refused,
    );
    plan.add(
        World::Bouncer,
        &each,
        "the_wrong_protocol_is_refused",
        the_wrong_protocol_is_refused,
    );
    plan.add(
        World::Bouncer,
        &each,
        "a_slow_login_runs_out_of_time",
        a_slow_login_runs_out_of_time,
    );
    plan.add(
        World::Bouncer,
        &postgres,
        "encryption_is_answered_before_the_startup",
        encryption_is_answered,
    );
    plan.add(
        World::Bouncer,
        &postgres,
        "protocol_versions",
        protocol_versions,
    );
    plan.add(
        World::Bouncer,
        &postgres,
        "what_one_client_asks_for_is_refused_to_it_alone",
        what_one_client_asks_for,
    );
}

/// A bouncer with two tenants: one for the trouble, one whose session must not notice it.
pub struct Scene {
    pub tenant: Tenant,
    pub bouncer: Bouncer,
    bystander: Session,
}

pub enum Session {
    Postgres(Client),
    MySql(Conn),
}

impl Scene {
    pub async fn set(server: &Server, change: impl FnOnce(&mut Tenant), config: &str) -> Scene {
        let mut tenants = Tenant::many_on(server, "trouble", 2);
        change(&mut tenants[0]);
        let bouncer = Bouncer::start(&Config::for_tenants(&tenants).with(config));
        let bystander = Session::of(&bouncer, &tenants[1]).await;
        Scene {
            tenant: tenants.remove(0),
            bouncer,
            bystander,
        }
    }

    async fn quiet(server: &Server) -> Scene {
        Scene::set(server, |_| (), "").await
    }

    pub fn port(&self) -> SocketAddr {
        self.bouncer.door(&self.tenant).address
    }

    /// How the door refuses the tenant's client.
    pub async fn refusal(&self) -> Complaint {
        refusal(&self.bouncer.door(&self.tenant)).await
    }

    pub async fn end(mut self) {
        assert!(self.bouncer.runs(), "{}", self.bouncer.log());
        self.bystander.works().await;
        drop(self.bystander);
        self.bouncer.stop();
    }
}

impl Session {
    pub async fn of(bouncer: &Bouncer, tenant: &Tenant) -> Session {
        let door = bouncer.door(tenant);
        if tenant.kind.is_postgres() {
            Session::Postgres(postgres(&door).await)
        } else {
            Session::MySql(mysql(&door).await)
        }
    }

    pub async fn works(&mut self) {
        match self {
            Session::Postgres(client) => {
                client
                    .query_one("SELECT 1", &[])
                    .await
                    .expect("the bystander is served");
            }
            Session::MySql(client) => client
                .query_drop("SELECT 1")
                .await
                .expect("the bystander is served"),
        }
    }
}

async fn a_probe_is_no_event(server: &'static Server) {
    let scene = Scene::quiet(server).await;
    let before = scene.bouncer.log();
    for _ in 0..20 {
        drop(Raw::to(scene.port()));
    }
    // A refusal does get its line; when it is there, the probes before it have been dealt with.
    let peer = say_nonsense(&scene);
    scene.bouncer.log_line(&[&peer]);
    let log = scene.bouncer.log();
    // What is said of the scene's own login may have come late.
    let of_login = |line: &&str| line.contains("listen.mysql_version");
    let lines = log[before.len()..].lines();
    let lines: Vec<_> = lines.filter(|line| !of_login(line)).collect();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    scene.end().await;
}

/// Sends what neither protocol can begin with, and answers the address it was sent from.
fn say_nonsense(scene: &Scene) -> String {
    let mut raw = Raw::to(scene.port());
    let peer = raw.0.local_addr().unwrap().to_string();
    if scene.tenant.kind.is_postgres() {
        raw.say(&[0xff; 64]).rest();
    } else {
        raw.packet();
        raw.say(&packet(1, &[0xff; 3])).rest();
    }
    peer
}

async fn garbage_is_refused(server: &'static Server) {
    let scene = Scene::quiet(server).await;
    let is_postgres = scene.tenant.kind.is_postgres();
    let user = format!("{}__app", scene.tenant.id);
    let whole = if is_postgres {
        startup(&[("user", &user)])
    } else {
        handshake_response(&user, None)
    };
    let mut openings: Vec<Vec<u8>> = vec![
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        vec![0; 64],
        vec![0xff; 64],
        vec![
            0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03,
        ], // a TLS ClientHello, uninvited
        [&[0x7f, 0xff, 0xff, 0xff][..], &[1; 100_000]].concat(), // a length nobody should believe
        [&[0xff, 0xff, 0xff, 0x01][..], &[1; 100_000]].concat(), // the same in MySQL's byte order
    ];
    if is_postgres {
        openings.push(startup_of(0x0003_0000, &[]));
        openings.push([&whole[..whole.len() - 1], b"x"].concat());
        openings.push(message(b'Q', b"SELECT 1\0"));
    } else {
        openings.push(packet(7, &whole[4..]));
        openings.push(packet(1, &whole[4..20]));
        openings.push(packet(1, b""));
    }
    for opening in openings {
        let mut raw = Raw::to(scene.port());
        let peer = raw.0.local_addr().unwrap().to_string();
        raw.say(&opening);
        raw.0.shutdown(std::net::Shutdown::Write).unwrap();
        let said = raw.rest();
        assert!(
            said.len() < 1000,
            "{} bytes in answer to {:?}",
            said.len(),
            &opening[..opening.len().min(16)]
        );
        scene.bouncer.log_line(&[&peer]);
    }
    // Cut off anywhere, a good beginning is a client that has left: no complaint, and nothing stays behind.
    for length in 1..whole.len() {
        let mut raw = Raw::to(scene.port());
        raw.say(&whole[..length]);
    }
    scene.end().await;
}

/// Each command line at the other's port.
async fn the_wrong_protocol_is_refused(server: &'static Server) {
    let scene = Scene::set(server, |_| (), LOGINS_END).await;
    let said = if scene.tenant.kind.is_postgres() {
        // It waits for a greeting that PostgreSQL does not give, until the login has taken too long.
        let port = scene.port().port().to_string();
        tool("mariadb")
            .args([
                "--no-defaults",
                "-h",
                "127.0.0.1",
                "-P",
                &port,
                "-u",
                "x",
                "-px",
                "-e",
                "SELECT 1",
            ])
            .run()
    } else {
        let line = format!(
            "host=127.0.0.1 port={} user=x dbname=x",
            scene.port().port()
        );
        tool("psql").args([&line, "-c", "SELECT 1"]).run()
    };
    assert!(!said.ok);
    assert!(!said.err.is_empty());
    scene.end().await;
}

async fn a_slow_login_runs_out_of_time(server: &'static Server) {
    let scene = Scene::set(server, |_| (), LOGINS_END).await;
    let is_postgres = scene.tenant.kind.is_postgres();
    let user = format!("{}__app", scene.tenant.id);
    let mut raw = Raw::to(scene.port());
    let peer = raw.0.local_addr().unwrap().to_string();
    let complaint = if is_postgres {
        raw.say(&startup(&[("user", &user)])[..9]);
        raw.last_words()
    } else {
        raw.packet();
        raw.say(&handshake_response(&user, None)[..40]);
        Complaint::of_mysql(&raw.packet().1)
    };
    is_refused(server, &complaint, "08006", ("08S01", 1159));
    scene.bouncer.log_line(&[&peer, "login"]);
    scene.end().await;
}

async fn encryption_is_answered(server: &'static Server) {
    let scene = Scene::set(server, |tenant| tenant.set("client_auth: trust"), "").await;
    let request = |code: u32| [8_u32.to_be_bytes(), code.to_be_bytes()].concat();
    let (ssl, gss) = (request(80_877_103), request(80_877_104));
    let mut raw = Raw::to(scene.port());
    assert_eq!(raw.say(&gss).take(1), b"N");
    assert_eq!(raw.say(&ssl).take(1), b"N");
    let user = format!("{}__app", scene.tenant.id);
    let seen = raw.say(&startup(&[("user", &user)])).until_ready();
    assert_eq!(seen[0], (b'R', vec![0, 0, 0, 0]));
    // A second request of the same kind, and bytes that came before the answer, are what a man in the middle would send.
    let mut raw = Raw::to(scene.port());
    raw.say(&[ssl.clone(), startup(&[("user", &user)])].concat());
    let said = raw.rest();
    assert!(!said.contains(&b'Z'), "no session: {said:?}");
    scene.end().await;
}

async fn protocol_versions(server: &'static Server) {
    let scene = Scene::set(server, |tenant| tenant.set("client_auth: trust"), "").await;
    let user = format!("{}__app", scene.tenant.id);
    for version in [0x0002_0000, 0x0004_0000] {
        let complaint = Raw::to(scene.port())
            .say(&startup_of(version, &[("user", &user)]))
            .last_words();
        assert_eq!(complaint.state, "0A000", "{complaint:?}");
    }
    let parameters = [("user", user.as_str()), ("_pq_.unheard_of", "1")];
    let seen = Raw::to(scene.port())
        .say(&startup_of(0x0003_0009, &parameters))
        .until_ready();
    let negotiated = seen
        .iter()
        .find(|(kind, _)| *kind == b'v')
        .expect("NegotiateProtocolVersion");
    assert_eq!(
        negotiated.1,
        [&[0, 3, 0, 2, 0, 0, 0, 1][..], b"_pq_.unheard_of\0"].concat()
    );
    let key = seen
        .iter()
        .find(|(kind, _)| *kind == b'K')
        .expect("BackendKeyData");
    assert_eq!(key.1.len(), 4 + 32, "protocol 3.2 has long secrets");
    scene.end().await;
}

/// Startup parameters that the database refuses for reasons of its own: the client hears them, and who
/// stands behind it in the line is served.
async fn what_one_client_asks_for(server: &'static Server) {
    let tenant = Tenant::on(server, "asking")
        .with("pool_mode: session")
        .with("min_connections: 0")
        .with("max_connections: 1")
        .with("client_auth: trust");
    server.sql("", &format!("GRANT by_trust TO {}", tenant.username));
    let bouncer = Bouncer::start(&Config::for_tenants(std::slice::from_ref(&tenant)));
    let door = bouncer.door(&tenant);
    let series = format!(
        "dbbouncer_connections_waiting{{tenant=\"{}\",db_type=\"postgres\"}}",
        tenant.id
    );
    let waits = |count: f64| {
        testbed::eventually("it waits", || {
            (sample(bouncer.api(), &series) >= count).then_some(())
        });
    };
    let opening = |options: &str| {
        let user = ("user", door.user.as_str());
        match options {
            "" => startup(&[user]),
            options => startup(&[user, ("options", options)]),
        }
    };
    for (options, state) in [
        ("-c shared_buffers=1MB", "55P02"),
        ("-c local_preload_libraries=nosuch", "58P01"),
    ] {
        let mut first = Raw::to(door.address);
        first.say(&opening("")).until_ready();
        let mut asking = Raw::to(door.address);
        asking.say(&opening(options));
        waits(1.0);
        let mut plain = Raw::to(door.address);
        plain.say(&opening(""));
        waits(2.0);
        first.say(&message(b'X', b"")).rest();
        // By trust it has been let in when its backend is opened.
        assert_eq!(asking.message().0, b'R');
        assert_eq!(asking.last_words().state, state);
        plain.until_ready();
        plain.say(&message(b'X', b"")).rest();
    }
    bouncer.stop();
}

/// Soon, but not before the bystander is in.
const LOGINS_END: &str = "limits: {login_timeout: 4s}";

/// By this SQLSTATE in the one protocol, by this one and this number in the other.
#[track_caller]
pub fn is_refused(server: &Server, complaint: &Complaint, postgres: &str, mysql: (&str, u16)) {
    let expected = match server.kind.is_postgres() {
        true => (postgres, 0),
        false => mysql,
    };
    let code = (complaint.state.as_str(), complaint.number);
    assert_eq!(code, expected, "{complaint:?}");
}

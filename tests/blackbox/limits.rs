//! Limits: who is one too many is told so in its own protocol, counted by reason, and gone without a trace.
//!
//! Loopback has many addresses: a client that binds to 127.0.0.2 comes from somewhere else.

use std::net::SocketAddr;

use testbed::{Bouncer, Config, Door, Kind, Plan, Server, Tenant, World, eventually};

use crate::drivers::{mysql, mysql_options, postgres, postgres_config, try_postgres, whoami};
use crate::health::QUICK_CHECKS;
use crate::health::sample;
use crate::raw::{Complaint, Raw, handshake_response, message, startup};

pub fn plan(plan: &mut Plan) {
    let each = [Kind::Postgres, Kind::MariaDb];
    plan.add(
        World::Bouncer,
        &each,
        "a_tenant_has_so_many_clients",
        a_tenant_has_so_many_clients,
    );
    plan.add(
        World::Bouncer,
        &each,
        "an_address_has_so_many_clients",
        an_address_has_so_many_clients,
    );
    plan.add(
        World::Bouncer,
        &each,
        "so_many_clients_may_prove_themselves_at_once",
        so_many_clients_may_prove_themselves_at_once,
    );
    plan.add(
        World::Bouncer,
        &each,
        "addresses_that_are_not_allowed_find_no_tenant",
        addresses_that_are_not_allowed_find_no_tenant,
    );
    plan.add(
        World::Bouncer,
        &each,
        "addresses_that_are_trusted_need_no_password",
        addresses_that_are_trusted_need_no_password,
    );
    plan.add(
        World::Bouncer,
        &[Kind::Postgres],
        "what_a_client_can_make_us_hold_is_bounded",
        what_a_client_can_make_us_hold_is_bounded,
    );
    plan.add(
        World::Bouncer,
        &[Kind::Postgres],
        "no_descriptors_are_left",
        no_descriptors_are_left,
    );
    plan.add(
        World::SessionMode,
        &[Kind::MariaDb, Kind::MySql],
        "an_account_with_all_its_connections_taken_is_waited_for",
        an_account_with_all_its_connections_taken,
    );
}

/// Why a login with the door's own password is refused.
pub async fn refusal(door: &Door) -> Complaint {
    if door.kind.is_postgres() {
        let error = try_postgres(&postgres_config(door)).await.err();
        let error = error.expect("a refusal");
        let error = error.as_db_error().expect("an ErrorResponse");
        Complaint {
            state: error.code().code().to_owned(),
            number: 0,
            message: error.message().to_owned(),
        }
    } else {
        match mysql_async::Conn::new(mysql_options(door)).await {
            Err(mysql_async::Error::Server(error)) => Complaint {
                state: error.state,
                number: error.code,
                message: error.message,
            },
            other => panic!("no ERR packet: {other:?}"),
        }
    }
}

/// SQLSTATE 53300 in the one protocol, 1040 in the other.
#[track_caller]
pub fn is_too_many(complaint: &Complaint, words: &str) {
    let code = (complaint.state.as_str(), complaint.number);
    assert!(
        [("53300", 0), ("08004", 1040), ("", 1040)].contains(&code),
        "{complaint:?}"
    );
    assert!(complaint.message.contains(words), "{complaint:?}");
}

/// SQLSTATE 28P01 in the one protocol, 1045 in the other.
#[track_caller]
pub fn is_unproven(complaint: &Complaint) {
    let code = (complaint.state.as_str(), complaint.number);
    assert!(
        [("28P01", 0), ("28000", 1045)].contains(&code),
        "{complaint:?}"
    );
}

/// How many ended for this reason.
pub fn ended(bouncer: &Bouncer, tenant: &str, reason: &str) -> f64 {
    let series =
        format!("dbbouncer_sessions_ended_total{{tenant=\"{tenant}\",reason=\"{reason}\"}}");
    sample(bouncer.api(), &series)
}

/// Waits until nobody is connected any more.
pub fn until_nobody_is_in(bouncer: &Bouncer) {
    for gauge in ["dbbouncer_clients ", "dbbouncer_clients_unauthenticated "] {
        eventually("nobody is in", || {
            (sample(bouncer.api(), gauge) == 0.0).then_some(())
        });
    }
}

/// One session of a tenant, as long as it is held.
pub enum Session {
    Postgres(#[allow(dead_code)] tokio_postgres::Client),
    MySql(#[allow(dead_code)] Box<mysql_async::Conn>),
}

pub async fn session(door: &Door) -> Session {
    if door.kind.is_postgres() {
        Session::Postgres(postgres(door).await)
    } else {
        Session::MySql(Box::new(mysql(door).await))
    }
}

async fn a_tenant_has_so_many_clients(server: &'static Server) {
    let mut tenants = Tenant::many_on(server, "many", 2);
    tenants[0].set("max_client_connections: 1");
    let bouncer = Bouncer::start(&Config::for_tenants(&tenants));
    let (door, other) = (bouncer.door(&tenants[0]), bouncer.door(&tenants[1]));
    let first = session(&door).await;
    is_too_many(
        &refusal(&door).await,
        "all 1 places of the tenant are taken",
    );
    // Who has not proved anything does not learn how full the tenant is.
    let wrong = Door {
        password: "wrong".to_owned(),
        ..door.clone()
    };
    is_unproven(&refusal(&wrong).await);
    assert_eq!(whoami(&other).await, tenants[1].id);
    assert_eq!(ended(&bouncer, &tenants[0].id, "too_many_of_tenant"), 1.0);
    bouncer.log_line(&[&tenants[0].id, "all 1 places of the tenant are taken"]);
    drop(first);
    until_nobody_is_in(&bouncer);
    assert_eq!(whoami(&door).await, tenants[0].id);
    bouncer.stop();
}

async fn an_address_has_so_many_clients(server: &'static Server) {
    let tenant = Tenant::on(server, "address").with("client_auth: trust");
    let limits = "limits: {client_connections_per_address: 2}";
    let bouncer = Bouncer::start(&Config::for_tenants(std::slice::from_ref(&tenant)).with(limits));
    let door = bouncer.door(&tenant);
    let held = [session(&door).await, session(&door).await];
    let words = "all 2 places for clients from one address are taken";
    is_too_many(&refused_at_once(&door).await, words);
    let elsewhere = log_in_from([127, 0, 0, 2], &door).await;
    assert_eq!(ended(&bouncer, "_unknown", "too_many_from_address"), 1.0);
    drop((held, elsewhere));
    until_nobody_is_in(&bouncer);
    drop(session(&door).await);
    bouncer.stop();
}

/// What a client hears that says nothing itself.
async fn refused_at_once(door: &Door) -> Complaint {
    let mut raw = Raw::to(door.address);
    if door.kind.is_postgres() {
        raw.last_words()
    } else {
        Complaint::of_mysql(&raw.packet().1)
    }
}

/// A session of a client from there, where no password is asked for.
async fn log_in_from(address: [u8; 4], door: &Door) -> Raw {
    let mut raw = Raw::from(address, door.address).await;
    let answer = answer_to_login(&mut raw, door);
    let expected = if door.kind.is_postgres() { b'Z' } else { 0 };
    assert_eq!(answer.0, expected, "{answer:?}");
    raw
}

/// The message that tells how a login without a password went: ReadyForQuery or OK, a request for a password, or a
/// complaint.
fn answer_to_login(raw: &mut Raw, door: &Door) -> (u8, Vec<u8>) {
    if !door.kind.is_postgres() {
        raw.packet();
        let answer = raw
            .say(&handshake_response(&door.user, Some(&door.dbname)))
            .packet()
            .1;
        return (answer[0], answer);
    }
    raw.say(&startup(&[("user", &door.user)]));
    loop {
        let (kind, body) = raw.message();
        let asks = kind == b'R' && body != [0; 4];
        if asks || kind == b'Z' || kind == b'E' {
            return (kind, body);
        }
    }
}

async fn so_many_clients_may_prove_themselves_at_once(server: &'static Server) {
    let tenant = Tenant::on(server, "logins");
    let limits = "limits: {unauthenticated_connections: 2}";
    let bouncer = Bouncer::start(&Config::for_tenants(std::slice::from_ref(&tenant)).with(limits));
    let door = bouncer.door(&tenant);
    // Who is in takes none of these places.
    let served = [
        session(&door).await,
        session(&door).await,
        session(&door).await,
    ];
    let idle = [Raw::to(door.address), Raw::to(door.address)];
    eventually("both are in", || {
        (sample(bouncer.api(), "dbbouncer_clients_unauthenticated ") == 2.0).then_some(())
    });
    let words = "all 2 places for logins under way are taken";
    is_too_many(&refused_at_once(&door).await, words);
    assert_eq!(ended(&bouncer, "_unknown", "too_many_logins"), 1.0);
    drop(idle);
    eventually("their places are free", || {
        (sample(bouncer.api(), "dbbouncer_clients_unauthenticated ") == 0.0).then_some(())
    });
    assert_eq!(whoami(&door).await, tenant.id);
    drop(served);
    until_nobody_is_in(&bouncer);
    bouncer.stop();
}

async fn addresses_that_are_not_allowed_find_no_tenant(server: &'static Server) {
    let tenant = Tenant::on(server, "allowed")
        .with("client_auth: trust")
        .with("allowed_addresses: [127.0.0.2/31, '2001:db8::/32']");
    let bouncer = Bouncer::start(&Config::for_tenants(std::slice::from_ref(&tenant)));
    let door = bouncer.door(&tenant);
    let unknown = Door {
        user: "nobody-knows-it__app".to_owned(),
        ..door.clone()
    };
    let told = [refusal(&door).await, refusal(&unknown).await];
    is_unproven(&told[0]);
    assert_eq!(
        told[0].message.replace(&door.user, "X"),
        told[1].message.replace(&unknown.user, "X")
    );
    bouncer.log_line(&[&tenant.id, "allowed_addresses"]);
    assert_eq!(ended(&bouncer, "_unknown", "client_unproven"), 2.0);
    let not_allowed = "dbbouncer_login_failures_total{tenant=\"_unknown\",reason=\"not_allowed\"}";
    assert_eq!(sample(bouncer.api(), not_allowed), 1.0);
    drop(log_in_from([127, 0, 0, 3], &door).await);
    bouncer.stop();
}

async fn addresses_that_are_trusted_need_no_password(server: &'static Server) {
    let tenant = Tenant::on(server, "trusted").with("trust_addresses: 127.0.0.2");
    let bouncer = Bouncer::start(&Config::for_tenants(std::slice::from_ref(&tenant)));
    let door = bouncer.door(&tenant);
    bouncer.log_line(&[&tenant.id, "trust_addresses"]);
    drop(log_in_from([127, 0, 0, 2], &door).await);
    let answer = answer_to_login(&mut Raw::to(door.address), &door);
    assert_eq!(
        answer.0,
        if door.kind.is_postgres() { b'R' } else { 0xff },
        "{answer:?}"
    );
    assert_eq!(whoami(&door).await, tenant.id);
    bouncer.stop();
}

/// Prepared statements without end, each nearly a megabyte: their texts are kept for the time when another backend needs
/// them, and there is an end to it.
async fn what_a_client_can_make_us_hold_is_bounded(server: &'static Server) {
    let tenant = Tenant::on(server, "hoard")
        .with("pool_mode: transaction")
        .with("client_auth: trust");
    let bouncer = Bouncer::start(&Config::for_tenants(std::slice::from_ref(&tenant)));
    let door = bouncer.door(&tenant);
    let mut hoarder = Raw::to(door.address);
    hoarder.say(&startup(&[("user", &door.user)])).until_ready();
    let before = resident(&bouncer);
    let comment = "x".repeat(900_000);
    let mut held = 0;
    let complaint = loop {
        let parse = format!("s{held}\0SELECT 1 -- {comment}\0\0\0");
        hoarder.say(&message(b'P', parse.as_bytes()));
        hoarder.say(&message(b'S', b""));
        match hoarder.message() {
            (b'1', _) => assert_eq!(hoarder.message().0, b'Z'),
            (_, body) => break Complaint::of_postgres(&body),
        }
        held += 1;
        assert!(held < 100, "no end after {held} MB");
    };
    assert_eq!(complaint.state, "54000", "{complaint:?}");
    assert!(hoarder.rest().is_empty());
    let grown = resident(&bouncer).saturating_sub(before);
    assert!(grown < 200 << 20, "{grown} bytes for {held} statements");
    assert_eq!(whoami(&door).await, tenant.id);
    bouncer.stop();
}

/// Bytes of memory that the whole program holds.
pub fn resident(bouncer: &Bouncer) -> usize {
    let statm = std::fs::read_to_string(format!("/proc/{}/statm", bouncer.pid())).unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

/// A thousand clients where there are descriptors for a fraction of them. Who is in is served, nothing spins, and when
/// they are gone everybody is served. That no backend can be opened meanwhile is nobody's fault but ours.
async fn no_descriptors_are_left(server: &'static Server) {
    let limit = rustix::process::Resource::Nofile;
    let ours = rustix::process::getrlimit(limit);
    rustix::process::setrlimit(
        limit,
        rustix::process::Rlimit {
            current: ours.maximum,
            ..ours
        },
    )
    .expect("the soft limit can be raised to the hard one");
    let mut tenants = Tenant::many_on(server, "few", 2);
    for setting in [
        "client_auth: trust",
        "pool_mode: session",
        "min_connections: 0",
        QUICK_CHECKS,
    ] {
        tenants[1].set(setting);
    }
    let config = Config::for_tenants(&tenants)
        .with("runtime: {shards: 1}")
        .with("limits: {client_connections: 5000, login_timeout: 60s}")
        .with_descriptors(160);
    let bouncer = Bouncer::start(&config);
    let (tenant, lacking) = (&tenants[0], &tenants[1]);
    let (door, lacking_door) = (bouncer.door(tenant), bouncer.door(lacking));
    let words = startup(&[
        ("user", &lacking_door.user),
        ("database", &lacking_door.dbname),
    ]);
    // Who has begun to speak is accepted before who comes later.
    let mut late = Raw::to(door.address);
    late.say(&words[..4]);
    let bystander = postgres(&door).await;
    let crowd: Vec<_> = (0..1000).map(|_| Raw::to(door.address)).collect();
    bouncer.log_line(&["cannot accept", "attempt 1 in a row"]);
    let before = processor_time(&bouncer);
    let began = std::time::Instant::now();
    bouncer.log_line(&["cannot accept", "attempt 16 in a row"]);
    bystander.query_one("SELECT 1", &[]).await.unwrap();
    let (used, passed) = (processor_time(&bouncer) - before, began.elapsed());
    assert!(
        used < passed.as_secs_f64() / 4.0,
        "{used} s of processor time in {passed:?}"
    );
    late.say(&words[4..]);
    assert_eq!(late.message().0, b'R', "it is let in, and needs a backend");
    let told = late.last_words();
    assert_eq!(told.state, "53000", "{told:?}");
    assert!(told.message.contains("DBBouncer has run out"), "{told:?}");
    drop(crowd);
    assert_eq!(whoami(&door).await, tenant.id);
    assert_eq!(whoami(&lacking_door).await, lacking.id);
    let log = bouncer.log();
    assert!(!log.contains("is unhealthy"), "{log}");
    assert_eq!(ended(&bouncer, &lacking.id, "own_lack"), 1.0);
    drop(bystander);
    until_nobody_is_in(&bouncer);
    assert!(sample(bouncer.api(), "dbbouncer_accept_failures_total ") >= 16.0);
    bouncer.stop();
}

/// The database has room, and would let nobody else in for this account: as good as full, and no error of who comes.
async fn an_account_with_all_its_connections_taken(server: &'static Server) {
    let tenant = Tenant::on(server, "alone")
        .with("min_connections: 0")
        .with("acquire_timeout: 60s")
        .with("health_check: {interval: 0}");
    let alone = format!(
        "ALTER USER {}@'%' WITH MAX_USER_CONNECTIONS 1",
        tenant.username
    );
    server.sql("", &alone);
    let bouncer = Bouncer::start(&Config::for_tenants(std::slice::from_ref(&tenant)));
    let door = bouncer.door(&tenant);
    let first = session(&door).await;
    let second = tokio::spawn({
        let door = door.clone();
        async move { whoami(&door).await }
    });
    bouncer.log_line(&["no connection to", "1226"]);
    assert!(!second.is_finished());
    drop(first);
    assert_eq!(second.await.unwrap(), tenant.id);
    bouncer.stop();
}

/// Seconds of processor time that the whole program has used.
fn processor_time(bouncer: &Bouncer) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", bouncer.pid())).unwrap();
    // Behind the program's name in brackets: the fields utime and stime are the 14th and 15th of all.
    let fields: Vec<_> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    let ticks = |at: usize| fields[at - 3].parse::<f64>().unwrap();
    (ticks(14) + ticks(15)) / 100.0
}

/// For other tests of addresses.
pub fn local(address: &Raw) -> SocketAddr {
    address.0.local_addr().unwrap()
}

//! Databases that are known by a host name: one that moves to another address is found there.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use testbed::{
    Bouncer, Config, Kind, Middleman, PATIENCE, Plan, Server, Tenant, eventually, has_mounts,
};

use tokio_postgres::Client;

use crate::drivers::{postgres, whoami};
use crate::faults::is_served;
use crate::health::{QUICK_CHECKS, refusal};

pub fn plan(plan: &mut Plan) {
    for kind in [Kind::Postgres, Kind::MariaDb] {
        plan.add_if(
            has_mounts(),
            "mounts of a test's own (root)",
            kind,
            "a_database_that_moves_is_found_by_its_name",
            a_database_that_moves_is_found_by_its_name,
        );
    }
    plan.add_if(
        has_mounts(),
        "mounts of a test's own (root)",
        Kind::Postgres,
        "connections_follow_a_name_to_where_it_has_moved",
        connections_follow_a_name_to_where_it_has_moved,
    );
    plan.add_if(
        has_mounts(),
        "mounts of a test's own (root)",
        Kind::Postgres,
        "a_name_server_that_keeps_silent_holds_up_nobody_else",
        a_name_server_that_keeps_silent_holds_up_nobody_else,
    );
}

async fn a_database_that_moves_is_found_by_its_name(server: &'static Server) {
    let book = Book::new(server.kind.name());
    // The same port at three addresses, as a name that moves has it. Nobody listens at `NOWHERE`.
    let one = Middleman::at(SocketAddr::from((ONE, 0)), server.address);
    let port = one.address().port();
    let two = Middleman::at(SocketAddr::from((TWO, port)), server.address);
    let mut tenant = Tenant::on(server, "moving");
    tenant.address.set_port(port);
    let tenant = tenant
        .with(&format!("host: {NAME}"))
        .with("acquire_timeout: 60s")
        .with(QUICK_CHECKS);
    let config = Config::for_tenants(std::slice::from_ref(&tenant));
    let bouncer = Bouncer::start(&book.shown_by(config));
    let door = bouncer.door(&tenant);

    // It starts although nobody knows the name, and says so to its clients.
    bouncer.log_line(&[&tenant.id, "is unhealthy"]);
    let refused = refusal(&door).await;
    assert!(
        refused.contains("the tenant's database is unhealthy"),
        "{refused}"
    );
    // Then the name is known, and of its two addresses one is dead.
    book.says(&[NOWHERE, ONE]);
    bouncer.log_line(&[&tenant.id, "is well again"]);
    assert_eq!(whoami(&door).await, tenant.id);
    assert!(one.accepted() > 0);

    // The database moves, and what was at its old address is gone.
    book.says(&[TWO]);
    one.refuse(true);
    one.cut();
    eventually("the database is found where it is now", || {
        (two.accepted() > 0).then_some(())
    });
    // A check that was on its way to the old address may have come back just now.
    let began = Instant::now();
    while !is_served(&door).await {
        assert!(began.elapsed() < PATIENCE, "{}", bouncer.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(whoami(&door).await, tenant.id);
    bouncer.stop();
}

/// What it has moved from lives on, as a primary does that has become a replica.
async fn connections_follow_a_name_to_where_it_has_moved(server: &'static Server) {
    let book = Book::new("followed");
    let one = Middleman::at(SocketAddr::from((ONE, 0)), server.address);
    let port = one.address().port();
    let two = Middleman::at(SocketAddr::from((TWO, port)), server.address);
    let mut tenant = Tenant::on(server, "followed");
    tenant.address.set_port(port);
    let tenant = tenant
        .with(&format!("host: {NAME}"))
        .with("pool_mode: session")
        .with(QUICK_CHECKS);
    let config = Config::for_tenants(std::slice::from_ref(&tenant));
    book.says(&[ONE]);
    let bouncer = Bouncer::start(&book.shown_by(config));
    let door = bouncer.door(&tenant);
    let stays = postgres(&door).await;
    let backend = async |client: &Client| -> i32 {
        let row = client.query_one("SELECT pg_backend_pid()", &[]).await;
        row.expect("it is served").get(0)
    };
    let before = backend(&stays).await;
    assert_eq!(two.accepted(), 0);

    book.says(&[TWO]);
    bouncer.log_line(&["INFO", &tenant.id, NAME, "is at [127.0.0.3] now"]);
    let comes = postgres(&door).await;
    assert_ne!(backend(&comes).await, before);
    assert_eq!(backend(&stays).await, before, "a session keeps what it has");
    drop((stays, comes));
    assert!(two.accepted() > 0);
    let left = format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {before}");
    eventually("it is replaced when it comes back", || {
        (server.sql("", &left) == "0").then_some(())
    });
    bouncer.stop();
}

/// More names than processors or threads that compute, and nobody answers to any of them.
async fn a_name_server_that_keeps_silent_holds_up_nobody_else(server: &'static Server) {
    // The port is the one of all name servers, so the address is this process's own.
    let [.., high, low] = std::process::id().to_be_bytes();
    let nobody = IpAddr::V4(Ipv4Addr::new(127, 53, high, low.max(1)));
    let silent = UdpSocket::bind((nobody, 53)).expect("root may have port 53 there");
    let book = Book::new("silent");
    book.asks(nobody);
    book.says(&[IpAddr::V4(Ipv4Addr::LOCALHOST)]);
    let good = Tenant::on(server, "answered")
        .with(&format!("host: {NAME}"))
        .with("connect_timeout: 5s");
    let lost = (0..40).map(|number| {
        let mut lost = good
            .clone()
            .with(&format!("host: lost-{number}.silent.test"));
        lost.id = format!("lost-{number}");
        lost
    });
    let tenants: Vec<_> = lost.chain([good.clone()]).collect();
    let bouncer = Bouncer::start(&book.shown_by(Config::for_tenants(&tenants)));
    // All of them are being looked up, and asked for again and again.
    bouncer.log_line(&["lost-39", "no connection"]);
    for _ in 0..20 {
        assert_eq!(whoami(&bouncer.door(&good)).await, good.id);
    }
    let log = bouncer.log();
    let held_up = |line: &&str| line.contains(&good.id) && line.contains("no connection");
    assert_eq!(log.lines().find(held_up), None);
    bouncer.stop();
    drop(silent);
}

/// What the program takes for the machine's knowledge of names: a file of the test's in place of `/etc/hosts`, and a
/// name server that is not there.
struct Book(PathBuf);

impl Book {
    fn new(name: &str) -> Book {
        let folder =
            std::env::temp_dir().join(format!("dbbouncer-names-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("the temporary folder can be written to");
        let book = Book(folder);
        book.asks(IpAddr::V4(Ipv4Addr::LOCALHOST));
        book.says(&[]);
        book
    }

    /// Where the name server is said to be.
    fn asks(&self, server: IpAddr) {
        fs::write(self.0.join("resolv.conf"), format!("nameserver {server}\n")).expect("it can");
    }

    /// The name has these addresses from now on.
    fn says(&self, addresses: &[IpAddr]) {
        let lines: String = addresses
            .iter()
            .map(|address| format!("{address} {NAME}\n"))
            .collect();
        // In place: it is this very file that the program sees.
        fs::write(self.0.join("hosts"), lines).expect("the temporary folder can be written to");
    }

    fn shown_by(&self, config: Config) -> Config {
        config
            .with_file(self.0.join("hosts"), "/etc/hosts")
            .with_file(self.0.join("resolv.conf"), "/etc/resolv.conf")
    }
}

impl Drop for Book {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const NAME: &str = "database.moves.test";
const ONE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const TWO: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));
const NOWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 4));

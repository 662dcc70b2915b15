//! Many clients that vanish, cancel and are killed, all at once and at every point: whoever stays gets what is its own,
//! and in the end everything is free again.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use socket2::SockRef;
use testbed::{Bouncer, Config, Door, Kind, Plan, Server, Tenant, World, eventually};
use tokio_postgres::NoTls;
use tokio_postgres::error::SqlState;

use crate::drivers::{postgres, whoami};
use crate::operator::read;
use crate::raw::{Raw, message, startup};

pub fn plan(plan: &mut Plan) {
    let postgres = [Kind::Postgres];
    let world = World::Bouncer;
    let name = "t06_a_hundred_clients_and_their_cancels";
    plan.add(world, &postgres, name, a_hundred_clients_and_their_cancels);
    let name = "t08_a_reset_at_every_byte";
    plan.add(world, &postgres, name, a_reset_at_every_byte);
    let name = "t12_after_a_storm_everything_is_free";
    plan.add(world, &postgres, name, after_a_storm_everything_is_free);
}

/// A tenant in transaction mode with so many connections.
fn pooled(server: &Server, name: &str, connections: usize) -> (Tenant, Bouncer) {
    let tenant = Tenant::on(server, name)
        .with("pool_mode: transaction")
        .with("client_auth: trust")
        .with("min_connections: 0")
        .with(&format!("max_connections: {connections}"));
    server.sql("", &format!("GRANT by_trust TO {}", tenant.username));
    let bouncer = Bouncer::start(&Config::for_tenants(std::slice::from_ref(&tenant)));
    (tenant, bouncer)
}

/// Half of the clients cancel what they ask, at any moment, also when it is over already; the others never do, and must
/// never hear of it. All of them share one connection.
async fn a_hundred_clients_and_their_cancels(server: &'static Server) {
    let (tenant, bouncer) = pooled(server, "cancels", 1);
    let door = bouncer.door(&tenant);
    let mut clients = Vec::new();
    for number in 0..100_u64 {
        let client = postgres(&door).await;
        clients.push(tokio::spawn(async move {
            for round in 0..5_u64 {
                let cancels = number % 2 == 0;
                let query = match cancels {
                    true => format!("SELECT {number}, pg_sleep(0.003)"),
                    false => format!("SELECT {number}, pg_sleep(0)"),
                };
                let token = client.cancel_token();
                let asked = client.simple_query(&query);
                let cancelled = async {
                    if cancels {
                        tokio::time::sleep(Duration::from_micros(
                            (number * 7919 + round * 104_729) % 9_000,
                        ))
                        .await;
                        let _ = token.cancel_query(NoTls).await;
                    }
                };
                let (answer, ()) = tokio::join!(asked, cancelled);
                match answer {
                    Ok(rows) => {
                        let told = rows.iter().find_map(|row| match row {
                            tokio_postgres::SimpleQueryMessage::Row(row) => {
                                row.get(0).map(str::to_owned)
                            }
                            _ => None,
                        });
                        assert_eq!(told, Some(number.to_string()), "another client's answer");
                    }
                    Err(error) => {
                        assert_eq!(
                            error.code(),
                            Some(&SqlState::QUERY_CANCELED),
                            "{number}: {error}"
                        );
                        assert!(cancels, "client {number} cancels nothing, and yet: {error}");
                    }
                }
            }
        }));
    }
    for client in clients {
        client.await.expect("nothing to complain about");
    }
    assert_eq!(whoami(&door).await, tenant.id);
    until_free(&bouncer, &tenant);
    bouncer.stop();
}

/// A client goes, by RST, after each byte of its dialogue. The next one, on the same connection, must find it clean.
async fn a_reset_at_every_byte(server: &'static Server) {
    let (tenant, bouncer) = pooled(server, "reset", 1);
    let door = bouncer.door(&tenant);
    let login = startup(&[("user", &door.user), ("database", &door.dbname)]);
    let work = [
        message(b'Q', b"SET app.leak TO 'x'; BEGIN; SELECT 'old'\0"),
        message(b'P', b"s\0SELECT 'old', $1::text\0\0\0"),
        message(b'B', b"\0s\0\0\0\0\x01\0\0\0\x03old\0\0"),
        message(b'E', b"\0\0\0\0\0"),
        message(b'H', b""),
        message(b'S', b""),
        message(b'Q', b"COPY whoami TO STDOUT\0"),
    ]
    .concat();
    let next = postgres(&door).await;
    for length in 0..=work.len() {
        let mut raw = Raw::to(door.address);
        raw.say(&login).until_ready();
        raw.say(&work[..length]);
        if length % 3 == 0 && length > 60 {
            // Until it has begun to be answered.
            let _ = raw.0.read(&mut [0; 7]);
        }
        SockRef::from(&raw.0)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        drop(raw);
        let query =
            format!("SELECT {length}::text, coalesce(current_setting('app.leak', true), '')");
        let row = next
            .query_one(&query, &[])
            .await
            .expect("the next client is served");
        assert_eq!(
            (row.get::<_, String>(0), row.get::<_, String>(1)),
            (length.to_string(), String::new())
        );
    }
    assert_eq!(
        server.sql(&tenant.dbname, "SELECT count(*) FROM whoami"),
        "1"
    );
    drop(next);
    until_free(&bouncer, &tenant);
    bouncer.stop();
}

/// Clients come, ask and vanish while their backends are killed and their queries cancelled.
async fn after_a_storm_everything_is_free(server: &'static Server) {
    const CONNECTIONS: usize = 4;
    let (tenant, bouncer) = pooled(server, "storm", CONNECTIONS);
    let door = bouncer.door(&tenant);
    let over = Arc::new(AtomicBool::new(false));
    let killer = std::thread::spawn({
        let (over, dbname) = (Arc::clone(&over), tenant.dbname.clone());
        move || {
            let kill = format!(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{dbname}' AND pid % 3 = "
            );
            let mut round = 0;
            while !over.load(Ordering::Relaxed) {
                server.sql("", &format!("{kill}{}", round % 3));
                round += 1;
            }
        }
    });
    let mut clients = Vec::new();
    for number in 0..40 {
        let door = door.clone();
        clients.push(std::thread::spawn(move || {
            (0..8).for_each(|round| storm(&door, number * 8 + round))
        }));
    }
    for client in clients {
        client.join().expect("a client of the storm is no judge");
    }
    over.store(true, Ordering::Relaxed);
    killer.join().expect("the killer does not fail");
    until_free(&bouncer, &tenant);
    // All places are there: as many transactions as there are connections are open at a time.
    let clients: Vec<_> =
        futures_util::future::join_all((0..CONNECTIONS).map(|_| postgres(&door))).await;
    let begun = clients
        .iter()
        .map(|client| client.batch_execute("BEGIN; SELECT 1"));
    for begun in futures_util::future::join_all(begun).await {
        begun.expect("a connection for each");
    }
    drop(clients);
    until_free(&bouncer, &tenant);
    bouncer.stop();
}

/// One client of the storm; how it ends is its number's choice.
fn storm(door: &Door, number: usize) {
    let login = startup(&[("user", &door.user), ("database", &door.dbname)]);
    let mut raw = Raw::to(door.address);
    let cut = number * 13 % (login.len() + 1);
    if number.is_multiple_of(7) {
        raw.say(&login[..cut]);
        return;
    }
    raw.say(&login);
    let query = [
        &b"SELECT pg_sleep(0.02)\0"[..],
        b"BEGIN; SELECT 1\0",
        b"SELECT repeat('x', 1000) FROM generate_series(1, 2000)\0",
        b"SET app.x TO 'y'; SELECT pg_advisory_lock(7)\0",
        b"COPY whoami FROM STDIN\0",
    ][number % 5];
    raw.say(&message(b'Q', query));
    if number.is_multiple_of(2) {
        let _ = raw.0.read(&mut vec![0; number % 400 + 1]);
    }
    if number.is_multiple_of(3) {
        let _ = SockRef::from(&raw.0).set_linger(Some(Duration::ZERO));
    }
}

/// Waits until nobody has or wants a connection of the tenant's.
fn until_free(bouncer: &Bouncer, tenant: &Tenant) {
    let path = format!("/tenants/{}/stats", tenant.id);
    eventually("nothing is active, and nobody waits", || {
        let answer = read(bouncer.api(), "GET", &path, "");
        let is_free = ["\"active\":0,", "\"waiting\":0"]
            .iter()
            .all(|field| answer.contains(field));
        is_free.then_some(())
    });
}

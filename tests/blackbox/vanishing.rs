//! Clients that vanish at every stage, and clients that never read: nothing leaks, and nobody else is disturbed.
//!
//! The tenants have two connections only. A lease that leaks is noticed at once: the next client gets none.

use std::net::Shutdown;
use std::time::Duration;

use futures_util::StreamExt;
use testbed::{Door, Front, Kind, Middleman, Plan, Server, Tenant, World, eventually};

use crate::answers::session;
use crate::drivers::{mysql, mysql_options, postgres, whoami};
use crate::raw::{Raw, message, packet, startup};
pub fn plan(plan: &mut Plan) {
    let each = [Kind::Postgres, Kind::MariaDb];
    plan.add(
        World::Any,
        &[Kind::Postgres],
        "a_client_that_vanishes_at_any_byte",
        a_client_that_vanishes_at_any_byte,
    );
    plan.add(
        World::Any,
        &[Kind::Postgres],
        "a_pipeline_of_who_vanishes_is_not_half_cancelled",
        a_pipeline_of_who_vanishes_is_not_half_cancelled,
    );
    plan.add(
        World::Any,
        &[Kind::MariaDb, Kind::MySql],
        "a_client_that_vanishes_at_any_byte",
        a_mysql_client_that_vanishes,
    );
    plan.add(
        World::Bouncer,
        &[Kind::MariaDb, Kind::MySql],
        "who_says_goodbye_behind_a_query",
        who_says_goodbye_behind_a_query,
    );
    plan.add(
        World::Any,
        &each,
        "a_client_that_vanishes_in_a_large_result",
        a_client_that_vanishes_in_a_large_result,
    );
    plan.add(
        World::Any,
        &each,
        "clients_that_never_read",
        clients_that_never_read,
    );
}

/// Settings under which a leak shows. A connection dialled for a client that left meanwhile was nobody's yet and may be
/// kept for the next; it soon counts as idle for too long.
pub fn tight(tenant: Tenant) -> Tenant {
    tenant
        .with("min_connections: 0")
        .with("max_connections: 2")
        .with("acquire_timeout: 30s")
        .with("idle_timeout: 1s")
}

fn tight_front(server: &Server, name: &str) -> (Tenant, Front, Door) {
    let tenant = tight(Tenant::on(server, name));
    let front = Front::for_tenants(std::slice::from_ref(&tenant));
    let door = front.door(&tenant);
    (tenant, front, door)
}

/// Waits until the database has no session of this tenant's.
fn until_all_gone(server: &Server, tenant: &Tenant) {
    let count = match server.kind.is_postgres() {
        true => format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}'",
            tenant.dbname
        ),
        false => format!(
            "SELECT count(*) FROM information_schema.processlist WHERE user = '{}'",
            tenant.username
        ),
    };
    eventually("every backend is closed", || {
        (server.sql("", &count) == "0").then_some(())
    });
}

async fn a_client_that_vanishes_at_any_byte(server: &'static Server) {
    let tenant = tight(Tenant::on(server, "vanish")).with("client_auth: trust");
    server.sql("", &format!("GRANT by_trust TO {}", tenant.username));
    let front = Front::for_tenants(std::slice::from_ref(&tenant));
    let door = front.door(&tenant);
    let opening = startup(&[("user", &door.user), ("database", &door.dbname)]);
    let work = [
        message(
            b'Q',
            b"BEGIN; CREATE TABLE t (i int); SELECT generate_series(1, 100)\0",
        ),
        message(b'P', b"\0SELECT 1\0\0\0"),
        message(b'B', b"\0\0\0\0\0\0\0\0"),
        message(b'E', b"\0\0\0\0\0"),
        message(b'S', b""),
        message(b'Q', b"COPY t FROM STDIN\0"),
        message(b'd', b"1\n2\n"),
    ]
    .concat();
    for length in 0..opening.len() {
        Raw::to(door.address).say(&opening[..length]);
    }
    for length in (0..=work.len()).step_by(3) {
        let mut raw = Raw::to(door.address);
        raw.say(&opening).until_ready();
        raw.say(&work[..length]);
        // Half of them say goodbye with a FIN and wait, the others with whatever the kernel makes of unread bytes.
        if length % 2 == 0 {
            raw.0.shutdown(Shutdown::Write).unwrap();
            raw.rest();
        }
    }
    until_all_gone(server, &tenant);
    assert_eq!(
        server.sql(
            &tenant.dbname,
            "SELECT count(*) FROM pg_class WHERE relname = 't'"
        ),
        "0",
        "nothing was committed"
    );
    assert_eq!(whoami(&door).await, tenant.id);
    front.close();
}

/// A cancel would end the first query, and with it the BEGIN that the second one needs, lest it be committed.
async fn a_pipeline_of_who_vanishes_is_not_half_cancelled(server: &'static Server) {
    let tenant = tight(Tenant::on(server, "half")).with("client_auth: trust");
    server.sql("", &format!("GRANT by_trust TO {}", tenant.username));
    let front = Front::for_tenants(std::slice::from_ref(&tenant));
    let door = front.door(&tenant);
    let mut raw = Raw::to(door.address);
    raw.say(&startup(&[
        ("user", &door.user),
        ("database", &door.dbname),
    ]))
    .until_ready();
    let pipeline = [
        // Long enough to be seen on a machine that stalls.
        message(b'Q', b"SELECT pg_sleep(5); BEGIN\0"),
        message(b'Q', b"INSERT INTO whoami VALUES ('left behind')\0"),
    ];
    raw.say(&pipeline.concat());
    let asleep = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = '{}'",
        tenant.dbname
    );
    eventually("it sleeps", || {
        (server.sql("", &asleep) == "1").then_some(())
    });
    raw.vanish();
    until_all_gone(server, &tenant);
    let left = "SELECT count(*) FROM whoami WHERE id = 'left behind'";
    assert_eq!(server.sql(&tenant.dbname, left), "0");
    front.close();
}

async fn a_mysql_client_that_vanishes(server: &'static Server) {
    let (tenant, front, door) = tight_front(server, "vanish");
    // The login cannot be made of bytes without the password's proof, so the driver's bytes are cut on their way.
    for cut_after in 0..6 {
        let middleman = Middleman::before(door.address);
        let mut through = door.clone();
        through.address = middleman.address();
        let options = mysql_options(&through);
        if cut_after == 0 {
            middleman.cut();
        }
        let attempt = async {
            let mut client = mysql_async::Conn::new(options).await?;
            use mysql_async::prelude::Queryable;
            client.query_drop("START TRANSACTION").await?;
            client
                .query_drop("INSERT INTO whoami VALUES ('ghost')")
                .await?;
            client.query_drop("DO sleep(0.2)").await
        };
        let _ = tokio::time::timeout(Duration::from_millis(1 + cut_after * 20), attempt).await;
        middleman.cut();
    }
    for length in [1, 3, 4, 20, 40] {
        let mut raw = Raw::to(door.address);
        raw.packet();
        raw.say(&crate::raw::handshake_response(&door.user, Some(&door.dbname))[..length]);
    }
    let mut raw = Raw::to(door.address);
    raw.packet();
    raw.say(&crate::raw::handshake_response(&door.user, None))
        .packet();
    raw.say(&packet(3, b"")); // an empty proof, and away
    drop(raw);
    until_all_gone(server, &tenant);
    assert_eq!(
        server.sql(&tenant.dbname, "SELECT count(*) FROM whoami"),
        "1",
        "nothing was committed"
    );
    assert_eq!(whoami(&door).await, tenant.id);
    front.close();
}

/// The server reads the goodbye behind its answer: whoever waits for that gets it, and what nobody waits for is ended
/// before the place is given away.
async fn who_says_goodbye_behind_a_query(server: &'static Server) {
    let tenant = tight(Tenant::on(server, "goodbye")).with("client_auth: trust");
    let front = Front::for_tenants(std::slice::from_ref(&tenant));
    let door = front.door(&tenant);
    let said = |text: &str| {
        let query = packet(0, &[b"\x03", text.as_bytes()].concat());
        // With a byte too many, as a server would not mind.
        [query, packet(0, b"\x01\0")].concat()
    };
    let mut raw = session(&door, 0);
    raw.say(&said("SELECT SLEEP(0.3), 'the answer'"));
    raw.0.shutdown(Shutdown::Write).unwrap();
    let heard = raw.rest();
    let answer = b"the answer";
    assert_eq!(
        heard
            .windows(answer.len())
            .filter(|it| it == answer)
            .count(),
        2,
        "its name and its value: {}",
        heard.escape_ascii()
    );
    let count = |what: &str| {
        format!(
            "SELECT count(*) FROM information_schema.processlist WHERE user = '{}' AND info LIKE '%{what}%'",
            tenant.username
        )
    };
    for round in 0..6 {
        let mut raw = session(&door, 0);
        let mark = format!("round {round}");
        raw.say(&said(&format!("SELECT SLEEP(100), '{mark}'")));
        eventually(&format!("it is at work: {mark}"), || {
            (server.sql("", &count(&mark)) == "1").then_some(())
        });
        raw.vanish();
    }
    let at_work = server.sql("", &count("SLEEP(100)"));
    assert!(
        ["0", "1", "2"].contains(&&*at_work),
        "{at_work} at work, 2 places"
    );
    until_all_gone(server, &tenant);
    front.close();
}

async fn a_client_that_vanishes_in_a_large_result(server: &'static Server) {
    let (tenant, front, door) = tight_front(server, "midway");
    for _ in 0..10 {
        if door.kind.is_postgres() {
            let client = postgres(&door).await;
            let rows = client
                .query_raw::<_, i32, _>(
                    "SELECT repeat('x', 1000) FROM generate_series(1, 100000)",
                    [],
                )
                .await
                .unwrap();
            let mut rows = std::pin::pin!(rows);
            rows.next().await.unwrap().unwrap();
        } else {
            let mut client = mysql(&door).await;
            use mysql_async::prelude::Queryable;
            let query = "SELECT repeat('x', 1000) FROM information_schema.collations a, information_schema.collations b";
            let mut rows = client.query_iter(query).await.unwrap();
            rows.next().await.unwrap();
            std::mem::drop(rows);
            // The driver would read the rest before it lets go; a process that dies does not.
            drop(tokio::time::timeout(Duration::from_micros(1), client.disconnect()).await);
        }
    }
    until_all_gone(server, &tenant);
    assert_eq!(whoami(&door).await, tenant.id);
    front.close();
}

/// Both connections are held by clients that ask for much and read nothing. Others of other tenants are served meanwhile.
async fn clients_that_never_read(server: &'static Server) {
    let tenants = [
        tight(Tenant::on(server, "deaf")),
        Tenant::on(server, "other"),
    ];
    let front = Front::for_tenants(&tenants);
    let (door, other) = (front.door(&tenants[0]), front.door(&tenants[1]));
    let middleman = Middleman::before(door.address);
    let mut through = door.clone();
    through.address = middleman.address();
    let mut deaf = Vec::new();
    for _ in 0..2 {
        if door.kind.is_postgres() {
            let client = postgres(&through).await;
            deaf.push(tokio::spawn(async move {
                let _ = client
                    .query(
                        "SELECT repeat('x', 1000) FROM generate_series(1, 1000000)",
                        &[],
                    )
                    .await;
            }));
        } else {
            let mut client = mysql(&through).await;
            deaf.push(tokio::spawn(async move {
                use mysql_async::prelude::Queryable;
                let query = "SELECT repeat('x', 1000) FROM information_schema.collations a, information_schema.collations b";
                let _ = client.query_drop(query).await;
            }));
        }
    }
    middleman.hold();
    for _ in 0..20 {
        assert_eq!(whoami(&other).await, tenants[1].id);
    }
    middleman.cut();
    middleman.release();
    for client in deaf {
        client.abort();
        let _ = client.await;
    }
    until_all_gone(server, &tenants[0]);
    assert_eq!(whoami(&door).await, tenants[0].id);
    front.close();
}

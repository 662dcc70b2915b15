//! Five hundred clients of twenty tenants at once: every answer is the tenant's own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mysql_async::prelude::Queryable;
use testbed::{Config, Front, Kind, Plan, Server, Tenant, World};
use tokio::sync::Barrier;

use crate::drivers::{mysql, postgres};

pub fn plan(plan: &mut Plan) {
    plan.add(
        World::Any,
        &[Kind::Postgres],
        "five_hundred_clients_of_twenty_tenants",
        crowd_of_both,
    );
}

const TENANTS_OF_EACH: usize = 10;
const CLIENTS_OF_EACH: usize = 25;
const QUERIES: u32 = 10;

/// Ten tenants on PostgreSQL and ten on MariaDB, or all on PostgreSQL where there is no MariaDB.
async fn crowd_of_both(server: &'static Server) {
    let mut tenants = Tenant::many_on(server, "crowd", TENANTS_OF_EACH);
    let second = if Kind::MariaDb.is_here() {
        Server::shared(Kind::MariaDb)
    } else {
        server
    };
    tenants.extend(Tenant::many_on(second, "crowd", TENANTS_OF_EACH));
    let front = Front::with(
        Config::for_tenants(&tenants).with("defaults: {max_connections: 25, acquire_timeout: 60s}"),
    );

    // Nobody asks before all are in, so that they are there at once.
    let all_in = Arc::new(Barrier::new(tenants.len() * CLIENTS_OF_EACH));
    let answers = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = tenants
        .iter()
        .flat_map(|tenant| std::iter::repeat_n(tenant, CLIENTS_OF_EACH))
        .enumerate()
        .map(|(number, tenant)| {
            let (door, id) = (front.door(tenant), tenant.id.clone());
            let (all_in, answers) = (Arc::clone(&all_in), Arc::clone(&answers));
            tokio::spawn(async move {
                let number = number as i64;
                if door.kind.is_postgres() {
                    let client = postgres(&door).await;
                    all_in.wait().await;
                    for _ in 0..QUERIES {
                        let row = client
                            .query_one("SELECT id, $1::int8 FROM whoami", &[&number])
                            .await
                            .unwrap();
                        assert_eq!((row.get(0), row.get(1)), (id.as_str(), number));
                        answers.fetch_add(1, Ordering::Relaxed);
                    }
                } else {
                    let mut client = mysql(&door).await;
                    all_in.wait().await;
                    for _ in 0..QUERIES {
                        let row: Option<(String, i64)> = client
                            .exec_first("SELECT id, ? FROM whoami", (number,))
                            .await
                            .unwrap();
                        assert_eq!(row, Some((id.clone(), number)));
                        answers.fetch_add(1, Ordering::Relaxed);
                    }
                    client.disconnect().await.unwrap();
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    assert_eq!(answers.load(Ordering::Relaxed), 5_000);
    front.close();
}

//! Two hundred clients on ten backends, as pgbench plays them in its three modes.

use std::sync::atomic::{AtomicBool, Ordering};

use testbed::{Config, Door, Front, Server, Tenant, tool};

const CLIENTS: &str = "200";
const BACKENDS: u32 = 10;
const TRANSACTIONS: &str = "5";

/// Nobody fails, and the database never sees more than the pool's backends.
pub async fn two_hundred_on_ten(server: &'static Server) {
    let tenant = Tenant::on(server, "bench")
        .with("pool_mode: transaction")
        .with(&format!("max_connections: {BACKENDS}"))
        .with("acquire_timeout: 60s")
        // A check logs in beside the pool's backends where none of them is idle.
        .with("health_check: {interval: 0}");
    pgbench(&Door::of_server(&tenant), &["-i", "-q", "-s", "1"]);
    let front = Front::with(Config::for_tenants(std::slice::from_ref(&tenant)));
    let door = front.door(&tenant);
    let over = AtomicBool::new(false);
    let most = std::thread::scope(|scope| {
        let sampler = scope.spawn(|| most_backends(server, &tenant, &over));
        for mode in ["simple", "extended", "prepared"] {
            let arguments = [
                "-n",
                "-c",
                CLIENTS,
                "-j",
                "8",
                "-t",
                TRANSACTIONS,
                "-M",
                mode,
            ];
            let said = pgbench(&door, &arguments);
            let all = "number of transactions actually processed: 1000/1000";
            assert!(said.contains(all), "{mode}: {said}");
            assert!(
                !said.contains("failed transactions") || said.contains("failed transactions: 0 "),
                "{mode}: {said}"
            );
        }
        over.store(true, Ordering::Relaxed);
        sampler.join().expect("sampling goes well")
    });
    assert!(
        (1..=BACKENDS).contains(&most),
        "{most} backends of the tenant's at a time"
    );
    front.close();
}

/// How many backends the tenant had at the database at the worst moment that was looked at.
fn most_backends(server: &Server, tenant: &Tenant, over: &AtomicBool) -> u32 {
    let count = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE usename = '{}'",
        tenant.username
    );
    let mut most = 0;
    while !over.load(Ordering::Relaxed) {
        let now = server.sql("", &count).parse().expect("a number");
        most = most.max(now);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    most
}

fn pgbench(door: &Door, arguments: &[&str]) -> String {
    let said = tool("pgbench")
        .args(["-h", &door.host(), "-p", &door.port(), "-U", &door.user])
        .args(arguments)
        .arg(&door.dbname)
        .env("PGPASSWORD", &door.password)
        .run();
    assert!(said.ok, "pgbench {arguments:?}: {}\n{}", said.err, said.out);
    said.out
}

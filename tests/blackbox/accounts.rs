//! The tenant's own account at a MariaDB, by the plugins that only MariaDB has.

use mysql_async::prelude::Queryable;
use testbed::{Bouncer, Config, Kind, Plan, Server, Tenant, World};

use crate::drivers::{mysql, one, whoami};
use crate::limits::refusal;
use crate::operator::ask;

pub fn plan(plan: &mut Plan) {
    plan.add(
        World::Bouncer,
        &[Kind::MariaDb],
        "accounts_that_sign",
        accounts_that_sign,
    );
}

/// Clients log in as ever, with either of their own methods.
async fn accounts_that_sign(server: &'static Server) {
    server.sql(
        "",
        "INSTALL PLUGIN IF NOT EXISTS ed25519 SONAME 'auth_ed25519'",
    );
    let tenant = Tenant::on(server, "ed25519");
    let becomes = |password: &str| identify(server, &tenant, password);
    becomes(&tenant.password);
    let bouncer = Bouncer::start(&Config::for_tenants(std::slice::from_ref(&tenant)));
    let door = bouncer.door(&tenant);
    assert_eq!(whoami(&door).await, tenant.id);
    let mut client = mysql(&door).await;
    client.query_drop("SET @mine = 1").await.unwrap();
    client.change_user(Default::default()).await.unwrap();
    let state: (Option<i32>, String) = one(&mut client, "SELECT @mine, id FROM whoami").await;
    assert_eq!(state, (None, tenant.id.clone()), "the session begins anew");
    client.disconnect().await.unwrap();

    becomes("another");
    let api = bouncer.api();
    let path = format!("/tenants/{}/reconnect", tenant.id);
    assert_eq!(ask(api, "POST", &path, ""), 202);
    let refused = refusal(&door).await;
    assert_eq!(refused.number, 1429, "{}", refused.message);
    assert!(
        refused.message.contains("Access denied"),
        "{}",
        refused.message
    );
    bouncer.stop();
}

fn identify(server: &Server, tenant: &Tenant, password: &str) {
    let account = &tenant.username;
    let sql =
        format!("ALTER USER {account}@'%' IDENTIFIED VIA ed25519 USING PASSWORD('{password}')");
    server.sql("", &sql);
}

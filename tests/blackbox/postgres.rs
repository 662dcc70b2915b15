//! PostgreSQL in session mode: what an application may expect of its database, it gets through the bouncer.

use testbed::{Front, Kind, Plan, Server, Tenant, World};

use crate::drivers::whoami;

const BOTH: [Kind; 1] = [Kind::Postgres];

pub fn plan(plan: &mut Plan) {
    plan.add(
        World::Any,
        &BOTH,
        "reaches_its_own_database",
        reaches_its_own_database,
    );
}

async fn reaches_its_own_database(server: &'static Server) {
    let tenants = Tenant::many_on(server, "own", 3);
    let front = Front::for_tenants(&tenants);
    for tenant in &tenants {
        assert_eq!(whoami(&front.door(tenant)).await, tenant.id);
    }
    front.close();
}

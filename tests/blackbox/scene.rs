//! The commonest scene: one tenant, one door.

use testbed::{Door, Front, Server, Tenant};

/// A tenant on this server, and a bouncer (or under `DIRECT=1` nothing) before it, to be closed at the end.
pub fn one_tenant(server: &Server, name: &str) -> (Tenant, Front, Door) {
    let tenant = Tenant::on(server, name);
    let front = Front::for_tenants(std::slice::from_ref(&tenant));
    let door = front.door(&tenant);
    (tenant, front, door)
}

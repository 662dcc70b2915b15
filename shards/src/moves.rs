//! Looks up again what tenants' host names stand for, and has the connections of those that have moved replaced.
//!
//! One task for each shard, which asks for one name after the other, as often as the tenants' health is checked; a name that
//! many tenants have is asked for once for all of them.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use log::info;

use crate::context::ShardContext;
use crate::contract::Steering;
use crate::whereabouts::Whereabouts;

/// Goes on for as long as the shard.
pub async fn watch(context: Rc<ShardContext>) {
    let mut known = HashMap::<String, Whereabouts>::new();
    loop {
        let (hosts, every) = hosts(&context);
        known.retain(|host, _| hosts.contains(host));
        // All of them in that time, and not at once.
        let pause = every / u32::try_from(hosts.len()).unwrap_or(u32::MAX).max(1);
        if hosts.is_empty() {
            sockets::sleep(every).await;
        }
        for host in hosts {
            sockets::sleep(pause).await;
            // Without a limit: a name server that says nothing keeps one helper thread, and not one for each name.
            let Ok(found) = context.names.resolve(&host, 0).await else {
                // What cannot be told speaks for nothing.
                continue;
            };
            let answer = found.iter().map(SocketAddr::ip).collect();
            let whereabouts = known.entry(host.clone()).or_default();
            if let Some(addresses) = whereabouts.heard(answer) {
                follow(&context, &host, addresses);
            }
        }
    }
}

/// The names of the tenants whose health is checked, and how often it is.
fn hosts(context: &ShardContext) -> (BTreeSet<String>, Duration) {
    let mut every = NOBODY;
    let mut hosts = BTreeSet::new();
    for tenant in context.tenants() {
        let spec = tenant.spec();
        if let Some(checks) = spec.health_check
            && spec.has_a_name()
        {
            every = every.min(checks.interval);
            hosts.insert(spec.host.clone());
        }
    }
    (hosts, every)
}

/// The host is at these addresses and nowhere else. Whoever has a connection to where it was keeps it until it comes back.
fn follow(context: &ShardContext, host: &str, addresses: &[IpAddr]) {
    for tenant in context.tenants() {
        let spec = tenant.spec();
        if spec.host == host
            && let Some(left) = tenant.places.other_than(addresses)
        {
            info!(
                "tenant {}: {host} is at {addresses:?} now, and not at {left} any more: connections are replaced as they come back",
                spec.id
            );
            tenant.steer(Steering::Reconnect);
        }
    }
}

/// How often it is looked whether there are names.
const NOBODY: Duration = Duration::from_secs(10);

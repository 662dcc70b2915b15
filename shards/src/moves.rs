//! Looks up again what tenants' host names stand for, and has the connections of those that have moved replaced.
//!
//! One task for each shard, which asks for one name after the other; a name that many tenants have is asked for once for all
//! of them.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use log::info;

use crate::context::ShardContext;
use crate::contract::Steering;
use crate::whereabouts::Whereabouts;

/// A name, and who answers for it.
#[derive(Default)]
struct Name {
    whereabouts: Whereabouts,
    /// For how many turns it was left alone after the last look-up, since nobody answers.
    patience: u32,
    /// How many of these are still to come.
    rests: u32,
}

/// Goes on for as long as the shard.
pub async fn watch(context: Rc<ShardContext>) {
    let mut names = HashMap::<String, Name>::new();
    loop {
        let (hosts, every) = hosts(&context);
        names.retain(|host, _| hosts.contains(host));
        // All of them in that time, and not at once.
        let pause = every / u32::try_from(hosts.len()).unwrap_or(u32::MAX).max(1);
        if hosts.is_empty() {
            sockets::sleep(every).await;
        }
        for host in hosts {
            sockets::sleep(pause).await;
            let name = names.entry(host.clone()).or_default();
            if name.rests > 0 {
                name.rests -= 1;
                continue;
            }
            let Ok(found) = sockets::timeout(ANSWER, context.names.resolve(&host, 0)).await else {
                // It keeps a helper thread for as long as the C library asks, and must not keep many.
                name.patience = (name.patience * 2 + 1).min(LONGEST_REST);
                name.rests = name.patience;
                continue;
            };
            name.patience = 0;
            // What cannot be told speaks for nothing.
            let answer = found.into_iter().flatten().map(|address| address.ip());
            let answer: Vec<_> = answer.collect();
            if !answer.is_empty()
                && let Some(addresses) = name.whereabouts.heard(answer)
            {
                follow(&context, &host, addresses);
            }
        }
    }
}

/// The names of the tenants whose health is checked, and how often all of them are looked up: as often as the most impatient
/// tenant's health is checked, within limits that no tenant can move.
fn hosts(context: &ShardContext) -> (BTreeSet<String>, Duration) {
    let mut every = SELDOM;
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
    (hosts, every.max(OFTEN))
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

/// How often all names are looked up at the least.
const SELDOM: Duration = Duration::from_secs(10);
/// How often at the most.
const OFTEN: Duration = Duration::from_secs(1);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(3);
/// How many turns a name that nobody answers for is left alone at the most.
const LONGEST_REST: u32 = 63;

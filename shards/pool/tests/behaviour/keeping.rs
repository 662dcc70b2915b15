//! How long connections are kept, and what changes that.

use std::time::Duration;

use pool::{Acquired, CloseReason, INFANCY, Limits, Placed, Refusal};

use crate::world::{Conn, LIMITS, World, closed, handed};

#[test]
fn idle_connections_that_died_leave_and_are_replaced() {
    let mut world = World::new(Limits { min: 1, ..LIMITS });
    let permit = world.permits().pop().unwrap();
    assert!(matches!(world.open(permit), Placed::Parked));
    world.pass(INFANCY);
    assert_eq!(world.bury(7), []);
    assert_eq!(world.bury(1), [Conn(1, 'a')]);
    assert_eq!(world.permits().len(), 1);
}

#[test]
fn what_is_looked_at_ages_on_as_if_it_had_not_been_out() {
    let idle_timeout = Duration::from_secs(300);
    let mut world = World::new(Limits {
        idle_timeout,
        ..LIMITS
    });
    let (first, second) = (world.dial('a'), world.dial('a'));
    world.park(first);
    world.pass(Duration::from_secs(100));
    world.park(second);
    let looked_at = world.pool.inspect().unwrap();
    assert_eq!((looked_at.0, world.gauges()), (1, [1, 1, 0, 0]));
    world.pass(Duration::from_secs(199));
    world.park(looked_at);
    assert_eq!(world.upkeep(), []);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.upkeep(), [(1, CloseReason::IdleTimeout)]);
}

#[test]
fn what_is_looked_at_goes_to_whoever_waits_and_nothing_is_taken_from_a_closed_pool() {
    let mut world = World::new(Limits { max: 1, ..LIMITS });
    let conn = world.dial('a');
    world.park(conn);
    let looked_at = world.pool.inspect().unwrap();
    assert!(world.pool.inspect().is_none());
    world.wait('a');
    let (client, conn) = handed(world.give_back(looked_at));
    assert_eq!((client, conn.0), (2, 1));
    world.park(conn);
    world.pool.pause();
    assert!(world.pool.inspect().is_none());
}

#[test]
fn a_surplus_ages_out_but_never_below_min() {
    let idle_timeout = Duration::from_secs(300);
    let mut world = World::new(Limits {
        min: 1,
        max: 3,
        idle_timeout,
        ..LIMITS
    });
    let mut held = [world.dial('a'), world.dial('a'), world.dial('a')].into_iter();
    world.park(held.next().unwrap());
    world.pass(Duration::from_secs(1));
    held.for_each(|checkout| world.park(checkout));
    assert_eq!(
        world.pool.next_upkeep(),
        Some(world.now + Duration::from_secs(299))
    );
    world.pass(Duration::from_secs(299));
    assert_eq!(world.upkeep(), [(1, CloseReason::IdleTimeout)]);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.upkeep(), [(2, CloseReason::IdleTimeout)]);
    assert_eq!(world.pool.next_upkeep(), None);
    assert_eq!(world.gauges(), [1, 0, 0, 0]);
}

#[test]
fn lifetimes_end_below_min_too_and_are_spread() {
    let max_lifetime = Duration::from_secs(1000);
    let mut world = World::new(Limits {
        min: 2,
        max_lifetime,
        ..LIMITS
    });
    for (permit, jitter) in world.permits().into_iter().zip([0, u32::MAX]) {
        world.conns += 1;
        let conn = Conn(world.conns, 'a');
        let _parked = world.pool.opened(permit, conn, jitter, world.now);
    }
    world.pass(Duration::from_secs(801));
    assert_eq!(world.upkeep(), [(2, CloseReason::MaxLifetime)]);
    assert_eq!(
        world.pool.next_upkeep(),
        Some(world.now + Duration::from_secs(199))
    );
    world.pass(Duration::from_secs(199));
    assert_eq!(world.upkeep(), [(1, CloseReason::MaxLifetime)]);
}

#[test]
fn under_pressure_a_connection_past_its_lifetime_is_replaced_not_kept() {
    let max_lifetime = Duration::from_secs(10);
    let mut world = World::new(Limits {
        max: 1,
        max_lifetime,
        ..LIMITS
    });
    let held = world.dial('a');
    world.wait('a');
    world.pass(max_lifetime);
    assert_eq!(closed(world.give_back(held)), (1, CloseReason::MaxLifetime));
    let permit = world.permits().pop().unwrap();
    assert_eq!(handed(world.open(permit)).0, 2);
}

#[test]
fn lowered_limits_close_idle_ones_at_once_and_leased_ones_when_they_come_back() {
    let mut world = World::new(Limits { max: 4, ..LIMITS });
    let held = [world.dial('a'), world.dial('a'), world.dial('a')];
    let idle = world.dial('a');
    world.park(idle);
    world.pool.set_limits(Limits { max: 2, ..LIMITS });
    assert_eq!(world.upkeep(), [(4, CloseReason::OverMax)]);
    world.wait('b');
    assert!(world.permits().is_empty());
    let [first, second, _third] = held;
    assert_eq!(closed(world.give_back(first)), (1, CloseReason::OverMax));
    assert!(world.permits().is_empty());
    assert_eq!(closed(world.give_back(second)), (2, CloseReason::MadeRoom));
    assert_eq!(world.permits().len(), 1);
}

#[test]
fn a_raised_max_is_used_at_once() {
    let mut world = World::new(Limits { max: 1, ..LIMITS });
    let _held = world.dial('a');
    world.wait('a');
    assert!(world.permits().is_empty());
    world.pool.set_limits(LIMITS);
    assert_eq!(world.permits().len(), 1);
}

#[test]
fn a_drain_refuses_tells_those_that_wait_and_closes_what_comes_back() {
    let mut world = World::new(Limits { max: 3, ..LIMITS });
    let (idle, held) = (world.dial('a'), world.dial('a'));
    world.park(idle);
    world.wait('b');
    let permit = world.permits().pop().unwrap();
    assert_eq!(world.pool.drain(), [3]);
    assert_eq!(world.upkeep(), [(1, CloseReason::Draining)]);
    assert!(matches!(
        world.pool.acquire(&'a', None),
        Acquired::Refused(Refusal::Draining)
    ));
    assert_eq!(closed(world.open(permit)).1, CloseReason::Draining);
    assert_eq!(closed(world.give_back(held)).1, CloseReason::Draining);
    assert!(world.permits().is_empty());
    assert_eq!(world.gauges(), [0, 0, 0, 0]);
}

#[test]
fn a_pause_lets_clients_wait_and_brings_every_connection_home() {
    let mut world = World::new(LIMITS);
    let (idle, held) = (world.dial('a'), world.dial('a'));
    world.park(idle);
    world.pool.pause();
    world.wait('a');
    assert!(world.permits().is_empty());
    assert_eq!(world.upkeep(), [(1, CloseReason::Paused)]);
    assert_eq!(closed(world.give_back(held)), (2, CloseReason::Paused));
    world.pool.resume();
    let permit = world.permits().remove(0);
    assert_eq!(handed(world.open(permit)).0, 3);
}

#[test]
fn an_idle_connection_from_before_a_pause_is_not_given_out_after_it() {
    let mut world = World::new(LIMITS);
    let held = world.dial('a');
    world.park(held);
    world.pool.pause();
    world.pool.resume();
    world.wait('a');
    assert_eq!(world.upkeep(), [(1, CloseReason::Reconnect)]);
}

#[test]
fn a_reconnect_replaces_idle_leased_and_opening_ones() {
    let mut world = World::new(Limits { max: 3, ..LIMITS });
    let (idle, held) = (world.dial('a'), world.dial('a'));
    world.wait('a');
    let permit = world.permits().pop().unwrap();
    world.pool.reconnect();
    assert_eq!(closed(world.open(permit)), (3, CloseReason::Reconnect));
    assert_eq!(closed(world.give_back(idle)), (1, CloseReason::Reconnect));
    assert_eq!(closed(world.give_back(held)), (2, CloseReason::Reconnect));
    let permit = world.permits().pop().unwrap();
    assert_eq!(handed(world.open(permit)).0, 3);
}

#[test]
fn limits_beyond_all_bounds_are_no_limits() {
    let (idle_timeout, max_lifetime) = (Duration::MAX, Duration::MAX);
    let limits = Limits {
        max: usize::MAX,
        idle_timeout,
        max_lifetime,
        ..LIMITS
    };
    let mut world = World::new(limits);
    let held = world.dial('a');
    world.park(held);
    assert_eq!(world.pool.next_upkeep(), None);
    assert_eq!(world.upkeep(), []);
}

//! When a connection is dialled, and who hears of it when that fails.

use pool::{BACKOFF_FIRST, BACKOFF_LAST, Blame, DialReason, INFANCY, Limits, Placed};

use crate::world::{LIMITS, ONCE, World, handed};

#[test]
fn idle_connections_are_opened_up_to_min_and_said_why() {
    let mut world = World::new(Limits {
        min: 2,
        max: 5,
        ..LIMITS
    });
    let permits = world.permits();
    assert_eq!(permits.len(), 2);
    for permit in permits {
        assert_eq!(permit.reason(), DialReason::BelowMin);
        assert!(matches!(world.open(permit), Placed::Parked));
    }
    assert_eq!(world.gauges(), [2, 0, 0, 0]);
    assert!(world.permits().is_empty());
}

#[test]
fn one_dial_for_each_waiter_and_no_more_than_max() {
    let mut world = World::new(Limits { max: 3, ..LIMITS });
    world.wait('a');
    assert_eq!(world.permits().len(), 1);
    for _ in 0..9 {
        world.wait('a');
    }
    assert_eq!(world.permits().len(), 2);
    assert_eq!(world.gauges(), [0, 0, 3, 10]);
}

#[test]
fn a_storm_of_clients_is_no_storm_of_dials() {
    let mut world = World::new(Limits {
        max: 100,
        max_dials: 4,
        ..LIMITS
    });
    for _ in 0..50 {
        world.wait('a');
    }
    let mut permits = world.permits();
    assert_eq!(permits.len(), 4);
    let _served = handed(world.open(permits.pop().unwrap()));
    assert_eq!(world.permits().len(), 1);
}

#[test]
fn a_dial_under_way_serves_whoever_comes_next() {
    let mut world = World::new(Limits { max: 5, ..LIMITS });
    let gone = world.wait('a');
    let permit = world.permits().pop().unwrap();
    assert_eq!(world.pool.abandon(gone), Some(1));
    world.wait('a');
    assert!(
        world.permits().is_empty(),
        "the dial of the client that left is enough"
    );
    assert_eq!(handed(world.open(permit)).0, 2);
}

#[test]
fn what_is_opened_ahead_of_need_has_the_shape_that_was_dialled_last() {
    // But for one that there is a single connection of.
    for (dialled, next) in [('b', 'b'), (ONCE, 'a')] {
        let mut world = World::new(Limits { min: 2, ..LIMITS });
        world.wait(dialled);
        let mut permits = world.permits();
        let (ahead, waited) = (permits.pop().unwrap(), permits.remove(0));
        assert_eq!((*ahead.shape(), *waited.shape()), ('a', dialled));
        assert_eq!(world.fail(ahead, Blame::Database), []);
        let _held = handed(world.open(waited));
        assert_eq!(*world.permits().pop().unwrap().shape(), next);
    }
}

#[test]
fn failed_dials_are_held_back_longer_each_time() {
    let mut world = World::new(Limits { min: 1, ..LIMITS });
    let mut waits = Vec::new();
    for _ in 0..20 {
        let permit = world.permits().pop().unwrap();
        assert_eq!(world.fail(permit, Blame::Database), []);
        assert!(world.permits().is_empty());
        let retry = world.pool.next_upkeep().unwrap();
        waits.push(retry - world.now);
        world.now = retry;
    }
    assert_eq!(waits[..3], [1, 2, 4].map(|times| BACKOFF_FIRST / 2 * times));
    assert_eq!(waits[19], BACKOFF_LAST / 2);
    let permit = world.permits().pop().unwrap();
    assert!(matches!(world.open(permit), Placed::Parked));
    assert_eq!(world.pool.next_upkeep(), None);
}

#[test]
fn while_dials_fail_one_at_a_time_goes_to_find_out() {
    let mut world = World::new(Limits {
        min: 5,
        max: 9,
        ..LIMITS
    });
    for permit in world.permits() {
        world.fail(permit, Blame::Database);
    }
    world.pass(BACKOFF_FIRST);
    let mut permits = world.permits();
    assert_eq!(permits.len(), 1, "five failures at once are one failure");
    assert_eq!(
        world.pool.next_upkeep(),
        None,
        "its outcome is what to wait for"
    );
    assert!(matches!(world.open(permits.remove(0)), Placed::Parked));
    assert_eq!(world.permits().len(), 4);
}

#[test]
fn everybody_is_told_when_nothing_is_left_to_hope_for() {
    let mut world = World::new(Limits { max: 9, ..LIMITS });
    world.wait('a');
    world.wait('b');
    let mut permits = world.permits();
    assert_eq!(world.fail(permits.remove(0), Blame::Database), []);
    assert_eq!(world.fail(permits.remove(0), Blame::Database), [1, 2]);
}

#[test]
fn while_connections_stand_an_unreachable_database_turns_nobody_away() {
    let mut world = World::new(LIMITS);
    let held = world.dial('a');
    world.wait('a');
    let permit = world.permits().pop().unwrap();
    assert_eq!(world.fail(permit, Blame::Database), []);
    assert_eq!(handed(world.give_back(held)).0, 2);
}

#[test]
fn a_refused_tenant_turns_everybody_away_at_once() {
    let mut world = World::new(LIMITS);
    let _held = world.dial('a');
    world.wait('a');
    let permit = world.permits().pop().unwrap();
    assert_eq!(world.fail(permit, Blame::Tenant), [2]);
}

#[test]
fn a_refused_shape_concerns_only_those_who_asked_for_it() {
    let mut world = World::new(Limits { max: 3, ..LIMITS });
    world.wait('x');
    world.wait('b');
    world.wait('x');
    let strange = world.permits().remove(0);
    assert_eq!(world.fail(strange, Blame::Shape), [1, 3]);
    world.wait('c');
    assert_eq!(world.permits().len(), 1, "nothing is held back");
}

#[test]
fn a_refused_shape_that_was_the_usual_one_is_held_back() {
    let mut world = World::new(Limits { min: 1, ..LIMITS });
    let permit = world.permits().pop().unwrap();
    world.fail(permit, Blame::Shape);
    assert!(world.permits().is_empty());
}

#[test]
fn a_dial_from_before_a_reconnect_that_fails_says_nothing() {
    let mut world = World::new(LIMITS);
    world.wait('a');
    let permit = world.permits().pop().unwrap();
    world.pool.reconnect();
    assert_eq!(world.fail(permit, Blame::Tenant), []);
    assert_eq!(world.permits().len(), 1);
}

#[test]
#[should_panic(expected = "a permit goes to the pool that gave it")]
fn a_permit_of_another_pool_is_found_out() {
    let mut world = World::new(LIMITS);
    world.wait('a');
    let permit = world.permits().pop().unwrap();
    let _ = World::new(LIMITS).open(permit);
}

#[test]
fn who_wants_to_wait_on_is_not_told_of_a_failure_that_will_pass() {
    let mut world = World::new(LIMITS);
    world.wait('a');
    let permit = world.permits().pop().unwrap();
    assert_eq!(world.fail(permit, Blame::Passing), []);
    assert_eq!(world.permits().len(), 0, "dials are held back");
    world.pass(BACKOFF_FIRST);
    assert_eq!(world.permits().len(), 1);
    assert_eq!(world.pool.dismiss_waiting(), [1]);
}

#[test]
fn a_database_that_closes_after_each_login_is_held_back_longer_each_time() {
    let mut world = World::new(Limits { min: 1, ..LIMITS });
    let mut waits = Vec::new();
    for number in 1..=6 {
        let permit = world.permits().pop().unwrap();
        // Idle or with a client, that is the same.
        if number % 2 == 0 {
            world.wait('a');
            let served = handed(world.open(permit)).1;
            world.lose(served);
        } else {
            assert!(matches!(world.open(permit), Placed::Parked));
            assert_eq!(world.bury(number).len(), 1);
        }
        assert!(world.permits().is_empty());
        let retry = world.pool.next_upkeep().unwrap();
        waits.push(retry - world.now);
        world.now = retry;
    }
    let growing = [1, 2, 4, 8, 16, 32].map(|times| BACKOFF_FIRST / 2 * times);
    assert_eq!(waits, growing);
}

/// One is idle, and another has died young.
fn in_doubt(world: &mut World) {
    let old = world.dial('a');
    world.wait('a');
    let permit = world.permits().pop().unwrap();
    let stillborn = handed(world.open(permit)).1;
    world.lose(stillborn);
    world.park(old);
    world.pass(BACKOFF_FIRST);
}

#[test]
fn after_that_one_at_a_time_goes_to_find_out_until_one_has_proved_itself() {
    let limits = Limits {
        min: 4,
        max: 9,
        ..LIMITS
    };
    // By having served somebody, or by having been there for a while.
    for by_serving in [true, false] {
        let mut world = World::new(Limits { min: 0, ..limits });
        in_doubt(&mut world);
        world.pool.set_limits(limits);
        assert_eq!(world.gauges(), [1, 0, 0, 0]);
        let permit = world.permits();
        assert_eq!(permit.len(), 1, "the old one proves nothing");
        for permit in permit {
            assert!(matches!(world.open(permit), Placed::Parked));
        }
        let permit = world.permits();
        assert_eq!(permit.len(), 1, "without a pause, but one only");
        for permit in permit {
            assert!(matches!(world.open(permit), Placed::Parked));
        }
        if by_serving {
            let young = world.get('a');
            assert_eq!(young.0, 4);
            world.park(young);
        } else {
            world.pass(INFANCY);
            world.upkeep();
        }
        world.pool.set_limits(Limits { min: 9, ..limits });
        assert_eq!(world.permits().len(), 6);
    }
}

#[test]
fn who_breaks_of_age_says_nothing_about_dials() {
    let mut world = World::new(Limits { min: 1, ..LIMITS });
    let permit = world.permits().pop().unwrap();
    assert!(matches!(world.open(permit), Placed::Parked));
    world.pass(INFANCY);
    assert_eq!(world.bury(1).len(), 1);
    assert_eq!(world.permits().len(), 1, "nothing is held back");
}

//! Who is given which connection, and in which order.

use pool::{Acquired, CloseReason, Limits, Refusal, Verdict};

use crate::world::{Conn, LIMITS, World, closed, handed};

#[test]
fn the_connection_used_last_is_used_next() {
    let mut world = World::new(LIMITS);
    let (first, second) = (world.dial('a'), world.dial('a'));
    world.park(second);
    world.park(first);
    assert_eq!(*world.get('a'), Conn(1, 'a'));
}

#[test]
fn a_client_that_comes_again_has_the_connection_it_had() {
    let mut world = World::new(LIMITS);
    let (first, second) = (world.dial('a'), world.dial('a'));
    let had = first.serial();
    world.park(first);
    world.park(second);
    let Acquired::Ready(again) = world.pool.acquire(&'a', Some(had)) else {
        panic!("two are idle");
    };
    assert_eq!(*again, Conn(1, 'a'));
    // While it is out, and for a client of another shape, it is no question.
    let Acquired::Ready(other) = world.pool.acquire(&'a', Some(had)) else {
        panic!("one is idle");
    };
    assert_eq!(*other, Conn(2, 'a'));
    world.park(again);
    assert!(matches!(
        world.pool.acquire(&'b', Some(had)),
        Acquired::Full
    ));
}

#[test]
fn waiters_are_served_first_come_first_served() {
    let mut world = World::new(Limits { max: 1, ..LIMITS });
    let mut held = world.dial('a');
    for _ in 0..100 {
        world.wait('a');
    }
    for client in 2..102 {
        let (served, checkout) = handed(world.give_back(held));
        assert_eq!(served, client);
        held = checkout;
    }
    world.park(held);
    assert_eq!(world.gauges(), [1, 0, 0, 0]);
}

#[test]
fn a_waiter_that_left_is_passed_over() {
    let mut world = World::new(Limits { max: 1, ..LIMITS });
    let held = world.dial('a');
    let impatient = world.wait('a');
    world.wait('a');
    assert_eq!(world.pool.abandon(impatient), Some(2));
    assert_eq!(world.pool.abandon(impatient), None);
    assert_eq!(handed(world.give_back(held)).0, 3);
}

#[test]
fn a_hand_over_that_came_too_late_goes_to_the_next() {
    let mut world = World::new(Limits { max: 1, ..LIMITS });
    let held = world.dial('a');
    let late = world.wait('a');
    world.wait('a');
    let (waiter, checkout) = handed(world.give_back(held));
    assert_eq!((waiter, world.pool.abandon(late)), (2, None));
    assert_eq!(handed(world.give_back(checkout)).0, 3);
}

#[test]
fn the_queue_has_an_end() {
    let mut world = World::new(Limits {
        max: 1,
        max_waiting: 2,
        ..LIMITS
    });
    world.wait('a');
    world.wait('a');
    assert!(matches!(
        world.pool.acquire(&'a', None),
        Acquired::Refused(Refusal::QueueFull)
    ));
}

#[test]
fn a_client_gets_its_shape_or_a_dial() {
    let mut world = World::new(Limits { max: 3, ..LIMITS });
    let a = world.dial('a');
    world.park(a);
    let b = world.dial('b');
    assert_eq!(*b, Conn(2, 'b'));
    assert_eq!(world.gauges(), [1, 1, 0, 0]);
}

#[test]
fn idle_ones_that_do_not_fit_make_room_longest_idle_first() {
    let mut world = World::new(LIMITS);
    let (first, second) = (world.dial('a'), world.dial('a'));
    world.park(second);
    world.park(first);
    world.wait('b');
    let grant = world.pool.next_permit(world.now).unwrap();
    assert_eq!(grant.evicted, Some(Conn(2, 'a')));
    assert_eq!(handed(world.open(grant.permit)).0, 3);
    assert_eq!(world.gauges(), [1, 1, 0, 0]);
}

#[test]
fn a_client_of_a_rare_shape_does_not_starve_behind_a_busy_one() {
    let mut world = World::new(Limits { max: 1, ..LIMITS });
    let busy = world.dial('a');
    world.wait('b');
    world.wait('a');
    assert_eq!(closed(world.give_back(busy)), (1, CloseReason::MadeRoom));
    let permit = world.permits().pop().unwrap();
    assert_eq!(*permit.shape(), 'b');
    assert_eq!(handed(world.open(permit)).0, 2);
}

#[test]
fn broken_connections_do_not_starve_the_pool() {
    let mut world = World::new(LIMITS);
    for number in 1..100 {
        let broken = world.dial('a');
        let verdict = Verdict::Close(CloseReason::Broken);
        let placed = world.pool.release(broken, verdict, world.now);
        assert_eq!(closed(placed), (number, CloseReason::Broken));
    }
    assert_eq!(world.gauges(), [0, 0, 0, 0]);
}

//! What a pool does, by name. A connection is a number and a letter, its shape; so is a waiter.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::{Duration, Instant};

use pool::{
    Acquired, BACKOFF_FIRST, BACKOFF_LAST, Blame, Checkout, CloseReason, DialReason, Limits,
    Permit, Placed, Pool, Pooled, Refusal, Ticket, Verdict,
};

#[derive(Debug, PartialEq, Eq)]
struct Conn(u32, char);

impl Pooled for Conn {
    type Shape = char;

    fn shape(&self) -> &char {
        &self.1
    }
}

const LIMITS: Limits = Limits {
    min: 0,
    max: 2,
    max_dials: 0,
    max_waiting: 0,
    idle_timeout: Duration::ZERO,
    max_lifetime: Duration::ZERO,
};

/// A pool, its clock, and the numbers of connections and clients given out so far.
struct World {
    pool: Pool<Conn, u32>,
    now: Instant,
    conns: u32,
    clients: u32,
}

impl World {
    fn new(limits: Limits) -> World {
        World {
            pool: Pool::new(limits, 'a'),
            now: Instant::now(),
            conns: 0,
            clients: 0,
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    /// A client comes, and must wait. Clients are numbered from 1.
    fn wait(&mut self, shape: char) -> Ticket {
        assert!(matches!(self.pool.acquire(&shape), Acquired::Full));
        self.clients += 1;
        self.pool.enqueue(shape, self.clients)
    }

    fn get(&mut self, shape: char) -> Checkout<Conn> {
        match self.pool.acquire(&shape) {
            Acquired::Ready(checkout) => checkout,
            other => panic!("no idle connection: {other:?}"),
        }
    }

    /// All permits there are now; nothing may be evicted for them.
    fn permits(&mut self) -> Vec<Permit<char>> {
        let grants = std::iter::from_fn(|| self.pool.next_permit(self.now));
        grants
            .inspect(|grant| assert_eq!(grant.evicted, None))
            .map(|grant| grant.permit)
            .collect()
    }

    /// Spends a permit well. Connections are numbered from 1.
    fn open(&mut self, permit: Permit<char>) -> Placed<Conn, u32> {
        self.conns += 1;
        let conn = Conn(self.conns, *permit.shape());
        self.pool.opened(permit, conn, 0, self.now)
    }

    fn fail(&mut self, permit: Permit<char>, blame: Blame) -> Vec<u32> {
        self.pool.failed(permit, blame, 0, self.now)
    }

    /// A client comes and gets a connection of its own.
    fn dial(&mut self, shape: char) -> Checkout<Conn> {
        self.wait(shape);
        let permit = self.permits().pop().unwrap();
        handed(self.open(permit)).1
    }

    fn give_back(&mut self, checkout: Checkout<Conn>) -> Placed<Conn, u32> {
        self.pool.release(checkout, Verdict::Reusable, self.now)
    }

    fn park(&mut self, checkout: Checkout<Conn>) {
        assert!(matches!(self.give_back(checkout), Placed::Parked));
    }

    fn upkeep(&mut self) -> Vec<(u32, CloseReason)> {
        self.pool
            .upkeep(self.now)
            .into_iter()
            .map(|(conn, why)| (conn.0, why))
            .collect()
    }

    /// `[idle, leased, opening, waiting]`
    fn gauges(&self) -> [usize; 4] {
        let gauges = self.pool.gauges();
        [gauges.idle, gauges.leased, gauges.opening, gauges.waiting]
    }
}

fn handed(placed: Placed<Conn, u32>) -> (u32, Checkout<Conn>) {
    match placed {
        Placed::Handed { waiter, checkout } => (waiter, checkout),
        other => panic!("handed to nobody: {other:?}"),
    }
}

fn closed(placed: Placed<Conn, u32>) -> (u32, CloseReason) {
    match placed {
        Placed::Closed(conn, reason) => (conn.0, reason),
        other => panic!("not closed: {other:?}"),
    }
}

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
fn the_connection_used_last_is_used_next() {
    let mut world = World::new(LIMITS);
    let (first, second) = (world.dial('a'), world.dial('a'));
    world.park(second);
    world.park(first);
    assert_eq!(*world.get('a'), Conn(1, 'a'));
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
        world.pool.acquire(&'a'),
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
fn what_is_opened_ahead_of_need_has_the_shape_that_was_dialled_last() {
    let mut world = World::new(Limits { min: 2, ..LIMITS });
    world.wait('b');
    let mut permits = world.permits();
    let (ahead, waited) = (permits.pop().unwrap(), permits.remove(0));
    assert_eq!((*ahead.shape(), *waited.shape()), ('a', 'b'));
    assert_eq!(world.fail(ahead, Blame::Database), []);
    let _held = handed(world.open(waited));
    assert_eq!(*world.permits().pop().unwrap().shape(), 'b');
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

#[test]
fn idle_connections_that_died_leave_and_are_replaced() {
    let mut world = World::new(Limits { min: 1, ..LIMITS });
    let permit = world.permits().pop().unwrap();
    assert!(matches!(world.open(permit), Placed::Parked));
    assert_eq!(world.pool.remove_idle(|conn| conn.0 == 7), []);
    assert_eq!(world.pool.remove_idle(|conn| conn.0 == 1), [Conn(1, 'a')]);
    assert_eq!(world.permits().len(), 1);
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
        world.pool.acquire(&'a'),
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
fn a_dial_from_before_a_reconnect_that_fails_says_nothing() {
    let mut world = World::new(LIMITS);
    world.wait('a');
    let permit = world.permits().pop().unwrap();
    world.pool.reconnect();
    assert_eq!(world.fail(permit, Blame::Tenant), []);
    assert_eq!(world.permits().len(), 1);
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

#[test]
#[should_panic(expected = "a permit goes to the pool that gave it")]
fn a_permit_of_another_pool_is_found_out() {
    let mut world = World::new(LIMITS);
    world.wait('a');
    let permit = world.permits().pop().unwrap();
    let _ = World::new(LIMITS).open(permit);
}

//! Cancel requests: which backend a client's key means at this instant, and how it is told.
//!
//! Every PostgreSQL client gets a key of our own making. Its low bits name the shard, so that any
//! acceptor can steer a request; the rest is random. A key is known here exactly as long as its
//! session holds its backend, so a late or invented request hits nobody.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::BytesMut;
use log::debug;
use sockets::{SocketOptions, Stream};
use wire::pg::{CancelKey, LoggedIn};

use crate::backend::{Backend, Route, Welcome};
use crate::conn::Conn;
use crate::contract::ShardId;
use crate::dial::{DialFailure, secure_postgres};
use crate::handoff::Loose;
use crate::random;
use crate::stats::Stats;

/// The keys of one shard's clients.
pub struct Cancels {
    shard: ShardId,
    shards: usize,
    /// By process id, which several databases may use at once, and a number of their own.
    targets: RefCell<BTreeMap<(i32, u64), Rc<Target>>>,
    /// Keys made so far.
    made: Cell<u64>,
}

/// What a client's key means.
pub struct Target {
    /// What the client has.
    key: CancelKey,
    /// Tells it from others of the same process id.
    number: u64,
    aim: RefCell<Aim>,
    /// A request has been passed on, or noticed, since the aim was last set.
    used: Cell<bool>,
    /// A request for whom the key means now is on its way; another one would say nothing new.
    busy: Cell<bool>,
    /// How often the aim was set.
    aims: Cell<u64>,
    /// Whom to wake when a request comes for a client that waits.
    waiter: RefCell<Option<Waker>>,
    stats: Rc<Stats>,
}

/// Whom a key means at this moment.
#[derive(Clone, Debug)]
pub enum Aim {
    /// Nobody: the client has no backend and wants none.
    Nobody,
    /// The client itself, which waits for a backend.
    Waiting,
    /// This backend.
    Backend {
        /// The way to its server.
        route: Rc<Route>,
        /// What the server gave us.
        key: CancelKey,
    },
}

impl Aim {
    /// At a backend; at nobody if its server gave it no key.
    pub fn at(backend: &Backend) -> Aim {
        match &backend.welcome {
            Welcome::Postgres(LoggedIn { key: Some(key), .. }) => Aim::Backend {
                route: Rc::clone(&backend.route),
                key: key.clone(),
            },
            _ => Aim::Nobody,
        }
    }
}

/// How long a secret the client's protocol can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretLength {
    /// Four bytes: protocol 3.0.
    Short,
    /// As many as PostgreSQL itself sends, 32: protocol 3.2.
    Long,
}

impl SecretLength {
    /// What protocol 3.`minor` can carry.
    pub fn for_minor(minor: u16) -> SecretLength {
        match minor {
            0 | 1 => SecretLength::Short,
            _ => SecretLength::Long,
        }
    }
}

/// A key that is in force until this is dropped.
pub struct Registered<'a> {
    cancels: &'a Cancels,
    target: Rc<Target>,
}

impl Cancels {
    /// No keys yet.
    pub fn new(shard: ShardId, shards: usize) -> Cancels {
        Cancels {
            shard,
            shards,
            targets: RefCell::default(),
            made: Cell::default(),
        }
    }

    /// Makes a key for a client. `process_id` is its backend's own where it keeps that one for life,
    /// since drivers compare it with the one in notifications; else one is made up. The secret is
    /// ours in any case.
    pub fn register(
        &self,
        process_id: Option<i32>,
        length: SecretLength,
        stats: &Rc<Stats>,
    ) -> Registered<'_> {
        // Drawn at once, for that is what takes the time.
        let [first, second, third, fourth, long @ ..] = random::bytes::<36>();
        let mut secret = match length {
            SecretLength::Short => long[..4].to_vec(),
            SecretLength::Long => long.to_vec(),
        };
        steer_to(&mut secret, self.shard, self.shards);
        let process_id =
            process_id.unwrap_or_else(|| nobodys_process([first, second, third, fourth]));
        let key = CancelKey::new(process_id, secret)
            .unwrap_or_else(|_| unreachable!("4 and 32 bytes are lengths that the protocol knows"));
        let number = self.made.get();
        self.made.set(number + 1);
        let target = Rc::new(Target {
            key,
            number,
            aim: RefCell::new(Aim::Nobody),
            used: Cell::new(false),
            busy: Cell::new(false),
            aims: Cell::new(0),
            waiter: RefCell::default(),
            stats: Rc::clone(stats),
        });
        let place = (process_id, number);
        let mut targets = self.targets.borrow_mut();
        targets.insert(place, Rc::clone(&target));
        drop(targets);
        Registered {
            cancels: self,
            target,
        }
    }

    /// What a key means now.
    fn find(&self, key: &CancelKey) -> Option<Rc<Target>> {
        let targets = self.targets.borrow();
        let id = key.process_id();
        // `CancelKey` compares in constant time.
        targets
            .range((id, 0)..=(id, u64::MAX))
            .map(|(_, target)| target)
            .find(|target| target.key == *key)
            .cloned()
    }

    /// Passes on a client's request. The client's socket is closed when the database has taken
    /// notice, which is what clients wait for; a client that does not wait makes no difference.
    pub async fn pass_on(&self, key: &CancelKey, client: Loose) {
        match self.find(key) {
            Some(target) if !target.busy.replace(true) => {
                target.stats.count(|counts| counts.cancels += 1);
                let aims = target.aims.get();
                target.tell().await;
                if target.aims.get() == aims {
                    target.busy.set(false);
                }
            }
            Some(_) => debug!("a cancel request for a client whose last one is still on its way"),
            None => debug!("a cancel request with a key that is not in force"),
        }
        if client.tls.is_some() {
            Conn::adopt(client).close_with(BytesMut::new());
        }
    }
}

impl Registered<'_> {
    /// The key for the client.
    pub fn key(&self) -> &CancelKey {
        &self.target.key
    }

    /// Sets whom the key means from now on. Tells whether a request came for whom it meant before:
    /// then that backend must not serve anybody else, since the request may still hit it.
    pub fn aim(&self, aim: Aim) -> bool {
        *self.target.aim.borrow_mut() = aim;
        self.target.aims.set(self.target.aims.get() + 1);
        self.target.busy.set(false);
        self.target.used.replace(false)
    }

    /// Ready when a request came for a client that waits.
    pub fn poll_cancelled(&self, cx: &Context<'_>) -> Poll<()> {
        if self.target.used.get() {
            return Poll::Ready(());
        }
        *self.target.waiter.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Cancels what the client has begun and will not wait for.
    pub async fn cancel(&self) {
        self.target.tell().await;
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        let place = (self.target.key.process_id(), self.target.number);
        let target = self.cancels.targets.borrow_mut().remove(&place);
        drop(target);
    }
}

impl Target {
    /// Tells whom the key means now.
    async fn tell(&self) {
        self.used.set(true);
        let aim = self.aim.borrow().clone();
        match aim {
            Aim::Nobody => debug!("a cancel request for a client that has nothing to cancel"),
            Aim::Waiting => {
                if let Some(waiter) = self.waiter.borrow_mut().take() {
                    waiter.wake();
                }
            }
            Aim::Backend { route, key } => request(&route, &key).await,
        }
    }
}

/// Sends a CancelRequest on a connection of its own and waits until the server closes it: by then
/// the signal has been sent.
async fn request(route: &Route, key: &CancelKey) {
    let address = &route.address;
    let told = sockets::timeout(CANCEL_TIMEOUT, async {
        let unreachable = |error: io::Error| DialFailure::Unreachable(error.to_string());
        let options = SocketOptions::default();
        let stream = Stream::connect(address.clone(), &options).await;
        let mut conn = Conn::new(stream.map_err(unreachable)?);
        secure_postgres(&mut conn, route).await?;
        let mut request = BytesMut::new();
        key.write_cancel_request(&mut request);
        conn.say(request);
        conn.channel().recv().await.map_err(unreachable)
    });
    match told.await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => debug!("cancel request to {address}: {error}"),
        Err(_) => debug!("cancel request to {address}: no answer within {CANCEL_TIMEOUT:?}"),
    }
}

/// The shard that a client's key names, of `shards` many.
pub fn shard_of_key(key: &CancelKey, shards: usize) -> ShardId {
    let low = key.secret().last().copied().unwrap_or(0);
    ShardId(usize::from(low) % shards.clamp(1, MAX_STEERED))
}

/// Changes the last byte of `secret` so that it names `shard`, and leaves as much of it to chance
/// as there is room for.
fn steer_to(secret: &mut [u8], shard: ShardId, shards: usize) {
    let shards = shards.clamp(1, MAX_STEERED);
    if let Some(low) = secret.last_mut() {
        let turns = 256 / shards;
        *low = ((usize::from(*low) % turns) * shards + shard.0 % shards) as u8;
    }
}

/// How long a database may take to notice a cancel request.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(10);
/// The most shards that a key's last byte can tell apart.
pub const MAX_STEERED: usize = 256;

/// A process id that no process has, made of random bytes: Linux counts to 2^22 (`PID_MAX_LIMIT`), and a client that
/// ends what it takes for its own backend (`pg_terminate_backend`) must not end another's. Positive, for clients that
/// print it.
fn nobodys_process(random: [u8; 4]) -> i32 {
    const ABOVE_ALL: i32 = 1 << 30;
    i32::from_ne_bytes(random) & i32::MAX | ABOVE_ALL
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_id_of_our_own_is_no_processes() {
        const LINUX_COUNTS_TO: i32 = 1 << 22;
        for random in [0, 1, 4_711, LINUX_COUNTS_TO, -1, i32::MIN, i32::MAX] {
            let made_up = nobodys_process(random.to_ne_bytes());
            assert!(made_up > LINUX_COUNTS_TO, "{random}: {made_up}");
        }
    }

    #[test]
    fn every_shard_is_named_by_its_own_keys() {
        for shards in [1, 2, 3, 7, 64, 256] {
            for shard in 0..shards {
                for low in [0, 1, 127, 255] {
                    let mut secret = [9, 9, 9, low];
                    steer_to(&mut secret, ShardId(shard), shards);
                    assert_eq!(
                        shard_of_key(
                            &CancelKey::new(1, secret.to_vec()).expect("four bytes"),
                            shards
                        ),
                        ShardId(shard)
                    );
                }
            }
        }
    }
}

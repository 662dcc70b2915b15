//! Cancel requests: which backend a client's key means at this instant, and how it is told.
//!
//! Every PostgreSQL client gets a key of our own making. Its low bits name the shard, so that any
//! acceptor can steer a request; the rest is random. A key is known here exactly as long as its
//! session holds its backend, so a late or invented request hits nobody.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use log::debug;
use sockets::{SocketOptions, Stream};
use wire::pg::CancelKey;

use crate::contract::ShardId;
use crate::random;
use crate::stats::Stats;

/// The keys of one shard's clients.
pub struct Cancels {
    shard: ShardId,
    shards: usize,
    /// By process id, then by secret; several databases may use one process id.
    targets: RefCell<HashMap<i32, Vec<Rc<Target>>>>,
}

/// A backend that can be told to cancel.
pub struct Target {
    /// What the client has.
    key: CancelKey,
    /// Where the backend's server listens.
    address: SocketAddr,
    /// What the server gave us.
    backend: CancelKey,
    /// A request is on its way; another one would say nothing new.
    busy: Cell<bool>,
    /// Where requests that are passed on count.
    stats: Rc<Stats>,
}

/// How long a secret the client's protocol can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretLength {
    /// Four bytes: protocol 3.0.
    Short,
    /// As many as PostgreSQL itself sends, 32: protocol 3.2.
    Long,
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
        }
    }

    /// Makes a key for a client whose backend has the key `backend` at `address`: the same process
    /// id, which drivers compare with the one in notifications, and a secret of our own.
    pub fn register(
        &self,
        backend: CancelKey,
        address: SocketAddr,
        length: SecretLength,
        stats: &Rc<Stats>,
    ) -> Registered<'_> {
        let mut secret = match length {
            SecretLength::Short => random::bytes::<4>().to_vec(),
            SecretLength::Long => random::bytes::<32>().to_vec(),
        };
        steer_to(&mut secret, self.shard, self.shards);
        let key = backend
            .with_secret(secret)
            .unwrap_or_else(|_| unreachable!("4 and 32 bytes are lengths that the protocol knows"));
        let target = Rc::new(Target {
            key,
            address,
            backend,
            busy: Cell::new(false),
            stats: Rc::clone(stats),
        });
        self.targets
            .borrow_mut()
            .entry(target.key.process_id())
            .or_default()
            .push(Rc::clone(&target));
        Registered {
            cancels: self,
            target,
        }
    }

    /// What a key means now.
    fn find(&self, key: &CancelKey) -> Option<Rc<Target>> {
        let targets = self.targets.borrow();
        // `CancelKey` compares in constant time.
        targets
            .get(&key.process_id())?
            .iter()
            .find(|target| target.key == *key)
            .cloned()
    }

    /// Passes on a client's request. The client's socket is closed when the database has taken
    /// notice, which is what clients wait for; a client that does not wait makes no difference.
    pub async fn pass_on(&self, key: &CancelKey, client: OwnedFd) {
        match self.find(key) {
            Some(target) if !target.busy.replace(true) => {
                target.stats.count(|counts| counts.cancels += 1);
                target.tell().await;
                target.busy.set(false);
            }
            Some(_) => debug!("a cancel request for a backend that is being cancelled already"),
            None => debug!("a cancel request with a key that is not in force"),
        }
        drop(client);
    }
}

impl Registered<'_> {
    /// The key for the client.
    pub fn key(&self) -> &CancelKey {
        &self.target.key
    }

    /// The target, for a cancel of our own when the client has gone in the middle of a query.
    pub fn target(&self) -> Rc<Target> {
        Rc::clone(&self.target)
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        let mut targets = self.cancels.targets.borrow_mut();
        let process_id = self.target.key.process_id();
        if let Some(same) = targets.get_mut(&process_id) {
            same.retain(|target| !Rc::ptr_eq(target, &self.target));
            if same.is_empty() {
                targets.remove(&process_id);
            }
        }
    }
}

impl Target {
    /// Sends a CancelRequest on a connection of its own and waits until the server closes it: by
    /// then the signal has been sent.
    pub async fn tell(&self) {
        let told = sockets::timeout(CANCEL_TIMEOUT, async {
            let stream = Stream::connect(self.address, &SocketOptions::default()).await?;
            let mut request = BytesMut::new();
            self.backend.write_cancel_request(&mut request);
            stream.send(request);
            stream.recv().await
        });
        match told.await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => debug!("cancel request to {}: {error}", self.address),
            Err(_) => debug!(
                "cancel request to {}: no answer within {CANCEL_TIMEOUT:?}",
                self.address
            ),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

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

//! What all sessions of a shard share: its tenants, its clients' cancel keys, what proofs are checked
//! against.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use wire::pg::MockKey;

use crate::cancel::Cancels;
use crate::contract::{Reception, ShardId, TenantId};
use crate::disguise::Disguise;
use crate::lookup::MockLookups;
use crate::resolve::Names;
use crate::stats::Stats;
use crate::tenant::Tenant;
use crate::throttle::Throttle;
use crate::verifiers::Verifiers;

/// What a shard needs to know beside its tenants.
#[derive(Clone, Debug)]
pub struct ShardSettings {
    /// Its place among its fellows.
    pub id: ShardId,
    /// How many there are.
    pub shards: usize,
    /// How long a login may take, for the sentence when it took longer.
    pub login_timeout: Duration,
    /// How long a client may read nothing while bytes wait for it; `None` is for ever.
    pub client_stall_timeout: Option<Duration>,
    /// How many logins at one tenant may fail in a minute from one address; `None` is any number.
    pub failed_logins: Option<usize>,
    /// What MySQL clients are greeted as.
    pub disguise: Arc<Disguise>,
    /// The process's key for secrets of users that do not exist.
    pub mock: MockKey,
}

/// What all sessions of a shard share.
pub struct ShardContext {
    /// As given at the start.
    pub settings: ShardSettings,
    tenants: RefCell<HashMap<TenantId, Rc<Tenant>>>,
    /// The keys by which clients ask for a cancel.
    pub cancels: Cancels,
    /// What PostgreSQL clients' proofs are compared with.
    pub verifiers: Verifiers,
    /// Whose logins have failed.
    pub throttle: RefCell<Throttle>,
    /// The names that are being looked up.
    pub names: Rc<Names>,
    /// What became of clients that have no tenant here.
    pub strangers: Stats,
    /// How they are received.
    pub reception: Cell<Reception>,
    /// What takes the time of their lookups.
    pub mock_lookups: MockLookups,
    /// How long a lookup of a tenant's users takes.
    lookup_time: Cell<Duration>,
}

impl ShardContext {
    /// Without tenants.
    pub fn new(settings: ShardSettings) -> ShardContext {
        ShardContext {
            cancels: Cancels::new(settings.id, settings.shards),
            verifiers: Verifiers::new(settings.mock.clone()),
            throttle: RefCell::new(Throttle::new(settings.failed_logins)),
            settings,
            tenants: RefCell::default(),
            names: Rc::default(),
            strangers: Stats::default(),
            reception: Cell::default(),
            mock_lookups: MockLookups::default(),
            lookup_time: Cell::default(),
        }
    }

    /// The tenant of that name, if there is one.
    pub fn tenant(&self, id: &TenantId) -> Option<Rc<Tenant>> {
        self.tenants.borrow().get(id).cloned()
    }

    /// All of them, in no order.
    pub fn tenants(&self) -> Vec<Rc<Tenant>> {
        self.tenants.borrow().values().cloned().collect()
    }

    /// How long a lookup of a tenant's users takes: the longest of the latest ones, as it was when
    /// the tenants were last looked after.
    pub fn lookup_time(&self) -> Duration {
        self.lookup_time.get()
    }

    /// Looks after all tenants. Called about once a second.
    pub fn upkeep(&self) {
        let mut longest = Duration::ZERO;
        for tenant in self.tenants() {
            tenant.upkeep();
            longest = longest.max(tenant.lookups.took());
        }
        self.lookup_time.set(longest);
    }

    /// The tenant has its name from now on.
    pub fn put(&self, tenant: Rc<Tenant>) {
        let id = tenant.spec().id.clone();
        self.tenants.borrow_mut().insert(id, tenant);
    }

    /// The tenant of that name is none any more.
    pub fn take(&self, id: &TenantId) -> Option<Rc<Tenant>> {
        self.verifiers.forget(id);
        self.tenants.borrow_mut().remove(id)
    }
}

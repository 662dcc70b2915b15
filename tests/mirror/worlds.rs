//! The worlds in which scenarios are played: a release of PostgreSQL, and a bouncer before it with so many backends,
//! shards and statements. Scenarios of one world share its bouncer, and are played one after another.

use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;

use crate::leaks::Extent;
use testbed::{Config, Door, Front, Kind, Server, Tenant};

/// One of them.
#[derive(Clone, Copy, Debug)]
pub struct World {
    pub kind: Kind,
    /// The first part of its tests' names, behind that of the server.
    pub name: &'static str,
    /// How many backends there are.
    pub backends: usize,
    shards: usize,
    /// More lines of the tenant's entry in the config.
    settings: &'static [&'static str],
    /// Whether the tenant's account may do everything.
    superuser: bool,
    index: usize,
}

/// Where the scenarios are played.
pub const WORLDS: [World; 6] = [
    one(
        Kind::Postgres,
        &[TRANSACTION, "max_prepared_statements: 1"],
        0,
    ),
    three(Kind::Postgres, 1),
    session(Kind::Postgres, 2),
    one(
        Kind::Postgres18,
        &[TRANSACTION, "max_prepared_statements: 2"],
        3,
    ),
    three(Kind::Postgres18, 4),
    session(Kind::Postgres18, 5),
];

/// Where state is made, and how much of it is.
pub const LEAKS: [(World, Extent); 4] = [
    (
        leaks(Kind::Postgres, "leaks", &[TRANSACTION], 6),
        Extent::Full,
    ),
    (
        leaks(Kind::Postgres, "leaks_of_functions", &[TRANSACTION], 7),
        Extent::Hidden,
    ),
    (
        leaks(
            Kind::Postgres,
            "leaks_always",
            &[TRANSACTION, "reset: always"],
            9,
        ),
        Extent::Hidden,
    ),
    (
        leaks(Kind::Postgres18, "leaks", &[TRANSACTION], 8),
        Extent::Short,
    ),
];

/// A single backend, a single shard, and hardly any room for statements.
const fn one(kind: Kind, settings: &'static [&'static str], index: usize) -> World {
    World {
        kind,
        name: "one_backend",
        backends: 1,
        shards: 1,
        settings,
        superuser: false,
        index,
    }
}

const fn three(kind: Kind, index: usize) -> World {
    World {
        name: "three_backends",
        backends: 3,
        shards: 2,
        ..one(kind, &[TRANSACTION], index)
    }
}

const fn session(kind: Kind, index: usize) -> World {
    World {
        name: "session_mode",
        backends: 20,
        shards: 2,
        ..one(kind, &["pool_mode: session"], index)
    }
}

const fn leaks(
    kind: Kind,
    name: &'static str,
    settings: &'static [&'static str],
    index: usize,
) -> World {
    World {
        name,
        superuser: true,
        ..one(kind, settings, index)
    }
}

const TRANSACTION: &str = "pool_mode: transaction";

impl World {
    /// One like it that nobody else enters; each has another number.
    pub fn apart(self, number: usize) -> World {
        World {
            index: APART + number,
            ..self
        }
    }

    /// The world itself, with nobody else in it until this is dropped. The first to ask makes it.
    pub fn enter(self) -> MutexGuard<'static, Place> {
        let place = PLACES[self.index].get_or_init(|| Mutex::new(Place::make(self)));
        // Who panicked in it has told already what was wrong.
        place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

static PLACES: [OnceLock<Mutex<Place>>; APART + 16] = [const { OnceLock::new() }; APART + 16];

/// Behind the worlds that are shared come those that are not.
const APART: usize = WORLDS.len() + LEAKS.len();

/// A bouncer, and two ways to databases that are the same.
pub struct Place {
    /// To the one database itself.
    pub straight: Door,
    /// To the other one through the bouncer.
    pub through: Door,
    closed: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Place {
    fn make(world: World) -> Place {
        let server = Server::shared(world.kind);
        let mut tenant = Tenant::on(server, "mirror").with("client_auth: trust");
        tenant.set(&format!("max_connections: {}", world.backends));
        world.settings.iter().for_each(|line| tenant.set(line));
        let Tenant {
            dbname, username, ..
        } = &tenant;
        server.sql(dbname, &format!("SET ROLE {username};\n{CONTENTS}"));
        let twin = format!("{dbname}_twin");
        let may = if world.superuser {
            "SUPERUSER"
        } else {
            "NOSUPERUSER"
        };
        let roles = format!(
            "ALTER ROLE {username} {may}; GRANT by_trust, admin TO {username};
             CREATE ROLE {username}_deputy; GRANT {username}_deputy TO {username};"
        );
        server.sql("", &roles);
        let copy = format!("CREATE DATABASE {twin} TEMPLATE {dbname} OWNER {username}");
        server.sql("", &copy);
        let mut straight = Door::of_server(&tenant);
        straight.dbname = twin;
        let config = Config::for_tenants(std::slice::from_ref(&tenant))
            .with(&format!("runtime: {{shards: {}}}", world.shards));
        let (through, closed) = keep(config, &tenant);
        Place {
            straight,
            through,
            closed: Some(closed),
        }
    }
}

/// Runs a bouncer on a thread of its own, since it ends with the thread that has started it.
fn keep(config: Config, tenant: &Tenant) -> (Door, (Sender<()>, JoinHandle<()>)) {
    let (opened, door) = channel();
    let (close, closed) = channel::<()>();
    let tenant = tenant.clone();
    let keeper = std::thread::spawn(move || {
        let front = Front::with(config);
        opened
            .send(front.door(&tenant))
            .expect("somebody waits for the door");
        let _ = closed.recv();
        front.close();
    });
    (door.recv().expect("the bouncer opens"), (close, keeper))
}

/// Ends all worlds; false if a bouncer did not end as it should.
pub fn close() -> bool {
    let ended = PLACES.iter().filter_map(OnceLock::get).map(|place| {
        let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
        place.closed.take().is_none_or(|(close, keeper)| {
            drop(close);
            keeper.join().is_ok()
        })
    });
    ended.fold(true, |all, well| all & well)
}

/// What both databases hold. No scenario changes it but in a transaction that it rolls back.
const CONTENTS: &str = "
CREATE TABLE item (id int PRIMARY KEY, name text NOT NULL DEFAULT 'x');
INSERT INTO item SELECT i, 'item ' || i FROM generate_series(1, 5) i;
CREATE TABLE line (item int REFERENCES item, at int);
CREATE SEQUENCE counter;
CREATE SCHEMA other;
CREATE TABLE other.item (id text);
INSERT INTO other.item VALUES ('the other');
CREATE TEXT SEARCH CONFIGURATION own (COPY = pg_catalog.simple);
CREATE TEXT SEARCH CONFIGURATION other.own (COPY = pg_catalog.english);
CREATE FUNCTION run(text) RETURNS void LANGUAGE plpgsql AS 'BEGIN EXECUTE $1; END';
";

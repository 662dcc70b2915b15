//! Peers that go without a word: reset at the door, or a machine that lost its power. Nothing is kept for them.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use testbed::{Bouncer, Config, Door, Kind, Plan, Server, Tenant, World, eventually};

use crate::drivers::{mysql, postgres, whoami};
use crate::impostors::{Impostor, let_in};
use crate::raw::{Raw, handshake_response, message, startup};

pub fn plan(plan: &mut Plan) {
    plan.add(
        World::Bouncer,
        &[Kind::Postgres],
        "clients_that_reset_behind_their_startup_leave_no_descriptor",
        reset_behind_the_startup,
    );
    plan.add(
        World::Bouncer,
        &[Kind::Postgres, Kind::MariaDb],
        "machines_that_vanish_are_noticed",
        machines_that_vanish_are_noticed,
    );
    plan.add(
        World::Bouncer,
        &[Kind::Postgres, Kind::MariaDb],
        "a_database_that_closes_after_each_login_is_left_in_peace",
        a_database_that_closes_after_each_login,
    );
}

async fn reset_behind_the_startup(server: &'static Server) {
    let tenant = Tenant::on(server, "reset");
    let bouncer = Bouncer::start(&Config::for_tenants(std::slice::from_ref(&tenant)));
    let door = bouncer.door(&tenant);
    assert_eq!(whoami(&door).await, tenant.id);
    let folder = format!("/proc/{}/fd", bouncer.pid());
    let descriptors = || fs::read_dir(&folder).unwrap().count();
    let before = descriptors();
    for _ in 0..500 {
        let mut raw = Raw::to(door.address);
        raw.say(&startup(&[("user", &door.user)]));
        raw.vanish();
    }
    assert_eq!(whoami(&door).await, tenant.id);
    // As many as before, and the backend that was opened meanwhile.
    eventually("their descriptors are given back", || {
        (descriptors() <= before + 2).then_some(())
    });
    bouncer.stop();
}

/// The kernel asks on every connection that says nothing, towards clients and towards databases.
async fn machines_that_vanish_are_noticed(server: &'static Server) {
    let tenant = Tenant::on(server, "silent");
    let bouncer = Bouncer::start(&Config::for_tenants(std::slice::from_ref(&tenant)));
    let door = bouncer.door(&tenant);
    // Kept open, with nothing under way.
    let (_postgres, _mysql) = match server.kind.is_postgres() {
        true => {
            let client = postgres(&door).await;
            client.batch_execute("SELECT 1").await.unwrap();
            (Some(client), None)
        }
        false => (None, Some(mysql(&door).await)),
    };
    for (side, is_ours) in [
        (
            "client",
            Box::new(|row: &Row| row.near == door.address) as Box<dyn Fn(&Row) -> bool>,
        ),
        (
            "database",
            Box::new(|row: &Row| row.far.port() == server.address.port() && row.is_of(&bouncer)),
        ),
    ] {
        eventually("every connection has a keepalive timer", || {
            let rows: Vec<Row> = rows().into_iter().filter(|row| is_ours(row)).collect();
            assert!(!rows.is_empty(), "there is a connection to the {side}");
            rows.iter().all(|row| row.timer == KEEPALIVE).then_some(())
        });
    }
    bouncer.stop();
}

/// At once, or as soon as somebody could have got hold of the connection. That is a login that has failed: the pool is to
/// have two, and clients come, and yet the logins become as rare as where each is refused. This, not the clock, is what
/// they are held against.
async fn a_database_that_closes_after_each_login(server: &'static Server) {
    let postgres = server.kind.is_postgres();
    let honest = Tenant::on(server, "after");
    let lets_in = |pause| {
        move |stream: &mut TcpStream| {
            let_in(postgres, stream)?;
            thread::sleep(pause);
            Ok(())
        }
    };
    let refusing = Stage::of(&honest, "refused", |_: &mut TcpStream| Ok(()));
    let stages = [
        Stage::of(&honest, "at-once", lets_in(Duration::ZERO)),
        Stage::of(&honest, "soon", lets_in(Duration::from_millis(20))),
    ];
    let tenants = [&stages[0], &stages[1], &refusing].map(|stage| stage.tenant.clone());
    let bouncer = Bouncer::start(&Config::for_tenants(&tenants));
    let visits: Vec<_> = (stages.iter())
        .flat_map(|stage| vec![bouncer.door(&stage.tenant); 10])
        .map(|door| thread::spawn(move || ask(postgres, &door)))
        .collect();
    for visit in visits {
        visit.join().unwrap();
    }
    eventually("it was tried as often as tells one from the other", || {
        (refusing.logins() >= 7).then_some(())
    });
    // Each pause is at least half of twice the one before, up to seconds: without them it would be thousands.
    let refused = refusing.logins();
    assert!(refused <= 100, "{refused} logins where each is refused");
    for stage in &stages {
        let logins = stage.logins();
        // Chance may make their pauses half as long, and each time all can come to be that the pool may have.
        let most = 4 * (refusing.logins() + 2);
        println!("{}: {logins} logins", stage.tenant.id);
        assert!(
            (1..=most).contains(&logins),
            "{}: {logins} logins, more than {most}",
            stage.tenant.id
        );
    }
    bouncer.stop();
}

/// A tenant whose database is none, and how often it was logged in to.
struct Stage {
    tenant: Tenant,
    logins: Arc<AtomicUsize>,
    _impostor: Impostor,
}

impl Stage {
    fn of(
        like: &Tenant,
        name: &str,
        play: impl Fn(&mut TcpStream) -> std::io::Result<()> + Send + Sync + 'static,
    ) -> Stage {
        let logins = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&logins);
        let impostor = Impostor::new(move |stream| {
            counted.fetch_add(1, Ordering::Relaxed);
            play(stream)
        });
        let mut tenant = like.clone();
        tenant.id = format!("{}-{name}", like.id);
        tenant.address = impostor.address;
        for setting in [
            "client_auth: trust",
            "min_connections: 2",
            "max_connections: 4",
            "acquire_timeout: 2s",
            "health_check: {interval: 0}",
        ] {
            tenant.set(setting);
        }
        Stage {
            tenant,
            logins,
            _impostor: impostor,
        }
    }

    fn logins(&self) -> usize {
        self.logins.load(Ordering::Relaxed)
    }
}

/// Logs in, and asks something if it comes to that; whatever is said, the connection ends.
fn ask(postgres: bool, door: &Door) {
    let mut raw = Raw::to(door.address);
    if postgres {
        raw.say(&startup(&[
            ("user", &door.user),
            ("database", &door.dbname),
        ]));
        raw.say(&message(b'Q', b"SELECT 1\0"));
    } else {
        raw.packet();
        raw.say(&handshake_response(&door.user, None));
    }
    assert!(!raw.rest().is_empty(), "whoever gets nothing is told so");
}

/// An established connection as `/proc/net/tcp` shows it.
struct Row {
    near: SocketAddr,
    far: SocketAddr,
    timer: u8,
    inode: String,
}

impl Row {
    fn of(line: &str) -> Option<Row> {
        let fields: Vec<_> = line.split_whitespace().collect();
        let address = |field: &str| {
            let (host, port) = field.split_once(':')?;
            let host = u32::from_str_radix(host, 16).ok()?.to_le_bytes();
            Some(SocketAddr::from((
                host,
                u16::from_str_radix(port, 16).ok()?,
            )))
        };
        (*fields.get(3)? == ESTABLISHED).then_some(())?;
        Some(Row {
            near: address(fields[1])?,
            far: address(fields[2])?,
            timer: u8::from_str_radix(fields[5].split_once(':')?.0, 16).ok()?,
            inode: fields[9].to_owned(),
        })
    }

    fn is_of(&self, bouncer: &Bouncer) -> bool {
        let name = format!("socket:[{}]", self.inode);
        let all = fs::read_dir(format!("/proc/{}/fd", bouncer.pid())).unwrap();
        all.flatten().any(|entry| {
            fs::read_link(entry.path()).is_ok_and(|link| link.as_os_str() == name.as_str())
        })
    }
}

fn rows() -> Vec<Row> {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    table.lines().filter_map(Row::of).collect()
}

/// The kernel's number of the state, and of the timer.
const ESTABLISHED: &str = "01";
const KEEPALIVE: u8 = 2;

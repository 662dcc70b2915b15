//! Peers that go without a word: reset at the door, or a machine that lost its power. Nothing is kept for them.

use std::fs;
use std::net::SocketAddr;

use testbed::{Bouncer, Config, Kind, Plan, Server, Tenant, World, eventually};

use crate::drivers::{mysql, postgres, whoami};
use crate::raw::{Raw, startup};

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

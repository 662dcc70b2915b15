//! Packets that no client should send: lengths that cannot be, strings without an end, messages without their fields.
//! Whoever sends them is done with; nobody else notices.

use std::net::Shutdown;

use testbed::{Bouncer, Config, Kind, Plan, Server, Tenant, World};

use crate::drivers::whoami;
use crate::raw::{Complaint, Raw, handshake_response, message, packet, startup};

pub fn plan(plan: &mut Plan) {
    let (postgres, mariadb) = ([Kind::Postgres], [Kind::MariaDb]);
    let (world, name) = (World::Bouncer, "t04_startup_packets_around_the_limit");
    plan.add(world, &postgres, name, startup_packets_around_the_limit);
    let name = "t04_messages_that_cannot_be";
    plan.add(world, &postgres, name, messages_that_cannot_be);
    plan.add(world, &mariadb, name, packets_that_cannot_be);
    let name = "t04_a_nonce_of_ten_kilobytes";
    plan.add(world, &postgres, name, a_nonce_of_ten_kilobytes);
}

/// A tenant that trusts its clients, and one to look at afterwards.
async fn scene(server: &Server) -> (Tenant, Tenant, Bouncer) {
    let mut tenants = Tenant::many_on(server, "hostile", 2);
    tenants[0].set("client_auth: trust");
    let bouncer = Bouncer::start(&Config::for_tenants(&tenants));
    let other = tenants.remove(1);
    (tenants.remove(0), other, bouncer)
}

/// The program runs, serves, and has not panicked.
pub async fn nothing_has_happened(mut bouncer: Bouncer, tenants: &[&Tenant]) {
    for tenant in tenants {
        assert_eq!(whoami(&bouncer.door(tenant)).await, tenant.id);
    }
    assert!(bouncer.runs(), "{}", bouncer.log());
    assert!(!bouncer.log().contains("panicked"), "{}", bouncer.log());
}

async fn startup_packets_around_the_limit(server: &'static Server) {
    let (tenant, other, bouncer) = scene(server).await;
    let door = bouncer.door(&tenant);
    let bare = startup(&[
        ("user", &door.user),
        ("database", &door.dbname),
        ("application_name", ""),
    ])
    .len();
    // PostgreSQL counts what follows the length, of which there may be 10,000 bytes.
    for (length, is_read) in [
        (9_999, true),
        (10_000, true),
        (10_001, false),
        (20_000, false),
    ] {
        let name = "x".repeat(length + 4 - bare);
        let startup = startup(&[
            ("user", &door.user),
            ("database", &door.dbname),
            ("application_name", &name),
        ]);
        assert_eq!(startup.len(), length + 4);
        let mut raw = Raw::to(door.address);
        raw.say(&startup);
        if is_read {
            raw.until_ready();
        } else {
            assert_eq!(raw.last_words().state, "08P01", "{length}");
        }
    }
    for length in [0_u32, 1, 4, 7, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
        let mut raw = Raw::to(door.address);
        let said = raw
            .say(&[&length.to_be_bytes()[..], &[0, 3, 0, 0, 0, 0, 0, 0]].concat())
            .rest();
        assert!(
            said.is_empty() || Complaint::of_postgres(&said[5..]).state == "08P01",
            "{length}: {said:?}"
        );
    }
    nothing_has_happened(bouncer, &[&tenant, &other]).await;
}

async fn messages_that_cannot_be(server: &'static Server) {
    let (tenant, other, bouncer) = scene(server).await;
    let door = bouncer.door(&tenant);
    let login = startup(&[("user", &door.user), ("database", &door.dbname)]);
    let mut bad = Vec::new();
    for kind in b"QPBEDCSHXFdcf!\0" {
        for length in [0, 1, 2, 3, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
            bad.push([&[*kind][..], &u32::to_be_bytes(length), b"SELECT 1\0"].concat());
        }
    }
    // Strings that do not end, names of nothing, counts of what is not there.
    for kind in b"QPBEDCF" {
        for body in [
            &b""[..],
            b"x",
            b"SELECT 1",
            b"\0",
            b"\0\0\xff\xff",
            b"S",
            b"P\xff\xff\xff\xff",
            &[0xff; 64],
        ] {
            bad.push(message(*kind, body));
        }
    }
    for bytes in bad {
        let mut raw = Raw::to(door.address);
        raw.say(&login).until_ready();
        raw.say(&bytes)
            .say(&message(b'S', b""))
            .say(&message(b'X', b""));
        let _ = raw.0.shutdown(Shutdown::Write);
        raw.rest();
    }
    nothing_has_happened(bouncer, &[&tenant, &other]).await;
}

async fn packets_that_cannot_be(server: &'static Server) {
    let (tenant, other, bouncer) = scene(server).await;
    let door = bouncer.door(&tenant);
    let mut bad: Vec<Vec<u8>> = vec![
        b"\xff\xff\xff\0SELECT 1".to_vec(), // a packet of 16 MiB of which little comes
        packet(0, b""),
        packet(7, b"\x03SELECT 1"),
        packet(0, b"\x11x\0\xff"), // COM_CHANGE_USER with a proof that is not there
        packet(0, &[0x11; 70_000]), // and one that is larger than any
        packet(0, b"\x0c"),        // COM_PROCESS_KILL of nobody
        packet(0, b"\x17\xff\xff"), // COM_STMT_EXECUTE, cut
        packet(0, b"\x19"),        // COM_STMT_CLOSE of nothing
        packet(0, b"\x1c\x01"),    // COM_STMT_FETCH, cut
        packet(0, b"\x03KILL 99999999999999999999"),
        packet(0, &[0xfe, 0xff]),
        vec![0; 9],
    ];
    bad.extend((0_u8..=0x20).map(|command| packet(0, &[command, 0xff, 0xff, 0xff, 0xff, 0xfe])));
    for bytes in bad {
        let mut raw = Raw::to(door.address);
        raw.packet();
        raw.say(&handshake_response(&door.user, Some(&door.dbname)))
            .packet();
        raw.say(&bytes);
        let _ = raw.0.shutdown(Shutdown::Write);
        raw.rest();
    }
    nothing_has_happened(bouncer, &[&tenant, &other]).await;
}

async fn a_nonce_of_ten_kilobytes(server: &'static Server) {
    let tenant = Tenant::on(server, "nonce");
    let bouncer = Bouncer::start(&Config::for_tenants(std::slice::from_ref(&tenant)));
    let door = bouncer.door(&tenant);
    for length in [3_000, 10_000, 100_000] {
        let first = format!("n,,n=,r={}", "n".repeat(length));
        let mut body = b"SCRAM-SHA-256\0".to_vec();
        body.extend((first.len() as u32).to_be_bytes());
        body.extend(first.as_bytes());
        let mut raw = Raw::to(door.address);
        let asked = raw.say(&startup(&[("user", &door.user)])).message();
        assert_eq!((asked.0, &asked.1[..4]), (b'R', &[0, 0, 0, 10][..]));
        let said = raw.say(&message(b'p', &body)).message();
        if said.0 == b'R' {
            // It was still short enough to be answered; what follows is no proof.
            raw.say(&message(b'p', b"c=biws,r=x,p=x"));
            assert_eq!(raw.message().0, b'E');
        } else {
            assert_eq!(
                (said.0, Complaint::of_postgres(&said.1).state.as_str()),
                (b'E', "08P01")
            );
        }
    }
    nothing_has_happened(bouncer, &[&tenant]).await;
}

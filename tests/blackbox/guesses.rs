//! Logins that fail: who guesses is told so, is slowed down and stopped, and learns nothing by it.

use std::net::SocketAddr;

use testbed::{Bouncer, Config, Door, Kind, Plan, Server, Tenant, World};

use crate::drivers::postgres_config;
use crate::health::sample;
use crate::limits::{ended, is_too_many, is_unproven, refusal, session, until_nobody_is_in};
use crate::raw::{Raw, message, startup};

pub fn plan(plan: &mut Plan) {
    let each = [Kind::Postgres, Kind::MariaDb];
    plan.add(
        World::Bouncer,
        &[Kind::Postgres],
        "a_wrong_password_that_was_not_waited_for_is_told_so",
        a_wrong_password_that_was_not_waited_for_is_told_so,
    );
    plan.add(
        World::Bouncer,
        &[Kind::Postgres],
        "what_a_stranger_was_compared_with_is_not_a_users",
        what_a_stranger_was_compared_with_is_not_a_users,
    );
    plan.add(
        World::Bouncer,
        &each,
        "failed_logins_are_slowed_and_limited",
        failed_logins_are_slowed_and_limited,
    );
    plan.add(
        World::Bouncer,
        &[Kind::Postgres],
        "guesses_that_come_at_once_are_limited_as_well",
        guesses_that_come_at_once_are_limited_as_well,
    );
}

async fn a_wrong_password_that_was_not_waited_for_is_told_so(server: &'static Server) {
    let tenant = Tenant::on(server, "hasty").with("client_auth: md5");
    let bouncer = Bouncer::start(&Config::for_tenants(std::slice::from_ref(&tenant)));
    let door = bouncer.door(&tenant);
    let mut both = startup(&[("user", &door.user)]);
    both.extend(message(b'p', b"md5 nothing of the kind\0"));
    let mut raw = Raw::to(door.address);
    assert_eq!(raw.say(&both).message().0, b'R');
    assert_eq!(raw.last_words().state, "28P01");
    bouncer.stop();
}

/// From an address that is not allowed, a user's name is a stranger's; from the next one it is the user's again.
async fn what_a_stranger_was_compared_with_is_not_a_users(server: &'static Server) {
    let tenant = Tenant::on(server, "poisoned").with("allowed_addresses: [127.0.0.2]");
    let bouncer = Bouncer::start(&Config::for_tenants(std::slice::from_ref(&tenant)));
    let door = bouncer.door(&tenant);
    assert_eq!(refusal(&door).await.state, "28P01");
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 2], 0))).unwrap();
    let stream = socket.connect(door.address).await.unwrap();
    let login = postgres_config(&door)
        .connect_raw(stream, tokio_postgres::NoTls)
        .await;
    assert!(login.is_ok(), "{:?}", login.err());
    bouncer.stop();
}

async fn failed_logins_are_slowed_and_limited(server: &'static Server) {
    let tenants = [
        Tenant::on(server, "guess"),
        Tenant::on(server, "other").with("client_auth: trust"),
    ];
    let limits = "limits: {failed_logins_per_minute: 3}";
    let bouncer = Bouncer::start(&Config::for_tenants(&tenants).with(limits));
    let door = bouncer.door(&tenants[0]);
    let wrong = Door {
        password: "wrong".to_owned(),
        ..door.clone()
    };
    let unknown = Door {
        user: "nobody-knows-it__app".to_owned(),
        ..wrong.clone()
    };
    // A tenant that does not exist is guessed at as slowly as one that does.
    for guessed in [&wrong, &unknown] {
        for _ in 0..4 {
            is_unproven(&refusal(guessed).await);
        }
        is_too_many(&refusal(guessed).await, "too many failed logins");
    }
    is_too_many(&refusal(&door).await, "too many failed logins");
    assert_eq!(ended(&bouncer, &tenants[0].id, "too_many_failures"), 2.0);
    let failures = format!(
        "dbbouncer_login_failures_total{{tenant=\"{}\",reason=\"wrong_password\"}}",
        tenants[0].id
    );
    assert_eq!(sample(bouncer.api(), &failures), 4.0);
    // Other tenants, and other addresses, are none of its business.
    drop(session(&bouncer.door(&tenants[1])).await);
    if door.kind.is_postgres() {
        let mut config = postgres_config(&door);
        config.dbname(&door.dbname);
        let stream = Raw::from([127, 0, 0, 2], door.address).await.0;
        stream.set_nonblocking(true).unwrap();
        let stream = tokio::net::TcpStream::from_std(stream).unwrap();
        let served = config.connect_raw(stream, tokio_postgres::NoTls).await;
        assert!(served.is_ok(), "{:?}", served.err());
    }
    until_nobody_is_in(&bouncer);
    bouncer.stop();
}

/// All are asked for their password before any has failed; then all guess.
async fn guesses_that_come_at_once_are_limited_as_well(server: &'static Server) {
    let tenant = Tenant::on(server, "guess").with("client_auth: password");
    let config = Config::for_tenants(std::slice::from_ref(&tenant));
    let bouncer = Bouncer::start(&config.with("limits: {failed_logins_per_minute: 5}"));
    let door = bouncer.door(&tenant);
    let mut crowd: Vec<Raw> = (0..40).map(|_| Raw::to(door.address)).collect();
    for raw in &mut crowd {
        raw.say(&startup(&[("user", &door.user)]));
        assert_eq!(raw.message().0, b'R');
    }
    for raw in &mut crowd {
        raw.say(&message(b'p', b"guess\0"));
    }
    let told = |raw: &mut Raw| raw.last_words().state == "28P01";
    let told = crowd.iter_mut().filter_map(|raw| told(raw).then_some(()));
    // The sixth waits for nobody's minute; one more if a share of it has passed meanwhile.
    let told = told.count();
    assert!(
        (5..=7).contains(&told),
        "{told} of 40 know that they were wrong"
    );
    bouncer.stop();
}

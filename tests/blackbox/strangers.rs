//! What somebody can learn who does not know a tenant's secret: not even whether there is such a tenant (T17).

use std::net::SocketAddr;

use testbed::raw::{Message, Raw, message, startup};
use testbed::{Bouncer, Config, Kind, Plan, Server, Tenant, World};

use crate::limits::refusal;

pub fn plan(plan: &mut Plan) {
    plan.add(
        World::Bouncer,
        &[Kind::Postgres],
        "unknown_tenant_and_wrong_password_look_alike",
        unknown_and_wrong,
    );
    plan.add(
        World::Bouncer,
        &[Kind::MariaDb, Kind::MySql],
        "unknown_tenant_and_wrong_password_look_alike",
        mysql_unknown_and_wrong,
    );
    plan.add(
        World::SessionMode,
        &[Kind::Postgres],
        "t17_strangers_are_asked_what_the_defaults_say",
        strangers_are_asked_what_the_defaults_say,
    );
}

/// A bouncer for the tenant, and two who are not let in: one with a wrong password, and one of no tenant.
fn two_outside(tenant: &Tenant) -> (Bouncer, Tenant, Tenant) {
    let bouncer = Bouncer::start(&Config::for_tenants(std::slice::from_ref(tenant)));
    let wrong = Tenant {
        password: "wrong".to_owned(),
        ..tenant.clone()
    };
    let unknown = Tenant {
        id: "nobody-knows-it".to_owned(),
        ..wrong.clone()
    };
    (bouncer, wrong, unknown)
}

async fn unknown_and_wrong(server: &'static Server) {
    let tenant = Tenant::on(server, "trouble");
    let (bouncer, wrong, unknown) = two_outside(&tenant);
    let told = [
        refusal(&bouncer.door(&wrong)).await,
        refusal(&bouncer.door(&unknown)).await,
    ];
    assert_eq!(told[0].state, "28P01");
    assert_eq!(
        told[0].message.replace(&wrong.id, "X"),
        told[1].message.replace(&unknown.id, "X")
    );
    assert_eq!(told[0].state, told[1].state);
    let log = [
        bouncer.log_line(&[&wrong.id, "refused"]),
        bouncer.log_line(&[&unknown.id, "refused"]),
    ];
    assert_ne!(
        log[0].replace(&wrong.id, "X"),
        log[1].replace(&unknown.id, "X"),
        "the log knows the truth"
    );
    assert!(
        !bouncer.log().contains(&tenant.password),
        "no secret is logged"
    );
    bouncer.stop();
}

async fn mysql_unknown_and_wrong(server: &'static Server) {
    let tenant = Tenant::on(server, "trouble");
    let (bouncer, wrong, unknown) = two_outside(&tenant);
    for outside in [&wrong, &unknown] {
        let told = refusal(&bouncer.door(outside)).await;
        assert_eq!((told.number, told.state.as_str()), (1045, "28000"));
        assert_eq!(
            told.message,
            format!(
                "Access denied for user '{}__app'@'127.0.0.1' (using password: YES)",
                outside.id
            )
        );
    }
    assert!(
        !bouncer.log().contains(&tenant.password),
        "no secret is logged"
    );
    bouncer.stop();
}

/// Byte by byte, whatever it is that tenants ask their clients, and after the config has changed.
async fn strangers_are_asked_what_the_defaults_say(server: &'static Server) {
    let tenant = Tenant::on(server, "hidden");
    let with = |defaults: &str| {
        Config::for_tenants(std::slice::from_ref(&tenant))
            .with("limits: {failed_logins_per_minute: 0}")
            .with(&format!("defaults: {{min_connections: 0, {defaults}}}"))
    };
    let bouncer = Bouncer::start(&with("client_auth: md5"));
    let methods = [
        // What AuthenticationMD5Password, …CleartextPassword and …SASL are told by; a certificate is not asked for.
        ("client_auth: md5", Some(5)),
        ("client_auth: password", Some(3)),
        ("client_auth: scram-sha-256", Some(10)),
        ("client_auth: cert", None),
        (
            "auth_query: pg_authid, auth_user: admin, auth_password: admin",
            Some(10),
        ),
    ];
    for (defaults, method) in methods {
        bouncer.rewrite(&with(defaults));
        let heard = testbed::eventually(&format!("{defaults} is in force"), || {
            let heard = dialogue(bouncer.postgres(), &tenant.id);
            (asked(&heard[0]) == method).then_some(heard)
        });
        let stranger = dialogue(bouncer.postgres(), "nobody-knows-it");
        assert_eq!(asked(&stranger[0]), method, "{defaults}");
        assert_eq!(stranger.len(), heard.len(), "{defaults}");
        let plain = |heard: &[Message], id: &str| {
            let last = heard.last().expect("a refusal");
            String::from_utf8_lossy(&last.1).replace(id, "X")
        };
        assert_eq!(
            plain(&stranger, "nobody-knows-it"),
            plain(&heard, &tenant.id),
            "{defaults}"
        );
    }
    bouncer.stop();
}

/// All that a client hears that knows no password, and answers all the same.
fn dialogue(port: SocketAddr, tenant: &str) -> Vec<Message> {
    let mut raw = Raw::to(port);
    raw.say(&startup(&[("user", &format!("{tenant}__app"))]));
    let mut heard = vec![raw.message()];
    if asked(&heard[0]).is_some_and(|method| method != 10) {
        raw.say(&message(b'p', b"md5 or not\0"));
        heard.push(raw.message());
    }
    heard
}

/// The method of an authentication request; `None` for anything else.
fn asked(message: &Message) -> Option<u8> {
    (message.0 == b'R').then(|| message.1[3])
}

//! Users of whom the config knows no password, only what one can recognise it by.

use testbed::{
    Authority, Bouncer, Config, Door, Kind, Plan, Server, Tenant, World, mysql_client, tool,
};

use crate::drivers::whoami;
use crate::limits::refusal;
use crate::tls::{WHOAMI, asked_by};

pub fn plan(plan: &mut Plan) {
    plan.add(
        World::Bouncer,
        &[Kind::MariaDb, Kind::MySql],
        "stored_hashes_are_enough",
        stored_hashes_are_enough,
    );
    plan.add(
        World::Bouncer,
        &[Kind::MySql],
        "what_mysql_itself_keeps_is_enough",
        what_mysql_itself_keeps_is_enough,
    );
}

/// Of `secret`: twice SHA-1, as `SELECT PASSWORD('secret')` of MariaDB answers it, and twice SHA-256.
const NATIVE: &str = "*14E65567ABDB5135D0CFD9A70B3032C179A49EE7";
const SHA2: &str = "SHA256$$3881219d087dd9c634373fd33dfa33a2cb6bfc6c520b64b8bb60ef2ceb534ae7";

/// With either plugin of the client's, by its token alone: no RSA, no TLS, no password in clear.
async fn stored_hashes_are_enough(server: &'static Server) {
    let users = [
        format!("native: {{verifier: '{NATIVE}'}}"),
        format!("sha2: {{verifier: '{SHA2}'}}"),
        format!("both: {{verifier: '{NATIVE} {SHA2}'}}"),
    ];
    let tenant = Tenant::on(server, "hashes").with(&format!("users: {{{}}}", users.join(", ")));
    let bouncer = Bouncer::start(&Config::for_tenants(std::slice::from_ref(&tenant)));
    for user in ["native", "sha2", "both"] {
        let door = Door {
            user: format!("{}__{user}", tenant.id),
            password: "secret".to_owned(),
            ..bouncer.door(&tenant)
        };
        assert_eq!(whoami(&door).await, tenant.id);
        for plugin in ["mysql_native_password", "caching_sha2_password"] {
            let said = tool("mariadb")
                .args(["--no-defaults", "--batch", "--skip-column-names"])
                .args(["-h", &door.host(), "-P", &door.port(), "-u", &door.user])
                .args([
                    &format!("--default-auth={plugin}"),
                    "-psecret",
                    &door.dbname,
                ])
                .args(["-e", "SELECT id FROM whoami"])
                .run();
            assert_eq!(said.out.trim(), tenant.id, "{user} {plugin}: {}", said.err);
        }
        let wrong = Door {
            password: "Secret".to_owned(),
            ..door
        };
        assert_eq!(refusal(&wrong).await.number, 1045);
    }
    bouncer.stop();
}

/// The hash that the server has made, copied from it: no token can be judged by it, so the password comes over TLS,
/// once; from then on tokens are enough, without TLS too. Whoever has the wrong one is refused either way.
async fn what_mysql_itself_keeps_is_enough(server: &'static Server) {
    let mut tenant = Tenant::on(server, "kept");
    let make = |password: &str| {
        let user = format!("'{}_kept'@'%'", tenant.dbname);
        let sql = format!(
            "DROP USER IF EXISTS {user}; CREATE USER {user} IDENTIFIED BY '{password}';
             SELECT CONCAT('0x', HEX(authentication_string)) FROM mysql.user WHERE user = '{}_kept'",
            tenant.dbname
        );
        server.sql("", &sql)
    };
    let (secret, changed) = (make("secret"), make("changed"));
    tenant.set(&format!(
        "users: {{kept: {{verifier: '{secret}'}}, other: {{password: other}}}}"
    ));
    let authority = Authority::new();
    authority.certify("server", "localhost", &["localhost"]);
    let config = Config::for_tenants(std::slice::from_ref(&tenant))
        .with(&format!("tls_cert: {}", authority.path("server.crt")))
        .with(&format!("tls_key: {}", authority.path("server.key")))
        .with("limits: {failed_logins_per_minute: 0}");
    let bouncer = Bouncer::start(&config);
    let door = |user: &str, password: &str| Door {
        user: format!("{}__{user}", tenant.id),
        password: password.to_owned(),
        ..bouncer.door(&tenant)
    };
    let client = |user: &str, password: &str, options: &[&str]| {
        let tool = mysql_client().expect("it is where the server is");
        asked_by(tool, &door(user, password), options, WHOAMI)
    };
    let bare = &["--ssl-mode=DISABLED"][..];
    let by_tls = &["--ssl-mode=REQUIRED"][..];

    // Nobody is asked for the password itself where others could read it, whoever it is.
    for (user, password) in [("kept", "secret"), ("kept", "Secret"), ("nobody", "secret")] {
        let refused = client(user, password, bare);
        assert!(refused.err.contains("ERROR 1045"), "{}", refused.err);
    }
    for (user, password) in [("kept", "Secret"), ("nobody", "secret")] {
        let refused = client(user, password, by_tls);
        assert!(refused.err.contains("ERROR 1045"), "{}", refused.err);
    }
    for options in [by_tls, bare] {
        let said = client("kept", "secret", options);
        assert_eq!(said.out.trim(), tenant.id, "{}", said.err);
    }
    // Drivers, and a user whose password is known beside them.
    for (user, password) in [("kept", "secret"), ("other", "other")] {
        assert_eq!(whoami(&door(user, password)).await, tenant.id);
    }
    assert_eq!(refusal(&door("other", "secret")).await.number, 1045);

    // Another hash: what was learnt of the one before says nothing any more.
    let after = tenant
        .clone()
        .with(&format!("users: {{kept: {{verifier: '{changed}'}}}}"));
    bouncer.rewrite(&config.instead(std::slice::from_ref(&after)));
    bouncer.log_line(&["config loaded: 1 tenants changed"]);
    assert_eq!(refusal(&door("kept", "secret")).await.number, 1045);
    let said = client("kept", "changed", by_tls);
    assert_eq!(said.out.trim(), tenant.id, "{}", said.err);
    assert_eq!(whoami(&door("kept", "changed")).await, tenant.id);
    bouncer.stop();
}

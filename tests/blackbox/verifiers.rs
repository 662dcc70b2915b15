//! Users of whom the config knows no password, only what one can recognise it by.

use testbed::{Bouncer, Config, Door, Kind, Plan, Server, Tenant, World, tool};

use crate::drivers::whoami;
use crate::limits::refusal;

pub fn plan(plan: &mut Plan) {
    plan.add(
        World::Bouncer,
        &[Kind::MariaDb, Kind::MySql],
        "stored_hashes_are_enough",
        stored_hashes_are_enough,
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

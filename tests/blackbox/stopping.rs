//! SIGTERM: who rests is sent away at once, and told why in PostgreSQL; who has begun something may finish it, within the grace period.

use testbed::{Bouncer, Config, Kind, Plan, Server, Tenant, World};

use crate::raw::{Complaint, Raw, handshake_response, message, packet, startup};

pub fn plan(plan: &mut Plan) {
    let all = [Kind::Postgres, Kind::MariaDb, Kind::MySql];
    plan.add(
        World::Bouncer,
        &all,
        "the_idle_go_and_transactions_finish",
        the_idle_go_and_transactions_finish,
    );
    plan.add(
        World::Bouncer,
        &[Kind::Postgres],
        "who_has_copied_owes_nothing",
        who_has_copied_owes_nothing,
    );
    plan.add(
        World::Bouncer,
        &all,
        "who_does_not_finish_is_cut_off",
        who_does_not_finish_is_cut_off,
    );
}

pub fn tenant_of(server: &Server, name: &str) -> Tenant {
    let tenant = Tenant::on(server, name).with("client_auth: trust");
    if server.kind.is_postgres() {
        server.sql("", &format!("GRANT by_trust TO {}", tenant.username));
    }
    tenant
}

/// A client made of bytes, of either protocol.
pub struct Client {
    pub raw: Raw,
    postgres: bool,
}

impl Client {
    pub fn of(bouncer: &Bouncer, tenant: &Tenant) -> Client {
        let mut client = Client::at_the_door(bouncer, tenant);
        client.is_let_in();
        client
    }

    /// One that has said who it is, and has not been let in yet.
    pub fn at_the_door(bouncer: &Bouncer, tenant: &Tenant) -> Client {
        let door = bouncer.door(tenant);
        let postgres = door.kind.is_postgres();
        let mut raw = Raw::to(door.address);
        if postgres {
            let who = [("user", &*door.user), ("database", &door.dbname)];
            raw.say(&startup(&who));
        } else {
            raw.packet();
            raw.say(&handshake_response(&door.user, Some(&door.dbname)));
        }
        Client { raw, postgres }
    }

    /// Waits until it is.
    pub fn is_let_in(&mut self) {
        if self.postgres {
            self.raw.until_ready();
        } else {
            let (_, ok) = self.raw.packet();
            assert_eq!(ok[0], 0, "{ok:?}");
        }
    }

    /// Runs a statement that has no rows.
    pub fn runs(&mut self, statement: &str) {
        self.says(statement);
        if self.postgres {
            assert_eq!(self.raw.until_ready()[0].0, b'C', "{statement}");
        } else {
            let (sequence, ok) = self.raw.packet();
            assert_eq!((sequence, ok[0]), (1, 0), "{statement}");
        }
    }

    /// Sends a statement, and waits for nothing.
    pub fn says(&mut self, statement: &str) {
        let words = match self.postgres {
            true => message(b'Q', &[statement.as_bytes(), b"\0"].concat()),
            false => packet(0, &[b"\x03", statement.as_bytes()].concat()),
        };
        self.raw.say(&words);
    }

    /// One at the door is told that its session is ended, in answer to its login.
    pub fn hears_of_its_end_at_the_door(mut self) {
        if self.postgres {
            assert_eq!(self.raw.message().0, b'R', "AuthenticationOk");
            return self.hears_of_the_stop();
        }
        let (sequence, words) = self.raw.packet();
        let said = Complaint::of_mysql(&words);
        assert_eq!((sequence, said.number), (2, 1053), "{said:?}");
        assert!(self.raw.rest().is_empty(), "nothing follows");
    }

    /// Is told that the bouncer stops, or that its session is ended, and nothing else. MySQL's servers tell their clients
    /// nothing then, and drivers know that for a connection that is lost.
    pub fn hears_of_the_stop(mut self) {
        if self.postgres {
            assert_eq!(self.raw.last_words().state, "57P01");
        } else {
            let rest = self.raw.rest();
            assert!(rest.is_empty(), "{rest:?}");
        }
    }
}

async fn the_idle_go_and_transactions_finish(server: &'static Server) {
    let tenant = tenant_of(server, "graceful");
    let config = Config::for_tenants(std::slice::from_ref(&tenant)).with("shutdown_grace: 15s");
    let bouncer = Bouncer::start(&config);
    let fresh = Client::of(&bouncer, &tenant);
    let mut idle = Client::of(&bouncer, &tenant);
    idle.runs("BEGIN");
    idle.runs("COMMIT");
    let mut busy = Client::of(&bouncer, &tenant);
    busy.runs("BEGIN");
    busy.runs("INSERT INTO whoami VALUES ('late')");
    bouncer.tell_to_stop();
    fresh.hears_of_the_stop();
    idle.hears_of_the_stop();
    busy.runs("INSERT INTO whoami VALUES ('later')");
    busy.runs("COMMIT");
    busy.hears_of_the_stop();
    bouncer.ended();
    assert_eq!(
        server.sql(
            &tenant.dbname,
            "SELECT COUNT(*) FROM whoami WHERE id LIKE 'late%'"
        ),
        "2",
        "what was committed in the grace period stays"
    );
}

/// COPY FROM STDIN in the extended protocol, as libpq does it: of its two Syncs the database ignores the first.
async fn who_has_copied_owes_nothing(server: &'static Server) {
    let tenant = tenant_of(server, "copied");
    let config = Config::for_tenants(std::slice::from_ref(&tenant)).with("shutdown_grace: 60s");
    let bouncer = Bouncer::start(&config);
    let mut client = Client::of(&bouncer, &tenant);
    let copy = [
        message(b'P', b"\0COPY whoami FROM STDIN\0\0\0"),
        message(b'B', b"\0\0\0\0\0\0\0\0"),
        message(b'E', b"\0\0\0\0\0"),
        message(b'S', b""),
    ];
    client.raw.say(&copy.concat());
    while client.raw.message().0 != b'G' {}
    let data = [
        message(b'd', b"copied\n"),
        message(b'c', b""),
        message(b'S', b""),
    ];
    let answer = client.raw.say(&data.concat()).until_ready();
    assert_eq!(answer[0].0, b'C');
    bouncer.tell_to_stop();
    client.hears_of_the_stop();
    bouncer.ended();
}

async fn who_does_not_finish_is_cut_off(server: &'static Server) {
    let tenant = tenant_of(server, "endless");
    let config = Config::for_tenants(std::slice::from_ref(&tenant)).with("shutdown_grace: 200ms");
    let bouncer = Bouncer::start(&config);
    let mut busy = Client::of(&bouncer, &tenant);
    busy.runs("BEGIN");
    busy.runs("INSERT INTO whoami VALUES ('lost')");
    bouncer.tell_to_stop();
    bouncer.log_line(&["1 clients were cut off"]);
    busy.raw.rest();
    bouncer.ended_with(75);
    assert_eq!(
        server.sql(
            &tenant.dbname,
            "SELECT COUNT(*) FROM whoami WHERE id = 'lost'"
        ),
        "0",
        "nothing was committed"
    );
}

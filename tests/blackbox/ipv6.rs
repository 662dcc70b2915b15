//! Clients and databases that have an address of IPv6 alone.

use std::net::{Ipv6Addr, TcpListener};

use testbed::{Bouncer, Config, Kind, Middleman, Plan, Server, Tenant};
use tokio_postgres::NoTls;
use tokio_postgres::error::SqlState;

use crate::drivers::{postgres, whoami};
use crate::postgres_session::until_asleep;

pub fn plan(plan: &mut Plan) {
    let has_ipv6 = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    let name = "clients_and_databases_have_an_address_of_ipv6_alone";
    for kind in [Kind::Postgres, Kind::MariaDb] {
        plan.add_if(has_ipv6, "IPv6", kind, name, ipv6_alone);
    }
}

async fn ipv6_alone(server: &'static Server) {
    let database = Middleman::at((Ipv6Addr::LOCALHOST, 0).into(), server.address);
    let mut tenant = Tenant::on(server, "six").with("allowed_addresses: ['::1']");
    tenant.address = database.address();
    let config = Config::for_tenants(std::slice::from_ref(&tenant));
    let bouncer = Bouncer::start(&config.listening_on(Ipv6Addr::LOCALHOST));
    let door = bouncer.door(&tenant);
    assert_eq!(whoami(&door).await, tenant.id);
    if server.kind.is_postgres() {
        let client = postgres(&door).await;
        let (cancelled, ()) = tokio::join!(client.batch_execute("SELECT pg_sleep(100)"), async {
            until_asleep(server, &tenant);
            client.cancel_token().cancel_query(NoTls).await.unwrap();
        });
        let code = cancelled.unwrap_err().code().cloned();
        assert_eq!(code, Some(SqlState::QUERY_CANCELED));
    }
    bouncer.stop();
}

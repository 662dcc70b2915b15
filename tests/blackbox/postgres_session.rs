//! The life of a PostgreSQL session: what it begins with, what it keeps, what may happen to it, and its end.

use testbed::{Kind, Plan, Server, Tenant, World, eventually};
use tokio_postgres::error::SqlState;
use tokio_postgres::{AsyncMessage, NoTls};

use crate::drivers::{postgres, postgres_config, postgres_listening, try_postgres, whoami};
use crate::scene::one_tenant;

pub fn plan(plan: &mut Plan) {
    let both = [Kind::Postgres, Kind::Postgres18];
    let one = [Kind::Postgres];
    plan.add(World::Any, &both, "cancel", cancel);
    plan.add(
        World::Any,
        &one,
        "a_late_cancel_hits_nobody",
        a_late_cancel_hits_nobody,
    );
    plan.add(
        World::Any,
        &one,
        "startup_parameters_take_effect",
        startup_parameters_take_effect,
    );
    plan.add(
        World::Any,
        &one,
        "notices_and_notifications",
        notices_and_notifications,
    );
    plan.add(World::Any, &one, "session_state_stays", session_state_stays);
    plan.add(
        World::SessionMode,
        &one,
        "the_backend_is_closed_with_its_client",
        the_backend_is_closed_with_its_client,
    );
    plan.add(
        World::Any,
        &one,
        "a_killed_backend_ends_its_client",
        a_killed_backend_ends_its_client,
    );
}

async fn cancel(server: &'static Server) {
    let (tenant, front, door) = one_tenant(server, "cancel");
    let (client, bystander) = (postgres(&door).await, postgres(&door).await);
    for _ in 0..3 {
        // Both queries are sent when they are first polled, which is before the third part waits for them.
        let (spared, cancelled, ()) = tokio::join!(
            bystander.batch_execute("SELECT pg_sleep(1)"),
            client.batch_execute("SELECT pg_sleep(100)"),
            async {
                until_asleep(server, &tenant);
                client.cancel_token().cancel_query(NoTls).await.unwrap();
            }
        );
        assert_eq!(
            cancelled.unwrap_err().code(),
            Some(&SqlState::QUERY_CANCELED)
        );
        spared.unwrap();
    }
    assert_eq!(
        client
            .query_one("SELECT 1", &[])
            .await
            .unwrap()
            .get::<_, i32>(0),
        1,
        "the session goes on"
    );
    drop((client, bystander));
    front.close();
}

async fn a_late_cancel_hits_nobody(server: &'static Server) {
    let (_tenant, front, door) = one_tenant(server, "late");
    let gone = postgres(&door).await;
    let stale = gone.cancel_token();
    drop(gone);
    let client = postgres(&door).await;
    for _ in 0..20 {
        stale.cancel_query(NoTls).await.unwrap();
        client.batch_execute("SELECT pg_sleep(0.01)").await.unwrap();
    }
    drop(client);
    front.close();
}

async fn startup_parameters_take_effect(server: &'static Server) {
    let (_tenant, front, door) = one_tenant(server, "startup");
    let mut config = postgres_config(&door);
    config.application_name("naïve app").options("-c statement_timeout=4321 -cTimeZone=Asia/Tokyo --work-mem=8MB -c search_path=\"a\\ b\",public");
    let client = try_postgres(&config).await.unwrap();
    let show = async |name: &str| -> String {
        client
            .query_one(&format!("SHOW {name}"), &[])
            .await
            .unwrap()
            .get(0)
    };
    assert_eq!(show("statement_timeout").await, "4321ms");
    assert_eq!(show("TimeZone").await, "Asia/Tokyo");
    assert_eq!(show("work_mem").await, "8MB");
    assert_eq!(show("search_path").await, "\"a b\",public");
    client
        .batch_execute("SET statement_timeout = 1; RESET statement_timeout")
        .await
        .unwrap();
    assert_eq!(
        show("statement_timeout").await,
        "4321ms",
        "RESET goes back to what the client began with"
    );
    // The database prints what is not ASCII in an application's name in its own way.
    assert!(show("application_name").await.ends_with("ve app"));

    let other = postgres(&door).await;
    let row = other
        .query_one("SHOW statement_timeout", &[])
        .await
        .unwrap();
    assert_eq!(row.get::<_, &str>(0), "0", "nobody else gets them");

    let mut config = postgres_config(&door);
    config.options("-c no_such_setting=1");
    let error = try_postgres(&config)
        .await
        .expect_err("PostgreSQL refuses such a login");
    assert_eq!(error.code(), Some(&SqlState::UNDEFINED_OBJECT));
    drop((client, other));
    front.close();
}

async fn notices_and_notifications(server: &'static Server) {
    let (_tenant, front, door) = one_tenant(server, "notify");
    let (listener, mut heard, _task) = postgres_listening(&door).await;
    let speaker = postgres(&door).await;
    let pid: i32 = speaker
        .query_one("SELECT pg_backend_pid()", &[])
        .await
        .unwrap()
        .get(0);

    listener
        .batch_execute("DO $$ BEGIN RAISE NOTICE 'mind the gap'; END $$")
        .await
        .unwrap();
    match heard.recv().await {
        Some(AsyncMessage::Notice(notice)) => assert_eq!(notice.message(), "mind the gap"),
        other => panic!("{other:?}"),
    }
    listener.batch_execute("LISTEN news").await.unwrap();
    speaker
        .batch_execute("NOTIFY news, 'war is over'")
        .await
        .unwrap();
    match heard.recv().await {
        Some(AsyncMessage::Notification(news)) => {
            assert_eq!(
                (news.channel(), news.payload(), news.process_id()),
                ("news", "war is over", pid)
            );
        }
        other => panic!("{other:?}"),
    }
    drop((listener, speaker));
    front.close();
}

async fn session_state_stays(server: &'static Server) {
    let (_tenant, front, door) = one_tenant(server, "state");
    let client = postgres(&door).await;
    let pid = async || -> i32 {
        client
            .query_one("SELECT pg_backend_pid()", &[])
            .await
            .unwrap()
            .get(0)
    };
    let first = pid().await;
    client.batch_execute("SET lock_timeout = 77; CREATE TEMP TABLE mine AS SELECT 5 AS five; SELECT pg_advisory_lock(1)").await.unwrap();
    for _ in 0..10 {
        assert_eq!(pid().await, first, "one backend for the whole session");
    }
    assert_eq!(
        client
            .query_one("SHOW lock_timeout", &[])
            .await
            .unwrap()
            .get::<_, &str>(0),
        "77ms"
    );
    assert_eq!(
        client
            .query_one("SELECT five FROM mine", &[])
            .await
            .unwrap()
            .get::<_, i32>(0),
        5
    );
    let other = postgres(&door).await;
    assert!(
        !other
            .query_one("SELECT pg_try_advisory_lock(1)", &[])
            .await
            .unwrap()
            .get::<_, bool>(0)
    );
    assert_eq!(
        other
            .query_one("SHOW lock_timeout", &[])
            .await
            .unwrap()
            .get::<_, &str>(0),
        "0"
    );
    drop((client, other));
    front.close();
}

async fn the_backend_is_closed_with_its_client(server: &'static Server) {
    let (_tenant, front, door) = one_tenant(server, "closed");
    for politely in [true, false] {
        let (client, connection) = postgres_config(&door).connect(NoTls).await.unwrap();
        let connection = tokio::spawn(connection);
        let pid: i32 = client
            .query_one("SELECT pg_backend_pid()", &[])
            .await
            .unwrap()
            .get(0);
        let here = format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}");
        assert_eq!(server.sql("", &here), "1");
        if !politely {
            connection.abort(); // the socket closes without a Terminate
        }
        drop(client);
        let _ = connection.await;
        eventually("the backend is gone", || {
            (server.sql("", &here) == "0").then_some(())
        });
    }
    front.close();
}

async fn a_killed_backend_ends_its_client(server: &'static Server) {
    let (tenant, front, door) = one_tenant(server, "killed");
    let client = postgres(&door).await;
    let pid: i32 = client
        .query_one("SELECT pg_backend_pid()", &[])
        .await
        .unwrap()
        .get(0);
    let (ended, ()) = tokio::join!(client.batch_execute("SELECT pg_sleep(100)"), async {
        until_asleep(server, &tenant);
        server.sql("", &format!("SELECT pg_terminate_backend({pid})"));
    });
    let error = ended.unwrap_err();
    assert_eq!(
        error.code(),
        Some(&SqlState::ADMIN_SHUTDOWN),
        "the database's own last words"
    );
    eventually("the client is closed", || client.is_closed().then_some(()));
    assert_eq!(whoami(&door).await, tenant.id, "the next client is served");
    front.close();
}

/// Waits until a session of this tenant is in a sleep that would last for longer than the test.
pub fn until_asleep(server: &Server, tenant: &Tenant) {
    let asleep = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND query LIKE '%sleep(100)%' AND datname = '{}'",
        tenant.dbname
    );
    eventually("it sleeps", || {
        (server.sql("", &asleep) == "1").then_some(())
    });
}

//! PostgreSQL in session mode: what an application may expect of its database, it gets through the bouncer.

use std::pin::pin;

use futures_util::{SinkExt, StreamExt, TryStreamExt};
use testbed::{Front, Kind, Plan, Server, Tenant, World};
use tokio_postgres::SimpleQueryMessage;
use tokio_postgres::error::SqlState;

use crate::drivers::{postgres, whoami};
use crate::scene::one_tenant;

pub fn plan(plan: &mut Plan) {
    let both = [Kind::Postgres, Kind::Postgres18];
    let one = [Kind::Postgres];
    plan.add(
        World::Any,
        &both,
        "reaches_its_own_database",
        reaches_its_own_database,
    );
    plan.add(World::Any, &both, "values_go_and_come", values_go_and_come);
    plan.add(
        World::Any,
        &both,
        "an_error_arrives_whole",
        an_error_arrives_whole,
    );
    plan.add(
        World::Any,
        &one,
        "several_statements_in_one_query",
        several_statements_in_one_query,
    );
    plan.add(World::Any, &one, "transactions", transactions);
    plan.add(World::Any, &one, "prepared_statements", prepared_statements);
    plan.add(
        World::Any,
        &one,
        "a_portal_in_portions",
        a_portal_in_portions,
    );
    plan.add(World::Any, &one, "a_pipeline", a_pipeline);
    plan.add(World::Any, &both, "large_result", large_result);
    plan.add(World::Any, &one, "large_parameter", large_parameter);
    plan.add(World::Any, &one, "copy_both_ways", copy_both_ways);
    plan.add(World::Any, &one, "copy_that_fails", copy_that_fails);
}

async fn reaches_its_own_database(server: &'static Server) {
    let tenants = Tenant::many_on(server, "own", 3);
    let front = Front::for_tenants(&tenants);
    for tenant in &tenants {
        assert_eq!(whoami(&front.door(tenant)).await, tenant.id);
    }
    front.close();
}

async fn values_go_and_come(server: &'static Server) {
    let (_tenant, front, door) = one_tenant(server, "values");
    let client = postgres(&door).await;
    let text = "naïve — 日本語 \u{1F99C}\n\t\\' \"";
    let bytes: Vec<u8> = (0..=255).collect();
    let row = client
        .query_one(
            "SELECT $1::int8, $2::text, $3::bytea, $4::float8, $5::bool, $6::text, $7::int4[]",
            &[
                &i64::MIN,
                &text,
                &bytes,
                &1.5f64,
                &true,
                &None::<String>,
                &vec![1, 2, 3],
            ],
        )
        .await
        .unwrap();
    assert_eq!(row.get::<_, i64>(0), i64::MIN);
    assert_eq!(row.get::<_, &str>(1), text);
    assert_eq!(row.get::<_, &[u8]>(2), bytes);
    assert!((row.get::<_, f64>(3) - 1.5).abs() < f64::EPSILON);
    assert!(row.get::<_, bool>(4));
    assert_eq!(row.get::<_, Option<&str>>(5), None);
    assert_eq!(row.get::<_, Vec<i32>>(6), [1, 2, 3]);
    assert_eq!(
        client.execute("", &[]).await.unwrap(),
        0,
        "an empty query is answered"
    );
    drop(client);
    front.close();
}

async fn an_error_arrives_whole(server: &'static Server) {
    let (_tenant, front, door) = one_tenant(server, "error");
    let client = postgres(&door).await;
    client
        .batch_execute("CREATE TABLE once (id int CONSTRAINT once_id PRIMARY KEY)")
        .await
        .unwrap();
    client
        .batch_execute("INSERT INTO once VALUES (1)")
        .await
        .unwrap();

    let error = client
        .execute("INSERT INTO once VALUES (1)", &[])
        .await
        .unwrap_err();
    let error = error.as_db_error().expect("the database's own error");
    assert_eq!(error.code(), &SqlState::UNIQUE_VIOLATION);
    assert_eq!(error.constraint(), Some("once_id"));
    assert_eq!(error.detail(), Some("Key (id)=(1) already exists."));

    let error = client
        .simple_query("SELECT 1 FROM nowhere")
        .await
        .unwrap_err();
    let error = error.as_db_error().expect("the database's own error");
    assert_eq!(error.code(), &SqlState::UNDEFINED_TABLE);
    assert!(error.position().is_some());

    assert_eq!(
        client
            .query_one("SELECT 1", &[])
            .await
            .unwrap()
            .get::<_, i32>(0),
        1,
        "the session goes on"
    );
    drop(client);
    front.close();
}

async fn several_statements_in_one_query(server: &'static Server) {
    let (_tenant, front, door) = one_tenant(server, "multi");
    let client = postgres(&door).await;
    let answers = client
        .simple_query("SELECT 1 AS a; SELECT 2 AS a UNION ALL SELECT 3; CREATE TABLE t (i int)")
        .await
        .unwrap();
    let rows: Vec<_> = answers
        .iter()
        .filter_map(|answer| match answer {
            SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        })
        .collect();
    assert_eq!(rows, ["1", "2", "3"]);
    let error = client
        .simple_query("INSERT INTO t VALUES (1); SELECT 1/0; INSERT INTO t VALUES (2)")
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::DIVISION_BY_ZERO));
    let count: i64 = client
        .query_one("SELECT count(*) FROM t", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(count, 0, "one query is one transaction");
    drop(client);
    front.close();
}

async fn transactions(server: &'static Server) {
    let (_tenant, front, door) = one_tenant(server, "txn");
    let mut client = postgres(&door).await;
    let other = postgres(&door).await;
    client
        .batch_execute("CREATE TABLE t (i int)")
        .await
        .unwrap();
    let count = async || -> i64 {
        other
            .query_one("SELECT count(*) FROM t", &[])
            .await
            .unwrap()
            .get(0)
    };

    let transaction = client.transaction().await.unwrap();
    transaction
        .execute("INSERT INTO t VALUES (1)", &[])
        .await
        .unwrap();
    assert_eq!(count().await, 0, "nobody sees what is not committed");
    transaction.commit().await.unwrap();
    assert_eq!(count().await, 1);

    let mut transaction = client.transaction().await.unwrap();
    transaction
        .execute("INSERT INTO t VALUES (2)", &[])
        .await
        .unwrap();
    let savepoint = transaction.savepoint("half").await.unwrap();
    savepoint
        .execute("INSERT INTO t SELECT 1/0", &[])
        .await
        .unwrap_err();
    let error = savepoint.execute("SELECT 1", &[]).await.unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::IN_FAILED_SQL_TRANSACTION));
    savepoint.rollback().await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(count().await, 2);

    client
        .transaction()
        .await
        .unwrap()
        .execute("INSERT INTO t VALUES (3)", &[])
        .await
        .unwrap();
    assert_eq!(count().await, 2, "a dropped transaction is rolled back");
    drop((client, other));
    front.close();
}

async fn prepared_statements(server: &'static Server) {
    let (_tenant, front, door) = one_tenant(server, "prepared");
    let (one, two) = (postgres(&door).await, postgres(&door).await);
    // Both drivers call their first statement s0: the same name for different texts.
    let add = one.prepare("SELECT $1::int4 + 1").await.unwrap();
    let double = two.prepare("SELECT $1::int4 * 2").await.unwrap();
    for i in 0..50 {
        assert_eq!(
            one.query_one(&add, &[&i]).await.unwrap().get::<_, i32>(0),
            i + 1
        );
        assert_eq!(
            two.query_one(&double, &[&i])
                .await
                .unwrap()
                .get::<_, i32>(0),
            i * 2
        );
    }
    let error = one.prepare("SELECT FROM FROM").await.unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::SYNTAX_ERROR));
    one.batch_execute("PREPARE by_sql AS SELECT 7")
        .await
        .unwrap();
    assert_eq!(
        one.query_one("EXECUTE by_sql", &[])
            .await
            .unwrap()
            .get::<_, i32>(0),
        7
    );
    drop((one, two));
    front.close();
}

async fn a_portal_in_portions(server: &'static Server) {
    let (_tenant, front, door) = one_tenant(server, "portal");
    let mut client = postgres(&door).await;
    let transaction = client.transaction().await.unwrap();
    let portal = transaction
        .bind("SELECT generate_series(1, 10)", &[])
        .await
        .unwrap();
    let mut sizes = Vec::new();
    loop {
        let rows = transaction.query_portal(&portal, 4).await.unwrap();
        sizes.push(rows.len());
        if rows.len() < 4 {
            break;
        }
    }
    assert_eq!(sizes, [4, 4, 2]);
    drop(transaction);
    drop(client);
    front.close();
}

async fn a_pipeline(server: &'static Server) {
    let (_tenant, front, door) = one_tenant(server, "pipeline");
    let client = postgres(&door).await;
    let statement = client.prepare("SELECT $1::int4").await.unwrap();
    let numbers: Vec<i32> = (0..500).collect();
    // Polled together, they are all sent before the first answer is read.
    let asked = numbers.iter().map(|number| {
        let (client, statement) = (&client, &statement);
        async move {
            if number % 50 == 49 {
                client.query_one("SELECT 1/0", &[]).await.unwrap_err();
            }
            client
                .query_one(statement, &[number])
                .await
                .unwrap()
                .get::<_, i32>(0)
        }
    });
    assert_eq!(futures_util::future::join_all(asked).await, numbers);
    drop(client);
    front.close();
}

/// 100 MB of rows that say which they are; a byte lost, doubled or moved shows.
async fn large_result(server: &'static Server) {
    const ROWS: i32 = 100_000;
    let (_tenant, front, door) = one_tenant(server, "large");
    let client = postgres(&door).await;
    let rows = client
        .query_raw(
            "SELECT repeat(lpad(i::text, 16, '0'), 64) FROM generate_series(1, $1::int4) AS i",
            [ROWS],
        )
        .await
        .unwrap();
    let mut rows = pin!(rows);
    let (mut seen, mut bytes) = (0, 0);
    while let Some(row) = rows.next().await {
        let row = row.unwrap();
        let text: &str = row.get(0);
        seen += 1;
        bytes += text.len();
        assert_eq!(text, format!("{seen:016}").repeat(64));
    }
    assert_eq!((seen, bytes), (ROWS, 102_400_000));
    assert_eq!(
        client
            .query_one("SELECT 1", &[])
            .await
            .unwrap()
            .get::<_, i32>(0),
        1
    );
    drop(client);
    front.close();
}

async fn large_parameter(server: &'static Server) {
    let (_tenant, front, door) = one_tenant(server, "param");
    let client = postgres(&door).await;
    let text = "0123456789abcdef".repeat(4 << 20);
    let row = client
        .query_one(
            "SELECT length($1::text), md5($1) = md5(repeat('0123456789abcdef', 4 << 20)), $1",
            &[&text],
        )
        .await
        .unwrap();
    assert_eq!(row.get::<_, i32>(0), 64 << 20);
    assert!(row.get::<_, bool>(1), "the database got every byte");
    assert!(row.get::<_, &str>(2) == text, "and gave every byte back");
    drop(client);
    front.close();
}

async fn copy_both_ways(server: &'static Server) {
    let (_tenant, front, door) = one_tenant(server, "copy");
    let client = postgres(&door).await;
    client.batch_execute("CREATE TABLE source AS SELECT i, md5(i::text) AS m FROM generate_series(1, 200000) AS i").await.unwrap();
    client
        .batch_execute("CREATE TABLE target (i int, m text)")
        .await
        .unwrap();
    let out: Vec<_> = client
        .copy_out("COPY source TO STDOUT")
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    assert_eq!(out.len(), 200_000, "one message a row");
    {
        let sink = client.copy_in("COPY target FROM STDIN").await.unwrap();
        let mut sink = pin!(sink);
        for part in out {
            sink.feed(part).await.unwrap();
        }
        assert_eq!(sink.finish().await.unwrap(), 200_000);
    }
    let same = "SELECT count(*) FROM source FULL JOIN target USING (i, m) WHERE source IS NULL OR target IS NULL";
    assert_eq!(
        client.query_one(same, &[]).await.unwrap().get::<_, i64>(0),
        0
    );
    drop(client);
    front.close();
}

async fn copy_that_fails(server: &'static Server) {
    let (_tenant, front, door) = one_tenant(server, "copyfail");
    let client = postgres(&door).await;
    client
        .batch_execute("CREATE TABLE target (i int)")
        .await
        .unwrap();
    let error = client
        .copy_out("COPY nowhere TO STDOUT")
        .await
        .err()
        .expect("no such table");
    assert_eq!(error.code(), Some(&SqlState::UNDEFINED_TABLE));
    {
        // The server refuses the first line and must then swallow what is still under way.
        let sink = client.copy_in("COPY target FROM STDIN").await.unwrap();
        let mut sink = pin!(sink);
        let mut sent = sink.send(&b"no number\n"[..]).await;
        for _ in 0..1000 {
            if sent.is_err() {
                break;
            }
            sent = sink.send(&b"1\n"[..]).await;
        }
        let error = match sent {
            Err(error) => error,
            Ok(()) => sink.finish().await.unwrap_err(),
        };
        if let Some(code) = error.code() {
            assert_eq!(code, &SqlState::INVALID_TEXT_REPRESENTATION);
        }
    }
    {
        // Dropped unfinished, the driver sends CopyFail.
        let sink = client.copy_in("COPY target FROM STDIN").await.unwrap();
        let mut sink = pin!(sink);
        sink.send(&b"1\n"[..]).await.unwrap();
    }
    assert_eq!(
        client
            .query_one("SELECT count(*) FROM target", &[])
            .await
            .unwrap()
            .get::<_, i64>(0),
        0
    );
    drop(client);
    front.close();
}

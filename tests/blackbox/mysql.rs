//! MySQL's protocol in session mode, before MariaDB and before MySQL: what an application may expect of its database, it
//! gets through the bouncer.

use futures_util::StreamExt;
use mysql_async::prelude::{Query, Queryable};
use mysql_async::{Conn, Error, Row, TxOpts, Value};
use testbed::{Front, Kind, Plan, Server, Tenant, World};

use crate::drivers::{code, mysql, mysql_options, one, whoami};
use crate::scene::one_tenant;

pub fn plan(plan: &mut Plan) {
    let both = [Kind::MariaDb, Kind::MySql];
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
    plan.add(World::Any, &both, "several_results", several_results);
    plan.add(World::Any, &both, "stored_procedures", stored_procedures);
    plan.add(World::Any, &both, "transactions", transactions);
    plan.add(
        World::Any,
        &both,
        "prepared_statements",
        prepared_statements,
    );
    plan.add(
        World::Any,
        &both,
        "a_statement_sent_in_pieces",
        a_statement_sent_in_pieces,
    );
    plan.add(World::Any, &both, "large_result", large_result);
    plan.add(
        World::Any,
        &both,
        "packets_over_16_mib",
        packets_over_16_mib,
    );
    plan.add(
        World::Any,
        &both,
        "packets_of_exactly_16_mib",
        packets_of_exactly_16_mib,
    );
    plan.add(World::Any, &both, "local_infile", local_infile);
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
    let mut client = mysql(&door).await;
    let text = "naïve — 日本語 \u{1F99C}\n\t\\' \"";
    let bytes: Vec<u8> = (0..=255).collect();
    let row: Row = client
        .exec_first(
            "SELECT ?, ?, ?, ?, ?",
            (i64::MIN, text, bytes.clone(), 1.5f64, None::<String>),
        )
        .await
        .unwrap()
        .unwrap();
    assert_eq!(row.get::<i64, _>(0), Some(i64::MIN));
    assert_eq!(row.get::<String, _>(1).as_deref(), Some(text));
    assert_eq!(row.get::<Vec<u8>, _>(2), Some(bytes));
    assert_eq!(row.get::<f64, _>(3), Some(1.5));
    assert_eq!(row.as_ref(4), Some(&Value::NULL));
    client
        .query_drop("CREATE TABLE t (id int AUTO_INCREMENT PRIMARY KEY, s text)")
        .await
        .unwrap();
    client
        .exec_drop("INSERT INTO t (s) VALUES (?), (?)", (text, "b"))
        .await
        .unwrap();
    assert_eq!(
        (client.affected_rows(), client.last_insert_id()),
        (2, Some(1))
    );
    client.ping().await.unwrap();
    client.disconnect().await.unwrap();
    front.close();
}

async fn an_error_arrives_whole(server: &'static Server) {
    let (_tenant, front, door) = one_tenant(server, "error");
    let mut client = mysql(&door).await;
    client
        .query_drop("CREATE TABLE once (id int PRIMARY KEY)")
        .await
        .unwrap();
    client
        .query_drop("INSERT INTO once VALUES (1)")
        .await
        .unwrap();
    match client
        .query_drop("INSERT INTO once VALUES (1)")
        .await
        .unwrap_err()
    {
        Error::Server(error) => {
            assert_eq!((error.code, error.state.as_str()), (1062, "23000"));
            assert!(
                error.message.starts_with("Duplicate entry '1'"),
                "{}",
                error.message
            );
        }
        other => panic!("{other}"),
    }
    assert_eq!(
        code(
            &client
                .query_drop("SELECT * FROM nowhere")
                .await
                .unwrap_err()
        ),
        1146
    );
    assert_eq!(
        code(&client.prep("SELECT FROM FROM").await.unwrap_err()),
        1064
    );
    assert_eq!(
        one::<i32>(&mut client, "SELECT 1").await,
        1,
        "the session goes on"
    );
    client.query_drop("SELECT 1/0").await.unwrap();
    let warnings: Vec<(String, u16, String)> = client.query("SHOW WARNINGS").await.unwrap();
    assert_eq!(warnings[0].1, 1365);
    client.disconnect().await.unwrap();
    front.close();
}

async fn several_results(server: &'static Server) {
    let (_tenant, front, door) = one_tenant(server, "multi");
    let mut client = mysql(&door).await;
    let mut results = client
        .query_iter("SELECT 1; SELECT 2 UNION SELECT 3; CREATE TABLE t (i int); SELECT 4")
        .await
        .unwrap();
    let mut seen = Vec::new();
    while !results.is_empty() {
        seen.push(results.collect::<i32>().await.unwrap());
    }
    drop(results);
    assert_eq!(seen, [vec![1], vec![2, 3], vec![], vec![4]]);
    let error = Query::run("SELECT 1; SELECT * FROM nowhere; SELECT 3", &mut client).await;
    let error = match error {
        Err(error) => error,
        Ok(mut results) => {
            assert_eq!(results.collect::<i32>().await.unwrap(), [1]);
            results.collect::<i32>().await.unwrap_err()
        }
    };
    assert_eq!(code(&error), 1146);
    assert_eq!(one::<i32>(&mut client, "SELECT 5").await, 5);
    client.disconnect().await.unwrap();
    front.close();
}

async fn stored_procedures(server: &'static Server) {
    let (_tenant, front, door) = one_tenant(server, "proc");
    let mut client = mysql(&door).await;
    client
        .query_drop("CREATE PROCEDURE twice(IN a int, OUT b int) BEGIN SELECT a; SELECT a + 1, 'x'; SET b = a * 2; END")
        .await
        .unwrap();
    let mut results = client.query_iter("CALL twice(21, @b)").await.unwrap();
    assert_eq!(results.collect::<i32>().await.unwrap(), [21]);
    assert_eq!(
        results.collect::<(i32, String)>().await.unwrap(),
        [(22, "x".to_owned())]
    );
    results.drop_result().await.unwrap();
    assert_eq!(one::<i32>(&mut client, "SELECT @b").await, 42);
    // Through the binary protocol the OUT parameter is a result of its own, marked PS_OUT_PARAMS.
    client.exec_drop("CALL twice(?, @b)", (4,)).await.unwrap();
    assert_eq!(one::<i32>(&mut client, "SELECT @b").await, 8);
    client.disconnect().await.unwrap();
    front.close();
}

async fn transactions(server: &'static Server) {
    let (_tenant, front, door) = one_tenant(server, "txn");
    let (mut client, mut other) = (mysql(&door).await, mysql(&door).await);
    client.query_drop("CREATE TABLE t (i int)").await.unwrap();
    const COUNT: &str = "SELECT count(*) FROM t";

    let mut transaction = client.start_transaction(TxOpts::default()).await.unwrap();
    transaction
        .query_drop("INSERT INTO t VALUES (1)")
        .await
        .unwrap();
    assert_eq!(
        one::<i32>(&mut other, COUNT).await,
        0,
        "nobody sees what is not committed"
    );
    transaction.commit().await.unwrap();
    assert_eq!(one::<i32>(&mut other, COUNT).await, 1);

    let mut transaction = client.start_transaction(TxOpts::default()).await.unwrap();
    transaction
        .query_drop("INSERT INTO t VALUES (2)")
        .await
        .unwrap();
    transaction.query_drop("SAVEPOINT half").await.unwrap();
    transaction
        .query_drop("INSERT INTO t VALUES (3)")
        .await
        .unwrap();
    transaction.query_drop("ROLLBACK TO half").await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(one::<i32>(&mut other, COUNT).await, 2);

    client.query_drop("SET autocommit = 0").await.unwrap();
    client.query_drop("INSERT INTO t VALUES (4)").await.unwrap();
    client.disconnect().await.unwrap();
    assert_eq!(
        one::<i32>(&mut other, COUNT).await,
        2,
        "who leaves without COMMIT leaves nothing"
    );
    other.disconnect().await.unwrap();
    front.close();
}

async fn prepared_statements(server: &'static Server) {
    let (_tenant, front, door) = one_tenant(server, "prepared");
    // Both sessions' first statement has the id 1: the same id for different texts.
    let (mut one, mut two) = (mysql(&door).await, mysql(&door).await);
    let (add, double) = (
        one.prep("SELECT ? + 1").await.unwrap(),
        two.prep("SELECT ? * 2").await.unwrap(),
    );
    for i in 0..50_i64 {
        assert_eq!(
            one.exec_first::<i64, _, _>(&add, (i,)).await.unwrap(),
            Some(i + 1)
        );
        assert_eq!(
            two.exec_first::<i64, _, _>(&double, (i,)).await.unwrap(),
            Some(i * 2)
        );
    }
    one.close(add).await.unwrap();
    one.query_drop("PREPARE by_sql FROM 'SELECT 7'")
        .await
        .unwrap();
    assert_eq!(
        one.query_first::<i32, _>("EXECUTE by_sql").await.unwrap(),
        Some(7)
    );
    one.disconnect().await.unwrap();
    two.disconnect().await.unwrap();
    front.close();
}

/// The driver sends a parameter as COM_STMT_SEND_LONG_DATA, which is answered by nothing, when all do not fit a packet.
async fn a_statement_sent_in_pieces(server: &'static Server) {
    let (_tenant, front, door) = one_tenant(server, "pieces");
    let options = mysql_options(&door).max_allowed_packet(Some(17 << 20));
    let mut client = Conn::new(options).await.unwrap();
    let text = "0123456789abcdef".repeat(3 << 19);
    let row: Option<(u64, bool)> = client
        .exec_first(
            "SELECT length(?), sha2(?, 256) = sha2(repeat('0123456789abcdef', 3 << 19), 256)",
            (text.clone(), text),
        )
        .await
        .unwrap();
    assert_eq!(row, Some((24 << 20, true)));
    client.disconnect().await.unwrap();
    front.close();
}

/// 100 MB of rows that say which they are; a byte lost, doubled or moved shows.
async fn large_result(server: &'static Server) {
    const ROWS: u32 = 100_000;
    let (_tenant, front, door) = one_tenant(server, "large");
    let mut client = mysql(&door).await;
    client
        .query_drop("SET @@cte_max_recursion_depth = 200000")
        .await
        .or_else(not_in_mariadb)
        .unwrap();
    client
        .query_drop("SET @@max_recursive_iterations = 200000")
        .await
        .or_else(not_in_mysql)
        .unwrap();
    let query = format!(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS}) \
         SELECT repeat(lpad(i, 16, '0'), 64) FROM n"
    );
    let mut results = client.query_iter(query).await.unwrap();
    let mut rows = results.stream::<String>().await.unwrap().expect("a result");
    let (mut seen, mut bytes) = (0, 0);
    while let Some(row) = rows.next().await {
        let text = row.unwrap();
        seen += 1;
        bytes += text.len();
        assert_eq!(text, format!("{seen:016}").repeat(64));
    }
    assert_eq!((seen, bytes), (ROWS, 102_400_000));
    drop(rows);
    drop(results);
    assert_eq!(one::<i32>(&mut client, "SELECT 1").await, 1);
    client.disconnect().await.unwrap();
    front.close();
}

fn not_in_mariadb(error: Error) -> Result<(), Error> {
    if code(&error) == 1193 {
        Ok(())
    } else {
        Err(error)
    }
}

use not_in_mariadb as not_in_mysql;

async fn packets_over_16_mib(server: &'static Server) {
    let (_tenant, front, door) = one_tenant(server, "huge");
    let mut client = mysql(&door).await;
    let text = "0123456789abcdef".repeat(5 << 19); // 40 MiB: three packets each way
    let row: Option<(bool, String)> = client
        .exec_first(
            "SELECT sha2(?, 256) = sha2(repeat('0123456789abcdef', 5 << 19), 256), ?",
            (text.clone(), text.clone()),
        )
        .await
        .unwrap();
    let (whole, back) = row.unwrap();
    assert!(whole, "the database got every byte");
    assert!(back == text, "and gave every byte back");
    client.disconnect().await.unwrap();
    front.close();
}

/// A payload of 0xffffff bytes, or a multiple of it, is followed by a packet that may be empty.
async fn packets_of_exactly_16_mib(server: &'static Server) {
    const FULL: usize = 0xff_ffff;
    let (_tenant, front, door) = one_tenant(server, "full");
    let mut client = mysql(&door).await;
    for payload in [FULL - 1, FULL, FULL + 1, 2 * FULL] {
        let frame = "\u{3}SELECT length('')".len();
        let text = "x".repeat(payload - frame);
        let length: usize = one(&mut client, &format!("SELECT length('{text}')")).await;
        assert_eq!(length, text.len(), "a command of {payload} bytes");
    }
    for payload in [FULL - 1, FULL, FULL + 1, 2 * FULL] {
        let header = 4; // 0xfd and three bytes, up to 2^24
        let header = if payload - header < 1 << 24 {
            header
        } else {
            9
        };
        let text: String = one(
            &mut client,
            &format!("SELECT repeat('y', {})", payload - header),
        )
        .await;
        assert_eq!(text.len(), payload - header, "a row of {payload} bytes");
    }
    assert_eq!(one::<i32>(&mut client, "SELECT 1").await, 1);
    client.disconnect().await.unwrap();
    front.close();
}

async fn local_infile(server: &'static Server) {
    let (_tenant, front, door) = one_tenant(server, "infile");
    let mut client = mysql(&door).await;
    let parts = (0..100).map(|part| {
        (0..1000)
            .map(|i| format!("{}\n", part * 1000 + i))
            .collect::<String>()
    });
    let file = futures_util::stream::iter(parts.map(|part| Ok(part.into())));
    client.set_infile_handler(async move { Ok(file.boxed()) });
    client.query_drop("CREATE TABLE t (i int)").await.unwrap();
    client
        .query_drop("LOAD DATA LOCAL INFILE 'numbers' INTO TABLE t")
        .await
        .unwrap();
    assert_eq!(client.affected_rows(), 100_000);
    assert_eq!(
        one::<(u64, u64)>(&mut client, "SELECT count(*), sum(i) FROM t").await,
        (100_000, 4_999_950_000)
    );
    client.disconnect().await.unwrap();
    front.close();
}

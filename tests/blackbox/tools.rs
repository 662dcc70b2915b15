//! Other people's programs: psql, mariadb, the dump tools, and the Python drivers. What they print through the bouncer is
//! what they print straight at the database.

use testbed::{Door, Front, Kind, Plan, Server, Tenant, World, python, tool};

pub fn plan(plan: &mut Plan) {
    plan.add(World::Any, &[Kind::Postgres], "psql", psql);
    plan.add(
        World::Bouncer,
        &[Kind::Postgres],
        "pgbench_does_not_wait_for_itself",
        pgbench_does_not_wait_for_itself,
    );
    plan.add(
        World::Any,
        &[Kind::Postgres],
        "pg_dump_is_the_same",
        pg_dump_is_the_same,
    );
    plan.add(
        World::Any,
        &[Kind::MariaDb, Kind::MySql],
        "mariadb_command_line",
        mariadb_command_line,
    );
    plan.add(
        World::Any,
        &[Kind::MariaDb],
        "mariadb_dump_is_the_same",
        mariadb_dump_is_the_same,
    );
    plan.add(
        World::Python,
        &[Kind::Postgres, Kind::Postgres18],
        "psycopg",
        psycopg,
    );
    plan.add(
        World::Python,
        &[Kind::MariaDb, Kind::MySql],
        "pymysql",
        pymysql,
    );
}

const POSTGRES_CONTENTS: &str = "
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TABLE person (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL UNIQUE, mood mood, photo bytea);
INSERT INTO person (name, mood, photo) SELECT 'n' || i, 'ok', decode(repeat(md5(i::text), 100), 'hex') FROM generate_series(1, 5000) i;
CREATE VIEW sad AS SELECT * FROM person WHERE mood = 'sad';
CREATE FUNCTION f(a int) RETURNS int LANGUAGE sql AS 'SELECT a + 1';
SELECT lo_from_bytea(0, 'a large object');
";

const MYSQL_CONTENTS: &str = "
CREATE TABLE person (id int AUTO_INCREMENT PRIMARY KEY, name varchar(50) NOT NULL UNIQUE, photo blob, born datetime(6));
INSERT INTO person (name, photo, born)
  WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900)
  SELECT concat('n', i), repeat(char(i % 256), 2000), '2001-02-03 04:05:06.789' FROM n;
CREATE VIEW few AS SELECT * FROM person WHERE id < 10;
CREATE PROCEDURE p(IN a int) SELECT a;
";

async fn psql(server: &'static Server) {
    let (_tenant, front, doors) = both_ways(server, "psql", POSTGRES_CONTENTS);
    let script = "
        \\d
        \\d person
        SELECT :'SERVER_VERSION_NAME';
        SELECT count(*), sum(length(photo)) FROM person;
        \\copy (SELECT id, name FROM person ORDER BY id LIMIT 3) TO STDOUT
        SELECT 1 / 0;
        \\errverbose
        \\bind 5
        SELECT $1::int;
        BEGIN; SELECT nothing; ROLLBACK;
        \\echo :LAST_ERROR_SQLSTATE
        SELECT 1 \\; SELECT 2;
        \\encoding
    ";
    let said = doors.map(|door| {
        let said = psql_at(&door).args(["-v", "VERBOSITY=verbose"]).fed(script);
        (said.out, said.err)
    });
    assert!(said[0].0.contains("5000|"), "{}", said[0].0);
    assert!(said[0].1.contains("22012"), "{}", said[0].1);
    assert_eq!(said[0], said[1]);
    front.close();
}

/// More clients than backends, all in one thread, which prepares a statement and waits for that while transactions of its own
/// hold all backends: it would wait for itself, if preparing what is known took a backend.
async fn pgbench_does_not_wait_for_itself(server: &'static Server) {
    let tenant = Tenant::on(server, "bench")
        .with("pool_mode: transaction")
        .with("max_connections: 5")
        .with("acquire_timeout: 10s");
    let pgbench = |door: &Door, args: &[&str]| {
        tool("pgbench")
            .args(["-h", &door.host(), "-p", &door.port(), "-U", &door.user])
            .args(args)
            .arg(&door.dbname)
            .env("PGPASSWORD", &door.password)
            .run()
            .expect_ok()
    };
    pgbench(&Door::of_server(&tenant), &["-i", "-q", "-I", "dtgp"]);
    let front = Front::for_tenants(std::slice::from_ref(&tenant));
    let args = ["-n", "-M", "prepared", "-c", "20", "-j", "1", "-t", "10"];
    let out = pgbench(&front.door(&tenant), &args);
    assert!(
        out.contains("transactions actually processed: 200/200"),
        "{out}"
    );
    front.close();
}

async fn pg_dump_is_the_same(server: &'static Server) {
    let (_tenant, front, doors) = both_ways(server, "dump", POSTGRES_CONTENTS);
    let dumps = doors.map(|door| {
        let dump = tool("pg_dump")
            .args([
                "-h",
                &door.host(),
                "-p",
                &door.port(),
                "-U",
                &door.user,
                "--blobs",
                "--no-owner",
                &door.dbname,
            ])
            .env("PGPASSWORD", &door.password)
            .run()
            .expect_ok();
        // The key of \restrict is made up for each dump.
        dump.lines()
            .filter(|line| !line.contains("restrict"))
            .map(|line| format!("{line}\n"))
            .collect::<String>()
    });
    assert!(dumps[0].len() > 8_000_000, "{} bytes", dumps[0].len());
    assert!(dumps[0] == dumps[1], "the dump through the bouncer differs");

    // And what was dumped goes back in through the bouncer.
    let copy = Tenant::on(server, "restored");
    let other = Front::for_tenants(std::slice::from_ref(&copy));
    let script = dumps[0].replace(
        "CREATE TABLE public.whoami",
        "DROP TABLE public.whoami; CREATE TABLE public.whoami",
    );
    psql_at(&other.door(&copy))
        .args(["-v", "ON_ERROR_STOP=1"])
        .fed(&script)
        .expect_ok();
    assert_eq!(
        server.sql(&copy.dbname, "SELECT count(*) FROM person"),
        "5000"
    );
    other.close();
    front.close();
}

async fn mariadb_command_line(server: &'static Server) {
    let (_tenant, front, doors) = both_ways(server, "cli", MYSQL_CONTENTS);
    let script = "
        SHOW TABLES;
        DESCRIBE person;
        SELECT count(*), sum(length(photo)) FROM person;
        SELECT * FROM nowhere;
        SELECT 1/0;
        SHOW WARNINGS;
        CALL p(3);
        \\s
        BEGIN; DELETE FROM person; ROLLBACK; SELECT count(*) FROM person;
    ";
    let said = doors.map(|door| {
        let said = mariadb_at("mariadb", &door)
            .args(["--force", "--table", &door.dbname])
            .fed(script);
        // The status names this very connection, and one may be encrypted.
        let own = [
            "Connection id",
            "TCP port",
            "Current user",
            "Uptime",
            "Threads:",
            "Connection:",
            "SSL:",
            "Server",
        ];
        let out = said
            .out
            .lines()
            .filter(|line| !own.iter().any(|word| line.starts_with(word)))
            .collect::<Vec<_>>();
        (out.join("\n"), said.err)
    });
    assert!(said[0].0.contains("1800000"), "{}", said[0].0);
    assert!(said[0].1.contains("ERROR 1146 (42S02)"), "{}", said[0].1);
    assert_eq!(said[0], said[1]);
    front.close();
}

async fn mariadb_dump_is_the_same(server: &'static Server) {
    let (_tenant, front, doors) = both_ways(server, "mdump", MYSQL_CONTENTS);
    let dumps = doors.map(|door| {
        mariadb_at("mariadb-dump", &door)
            .args([
                "--routines",
                "--single-transaction",
                "--skip-dump-date",
                "--skip-comments",
                "--hex-blob",
                &door.dbname,
            ])
            .run()
            .expect_ok()
    });
    assert!(dumps[0].len() > 3_000_000, "{} bytes", dumps[0].len());
    assert!(dumps[0] == dumps[1], "the dump through the bouncer differs");

    let copy = Tenant::on(server, "restored");
    let other = Front::for_tenants(std::slice::from_ref(&copy));
    let script = without_definers(&dumps[0]);
    mariadb_at("mariadb", &other.door(&copy))
        .arg(&copy.dbname)
        .fed(&script)
        .expect_ok();
    assert_eq!(
        server.sql(&copy.dbname, "SELECT count(*) FROM person"),
        "900"
    );
    other.close();
    front.close();
}

/// Only an administrator may make views in another's name.
fn without_definers(dump: &str) -> String {
    dump.lines()
        .map(
            |line| match (line.find("DEFINER="), line.find("SQL SECURITY")) {
                (Some(start), Some(end)) if line.starts_with("/*!50013") => {
                    format!("{}{}\n", &line[..start], &line[end..])
                }
                _ if line.starts_with("CREATE DEFINER=") => {
                    format!(
                        "CREATE {}\n",
                        &line[line.find(" PROCEDURE").map_or(0, |at| at + 1)..]
                    )
                }
                _ => format!("{line}\n"),
            },
        )
        .collect()
}

async fn psycopg(server: &'static Server) {
    run_python(server, "psycopg_session.py");
}

async fn pymysql(server: &'static Server) {
    run_python(server, "pymysql_session.py");
}

/// The script makes its own assertions; its last line says that it came to its end.
fn run_python(server: &Server, script: &str) {
    let tenant = Tenant::on(server, "python");
    let front = Front::for_tenants(std::slice::from_ref(&tenant));
    let door = front.door(&tenant);
    let python = python(script).expect("the plan has asked for the Python drivers");
    let out = python
        .args([
            &door.host(),
            &door.port(),
            &door.user,
            &door.password,
            &door.dbname,
            &tenant.id,
        ])
        .run()
        .expect_ok();
    assert!(out.ends_with("all of it"), "{out}");
    front.close();
}

/// A tenant with something in its database, and the two ways to it: through the bouncer, and straight.
fn both_ways(server: &Server, name: &str, contents: &str) -> (Tenant, Front, [Door; 2]) {
    let tenant = Tenant::on(server, name);
    let straight = Door::of_server(&tenant);
    if server.kind.is_postgres() {
        psql_at(&straight)
            .args(["-v", "ON_ERROR_STOP=1"])
            .fed(contents)
            .expect_ok();
    } else {
        mariadb_at("mariadb", &straight)
            .arg(&tenant.dbname)
            .fed(contents)
            .expect_ok();
    }
    let front = Front::for_tenants(std::slice::from_ref(&tenant));
    let door = front.door(&tenant);
    (tenant, front, [door, straight])
}

/// psql at this door.
pub fn psql_at(door: &Door) -> testbed::Tool {
    tool("psql")
        .args([
            "-X",
            "-A",
            "-h",
            &door.host(),
            "-p",
            &door.port(),
            "-U",
            &door.user,
            &door.dbname,
        ])
        .env("PGPASSWORD", &door.password)
}

/// A program of MariaDB's at this door.
pub fn mariadb_at(program: &str, door: &Door) -> testbed::Tool {
    tool(program)
        .args(["--no-defaults", "--default-character-set=utf8mb4"])
        .args([
            "-h",
            &door.host(),
            "-P",
            &door.port(),
            "-u",
            &door.user,
            &format!("-p{}", door.password),
        ])
}

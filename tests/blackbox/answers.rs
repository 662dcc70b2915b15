//! MySQL: the bouncer knows where each answer ends. A session that rests is ended by SIGTERM at once, one that is owed
//! something is not; and when its backend breaks, its connection ends, wherever it stands in an answer.

use testbed::{Bouncer, Config, Door, Kind, Middleman, Plan, Server, Tenant, World, eventually};

use crate::raw::{Complaint, Raw, handshake_response_with, packet};

pub fn plan(plan: &mut Plan) {
    let both = [Kind::MariaDb, Kind::MySql];
    plan.add(
        World::Bouncer,
        &both,
        "every_answer_is_seen_to_its_end",
        every_answer_is_seen_to_its_end,
    );
    plan.add(
        World::Bouncer,
        &both,
        "an_answer_is_finished_before_a_stop",
        an_answer_is_finished_before_a_stop,
    );
    plan.add(
        World::Bouncer,
        &both,
        "a_change_of_user_waits_for_the_answers_before_it",
        a_change_of_user_waits_for_the_answers_before_it,
    );
    plan.add(
        World::Bouncer,
        &both,
        "a_change_of_user_at_a_silent_database_has_an_end",
        a_change_of_user_at_a_silent_database_has_an_end,
    );
    plan.add(
        World::Bouncer,
        &both,
        "a_broken_backend_is_a_lost_connection",
        a_broken_backend_is_a_lost_connection,
    );
}

/// LOCAL_FILES, MULTI_STATEMENTS, MULTI_RESULTS, PS_MULTI_RESULTS.
const WITH_EOF: u32 = 0x80 | 0x1_0000 | 0x2_0000 | 0x4_0000;
/// The same and SESSION_TRACK, DEPRECATE_EOF.
const WITHOUT_EOF: u32 = WITH_EOF | 0x80_0000 | 0x100_0000;

/// A session of a tenant that trusts its clients.
pub fn session(door: &Door, capabilities: u32) -> Raw {
    let mut raw = Raw::to(door.address);
    raw.packet();
    raw.say(&handshake_response_with(
        capabilities,
        &door.user,
        Some(&door.dbname),
    ));
    let (_, ok) = raw.packet();
    assert_eq!(ok[0], 0, "{ok:?}");
    raw
}

fn query(text: &str) -> Vec<u8> {
    packet(0, &[b"\x03", text.as_bytes()].concat())
}

/// COM_STMT_EXECUTE without parameters; 1 is the flag of a cursor.
fn execute(statement: u32, flags: u8) -> Vec<u8> {
    let id = statement.to_le_bytes();
    packet(0, &[&b"\x17"[..], &id, &[flags], &[1, 0, 0, 0]].concat())
}

fn fetch(statement: u32, rows: u32) -> Vec<u8> {
    packet(
        0,
        &[&b"\x1C"[..], &statement.to_le_bytes(), &rows.to_le_bytes()].concat(),
    )
}

fn prepare(text: &str) -> Vec<u8> {
    packet(0, &[b"\x16", text.as_bytes()].concat())
}

fn tenant_of(server: &Server, name: &str) -> Tenant {
    Tenant::on(server, name)
        .with("client_auth: trust")
        .with("max_connections: 200")
}

/// What clients may say, each beginning in a fresh session.
fn commands(dbname: &str) -> Vec<Vec<u8>> {
    let many_columns = (1..=300).map(|i| i.to_string()).collect::<Vec<_>>();
    let one = |command: &[u8]| packet(0, command);
    let mut all: Vec<Vec<u8>> = [
        "DO 1",
        "SELECT 1, 'x', NULL",
        "SELECT 1 FROM DUAL WHERE 1 = 0",
        "SELECT * FROM nowhere",
        "",
        "-- nothing but a comment",
        "SHOW WARNINGS",
        "SELECT 1 INTO @a",
        "EXPLAIN SELECT * FROM whoami",
        "SELECT 1; DO 1; SELECT 2 UNION SELECT 3; SELECT 4 FROM DUAL WHERE 1 = 0",
        "SELECT 1; SELECT * FROM nowhere; SELECT 3",
        "CALL p()",
        "CALL fails()",
        "CALL scans()",
        "SELECT id FROM whoami WHERE scans() = 1",
        "CHECK TABLE whoami",
        "BEGIN; INSERT INTO whoami VALUES ('x'); ROLLBACK",
        "SET autocommit = 0; SELECT 1",
        "SELECT REPEAT('x', 16777215 - 4)",
        "SELECT REPEAT('x', 16777215 + 100)",
        "SELECT REPEAT('x', 2 * 16777215 - 9), 1",
        "SELECT id, (SELECT id FROM whoami UNION SELECT 1) FROM whoami",
    ]
    .iter()
    .map(|text| query(text))
    .collect();
    all.push(query(&format!("SELECT {}", many_columns.join(", "))));
    all.extend([
        one(b""),
        one(&[b"\x02", dbname.as_bytes()].concat()),
        one(b"\x02nowhere"),
        one(b"\x04whoami\0"),
        one(b"\x04nowhere\0"),
        one(b"\x05"),
        one(b"\x07\x01"),
        one(b"\x09"),
        one(b"\x0A"),
        one(b"\x0C\x01\0\0\0"),
        one(b"\x0D"),
        one(b"\x0E"),
        one(b"\x12"),
        one(b"\x1B\x00\x00"),
        one(b"\x1B\x01\x00"),
        one(b"\x1B\x07\x00"),
        one(b"\x1D"),
        one(b"\x1F"),
        one(b"\x7F"),
    ]);
    for text in [
        "DO 1",
        "DO ?",
        "SELECT 1",
        "SELECT ?, ?, 3",
        "SELECT oops",
        "CALL p()",
    ] {
        all.push([prepare(text), one(b"\x19\x01\0\0\0")].concat());
    }
    for text in [
        "DO 1",
        "SELECT 1, 2",
        "SELECT id FROM whoami WHERE 1 = 0",
        "CALL p()",
        "CALL fails()",
        "CALL scans()",
        "SELECT id, scans() FROM whoami",
        "SELECT id FROM whoami WHERE scans() = 1",
    ] {
        for cursor in [0, 1] {
            let rest = [one(b"\x1A\x01\0\0\0"), one(b"\x19\x01\0\0\0")].concat();
            all.push([prepare(text), execute(1, cursor), rest].concat());
        }
    }
    let numbers = "SELECT 1 UNION SELECT 2 UNION SELECT 3";
    all.extend([
        [
            prepare(numbers),
            execute(1, 1),
            fetch(1, 2),
            fetch(1, 2),
            fetch(1, 2),
        ]
        .concat(),
        [
            prepare(numbers),
            execute(1, 1),
            fetch(1, 1),
            one(b"\x19\x01\0\0\0"),
        ]
        .concat(),
        [
            execute(7, 0),
            fetch(7, 1),
            one(b"\x1A\x07\0\0\0"),
            one(b"\x19\x07\0\0\0"),
        ]
        .concat(),
        [
            prepare("SELECT LENGTH(?)"),
            one(b"\x18\x01\0\0\0\0\0long data"),
        ]
        .concat(),
    ]);
    let null = b"\x17\x01\0\0\0\0\x01\0\0\0\x01\x01\x03\0";
    all.push([prepare("CALL puts(?)"), one(null)].concat());
    // Several at once: some drivers have no limit.
    all.push((0..300).flat_map(|_| query("SELECT 1")).collect());
    all
}

/// With cursors of their own, and with a parameter that they set.
const PROCEDURES: &str = "
CREATE PROCEDURE p() SELECT 1 UNION SELECT 2;
CREATE PROCEDURE fails() SIGNAL SQLSTATE '45000';
CREATE PROCEDURE puts(OUT x INT) SET x = 5;
DELIMITER //
CREATE PROCEDURE scans() BEGIN
    DECLARE v VARCHAR(100); DECLARE c CURSOR FOR SELECT id FROM whoami;
    OPEN c; FETCH c INTO v; SELECT v; CLOSE c;
END //
CREATE FUNCTION scans() RETURNS INT DETERMINISTIC READS SQL DATA BEGIN
    DECLARE v VARCHAR(100); DECLARE c CURSOR FOR SELECT id FROM whoami;
    OPEN c; FETCH c INTO v; RETURN 1;
END //
";

/// Says it all and then one thing more, and reads up to the row of that.
fn finish(raw: &mut Raw, command: &[u8]) {
    raw.say(&[command, &query("SELECT 'the end'")].concat());
    while raw.packet().1 != b"\x07the end" {}
}

/// The packets up to the connection's end.
fn packets(bytes: &[u8]) -> Vec<(u8, &[u8])> {
    let mut rest = bytes;
    let mut packets = Vec::new();
    while let [a, b, c, sequence, behind @ ..] = rest {
        let (payload, next) = behind.split_at(u32::from_le_bytes([*a, *b, *c, 0]) as usize);
        packets.push((*sequence, payload));
        rest = next;
    }
    assert!(rest.is_empty());
    packets
}

async fn every_answer_is_seen_to_its_end(server: &'static Server) {
    let tenant = tenant_of(server, "ends");
    server.sql(&tenant.dbname, PROCEDURES);
    for capabilities in [WITH_EOF, WITHOUT_EOF] {
        let config = Config::for_tenants(std::slice::from_ref(&tenant));
        let bouncer = Bouncer::start(&config.with("shutdown_grace: 15s"));
        let door = bouncer.door(&tenant);
        let mut sessions = Vec::new();
        for command in commands(&tenant.dbname) {
            let mut raw = session(&door, capabilities);
            finish(&mut raw, &command);
            sessions.push((String::from_utf8_lossy(&command).into_owned(), raw));
        }
        for file in [&["1\n", "2\n"][..], &[]] {
            let mut raw = session(&door, capabilities);
            raw.say(&query("CREATE TEMPORARY TABLE t (i int)")).packet();
            raw.say(&query("LOAD DATA LOCAL INFILE 'f' INTO TABLE t"));
            assert_eq!(raw.packet(), (1, b"\xFBf".to_vec()));
            let mut sequence = 2;
            for part in file {
                raw.say(&packet(sequence, part.as_bytes()));
                sequence += 1;
            }
            raw.say(&packet(sequence, b""));
            finish(&mut raw, b"");
            sessions.push((format!("a file of {} packets", file.len()), raw));
        }
        // Nothing behind this one.
        let mut raw = session(&door, capabilities);
        raw.say(&query("CALL scans()"));
        let before_last = if capabilities == WITH_EOF { 5 } else { 4 };
        while raw.packet().0 != before_last {}
        sessions.push(("CALL scans() alone".to_owned(), raw));
        bouncer.tell_to_stop();
        for (command, mut raw) in sessions {
            let rest = raw.rest();
            let packets = packets(&rest);
            let [(_, end)] = packets[..] else {
                panic!("{command:?} ended with {packets:?}");
            };
            assert!(matches!(end[0], 0 | 0xFE), "{command:?}");
        }
        bouncer.ended();
    }
}

async fn an_answer_is_finished_before_a_stop(server: &'static Server) {
    let tenant = tenant_of(server, "late");
    for capabilities in [WITH_EOF, WITHOUT_EOF] {
        let bouncer = Bouncer::start(&Config::for_tenants(std::slice::from_ref(&tenant)));
        let door = bouncer.door(&tenant);
        let (mut idle, mut busy) = (session(&door, capabilities), session(&door, capabilities));
        busy.say(&query("SELECT 1; SELECT SLEEP(100), 'late'"));
        until_asleep(server, &tenant);
        bouncer.tell_to_stop();
        // When this one has ended, the stop is under way.
        assert_eq!(idle.rest(), b"");
        let sleeper = format!(
            "SELECT CONCAT('KILL QUERY ', id) FROM information_schema.processlist WHERE state = 'User sleep' AND db = '{}'",
            tenant.dbname
        );
        let kill = server.sql("", &sleeper);
        server.sql("", &kill);
        let rest = busy.rest();
        let packets = packets(&rest);
        let (_, last) = packets[packets.len() - 1];
        assert!(
            last[0] == 0xFE || Complaint::of_mysql(last).number == 1317,
            "the answer's end: {last:?}"
        );
        bouncer.ended();
    }
}

async fn a_change_of_user_waits_for_the_answers_before_it(server: &'static Server) {
    let tenant = tenant_of(server, "changes");
    let bouncer = Bouncer::start(&Config::for_tenants(std::slice::from_ref(&tenant)));
    let door = bouncer.door(&tenant);
    let mut raw = session(&door, WITH_EOF);
    raw.say(&[query("SELECT SLEEP(0.2), 'slow'"), change_of_user(&door)].concat());
    let slow: Vec<u8> = (0..6).map(|_| raw.packet().0).collect();
    assert_eq!(slow, [1, 2, 3, 4, 5, 6], "the whole of the answer");
    is_changed(&mut raw);
    finish(&mut raw, b"");
    bouncer.tell_to_stop();
    assert_eq!(packets(&raw.rest()).len(), 1, "the end of the answer");
    bouncer.ended();
}

async fn a_change_of_user_at_a_silent_database_has_an_end(server: &'static Server) {
    let middleman = Middleman::before(server.address);
    let mut tenant = tenant_of(server, "silent-change").with("connect_timeout: 4s");
    tenant.address = middleman.address();
    let bouncer = Bouncer::start(&Config::for_tenants(std::slice::from_ref(&tenant)));
    let mut raw = session(&bouncer.door(&tenant), WITH_EOF);
    middleman.hold();
    raw.say(&change_of_user(&bouncer.door(&tenant)));
    assert_eq!(raw.packet().1[0], 0xFE, "an AuthSwitchRequest");
    raw.say(&packet(2, &[7; 20]));
    let (sequence, words) = raw.packet();
    assert_eq!((sequence, words[0]), (3, 0xFF), "{words:?}");
    bouncer.log_line(&[&tenant.id, "no change of user within 4s"]);
    middleman.release();
    bouncer.stop();
}

/// The dialogue behind a COM_CHANGE_USER.
pub fn is_changed(raw: &mut Raw) {
    let (sequence, switch) = raw.packet();
    assert_eq!((sequence, switch[0]), (1, 0xFE), "an AuthSwitchRequest");
    raw.say(&packet(2, &[7; 20]));
    let (sequence, ok) = raw.packet();
    assert_eq!((sequence, ok[0]), (3, 0), "{ok:?}");
}

/// A COM_CHANGE_USER to the same user.
pub fn change_of_user(door: &Door) -> Vec<u8> {
    let change = [
        b"\x11",
        door.user.as_bytes(),
        b"\0\0\0\x2D\0mysql_native_password\0",
    ];
    packet(0, &change.concat())
}

async fn a_broken_backend_is_a_lost_connection(server: &'static Server) {
    let middleman = Middleman::before(server.address);
    let mut tenant = tenant_of(server, "broken").with("min_connections: 0");
    tenant.address = middleman.address();
    let bouncer = Bouncer::start(&Config::for_tenants(std::slice::from_ref(&tenant)));
    let door = bouncer.door(&tenant);
    for capabilities in [WITH_EOF, WITHOUT_EOF] {
        let broken = |mut raw: Raw| {
            middleman.cut();
            assert_eq!(raw.rest(), b"", "as where the database itself is lost");
        };
        let mut idle = session(&door, capabilities);
        finish(&mut idle, b"");
        if capabilities == WITH_EOF {
            idle.packet();
        } else {
            assert_eq!(idle.packet().0, 4);
        }
        broken(idle);

        let mut awaiting = session(&door, capabilities);
        awaiting.say(&query("DO SLEEP(100)"));
        until_asleep(server, &tenant);
        broken(awaiting);

        let mut midway = session(&door, capabilities);
        midway.say(&query("SELECT 1; DO SLEEP(100)"));
        let last = if capabilities == WITH_EOF { 5 } else { 4 };
        while midway.packet().0 != last {}
        broken(midway);

        let mut sending = session(&door, capabilities);
        sending
            .say(&query("CREATE TEMPORARY TABLE t (i int)"))
            .packet();
        sending.say(&query("LOAD DATA LOCAL INFILE 'f' INTO TABLE t"));
        sending.packet();
        sending.say(&packet(2, b"1\n"));
        broken(sending);
    }
    bouncer.stop();
}

fn until_asleep(server: &Server, tenant: &Tenant) {
    let asleep = format!(
        "SELECT COUNT(*) FROM information_schema.processlist WHERE state = 'User sleep' AND db = '{}'",
        tenant.dbname
    );
    eventually("it sleeps", || {
        (server.sql("", &asleep) == "1").then_some(())
    });
}

//! The systemd unit, before systemd's own eyes, and started by it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use testbed::{Kind, Server, Tenant, eventually, free_port, project, tool};

use crate::containers;
use crate::image;
use crate::machine::{self, Machine};
use crate::plan::Plan;

pub fn plan(plan: &mut Plan) {
    let analyzer = || {
        let found = tool("sh").args(["-c", "command -v systemd-analyze"]);
        let here = found.run().ok;
        here.then_some(())
            .ok_or("NO systemd-analyze ON THIS MACHINE".to_owned())
    };
    plan.add(
        analyzer,
        &[("service::is_valid_and_hardened", is_valid_and_hardened)],
    );
    plan.add(
        || image::possible().and_then(|()| machine::possible()),
        &[(
            "service::systemd_starts_reloads_watches_and_stops_it",
            systemd_starts_reloads_watches_and_stops_it,
        )],
    );
}

fn is_valid_and_hardened() {
    let unit = fs::read_to_string(project(UNIT)).unwrap();
    // systemd looks whether the program is there.
    let unit = unit.replace("/usr/bin/dbbouncer", env!("CARGO_BIN_EXE_dbbouncer"));
    let folder = containers::scratch().join("service");
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("dbbouncer.service");
    fs::write(&file, unit).unwrap();
    let said = tool("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(&file)
        .run();
    assert!(said.ok && said.err.is_empty(), "{}", said.err);
    // 0 is no exposure at all, 100 is all of it; 20 is the best that a server on the network can well have.
    let said = tool("systemd-analyze")
        .args(["security", "--offline=true", "--threshold=20", "--no-pager"])
        .arg(&file)
        .run();
    assert!(said.ok, "{}{}", said.out, said.err);
}

fn systemd_starts_reloads_watches_and_stops_it() {
    let server = Server::shared(Kind::Postgres);
    let (one, two) = (Tenant::on(server, "unit"), Tenant::on(server, "unit"));
    let (port, api) = (free_port(), free_port());
    let config = |tenants: &[&Tenant]| {
        let mut text = format!(
            "listen: {{host: 127.0.0.1, postgres_port: {port}, mysql_port: 0, api_port: {api}}}\nruntime: {{shards: 2}}\n\
             limits: {{client_connections: 500}}\nstate_file: /var/lib/dbbouncer/tenants.yaml\ntenants:\n"
        );
        for tenant in tenants {
            text += &format!(
                "  {}: {{db_type: postgres, host: 127.0.0.1, port: {}, dbname: {}, username: {}, password: {}}}\n",
                tenant.id,
                server.address.port(),
                tenant.dbname,
                tenant.username,
                tenant.password
            );
        }
        text
    };
    let machine = Machine::boot("unit", "host");
    fs::copy(
        project(image::PROGRAM),
        machine.root.join("usr/bin/dbbouncer"),
    )
    .unwrap();
    machine.write(
        "/usr/lib/sysusers.d/dbbouncer.conf",
        &file("packaging/systemd/dbbouncer.conf"),
    );
    machine.write("/lib/systemd/system/dbbouncer.service", &file(UNIT));
    machine.write(CONFIG, &config(&[&one]));
    machine.must(&["systemd-sysusers"]);
    machine.must(&["systemctl", "daemon-reload"]);

    // The start is over when clients are served.
    machine.must(&["systemctl", "start", "dbbouncer"]);
    assert_eq!(image::ask(port, &one), one.id);
    assert_eq!(
        machine.property("StatusText"),
        "serving 1 tenants on 2 shards"
    );
    is_confined(&machine);

    // A wrong config is refused with its complaints, and what runs runs on.
    machine.write(CONFIG, &config(&[&one]).replace("db_type", "db_tpye"));
    let said = machine.run(&["systemctl", "reload", "dbbouncer"]);
    assert!(
        !said.ok && machine.journal().contains("db_tpye"),
        "{}",
        said.err
    );
    assert_eq!(machine.property("ActiveState"), "active");
    assert_eq!(image::ask(port, &one), one.id);
    machine.write(CONFIG, &config(&[&one, &two]));
    machine.must(&["systemctl", "reload", "dbbouncer"]);
    machine.becomes("StatusText", "serving 2 tenants on 2 shards");
    assert_eq!(image::ask(port, &two), two.id);
    // It does so when it is told, not only when the file changes.
    let before = loads(api);
    machine.must(&["systemctl", "reload", "dbbouncer"]);
    eventually("it loads the same again", || {
        (loads(api) > before).then_some(())
    });

    // Whoever is in a transaction may finish it.
    let mut client = Busy::at(port, &one);
    machine.must(&["systemctl", "stop", "--no-block", "dbbouncer"]);
    machine.becomes("ActiveState", "deactivating");
    assert_eq!(client.says("SELECT 'still here'"), "still here");
    client.finishes();
    machine.becomes("ActiveState", "inactive");
    let how = [
        machine.property("Result"),
        machine.property("ExecMainStatus"),
    ];
    assert_eq!(how, ["success", "0"]);

    // One that does not answer is started anew.
    let impatient = "[Service]\nWatchdogSec=5\n";
    machine.write(
        "/etc/systemd/system/dbbouncer.service.d/watchdog.conf",
        impatient,
    );
    machine.must(&["systemctl", "daemon-reload"]);
    machine.must(&["systemctl", "start", "dbbouncer"]);
    let (first, stop) = (machine.property("MainPID"), "--signal=STOP");
    machine.must(&["systemctl", "kill", "--kill-whom=main", stop, "dbbouncer"]);
    machine.waits_for(&format!(
        "test \"$(systemctl show --value --property=MainPID dbbouncer)\" != {first}"
    ));
    machine.becomes("ActiveState", "active");
    assert!(machine.journal().contains("Watchdog timeout"));
    assert_eq!(image::ask(port, &two), two.id);
}

/// The kernel's view of what the unit grants.
fn is_confined(machine: &Machine) {
    let pid = machine.property("MainPID");
    let status = machine.must(&["cat", &format!("/proc/{pid}/status")]);
    let user = machine.must(&["id", "-u", "dbbouncer"]);
    for line in [
        format!("Uid:\t{user}\t{user}\t{user}\t{user}"),
        "CapEff:\t0000000000000000".to_owned(),
        "CapBnd:\t0000000000000000".to_owned(),
        "NoNewPrivs:\t1".to_owned(),
        "Seccomp:\t2".to_owned(),
    ] {
        assert!(status.contains(&line), "{line:?} in {status}");
    }
    let mounts = machine.must(&["cat", &format!("/proc/{pid}/mounts")]);
    assert!(mounts.lines().any(|mount| {
        let mut words = mount.split(' ').skip(1);
        words.next() == Some("/")
            && words
                .nth(1)
                .is_some_and(|options| options.starts_with("ro"))
    }));
}

/// How often the config was loaded since the start.
fn loads(api: u16) -> u32 {
    let url = format!("http://127.0.0.1:{api}/metrics");
    let metrics = tool("curl").args(["--fail", "--silent", "--show-error", &url]);
    let metrics = metrics.run().expect_ok();
    let line = "dbbouncer_config_reloads_total ";
    let count = metrics.lines().find_map(|text| text.strip_prefix(line));
    count.map_or(0, |count| count.parse().unwrap())
}

/// A client in the middle of a transaction.
struct Busy {
    psql: Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl Busy {
    fn at(port: u16, tenant: &Tenant) -> Busy {
        let to = format!(
            "host=127.0.0.1 port={port} user=app dbname={} options='-c tenant_id={}'",
            tenant.dbname, tenant.id
        );
        let mut psql = Command::new("psql")
            .args(["-X", "-A", "-t", "-q", &to])
            .env("PGPASSWORD", &tenant.password)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let answers = BufReader::new(psql.stdout.take().unwrap());
        let mut busy = Busy { psql, answers };
        assert_eq!(busy.says("BEGIN; SELECT 'begun'"), "begun");
        busy
    }

    fn says(&mut self, sql: &str) -> String {
        let mut input = self.psql.stdin.as_ref().unwrap();
        writeln!(input, "{sql};").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn finishes(mut self) {
        let mut input = self.psql.stdin.take().unwrap();
        writeln!(input, "COMMIT;").unwrap();
        drop(input);
        self.psql.wait().unwrap();
    }
}

fn file(path: &str) -> String {
    fs::read_to_string(project(path)).unwrap()
}

const UNIT: &str = "packaging/systemd/dbbouncer.service";
const CONFIG: &str = "/etc/dbbouncer/dbbouncer.yaml";

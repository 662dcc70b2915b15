//! Real databases under the tools of their own world: pgbench on PostgreSQL, sysbench on MariaDB.
//!
//! Database and tool share the load's processor, so the proxy is rarely what limits: look at what it
//! costs, and at what it adds to a transaction's time.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use crate::peers::{Database, Kind, Peer, Setup, left_out, start_all};
use crate::report::median;
use crate::table::Table;
use crate::talk::Dialect;
use crate::{Common, Outcome, host};

/// pgbench, TPC-B and select-only, through each peer.
pub fn pgbench(common: &Common) -> Outcome<()> {
    let server = Server::start("postgres")?;
    run(Tool::Pgbench
        .command(&server.admin(), None)
        .args(["-i", "-q", "-s", "10"]))?;
    let loads = [
        ("TPC-B", &["-M", "simple"][..]),
        ("select-only", &["-S", "-M", "simple"]),
        ("select-only, prepared", &["-S", "-M", "prepared"]),
    ];
    let columns = ["tx/s", "latency ms", "CPU µs"];
    let mut table = Table::new("pgbench, 16 clients, PostgreSQL 15", &columns);
    compare(common, Tool::Pgbench, &server, &loads, &mut table);
    table.write(&common.out, "pgbench")
}

/// sysbench's OLTP loads through each peer.
pub fn sysbench(common: &Common) -> Outcome<()> {
    let server = Server::start("mariadb")?;
    let port = server.address.port().to_string();
    run(Command::new("mariadb").args([
        "--no-defaults",
        "--host=127.0.0.1",
        "--user=admin",
        "--password=admin",
        &format!("--port={port}"),
        "--execute=CREATE DATABASE sbtest",
    ]))?;
    run(Tool::Sysbench
        .command(&server.admin(), Some("oltp_read_only"))
        .arg("prepare"))?;
    let loads = [
        ("read-only", &["oltp_read_only"][..]),
        ("read-write", &["oltp_read_write"]),
        ("point selects", &["oltp_point_select"]),
    ];
    let columns = ["tx/s", "latency ms", "CPU µs"];
    let mut table = Table::new("sysbench, 16 clients, MariaDB", &columns);
    compare(common, Tool::Sysbench, &server, &loads, &mut table);
    table.write(&common.out, "sysbench")
}

/// Each load, the peers taking turns; a peer that fails is left out of that load.
fn compare(
    common: &Common,
    tool: Tool,
    server: &Server,
    loads: &[(&str, &[&str])],
    table: &mut Table,
) {
    let setup = server.setup(tool);
    let peers = start_all(common, &setup, |kind| kind != Kind::PgbouncerStable);
    for (load, words) in loads {
        let mut measured: Vec<_> = peers.iter().map(|peer| (peer, Vec::new())).collect();
        let rounds = if common.quick { 1 } else { ROUNDS };
        for _ in 0..rounds {
            measured.retain_mut(|(peer, rounds)| {
                match one_round(common, tool, server, peer, words) {
                    Ok(result) => {
                        rounds.push(result);
                        true
                    }
                    Err(why) => {
                        left_out(peer.kind, &format!("{}, {load}", peer.name), &*why);
                        false
                    }
                }
            });
        }
        for (peer, rounds) in measured {
            let column = |column: usize| {
                median(
                    rounds
                        .iter()
                        .map(|round: &[f64; 3]| round[column])
                        .collect(),
                )
            };
            table.row(
                &format!("{load}: {}", peer.name),
                [0, 1, 2].map(column).to_vec(),
            );
        }
    }
}

fn one_round(
    common: &Common,
    tool: Tool,
    server: &Server,
    peer: &Peer,
    words: &[&str],
) -> Outcome<[f64; 3]> {
    let whom = match peer.kind.greets() {
        true => Whom {
            address: peer.address,
            user: "t0__app".to_owned(),
            password: String::new(),
            database: "t0".to_owned(),
        },
        false => Whom {
            address: peer.address,
            ..server.admin()
        },
    };
    let seconds = if common.quick { 1 } else { 2 };
    let before = peer.pid().map(host::cpu_time);
    let mut command = match tool {
        Tool::Pgbench => {
            let mut command = tool.command(&whom, None);
            command.args(["-n", "-c", "16", "-j", "1", "-T", &seconds.to_string()]);
            command.args(words);
            command
        }
        Tool::Sysbench => {
            let mut command = tool.command(&whom, words.first().copied());
            command.args([&format!("--time={seconds}"), "run"]);
            command
        }
    };
    let said = run(&mut command)?;
    let used = peer.pid().map(host::cpu_time).zip(before);
    let (transactions, per_second, latency) = tool.understand(&said).ok_or("it says no numbers")?;
    let used = used.map_or(f64::NAN, |(after, before)| (after - before).as_secs_f64());
    Ok([per_second, latency, used * 1e6 / transactions])
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tool {
    Pgbench,
    Sysbench,
}

/// Whom a tool speaks to, as whom.
struct Whom {
    address: SocketAddr,
    user: String,
    password: String,
    database: String,
}

impl Tool {
    fn command(self, whom: &Whom, load: Option<&str>) -> Command {
        let (host, port) = (whom.address.ip(), whom.address.port());
        match self {
            Tool::Pgbench => {
                let mut command = Command::new("pgbench");
                command.env("PGPASSWORD", &whom.password).args([
                    format!("--host={host}"),
                    format!("--port={port}"),
                    format!("--username={}", whom.user),
                ]);
                // The last word is the database; options may follow it.
                command.env("PGDATABASE", &whom.database);
                command
            }
            Tool::Sysbench => {
                let mut command = Command::new("sysbench");
                command.args(load).args([
                    format!("--mysql-host={host}"),
                    format!("--mysql-port={port}"),
                    format!("--mysql-user={}", whom.user),
                    format!("--mysql-password={}", whom.password),
                    // A tenant's users name its database as it is there.
                    "--mysql-db=sbtest".to_owned(),
                    "--tables=2".to_owned(),
                    "--table-size=10000".to_owned(),
                    "--threads=16".to_owned(),
                ]);
                command
            }
        }
    }

    /// How many transactions, how many for each second, and how long one took on average, in ms.
    fn understand(self, said: &str) -> Option<(f64, f64, f64)> {
        let number_after = |mark: &str| {
            let rest = said.split_once(mark)?.1;
            let number = rest.trim_start_matches([' ', '(', '\n']);
            let end = number.find(|c: char| !c.is_ascii_digit() && c != '.');
            number[..end.unwrap_or(number.len())].parse::<f64>().ok()
        };
        match self {
            Tool::Pgbench => Some((
                number_after("actually processed: ")?,
                number_after("\ntps = ")?,
                number_after("latency average = ")?,
            )),
            Tool::Sysbench => {
                let transactions = number_after("transactions:")?;
                let rest = said.split_once("transactions:")?.1.split_once('(')?.1;
                let per_second = rest.split_once(' ')?.0.parse().ok()?;
                let latency = said.split_once("avg:")?.1.split_whitespace().next()?;
                Some((transactions, per_second, latency.parse().ok()?))
            }
        }
    }
}

/// A throw-away server, which ends with this value.
struct Server {
    process: Child,
    address: SocketAddr,
    dialect: Dialect,
}

impl Server {
    fn start(kind: &str) -> Outcome<Server> {
        host::stay_on(host::LOAD_CPU);
        let mut process = Command::new("scripts/private-server")
            .args(["run", kind])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        if let Some(output) = process.stdout.take() {
            BufReader::new(output).read_line(&mut line)?;
        }
        let port = line
            .split_once("port=")
            .and_then(|(_, rest)| rest.split(' ').next());
        let port = port.and_then(|port| port.parse().ok());
        let port: u16 = port.ok_or_else(|| format!("{kind} does not start"))?;
        Ok(Server {
            process,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            dialect: match kind {
                "mariadb" => Dialect::Mysql,
                _ => Dialect::Postgres,
            },
        })
    }

    fn admin(&self) -> Whom {
        Whom {
            address: self.address,
            user: "admin".to_owned(),
            password: "admin".to_owned(),
            database: self.database().to_owned(),
        }
    }

    fn database(&self) -> &'static str {
        match self.dialect {
            Dialect::Postgres => "postgres",
            Dialect::Mysql => "sbtest",
        }
    }

    fn setup(&self, tool: Tool) -> Setup {
        Setup {
            database: Database {
                address: self.address,
                user: "admin".to_owned(),
                password: Some("admin".to_owned()),
                name: Some(self.database().to_owned()),
            },
            tenants: 1,
            // As many as clients, so that queueing is no part of it; MySQL is served by the session.
            pool_size: 16,
            by_transaction: tool == Tool::Pgbench,
            ..Setup::of_null_backend(self.dialect, self.address)
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It ends when its input does, and removes its data.
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// What a command printed, if it succeeded.
fn run(command: &mut Command) -> Outcome<String> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let program = command.get_program().to_string_lossy().into_owned();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    let last: Vec<&str> = said.lines().rev().take(4).collect();
    Err(format!("{program}: {}", last.join(" | ")).into())
}

/// Rounds of each load.
const ROUNDS: usize = 3;

//! The program, running with a config of the test's making, and a small HTTP client.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

pub use serde_json::{Value, json};
pub use testbed::{eventually, free_port};

/// The program. Dropped, it is killed; a test that fails shows its log.
pub struct Program {
    child: Child,
    pub folder: PathBuf,
    pub api: u16,
    pub postgres: u16,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// The settings of a tenant whose clients are let in, and wait for a connection: it is to be paused.
pub const WAITING: &str = "db_type: postgres, host: 127.0.0.1, port: 9, dbname: d, username: u, \
    client_auth: trust, on_unhealthy: queue, acquire_timeout: 10m, health_check: {interval: 0}";

impl Program {
    /// Starts with these lines in the config, beside the ports, and waits until the API answers.
    pub fn start(lines: &str) -> Program {
        Program::start_by(&[], lines)
    }

    /// The same, by a command that runs another.
    pub fn start_by(by: &[&str], lines: &str) -> Program {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder =
            std::env::temp_dir().join(format!("dbbouncer-api-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (postgres, api) = (free_port(), free_port());
        let text = text(postgres, api, lines);
        fs::write(folder.join("config.yaml"), text).unwrap();
        let mut program = Program {
            child: launch(by, &folder),
            folder,
            api,
            postgres,
        };
        program.wait_until_it_answers();
        program
    }

    /// The config file.
    pub fn config(&self) -> PathBuf {
        self.folder.join("config.yaml")
    }

    /// A config with these lines, as this program's ports need it.
    pub fn text(&self, lines: &str) -> String {
        text(self.postgres, self.api, lines)
    }

    /// Puts another config in place, in one step: it is looked at at any moment.
    pub fn write(&self, lines: &str) {
        let half = self.folder.join("config.yaml.half");
        fs::write(&half, self.text(lines)).unwrap();
        fs::rename(half, self.config()).unwrap();
    }

    /// Starts it again, with the same files.
    pub fn start_again(&mut self) {
        self.child = launch(&[], &self.folder);
        self.wait_until_it_answers();
    }

    fn wait_until_it_answers(&mut self) {
        eventually("the API answers", || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("it ended with {status} instead:\n{}", self.log());
            }
            TcpStream::connect((Ipv4Addr::LOCALHOST, self.api)).ok()?;
            (self.get("/ready").status == 200).then_some(())
        });
    }

    /// Kills it, as a machine that loses its power would.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it and waits for its end.
    pub fn run_to_its_end(&mut self) -> ExitStatus {
        self.child = launch(&[], &self.folder);
        self.ends()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("sh")
                .args(["-c", &format!("kill -{signal} {pid}")])
                .status()
                .unwrap()
                .success()
        );
    }

    pub fn ends(&mut self) -> ExitStatus {
        eventually("the program ends", || self.child.try_wait().unwrap())
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap()
    }

    /// Waits for these words in its log, which a thread of its own writes.
    #[track_caller]
    pub fn says(&self, words: &str) {
        eventually(&format!("the log says {words:?}"), || {
            self.log().contains(words).then_some(())
        });
    }

    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], "")
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, body)
    }

    pub fn send(&self, method: &str, path: &str, body: &Value) -> Answer {
        self.ask(
            method,
            path,
            &["Content-Type: application/json"],
            &body.to_string(),
        )
    }

    /// One request on a connection of its own.
    pub fn ask(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Answer {
        let mut stream = self.connect();
        let headers: String = headers
            .iter()
            .map(|header| format!("{header}\r\n"))
            .collect();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).unwrap();
        Answer::read(&mut stream)
    }

    /// A client that has said it is this user, by application `worker`, and goes no further.
    pub fn client(&self, user: &str) -> TcpStream {
        let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, self.postgres)).unwrap();
        let who = [("user", user), ("application_name", "worker")];
        client.write_all(&testbed::raw::startup(&who)).unwrap();
        client
    }

    pub fn connect(&self) -> TcpStream {
        TcpStream::connect((Ipv4Addr::LOCALHOST, self.api)).unwrap()
    }
}

impl Answer {
    /// Everything until the connection ends.
    pub fn read(stream: &mut TcpStream) -> Answer {
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text
            .split_once("\r\n\r\n")
            .unwrap_or_else(|| panic!("no answer: {text:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer {
            status,
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn header(&self, name: &str) -> &str {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut found = lines.filter(|(key, _)| key.eq_ignore_ascii_case(name));
        found
            .next()
            .unwrap_or_else(|| panic!("no {name} in {self:?}"))
            .1
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the program's log ---\n{}---", self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn text(postgres: u16, api: u16, lines: &str) -> String {
    format!(
        "listen: {{host: 127.0.0.1, postgres_port: {postgres}, mysql_port: 0, api_port: {api}}}\nruntime: {{shards: 2}}\n{lines}\n"
    )
}

fn launch(by: &[&str], folder: &std::path::Path) -> Child {
    let log = File::options()
        .create(true)
        .append(true)
        .open(folder.join("log"))
        .unwrap();
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL"])
        .args(by)
        .arg(env!("CARGO_BIN_EXE_dbbouncer"));
    command.arg("--config").arg(folder.join("config.yaml"));
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    command.spawn().expect("setpriv (util-linux) is there")
}

/// What another server on this machine answers.
pub fn get_from(port: u16, path: &str) -> Answer {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    Answer::read(&mut stream)
}

/// A tenant whose database nobody will ever reach.
pub fn tenant(id: &str) -> Value {
    json!({"id": id, "db_type": "postgres", "host": "127.0.0.1", "port": 1, "dbname": "d", "username": "u",
           "password": "s3cret-of-the-tenant", "min_connections": 0})
}

/// The same in a config file.
pub const ONE_TENANT: &str = "tenants:\n  one: {db_type: postgres, host: 127.0.0.1, port: 1, dbname: d, username: u, password: p, min_connections: 0}";

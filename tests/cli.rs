//! The program as its user meets it: arguments in, words and an exit status out.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use testbed::free_port;

const PROGRAM: &str = env!("CARGO_BIN_EXE_dbbouncer");

/// The program, knowing nothing of the environment that the tests run in.
fn dbbouncer(arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .args(arguments)
        .env_remove("RUST_LOG")
        .env_remove("DBBOUNCER_CONFIG");
    command
}

/// Runs a command to its end: its status, and what it said on standard output and error.
fn run(mut command: Command) -> (i32, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

/// A file of this test's own with this text.
fn file(name: &str, text: &str) -> String {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, text).unwrap();
    path.into_os_string().into_string().unwrap()
}

/// A config that listens on these ports and has no tenants.
fn config(name: &str, postgres: u16, mysql: u16) -> String {
    let ports = format!("postgres_port: {postgres}, mysql_port: {mysql}, api_port: 0");
    let small = "runtime: {shards: 1}\nlimits: {client_connections: 10}";
    file(
        name,
        &format!("listen: {{host: 127.0.0.1, {ports}}}\n{small}\n"),
    )
}

#[test]
fn it_says_its_version() {
    let (status, out, _) = run(dbbouncer(&["--version"]));
    assert_eq!(
        (status, out.as_str()),
        (0, concat!("dbbouncer ", env!("CARGO_PKG_VERSION"), "\n"))
    );
}

#[test]
fn wrong_usage_ends_with_2() {
    let (status, _, error) = run(dbbouncer(&[]));
    assert!(status == 2 && error.contains("--config FILE"), "{error}");
    let (status, _, error) = run(dbbouncer(&["--confog", "x"]));
    assert!(status == 2 && error.contains("--config"), "{error}");
}

#[test]
fn a_good_config_is_called_good() {
    for arguments in [
        ["check", "--config", "configs/dbbouncer.yaml"],
        ["check", "-config", "configs/dbbouncer.yaml"],
        ["-c", "configs/minimal.yaml", "check"],
    ] {
        let (status, out, error) = run(dbbouncer(&arguments));
        assert!(
            status == 0 && out.contains("good; tenants: 1"),
            "{arguments:?}: {out}{error}"
        );
    }
    let mut command = dbbouncer(&["check"]);
    command.env("DBBOUNCER_CONFIG", "configs/minimal.yaml");
    assert_eq!(run(command).0, 0);
}

#[test]
fn a_bad_config_ends_with_78_and_all_complaints() {
    let path = file(
        "bad.yaml",
        "listen: {postgres_port: x}\nshutdown_grace: 5\ntenants: {a__b: {}}\n",
    );
    for arguments in [vec!["check", "--config", &path], vec!["--config", &path]] {
        let (status, out, error) = run(dbbouncer(&arguments));
        assert_eq!((status, out.as_str()), (78, ""));
        for key in [
            "  listen.postgres_port: ",
            "  shutdown_grace: ",
            "  tenants.a__b: ",
        ] {
            assert!(error.contains(key), "{key} in {error}");
        }
    }
}

#[test]
fn a_config_that_cannot_be_read_ends_with_78() {
    let (status, _, error) = run(dbbouncer(&["--config", "no/such.yaml"]));
    assert!(
        status == 78 && error.contains("cannot read no/such.yaml"),
        "{error}"
    );
    let path = file("broken.yaml", "a: [1\nb: 2\n");
    let (status, _, error) = run(dbbouncer(&["--config", &path]));
    assert!(
        status == 78 && error.contains("is not YAML") && error.contains("line"),
        "{error}"
    );
}

#[test]
fn this_machine_is_good() {
    let (status, out, error) = run(dbbouncer(&["check", "--system"]));
    assert!(status == 0 && out == "this machine: good\n", "{out}{error}");
}

#[test]
fn a_soft_limit_is_raised_to_the_hard_one() {
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "ulimit -S -l 64 && ulimit -S -n 70 && exec \"$0\" check --system",
        PROGRAM,
    ]);
    let (status, _, error) = run(command);
    assert_eq!((status, error.as_str()), (0, ""));
}

/// With too little memory to lock, the executor's library panics, unless it is said before.
#[test]
fn too_little_memory_to_lock_ends_with_71() {
    let path = config("memlock.yaml", free_port(), 0);
    for arguments in [vec!["check", "--system"], vec!["--config", &path]] {
        let mut command = Command::new("sh");
        command
            .args(["-c", "ulimit -l 64 && exec \"$0\" \"$@\"", PROGRAM])
            .args(&arguments);
        let (status, _, error) = run(command);
        assert_eq!(status, 71, "{error}");
        assert!(
            error.contains("cannot run on this machine:\n  The limit on locked memory is 64 KiB"),
            "{error}"
        );
        assert!(!error.contains("panicked"), "{error}");
    }
}

/// What a container runtime's default profile does: the three calls of io_uring answer EPERM.
#[test]
fn a_seccomp_filter_ends_with_71_and_says_what_to_allow() {
    const UNDER_A_FILTER: &str = r#"
import ctypes, os, struct, sys
LOAD, EQUAL, RETURN, ALLOW, EPERM = 0x20, 0x15, 0x06, 0x7fff0000, 0x00050001
steps = [(LOAD, 0, 0, 0)]
for call in (425, 426, 427):
    steps += [(EQUAL, 0, 1, call), (RETURN, 0, 0, EPERM)]
steps += [(RETURN, 0, 0, ALLOW)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
program = struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, program, 0, 0) == 0, os.strerror(ctypes.get_errno())
os.execv(sys.argv[1], sys.argv[1:])
"#;
    let mut command = Command::new("python3");
    command.args(["-c", UNDER_A_FILTER, PROGRAM, "check", "--system"]);
    let (status, _, error) = run(command);
    assert_eq!(status, 71, "{error}");
    assert!(
        error.contains("seccompProfile") && error.contains("io_uring_setup"),
        "{error}"
    );
}

#[test]
fn a_port_that_is_taken_ends_with_1() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let path = config("taken.yaml", address.port(), 0);
    let (status, _, error) = run(dbbouncer(&["--config", &path]));
    let address = address.to_string();
    assert!(status == 1 && error.contains(&address), "{error}");
}

#[test]
fn it_serves_until_it_is_told_to_stop() {
    for signal in [Signal::TERM, Signal::INT] {
        let (postgres, mysql) = (free_port(), free_port());
        let path = config("serve.yaml", postgres, mysql);
        let mut running = Running(
            dbbouncer(&["-config", &path])
                .stderr(Stdio::piped())
                .spawn()
                .unwrap(),
        );
        let mut log = BufReader::new(running.0.stderr.take().unwrap())
            .lines()
            .map(Result::unwrap);
        log.by_ref()
            .find(|line| line.contains("INFO  ready"))
            .expect("it starts");
        for port in [postgres, mysql] {
            TcpStream::connect(("127.0.0.1", port)).unwrap();
        }
        testbed::eventually(
            "it sleeps between one look at its shards and the next",
            || (naps(&running.0) > 2).then_some(()),
        );
        kill_process(Pid::from_child(&running.0), signal).unwrap();
        let rest: Vec<String> = log.collect();
        assert_eq!(running.0.wait().unwrap().code(), Some(0), "{rest:?}");
        assert!(rest.last().unwrap().ends_with("INFO  stopped"), "{rest:?}");
    }
}

/// How often the program's first thread has gone to sleep.
fn naps(program: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", program.id())).unwrap();
    let count = |line: &str| {
        line.strip_prefix("voluntary_ctxt_switches:")?
            .trim()
            .parse()
            .ok()
    };
    status.lines().find_map(count).unwrap()
}

#[test]
fn shells_understand_the_completions() {
    for (shell, word) in [
        ("bash", "healthcheck"),
        ("zsh", "healthcheck"),
        ("fish", "healthcheck"),
    ] {
        let (status, out, error) = run(dbbouncer(&["completions", shell]));
        assert!(status == 0 && out.contains(word), "{shell}: {error}");
        if shell == "bash" {
            let path = file("completions.bash", &out);
            let mut check = Command::new("bash");
            check.args(["-n", &path]);
            assert_eq!(run(check).0, 0);
        }
    }
    assert_eq!(run(dbbouncer(&["completions", "cmd"])).0, 2);
}

#[test]
fn there_is_a_manual_page_for_it_and_each_subcommand() {
    let (status, out, _) = run(dbbouncer(&["man"]));
    assert!(status == 0 && out.contains(".TH dbbouncer 1"), "{out}");
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("man");
    std::fs::create_dir_all(&folder).unwrap();
    let (status, _, error) = run(dbbouncer(&["man", "--dir", folder.to_str().unwrap()]));
    assert_eq!((status, error.as_str()), (0, ""));
    for page in ["dbbouncer.1", "dbbouncer-top.1", "dbbouncer-check.1"] {
        assert!(folder.join(page).exists(), "{page}");
    }
}

/// What a PgBouncer's config becomes stands beside it in `tests/import`; `UPDATE=1` writes it anew.
#[test]
fn a_pgbouncer_is_imported() {
    // The certificates that one of them names.
    let authority = testbed::Authority::new();
    authority.certify("server", "server", &["localhost"]);
    authority.certify("client", "client", &[]);
    let pki = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("pki");
    std::fs::create_dir_all(&pki).unwrap();
    for name in [
        "ca.crt",
        "server.crt",
        "server.key",
        "client.crt",
        "client.key",
    ] {
        std::fs::copy(authority.path(name), pki.join(name)).unwrap();
    }
    for name in ["forced-users", "own-users", "looked-up", "tls-and-hba"] {
        let folder = PathBuf::from("tests/import").join(name);
        let beside = |name: &str| folder.join(name).into_os_string().into_string().unwrap();
        let (status, yaml, remarks) = run(dbbouncer(&["import", &beside("pgbouncer.ini")]));
        assert_eq!(status, 0, "{remarks}");
        let (said_yaml, said_remarks) = (beside("dbbouncer.yaml"), beside("remarks.txt"));
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&said_yaml, &yaml).unwrap();
            std::fs::write(&said_remarks, &remarks).unwrap();
        }
        assert_eq!(yaml, std::fs::read_to_string(said_yaml).unwrap());
        assert_eq!(remarks, std::fs::read_to_string(said_remarks).unwrap());
        // What came of it can be run as it is.
        let config = file(&format!("{name}.yaml"), &yaml);
        let (status, out, error) = run(dbbouncer(&["check", "-c", &config]));
        assert!(status == 0 && out.contains("good"), "{out}{error}");
    }
    let broken = file("broken.ini", "[databases]\nno equals sign\n");
    let (status, out, error) = run(dbbouncer(&["import", &broken]));
    assert_eq!((status, out.as_str()), (1, ""));
    assert!(error.contains("line 2"), "{error}");
}

#[test]
fn the_example_config_is_one() {
    let (status, out, _) = run(dbbouncer(&["config", "example"]));
    assert_eq!(status, 0);
    let path = file("example.yaml", &out);
    assert_eq!(run(dbbouncer(&["check", "-c", &path])).0, 0);
    let (status, out, _) = run(dbbouncer(&["config", "reference"]));
    assert!(
        status == 0 && out.contains("| `acquire_timeout` | `10s` | a time from 10ms to "),
        "{out}"
    );
}

/// A child that does not outlive its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

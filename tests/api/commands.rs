//! The subcommands that ask a running program: `top` and `healthcheck`.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Output};

use testbed::python;

use crate::plan::tests;
use crate::program::{ONE_TENANT, Program, WAITING, eventually, json};

tests! {
    top_prints_a_report,
    top_lives_in_a_terminal needs Tmux,
    top_shows_sessions_and_ends_one needs Tmux,
    top_ends_with_its_terminal needs Tmux,
    a_healthcheck_answers_by_its_exit_status,
    the_schema_for_editors_takes_good_configs_and_no_others needs Schemathesis,
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_dbbouncer");

/// Runs a subcommand to its end, with this key in its environment.
fn dbbouncer(arguments: &[&str], key: &str) -> (i32, String, String) {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).env_remove("DBBOUNCER_CONFIG");
    command.env("DBBOUNCER_API_KEY", key);
    // A proxy for the far is none for our own API.
    command.env("http_proxy", "http://127.0.0.1:9");
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

fn top_prints_a_report() {
    let program = Program::start(&format!("api_key: right\n{ONE_TENANT}"));
    let url = format!("http://127.0.0.1:{}", program.api);
    let report = ["top", "--url", &url, "--once", "--interval", "50ms"];
    let (status, out, error) = dbbouncer(&report, "right");
    assert_eq!((status, error.as_str()), (0, ""));
    let lines: Vec<_> = out.lines().collect();
    assert!(
        lines[0].starts_with("DBBouncer ") && lines[0].contains(&url),
        "{out}"
    );
    assert!(lines[1].starts_with("tenants 1  clients 0 "), "{out}");
    let words: Vec<_> = lines[lines.len() - 1].split_whitespace().collect();
    assert_eq!(words[..4], ["one", "postgres", "active", "healthy"]);
    // No query has been made in that time, which is known.
    assert!(words.contains(&"0.0"), "{out}");

    let (status, out, error) = dbbouncer(&report, "wrong");
    assert_eq!((status, out.as_str()), (1, ""));
    assert!(error.contains("DBBOUNCER_API_KEY"), "{error}");
    let config = program.config().display().to_string();
    let by_config = [
        "top",
        "--config",
        &config,
        "--once",
        "--interval",
        "50ms",
        "--filter",
        "nobody",
    ];
    let (status, out, _) = dbbouncer(&by_config, "");
    assert!(status == 0 && !out.contains("one"), "{out}");
    let (status, _, error) = dbbouncer(&["top", "--url", &url], "right");
    assert!(status == 1 && error.contains("--once"), "{error}");
}

/// A terminal of its own, in which a shell runs one command and stays. Ends when dropped.
struct Terminal {
    socket: String,
}

impl Terminal {
    fn run(name: &str, command: &str) -> Terminal {
        let terminal = Terminal {
            socket: format!("dbbouncer-test-{name}-{}", std::process::id()),
        };
        // Whatever becomes of this test, it is over then.
        let command = format!("sh -c '{command}; echo ended with $?; sleep 60'");
        terminal.tmux(&["new-session", "-d", "-x", "130", "-y", "20", &command]);
        terminal
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let said = testbed::tool("tmux")
            .args(["-L", &self.socket, "-f", "/dev/null"])
            .args(arguments);
        said.run().expect_ok()
    }

    /// Waits until the screen is as it should be, and answers it.
    fn shows(&self, what: &str, holds: impl Fn(&str) -> bool) -> String {
        let mut screen = String::new();
        eventually(what, || {
            screen = self.tmux(&["capture-pane", "-p"]);
            holds(&screen).then_some(())
        });
        screen
    }

    fn types(&self, keys: &[&str]) {
        let arguments: Vec<_> = ["send-keys"].iter().chain(keys).copied().collect();
        self.tmux(&arguments);
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = testbed::tool("tmux")
            .args(["-L", &self.socket, "kill-server"])
            .run();
    }
}

fn top_lives_in_a_terminal() {
    let tenant =
        "{db_type: postgres, host: 127.0.0.1, port: 9, dbname: d, username: u, password: p}";
    let program = Program::start(&format!(
        "defaults: {{health_check: {{interval: 100ms, failure_threshold: 1}}}}\ntenants: {{acme: {tenant}, zulu: {tenant}}}"
    ));
    let url = format!("http://127.0.0.1:{}", program.api);
    let top = format!("{PROGRAM} top --url {url} --interval 100ms");
    let terminal = Terminal::run("tenants", &top);
    let place = |screen: &str, word: &str| screen.find(word).unwrap_or(usize::MAX);
    terminal.shows("both tenants, unhealthy, and why", |screen| {
        place(screen, "acme") < place(screen, "zulu")
            && screen.contains("unhealthy 2")
            && screen.contains("acme: Connection refused")
    });
    // By name, from the end.
    terminal.types(&["<", "<", "<", "<", "<", "<", "<", "r"]);
    terminal.shows("the other order", |screen| {
        screen.contains("TENANT v") && place(screen, "zulu") < place(screen, "acme")
    });
    terminal.types(&["/", "a", "c", "m", "Enter"]);
    terminal.shows("the filter", |screen| {
        screen.contains("1 of 2 tenants") && !screen.contains("zulu")
    });
    // It goes on while it is shown.
    let mut gone = program;
    gone.kill();
    terminal.shows("that nobody answers", |screen| {
        screen.contains("no answer from")
    });
    gone.start_again();
    terminal.shows("that it is back", |screen| screen.contains("filter: acm"));
    terminal.types(&["q"]);
    let left = terminal.shows("its end", |screen| screen.contains("ended with 0"));
    assert!(
        !left.contains("acme"),
        "the screen is as it was before:\n{left}"
    );
    assert_eq!(terminal.tmux(&["display", "-p", "#{alternate_on}"]), "0");
}

fn top_shows_sessions_and_ends_one() {
    let program = Program::start(&format!("tenants: {{acme: {{{WAITING}}}}}"));
    assert_eq!(program.post("/tenants/acme/pause", &json!({})).status, 202);
    let [ann, _bob] = ["acme__ann", "acme__bob"].map(|user| program.client(user));
    let url = format!("http://127.0.0.1:{}", program.api);
    let top = format!("{PROGRAM} top --url {url} --interval 100ms");
    let terminal = Terminal::run("sessions", &top);
    terminal.shows("the tenant", |screen| screen.contains("1 of 1 tenants"));
    terminal.types(&["Enter"]);
    let line = |screen: &str, user: &str| {
        let found = screen.lines().find(|line| line.contains(user));
        found.unwrap_or_default().to_owned()
    };
    terminal.shows("both sessions", |screen| {
        screen.contains("sessions of acme") && screen.contains("2 of 2 sessions") && {
            let (ann, bob) = (line(screen, " ann "), line(screen, " bob "));
            [ann, bob]
                .iter()
                .all(|line| line.contains("waiting") && line.contains("worker"))
        }
    });
    terminal.types(&["/", "a", "n", "n", "Enter"]);
    terminal.shows("the filter", |screen| screen.contains("1 of 2 sessions"));
    terminal.types(&["K"]);
    terminal.shows("the question", |screen| {
        screen.contains("of ann from 127.0.0.1:") && screen.contains("y ends it")
    });
    terminal.types(&["n"]);
    terminal.shows("that it lives", |screen| screen.contains("1 of 2 sessions"));
    terminal.types(&["K", "y"]);
    terminal.shows("its end", |screen| {
        screen.contains("of ann has been told to end") && line(screen, "worker").is_empty()
    });
    let mut rest = Vec::new();
    (&ann).read_to_end(&mut rest).unwrap();
    assert!(rest.windows(5).any(|word| word == b"57P01"), "{rest:?}");
    // Once to be rid of the filter, once more to the tenants.
    terminal.types(&["Escape"]);
    terminal.shows("the other", |screen| screen.contains("1 of 1 sessions"));
    terminal.types(&["Escape"]);
    terminal.shows("the tenants", |screen| screen.contains("1 of 1 tenants"));

    let report = ["top", "--url", &url, "--once", "--interval", "50ms"];
    let of = |tenant| dbbouncer(&[&report[..], &["--tenant", tenant]].concat(), "");
    let (status, out, error) = of("acme");
    assert_eq!((status, error.as_str()), (0, ""));
    assert!(line(&out, " bob ").contains("waiting"), "{out}");
    let (status, _, error) = of("nobody");
    assert!(status == 1 && error.contains("no such tenant"), "{error}");
    terminal.types(&["q"]);
    terminal.shows("its end", |screen| screen.contains("ended with 0"));
}

fn top_ends_with_its_terminal() {
    let program = Program::start(ONE_TENANT);
    let url = format!("http://127.0.0.1:{}", program.api);
    // As below nohup: no signal tells it.
    let top = format!("trap \"\" HUP; exec {PROGRAM} top --url {url} --interval 100ms");
    let terminal = Terminal::run("gone", &top);
    terminal.shows("the tenant", |screen| screen.contains("1 of 1 tenants"));
    let pid = terminal.tmux(&["display", "-p", "#{pane_pid}"]);
    let program = format!("/proc/{}/exe", pid.trim());
    let runs = || fs::read_link(&program).is_ok_and(|program| program == Path::new(PROGRAM));
    assert!(runs(), "the terminal runs nothing else");
    drop(terminal);
    eventually("its end", || (!runs()).then_some(()));
}

fn a_healthcheck_answers_by_its_exit_status() {
    let mut program = Program::start(&format!("api_key: secret\n{ONE_TENANT}"));
    let url = format!("http://127.0.0.1:{}", program.api);
    let config = program.config().display().to_string();
    for arguments in [
        vec!["healthcheck", "--url", &url],
        vec!["healthcheck", "--url", &url, "--ready"],
        vec!["healthcheck", "--config", &config],
    ] {
        assert_eq!(dbbouncer(&arguments, "").0, 0, "{arguments:?}");
    }
    // Where there are probes and no API.
    let probes = program.folder.join("probes.yaml");
    let text = format!("listen: {{api_port: 0, metrics_port: {}}}", program.api);
    std::fs::write(&probes, text).unwrap();
    let probes = probes.display().to_string();
    assert_eq!(dbbouncer(&["healthcheck", "-c", &probes], "").0, 0);
    let (status, _, error) = dbbouncer(&["top", "--once", "-c", &probes], "");
    assert!(status == 1 && error.contains("no API"), "{error}");
    // A file that is wrong by now does not make the process unwell.
    program.write("tenants: nonsense");
    assert_eq!(dbbouncer(&["healthcheck", "-c", &config], "").0, 0);
    program.kill();
    let (status, _, error) = dbbouncer(&["healthcheck", "--url", &url], "");
    assert!(status == 1 && error.contains("no answer"), "{error}");
    let (status, _, error) = dbbouncer(&["healthcheck", "--url", "localhost:8080"], "");
    assert!(
        status == 1 && error.contains("such as http://127.0.0.1:8080"),
        "{error}"
    );
}

/// By a validator that is not ours.
fn the_schema_for_editors_takes_good_configs_and_no_others() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let written = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let schema = written(
        "config.schema.json",
        &dbbouncer(&["config", "schema"], "").1,
    );
    let good = [
        "configs/dbbouncer.yaml",
        "configs/minimal.yaml",
        "tests/import/own-users/dbbouncer.yaml",
        "tests/import/tls-and-hba/dbbouncer.yaml",
        // As the chart writes them.
        "tests/packaging/golden/plain.yaml",
        "tests/packaging/golden/full.yaml",
    ];
    let bad = [
        "acquire_timout: 5s",
        "defaults: {acquire_timeout: 5}",
        "defaults: {acquire_timeout: soon}",
        "defaults: {max_connections: 0}",
        "defaults: {pool_mode: statement}",
        "listen: {api_port: 70000}",
        "metrics_auth: perhaps",
        "tenants: {a__b: {db_type: postgres, host: h, dbname: d, username: u}}",
        "tenants: {a: {db_type: postgres, host: h, dbname: d}}",
        "tenants: {a: {db_type: postgres, host: h, dbname: d, username: u, users: {bob: {pasword: p}}}}",
        "tenants: {a: {db_type: postgres, host: h, dbname: d, username: u, allowed_addresses: {a: b}}}",
    ];
    let bad = bad
        .iter()
        .enumerate()
        .map(|(number, text)| written(&format!("bad-{number}.yaml"), text));
    let validator = python("config_schema.py").expect("it is needed");
    validator
        .arg(schema)
        .args(good.map(|path| project.join(path)))
        .arg("--")
        .args(bad)
        .run()
        .expect_ok();
}

//! Other people's programs: psql, mariadb, pg_dump, and the Python drivers' scripts. They run with a time limit, and
//! with none of the settings a developer may have at home.

use std::ffi::OsStr;
use std::io::Write;
use std::process::{Command, Stdio};

use crate::project;

/// A program of this name, found on the path.
#[must_use]
pub fn tool(name: &str) -> Tool {
    tool_within(LIMIT_SECONDS, name)
}

/// One that may take longer, or must not take so long.
#[must_use]
pub fn tool_within(seconds: u32, name: &str) -> Tool {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", &seconds.to_string(), name]);
    command
        .env("PGCONNECT_TIMEOUT", "20")
        .env("PSQLRC", "/dev/null")
        .env("LC_ALL", "C.UTF-8");
    for variable in [
        "PGHOST",
        "PGPORT",
        "PGUSER",
        "PGDATABASE",
        "PGOPTIONS",
        "PGPASSFILE",
        "PGSERVICE",
        "PGSSLMODE",
    ] {
        command.env_remove(variable);
    }
    Tool { command }
}

/// MySQL's own client, which lies in one tree with its server; none if this machine has none.
#[must_use]
pub fn mysql_client() -> Option<Tool> {
    let tree = cache()?.join("mysql-sid");
    let here = tree.join("usr/bin/mysql").exists();
    here.then(|| tool("chroot").arg(tree).args(["mysql", "--no-defaults"]))
}

/// A script of `tests/drivers`, run by the Python that has the drivers; none if this machine has none.
#[must_use]
pub fn python(script: &str) -> Option<Tool> {
    python_within(LIMIT_SECONDS, script)
}

/// One that may take longer.
#[must_use]
pub fn python_within(seconds: u32, script: &str) -> Option<Tool> {
    let python = cache()?.join("venv/bin/python");
    let script = project("tests/drivers").join(script);
    python
        .exists()
        .then(|| tool_within(seconds, &python.to_string_lossy()).arg(script))
}

/// A script of `tests/drivers` that drives a browser; none if this machine has no browser or not the library for it.
#[must_use]
pub fn browser(script: &str) -> Option<Tool> {
    let node = cache()?.join("node");
    let chromium = std::path::Path::new("/usr/bin/chromium");
    let is_here = node.join("node_modules/playwright-core").exists() && chromium.exists();
    is_here.then(|| {
        tool("node")
            .env("DBBOUNCER_NODE", &node.to_string_lossy())
            .env("DBBOUNCER_CHROMIUM", &chromium.to_string_lossy())
            .arg(project("tests/drivers").join(script))
    })
}

/// A program of the unpacked Prometheus; none if this machine has none.
#[must_use]
pub fn prometheus(program: &str) -> Option<Tool> {
    let path = cache()?.join("prometheus/usr/bin").join(program);
    path.exists().then(|| tool(&path.to_string_lossy()))
}

/// Where `scripts/install-test-deps` puts what is not installed.
#[must_use]
pub fn cache() -> Option<std::path::PathBuf> {
    let named = std::env::var("DBBOUNCER_CACHE");
    let cache =
        named.or_else(|_| std::env::var("HOME").map(|home| format!("{home}/.cache/dbbouncer")));
    cache.ok().map(std::path::PathBuf::from)
}

/// A program about to be run.
#[derive(Debug)]
pub struct Tool {
    command: Command,
}

impl Tool {
    /// One more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Tool {
        self.command.arg(arg);
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Tool {
        self.command.args(args);
        self
    }

    /// A variable of its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Tool {
        self.command.env(name, value);
        self
    }

    /// It begins in this folder.
    #[must_use]
    pub fn in_folder(mut self, folder: &std::path::Path) -> Tool {
        self.command.current_dir(folder);
        self
    }

    /// Runs it to its end with this input.
    ///
    /// # Panics
    /// If there is no such program.
    pub fn fed(mut self, input: &str) -> Said {
        let mut child = self
            .command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{:?}: {error}", self.command));
        let mut stdin = child
            .stdin
            .take()
            .expect("stdin is a pipe, as asked for above");
        let input = input.to_owned();
        // A thread, since a program that writes before it has read everything would block us both. One that ends
        // without reading its input is no error of ours.
        let writer = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
        let output = child.wait_with_output().expect("a child can be waited for");
        writer.join().expect("writing does not panic");
        Said {
            ok: output.status.success(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Runs it to its end without input.
    pub fn run(self) -> Said {
        self.fed("")
    }
}

/// What a program left behind.
#[derive(Debug)]
pub struct Said {
    /// Whether it ended with status 0.
    pub ok: bool,
    /// What it wrote to its output.
    pub out: String,
    /// What it complained about.
    pub err: String,
}

impl Said {
    /// Its output, less the last line's end.
    ///
    /// # Panics
    /// If it did not end well; the message holds its complaint.
    #[track_caller]
    pub fn expect_ok(self) -> String {
        assert!(self.ok, "{}\n{}", self.err, self.out);
        self.out.trim_end_matches('\n').to_owned()
    }
}

const LIMIT_SECONDS: u32 = 240;

//! A machine that systemd has started: a small Debian in a container.

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use testbed::{Said, project, tool};

use crate::containers::{self, STAND_IN, containers};

/// A running machine. Off when dropped.
pub struct Machine {
    name: String,
    /// Its file system, as seen from here.
    pub root: PathBuf,
}

/// Whether such machines can be had here; looked once.
pub fn possible() -> Result<(), String> {
    static POSSIBLE: OnceLock<Result<(), String>> = OnceLock::new();
    POSSIBLE.get_or_init(look).clone()
}

fn look() -> Result<(), String> {
    let debian = ["systemctl", "dpkg-query", "apt-cache"];
    let all = debian.iter().all(|program| {
        let found = tool("sh").args(["-c", &format!("command -v {program}")]);
        found.run().ok
    });
    if !all {
        return Err("THIS IS NO DEBIAN WITH systemd".to_owned());
    }
    containers::possible()?;
    // systemd keeps its services in control groups of its own making.
    let writable = "test -w /sys/fs/cgroup/systemd || test -w /sys/fs/cgroup/cgroup.procs";
    let said = containers()
        .podman(&["run", "--rm", "--network=none", "--ulimit=host"])
        .args(AS_A_MACHINE)
        .args([STAND_IN, "sh", "-c", writable])
        .run();
    if said.ok {
        Ok(())
    } else {
        Err(format!(
            "NO CONTROL GROUPS FOR A systemd IN A CONTAINER HERE ({})",
            said.err.trim()
        ))
    }
}

/// systemd makes control groups, name spaces and filters of its own for its services.
const AS_A_MACHINE: &[&str] = &[
    "--systemd=always",
    "--cap-add=SYS_ADMIN",
    "--security-opt=seccomp=unconfined",
];

impl Machine {
    /// Starts one. `network` is podman's word for what it shares with us.
    pub fn boot(name: &str, network: &str) -> Machine {
        let root = containers().folder.join(name);
        tool(&project("scripts/debian-root").to_string_lossy())
            .arg(&root)
            .run()
            .expect_ok();
        let machine = Machine {
            name: name.to_owned(),
            root,
        };
        let options = [format!("--name={name}"), format!("--network={network}")];
        containers()
            .podman(&["run", "--detach", "--timeout=300", "--ulimit=host"])
            .args(&options)
            .args(AS_A_MACHINE)
            .arg("--rootfs")
            .arg(&machine.root)
            .args(["/lib/systemd/systemd", "--unit=multi-user.target"])
            .run()
            .expect_ok();
        machine.waits_for("systemctl is-system-running --wait");
        machine
    }

    /// Runs a command on it.
    pub fn run(&self, command: &[&str]) -> Said {
        containers()
            .podman(&["exec", &self.name])
            .args(command)
            .run()
    }

    /// Runs a command on it that must succeed: what it says.
    pub fn must(&self, command: &[&str]) -> String {
        self.run(command).expect_ok()
    }

    /// What systemd knows of our service.
    pub fn property(&self, name: &str) -> String {
        let property = format!("--property={name}");
        let said = self.must(&["systemctl", "show", "--value", &property, "dbbouncer"]);
        said.trim().to_owned()
    }

    /// Waits until systemd says so of our service.
    pub fn becomes(&self, property: &str, value: &str) {
        self.waits_for(&format!(
            "test \"$(systemctl show --value --property={property} dbbouncer)\" = '{value}'"
        ));
    }

    /// Waits until a line of shell succeeds. It is tried again over there, which is cheaper than coming anew.
    pub fn waits_for(&self, line: &str) {
        let patience = testbed::PATIENCE.as_secs().to_string();
        let trying = format!("until {line}; do sleep 0.05; done");
        let said = self.run(&["timeout", &patience, "sh", "-c", &trying]);
        assert!(said.ok, "not within {patience} s: {line}\n{}", said.err);
    }

    /// A file of its file system, written.
    pub fn write(&self, path: &str, text: &str) {
        let file = self.root.join(path.trim_start_matches('/'));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    /// What the service's log says.
    pub fn journal(&self) -> String {
        let said = self.run(&["journalctl", "--no-pager", "--unit=dbbouncer"]);
        said.out
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the service's log ---\n{}---", self.journal());
        }
        containers()
            .podman(&["rm", "--force", "--time=0", &self.name])
            .run();
    }
}

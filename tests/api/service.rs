//! What the service manager is told: the datagrams that systemd would get.

use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use crate::plan::tests;
use crate::program::{ONE_TENANT, Program};

tests! {
    a_service_manager_hears_each_step_of_its_life,
    a_heartbeat_goes_on_while_the_shards_answer,
}

/// The socket that `NOTIFY_SOCKET` names.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    fn new(name: &str) -> Manager {
        let name = format!("dbbouncer-notify-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(testbed::PATIENCE)).unwrap();
        Manager { socket, path }
    }

    /// Starts a program that reports here, with one more variable in its environment.
    fn start(&self, variable: &str) -> Program {
        let socket = format!("NOTIFY_SOCKET={}", self.path.display());
        Program::start_by(&["env", &socket, variable], ONE_TENANT)
    }

    /// The next message, line by line.
    fn hears(&self) -> Vec<String> {
        let mut bytes = [0; 4096];
        let length = loop {
            match self.socket.recv(&mut bytes) {
                // This process was stopped and goes on.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                length => break length.expect("a message comes"),
            }
        };
        let text = std::str::from_utf8(&bytes[..length]).unwrap();
        text.lines().map(ToOwned::to_owned).collect()
    }

    /// Waits for a message that begins with this line.
    fn waits_for(&self, first: &str) -> Vec<String> {
        loop {
            let message = self.hears();
            if message[0] == first {
                return message;
            }
        }
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn a_service_manager_hears_each_step_of_its_life() {
    let manager = Manager::new("life");
    let mut program = manager.start("IGNORED=1");
    let ready = ["READY=1", "STATUS=serving 1 tenants on 2 shards"];
    assert_eq!(manager.hears(), ready);

    program.write("tenants: {}");
    program.signal("HUP");
    let reloading = manager.waits_for("RELOADING=1");
    assert!(reloading[1].starts_with("MONOTONIC_USEC="), "{reloading:?}");
    assert_eq!(
        manager.hears(),
        ["READY=1", "STATUS=serving 0 tenants on 2 shards"]
    );
    program.write("tenants: nonsense");
    program.signal("HUP");
    loop {
        let message = manager.waits_for("READY=1");
        if message[1].contains("the config file is wrong") {
            break;
        }
    }

    program.signal("TERM");
    let stopping = manager.waits_for("STOPPING=1");
    // The grace period of 30 s, and some time to end the threads.
    assert_eq!(stopping[1], "EXTEND_TIMEOUT_USEC=45000000");
    assert!(stopping[2].starts_with("STATUS=stopping"), "{stopping:?}");
    assert_eq!(program.ends().code(), Some(0));
}

fn a_heartbeat_goes_on_while_the_shards_answer() {
    let manager = Manager::new("heartbeat");
    let program = manager.start("WATCHDOG_USEC=300000");
    for _ in 0..3 {
        manager.waits_for("WATCHDOG=1");
    }
    assert_eq!(program.get("/health").status, 200);
}

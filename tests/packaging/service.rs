//! The systemd unit, before systemd's own eyes.

use std::fs;

use testbed::{project, tool};

use crate::containers;
use crate::plan::Plan;

pub fn plan(plan: &mut Plan) {
    let here = tool("sh")
        .args(["-c", "command -v systemd-analyze"])
        .run()
        .ok;
    let needs = here
        .then_some(())
        .ok_or("NO systemd-analyze ON THIS MACHINE".to_owned());
    plan.add(
        needs,
        &[("service::is_valid_and_hardened", is_valid_and_hardened)],
    );
}

fn is_valid_and_hardened() {
    let unit = fs::read_to_string(project("packaging/systemd/dbbouncer.service")).unwrap();
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

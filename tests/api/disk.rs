//! A disk that is full, with the state file and the log on it: nothing is said to be kept that is not, and nobody is
//! served the less.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use crate::plan::tests;
use crate::program::{ONE_TENANT, Program, eventually, json, tenant};

tests! {
    on_a_full_disk_what_cannot_be_kept_is_not_done_and_is_said needs Mounts,
    a_state_file_that_cannot_be_written_is_told_at_the_start needs Mounts,
}

fn on_a_full_disk_what_cannot_be_kept_is_not_done_and_is_said() {
    let mounted = std::env::temp_dir().join(format!("dbbouncer-disk-{}", std::process::id()));
    fs::create_dir_all(&mounted).unwrap();
    let disk = mounted.display().to_string();
    let script =
        format!("mount -t tmpfs -o size=64k none {disk} && exec \"$0\" \"$@\" 2>> {disk}/log");
    let lines = format!("state_file: {disk}/tenants.yaml\n");
    let program = Program::start_by(
        &["unshare", "--mount", "sh", "-c", &script],
        &format!("{lines}{ONE_TENANT}"),
    );
    // As only the program sees it.
    let root = PathBuf::from(format!("/proc/{}", program.pid())).join("root");
    let inside = root.join(mounted.strip_prefix("/").unwrap());
    assert_eq!(program.post("/tenants", &tenant("early")).status, 201);

    let filler = inside.join("filler");
    let mut file = fs::File::create(&filler).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    drop(file);
    let refused = program.post("/tenants", &tenant("late"));
    let why = refused.json()["detail"].as_str().unwrap().to_owned();
    assert_eq!(refused.status, 500, "{why}");
    assert!(
        why.contains("nothing was changed") && why.contains("No space left"),
        "{why}"
    );
    assert_eq!(program.get("/tenants/late").status, 404);
    assert_eq!(program.ask("DELETE", "/tenants/early", &[], "").status, 500);
    assert_eq!(program.get("/tenants/early").status, 200);
    assert!(!inside.join("tenants.yaml.new").exists(), "it takes room");
    // What is to be kept is kept already.
    let reloaded = program.post("/reload", &json!(null)).json();
    assert_eq!(reloaded["not_kept"], json!(null));
    // The file claims a tenant of the API's, which is served as the file has it, and is not forgotten as the API's.
    let claimed = ONE_TENANT.replace("one:", "early:");
    program.write(&format!("{lines}{claimed}"));
    let reloaded = program.post("/reload", &json!(null)).json();
    let why = reloaded["not_kept"].as_str().unwrap();
    assert!(why.contains("No space left"), "{why}");
    assert_eq!(program.get("/tenants/early").json()["origin"], "file");
    // Each refusal is a line.
    eventually("the log has no room either", || {
        program.post("/tenants", &tenant("late"));
        let metrics = program.get("/metrics").body;
        (!metrics.contains("dbbouncer_log_lines_lost_total 0")).then_some(())
    });

    fs::remove_file(&filler).unwrap();
    assert_eq!(program.post("/tenants", &tenant("late")).status, 201);
    eventually("the log goes on, and says what is missing", || {
        let log = fs::read_to_string(inside.join("log")).unwrap();
        let missing = log
            .lines()
            .position(|it| it.contains("lines of the log are missing"))?;
        let made = log
            .lines()
            .position(|it| it.ends_with("tenant late: made by the API"))?;
        (missing < made).then_some(())
    });
    drop(program);
    fs::remove_dir(&mounted).unwrap();
}

fn a_state_file_that_cannot_be_written_is_told_at_the_start() {
    let mounted = std::env::temp_dir().join(format!("dbbouncer-read-{}", std::process::id()));
    fs::create_dir_all(&mounted).unwrap();
    let disk = mounted.display().to_string();
    // A first life has left it.
    let kept = std::env::temp_dir().join(format!("dbbouncer-kept-{}.yaml", std::process::id()));
    let first = Program::start(&format!("state_file: {}\n{ONE_TENANT}", kept.display()));
    drop(first);
    let script = format!(
        "mount -t tmpfs none {disk} && cp {} {disk}/tenants.yaml && mount -o remount,ro {disk} && \
         \"$0\" check \"$@\" && exec \"$0\" \"$@\"",
        kept.display()
    );
    let program = Program::start_by(
        &["unshare", "--mount", "sh", "-c", &script],
        &format!("state_file: {disk}/tenants.yaml\n{ONE_TENANT}"),
    );
    let told = format!("state_file: cannot write {disk}/tenants.yaml: Read-only file system");
    eventually("it is told, by the check and at the start", || {
        (program.log().matches(&told).count() == 2).then_some(())
    });
    assert!(program.log().contains(&format!("warning: {told}")));
    let refused = program.post("/tenants", &tenant("late"));
    assert_eq!(refused.status, 500, "{refused:?}");
    drop(program);
    fs::remove_dir(&mounted).unwrap();
    fs::remove_file(&kept).unwrap();
    fs::remove_file(format!("{}.lock", kept.display())).unwrap();
}

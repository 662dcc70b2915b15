//! The config file changes under a running program, and the program restarts with what it kept.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::plan::tests;
use crate::program::{ONE_TENANT, Program, Value, eventually, free_port, json, tenant};

tests! {
    a_config_map_that_is_swapped_comes_into_force,
    a_bad_file_keeps_what_runs_says_why_and_is_counted,
    tenants_of_the_api_survive_a_reload_and_the_file_wins_over_them,
    another_api_key_is_in_force_with_the_next_load,
    what_a_restart_must_bring_is_said,
    tenants_of_the_api_survive_a_restart_where_there_is_a_state_file,
    a_process_beside_another_serves_what_their_state_file_holds_and_keeps_changes_when_that_one_stops,
    who_takes_a_state_file_over_changes_no_tenant_of_the_config_file,
    who_takes_a_state_file_over_keeps_what_it_serves,
    a_tenant_of_the_state_file_that_makes_no_sense_is_left_out_and_kept,
}

fn ids(program: &Program) -> Vec<String> {
    let list = program.get("/tenants").json();
    list.as_array()
        .unwrap()
        .iter()
        .map(|shown| shown["id"].as_str().unwrap().to_owned())
        .collect()
}

fn two(max: u32) -> String {
    let entry = "{db_type: postgres, host: 127.0.0.1, port: 1, dbname: d, username: u, password: p, min_connections: 0, max_connections:";
    format!("tenants:\n  one: {entry} {max}}}\n  two: {entry} 5}}")
}

/// As the kubelet does it: a new folder, and `..data` points there in one step.
fn swap(program: &Program, version: u32, lines: &str) {
    let fresh = format!("..{version}");
    fs::create_dir(program.folder.join(&fresh)).unwrap();
    fs::write(
        program.folder.join(&fresh).join("config.yaml"),
        program.text(lines),
    )
    .unwrap();
    symlink(&fresh, program.folder.join("..data_tmp")).unwrap();
    fs::rename(
        program.folder.join("..data_tmp"),
        program.folder.join("..data"),
    )
    .unwrap();
}

fn a_config_map_that_is_swapped_comes_into_force() {
    let program = Program::start(ONE_TENANT);
    swap(&program, 1, ONE_TENANT);
    symlink("..data/config.yaml", program.folder.join("link")).unwrap();
    fs::rename(program.folder.join("link"), program.config()).unwrap();
    swap(&program, 2, &two(3));
    eventually("the second version", || {
        (ids(&program) == ["one", "two"]).then_some(())
    });
    swap(&program, 3, &two(4));
    eventually("the third version", || {
        (program.get("/tenants/one").json()["max_connections"] == json!(4)).then_some(())
    });
    swap(&program, 4, ONE_TENANT);
    eventually("the fourth version", || {
        (ids(&program) == ["one"]).then_some(())
    });
}

fn a_bad_file_keeps_what_runs_says_why_and_is_counted() {
    let program = Program::start(&two(3));
    program.write(&two(3).replace("port: 1", "port: none"));
    let refused = program.ask("POST", "/reload", &[], "");
    assert_eq!(refused.status, 422);
    assert!(
        refused.json()["detail"]
            .as_str()
            .unwrap()
            .contains("tenants.one.port"),
        "{refused:?}"
    );
    program.signal("HUP");
    let failures = || sample(&program, "config_reload_failures_total");
    eventually("the second failure", || (failures() >= 2.0).then_some(()));
    assert_eq!(ids(&program), ["one", "two"]);
    program.says("tenants.one.port");

    assert_eq!(sample(&program, "config_last_reload_successful"), 0.0);

    program.write(ONE_TENANT);
    program.signal("HUP");
    eventually("the good file", || (ids(&program) == ["one"]).then_some(()));
    assert_eq!(sample(&program, "config_last_reload_successful"), 1.0);
    assert!(sample(&program, "config_last_reload_success_timestamp_seconds") > 1e9);
}

fn sample(program: &Program, name: &str) -> f64 {
    let metrics = program.get("/metrics").body;
    let prefix = format!("dbbouncer_{name} ");
    let value = metrics.lines().find_map(|line| line.strip_prefix(&prefix));
    value
        .unwrap_or_else(|| panic!("no {name} in {metrics}"))
        .parse()
        .unwrap()
}

fn another_api_key_is_in_force_with_the_next_load() {
    let program = Program::start(&format!("api_key: old\n{ONE_TENANT}"));
    let tenants = |key: &str| {
        let header = format!("Authorization: Bearer {key}");
        program.ask("GET", "/tenants", &[&header], "").status
    };
    assert_eq!(tenants("old"), 200);
    program.write(&format!("api_key: new\n{ONE_TENANT}"));
    // Loaded by itself, as every changed file.
    eventually("the new key", || (tenants("new") == 200).then_some(()));
    assert_eq!(tenants("old"), 401);
    // The same address, so what the file says is what is.
    program.write(ONE_TENANT);
    eventually("no key", || {
        (program.get("/tenants").status == 200).then_some(())
    });
}

fn tenants_of_the_api_survive_a_reload_and_the_file_wins_over_them() {
    let program = Program::start(ONE_TENANT);
    assert_eq!(program.post("/tenants", &tenant("two")).status, 201);
    assert_eq!(program.post("/tenants", &tenant("three")).status, 201);
    program.write(&two(3));
    let done = program.ask("POST", "/reload", &[], "");
    assert_eq!(done.status, 200, "{done:?}");
    assert_eq!(ids(&program), ["one", "three", "two"]);
    assert_eq!(program.get("/tenants/two").json()["origin"], json!("file"));
    program.says("tenant two: made by the API, and the config file names it, too: the file wins");
}

fn what_a_restart_must_bring_is_said() {
    let program = Program::start(ONE_TENANT);
    let after = |text: &str| {
        fs::write(program.config(), text).unwrap();
        let done = program.ask("POST", "/reload", &[], "");
        done.json()["after_restart"].clone()
    };
    let limits = program.text(&format!("limits: {{client_connections: 7}}\n{ONE_TENANT}"));
    assert_eq!(after(&limits), json!(["limits"]));
    // The API stays where it is, and says so.
    let elsewhere = program.text(ONE_TENANT).replace(
        &format!("api_port: {}", program.api),
        &format!("api_port: {}", free_port()),
    );
    assert_eq!(after(&elsewhere), json!(["the API's address"]));
    program.says("changes of the API's address come into force with a restart");
    assert_eq!(after(&program.text(ONE_TENANT)), json!([]));
}

fn tenants_of_the_api_survive_a_restart_where_there_is_a_state_file() {
    let state =
        std::env::temp_dir().join(format!("dbbouncer-api-state-{}.yaml", std::process::id()));
    let _ = fs::remove_file(&state);
    let mut program = Program::start(&format!("state_file: {}\n{ONE_TENANT}", state.display()));
    assert_eq!(program.post("/tenants", &tenant("kept")).status, 201);
    assert_eq!(program.post("/tenants", &tenant("gone")).status, 201);
    assert_eq!(program.ask("DELETE", "/tenants/gone", &[], "").status, 204);
    program.kill();
    program.start_again();
    assert_eq!(ids(&program), ["kept", "one"]);
    assert_eq!(
        program.get("/tenants/kept").json()["password_set"],
        json!(true)
    );

    program.kill();
    let nowhere = format!("{}/nowhere/tenants.yaml", std::env::temp_dir().display());
    let lines = format!("state_file: {nowhere}\n{ONE_TENANT}");
    program.write(&lines);
    assert!(!program.run_to_its_end().success(), "nothing could be kept");
    assert!(program.log().contains(&nowhere), "{}", program.log());

    program.write(&format!("state_file: {}\n{ONE_TENANT}", state.display()));
    let whole = fs::read_to_string(&state).unwrap();
    fs::write(&state, &whole[..whole.len() / 2]).unwrap();
    let status = program.run_to_its_end();
    assert_eq!(status.code(), Some(78));
    assert!(
        program
            .log()
            .contains("move it away to start without the tenants made by the API")
    );
    drop(program);
    forget(&state);
}

/// As in a rolling update, in which the new process must be ready before the old one is told to stop.
fn a_process_beside_another_serves_what_their_state_file_holds_and_keeps_changes_when_that_one_stops()
 {
    let state = std::env::temp_dir().join(format!("dbbouncer-api-two-{}.yaml", std::process::id()));
    let lines = format!("state_file: {}\n{ONE_TENANT}", state.display());
    let mut old = Program::start(&lines);
    assert_eq!(old.post("/tenants", &tenant("kept")).status, 201);
    let new = Program::start(&lines);
    let holder = format!("is kept by another process: process {} on ", old.pid());
    new.says(&holder);
    assert_eq!(ids(&new), ["kept", "one"]);
    let refused = new.post("/tenants", &tenant("early"));
    let why = refused.json()["detail"].as_str().unwrap().to_owned();
    assert_eq!(refused.status, 500, "{why}");
    assert!(
        why.contains("nothing was changed") && why.contains(&holder),
        "{why}"
    );
    assert_eq!(ids(&new), ["kept", "one"]);
    assert_eq!(old.post("/tenants", &tenant("between")).status, 201);
    old.signal("TERM");
    assert_eq!(old.ends().code(), Some(0));
    new.says("is kept by this process from now on");
    eventually("what the old one was told in between is served", || {
        (ids(&new) == ["between", "kept", "one"]).then_some(())
    });
    assert_eq!(new.post("/tenants", &tenant("late")).status, 201);
    old.start_again();
    assert_eq!(ids(&old), ["between", "kept", "late", "one"]);
    drop((old, new));
    forget(&state);
}

/// What the API said of them holds until the file is loaded again, whichever process keeps the state file.
fn who_takes_a_state_file_over_changes_no_tenant_of_the_config_file() {
    let state =
        std::env::temp_dir().join(format!("dbbouncer-api-over-{}.yaml", std::process::id()));
    let lines = format!("state_file: {}\n{}", state.display(), two(7));
    let mut old = Program::start(&lines);
    let new = Program::start(&lines);
    assert_eq!(new.ask("DELETE", "/tenants/two", &[], "").status, 204);
    assert_eq!(old.post("/tenants", &tenant("between")).status, 201);
    old.signal("TERM");
    assert_eq!(old.ends().code(), Some(0));
    eventually("what the old one was told in between is served", || {
        ids(&new).contains(&"between".to_owned()).then_some(())
    });
    assert_eq!(ids(&new), ["between", "one"]);
    drop((old, new));
    forget(&state);
}

/// Its config has taken a tenant that the API had made, which would rise again with the next start.
fn who_takes_a_state_file_over_keeps_what_it_serves() {
    let state =
        std::env::temp_dir().join(format!("dbbouncer-api-kept-{}.yaml", std::process::id()));
    let head = format!("state_file: {}", state.display());
    let mut old = Program::start(&format!("{head}\n{ONE_TENANT}"));
    assert_eq!(old.post("/tenants", &tenant("two")).status, 201);
    let new = Program::start(&format!("{head}\n{ONE_TENANT}"));
    new.write(&format!("{head}\n{}", two(7)));
    assert_eq!(new.post("/reload", &Value::Null).status, 200);
    old.signal("TERM");
    assert_eq!(old.ends().code(), Some(0));
    eventually("the file is as the new one serves", || {
        let kept = fs::read_to_string(&state).unwrap();
        (!kept.contains("two")).then_some(())
    });
    drop((old, new));
    forget(&state);
}

/// Removes a state file and its lock.
fn forget(state: &Path) {
    fs::remove_file(state).unwrap();
    fs::remove_file(format!("{}.lock", state.display())).unwrap();
}

/// As after an upgrade that has narrowed what a time may be.
fn a_tenant_of_the_state_file_that_makes_no_sense_is_left_out_and_kept() {
    let state = std::env::temp_dir().join(format!(
        "dbbouncer-api-left-out-{}.yaml",
        std::process::id()
    ));
    let _ = fs::remove_file(&state);
    let lines = format!("state_file: {}\n{ONE_TENANT}", state.display());
    let mut program = Program::start(&lines);
    for id in ["good", "old", "older"] {
        let mut written = tenant(id);
        written["idle_timeout"] = json!(if id == "good" { "6s" } else { "7s" });
        assert_eq!(program.post("/tenants", &written).status, 201);
    }
    program.kill();
    rewrite(&state, |text| text.replace("\"7s\"", "\"7ms\""));
    program.start_again();
    assert_eq!(ids(&program), ["good", "one"]);
    program.says("tenant old: made by the API, and left out: idle_timeout: must be a time from 1s");
    assert_eq!(sample(&program, "tenants_left_out"), 2.0);
    let config = program.get("/config").json();
    let why = config["tenants_left_out"]["older"][0].as_str().unwrap();
    assert!(why.contains("idle_timeout: must be"), "{why}");

    // Nothing of it is lost, whatever else is written.
    assert_eq!(program.ask("DELETE", "/tenants/good", &[], "").status, 204);
    let kept = fs::read_to_string(&state).unwrap();
    assert_eq!(kept.matches("\"7ms\"").count(), 2, "{kept}");
    // Nor does it keep the config from being loaded.
    assert_eq!(program.post("/reload", &json!(null)).status, 200);
    assert_eq!(sample(&program, "tenants_left_out"), 2.0);

    // It is given up, or said anew.
    assert_eq!(program.ask("DELETE", "/tenants/old", &[], "").status, 204);
    assert_eq!(program.ask("DELETE", "/tenants/old", &[], "").status, 404);
    // Nobody could see what is lost by not saying it, nor read it before.
    let mut without = tenant("older");
    without.as_object_mut().unwrap().remove("password");
    for (method, path) in [("PUT", "/tenants/older"), ("POST", "/tenants")] {
        let refused = program.send(method, path, &without);
        assert_eq!(refused.status, 422, "{method}");
        let errors = refused.json()["errors"].clone();
        assert_eq!(errors[0]["pointer"], "/password", "{errors}");
    }
    let kept = fs::read_to_string(&state).unwrap();
    assert!(kept.contains("\"7ms\""), "{kept}");
    assert_eq!(
        program
            .send("PUT", "/tenants/older", &tenant("older"))
            .status,
        201
    );
    program.says("tenant older: said anew, and served again, by the API");
    assert_eq!(sample(&program, "tenants_left_out"), 0.0);
    program.kill();
    program.start_again();
    assert_eq!(ids(&program), ["older", "one"]);
    drop(program);
    forget(&state);
}

/// Changes a state file as another version would have written it.
fn rewrite(state: &Path, change: impl Fn(&str) -> String) {
    let text = change(&fs::read_to_string(state).unwrap());
    let mut document: Value = serde_json::from_str(&text).unwrap();
    let tenants = document["tenants"].to_string();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, tenants.as_bytes());
    let sum: String = (digest.as_ref().iter())
        .map(|byte| format!("{byte:02x}"))
        .collect();
    document["sha256"] = json!(sum);
    fs::write(state, document.to_string()).unwrap();
}

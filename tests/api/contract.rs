//! What is promised of the API, request by request.

use std::net::TcpListener;
use std::process::Command;

use crate::plan::{Need, tests};
use crate::program::{Answer, ONE_TENANT, Program, Value, eventually, json, tenant};

tests! {
    the_curl_line_of_the_contract_works_as_written,
    a_tenant_is_made_read_changed_and_removed,
    a_tenant_is_paused_drained_and_resumed,
    every_complaint_about_a_body_comes_at_once_with_its_place,
    nothing_of_our_environment_or_files_comes_in_by_the_api,
    secrets_are_never_shown,
    a_secret_that_is_left_out_goes_to_no_other_database,
    the_secret_of_the_defaults_goes_where_the_file_sends_it,
    with_a_key_only_the_probes_are_open,
    metrics_are_open_unless_they_are_not,
    requests_are_counted_by_route_and_status,
    a_head_is_a_get_without_its_body,
    schemathesis_finds_no_difference_between_the_description_and_the_api needs Schemathesis,
}

fn the_curl_line_of_the_contract_works_as_written() {
    let program = Program::start(ONE_TENANT);
    let line = r#"curl -X POST localhost:8080/tenants -H 'Content-Type: application/json' -d '{
  "id": "new_tenant",
  "db_type": "postgres",
  "host": "pg-host.example.com",
  "port": 5432,
  "dbname": "new_tenant_db",
  "username": "app_user",
  "password": "secret"
}'"#;
    // Other tests have port 8080, too.
    let line = line.replace("localhost:8080", &format!("localhost:{}", program.api));
    let said = Command::new("sh")
        .args(["-c", &format!("{line} --silent --fail")])
        .output()
        .unwrap();
    assert!(said.status.success(), "{said:?}");
    let shown: Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!(
        (&shown["id"], &shown["password_set"]),
        (&json!("new_tenant"), &json!(true))
    );
    let ids: Vec<_> = program
        .get("/tenants")
        .json()
        .as_array()
        .unwrap()
        .iter()
        .map(|shown| shown["id"].clone())
        .collect();
    assert_eq!(ids, ["new_tenant", "one"]);
}

fn a_tenant_is_made_read_changed_and_removed() {
    let program = Program::start("tenants: {}");
    let made = program.post("/tenants", &tenant("acme"));
    assert_eq!(
        (made.status, made.header("Location")),
        (201, "/tenants/acme")
    );
    let again = program.post("/tenants", &tenant("acme"));
    assert_eq!(
        (again.status, again.header("Content-Type")),
        (409, "application/problem+json")
    );

    let read = program.get("/tenants/acme");
    assert_eq!(read.header("ETag"), made.header("ETag"));
    assert_eq!(
        (&read.json()["state"], &read.json()["origin"]),
        (&json!("active"), &json!("api"))
    );
    // Said again, it is the same; what was read can be sent back as it is, and keeps its password.
    let same = program.send("PUT", "/tenants/acme", &read.json());
    assert_eq!(
        (same.status, same.header("ETag")),
        (200, made.header("ETag"))
    );
    assert_eq!(same.json()["password_set"], json!(true));

    let mut wanted = tenant("acme");
    wanted["max_connections"] = json!(7);
    let changed = program.send("PUT", "/tenants/acme", &wanted);
    assert_eq!(
        (changed.status, &changed.json()["max_connections"]),
        (200, &json!(7))
    );
    assert_ne!(changed.header("ETag"), made.header("ETag"));

    let stale = format!("If-Match: {}", made.header("ETag"));
    let body = wanted.to_string();
    assert_eq!(
        program
            .ask(
                "PUT",
                "/tenants/acme",
                &["Content-Type: application/json", &stale],
                &body
            )
            .status,
        412
    );
    assert_eq!(
        program.ask("DELETE", "/tenants/acme", &[&stale], "").status,
        412
    );
    let fresh = format!("If-Match: {}", changed.header("ETag"));
    assert_eq!(
        program.ask("DELETE", "/tenants/acme", &[&fresh], "").status,
        204
    );
    for (method, path) in [
        ("GET", "/tenants/acme"),
        ("DELETE", "/tenants/acme"),
        ("GET", "/tenants/acme/stats"),
        ("POST", "/tenants/acme/drain"),
    ] {
        assert_eq!(
            program.ask(method, path, &[], "").status,
            404,
            "{method} {path}"
        );
    }
    assert_eq!(program.send("PUT", "/tenants/acme", &wanted).status, 201);
}

fn a_tenant_is_paused_drained_and_resumed() {
    let program = Program::start(ONE_TENANT);
    for (verb, state) in [
        ("pause", "paused"),
        ("resume", "active"),
        ("drain", "draining"),
        ("resume", "active"),
        ("reconnect", "active"),
    ] {
        let done = program.ask("POST", &format!("/tenants/one/{verb}"), &[], "");
        assert_eq!(
            (done.status, &done.json()["state"]),
            (202, &json!(state)),
            "{verb}"
        );
        assert_eq!(
            program.get("/tenants/one/stats").json()["state"],
            json!(state),
            "{verb}"
        );
    }
}

fn every_complaint_about_a_body_comes_at_once_with_its_place() {
    let program = Program::start("tenants: {}");
    let body = json!({"id": "acme", "db_type": "oracle", "host": "a b", "port": 0, "username": "u", "colour": "red",
                      "users": {"bob": {"password": "p", "verifier": "v"}, "a.b/c~d": {}}});
    let refused = program.post("/tenants", &body);
    assert_eq!(
        (refused.status, refused.header("Content-Type")),
        (422, "application/problem+json")
    );
    let errors = refused.json()["errors"].clone();
    let mut pointers: Vec<_> = errors
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["pointer"].as_str().unwrap())
        .collect();
    pointers.sort_unstable();
    assert_eq!(
        pointers,
        [
            "/colour",
            "/db_type",
            "/dbname",
            "/host",
            "/port",
            // As RFC 6901 escapes them.
            "/users/a.b~1c~0d",
            "/users/bob"
        ]
    );
    for (body, status) in [
        ("{", 400),
        ("", 400),
        ("[]", 422),
        ("{\"id\": \"a__b\"}", 422),
        ("{\"id\": 7}", 422),
    ] {
        assert_eq!(
            program
                .ask(
                    "POST",
                    "/tenants",
                    &["Content-Type: application/json"],
                    body
                )
                .status,
            status,
            "{body}"
        );
    }
    assert_eq!(program.ask("POST", "/tenants", &[], "{}").status, 415);
    assert_eq!(program.get("/nothing/here").status, 404);
    let not_so = program.ask("PATCH", "/tenants/acme", &[], "");
    assert_eq!(
        (not_so.status, not_so.header("Allow")),
        (405, "GET, HEAD, PUT, DELETE")
    );
}

fn nothing_of_our_environment_or_files_comes_in_by_the_api() {
    let program = Program::start("tenants: {}");
    let mut wanted = tenant("acme");
    wanted["dbname"] = json!("${PATH}$$");
    assert_eq!(
        program.post("/tenants", &wanted).json()["dbname"],
        json!("${PATH}$$")
    );
    let mut wanted = tenant("other");
    wanted["password"] = json!(format!("file:{}", program.config().display()));
    let refused = program.post("/tenants", &wanted);
    assert_eq!(
        (refused.status, &refused.json()["errors"][0]["pointer"]),
        (422, &json!("/password"))
    );
}

fn secrets_are_never_shown() {
    let users = "users: {bob: {password: s3cret-of-bob}}";
    let program = Program::start(&format!(
        "api_key: s3cret-key\nmetrics_auth: true\ntenants:\n  one: {{db_type: postgres, host: h, dbname: d, username: u, password: s3cret-one, min_connections: 0, {users}}}"
    ));
    let key = ["Authorization: Bearer s3cret-key"];
    for path in [
        "/tenants",
        "/tenants/one",
        "/tenants/one/stats",
        "/config",
        "/shards",
        "/metrics",
    ] {
        let shown = program.ask("GET", path, &key, "");
        assert_eq!(shown.status, 200, "{path}");
        assert!(!shown.body.contains("s3cret"), "{path}: {}", shown.body);
    }
    assert!(!program.log().contains("s3cret"));
}

/// Else whoever may change tenants could have the password of one sent to a server of their own.
fn a_secret_that_is_left_out_goes_to_no_other_database() {
    let evil = TcpListener::bind("127.0.0.1:0").unwrap();
    let program = Program::start(ONE_TENANT);
    let mut wanted = tenant("one");
    wanted.as_object_mut().unwrap().remove("password");
    assert_eq!(program.send("PUT", "/tenants/one", &wanted).status, 200);
    wanted["port"] = json!(evil.local_addr().unwrap().port());
    // With these it would be dialled at once.
    wanted["min_connections"] = json!(1);
    let refused = program.send("PUT", "/tenants/one", &wanted);
    assert_eq!(
        (refused.status, &refused.json()["errors"][0]["pointer"]),
        (422, &json!("/password"))
    );
    assert_eq!(program.get("/tenants/one").json()["port"], json!(1));
    wanted["password"] = json!("said-again");
    assert_eq!(program.send("PUT", "/tenants/one", &wanted).status, 200);
}

fn the_secret_of_the_defaults_goes_where_the_file_sends_it() {
    let program = Program::start(ONE_TENANT);
    let mut elsewhere = tenant("elsewhere");
    elsewhere["host"] = json!("evil.example.com");
    elsewhere["auth_query"] = json!("pg_authid");
    assert_eq!(program.post("/tenants", &elsewhere).status, 201);
    // New defaults do not send their secret to whoever is here already.
    let asker = "defaults: {auth_query: pg_authid, auth_user: asker, auth_password: s3cret}";
    program.write(&format!("{asker}\n{ONE_TENANT}"));
    assert_eq!(program.ask("POST", "/reload", &[], "").status, 200);
    let asks = |id: &str| {
        let shown = program.get(&format!("/tenants/{id}")).json();
        (
            shown["auth_user"].clone(),
            shown["auth_password_set"].clone(),
        )
    };
    assert_eq!(asks("one"), (json!("asker"), json!(true)));
    assert_eq!(asks("elsewhere"), (json!("asker"), json!(false)));
    program.says("tenant elsewhere: made by the API: auth_password: must be said");
    // Nor to whoever comes or changes, save for what the file asks itself.
    let refused = program.send("PUT", "/tenants/elsewhere", &elsewhere);
    assert_eq!(
        (refused.status, &refused.json()["errors"][0]["pointer"]),
        (422, &json!("/auth_password"))
    );
    assert_eq!(program.post("/tenants", &tenant("here")).status, 201);
    assert_eq!(asks("here"), (json!("asker"), json!(true)));
    elsewhere["auth_user"] = json!("another");
    elsewhere["auth_password"] = json!("its own");
    assert_eq!(
        program.send("PUT", "/tenants/elsewhere", &elsewhere).status,
        200
    );
}

fn with_a_key_only_the_probes_are_open() {
    let program = Program::start(&format!("api_key: right\n{ONE_TENANT}"));
    let paths = [
        "/tenants",
        "/tenants/one",
        "/tenants/nobody",
        "/config",
        "/shards",
        "/nothing/here",
    ];
    for path in paths {
        for headers in [
            &[][..],
            &["Authorization: Bearer wrong"],
            &["Authorization: Basic right"],
        ] {
            let refused = program.ask("GET", path, headers, "");
            assert!(
                refused.status == 401 && refused.header("WWW-Authenticate").starts_with("Bearer"),
                "{path} {headers:?}"
            );
        }
    }
    assert_eq!(program.post("/tenants", &tenant("acme")).status, 401);
    assert_eq!(
        program
            .ask("GET", "/tenants/one", &["Authorization: Bearer right"], "")
            .status,
        200
    );
    for path in ["/health", "/ready", "/metrics", "/openapi.json"] {
        assert_eq!(program.get(path).status, 200, "{path}");
    }
    // However often it is tried, the log has a line for the first and counts the others of its second.
    const OFTEN: usize = 100;
    for _ in 0..OFTEN {
        let refused = program.ask("GET", "/tenants", &["Authorization: Bearer wrong"], "");
        assert_eq!(refused.status, 401);
    }
    program.says("wrong key");
    let lines = program
        .log()
        .lines()
        .filter(|line| line.contains("wrong key"))
        .count();
    assert!((1..OFTEN / 2).contains(&lines), "{lines}");
}

fn metrics_are_open_unless_they_are_not() {
    let key = ["Authorization: Bearer right"];
    let program = Program::start(&format!("api_key: right\nmetrics_auth: true\n{ONE_TENANT}"));
    assert_eq!(program.get("/metrics").status, 401);
    assert_eq!(program.ask("GET", "/metrics", &key, "").status, 200);
    program.write(&format!("api_key: right\n{ONE_TENANT}"));
    assert_eq!(program.ask("POST", "/reload", &key, "").status, 200);
    assert_eq!(program.get("/metrics").status, 200);
}

fn requests_are_counted_by_route_and_status() {
    let program = Program::start(ONE_TENANT);
    program.get("/tenants/one");
    program.get("/tenants/nobody");
    program.get("/no/such/route");
    program.ask("PURGE", "/tenants/one", &[], "");
    let mut broken = program.connect();
    std::io::Write::write_all(&mut broken, b"nonsense\r\n\r\n").unwrap();
    assert_eq!(Answer::read(&mut broken).status, 400);
    let metrics = program.get("/metrics").body;
    for (route, method, code) in [
        ("/tenants/{id}", "GET", 200),
        ("/tenants/{id}", "GET", 404),
        ("/tenants/{id}", "other", 405),
        ("other", "GET", 404),
        ("other", "other", 400),
    ] {
        let sample = format!(
            "dbbouncer_api_requests_total{{route=\"{route}\",method=\"{method}\",code=\"{code}\"}} 1"
        );
        assert!(
            metrics.lines().any(|line| line == sample),
            "{sample} in\n{metrics}"
        );
    }
}

fn a_head_is_a_get_without_its_body() {
    let program = Program::start(ONE_TENANT);
    let (get, head) = (
        program.get("/tenants/one"),
        program.ask("HEAD", "/tenants/one", &[], ""),
    );
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(head.header("ETag"), get.header("ETag"));
    assert_ne!(head.header("Content-Length"), "0");
}

/// Everything that the description allows is done, and everything that it forbids is refused.
fn schemathesis_finds_no_difference_between_the_description_and_the_api() {
    let schemathesis = Need::Schemathesis.path().expect("it is needed");
    let program = Program::start(ONE_TENANT);
    let settings = program.folder.join("schemathesis.toml");
    std::fs::write(&settings, SCHEMATHESIS).unwrap();
    let said = Command::new(schemathesis)
        .arg("--config-file")
        .arg(&settings)
        .arg("run")
        .arg(format!("http://127.0.0.1:{}/openapi.json", program.api))
        .args([
            "--max-examples",
            "20",
            "--phases",
            "examples,coverage,fuzzing",
            "--no-color",
            // The same requests on every run: another seed is another search, to be made by hand.
            "--seed",
            "1",
        ])
        .current_dir(&program.folder)
        .output()
        .unwrap();
    assert!(
        said.status.success(),
        "{}{}",
        String::from_utf8_lossy(&said.stdout),
        String::from_utf8_lossy(&said.stderr)
    );
    assert_eq!(
        eventually("it is well", || Some(program.get("/health"))).status,
        200
    );
}

/// A condition may fail although it is well-formed, and before a body is looked at; and some rules stand between fields, where a
/// schema cannot say them.
const SCHEMATHESIS: &str = "[checks]\npositive_data_acceptance.expected-statuses = [\"2xx\", 401, 403, 404, 409, 412, 422]\nnegative_data_rejection.expected-statuses = [400, 401, 403, 404, 405, 406, 409, 412, 415, 422]\n";

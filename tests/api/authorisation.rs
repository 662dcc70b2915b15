//! Who may do what with the API: every request that the description knows, with and without the key.

use std::io::Write;

use crate::plan::tests;
use crate::program::{Answer, ONE_TENANT, Program, Value, json, tenant};

tests! {
    t05_every_request_wants_the_key,
    t05_what_was_refused_has_not_been_done,
    t05_without_a_key_a_page_whose_name_points_here_gets_nothing,
}

/// Open to everybody, since probes and Prometheus have no key, and a page and a description tell nothing.
const OPEN: [&str; 5] = ["/health", "/ready", "/metrics", "/openapi.json", "/"];

fn t05_every_request_wants_the_key() {
    let program = Program::start(&format!("api_key: right\n{ONE_TENANT}"));
    let mut asked = 0;
    for (method, path) in requests() {
        let is_open = OPEN.contains(&path.as_str());
        for key in [
            "",
            "Authorization: Bearer wrong",
            "Authorization: Bearer rightmost",
            "Authorization: Bearer ",
            "Authorization: Basic right",
            "Authorization: right",
            "X-Api-Key: right",
        ] {
            let refused = ask(&program, &method, &path, key);
            assert_eq!(
                refused.status != 401,
                is_open,
                "{method} {path} {key:?}: {refused:?}"
            );
            asked += 1;
        }
        let with_the_key = ask(&program, &method, &path, "Authorization: Bearer right");
        assert_ne!(with_the_key.status, 401, "{method} {path}");
        let in_the_query = ask(
            &program,
            &method,
            &format!("{path}?access_token=right&key=right"),
            "",
        );
        assert_eq!(in_the_query.status != 401, is_open, "{method} {path}");
    }
    assert!(asked > 100, "{asked} requests");
}

fn t05_what_was_refused_has_not_been_done() {
    let program = Program::start(&format!("api_key: right\n{ONE_TENANT}"));
    for (method, path) in requests() {
        ask(&program, &method, &path, "Authorization: Bearer wrong");
    }
    let key = ["Authorization: Bearer right"];
    let shown = program.ask("GET", "/tenants", &key, "").json();
    let tenants = shown.as_array().unwrap();
    assert_eq!(tenants.len(), 1, "{shown}");
    assert_eq!(
        (&tenants[0]["id"], &tenants[0]["state"]),
        (&json!("one"), &json!("active"))
    );
}

/// By DNS rebinding: to the browser, page and API are of one site.
fn t05_without_a_key_a_page_whose_name_points_here_gets_nothing() {
    let program = Program::start(ONE_TENANT);
    let port = program.api;
    let ask = |method: &str, host: &str, origin: &str| {
        let mut stream = program.connect();
        let request = format!(
            "{method} /tenants/one HTTP/1.1\r\nHost: {host}\r\n{origin}Connection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        Answer::read(&mut stream).status
    };
    let evil = format!("evil:{port}");
    assert_eq!(ask("GET", &evil, ""), 403);
    assert_eq!(
        ask("DELETE", &evil, &format!("Origin: http://{evil}\r\n")),
        403
    );
    let ours = format!("127.0.0.1:{port}");
    assert_eq!(ask("GET", &ours, ""), 200);
    assert_eq!(
        ask("DELETE", &ours, &format!("Origin: http://{ours}\r\n")),
        204
    );
}

/// All methods of all paths of the description, the one tenant's name put in.
fn requests() -> Vec<(String, String)> {
    let description: Value =
        serde_json::from_str(include_str!("../../src/api/openapi.json")).unwrap();
    let mut requests = Vec::new();
    for (path, methods) in description["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            if ["get", "put", "post", "delete", "patch"].contains(&method.as_str()) {
                requests.push((method.to_uppercase(), path.replace("{id}", "one")));
            }
        }
    }
    assert!(requests.len() >= 15, "{requests:?}");
    // What removes comes last, for the others to find something.
    requests.sort_by_key(|(method, _)| method == "DELETE");
    requests
}

fn ask(program: &Program, method: &str, path: &str, key: &str) -> Answer {
    let headers = ["Content-Type: application/json", key];
    let headers = if key.is_empty() {
        &headers[..1]
    } else {
        &headers[..]
    };
    let body = match method {
        "POST" | "PUT" => tenant("made").to_string(),
        _ => String::new(),
    };
    program.ask(method, path, headers, &body)
}

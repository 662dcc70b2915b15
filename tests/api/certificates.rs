//! Certificates towards a database: shown, kept, and watched.

use testbed::Authority;

use crate::plan::tests;
use crate::program::{Program, Value, json, tenant};

tests! {
    what_is_read_can_be_sent_back_as_it_is,
    a_certificate_that_will_expire_is_in_the_metrics,
}

/// A tenant with everything of TLS, and users by certificate.
fn secured(authority: &Authority) -> Value {
    let text = |name: &str| std::fs::read_to_string(authority.path(name)).unwrap();
    let mut wanted = tenant("acme");
    wanted["sslmode"] = json!("verify-full");
    wanted["sslnegotiation"] = json!("direct");
    wanted["sslrootcert"] = json!(text("ca.crt"));
    wanted["sslcert"] = json!(text("client.crt"));
    wanted["sslkey"] = json!(text("client.key"));
    wanted["client_auth"] = json!("cert");
    wanted["cert_users"] = json!({"app.example.com": "alice"});
    wanted
}

fn what_is_read_can_be_sent_back_as_it_is() {
    let authority = Authority::new();
    authority.certify("client", "client", &[]);
    authority.certify("other", "client", &[]);
    let program = Program::start("tenants: {}");
    let wanted = secured(&authority);
    let made = program.post("/tenants", &wanted);
    assert_eq!(made.status, 201, "{made:?}");
    let read = program.get("/tenants/acme");
    let shown = read.json();
    for key in [
        "sslmode",
        "sslnegotiation",
        "sslrootcert",
        "sslcert",
        "cert_users",
    ] {
        assert_eq!(shown[key], wanted[key], "{key}");
    }
    assert_eq!(
        (&shown["sslkey"], &shown["sslkey_set"]),
        (&Value::Null, &json!(true))
    );
    assert!(!read.body.contains("PRIVATE KEY"), "{}", read.body);
    // Nothing of it is lost: the revision stays.
    let same = program.send("PUT", "/tenants/acme", &shown);
    assert_eq!(
        (same.status, same.header("ETag")),
        (200, made.header("ETag"))
    );
    // Long texts are not repeated for each of thousands of tenants.
    assert!(!program.get("/tenants").body.contains("BEGIN CERTIFICATE"));
    // A key stays with its certificate, not with the next one.
    let mut other = shown.clone();
    other["sslcert"] = json!(std::fs::read_to_string(authority.path("other.crt")).unwrap());
    let refused = program.send("PUT", "/tenants/acme", &other);
    assert_eq!(
        (refused.status, &refused.json()["errors"][0]["pointer"]),
        (422, &json!("/sslkey"))
    );
}

fn a_certificate_that_will_expire_is_in_the_metrics() {
    let authority = Authority::new();
    authority.certify("client", "client", &[]);
    let program = Program::start("tenants: {}");
    assert_eq!(program.post("/tenants", &secured(&authority)).status, 201);
    assert_eq!(program.post("/tenants", &tenant("other")).status, 201);
    let metrics = program.get("/metrics").body;
    let name = "dbbouncer_tenant_certificate_expiry_timestamp_seconds{";
    let samples: Vec<_> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix(name))
        .collect();
    let [sample] = samples.as_slice() else {
        panic!("{samples:?}")
    };
    let (labels, end) = sample.split_once("} ").unwrap();
    // The test's authority certifies until the year 4096.
    assert!(
        labels == "tenant=\"acme\"" && end.parse::<f64>().unwrap() > 6e10,
        "{sample}"
    );
}

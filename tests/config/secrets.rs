//! Where secrets come from, and that they are not shown.

use shards::contract::Secret;

use crate::{complaints, meant, tenant};

#[test]
fn secrets_from_files_and_variables() {
    let password = |more: &str| meant(&tenant(more)).tenants[0].password.clone();
    assert_eq!(
        password("password: file:secrets/db"),
        Some(Secret::new("from a file"))
    );
    assert_eq!(
        password("password: ${PASSWORD}!"),
        Some(Secret::new("s3cret!"))
    );
    assert_eq!(
        password("password: ${TRICKY}"),
        Some(Secret::new("file:nowhere"))
    );
    let said = complaints(&tenant("password: file:secrets/none"));
    assert_eq!(
        said,
        "tenants.t1.password: cannot read secrets/none: entity not found\n"
    );
    let said = complaints(&tenant("password: ${NONE:-}"));
    assert_eq!(
        said,
        "tenants.t1.password: is empty; leave the key out if there is nothing to say\n"
    );
    assert!(complaints(&tenant("password: 0x10")).contains("put it in quotes"));
}

#[test]
fn secrets_are_neither_in_debug_nor_in_complaints() {
    let more = "password: hunter2\nusers: {a: {password: hunter2}, b: {verifier: '*0123456789012345678901234567890123456789'}}";
    let text = tenant(more).replace("postgres", "mysql") + "api_key: hunter2\n";
    let shown = format!("{:?}", meant(&text));
    assert!(
        !shown.contains("hunter2") && !shown.contains("01234567"),
        "{shown}"
    );
    let said = complaints(&tenant(
        "password: [hunter2]\nusers: {b: {verifier: hunter2}}",
    ));
    assert!(
        said.contains("users.b.verifier") && !said.contains("hunter2"),
        "{said}"
    );
}

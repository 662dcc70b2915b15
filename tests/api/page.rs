//! The page at `/` in a real browser.

use testbed::browser;

use crate::plan::tests;
use crate::program::{Program, WAITING};

tests! {
    the_page_comes_with_what_browsers_and_caches_must_know,
    a_person_can_use_the_page needs Browser,
}

fn the_page_comes_with_what_browsers_and_caches_must_know() {
    let program = Program::start("tenants: {}");
    let page = program.ask("GET", "/", &["Accept: text/html"], "");
    assert_eq!(page.header("Content-Type"), "text/html; charset=utf-8");
    assert_eq!(page.header("Vary"), "Accept");
    assert_eq!(page.header("Referrer-Policy"), "no-referrer");
    assert_eq!(page.header("X-Content-Type-Options"), "nosniff");
    assert!(
        page.header("Content-Security-Policy")
            .starts_with("default-src 'none'")
    );
    // To a program the same place says something else, so caches must tell them apart here, too.
    assert_eq!(program.get("/").header("Vary"), "Accept");
}

fn a_person_can_use_the_page() {
    let browser = browser("page.mjs").expect("it is needed");
    // Nobody listens there, so two become unhealthy; the third is not checked.
    let tenant = |db_type: &str| {
        format!(
            "{{db_type: {db_type}, host: 127.0.0.1, port: 9, dbname: d, username: u, password: p}}"
        )
    };
    let (postgres, mysql) = (tenant("postgres"), tenant("mysql"));
    let waiting = format!("{{{WAITING}}}");
    let program = Program::start(&format!(
        "api_key: secret\ndefaults: {{health_check: {{interval: 100ms, failure_threshold: 1}}}}\n\
         tenants: {{quiet_one: {postgres}, quiet_two: {waiting}, busy: {mysql}}}"
    ));
    let key = ["Authorization: Bearer secret"];
    let paused = program.ask("POST", "/tenants/quiet_two/pause", &key, "");
    assert_eq!(paused.status, 202, "{paused:?}");
    let _waiting = ["quiet_two__ann", "quiet_two__bob"].map(|user| program.client(user));
    let url = format!("http://127.0.0.1:{}/", program.api);
    let screenshot = std::env::var("DBBOUNCER_SCREENSHOT").unwrap_or_default();
    browser
        .args([url.as_str(), "secret", &screenshot])
        .run()
        .expect_ok();
}

//! The page at `/` in a real browser.

use testbed::browser;

use crate::plan::tests;
use crate::program::Program;

tests! {
    a_person_can_use_the_page needs Browser,
}

fn a_person_can_use_the_page() {
    let browser = browser("page.mjs").expect("it is needed");
    // Nobody listens there, so all three become unhealthy.
    let tenant = |db_type: &str| {
        format!(
            "{{db_type: {db_type}, host: 127.0.0.1, port: 9, dbname: d, username: u, password: p}}"
        )
    };
    let (postgres, mysql) = (tenant("postgres"), tenant("mysql"));
    let program = Program::start(&format!(
        "api_key: secret\ndefaults: {{health_check: {{interval: 100ms, failure_threshold: 1}}}}\n\
         tenants: {{quiet_one: {postgres}, quiet_two: {postgres}, busy: {mysql}}}"
    ));
    let url = format!("http://127.0.0.1:{}/", program.api);
    let screenshot = std::env::var("DBBOUNCER_SCREENSHOT").unwrap_or_default();
    browser
        .args([url.as_str(), "secret", &screenshot])
        .run()
        .expect_ok();
}

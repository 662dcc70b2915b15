//! The metrics, the alerts and the dashboard before Prometheus' own tools.

use std::fs;
use std::process::{Child, Command, Stdio};

use testbed::{project, prometheus};

use crate::plan::tests;
use crate::program::{ONE_TENANT, Program, Value, eventually, free_port, get_from};

tests! {
    promtool_finds_no_fault_but_the_promised_one needs Prometheus,
    alerts_are_valid_and_fire_when_they_should needs Prometheus,
    prometheus_scrapes_and_the_dashboard_asks_for_what_there_is needs Prometheus,
}

fn promtool_finds_no_fault_but_the_promised_one() {
    let promtool = prometheus("promtool").expect("it is needed");
    let program = Program::start(ONE_TENANT);
    let said = promtool
        .args(["check", "metrics"])
        .fed(&program.get("/metrics").body);
    let faults: Vec<_> = format!("{}{}", said.out, said.err)
        .lines()
        .map(str::to_owned)
        .collect();
    // The name was promised to users; that it is a gauge is what it means.
    assert_eq!(
        faults,
        ["dbbouncer_connections_total non-counter metrics should not have \"_total\" suffix"]
    );
}

fn alerts_are_valid_and_fire_when_they_should() {
    let promtool = prometheus("promtool").expect("it is needed");
    let tests = project("configs/monitoring/alerts.test.yaml");
    promtool
        .args(["test", "rules"])
        .arg(tests)
        .run()
        .expect_ok();
}

fn prometheus_scrapes_and_the_dashboard_asks_for_what_there_is() {
    let program = Program::start(ONE_TENANT);
    let server = Scraper::start(&program);
    eventually("the program is scraped twice", || {
        let scrapes = server.query("count_over_time(up{job=\"dbbouncer\"}[1m]) >= 2 and up == 1");
        (!scrapes.is_empty()).then_some(())
    });
    let dashboard = fs::read_to_string(project("configs/monitoring/dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let expressions = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap());
    for target in expressions {
        let expression = target["expr"].as_str().unwrap();
        let expression = expression
            .replace("$instance", ".*")
            .replace("$tenant", ".*")
            .replace("$__rate_interval", "30s");
        let found = server.query(&expression);
        // What counts by reason or class, and topk of what is zero, has nothing to show in this short life.
        let may_be_empty = ["reason", "(class)", "> 0"]
            .iter()
            .any(|it| expression.contains(it));
        assert!(!found.is_empty() || may_be_empty, "{expression}");
    }
    let health = server.query("dbbouncer_tenant_health{tenant=\"one\", job=\"dbbouncer\"}");
    assert_eq!(health.len(), 1);
}

/// A Prometheus that scrapes one program every second. Stopped when dropped.
struct Scraper {
    child: Child,
    port: u16,
}

impl Scraper {
    fn start(program: &Program) -> Scraper {
        let port = free_port();
        let config = program.folder.join("prometheus.yml");
        let text = format!(
            "global: {{scrape_interval: 1s}}\nscrape_configs: [{{job_name: dbbouncer, static_configs: [{{targets: ['127.0.0.1:{}']}}]}}]\n",
            program.api
        );
        fs::write(&config, text).unwrap();
        let log = fs::File::create(program.folder.join("prometheus.log")).unwrap();
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(
                testbed::cache()
                    .unwrap()
                    .join("prometheus/usr/bin/prometheus"),
            )
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                program.folder.join("tsdb").display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("setpriv (util-linux) is there");
        let scraper = Scraper { child, port };
        eventually("Prometheus is ready", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
            (get_from(port, "/-/ready").status == 200).then_some(())
        });
        scraper
    }

    /// The samples that an expression has now.
    fn query(&self, expression: &str) -> Vec<Value> {
        let escaped: String = expression
            .bytes()
            .map(|byte| format!("%{byte:02X}"))
            .collect();
        let answer = get_from(self.port, &format!("/api/v1/query?query={escaped}"));
        let answer = answer.json();
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        answer["data"]["result"].as_array().unwrap().clone()
    }
}

impl Drop for Scraper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

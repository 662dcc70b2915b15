//! The chart, rendered by both generations of helm and held against the API of Kubernetes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine;
use serde_json::{Value, json};
use testbed::{Said, Tool, cache, project, tool};

use crate::containers;
use crate::plan::Plan;

pub fn plan(plan: &mut Plan) {
    plan.add(
        possible,
        &[
            ("chart::lint_finds_nothing", lint_finds_nothing),
            ("chart::renders_as_agreed", renders_as_agreed),
            (
                "chart::wrong_values_are_refused_in_words",
                wrong_values_are_refused_in_words,
            ),
            ("chart::is_valid_for_kubernetes", is_valid_for_kubernetes),
            (
                "chart::keeps_to_the_restricted_standard",
                keeps_to_the_restricted_standard,
            ),
            ("chart::its_config_is_good", its_config_is_good),
            ("chart::secrets_stay_in_secrets", secrets_stay_in_secrets),
            (
                "chart::odd_values_render_what_kubernetes_takes",
                odd_values_render_what_kubernetes_takes,
            ),
            (
                "chart::tenants_change_without_a_restart",
                tenants_change_without_a_restart,
            ),
            ("chart::pods_have_time_to_drain", pods_have_time_to_drain),
            ("chart::notes_say_how_to_connect", notes_say_how_to_connect),
            (
                "chart::repeats_alerts_dashboard_and_profile",
                repeats_alerts_dashboard_and_profile,
            ),
        ],
    );
}

/// Whether both helms are here.
pub fn possible() -> Result<(), String> {
    let here = GENERATIONS.iter().all(|helm| program(helm).exists());
    here.then_some(())
        .ok_or("NO HELM ON THIS MACHINE (scripts/install-test-deps)".to_owned())
}

fn lint_finds_nothing() {
    let about = fs::read_to_string(chart().join("Chart.yaml")).unwrap();
    let about: Value = serde_yaml::from_str(&about).unwrap();
    assert_eq!(about["appVersion"], env!("CARGO_PKG_VERSION"));
    for helm in GENERATIONS {
        let said = run(helm, &["lint", "--strict"])
            .arg(chart())
            .run()
            .expect_ok();
        assert!(
            said.contains("0 chart(s) failed") && !said.contains("WARN"),
            "{helm}: {said}"
        );
    }
}

/// What both generations make of the README's line, and of values that use everything, is what was looked at and
/// agreed to. `UPDATE_GOLDEN=1` writes it anew, to be looked at again.
fn renders_as_agreed() {
    for (name, values) in [("plain", plain()), ("full", full())] {
        let golden = project("tests/packaging/golden").join(format!("{name}.yaml"));
        for helm in GENERATIONS {
            let rendered = without_blank_lines(&template(helm, &values).expect_ok());
            if std::env::var_os("UPDATE_GOLDEN").is_some() {
                fs::write(&golden, &rendered).unwrap();
            }
            let agreed = fs::read_to_string(&golden).unwrap();
            let difference = rendered
                .lines()
                .zip(agreed.lines())
                .find(|(now, then)| now != then);
            assert!(
                rendered == agreed,
                "{helm} renders {name} otherwise: {difference:?}"
            );
        }
    }
}

fn wrong_values_are_refused_in_words() {
    let tenant = "config.tenants.a.db_type=postgres,config.tenants.a.host=h,config.tenants.a.dbname=d,config.tenants.a.username=u";
    for (values, words) in [
        ("replicas=3", "replicas"),
        ("seccomp.type=localhost", "seccomp"),
        ("config.listen.postgres_prot=1", "postgres_prot"),
        ("config.listen.postgres_port=70000", "postgres_port"),
        ("config.tenants.a.db_type=postgres", "host"),
        (
            &format!("{tenant},config.tenants.a.db_type=oracle"),
            "db_type",
        ),
        (&format!("{tenant},config.tenants.a.hsot=h"), "hsot"),
        (&format!("{tenant},config.tenants.a.password=5"), "password"),
        (
            &format!("{tenant},config.tenants.a.health_check.intervall=5s"),
            "intervall",
        ),
        ("config.api_key.key=k", "say in which Secret its key is"),
        (
            "config.shutdown_grace=5 parsecs",
            "unit other than ms, s, m and h",
        ),
        ("tls.enabled=true", "say where the certificate comes from"),
        (
            "tls.enabled=true,tls.certManager.enabled=true",
            "say who issues the certificate",
        ),
        (
            "autoscaling.enabled=true,autoscaling.minReplicas=5,autoscaling.maxReplicas=2",
            "maxReplicas is below minReplicas",
        ),
        (
            "metrics.serviceMonitor.enabled=true,config.listen.metrics_port=0",
            "config.listen.metrics_port",
        ),
    ] {
        for helm in GENERATIONS {
            let said = template(helm, &["--set".to_owned(), values.to_owned()]);
            assert!(
                !said.ok && said.err.contains(words),
                "{helm}, {values}: {}",
                said.err
            );
        }
    }
}

fn is_valid_for_kubernetes() {
    let validator = cache().unwrap().join("venv/bin/kubernetes-validate");
    let everything = [full(), set("metrics.prometheusRule.enabled=true,metrics.dashboard.enabled=true,seccomp.securityProfilesOperator.enabled=true")].concat();
    let folder = folder("valid");
    let files = [("plain.yaml", plain()), ("full.yaml", everything)].map(|(name, values)| {
        let file = folder.join(name);
        fs::write(&file, template("helm4", &values).expect_ok()).unwrap();
        file
    });
    for release in KUBERNETES {
        let said = tool(&validator.to_string_lossy())
            .args(["--strict", "--quiet", "-k", release])
            .args(&files)
            .run();
        assert!(said.ok, "Kubernetes {release}: {}{}", said.out, said.err);
    }
}

/// The Pod Security Standard "restricted", rule by rule.
fn keeps_to_the_restricted_standard() {
    let documents = documents(&template("helm4", &full()).expect_ok());
    let deployment = find(&documents, "Deployment", "dbbouncer");
    let check = find(&documents, "Pod", "dbbouncer-check");
    for pod in [&deployment["spec"]["template"]["spec"], &check["spec"]] {
        for field in ["hostNetwork", "hostPID", "hostIPC"] {
            assert_eq!(pod[field], Value::Null);
        }
        for volume in pod["volumes"].as_array().unwrap() {
            let kinds = [
                "configMap",
                "secret",
                "projected",
                "emptyDir",
                "persistentVolumeClaim",
                "downwardAPI",
                "csi",
                "ephemeral",
            ];
            assert!(kinds.iter().any(|kind| !volume[kind].is_null()), "{volume}");
        }
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_ne!(pod["securityContext"]["runAsUser"], 0);
        for container in pod["containers"].as_array().unwrap() {
            let context = &container["securityContext"];
            assert_eq!(context["allowPrivilegeEscalation"], false);
            assert_eq!(context["capabilities"], json!({"drop": ["ALL"]}));
            assert_eq!(context["readOnlyRootFilesystem"], true);
            assert_eq!(
                context["seccompProfile"],
                json!({"type": "Localhost", "localhostProfile": "profiles/dbbouncer.json"})
            );
            assert!(!container["ports"].to_string().contains("hostPort"));
        }
    }
}

/// The rendered config, with its secrets where the pod has them, before the program itself.
fn its_config_is_good() {
    for (name, values, tenants) in [
        ("plain", plain(), 1),
        ("full", [full(), set("tls.enabled=false")].concat(), 2),
    ] {
        let documents = documents(&template("helm4", &values).expect_ok());
        let folder = folder(&format!("config-{name}"));
        let config = &find(&documents, "ConfigMap", "dbbouncer")["data"]["config.yaml"];
        fs::write(folder.join("config.yaml"), config.as_str().unwrap()).unwrap();
        put_secrets(&documents, &folder);
        let said = Command::new(env!("CARGO_BIN_EXE_dbbouncer"))
            .args(["check", "--config"])
            .arg(folder.join("config.yaml"))
            .env("TWO", "from the environment")
            .output()
            .unwrap();
        let (out, err) = (
            String::from_utf8_lossy(&said.stdout),
            String::from_utf8_lossy(&said.stderr),
        );
        assert!(
            said.status.success() && out.contains(&format!("good; tenants: {tenants}")),
            "{name}: {out}{err}"
        );
        // Written with the dollar doubled, as everywhere in a config.
        let password = fs::read_to_string(folder.join("tenants.one.password"));
        assert!(name == "plain" || password.unwrap() == "s3cret-$one");
    }
}

/// The files that the pod's volume has beside the config: of the chart's own Secret, and made up what is others'.
fn put_secrets(documents: &[Value], folder: &Path) {
    let volumes =
        &find(documents, "Deployment", "dbbouncer")["spec"]["template"]["spec"]["volumes"];
    for source in volumes[0]["projected"]["sources"].as_array().unwrap() {
        for item in source["secret"]["items"].as_array().into_iter().flatten() {
            fs::write(
                folder.join(item["path"].as_str().unwrap()),
                "somebody else's",
            )
            .unwrap();
        }
    }
    let own = documents
        .iter()
        .find(|document| document["kind"] == "Secret");
    for (key, text) in own.iter().flat_map(|own| own["data"].as_object().unwrap()) {
        let text = base64::prelude::BASE64_STANDARD
            .decode(text.as_str().unwrap())
            .unwrap();
        fs::write(folder.join(key), text).unwrap();
    }
}

fn secrets_stay_in_secrets() {
    let everywhere =
        "config.defaults.auth_password=s3cret-asker,config.tenants.one.auth_password=s3cret-other";
    for way in ["files", "env"] {
        let values = [full(), set(&format!("secrets.as={way},{everywhere}"))].concat();
        let rendered = template("helm4", &values).expect_ok();
        assert!(!rendered.contains("s3cret"), "in clear");
        let holders: Vec<_> = documents(&rendered)
            .iter()
            .filter(|document| document.to_string().contains("czNjcmV0"))
            .map(|document| document["kind"].clone())
            .collect();
        assert_eq!(holders, ["Secret"]);
    }
    // A Secret that somebody made is taken as a whole, and the chart makes none.
    let values = [plain(), set("secrets.existingSecret=ours")].concat();
    let documents = documents(&template("helm4", &values).expect_ok());
    assert!(
        documents
            .iter()
            .all(|document| document["kind"] != "Secret")
    );
    let volume =
        &find(&documents, "Deployment", "dbbouncer")["spec"]["template"]["spec"]["volumes"][0];
    assert_eq!(
        volume["projected"]["sources"][0],
        json!({"secret": {"name": "ours"}})
    );
    let config = find(&documents, "ConfigMap", "dbbouncer")["data"]["config.yaml"].to_string();
    for reference in [
        "api_key: file:api_key",
        "password: file:tenants.my_tenant.password",
    ] {
        assert!(config.contains(reference), "{reference} in {config}");
    }
}

/// Values that few people set.
fn odd_values_render_what_kubernetes_takes() {
    let folder = folder("odd");
    let odd = [
        "service.type=LoadBalancer,service.loadBalancerSourceRanges[0]=10.0.0.0/8,service.externalTrafficPolicy=Local",
        "replicaCount=0,connectionsScope=total,probes=null,resources=null",
        "config.listen.mysql_port=0,config.listen.metrics_port=0,serviceAccount.create=false",
        "podDisruptionBudget.minAvailable=50%,fullnameOverride=pool,podAntiAffinity=none",
        "config.defaults.auth_query=pg_authid,config.defaults.auth_user=a,config.defaults.auth_password=s3cret,secrets.as=env",
        "networkPolicy.enabled=true,networkPolicy.egress.enabled=true,service.type=NodePort,service.postgresNodePort=30432",
        "config.listen.host=::,service.ipFamilyPolicy=PreferDualStack,service.ipFamilies={IPv6,IPv4},service.sessionAffinity=None,dnsPolicy=Default,hostAliases[0].ip=10.0.0.1,hostAliases[0].hostnames={pg-host},deploymentAnnotations.a=b",
    ];
    let mut files = Vec::new();
    for (number, values) in odd.iter().enumerate() {
        let rendered = template("helm4", &[plain(), set(values)].concat()).expect_ok();
        assert!(!rendered.contains("s3cret"), "in clear");
        files.push(folder.join(format!("{number}.yaml")));
        fs::write(&files[number], rendered).unwrap();
    }
    let validator = cache().unwrap().join("venv/bin/kubernetes-validate");
    let said = tool(&validator.to_string_lossy())
        .args(["--strict", "--quiet", "-k", KUBERNETES[1]])
        .args(&files)
        .run();
    assert!(said.ok, "{}{}", said.out, said.err);
}

fn tenants_change_without_a_restart() {
    let deployment = |more: &str| {
        let values = [full(), set(more)].concat();
        find(
            &documents(&template("helm4", &values).expect_ok()),
            "Deployment",
            "dbbouncer",
        )
        .clone()
    };
    let before = deployment("config.tenants.one.host=pg-one");
    assert_eq!(before, deployment("config.tenants.one.host=elsewhere"));
    assert_eq!(
        before,
        deployment("config.tenants.one.password=another,config.defaults.pool_mode=transaction")
    );
    for needs_one in [
        "config.listen.mysql_port=3308",
        "config.limits.client_connections=7",
        "config.api_key=another",
        "config.log_format=text",
    ] {
        let annotation = |deployment: &Value| {
            deployment["spec"]["template"]["metadata"]["annotations"]["checksum/needs-restart"]
                .clone()
        };
        assert_ne!(
            annotation(&before),
            annotation(&deployment(needs_one)),
            "{needs_one}"
        );
    }
}

fn pods_have_time_to_drain() {
    for (values, seconds) in [
        ("config.shutdown_grace=30s", 40),
        ("config.shutdown_grace=1h 30m", 5410),
        ("config.shutdown_grace=1500ms", 12),
        ("config.shutdown_grace=0", 10),
        ("config.shutdown_grace=5m,preStopSleepSeconds=0", 305),
        ("terminationGracePeriodSeconds=7", 7),
    ] {
        let documents = documents(&template("helm4", &set(values)).expect_ok());
        let pod = &find(&documents, "Deployment", "dbbouncer")["spec"]["template"]["spec"];
        assert_eq!(pod["terminationGracePeriodSeconds"], seconds, "{values}");
    }
}

/// The older helm asks a cluster before it shows any.
fn notes_say_how_to_connect() {
    let said = run("helm4", &["install", "dbbouncer", "--dry-run=client"])
        .arg(chart())
        .arg("--namespace=shop")
        .args(plain())
        .run()
        .expect_ok();
    let (_, notes) = said.split_once("NOTES:").unwrap();
    for words in [
        "host=dbbouncer.shop port=6432 user=my_tenant__app dbname=mydb",
        "nobody can connect to my_tenant",
        "2 x max_connections",
        "--set seccomp.type=Localhost",
    ] {
        assert!(notes.contains(words), "{words} in {notes}");
    }
}

fn repeats_alerts_dashboard_and_profile() {
    tool(&project("scripts/chart-files").to_string_lossy())
        .arg("--check")
        .run()
        .expect_ok();
    let values = set(
        "metrics.prometheusRule.enabled=true,metrics.dashboard.enabled=true,seccomp.securityProfilesOperator.enabled=true,seccomp.type=Localhost",
    );
    let documents = documents(&template("helm4", &values).expect_ok());
    let file = |path: &str| fs::read_to_string(project(path)).unwrap();
    let rules: Value = serde_yaml::from_str(&file("configs/monitoring/alerts.yaml")).unwrap();
    assert_eq!(
        find(&documents, "PrometheusRule", "dbbouncer")["spec"],
        rules
    );
    let dashboard = &find(&documents, "ConfigMap", "dbbouncer-dashboard")["data"]["dbbouncer.json"];
    assert_eq!(
        dashboard.as_str().unwrap().trim_end(),
        file("configs/monitoring/dashboard.json").trim_end()
    );
    let profile: Value = serde_json::from_str(&file("configs/seccomp/dbbouncer.json")).unwrap();
    let resource = find(&documents, "SeccompProfile", "dbbouncer");
    let names = |profile: &Value| -> Vec<Value> {
        profile["syscalls"]
            .as_array()
            .unwrap()
            .iter()
            .map(|rule| json!([rule["names"], rule["action"], rule["args"]]))
            .collect()
    };
    assert_eq!(names(&resource["spec"]), names(&profile));
}

/// The line of the README.
fn plain() -> Vec<String> {
    set(
        "config.tenants.my_tenant.db_type=postgres,config.tenants.my_tenant.host=pg-host,config.tenants.my_tenant.port=5432,\
         config.tenants.my_tenant.dbname=mydb,config.tenants.my_tenant.username=appuser",
    )
}

pub fn full() -> Vec<String> {
    let file = project("tests/packaging/values/full.yaml");
    vec!["--values".to_owned(), file.display().to_string()]
}

pub fn set(values: &str) -> Vec<String> {
    vec!["--set".to_owned(), values.to_owned()]
}

/// The chart with these values, as a release called dbbouncer.
pub fn template(helm: &str, values: &[String]) -> Said {
    run(helm, &["template", "dbbouncer"])
        .arg(chart())
        .args(["--namespace=shop", "--kube-version=1.33.0"])
        .args(values)
        .run()
}

/// helm, about to be run with a home of its own.
fn run(helm: &str, arguments: &[&str]) -> Tool {
    let home = folder("helm").display().to_string();
    tool(&program(helm).to_string_lossy())
        .args(arguments)
        .env("HELM_CACHE_HOME", &home)
        .env("HELM_CONFIG_HOME", &home)
        .env("HELM_DATA_HOME", &home)
}

fn program(helm: &str) -> PathBuf {
    cache().unwrap_or_default().join("helm").join(helm)
}

fn chart() -> PathBuf {
    project("helm/dbbouncer")
}

/// A folder of this name among what goes away in the end.
fn folder(name: &str) -> PathBuf {
    let folder = containers::scratch().join(name);
    fs::create_dir_all(&folder).unwrap();
    folder
}

pub fn documents(rendered: &str) -> Vec<Value> {
    use serde::Deserialize;
    let documents = serde_yaml::Deserializer::from_str(rendered)
        .map(|document| Value::deserialize(document).unwrap());
    documents.filter(|document| !document.is_null()).collect()
}

/// The document of this kind and name.
pub fn find<'a>(documents: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let found = documents
        .iter()
        .find(|document| document["kind"] == kind && document["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("no {kind} {name}"))
}

fn without_blank_lines(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines.map(|line| format!("{line}\n")).collect()
}

const GENERATIONS: [&str; 2] = ["helm3", "helm4"];
/// The oldest release that the chart is for, one in between, and a new one.
const KUBERNETES: [&str; 3] = ["1.30", "1.33", "1.37"];

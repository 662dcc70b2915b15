//! The objects that are no part of Kubernetes itself, held against the definitions of those whose they are: Prometheus'
//! operator and cert-manager. TypeScript's compiler finds fields that do not exist, which a cluster would drop without a
//! word; the schemas find values that are not allowed.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use testbed::{cache, tool};

use crate::chart::{self, documents, full, set, template};
use crate::containers;
use crate::plan::Plan;

pub fn plan(plan: &mut Plan) {
    let definitions = || {
        let here = compiler().exists();
        here.then_some(()).ok_or(
            "NO DEFINITIONS OF CUSTOM RESOURCES ON THIS MACHINE (scripts/install-test-deps)"
                .to_owned(),
        )
    };
    plan.add(
        || chart::possible().and_then(|()| definitions()),
        &[(
            "custom::resources_are_what_their_operators_know",
            resources_are_what_their_operators_know,
        )],
    );
}

fn resources_are_what_their_operators_know() {
    let values = [
        full(),
        set("metrics.prometheusRule.enabled=true,metrics.serviceMonitor.interval=15s"),
    ]
    .concat();
    let documents = documents(&template("helm4", &values).expect_ok());
    let mut script = String::new();
    for (kind, module) in DEFINED {
        let ours = documents.iter().find(|document| document["kind"] == *kind);
        let ours = ours.unwrap_or_else(|| panic!("no {kind} is rendered"));
        let _ = writeln!(
            script,
            "import {{ I{kind}, {kind} }} from '{module}';\nconst {kind}_: I{kind} = {ours};\nnew {kind}({kind}_).validate();"
        );
    }
    // What is not there is found.
    script.push_str("// @ts-expect-error\nconst wrong: IPrometheusRule = {spec: {group: []}};\n");

    let folder = containers::scratch().join("custom");
    fs::create_dir_all(&folder).unwrap();
    let modules = folder.join("node_modules");
    if !modules.exists() {
        std::os::unix::fs::symlink(packages(), modules).unwrap();
    }
    fs::write(folder.join("resources.mts"), script).unwrap();
    tool(&compiler().to_string_lossy())
        .args(["--strict", "--skipLibCheck", "--target", "es2022"])
        .args(["--module", "nodenext", "--moduleResolution", "nodenext"])
        .arg(folder.join("resources.mts"))
        .run()
        .expect_ok();
    tool("node")
        .arg(folder.join("resources.mjs"))
        .run()
        .expect_ok();
}

fn packages() -> PathBuf {
    cache().unwrap_or_default().join("crds/node_modules")
}

fn compiler() -> PathBuf {
    packages().join(".bin/tsc")
}

const DEFINED: &[(&str, &str)] = &[
    (
        "ServiceMonitor",
        "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/ServiceMonitor",
    ),
    (
        "PrometheusRule",
        "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/PrometheusRule",
    ),
    (
        "Certificate",
        "@kubernetes-models/cert-manager/cert-manager.io/v1/Certificate",
    ),
];

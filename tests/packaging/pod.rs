//! The chart's manifests, started: podman plays the kubelet.

use std::fs;

use testbed::{Kind, Server, Tenant, eventually, free_port, tool};

use crate::chart::{self, documents, find, set, template};
use crate::containers::{STAND_IN, containers, our_profile};
use crate::image::{self, ask, image};
use crate::plan::Plan;

pub fn plan(plan: &mut Plan) {
    plan.add(
        || chart::possible().and_then(|()| image::possible()),
        &[
            ("pod::serves_as_rendered", serves_as_rendered),
            (
                "pod::installer_puts_the_profile_on_a_node",
                installer_puts_the_profile_on_a_node,
            ),
        ],
    );
}

/// The rendered ConfigMap and Deployment, as they are. This podman reads the seccomp profile from an annotation, and knows
/// no projected volumes: the password comes by the environment. The machine's loopback is 10.0.2.2 to the pod.
fn serves_as_rendered() {
    image();
    let server = Server::shared(Kind::Postgres);
    let tenant = Tenant::on(server, "pod");
    let folder = containers().folder.join("pod");
    fs::create_dir_all(&folder).unwrap();
    let (port, metrics) = (free_port(), free_port());
    let at = format!("config.tenants.{}", tenant.id);
    let mut values = set(&format!(
        "fullnameOverride=played,replicaCount=1,image.repository=localhost/dbbouncer,image.tag=test,image.pullPolicy=Never,resources=null,\
         config.listen.postgres_port={port},config.listen.mysql_port=0,config.listen.api_port=0,config.listen.metrics_port={metrics},\
         {at}.db_type=postgres,{at}.host=10.0.2.2,{at}.port={},{at}.dbname={},{at}.username={},secrets.as=env,{at}.password=${{TENANT_PASSWORD}},\
         extraEnv[0].name=TENANT_PASSWORD,extraEnv[0].value={}",
        server.address.port(),
        tenant.dbname,
        tenant.username,
        tenant.password,
    ));
    values.extend(set(
        r"podAnnotations.seccomp\.security\.alpha\.kubernetes\.io/pod=localhost/dbbouncer.json",
    ));
    let rendered = documents(&template("helm4", &values).expect_ok());
    let played: Vec<_> = [("ConfigMap", "played"), ("Deployment", "played")]
        .map(|(kind, name)| find(&rendered, kind, name).to_string())
        .into();
    let manifest = folder.join("manifest.yaml");
    fs::write(&manifest, played.join("\n---\n")).unwrap();
    let profile = our_profile();
    let (_, profile) = profile.rsplit_once('=').unwrap();
    let profiles = std::path::Path::new(profile)
        .parent()
        .unwrap()
        .display()
        .to_string();

    let said = containers()
        .podman(&[
            "play",
            "kube",
            "--network=slirp4netns:allow_host_loopback=true",
            "--build=false",
            "--seccomp-profile-root",
            &profiles,
        ])
        .arg(&manifest)
        .run();
    assert!(said.ok, "{}{}", said.out, said.err);
    let name = containers()
        .podman(&["ps", "--filter=name=-dbbouncer$", "--format={{.Names}}"])
        .run()
        .expect_ok();
    let log = || {
        let said = containers().podman(&["logs", &name]).run();
        said.out + &said.err
    };
    eventually("the pod is ready", || {
        log().contains("ready: ").then_some(())
    });
    assert_eq!(ask(port, &tenant), tenant.id);
    for path in ["health", "ready", "metrics"] {
        let url = format!("http://127.0.0.1:{metrics}/{path}");
        tool("curl")
            .args(["--fail", "--silent", "--show-error", &url])
            .run()
            .expect_ok();
    }
    let pid = containers()
        .podman(&["inspect", "--format={{.State.Pid}}", &name])
        .run()
        .expect_ok();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    for line in [
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
        "CapEff:\t0000000000000000",
        "Uid:\t64532\t",
    ] {
        assert!(status.contains(line), "{line} in {status}");
    }
    containers()
        .podman(&["pod", "rm", "--force", "--time=20", "--all"])
        .run()
        .expect_ok();
}

/// What the DaemonSet does, on a folder in the place of the kubelet's.
fn installer_puts_the_profile_on_a_node() {
    let values = set("seccomp.type=Localhost,seccomp.installer.enabled=true");
    let rendered = documents(&template("helm4", &values).expect_ok());
    let pod = &find(&rendered, "DaemonSet", "dbbouncer-seccomp")["spec"]["template"]["spec"];
    let script = pod["containers"][0]["args"][0].as_str().unwrap();
    let folder = containers().folder.join("node");
    let (profile, host) = (folder.join("profile"), folder.join("host"));
    fs::create_dir_all(&profile).unwrap();
    fs::create_dir_all(&host).unwrap();
    let text = find(&rendered, "ConfigMap", "dbbouncer-seccomp")["data"]["profile.json"]
        .as_str()
        .unwrap();
    fs::write(profile.join("profile.json"), text).unwrap();
    let volumes = [
        format!("--volume={}:/profile:ro", profile.display()),
        format!("--volume={}:/host", host.display()),
    ];
    let run = [
        "run",
        "--detach",
        "--name=installer",
        "--timeout=120",
        "--read-only",
        "--cap-drop=ALL",
        "--network=host",
        "--ulimit=host",
    ];
    containers()
        .podman(&run)
        .args(&volumes)
        .args([STAND_IN, "sh", "-c", script])
        .run()
        .expect_ok();
    eventually("the profile is installed", || {
        let said = containers().podman(&["logs", "installer"]).run();
        said.out
            .contains("installed profiles/dbbouncer.json")
            .then_some(())
    });
    assert_eq!(
        fs::read_to_string(host.join("profiles/dbbouncer.json")).unwrap(),
        text
    );
    containers()
        .podman(&["stop", "--time=10", "installer"])
        .run()
        .expect_ok();
    let code = containers()
        .podman(&["inspect", "--format={{.State.ExitCode}}", "installer"])
        .run();
    assert_eq!(code.out.trim(), "0");
}

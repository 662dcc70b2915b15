//! The image: what is in it, and that it serves with nothing granted but the rings.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::Value;
use testbed::{Kind, Server, Tenant, eventually, free_port, project, tool};

use crate::containers::{self, Container, STAND_IN, containers, our_profile, run};
use crate::plan::Plan;

pub fn plan(plan: &mut Plan) {
    plan.add(
        possible,
        &[
            ("image::holds_what_it_should", holds_what_it_should),
            ("image::says_what_it_is", says_what_it_is),
            (
                "image::serves_with_nothing_granted",
                serves_with_nothing_granted,
            ),
            (
                "image::default_profile_is_refused_in_words",
                default_profile_is_refused_in_words,
            ),
        ],
    );
}

/// Whether the image can be made and run here.
pub fn possible() -> Result<(), String> {
    if !project(PROGRAM).exists() {
        return Err("NO bin/dbbouncer YET (make build)".to_owned());
    }
    if !Kind::Postgres.is_here() {
        return Err("NO POSTGRESQL ON THIS MACHINE".to_owned());
    }
    containers::possible()
}

/// The image of the program that `make build` made, by the Dockerfile that users build with.
pub fn image() -> &'static str {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| {
        let builder = format!("--build-arg=BUILDER_IMAGE={STAND_IN}");
        let prebuilt = format!("--build-arg=PREBUILT={PROGRAM}");
        let version = concat!("--build-arg=VERSION=", env!("CARGO_PKG_VERSION"));
        containers()
            .build(IMAGE, &project(""), &[&builder, &prebuilt, version])
            .expect_ok();
    });
    IMAGE
}

fn holds_what_it_should() {
    image();
    let container = containers()
        .buildah(&["from", "--pull-never", IMAGE])
        .run()
        .expect_ok();
    let root = containers()
        .buildah(&["mount", &container])
        .run()
        .expect_ok();
    let expected = "\
etc/dbbouncer/
etc/group
etc/passwd
etc/ssl/certs/ca-certificates.crt
usr/bin/dbbouncer
usr/share/doc/dbbouncer/LICENSE
var/lib/dbbouncer/";
    assert_eq!(leaves(Path::new(&root)).join("\n"), expected);
    let passwd = fs::read_to_string(Path::new(&root).join("etc/passwd")).unwrap();
    assert!(passwd.starts_with("dbbouncer:x:64532:64532:"), "{passwd}");
}

/// Files, and folders with nothing in them, in order.
fn leaves(root: &Path) -> Vec<String> {
    let listed = tool("find").arg(root).args([
        "-empty", "-type", "d", "-printf", "%P/\n", "-o", "-type", "f", "-printf", "%P\n",
    ]);
    let mut leaves: Vec<_> = listed
        .run()
        .expect_ok()
        .lines()
        .map(ToOwned::to_owned)
        .collect();
    leaves.sort();
    leaves
}

fn says_what_it_is() {
    let said = containers()
        .podman(&["image", "inspect", image()])
        .run()
        .expect_ok();
    let facts: Value = serde_json::from_str(&said).unwrap();
    let config = &facts[0]["Config"];
    assert_eq!(config["User"], "64532:64532");
    assert_eq!(config["Entrypoint"][0], "/usr/bin/dbbouncer");
    assert_eq!(config["StopSignal"], "SIGTERM");
    let ports: Vec<_> = config["ExposedPorts"].as_object().unwrap().keys().collect();
    assert_eq!(ports, ["3307/tcp", "6432/tcp", "8080/tcp"]);
    let label = |name: &str| &config["Labels"][format!("org.opencontainers.image.{name}")];
    assert_eq!(
        (label("title"), label("licenses")),
        (&"DBBouncer".into(), &"MIT".into())
    );
    assert_eq!(label("version"), env!("CARGO_PKG_VERSION"));
}

fn serves_with_nothing_granted() {
    let place = Place::new("serves");
    let container = Container::start(image(), &[&our_profile(), &place.volume()], &[]);
    eventually("the container is ready", || {
        container.log().contains("ready: ").then_some(())
    });
    assert_eq!(place.ask(), place.tenant.id);

    container.is_healthy();

    // One more tenant comes with the next version of the volume, and nothing is started anew.
    let pid = container.inspect("{{.State.Pid}}");
    let another = Tenant::on(Server::shared(Kind::Postgres), "serves");
    place.brings(2, &[&place.tenant, &another]);
    eventually("the new config is in force", || {
        container
            .log()
            .contains("config loaded: 1 tenants changed")
            .then_some(())
    });
    assert_eq!(ask(place.port, &another), another.id);
    assert_eq!(place.ask(), place.tenant.id);
    assert_eq!(container.inspect("{{.State.Pid}}"), pid);

    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let value = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        line.unwrap_or_default()
            .split_whitespace()
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    assert_eq!(value("Uid:"), "64532");
    assert_eq!(u64::from_str_radix(&value("CapEff:"), 16), Ok(0));
    assert_eq!(
        (value("NoNewPrivs:").as_str(), value("Seccomp:").as_str()),
        ("1", "2")
    );

    assert_eq!(container.stop(), 0);
    assert!(container.log().contains("stopped"));
}

/// podman's own profile forbids io_uring, as those of containerd and Docker do.
fn default_profile_is_refused_in_words() {
    let place = Place::new("refused");
    let name = "--name=refused";
    let said = containers()
        .podman(&[
            "run",
            name,
            "--network=host",
            "--ulimit=host",
            &place.volume(),
            image(),
        ])
        .run();
    let code = containers()
        .podman(&["inspect", "--format={{.State.ExitCode}}", "refused"])
        .run();
    assert_eq!(code.out.trim(), "71", "{}", said.err);
    for words in [
        "cannot run on this machine",
        "io_uring_setup",
        "seccompProfile",
        "--security-opt seccomp=FILE",
    ] {
        assert!(said.err.contains(words), "{words} in {}", said.err);
    }
    let (profile, volume) = (our_profile(), place.volume());
    let said = run(image(), &[&profile, &volume], &["check", "--system"]).expect_ok();
    assert!(said.ends_with("this machine: good"), "{said}");
}

/// A tenant on a real PostgreSQL, and a folder with the config for it, as the kubelet keeps a volume.
struct Place {
    folder: PathBuf,
    tenant: Tenant,
    port: u16,
    api: u16,
}

impl Place {
    fn new(name: &str) -> Place {
        let place = Place {
            folder: containers().folder.join(name),
            tenant: Tenant::on(Server::shared(Kind::Postgres), name),
            port: free_port(),
            api: free_port(),
        };
        fs::create_dir_all(&place.folder).unwrap();
        place.brings(1, &[&place.tenant]);
        place
    }

    /// The next version of the volume: config and secrets in a folder of its own, to which a link points in one step.
    fn brings(&self, version: u32, tenants: &[&Tenant]) {
        let fresh = format!("..{version}");
        fs::create_dir(self.folder.join(&fresh)).unwrap();
        let mut config = format!(
            "listen: {{host: 127.0.0.1, postgres_port: {}, mysql_port: 0, api_port: {}}}\nruntime: {{shards: 2}}\ntenants:\n",
            self.port, self.api
        );
        let port = Server::shared(Kind::Postgres).address.port();
        let mut files = Vec::new();
        for tenant in tenants {
            let Tenant {
                id,
                dbname,
                username,
                password,
                ..
            } = tenant;
            let secret = format!("tenants.{id}.password");
            // By name, since a static program looks names up in a way of its own.
            config += &format!(
                "  {id}: {{db_type: postgres, host: localhost, port: {port}, dbname: {dbname}, username: {username}, password: 'file:{secret}'}}\n"
            );
            files.push((secret, password.clone()));
        }
        files.push(("config.yaml".to_owned(), config));
        for (name, text) in files {
            fs::write(self.folder.join(&fresh).join(&name), text).unwrap();
            let _ = symlink(format!("..data/{name}"), self.folder.join(name));
        }
        symlink(&fresh, self.folder.join("..data_tmp")).unwrap();
        fs::rename(self.folder.join("..data_tmp"), self.folder.join("..data")).unwrap();
    }

    fn volume(&self) -> String {
        format!("--volume={}:/etc/dbbouncer:ro", self.folder.display())
    }

    /// What the tenant's database answers through the container.
    fn ask(&self) -> String {
        ask(self.port, &self.tenant)
    }
}

/// The name that the tenant's database knows itself by, asked for through this port.
pub fn ask(port: u16, tenant: &Tenant) -> String {
    let to = format!(
        "host=127.0.0.1 port={port} user=app dbname={} options='-c tenant_id={}'",
        tenant.dbname, tenant.id
    );
    tool("psql")
        .args(["-X", "-A", "-t", "-c", "SELECT id FROM whoami", &to])
        .env("PGPASSWORD", &tenant.password)
        .run()
        .expect_ok()
}

const IMAGE: &str = "localhost/dbbouncer:test";
pub const PROGRAM: &str = "bin/dbbouncer";

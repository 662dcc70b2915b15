//! The Debian package, on a Debian that systemd has started: installed, upgraded, removed, purged, installed again.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use testbed::{cache, project, tool};

use crate::containers;
use crate::image;
use crate::machine::{self, Machine};
use crate::plan::Plan;

pub fn plan(plan: &mut Plan) {
    let packer = || {
        packer()
            .map(|_| ())
            .ok_or("NO cargo-deb ON THIS MACHINE (scripts/install-test-deps)".to_owned())
    };
    plan.add(
        || {
            packer()?;
            image::possible()?;
            machine::possible()
        },
        &[(
            "debian::package_comes_stays_and_goes",
            package_comes_stays_and_goes,
        )],
    );
}

fn package_comes_stays_and_goes() {
    let machine = Machine::boot("debian", "none");
    let first = package();
    let install = |package: &Path| {
        let there = machine.root.join("srv/dbbouncer.deb");
        fs::copy(package, there).unwrap();
        machine.must(&["dpkg", "--install", "--force-confold", "/srv/dbbouncer.deb"]);
    };
    let mode = |path: &str| machine.must(&["stat", "--format=%a %U:%G", path]);

    // It comes up by itself, as a user of its own, with a config that others cannot read.
    install(&first);
    machine.becomes("ActiveState", "active");
    assert_eq!(machine.property("User"), "dbbouncer");
    assert_eq!(
        machine.must(&["systemctl", "is-enabled", "dbbouncer"]),
        "enabled"
    );
    assert_eq!(mode(CONFIG), "640 root:dbbouncer");
    assert_eq!(mode("/var/lib/dbbouncer"), "700 dbbouncer:dbbouncer");
    machine.must(&["dbbouncer", "healthcheck", "--config", CONFIG]);
    assert!(machine.must(&["dpkg", "--verify", "dbbouncer"]).is_empty());

    // An upgrade starts the new one, and leaves alone what an administrator has changed.
    let edited = machine.must(&["cat", CONFIG]) + "\n# edited\nlog_format: json\n";
    machine.write(CONFIG, &edited);
    machine.must(&[
        "dpkg-statoverride",
        "--force-statoverride-add",
        "--update",
        "--add",
        "root",
        "root",
        "0644",
        CONFIG,
    ]);
    machine.must(&["chmod", "644", CONFIG]);
    machine.write("/var/lib/dbbouncer/kept", "");
    let before = machine.property("MainPID");
    install(&newer(&first));
    machine.becomes("ActiveState", "active");
    assert_ne!(machine.property("MainPID"), before);
    assert_eq!(machine.must(&["cat", CONFIG]), edited.trim_end());
    assert!(
        machine
            .root
            .join(format!("{CONFIG}.dpkg-dist").trim_start_matches('/'))
            .exists()
    );
    machine.must(&["stat", "/var/lib/dbbouncer/kept"]);

    // Removed, it is gone, but for its config; purged, it has never been; and then it may come again.
    machine.must(&["dpkg", "--remove", "dbbouncer"]);
    assert_eq!(machine.property("ActiveState"), "inactive");
    assert!(!machine.root.join("usr/bin/dbbouncer").exists());
    assert_eq!(machine.must(&["cat", CONFIG]), edited.trim_end());
    install(&first);
    machine.becomes("ActiveState", "active");
    assert_eq!(mode(CONFIG), "644 root:root");
    machine.must(&["dpkg", "--purge", "dbbouncer"]);
    for path in [
        "etc/dbbouncer",
        "var/lib/dbbouncer",
        "usr/share/doc/dbbouncer",
    ] {
        assert!(!machine.root.join(path).exists(), "{path}");
    }
    machine.must(&["dpkg-statoverride", "--remove", CONFIG]);
    install(&first);
    machine.becomes("ActiveState", "active");
    assert_eq!(mode(CONFIG), "640 root:dbbouncer");
}

/// The package of the program that `make build` made.
fn package() -> PathBuf {
    let folder = containers::scratch().join("package");
    let made = folder.join("target/deb");
    for inside in ["src", "target/deb/bin", "target/deb/man"] {
        fs::create_dir_all(folder.join(inside)).unwrap();
    }
    for part in [
        "packaging",
        "configs",
        "docs",
        "README.md",
        "CHANGELOG.md",
        "LICENSE",
    ] {
        symlink(project(part), folder.join(part)).unwrap();
    }
    let program = project(image::PROGRAM);
    let here = made.join("bin/dbbouncer");
    tool("strip")
        .arg("-o")
        .arg(&here)
        .arg(&program)
        .run()
        .expect_ok();
    let program = program.to_string_lossy();
    tool(&program)
        .args(["man", "--dir"])
        .arg(made.join("man"))
        .run()
        .expect_ok();
    for (shell, name) in [
        ("bash", "dbbouncer"),
        ("zsh", "_dbbouncer"),
        ("fish", "dbbouncer.fish"),
    ] {
        let said = tool(&program)
            .args(["completions", shell])
            .run()
            .expect_ok();
        fs::write(made.join(name), said).unwrap();
    }
    let changelog =
        tool(&project("scripts/debian-changelog").to_string_lossy()).args(["0.1.0-1", BUILDER]);
    fs::write(made.join("changelog"), changelog.run().expect_ok() + "\n").unwrap();
    fs::write(folder.join("src/main.rs"), "fn main() {}\n").unwrap();
    fs::write(folder.join("Cargo.toml"), manifest()).unwrap();
    let file = folder.join("first.deb");
    tool(&packer().unwrap().to_string_lossy())
        .args(["--no-build", "--fast", "--manifest-path"])
        .arg(folder.join("Cargo.toml"))
        .arg("--output")
        .arg(&file)
        .run()
        .expect_ok();
    file
}

/// What our manifest says of the package, in one of its own: a cargo-deb that is to be had compiled knows no workspaces
/// like ours.
fn manifest() -> String {
    let ours = fs::read_to_string(project("Cargo.toml")).unwrap();
    let (_, deb) = ours.split_once("[package.metadata.deb]").unwrap();
    let (deb, _) = deb.split_once("\n[[").unwrap();
    format!(
        "[package]\nname = \"dbbouncer\"\nversion = \"0.1.0\"\nedition = \"2021\"\nlicense = \"MIT\"\n\
         authors = [\"{BUILDER}\"]\ndescription = \"Connection pooler\"\n[package.metadata.deb]{deb}\n"
    )
}

/// The next release: the same in all but its version, and its config has one more line.
fn newer(package: &Path) -> PathBuf {
    let folder = containers::scratch().join("newer");
    let deb = || tool("dpkg-deb");
    deb().arg("-R").arg(package).arg(&folder).run().expect_ok();
    let change = |path: &str, from: &str, to: &str| {
        let file = folder.join(path);
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(from));
        fs::write(file, text.replacen(from, to, 1)).unwrap();
    };
    change("DEBIAN/control", "Version: 0.1.0-1", "Version: 0.2.0-1");
    change(
        CONFIG.trim_start_matches('/'),
        "listen:",
        "# new in this release\nlisten:",
    );
    let file = containers::scratch().join("newer.deb");
    deb()
        .args(["-Znone", "-b"])
        .arg(&folder)
        .arg(&file)
        .run()
        .expect_ok();
    file
}

/// The program that makes packages.
fn packer() -> Option<PathBuf> {
    let found = tool("sh").args(["-c", "command -v cargo-deb"]).run();
    if found.ok {
        return Some(PathBuf::from(found.out.trim()));
    }
    let ours = cache()?.join("venv/bin/cargo-deb");
    ours.exists().then_some(ours)
}

const CONFIG: &str = "/etc/dbbouncer/dbbouncer.yaml";
const BUILDER: &str = "The builder <builder@example.org>";

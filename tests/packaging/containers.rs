//! Real containers: images by buildah, run by podman and crun, in a storage of this process's own. No registry.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use testbed::{Said, Tool, project, tool};

/// A storage, and the settings that make podman run on machines without systemd and with both kinds of cgroups.
pub struct Containers {
    /// Everything of ours lies in here.
    pub folder: PathBuf,
    /// Holds the mounts that podman sees.
    room: Child,
}

/// Whether this machine can run containers, and if not, what it lacks; looked once.
pub fn possible() -> Result<(), String> {
    static POSSIBLE: OnceLock<Result<(), String>> = OnceLock::new();
    POSSIBLE.get_or_init(look).clone()
}

fn look() -> Result<(), String> {
    for program in [
        "buildah",
        "podman",
        "crun",
        "slirp4netns",
        "catatonit",
        "busybox",
        "unshare",
        "nsenter",
        "curl",
    ] {
        let found = tool("sh")
            .args(["-c", &format!("command -v {program}")])
            .run();
        if !found.ok {
            return Err(format!(
                "NO {program} ON THIS MACHINE (scripts/install-test-deps, as root)"
            ));
        }
    }
    let me = tool("id").arg("-u").run();
    if me.out.trim() != "0" {
        return Err("CONTAINERS ARE RUN AS ROOT HERE".to_owned());
    }
    let said = containers()
        .podman(&["run", "--rm", "--network=host", "--ulimit=host", STAND_IN])
        .arg("true")
        .run();
    if said.ok {
        Ok(())
    } else {
        Err(format!(
            "PODMAN CANNOT RUN A CONTAINER HERE ({})",
            said.err.trim()
        ))
    }
}

/// The one storage of this process.
pub fn containers() -> &'static Containers {
    STORAGE.get_or_init(Containers::new)
}

/// A folder of this process's own, which goes away in the end.
pub fn scratch() -> PathBuf {
    std::env::temp_dir().join(format!("dbbouncer-packaging-{}", std::process::id()))
}

/// Ends what still runs, and removes the storage.
pub fn clean_up() {
    if let Some(containers) = STORAGE.get() {
        containers
            .podman(&["rm", "--force", "--all", "--time=0"])
            .run();
        containers.podman(&["pod", "rm", "--force", "--all"]).run();
    }
    let _ = fs::remove_dir_all(scratch());
}

impl Containers {
    fn new() -> Containers {
        let folder = scratch().join("containers");
        fs::create_dir_all(&folder).unwrap();
        let at = folder.display();
        let storage =
            format!("[storage]\ndriver=\"vfs\"\ngraphroot=\"{at}/graph\"\nrunroot=\"{at}/run\"\n");
        fs::write(folder.join("storage.conf"), storage).unwrap();
        let engine = "[containers]\ndefault_ulimits=[]\n[engine]\nruntime=\"crun\"\ncgroup_manager=\"cgroupfs\"\n";
        fs::write(folder.join("containers.conf"), engine).unwrap();
        fs::create_dir_all(folder.join("tmp")).unwrap();
        let containers = Containers {
            folder,
            room: Containers::room(),
        };
        containers.make_stand_in();
        containers
    }

    /// A process with mounts of its own, which ends with this one. crun does not understand a machine that has both kinds
    /// of cgroups: the newer kind is hidden in here.
    fn room() -> Child {
        const HIDE: &str =
            "umount /sys/fs/cgroup/unified 2>/dev/null; echo ready; exec cat >/dev/null";
        let mut room = Command::new("unshare")
            .args(["--mount", "--propagation=private", "sh", "-c", HIDE])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = [0; 6];
        room.stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut ready)
            .unwrap();
        room
    }

    /// A little system with a shell, in the place of the builder's image.
    fn make_stand_in(&self) {
        let context = self.folder.join("stand-in");
        fs::create_dir_all(&context).unwrap();
        let busybox = tool("sh").args(["-c", "command -v busybox"]).run();
        fs::copy(busybox.out.trim(), context.join("busybox")).unwrap();
        fs::write(
            context.join("certificates"),
            "the certificates of a Debian\n",
        )
        .unwrap();
        let recipe = "FROM scratch\nCOPY busybox /bin/busybox\n\
                      COPY certificates /etc/ssl/certs/ca-certificates.crt\n\
                      RUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\n";
        fs::write(context.join("Dockerfile"), recipe).unwrap();
        self.build(STAND_IN, &context, &[]).expect_ok();
    }

    /// Builds an image from a folder with a Dockerfile.
    pub fn build(&self, image: &str, context: &Path, options: &[&str]) -> Said {
        self.set_up(tool("buildah"))
            .args(["build", "--isolation=chroot", "--format=docker", "--tag"])
            .arg(image)
            .args(options)
            .arg(context)
            .run()
    }

    /// podman, about to be run.
    pub fn podman(&self, arguments: &[&str]) -> Tool {
        let room = format!("--mount=/proc/{}/ns/mnt", self.room.id());
        self.set_up(tool("nsenter"))
            .args([&room, "podman"])
            .args(arguments)
    }

    /// buildah, about to be run.
    pub fn buildah(&self, arguments: &[&str]) -> Tool {
        self.set_up(tool("buildah")).args(arguments)
    }

    fn set_up(&self, tool: Tool) -> Tool {
        let path = |name: &str| self.folder.join(name).display().to_string();
        tool.env("CONTAINERS_STORAGE_CONF", &path("storage.conf"))
            .env("CONTAINERS_CONF", &path("containers.conf"))
            .env("TMPDIR", &path("tmp"))
    }
}

/// A running container. Killed when dropped.
pub struct Container {
    name: String,
}

impl Container {
    /// Runs an image hardened, with these options and arguments, beside the test.
    pub fn start(image: &str, options: &[&str], arguments: &[&str]) -> Container {
        let name = fresh_name();
        let label = format!("--name={name}");
        containers()
            .podman(&["run", "--detach", "--timeout=300", &label])
            .args(HARDENED)
            .args(options)
            .arg(image)
            .args(arguments)
            .run()
            .expect_ok();
        Container { name }
    }

    /// What podman says of it, by a format of Go's templates.
    pub fn inspect(&self, format: &str) -> String {
        let format = format!("--format={format}");
        let said = containers()
            .podman(&["inspect", &format, &self.name])
            .run()
            .expect_ok();
        said.trim().to_owned()
    }

    /// Runs the image's own healthcheck in it, which must find it well.
    pub fn is_healthy(&self) {
        containers()
            .podman(&["healthcheck", "run", &self.name])
            .run()
            .expect_ok();
    }

    /// What it has written, to either stream.
    pub fn log(&self) -> String {
        let said = containers().podman(&["logs", &self.name]).run();
        said.out + &said.err
    }

    /// Asks it to stop, and waits: its exit status.
    pub fn stop(&self) -> i32 {
        containers()
            .podman(&["stop", "--time=20", &self.name])
            .run()
            .expect_ok();
        self.inspect("{{.State.ExitCode}}").parse().unwrap()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the container's log ---\n{}---", self.log());
        }
        containers()
            .podman(&["rm", "--force", "--time=0", &self.name])
            .run();
    }
}

/// Runs an image hardened, to its end.
pub fn run(image: &str, options: &[&str], arguments: &[&str]) -> Said {
    containers()
        .podman(&["run", "--rm"])
        .args(HARDENED)
        .args(options)
        .arg(image)
        .args(arguments)
        .run()
}

/// The seccomp profile we ship, as an option.
pub fn our_profile() -> String {
    let path = project("configs/seccomp/dbbouncer.json")
        .canonicalize()
        .unwrap();
    format!("--security-opt=seccomp={}", path.display())
}

fn fresh_name() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("dbbouncer-{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

static STORAGE: OnceLock<Containers> = OnceLock::new();

/// The image in the place of the builder's.
pub const STAND_IN: &str = "localhost/stand-in:latest";

/// What a cluster under the restricted Pod Security Standard grants, and on no file system a place to write.
const HARDENED: &[&str] = &[
    "--network=host",
    "--ulimit=host",
    "--read-only",
    "--read-only-tmpfs=false",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
];

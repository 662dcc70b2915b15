//! Whether this machine allows what is needed, found out and said before the first thread starts.
//!
//! The facts are read once; what they mean is decided without asking the machine again.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use shards::{RingError, probe};

use crate::config::Settings;

/// What the machine says of itself and of this process.
#[derive(Debug)]
pub struct Facts {
    /// The kernel's release, such as `6.1.0-18-amd64`.
    pub release: String,
    /// Whether a ring could be made, and if not, why.
    pub ring: Result<(), RingError>,
    /// The mode of seccomp: 0 for none, 2 for a filter; `None` if the kernel does not say.
    pub seccomp: Option<u8>,
    /// How many bytes of memory may be locked.
    pub memlock: u64,
    /// How many files and sockets may be open.
    pub descriptors: u64,
    /// How many bytes of address space there may be.
    pub address_space: u64,
}

/// What is asked of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// Threads with a ring of their own.
    pub executors: u64,
    /// Clients and backends that may be connected at once.
    pub connections: u64,
}

/// Something about the machine that should be changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// It makes running impossible.
    Refusal(String),
    /// It is enough to run, and less than was configured.
    Advice(String),
}

impl Facts {
    /// Raises the limits on memory, descriptors and address space as far as they may be raised, then looks.
    pub fn find() -> Facts {
        Facts {
            memlock: raised(Resource::Memlock),
            descriptors: raised(Resource::Nofile),
            address_space: raised(Resource::As),
            release: rustix::system::uname()
                .release()
                .to_string_lossy()
                .into_owned(),
            ring: probe(),
            seccomp: seccomp(),
        }
    }

    /// What should be changed for these needs; nothing, if all is well.
    pub fn findings(&self, needs: Needs) -> Vec<Finding> {
        let findings = [
            self.on_ring(),
            self.on_memlock(needs),
            self.on_descriptors(needs),
            self.on_address_space(),
        ];
        findings.into_iter().flatten().collect()
    }

    fn on_ring(&self) -> Option<Finding> {
        if kernel(&self.release).is_some_and(|version| version < OLDEST_KERNEL) {
            let (major, minor) = OLDEST_KERNEL;
            return refusal(format!(
                "Linux {major}.{minor} or newer is needed, and this is {}: run it on a newer kernel.",
                self.release
            ));
        }
        let error = self.ring.as_ref().err()?;
        let hint = match (error, self.seccomp) {
            (RingError::Blocked | RingError::Missing, Some(2)) => SECCOMP_HINT,
            (RingError::Blocked, Some(0)) => NO_SECCOMP_HINT,
            _ => "",
        };
        refusal(format!("{error}.{hint}"))
    }

    fn on_memlock(&self, needs: Needs) -> Option<Finding> {
        let wanted = LEAST_MEMLOCK.max(needs.executors * MEMLOCK_OF_EXECUTOR);
        if self.memlock >= wanted {
            return None;
        }
        let (may, wanted) = (self.memlock >> 10, wanted >> 10);
        let text = format!(
            "The limit on locked memory is {may} KiB, and {} threads with a ring want {wanted} KiB: \
             raise it (ulimit -l; LimitMEMLOCK=64M in a systemd unit; in Kubernetes the LimitMEMLOCK= of \
             the node's container runtime).",
            needs.executors
        );
        let is_too_low = self.memlock < LEAST_MEMLOCK;
        if is_too_low {
            refusal(text)
        } else {
            Some(Finding::Advice(text))
        }
    }

    fn on_descriptors(&self, needs: Needs) -> Option<Finding> {
        let own = OWN_DESCRIPTORS + needs.executors * DESCRIPTORS_OF_EXECUTOR;
        let wanted = own + needs.connections;
        if self.descriptors >= wanted {
            return None;
        }
        let text = format!(
            "The limit on open files is {}, and the config allows for {} connections, which take {wanted}: \
             raise it (ulimit -n; LimitNOFILE= in a systemd unit), or lower limits.client_connections.",
            self.descriptors, needs.connections
        );
        if self.descriptors < own {
            refusal(text)
        } else {
            Some(Finding::Advice(text))
        }
    }

    /// There should be no such limit: what is reserved and never used counts, for the stacks and heaps of threads say, and whoever
    /// gets no memory ends.
    fn on_address_space(&self) -> Option<Finding> {
        if self.address_space == u64::MAX {
            return None;
        }
        let text = format!(
            "The limit on address space is {} MiB, of which threads reserve far more than they use, and a process that reaches \
             it ends at once with all its clients: take it away (ulimit -v unlimited; LimitAS=infinity in a systemd unit), and \
             limit memory by the container or the unit (MemoryMax=).",
            self.address_space >> 20
        );
        match self.address_space < LEAST_ADDRESS_SPACE {
            true => refusal(text),
            false => Some(Finding::Advice(text)),
        }
    }
}

impl Needs {
    /// What these settings ask for at most.
    pub fn of(settings: &Settings) -> Needs {
        let plane = &settings.plane;
        let backends: usize = settings
            .tenants
            .iter()
            .map(|tenant| tenant.limits.max)
            .sum();
        Needs {
            executors: (plane.shards + plane.acceptors) as u64,
            connections: (plane.places.clients + backends) as u64,
        }
    }

    /// One thread and no connection: what there is no running without.
    pub const LEAST: Needs = Needs {
        executors: 1,
        connections: 0,
    };
}

fn refusal(text: String) -> Option<Finding> {
    Some(Finding::Refusal(text))
}

/// Raises the soft limit to the hard one, and says what it is then.
fn raised(resource: Resource) -> u64 {
    let Rlimit { maximum, .. } = getrlimit(resource);
    // It may be refused, by a seccomp filter say; what counts is the limit that is then in force.
    let _ = setrlimit(
        resource,
        Rlimit {
            current: maximum,
            maximum,
        },
    );
    getrlimit(resource).current.unwrap_or(u64::MAX)
}

fn seccomp() -> Option<u8> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let mode = status
        .lines()
        .find_map(|line| line.strip_prefix("Seccomp:"))?;
    mode.trim().parse().ok()
}

/// The first two numbers of a release.
fn kernel(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// The first kernel with all that the rings need.
const OLDEST_KERNEL: (u32, u32) = (6, 1);
/// What the executors' library insists on, whatever it uses.
const LEAST_MEMLOCK: u64 = 512 << 10;
/// What an executor with its rings has locked, where the kernel charges it: measured with room.
const MEMLOCK_OF_EXECUTOR: u64 = 256 << 10;
/// Standard streams, listeners, the log, the API.
const OWN_DESCRIPTORS: u64 = 64;
/// Rings, doorbells and timers of one executor.
const DESCRIPTORS_OF_EXECUTOR: u64 = 16;

/// With less no process has come up, of whatever size: measured.
const LEAST_ADDRESS_SPACE: u64 = 1 << 30;

const SECCOMP_HINT: &str = " This process runs under a seccomp filter: in Kubernetes give the pod a \
     seccompProfile of type Localhost that allows the three calls (or type Unconfined), in Docker or \
     podman use --security-opt seccomp=FILE.";
const NO_SECCOMP_HINT: &str =
    " No seccomp filter is on this process, so look at the security modules (SELinux, AppArmor).";

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Facts {
        Facts {
            release: "6.1.0-18-amd64".to_owned(),
            ring: Ok(()),
            seccomp: Some(0),
            memlock: 8 << 20,
            descriptors: 1 << 20,
            address_space: u64::MAX,
        }
    }

    const NEEDS: Needs = Needs {
        executors: 5,
        connections: 20_000,
    };

    /// The only finding, which must be a refusal.
    fn refused(facts: Facts) -> String {
        match &facts.findings(NEEDS)[..] {
            [Finding::Refusal(text)] => text.clone(),
            other => panic!("{other:?}"),
        }
    }

    /// The only finding, which must be an advice.
    fn advised(facts: Facts) -> String {
        match &facts.findings(NEEDS)[..] {
            [Finding::Advice(text)] => text.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_good_machine() {
        assert_eq!(good().findings(NEEDS), []);
        assert_eq!(
            Facts {
                memlock: 5 << 18,
                ..good()
            }
            .findings(NEEDS),
            []
        );
    }

    #[test]
    fn an_old_kernel() {
        for old in ["6.0.19", "5.15.0-91-generic", "4.18"] {
            let ring = Err(RingError::Missing);
            let text = refused(Facts {
                release: old.to_owned(),
                ring,
                ..good()
            });
            assert!(
                text.contains("Linux 6.1 or newer") && text.contains(old),
                "{text}"
            );
        }
        for new in ["6.1", "6.18.0-rc1", "7.0.1", "strange"] {
            assert_eq!(
                Facts {
                    release: new.to_owned(),
                    ..good()
                }
                .findings(NEEDS),
                []
            );
        }
    }

    #[test]
    fn io_uring_that_is_not_to_be_had() {
        let text = |error, seccomp| {
            refused(Facts {
                ring: Err(error),
                seccomp,
                ..good()
            })
        };
        assert!(text(RingError::SwitchedOff(2), Some(2)).contains("kernel.io_uring_disabled=2"));
        for error in [RingError::Blocked, RingError::Missing] {
            let text = text(error, Some(2));
            assert!(
                text.contains("seccompProfile") && text.contains("io_uring_setup"),
                "{text}"
            );
        }
        assert!(text(RingError::Blocked, Some(0)).contains("SELinux"));
        assert!(text(RingError::NoMemory, None).contains("memlock"));
    }

    #[test]
    fn too_little_memory_to_lock() {
        let text = refused(Facts {
            memlock: 64 << 10,
            ..good()
        });
        assert!(
            text.contains("is 64 KiB") && text.contains("1280 KiB"),
            "{text}"
        );
        assert!(
            text.contains("ulimit -l") && text.contains("LimitMEMLOCK"),
            "{text}"
        );
        let text = advised(Facts {
            memlock: 1 << 20,
            ..good()
        });
        assert!(text.contains("is 1024 KiB"), "{text}");
    }

    #[test]
    fn too_few_descriptors() {
        let text = advised(Facts {
            descriptors: 20_000,
            ..good()
        });
        assert!(
            text.contains("is 20000") && text.contains("take 20144"),
            "{text}"
        );
        let text = refused(Facts {
            descriptors: 100,
            ..good()
        });
        assert!(text.contains("ulimit -n"), "{text}");
    }

    #[test]
    fn a_limit_on_address_space() {
        let limited = |address_space| Facts {
            address_space,
            ..good()
        };
        let text = refused(limited(500 << 20));
        assert!(
            text.contains("is 500 MiB") && text.contains("ulimit -v"),
            "{text}"
        );
        let text = advised(limited(4 << 30));
        assert!(text.contains("is 4096 MiB"), "{text}");
    }

    #[test]
    fn all_findings_come_at_once() {
        let facts = Facts {
            memlock: 0,
            descriptors: 0,
            ring: Err(RingError::Blocked),
            ..good()
        };
        assert_eq!(facts.findings(NEEDS).len(), 3);
    }

    #[test]
    fn this_machine_is_looked_at() {
        let facts = Facts::find();
        assert!(kernel(&facts.release).is_some());
        assert_eq!(
            getrlimit(Resource::Nofile).current,
            getrlimit(Resource::Nofile).maximum
        );
    }
}

//! Which processors this process may use.

use rustix::thread::{CpuSet, sched_getaffinity};

/// The processors as this process finds them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cpus {
    /// Those that it may run on, by the kernel's numbers.
    pub ours: Vec<usize>,
    /// How many the machine has.
    pub online: usize,
    /// How many can be kept busy: fewer than `ours` where a cgroup's quota says so. At least 1.
    pub parallelism: usize,
}

impl Cpus {
    /// Asks the kernel. What it does not say is taken as one processor that is not ours alone.
    pub fn ours() -> Cpus {
        let set = sched_getaffinity(None).unwrap_or_else(|_| CpuSet::new());
        let ours: Vec<usize> = (0..CpuSet::MAX_CPU)
            .filter(|&cpu| set.is_set(cpu))
            .collect();
        let online = std::fs::read_to_string("/sys/devices/system/cpu/online");
        let online = online.ok().and_then(|list| length_of_list(list.trim()));
        let parallelism = std::thread::available_parallelism().map_or(1, |number| number.get());
        Cpus {
            online: online.unwrap_or(ours.len()),
            ours,
            parallelism,
        }
    }

    /// Whether somebody set these processors aside for us: not all of the machine's, and without
    /// a quota on top. Only then is it safe to stay on them; elsewhere the kernel places better.
    pub fn are_set_aside(&self) -> bool {
        self.ours.len() < self.online && self.parallelism == self.ours.len()
    }
}

/// How many numbers there are in a list such as `0-3,8`.
fn length_of_list(list: &str) -> Option<usize> {
    let ranges = list.split(',').map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        (last + 1).checked_sub(first)
    });
    ranges.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_lists() {
        assert_eq!(length_of_list("0"), Some(1));
        assert_eq!(length_of_list("0-3"), Some(4));
        assert_eq!(length_of_list("0-3,8,10-11"), Some(7));
        assert_eq!((length_of_list(""), length_of_list("3-1")), (None, None));
    }

    #[test]
    fn processors_are_set_aside_by_a_mask_without_a_quota() {
        let cpus = |ours: usize, online, parallelism| Cpus {
            ours: (0..ours).collect(),
            online,
            parallelism,
        };
        assert!(cpus(4, 64, 4).are_set_aside());
        assert!(!cpus(64, 64, 64).are_set_aside());
        assert!(!cpus(64, 64, 4).are_set_aside());
        assert!(!cpus(8, 64, 4).are_set_aside());
    }

    #[test]
    fn this_machine_has_some() {
        let cpus = Cpus::ours();
        assert!(!cpus.ours.is_empty() && cpus.parallelism >= 1 && cpus.online >= cpus.ours.len());
    }
}

//! Whether this machine lets us have our ring, and if not, what to change.

use std::io;

use io_uring::{Probe, opcode};

use crate::buffers::Buffers;
use crate::ring::Ring;

/// Tries everything [`run`](crate::run) needs from the kernel, on this thread and without an
/// executor.
pub fn probe() -> Result<(), RingError> {
    let ring = Ring::new(PROBE_ENTRIES)?;
    let mut known = Probe::new();
    ring.submitter()
        .register_probe(&mut known)
        .map_err(RingError::from_setup)?;
    for (name, code) in NEEDED_OPERATIONS {
        if !known.is_supported(code) {
            return Err(RingError::too_old(name));
        }
    }
    let buffers = Buffers::new(PROBE_BUFFERS, PROBE_BUFFER_SIZE).map_err(RingError::from_setup)?;
    ring.register(&buffers).map_err(RingError::from_setup)
}

/// Why there is no ring, in words for the person who can change it.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// The kernel does not know something that Linux 6.1 knows.
    #[error(
        "Linux 6.1 or newer is needed, this is {release}: it lacks {missing}. Run on a newer kernel"
    )]
    KernelTooOld {
        /// The running kernel's release.
        release: String,
        /// What it lacks.
        missing: &'static str,
    },
    /// The kernel was built without io_uring, or a filter says so.
    #[error(
        "this kernel has no io_uring (ENOSYS): it was built without CONFIG_IO_URING, or a seccomp \
         filter hides it. Allow io_uring_setup, io_uring_enter and io_uring_register"
    )]
    Missing,
    /// `kernel.io_uring_disabled` forbids it.
    #[error(
        "io_uring is switched off by kernel.io_uring_disabled={0}: set it to 0 \
         (sysctl -w kernel.io_uring_disabled=0)"
    )]
    SwitchedOff(u8),
    /// A seccomp filter or security module forbids it.
    #[error(
        "io_uring is blocked (EPERM) by a seccomp filter or a security module, as container \
         runtimes do by default: use a seccomp profile that allows io_uring_setup, io_uring_enter \
         and io_uring_register"
    )]
    Blocked,
    /// The memory for the ring was refused.
    #[error(
        "no memory for the ring (ENOMEM): raise the memlock limit (ulimit -l, LimitMEMLOCK=) to 8 MiB \
         or more, or the memory limit"
    )]
    NoMemory,
    /// No descriptor was left for the ring.
    #[error(
        "no file descriptor left for the ring: raise the nofile limit (ulimit -n, LimitNOFILE=)"
    )]
    NoDescriptors,
    /// `run` inside `run`.
    #[error("this executor has a ring already: sockets::run is called once per executor")]
    AlreadyRunning,
    /// The kernel answered something unexpected.
    #[error("io_uring failed: {0}")]
    Failed(#[source] io::Error),
}

impl RingError {
    /// Reads an error of the setup calls.
    pub(crate) fn from_setup(error: io::Error) -> RingError {
        match error.raw_os_error() {
            Some(libc::EINVAL) => {
                RingError::too_old("deferred task work, single issuer or provided-buffer rings")
            }
            Some(libc::ENOSYS) => RingError::Missing,
            Some(libc::EPERM | libc::EACCES) => match switched_off() {
                Some(value) => RingError::SwitchedOff(value),
                None => RingError::Blocked,
            },
            Some(libc::ENOMEM) => RingError::NoMemory,
            Some(libc::EMFILE | libc::ENFILE) => RingError::NoDescriptors,
            _ => RingError::Failed(error),
        }
    }

    pub(crate) fn too_old(missing: &'static str) -> RingError {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        RingError::KernelTooOld {
            release: release.trim().to_owned(),
            missing,
        }
    }
}

/// The value of the sysctl, when it is what forbids io_uring.
fn switched_off() -> Option<u8> {
    let value = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok()?;
    value.trim().parse().ok().filter(|&value| value > 0)
}

/// Submission entries of the ring made only to see whether it can be made.
const PROBE_ENTRIES: u32 = 8;

/// Buffers of the ring made only to see whether it can be made.
const PROBE_BUFFERS: u16 = 4;

/// Bytes of such a buffer.
const PROBE_BUFFER_SIZE: u32 = 4096;

/// The operations used by this crate, all older than 6.1. That accept and receive know "multishot"
/// cannot be asked for; it came before DEFER_TASKRUN, which `Ring::new` asks for.
const NEEDED_OPERATIONS: [(&str, u8); 7] = [
    ("IORING_OP_ACCEPT", opcode::AcceptMulti::CODE),
    ("IORING_OP_CONNECT", opcode::Connect::CODE),
    ("IORING_OP_RECV", opcode::RecvMulti::CODE),
    ("IORING_OP_SEND", opcode::Send::CODE),
    ("IORING_OP_SENDMSG", opcode::SendMsg::CODE),
    ("IORING_OP_READ", opcode::Read::CODE),
    ("IORING_OP_ASYNC_CANCEL", opcode::AsyncCancel::CODE),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_says_what_to_change() {
        let says = |code| RingError::from_setup(io::Error::from_raw_os_error(code)).to_string();
        assert!(says(libc::EINVAL).contains("Linux 6.1 or newer"));
        assert!(says(libc::ENOSYS).contains("CONFIG_IO_URING"));
        assert!(says(libc::ENOMEM).contains("memlock"));
        assert!(says(libc::EMFILE).contains("nofile"));
        assert!(says(libc::EPERM).contains("seccomp") || says(libc::EPERM).contains("sysctl"));
        assert!(says(libc::EIO).contains("io_uring failed"));
    }
}

//! Who writes the state file: one process at a time, which holds a lock on a file beside it for as long as it lives or until
//! it stops. (Not on the file itself, whose name passes to another file with each change.)
//!
//! ```text
//!          claim                    let go
//!   Free ───────▶ Ours, or NoLocks ───────▶ LetGo
//!    ▲ │ claim, and another process has it, or it cannot be told
//!    └─┘
//! ```

use std::cell::{Cell, RefCell};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use log::warn;
use rustix::io::Errno;

/// The lock of one state file.
#[derive(Debug)]
pub struct StateLock {
    path: PathBuf,
    hold: RefCell<Hold>,
    /// Another process has been seen to have it: so there are locks.
    is_contested: Cell<bool>,
}

#[derive(Debug)]
enum Hold {
    /// Not claimed, or in vain: another process has it, or this stood in the way.
    Free(Option<String>),
    /// Ours, as long as this is open.
    Ours(#[expect(dead_code, reason = "it holds the lock")] File),
    /// There cannot be any: so it was always before there were locks.
    NoLocks,
    /// It was ours, or could have been.
    LetGo,
}

/// Why a state file is not to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotOurs {
    /// Another process has it, which calls itself so.
    Others(String),
    /// Whether another process has it cannot be told.
    Untold(String),
    /// This process is stopping.
    LetGo,
}

impl StateLock {
    /// That of a state file, not claimed so far.
    pub fn of(state_file: &Path) -> StateLock {
        let mut path = state_file.as_os_str().to_owned();
        path.push(".lock");
        StateLock {
            path: path.into(),
            hold: RefCell::new(Hold::Free(None)),
            is_contested: Cell::new(false),
        }
    }

    /// Takes it, if it is free and has not been let go of. True where it is ours now and was not.
    pub fn claim(&self) -> bool {
        let mut hold = self.hold.borrow_mut();
        if !matches!(&*hold, Hold::Free(_)) {
            return false;
        }
        *hold = match self.take() {
            Ok(file) => Hold::Ours(file),
            Err(TryLockError::WouldBlock) => {
                self.is_contested.set(true);
                Hold::Free(None)
            }
            Err(TryLockError::Error(error)) if has_no_locks(&error) && !self.is_contested.get() => {
                let path = self.path.display();
                warn!(
                    "state_file: nothing keeps other processes from writing it, too: {path}: {error}"
                );
                Hold::NoLocks
            }
            Err(TryLockError::Error(error)) => Hold::Free(Some(error.to_string())),
        };
        !matches!(&*hold, Hold::Free(_))
    }

    /// Whether the state file may be written.
    pub fn is_ours(&self) -> Result<(), NotOurs> {
        match &*self.hold.borrow() {
            Hold::Ours(_) | Hold::NoLocks => Ok(()),
            Hold::LetGo => Err(NotOurs::LetGo),
            Hold::Free(None) => Err(NotOurs::Others(self.holder())),
            Hold::Free(Some(why)) => {
                let path = self.path.display();
                Err(NotOurs::Untold(format!("{path}: {why}")))
            }
        }
    }

    /// Gives back what was claimed in vain, to be claimed again.
    pub fn give_back(&self) {
        self.hold.replace(Hold::Free(None));
    }

    /// Leaves the file to others from now on.
    pub fn let_go(&self) {
        self.hold.replace(Hold::LetGo);
    }

    fn take(&self) -> Result<File, TryLockError> {
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let opened = match options.mode(OWNER_ONLY).open(&self.path) {
            // Another user's; it can be locked all the same.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                File::open(&self.path).map_err(|_| error)
            }
            opened => opened,
        };
        let mut file = opened.map_err(TryLockError::Error)?;
        file.try_lock()?;
        // For people; on a full disk it stands there without.
        let _ = note(&mut file);
        Ok(file)
    }

    /// Who has it, by its own words.
    fn holder(&self) -> String {
        let mut words = String::new();
        let read = File::open(&self.path)
            .and_then(|file| file.take(MOST_WORDS).read_to_string(&mut words));
        match (read, words.trim()) {
            (Err(_), _) | (_, "") => "it does not say which".to_owned(),
            (_, words) => words.to_owned(),
        }
    }
}

/// A file system without locks (ENOLCK is what NFS says without a lock manager), or one that is for reading only, on which
/// nobody writes.
fn has_no_locks(error: &io::Error) -> bool {
    let numbers = [Errno::NOSYS, Errno::OPNOTSUPP, Errno::NOLCK, Errno::ROFS];
    Errno::from_io_error(error).is_some_and(|number| numbers.contains(&number))
}

fn note(file: &mut File) -> io::Result<()> {
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy();
    file.set_len(0)?;
    writeln!(file, "process {} on {host}", std::process::id())
}

/// Like the state file itself.
const OWNER_ONLY: u32 = 0o600;
/// So much is read of what a holder calls itself.
const MOST_WORDS: u64 = 200;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;

    use super::*;

    #[test]
    fn what_cannot_be_told_for_a_moment_is_nobody_elses() {
        let folder = std::env::temp_dir().join(format!("dbbouncer-lock-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        let [holds, waits] = [(); 2].map(|()| StateLock::of(&folder.join("tenants.yaml")));
        assert!(holds.claim() && !waits.claim());
        // In its place stands what cannot be opened, as a file cannot where there are no descriptors.
        let (lock, aside) = (folder.join("tenants.yaml.lock"), folder.join("aside"));
        fs::rename(&lock, &aside).unwrap();
        fs::create_dir(&lock).unwrap();
        assert!(!waits.claim());
        assert!(matches!(waits.is_ours(), Err(NotOurs::Untold(_))));
        fs::remove_dir(&lock).unwrap();
        fs::rename(&aside, &lock).unwrap();
        assert!(!waits.claim());
        assert!(matches!(waits.is_ours(), Err(NotOurs::Others(_))) && holds.is_ours().is_ok());
        holds.let_go();
        assert!(waits.claim() && waits.is_ours().is_ok());
        fs::remove_dir_all(&folder).unwrap();
    }
}

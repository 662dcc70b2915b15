//! Who writes the state file: one process at a time, which holds a lock on a file beside it for as long as it lives or until
//! it stops. (Not on the file itself, whose name passes to another file with each change.)
//!
//! ```text
//!          claim                    let go
//!   Free ───────▶ Ours, or NoLocks ───────▶ LetGo
//!    ▲ │ claim, and another process has it
//!    └─┘
//! ```

use std::cell::RefCell;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The lock of one state file.
#[derive(Debug)]
pub struct StateLock {
    path: PathBuf,
    hold: RefCell<Hold>,
}

#[derive(Debug)]
enum Hold {
    /// Not claimed, or in vain: another process has it.
    Free,
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
            hold: RefCell::new(Hold::Free),
        }
    }

    /// Takes it, if it is free and has not been let go of. True where it is ours now and was not.
    pub fn claim(&self) -> bool {
        let mut hold = self.hold.borrow_mut();
        if !matches!(&*hold, Hold::Free) {
            return false;
        }
        *hold = match self.take() {
            Ok(file) => Hold::Ours(file),
            Err(TryLockError::WouldBlock) => return false,
            // A folder that is not to be written to, or a file system without locks.
            Err(TryLockError::Error(_)) => Hold::NoLocks,
        };
        true
    }

    /// Whether the state file may be written.
    pub fn is_ours(&self) -> Result<(), NotOurs> {
        match &*self.hold.borrow() {
            Hold::Ours(_) | Hold::NoLocks => Ok(()),
            Hold::LetGo => Err(NotOurs::LetGo),
            Hold::Free => Err(NotOurs::Others(self.holder())),
        }
    }

    /// Leaves the file to others from now on.
    pub fn let_go(&self) {
        self.hold.replace(Hold::LetGo);
    }

    fn take(&self) -> Result<File, TryLockError> {
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let opened = options.mode(OWNER_ONLY).open(&self.path);
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
            (Err(_), _) | (_, "") => "another process".to_owned(),
            (_, words) => words.to_owned(),
        }
    }
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

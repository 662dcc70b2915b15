//! Why a state file cannot be used, and what to do about it.

use std::io;
use std::path::PathBuf;

use crate::state_lock::NotOurs;

/// Why a state file cannot be used.
#[derive(Debug)]
pub enum StateError {
    /// It cannot be read or written.
    Io(&'static str, PathBuf, io::Error),
    /// It can be read, and is not what we wrote.
    Foreign(PathBuf, &'static str),
    /// It has been what we wrote, and is no more.
    Changed(PathBuf),
    /// It is not ours to write.
    NotOurs(PathBuf, NotOurs),
}

impl std::fmt::Display for StateError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StateError::Io(what, path, error) => {
                write!(f, "state_file: cannot {what} {}: {error}", path.display())
            }
            StateError::Foreign(path, why) => write!(
                f,
                "state_file: {} {why}. Nothing was changed in it: restore it from a copy, or move it away to start without the tenants made by the API",
                path.display()
            ),
            StateError::Changed(path) => write!(
                f,
                "state_file: {} is not as this process left it: another process, or somebody, has written it. Nothing was changed in it: give each process a file of its own. To go on from what is there, restart this one; to go on from what this one has, move the file away, and the next change writes it anew",
                path.display()
            ),
            StateError::NotOurs(path, NotOurs::Others(holder)) => write!(
                f,
                "state_file: {} is kept by another process: {holder}. Until that one stops, what the file held at the start of this one is served, and no change is kept: give each process a file of its own, or stop the other one",
                path.display()
            ),
            StateError::NotOurs(path, NotOurs::Untold(why)) => write!(
                f,
                "state_file: whether another process keeps {} cannot be told ({why}). Until that is mended no change is kept",
                path.display()
            ),
            StateError::NotOurs(path, NotOurs::LetGo) => write!(
                f,
                "state_file: this process is stopping, and has left {} to the one that comes next",
                path.display()
            ),
        }
    }
}

//! Notices that the config file says something else than before.
//!
//! The folder is watched and not the file: Kubernetes swaps a ConfigMap by a symbolic link beside
//! it (`..data`), and editors give a new file the old name; a watch on the file would die with the
//! first of these. What counts in the end is the text: it is read when things have become quiet,
//! and from time to time anyway, for there are file systems that tell nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use log::{debug, warn};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};

/// Watches this file for as long as somebody listens. A message comes when it has been read for the
/// first time, and whenever its text has changed.
pub fn start(path: &Path) -> Receiver<()> {
    // One message says it all, however often the file changed before it was taken.
    let (tell, told) = bounded(1);
    let mut watch = Watch {
        path: path.to_owned(),
        seen: None,
        tell,
    };
    let thread = std::thread::Builder::new().name("config-watch".into());
    if let Err(error) = thread.spawn(move || watch.run()) {
        warn!("the config file is not watched: {error}. Send SIGHUP after changing it");
    }
    told
}

struct Watch {
    path: PathBuf,
    /// What the file held when we last looked; `None` if it could not be read.
    seen: Option<Vec<u8>>,
    tell: Sender<()>,
}

impl Watch {
    fn run(&mut self) {
        let (stir, stirred) = bounded(1);
        let mut watcher = self.arm(&stir);
        // The first look always finds a change: what was loaded may be older than what is there.
        while self.look() {
            match stirred.recv_timeout(LOOK_ANYWAY_AFTER) {
                Ok(()) => settle(&stirred),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => unreachable!("we hold a sender"),
            }
            // The folder may have been replaced, and the watch on the old one tells nothing.
            watcher = self.arm(&stir).or(watcher);
        }
    }

    /// Whether somebody still listens.
    fn look(&mut self) -> bool {
        let now = fingerprint(&self.path);
        // While it is being replaced there may be none for a moment; the next look will see it.
        if now.is_none() || now == self.seen {
            return true;
        }
        self.seen = now;
        debug!("{} has changed", self.path.display());
        !matches!(self.tell.try_send(()), Err(TrySendError::Disconnected(())))
    }

    /// A watcher on the folder as it is now.
    fn arm(&self, stir: &Sender<()>) -> Option<RecommendedWatcher> {
        let stir = stir.clone();
        let heard = move |event: notify::Result<notify::Event>| {
            // Reading the file is no change of it.
            if !matches!(
                event,
                Ok(notify::Event {
                    kind: EventKind::Access(_),
                    ..
                })
            ) {
                // One message is waiting already: nothing is lost.
                let _ = stir.try_send(());
            }
        };
        let folder = self
            .path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let armed = notify::recommended_watcher(heard).and_then(|mut watcher| {
            watcher.watch(folder, RecursiveMode::NonRecursive)?;
            Ok(watcher)
        });
        if let Err(error) = &armed {
            debug!(
                "cannot watch {}: {error}; looking every {LOOK_ANYWAY_AFTER:?}",
                folder.display()
            );
        }
        armed.ok()
    }
}

/// Waits until nothing has stirred for a while, but not for ever.
fn settle(stirred: &Receiver<()>) {
    let deadline = Instant::now() + SETTLED_AFTER_ALL;
    while Instant::now() < deadline && stirred.recv_timeout(QUIET).is_ok() {}
}

fn fingerprint(path: &Path) -> Option<Vec<u8>> {
    let text = fs::read(path).ok()?;
    Some(digest(&SHA256, &text).as_ref().to_vec())
}

/// How long nothing must stir before the file is read: a change is often several.
const QUIET: Duration = Duration::from_millis(200);
/// When it is read although the folder never comes to rest.
const SETTLED_AFTER_ALL: Duration = Duration::from_secs(2);
/// How often it is read without being told.
const LOOK_ANYWAY_AFTER: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::symlink;

    /// A folder as the kubelet keeps it: the file is a link through `..data`.
    struct ConfigMap(PathBuf);

    impl ConfigMap {
        fn new(name: &str) -> ConfigMap {
            let folder =
                std::env::temp_dir().join(format!("dbbouncer-watch-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&folder);
            fs::create_dir_all(&folder).unwrap();
            let map = ConfigMap(folder);
            map.swap(0, "first");
            symlink("..data/config.yaml", map.file()).unwrap();
            map
        }

        fn file(&self) -> PathBuf {
            self.0.join("config.yaml")
        }

        fn swap(&self, version: u32, text: &str) {
            let fresh = format!("..{version}");
            fs::create_dir(self.0.join(&fresh)).unwrap();
            fs::write(self.0.join(&fresh).join("config.yaml"), text).unwrap();
            let (temporary, data) = (self.0.join("..data_tmp"), self.0.join("..data"));
            let old = fs::read_link(&data).ok();
            symlink(&fresh, &temporary).unwrap();
            fs::rename(&temporary, &data).unwrap();
            if let Some(old) = old {
                fs::remove_dir_all(self.0.join(old)).unwrap();
            }
        }
    }

    fn comes(told: &Receiver<()>) -> bool {
        told.recv_timeout(Duration::from_secs(20)).is_ok()
    }

    #[test]
    fn every_swap_of_a_config_map_is_noticed() {
        let map = ConfigMap::new("swap");
        let told = start(&map.file());
        assert!(comes(&told), "the first look");
        for version in 1..4 {
            map.swap(version, &format!("version {version}"));
            assert!(comes(&told), "swap {version}");
        }
    }

    #[test]
    fn an_editor_that_renames_is_noticed_and_the_same_text_is_no_change() {
        let map = ConfigMap::new("rename");
        let told = start(&map.file());
        assert!(comes(&told), "the first look");
        map.swap(1, "first");
        let fresh = map.0.join("config.yaml~");
        fs::write(&fresh, "second").unwrap();
        fs::rename(&fresh, map.file()).unwrap();
        assert!(comes(&told));
        // Had the swap with the same text been taken for a change, there would be a second message.
        fs::write(map.file(), "third").unwrap();
        assert!(comes(&told));
        assert!(told.try_recv().is_err());
    }
}

//! Notices that the config says something else than before: its file, or a file with a secret or a
//! certificate that it refers to.
//!
//! The folder is watched and not the file: Kubernetes swaps a ConfigMap by a symbolic link beside
//! it (`..data`), and editors give a new file the old name; a watch on the file would die with the
//! first of these. What counts in the end are the texts: they are read when things have become
//! quiet, and from time to time anyway, for there are file systems that tell nothing.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind::NotFound;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{Context, SHA256, digest};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use log::{debug, warn};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use crate::config;

/// What a config says, to be compared with what it says later.
pub struct Watch {
    path: PathBuf,
    /// What the file held when it was last read.
    text: Option<Vec<u8>>,
    /// The files that this text refers to.
    beside: Vec<PathBuf>,
    /// The fingerprint of all of them.
    seen: Option<Vec<u8>>,
    /// There was no file when it was last looked for.
    is_missing: bool,
}

impl Watch {
    /// As it is now: to be called before it is loaded, so that what changes meanwhile is a change.
    pub fn begin(path: &Path) -> Watch {
        let mut watch = Watch {
            path: path.to_owned(),
            text: None,
            beside: Vec::new(),
            seen: None,
            is_missing: false,
        };
        watch.has_changed();
        watch
    }

    /// The config's own file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Watches for as long as somebody listens. A message comes whenever the file or what it refers
    /// to has changed.
    pub fn start(mut self) -> Receiver<()> {
        // One message says it all, however often the file changed before it was taken.
        let (tell, told) = bounded(1);
        let thread = std::thread::Builder::new().name("config-watch".into());
        if let Err(error) = thread.spawn(move || self.run(&tell)) {
            warn!("the config file is not watched: {error}. Send SIGHUP after changing it");
        }
        told
    }

    fn run(&mut self, tell: &Sender<()>) {
        let (stir, stirred) = bounded(1);
        let mut watcher = None;
        loop {
            // The folders may have been replaced, and the watch on the old ones tells nothing.
            let folders = self.folders();
            watcher = arm(&folders, &stir).or(watcher);
            if self.has_changed() {
                debug!("{} has changed", self.path.display());
                if let Err(TrySendError::Disconnected(())) = tell.try_send(()) {
                    return;
                }
            }
            if self.folders() != folders {
                continue;
            }
            match stirred.recv_timeout(LOOK_ANYWAY_AFTER) {
                Ok(()) => settle(&stirred),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => unreachable!("we hold a sender"),
            }
        }
    }

    /// Looks whether anything is other than it was the last time.
    fn has_changed(&mut self) -> bool {
        match fs::read(&self.path) {
            Ok(text) => {
                self.is_missing = false;
                if self.text.as_ref() != Some(&text) {
                    let words = String::from_utf8_lossy(&text);
                    self.beside = config::files_beside(&words, folder_of(&self.path));
                    self.text = Some(text);
                }
            }
            // While it is being replaced there may be none for a moment.
            Err(error) if error.kind() == NotFound && !self.is_missing => {
                self.is_missing = true;
                return false;
            }
            // Whoever loads it will say why it cannot be read.
            Err(_) => self.text = None,
        }
        let now = self.fingerprint();
        let before = self.seen.replace(now);
        before != self.seen
    }

    /// The folders of all the files.
    fn folders(&self) -> BTreeSet<PathBuf> {
        let files = [&self.path].into_iter().chain(&self.beside);
        files.map(|file| folder_of(file).to_owned()).collect()
    }

    /// Of the config's text and what lies beside it. A file that cannot be read counts as an empty
    /// one: that it can be read again will be a change.
    fn fingerprint(&self) -> Vec<u8> {
        let mut all = Context::new(&SHA256);
        all.update(digest(&SHA256, self.text.as_deref().unwrap_or_default()).as_ref());
        for file in &self.beside {
            let text = fs::read(file).unwrap_or_default();
            all.update(digest(&SHA256, &text).as_ref());
        }
        all.finish().as_ref().to_vec()
    }
}

/// A watcher on the folders as they are now.
fn arm(folders: &BTreeSet<PathBuf>, stir: &Sender<()>) -> Option<RecommendedWatcher> {
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
    let mut watcher = notify::recommended_watcher(heard)
        .inspect_err(|error| debug!("{error}; looking every {LOOK_ANYWAY_AFTER:?}"))
        .ok()?;
    for folder in folders {
        if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
            debug!(
                "cannot watch {}: {error}; looking every {LOOK_ANYWAY_AFTER:?}",
                folder.display()
            );
        }
    }
    Some(watcher)
}

fn folder_of(file: &Path) -> &Path {
    let folder = file.parent();
    folder
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// Waits until nothing has stirred for a while, but not for ever.
fn settle(stirred: &Receiver<()>) {
    let deadline = Instant::now() + SETTLED_AFTER_ALL;
    while Instant::now() < deadline && stirred.recv_timeout(QUIET).is_ok() {}
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

    impl Drop for ConfigMap {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

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
            self.swap_with(version, &[("config.yaml", text)]);
        }

        fn swap_with(&self, version: u32, files: &[(&str, &str)]) {
            let fresh = format!("..{version}");
            fs::create_dir(self.0.join(&fresh)).unwrap();
            for (name, text) in files {
                fs::write(self.0.join(&fresh).join(name), text).unwrap();
            }
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
        let told = Watch::begin(&map.file()).start();
        for version in 1..4 {
            map.swap(version, &format!("version {version}"));
            assert!(comes(&told), "swap {version}");
        }
    }

    #[test]
    fn a_secret_that_changes_beside_the_config_is_noticed() {
        let map = ConfigMap::new("secret");
        symlink("..data/key", map.0.join("key")).unwrap();
        let config = ("config.yaml", "api_key: file:key");
        map.swap_with(1, &[config]);
        let told = Watch::begin(&map.file()).start();
        map.swap_with(2, &[config, ("key", "first")]);
        assert!(comes(&told), "the secret is there");
        map.swap_with(3, &[config, ("key", "second")]);
        assert!(comes(&told), "the secret is another");
    }

    #[test]
    fn a_file_that_is_gone_or_cannot_be_read_is_noticed_and_so_is_its_return() {
        let map = ConfigMap::new("gone");
        let told = Watch::begin(&map.file()).start();
        fs::remove_file(map.file()).unwrap();
        let stir = || fs::write(map.0.join("other"), "").unwrap();
        let notices = (0..20).any(|_| {
            stir();
            told.recv_timeout(Duration::from_secs(1)).is_ok()
        });
        assert!(notices, "it is gone for good");
        fs::write(map.file(), "second").unwrap();
        assert!(comes(&told), "it is there again");
        fs::remove_file(map.file()).unwrap();
        fs::create_dir(map.file()).unwrap();
        assert!(comes(&told), "it cannot be read");
    }

    #[test]
    fn an_editor_that_renames_is_noticed_and_the_same_text_is_no_change() {
        let map = ConfigMap::new("rename");
        let told = Watch::begin(&map.file()).start();
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

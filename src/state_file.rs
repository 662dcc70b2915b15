//! The tenants that the API made, kept in a file so that they are there again after a restart.
//!
//! Written whole and at once: a new file, flushed to the disk, takes the name of the old one, so
//! that after a crash there is the one or the other and never half of both. A file that is not
//! ours, or not whole, is an error at the start: going on would mean to lose tenants in silence. So is,
//! later, one that is not as we left it: another process keeps its tenants there, or somebody has edited it. One process at
//! a time may write it, see [`state_lock`](crate::state_lock); others serve what it holds.

use std::cell::Cell;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use log::{error, info, warn};
use rustix::fs::{Access, access};
use serde_json::{Map, Value, json};
use shards::contract::TenantId;

use crate::config::Node;
use crate::state_error::StateError;
use crate::state_lock::StateLock;

/// Where tenants are kept.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    lock: StateLock,
    /// What it held when we last read or wrote it; `None` if it was not there.
    left: Cell<Option<Sum>>,
}

/// Tenants, with the words of the API.
pub type Kept = Vec<(TenantId, Node)>;

/// Of a file's text.
type Sum = [u8; SHA256_OUTPUT_LEN];

/// What came of claiming a file that another process had.
pub enum Claim {
    /// It has it still, or what it has left cannot be read.
    InVain,
    /// It is ours, and as it was read before.
    AsBefore,
    /// It is ours, and holds these.
    Changed(Kept),
}

impl StateFile {
    /// Claims the file, if it is free, and reads what was kept; nothing, if there is no such file yet.
    pub fn open(path: &Path) -> Result<(StateFile, Kept), StateError> {
        let file = StateFile {
            path: path.to_owned(),
            lock: StateLock::of(path),
            left: Cell::new(None),
        };
        // Whether it is ours shows when it is to be written.
        file.lock.claim();
        let kept = file.read()?;
        Ok((file, kept.unwrap_or_default()))
    }

    /// What is kept, and is not written over as long as it stays so; `None` if there is no such file.
    fn read(&self) -> Result<Option<Kept>, StateError> {
        let failed = |error| StateError::Io("read", self.path.clone(), error);
        let mut text = String::new();
        match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
            Ok(file) => file
                .take(MAX_STATE)
                .read_to_string(&mut text)
                .map_err(failed)?,
        };
        let foreign = |why| StateError::Foreign(self.path.clone(), why);
        let tenants = understand(&text).map_err(foreign)?;
        self.left.set(Some(sum(text.as_bytes())));
        Ok(Some(tenants))
    }

    /// Whether it has been written before.
    pub fn is_there(&self) -> bool {
        self.left.get().is_some()
    }

    /// Claims it where another process had it, which may be gone.
    pub fn claim_again(&self) -> Claim {
        if !self.lock.claim() {
            return Claim::InVain;
        }
        let before = self.left.get();
        let claim = match self.read() {
            Ok(Some(kept)) if self.left.get() != before => Claim::Changed(kept),
            Ok(_) => Claim::AsBefore,
            Err(why) => {
                error!("{why}");
                // That may pass, as a want of descriptors does; what it says does not change by itself.
                if matches!(why, StateError::Io(..)) {
                    self.lock.give_back();
                }
                return Claim::InVain;
            }
        };
        let path = self.path.display();
        info!("state_file: {path} is kept by this process from now on");
        claim
    }

    /// Leaves the file to the process that comes next: from now on nothing is kept.
    pub fn let_go(&self) {
        self.lock.let_go();
    }

    /// Whether it may be written by this process now.
    pub fn is_ours(&self) -> Result<(), StateError> {
        let ours = self.lock.is_ours();
        ours.map_err(|why| StateError::NotOurs(self.path.clone(), why))
    }

    /// What the file holds now.
    fn there(&self) -> io::Result<Option<Sum>> {
        match fs::read(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => Ok(Some(sum(&read?))),
        }
    }

    /// Keeps these tenants and no others. Where they are what is there already nothing is written, so that a full disk
    /// does no harm.
    pub fn save<'a>(
        &self,
        tenants: impl Iterator<Item = (&'a TenantId, &'a Node)>,
    ) -> Result<(), StateError> {
        let tenants = tenants.map(|(id, written)| (id.to_string(), to_json(written)));
        let text = compose(tenants.collect());
        let failed = |what| move |error| StateError::Io(what, self.path.clone(), error);
        let there = self.there().map_err(failed("read"))?;
        if there == Some(sum(text.as_bytes())) {
            self.left.set(there);
            return Ok(());
        }
        let is_ours = self.is_ours();
        // Another process keeps it, and we have nothing but what we have read there.
        if is_ours.is_err() && self.left.get() == Some(sum(text.as_bytes())) {
            return Ok(());
        }
        is_ours?;
        // One that has been taken away is made anew: what it held is what we hold.
        if there.is_some() && there != self.left.get() {
            return Err(StateError::Changed(self.path.clone()));
        }
        self.replace(text.as_bytes()).map_err(failed("write"))
    }

    fn replace(&self, text: &[u8]) -> io::Result<()> {
        if text.len() as u64 > MAX_STATE {
            let why = format!("it would have more than {MAX_STATE} bytes, and not be read again");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
        }
        let mut fresh = self.path.clone().into_os_string();
        fresh.push(".new");
        let fresh = PathBuf::from(fresh);
        // What an interrupted attempt has left may have another owner's rights on it.
        match fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let written = write_new(&fresh, text).and_then(|()| fs::rename(&fresh, &self.path));
        if let Err(error) = written {
            // It would only take room that is wanted elsewhere.
            let _ = fs::remove_file(&fresh);
            return Err(error);
        }
        self.left.set(Some(sum(text)));
        // It is what is there from now on, so whoever asked must not hear that nothing was changed.
        if let Err(error) = self.sync_folder() {
            let path = self.path.display();
            warn!(
                "state_file: {path} is written, and may be as before after a crash of the machine: {error}"
            );
        }
        Ok(())
    }

    /// The new name is on the disk only when the folder is.
    fn sync_folder(&self) -> io::Result<()> {
        File::open(folder(&self.path))?.sync_all()
    }

    /// Whether it could be written, as far as can be told without writing.
    pub fn may_be_written(&self) -> Result<(), StateError> {
        may_be_written(&self.path)
    }
}

/// Whether this user could write a state file there, as far as can be told without writing.
pub fn may_be_written(path: &Path) -> Result<(), StateError> {
    access(folder(path), Access::WRITE_OK | Access::EXEC_OK)
        .map_err(|error| StateError::Io("write", path.to_owned(), error.into()))
}

/// Where a new file takes the name of the old one.
fn folder(path: &Path) -> &Path {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

/// Writes a file that was not there, and sees that it is on the disk.
fn write_new(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(OWNER_ONLY)
        .open(path)?;
    file.write_all(text)?;
    file.sync_all()
}

fn compose(tenants: Map<String, Value>) -> String {
    let tenants = Value::Object(tenants);
    let sum = checksum(&tenants);
    let document = json!({FORMAT: 1, "sha256": sum, "tenants": tenants});
    format!("{document:#}\n")
}

fn understand(text: &str) -> Result<Kept, &'static str> {
    let document: Value =
        serde_json::from_str(text).map_err(|_| "is not whole, or no state file of ours")?;
    match document.get(FORMAT).map(Value::as_u64) {
        None => return Err("is no state file of ours"),
        Some(Some(1)) => {}
        Some(_) => return Err("was written by another version, in a format unknown here"),
    }
    let tenants = document.get("tenants").unwrap_or(&Value::Null);
    if document.get("sha256").and_then(Value::as_str) != Some(&checksum(tenants)) {
        return Err("has been damaged or edited: its checksum does not fit");
    }
    let tenants = tenants
        .as_object()
        .ok_or("is no state file of ours")?
        .iter();
    let tenant = |(id, written): (&String, &Value)| {
        let id = TenantId::parse(id)?;
        Some((id, serde_json::from_value(written.clone()).ok()?))
    };
    tenants
        .map(|entry| tenant(entry).ok_or("holds what cannot be a tenant"))
        .collect()
}

/// Over the tenants in one certain spelling: keys in order, no spaces.
fn checksum(tenants: &Value) -> String {
    let sum = sum(tenants.to_string().as_bytes());
    sum.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sum(text: &[u8]) -> Sum {
    let mut sum = Sum::default();
    sum.copy_from_slice(digest(&SHA256, text).as_ref());
    sum
}

fn to_json(node: &Node) -> Value {
    match node {
        Node::Nothing => Value::Null,
        Node::Flag(flag) => Value::Bool(*flag),
        Node::Number(number) => {
            serde_json::from_str(number).unwrap_or_else(|_| Value::String(number.clone()))
        }
        Node::Text(text) => Value::String(text.clone()),
        Node::List(items) => items.iter().map(to_json).collect(),
        Node::Map(entries) => {
            let entries = entries.iter();
            Value::Object(
                entries
                    .map(|(key, node)| (key.clone(), to_json(node)))
                    .collect(),
            )
        }
    }
}

/// The key by which we know a file of ours; its value is the version of the format.
const FORMAT: &str = "dbbouncer_state";
/// The largest state file, in bytes.
const MAX_STATE: u64 = 64 << 20;
/// It holds passwords.
const OWNER_ONLY: u32 = 0o600;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A fresh folder, gone again when dropped.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let folder =
                std::env::temp_dir().join(format!("dbbouncer-state-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&folder);
            fs::create_dir_all(&folder).unwrap();
            Folder(folder)
        }

        fn file(&self) -> PathBuf {
            self.0.join("tenants.yaml")
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn kept(path: &Path) -> Result<Vec<String>, String> {
        let (_, tenants) = StateFile::open(path).map_err(|error| error.to_string())?;
        Ok(tenants.into_iter().map(|(id, _)| id.to_string()).collect())
    }

    #[test]
    fn what_was_saved_is_read_again_and_nobody_else_can_read_it() {
        let folder = Folder::new("saved");
        let path = folder.file();
        let (file, none) = StateFile::open(&path).unwrap();
        assert!(none.is_empty());
        let node: Node = serde_json::from_str(
            r#"{"port": 5432, "password": "$x", "users": {"a": {}}, "n": null}"#,
        )
        .unwrap();
        let id = TenantId::parse("acme").unwrap();
        file.save([(&id, &node)].into_iter()).unwrap();
        file.save([(&id, &node)].into_iter()).unwrap();
        let (_, tenants) = StateFile::open(&path).unwrap();
        let [(name, written)] = tenants.as_slice() else {
            panic!("{}", tenants.len())
        };
        assert!(*name == id && to_json(written) == to_json(&node));
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    #[test]
    fn what_could_not_be_read_again_is_not_saved() {
        let folder = Folder::new("large");
        let path = folder.file();
        let (file, _) = StateFile::open(&path).unwrap();
        let id = TenantId::parse("acme").unwrap();
        let save = |host: String| {
            let node = Node::Map(vec![("host".into(), Node::Text(host))]);
            file.save([(&id, &node)].into_iter())
        };
        save("db".into()).unwrap();
        let around = fs::metadata(&path).unwrap().len() - 2;
        let most = usize::try_from(MAX_STATE - around).unwrap();
        let error = save("x".repeat(most + 1)).unwrap_err().to_string();
        assert!(error.contains("not be read again"), "{error}");
        // What was there is still there.
        assert!(fs::metadata(&path).unwrap().len() < 1000);
        save("x".repeat(most)).unwrap();
        assert_eq!(kept(&path).unwrap(), ["acme"]);
    }

    #[test]
    fn one_process_keeps_it_at_a_time_and_the_next_one_goes_on_when_it_stops() {
        let folder = Folder::new("locked");
        let path = folder.file();
        let node: Node = serde_json::from_str(r#"{"host": "db"}"#).unwrap();
        let names = ["mine", "more", "theirs"];
        let [mine, more, theirs] = names.map(|id| TenantId::parse(id).unwrap());
        let (first, _) = StateFile::open(&path).unwrap();
        first.save([(&mine, &node)].into_iter()).unwrap();
        let (second, read) = StateFile::open(&path).unwrap();
        assert_eq!(read.len(), 1);
        let save = |file: &StateFile| {
            file.save([(&theirs, &node)].into_iter())
                .map_err(|it| it.to_string())
        };
        let us = format!("process {} on ", std::process::id());
        second.claim_again();
        let why = save(&second).unwrap_err();
        assert!(
            why.contains(&us) && why.contains("a file of its own"),
            "{why}"
        );
        assert!(second.is_ours().is_err() && first.is_ours().is_ok());
        // What it has read there it need not keep.
        second.save([(&mine, &node)].into_iter()).unwrap();
        first
            .save([(&mine, &node), (&more, &node)].into_iter())
            .unwrap();
        first.let_go();
        let why = save(&first).unwrap_err();
        assert!(why.contains("stopping"), "{why}");
        assert!(save(&second).is_err(), "before it has seen what was left");
        // What cannot be read for a moment is looked at again.
        let aside = folder.0.join("aside");
        fs::rename(&path, &aside).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(matches!(second.claim_again(), Claim::InVain));
        fs::remove_dir(&path).unwrap();
        fs::rename(&aside, &path).unwrap();
        assert!(matches!(second.claim_again(), Claim::Changed(left) if left.len() == 2));
        for file in [&first, &second] {
            assert!(matches!(file.claim_again(), Claim::InVain));
        }
        save(&second).unwrap();
        assert_eq!(kept(&path).unwrap(), ["theirs"]);
    }

    /// Two processes that share one where there are no locks, or somebody who edits it.
    #[test]
    fn what_somebody_else_has_written_is_not_written_over() {
        let folder = Folder::new("shared");
        let path = folder.file();
        let node: Node = serde_json::from_str(r#"{"host": "db"}"#).unwrap();
        let [mine, theirs] = ["mine", "theirs"].map(|id| TenantId::parse(id).unwrap());
        let (ours, _) = StateFile::open(&path).unwrap();
        fs::remove_file(folder.0.join("tenants.yaml.lock")).unwrap();
        let (others, _) = StateFile::open(&path).unwrap();
        ours.save([(&mine, &node)].into_iter()).unwrap();
        for _ in 0..2 {
            let error = others.save([(&theirs, &node)].into_iter()).unwrap_err();
            let error = error.to_string();
            assert!(
                error.contains("another process") && error.contains("move the file away"),
                "{error}"
            );
        }
        assert_eq!(kept(&path).unwrap(), ["mine"]);
        // What is there already is kept, whoever wrote it.
        others.save([(&mine, &node)].into_iter()).unwrap();
        others.save([(&theirs, &node)].into_iter()).unwrap();
        assert!(ours.save([(&mine, &node)].into_iter()).is_err());
        // One that was taken away is there again.
        fs::remove_file(&path).unwrap();
        ours.save([(&mine, &node)].into_iter()).unwrap();
        assert_eq!(kept(&path).unwrap(), ["mine"]);
    }

    #[test]
    fn a_file_that_is_torn_anywhere_or_foreign_is_refused() {
        let folder = Folder::new("torn");
        let path = folder.file();
        let (file, _) = StateFile::open(&path).unwrap();
        let node: Node = serde_json::from_str(r#"{"host": "db"}"#).unwrap();
        file.save([(&TenantId::parse("acme").unwrap(), &node)].into_iter())
            .unwrap();
        let whole = fs::read_to_string(&path).unwrap();
        // The last byte is the line's end, which may be missing.
        for cut in 0..whole.len() - 1 {
            fs::write(&path, &whole[..cut]).unwrap();
            assert!(kept(&path).is_err(), "cut at {cut}");
        }
        for foreign in [
            whole.replace("db", "dc"),
            whole.replace(": 1", ": 2"),
            "{}".into(),
            "tenants: {}\n".into(),
        ] {
            fs::write(&path, &foreign).unwrap();
            let error = kept(&path).expect_err(&foreign);
            assert!(
                error.contains("tenants.yaml") && error.contains("move it away"),
                "{error}"
            );
        }
    }
}

//! A section of a config while it is read: key by key, collecting all complaints on the way.
//!
//! Whoever reads asks for the keys it knows; what nobody asked for is unknown. So the known keys
//! stand in one place, where they are read, and a bad value does not hide the next.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::Path;

use shards::contract::Secret;

use super::cpus::Cpus;
use super::expand::expand;
use super::file::Node;
use super::tls::is_pem;
use super::units::did_you_mean;
use super::{Complaint, Key, Surroundings};

/// What a reading has come to, apart from its values.
pub struct Reader<'a> {
    surroundings: &'a Surroundings<'a>,
    complaints: RefCell<Vec<Complaint>>,
    warnings: RefCell<Vec<Complaint>>,
    /// The keys that were asked for, where somebody wants to know.
    record: Option<RefCell<BTreeSet<String>>>,
}

/// Keys with their values, and which of them were asked for.
pub struct Section<'a> {
    reader: &'a Reader<'a>,
    path: Key,
    entries: &'a [(String, Node)],
    asked: RefCell<Vec<&'static str>>,
}

impl<'a> Reader<'a> {
    pub fn new(surroundings: &'a Surroundings<'a>) -> Self {
        let (complaints, warnings) = Default::default();
        Reader {
            surroundings,
            complaints,
            warnings,
            record: None,
        }
    }

    /// The same, noting which keys are asked for.
    #[cfg(test)]
    pub fn recording(self) -> Self {
        Reader {
            record: Some(RefCell::default()),
            ..self
        }
    }

    /// The keys that were asked for, with their sections.
    #[cfg(test)]
    pub fn recorded(&self) -> BTreeSet<String> {
        self.record
            .as_ref()
            .map(RefCell::borrow)
            .as_deref()
            .cloned()
            .unwrap_or_default()
    }

    /// The whole file as a section without a name.
    pub fn root(&'a self, node: &'a Node) -> Section<'a> {
        Section::new(self, Key::default(), node)
    }

    /// The complaints and the warnings, in the order in which they were made.
    pub fn findings(self) -> (Vec<Complaint>, Vec<Complaint>) {
        (self.complaints.into_inner(), self.warnings.into_inner())
    }
}

impl<'a> Section<'a> {
    fn new(reader: &'a Reader<'a>, path: Key, node: &'a Node) -> Self {
        let entries = match node {
            Node::Map(entries) => &entries[..],
            _ => &[],
        };
        let section = Section {
            reader,
            path,
            entries,
            asked: RefCell::default(),
        };
        section.complain_of_repeated_keys();
        if !matches!(node, Node::Map(_) | Node::Nothing) {
            let kind = node.kind();
            section.complain(
                "",
                format!("must be a section with keys of its own, not {kind}"),
            );
        }
        section
    }

    /// The section of this name; one without keys if it is not there.
    pub fn section(&self, key: &'static str) -> Section<'a> {
        let node = self.find(key).unwrap_or(&Node::Nothing);
        Section::new(self.reader, self.path.inside(key), node)
    }

    /// Whether this key is written here.
    pub fn has(&self, key: &'static str) -> bool {
        self.find(key).is_some()
    }

    /// Each key with its section, where the keys are names that the operator chose.
    pub fn each(&self) -> impl Iterator<Item = (&'a str, Section<'a>)> {
        self.entries.iter().map(|(key, node)| {
            (
                key.as_str(),
                Section::new(self.reader, self.path.inside(key), node),
            )
        })
    }

    /// Each key with its text, where the keys are names that the operator chose.
    pub fn pairs<T>(&self, unit: impl Fn(&str) -> Result<T, String>) -> Vec<(String, T)> {
        let pairs = self.entries.iter().filter_map(|(key, node)| {
            let value = match node {
                Node::Text(text) => self.expand(text).and_then(|text| unit(&text)),
                other => Err(format!("must be text, not {}", other.kind())),
            };
            Some((key.clone(), self.note(key, value)?))
        });
        pairs.collect()
    }

    /// The value of a key, as this unit reads it; `None` if it is not there, or if it is wrong,
    /// which is then among the complaints.
    pub fn value<T>(
        &self,
        key: &'static str,
        unit: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let value = match self.find(key)? {
            Node::Text(text) => self.expand(text).and_then(|text| unit(&text)),
            Node::Number(number) => unit(number),
            Node::Flag(flag) => unit(if *flag { "true" } else { "false" }),
            Node::Nothing => Err("has no value".to_owned()),
            other => Err(format!("must be a single value, not {}", other.kind())),
        };
        self.note(key, value)
    }

    /// The [`value`](Self::value) of a key, or else its default.
    pub fn value_or<T>(
        &self,
        key: &'static str,
        unit: impl Fn(&str) -> Result<T, String>,
        default: T,
    ) -> T {
        self.value(key, unit).unwrap_or(default)
    }

    /// Several values: each as this unit reads it. A single one needs no list. `None` if the key is
    /// not there, or anything of it is wrong, which is then among the complaints.
    pub fn list<T>(
        &self,
        key: &'static str,
        unit: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let node = self.find(key)?;
        let items = match node {
            Node::List(items) => &items[..],
            single => std::slice::from_ref(single),
        };
        let values = items.iter().map(|item| match item {
            Node::Text(text) => {
                let says = |says| format!("{text}: {says}");
                self.expand(text).and_then(|text| unit(&text)).map_err(says)
            }
            other => Err(format!("must be a list of texts, not {}", other.kind())),
        });
        self.note(key, values.collect())
    }

    /// Like [`value`](Self::value), for texts: a number or flag is none, since YAML may have made
    /// something else of what was meant (`1e5`, `0x10`).
    pub fn text<T>(
        &self,
        key: &'static str,
        unit: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        match self.find(key)? {
            node @ (Node::Number(_) | Node::Flag(_)) => {
                self.complain(
                    key,
                    format!("must be text, not {}: put it in quotes", node.kind()),
                );
                None
            }
            _ => self.value(key, unit),
        }
    }

    /// A text that must not be shown. Written `file:PATH`, it is what stands in that file, without
    /// the line's end; a variable that holds `file:...` is no path but the secret itself.
    pub fn secret(&self, key: &'static str) -> Option<Secret> {
        let in_file = match self.find(key)? {
            Node::Text(text) => text.strip_prefix("file:"),
            _ => None,
        };
        let secret = match in_file {
            Some(path) => {
                let secret = self
                    .expand(path)
                    .and_then(|path| self.read_secret(Path::new(&path)));
                self.note(key, secret)
            }
            None => self.text(key, |text| Ok(text.to_owned())),
        }?;
        if secret.is_empty() {
            self.complain(
                key,
                "is empty; leave the key out if there is nothing to say",
            );
            return None;
        }
        Some(Secret::new(secret))
    }

    /// Certificates: the path of a file in PEM, or its text itself.
    pub fn pem(&self, key: &'static str) -> Option<String> {
        let text = self.text(key, |text| Ok(text.to_owned()))?;
        match is_pem(&text) {
            true => Some(text),
            false => self.note(key, self.read(Path::new(&text))),
        }
    }

    /// A key: the same, and not to be shown.
    pub fn secret_pem(&self, key: &'static str) -> Option<Secret> {
        self.pem(key).map(Secret::new)
    }

    /// The processors to work on.
    pub fn cpus(&self) -> &'a Cpus {
        &self.reader.surroundings.cpus
    }

    /// Complains of each key that nobody asked for, and says which was meant or which there are.
    pub fn finish(self) {
        let known = self.asked.borrow();
        for (key, _) in self.entries {
            let name = key.as_str();
            if known.contains(&name) {
                continue;
            }
            let mut hint = did_you_mean(name, &known);
            if hint.is_empty() {
                hint = format!("; known here: {}", known.join(", "));
            }
            self.complain(name, format!("is not a known key{hint}"));
        }
    }

    /// Complains of a key of this section; of the section itself if `key` is empty.
    pub fn complain(&self, key: &str, text: impl Into<String>) {
        let complaint = Complaint {
            key: self.at(key),
            text: text.into(),
        };
        self.reader.complaints.borrow_mut().push(complaint);
    }

    /// Notes something that is allowed and should be known.
    pub fn warn(&self, key: &str, text: impl Into<String>) {
        let warning = Complaint {
            key: self.at(key),
            text: text.into(),
        };
        self.reader.warnings.borrow_mut().push(warning);
    }

    /// The value of what was read, or else a complaint.
    fn note<T>(&self, key: &str, value: Result<T, String>) -> Option<T> {
        value.map_err(|why| self.complain(key, why)).ok()
    }

    fn find(&self, key: &'static str) -> Option<&'a Node> {
        let mut asked = self.asked.borrow_mut();
        if !asked.contains(&key) {
            asked.push(key);
            if let Some(record) = &self.reader.record {
                record
                    .borrow_mut()
                    .insert(self.path.inside(key).to_string());
            }
        }
        self.entries
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, node)| node)
    }

    fn expand(&self, text: &str) -> Result<String, String> {
        expand(text, self.reader.surroundings.env)
    }

    fn read_secret(&self, path: &Path) -> Result<String, String> {
        let text = self.read(path)?;
        let line = text
            .strip_suffix('\n')
            .map(|line| line.strip_suffix('\r').unwrap_or(line));
        Ok(line.unwrap_or(&text).to_owned())
    }

    fn read(&self, path: &Path) -> Result<String, String> {
        (self.reader.surroundings.read)(path).map_err(|error| match error.kind() {
            // Where no files are read, what stands there may be a password that happens to begin like one.
            io::ErrorKind::Unsupported => error.to_string(),
            _ => format!("cannot read {}: {error}", path.display()),
        })
    }

    fn complain_of_repeated_keys(&self) {
        let mut times = HashMap::new();
        for (key, _) in self.entries {
            let times = times
                .entry(key)
                .and_modify(|times| *times += 1)
                .or_insert(1);
            if *times == 2 {
                self.complain(key, "is written more than once; keep one");
            }
        }
    }

    /// The key of this name in here; the section itself if it is empty.
    fn at(&self, key: &str) -> Key {
        match key {
            "" => self.path.clone(),
            key => self.path.inside(key),
        }
    }
}

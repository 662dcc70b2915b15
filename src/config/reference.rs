//! The reference of all keys, made from what the program itself says: the sentences and defaults of
//! the example config, and what each key's own reader demands of a value.

use std::fmt::Write as _;
use std::io;

use super::cpus::Cpus;
use super::file::Node;
use super::{Complaint, Key, Surroundings, settle};

/// The example config: every key with its default and a sentence. A test loads it.
pub const EXAMPLE: &str = include_str!("../../configs/dbbouncer.yaml");

/// A key of the example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its sections and its name; `NAME` where operators choose it.
    pub(super) path: Vec<String>,
    /// What the example says; `None` where it is commented out, for there is no default.
    pub(super) value: Option<String>,
    /// What it is for.
    pub(super) about: String,
}

/// The reference in Markdown.
pub fn markdown() -> String {
    let mut sections: Vec<(String, Vec<Entry>)> = Vec::new();
    for entry in entries(EXAMPLE) {
        let section = entry.path[..entry.path.len() - 1].join(".");
        match sections.iter_mut().find(|(name, _)| *name == section) {
            Some((_, entries)) => entries.push(entry),
            None => sections.push((section, vec![entry])),
        }
    }
    let mut text = String::from(INTRODUCTION);
    for (name, entries) in &sections {
        let title = match name.as_str() {
            "" => "Top level".to_owned(),
            name => format!("`{name}`"),
        };
        let _ = write!(text, "\n## {title}\n\n");
        if name == "defaults" {
            text.push_str("Every key of this section may stand in a tenant, too, where it holds for that tenant.\n\n");
        }
        // What stands in a tenant of the example is no default.
        let has_defaults = !name.starts_with("tenants");
        text.push_str(if has_defaults {
            "| key | default | value | what it is |\n|---|---|---|---|\n"
        } else {
            "| key | value | what it is |\n|---|---|---|\n"
        });
        for entry in entries {
            let key = &entry.path[entry.path.len() - 1];
            let default = match &entry.value {
                Some(value) if !value.is_empty() => format!("`{value}`"),
                _ => String::new(),
            };
            let default = if has_defaults {
                format!(" {default} |")
            } else {
                String::new()
            };
            let demand = demand(&entry.path).replace('|', "\\|");
            let _ = writeln!(text, "| `{key}` |{default} {demand} | {} |", entry.about);
        }
    }
    text
}

/// The keys of a config that is written with two spaces a level, each with the comment above it.
pub(super) fn entries(text: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut path: Vec<String> = Vec::new();
    let mut about = String::new();
    for line in text.lines() {
        let content = line.trim_start();
        let indent = line.len() - content.len();
        let (is_comment, inner) = match content.strip_prefix('#') {
            Some(inner) => (true, inner.strip_prefix(' ').unwrap_or(inner)),
            None => (false, content),
        };
        let Some((key, value)) = key_of(inner.trim_start()) else {
            match is_comment {
                true if !inner.is_empty() => {
                    let gap = if about.is_empty() { "" } else { " " };
                    let _ = write!(about, "{gap}{}", inner.trim().trim_start_matches("# "));
                }
                _ => about.clear(),
            }
            continue;
        };
        let deeper = inner.len() - inner.trim_start().len();
        path.truncate((indent + deeper) / 2);
        // A tenant and a user have the names that operators give them.
        let is_name = matches!(path.last().map(String::as_str), Some("tenants" | "users"));
        path.push(if is_name {
            "NAME".to_owned()
        } else {
            key.to_owned()
        });
        let is_section = value.is_empty() && !is_comment;
        let entry = Entry {
            path: path.clone(),
            value: (!is_comment && !is_section).then(|| value.to_owned()),
            about: std::mem::take(&mut about),
        };
        if !entry.about.is_empty() && !entries.iter().any(|known| known.path == entry.path) {
            entries.push(entry);
        }
    }
    entries
}

/// `key: value` or `key:`, as our keys are spelt. A sentence is none.
fn key_of(text: &str) -> Option<(&str, &str)> {
    let (key, value) = text.split_once(':')?;
    let is_key = key.starts_with(|c: char| c.is_ascii_lowercase())
        && key
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    let is_value = value.is_empty() || value.starts_with(' ');
    (is_key && is_value).then(|| (key, value.trim()))
}

/// What the key's reader demands of a value, in its own words.
pub(super) fn demand(path: &[String]) -> String {
    let said = complaint(path, Node::Text("\u{1}".into()));
    match said.as_deref() {
        Some(text) if text.starts_with("cannot read") => "the path of a file in PEM".to_owned(),
        Some("must be a section with keys of its own, not text") => "a section".to_owned(),
        // Some name the value first.
        Some(text) => text
            .split_once("must be ")
            .map_or(text, |(_, rest)| rest)
            .to_owned(),
        None => match complaint(path, Node::Text("file:/no/such/file".into())) {
            Some(_) => "a secret: text, or `file:PATH`".to_owned(),
            None => "text".to_owned(),
        },
    }
}

/// What the reader of the key at this place has against this text, which means what it says; `None` if
/// it takes it.
pub fn objection(path: &[&str], text: &str) -> Option<String> {
    let path: Vec<String> = path.iter().map(ToString::to_string).collect();
    complaint(&path, Node::Text(text.to_owned()).taken_literally())
}

/// What is said of a config with this value at this place, and nothing else wrong with that place.
pub(super) fn complaint(path: &[String], value: Node) -> Option<String> {
    let key: Key = path.iter().map(String::as_str).collect();
    complaints(path, value)
        .into_iter()
        .find(|Complaint { key: at, .. }| *at == key)
        .map(|Complaint { text, .. }| text)
}

/// All that is said of a config with this value at this place and nothing else in it.
pub(super) fn complaints(path: &[String], value: Node) -> Vec<Complaint> {
    let node = path
        .iter()
        .rev()
        .fold(value, |inside, key| Node::Map(vec![(key.clone(), inside)]));
    settle(&node, &nowhere()).err().unwrap_or_default()
}

/// A machine on which there is nothing.
fn nowhere() -> Surroundings<'static> {
    Surroundings {
        env: &|_| None,
        read: &|_| Err(io::ErrorKind::NotFound.into()),
        cpus: Cpus {
            ours: vec![0],
            online: 1,
            parallelism: 1,
        },
    }
}

const INTRODUCTION: &str = "# Configuration reference

<!-- Made by `dbbouncer config reference`; a test compares. Change configs/dbbouncer.yaml, or the keys' readers. -->

One YAML file, by convention `dbbouncer.yaml`; `dbbouncer config example` prints one with every key. A key that is not known
is refused, and so is a value out of its range: `dbbouncer check --config FILE` lists all complaints at once.

A *time* has a unit: `250ms`, `30s`, `5m`, `1h 30m`, `7d`; `0` switches it off where that makes sense. In any text `${NAME}` stands
for an environment variable, `${NAME:-default}` has a default where it is unset or empty, and `$$` is a `$`. A *secret* may
stand in a file of its own, `file:PATH`, relative to the config's folder.

The file is loaded again when it changes, on SIGHUP and on `POST /reload`. `listen` (the API's address among it), `runtime`,
`limits`, `proxy_protocol`, `state_file` and `log_format` come into force with a restart: the log warns of each that differs,
and the answer to `POST /reload` lists them (`after_restart`). Everything else holds at once. Tenants may also be made by the
API, which takes the same keys as JSON. Editors complete a config by `dbbouncer config schema > dbbouncer.schema.json` and a
first line `# yaml-language-server: $schema=dbbouncer.schema.json`.
";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::section::Reader;

    #[test]
    fn comments_belong_to_the_key_below_them() {
        let text = "# A file.\n\n# The port:\n# two lines.\nport: 5\n# No default.\n# key: ${X}\nhealth:\n  # How often.\n  interval: 1s\n";
        let told: Vec<_> = entries(text)
            .into_iter()
            .map(|Entry { path, value, about }| (path.join("."), value, about))
            .collect();
        let entry = |path: &str, value: Option<&str>, about: &str| {
            (
                path.to_owned(),
                value.map(ToOwned::to_owned),
                about.to_owned(),
            )
        };
        assert_eq!(
            told,
            [
                entry("port", Some("5"), "The port: two lines."),
                entry("key", None, "No default."),
                entry("health.interval", Some("1s"), "How often."),
            ]
        );
    }

    /// Every key that is read has a sentence in the example, and nothing else has.
    #[test]
    fn the_example_has_every_key() {
        let written =
            Node::from_yaml("tenants: {NAME: {db_type: postgres, users: {NAME: {password: p}}}}");
        let surroundings = nowhere();
        let reader = Reader::new(&surroundings).recording();
        crate::config::settle::read_all(&reader, &written.unwrap());
        let sections = [
            "listen",
            "runtime",
            "limits",
            "defaults",
            "tenants",
            "tenants.NAME",
            "tenants.NAME.users.NAME",
        ];
        let read: Vec<_> = reader
            .recorded()
            .into_iter()
            .filter(|key| !sections.contains(&key.as_str()))
            // What stands in `defaults` may stand in a tenant.
            .filter(|key| {
                let habit = key.strip_prefix("tenants.NAME.");
                habit.is_none_or(is_own)
            })
            .collect();
        let mut described: Vec<_> = entries(EXAMPLE)
            .into_iter()
            .map(|entry| entry.path.join("."))
            .collect();
        described.retain(|key| !sections.contains(&key.as_str()));
        described.sort();
        assert_eq!(described, read);
    }

    /// Whether a key of a tenant is the tenant's own, rather than one of `defaults`.
    fn is_own(key: &str) -> bool {
        let in_defaults = format!("defaults.{key}");
        !entries(EXAMPLE)
            .iter()
            .any(|entry| entry.path.join(".") == in_defaults)
    }

    #[test]
    fn the_reference_in_docs_is_this_one() {
        crate::docs::compare("docs/configuration.md", &markdown());
    }
}

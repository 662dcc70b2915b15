//! The one door for settings: from a file as written to settings as meant, or all complaints.
//!
//! ```text
//!   text ── file ──▶ Node ── section, units, expand ──▶ settle, tenant ──▶ Settings
//!           as written         key by key                                  as meant
//! ```
//!
//! Below this door nobody reads YAML, an environment variable, a secret's file or a default:
//! [`Settings`] has every value, in its range. This module knows the shards' contract and nothing
//! of sockets, threads or metrics.

mod access;
mod beside;
mod cpus;
mod expand;
mod file;
mod reference;
mod schema;
mod section;
mod settle;
mod tenant;
mod tls;
mod units;

use std::fmt;
use std::io::{self, Read};
use std::path::Path;

pub use access::{AccessHabits, AuthQuery};
pub use beside::files_beside;
pub use cpus::Cpus;
pub use file::Node;
pub use reference::{EXAMPLE, markdown as reference, objection};
pub use schema::json_schema;
pub use settle::{
    API_PORT, Api, CLIENT_CONNECTIONS, LogFormat, Settings, settle, settle_api, settle_tenant,
};
pub use tenant::{CONNECTIONS, Habits, STATEMENTS, TENANT_CLIENTS};
pub use units::{Span, time};

/// Something wrong with a config, said in words that follow the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// Where.
    pub key: Key,
    /// What is wrong, and what would be right. Holds no secret.
    pub text: String,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key.0.is_empty() {
            true => f.write_str(&self.text),
            false => write!(f, "{}: {}", self.key, self.text),
        }
    }
}

/// A key with its sections, from the outermost one; none for the file as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Key(Vec<String>);

impl Key {
    /// The key of this name inside of this one.
    pub fn inside(&self, name: &str) -> Key {
        self.0.iter().map(String::as_str).chain([name]).collect()
    }

    /// The same, where all of it stands in these sections.
    pub fn under(self, sections: &[&str]) -> Key {
        let sections = sections.iter().map(|&section| section.to_owned());
        sections.chain(self.0).collect()
    }

    /// Where it stands in a JSON document (RFC 6901).
    pub fn pointer(&self) -> String {
        let escaped = |name: &String| format!("/{}", name.replace('~', "~0").replace('/', "~1"));
        self.0.iter().map(escaped).collect()
    }
}

impl<S: Into<String>> FromIterator<S> for Key {
    fn from_iter<T: IntoIterator<Item = S>>(names: T) -> Key {
        Key(names.into_iter().map(Into::into).collect())
    }
}

/// For people: `tenants.t1.port`.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("."))
    }
}

/// What a config may refer to outside of itself.
pub struct Surroundings<'a> {
    /// What an environment variable holds; `None` if it is not set.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// The text of a file that holds a secret.
    pub read: &'a dyn Fn(&Path) -> io::Result<String>,
    /// The processors to work on.
    pub cpus: Cpus,
}

/// Reads the file. Paths of secrets in it are relative to its folder.
pub fn load(path: &Path) -> Result<Settings, Vec<Complaint>> {
    read(path, settle)?
}

/// What the file says of the API, whatever else is wrong in it: one that runs with an earlier text
/// must still be found.
pub fn load_api(path: &Path) -> Result<Api, Vec<Complaint>> {
    read(path, settle_api)
}

fn read<T>(
    path: &Path,
    settle: impl FnOnce(&Node, &Surroundings) -> T,
) -> Result<T, Vec<Complaint>> {
    let of_file = |text| {
        vec![Complaint {
            key: Key::default(),
            text,
        }]
    };
    let text = read_at_most(path, MAX_CONFIG)
        .map_err(|error| of_file(format!("cannot read {}: {error}", path.display())))?;
    let node = Node::from_yaml(&text)
        .map_err(|error| of_file(format!("{} is not YAML: {error}", path.display())))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    Ok(settle(
        &node,
        &Surroundings {
            env: &|name| std::env::var(name).ok(),
            read: &|file| read_at_most(&folder.join(file), MAX_FILE),
            cpus: Cpus::ours(),
        },
    ))
}

/// The text of a file of at most this many bytes.
fn read_at_most(path: &Path, most: u64) -> io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?
        .take(most + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > most {
        return Err(io::Error::other(format!("it is larger than {most} bytes")));
    }
    Ok(text)
}

/// The largest config, in bytes: room for some 50,000 tenants.
const MAX_CONFIG: u64 = 16 << 20;
/// The largest file with a secret or certificates, in bytes: clouds publish long lists of authorities.
const MAX_FILE: u64 = 1 << 20;

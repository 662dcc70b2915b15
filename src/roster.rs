//! The tenants that are wanted, where each came from, and what must change to get there.
//!
//! Knows what a tenant is and nothing of shards, files or HTTP: it is told, and answers with the
//! [`Change`]s that somebody else carries out.

use std::collections::BTreeMap;
use std::sync::Arc;

use shards::contract::{TenantId, TenantSpec};

use crate::config::Node;

/// The tenants that are wanted.
#[derive(Clone)]
pub struct Roster {
    entries: BTreeMap<TenantId, Entry>,
    revisions: u64,
}

/// A tenant that is wanted. Cheap to clone.
#[derive(Clone)]
pub struct Entry {
    /// What it shall be.
    pub spec: Arc<TenantSpec>,
    /// Who wants it.
    pub origin: Origin,
    /// Another number after each change, never the same again.
    pub revision: u64,
}

/// Who wants a tenant.
#[derive(Clone)]
pub enum Origin {
    /// The config file. The API may change it, and that holds until the file is loaded again.
    File,
    /// The API, with these words, which are settled anew when the defaults change.
    Api(Arc<Node>),
}

/// One step towards what is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The tenant shall be like this.
    Upsert(Arc<TenantSpec>),
    /// The tenant shall be gone.
    Remove(TenantId),
}

impl Change {
    /// Whom it concerns.
    pub fn tenant(&self) -> &TenantId {
        match self {
            Change::Upsert(spec) => &spec.id,
            Change::Remove(id) => id,
        }
    }
}

impl Roster {
    /// The tenants of the file alone.
    pub fn of_file(tenants: Vec<TenantSpec>) -> Roster {
        let mut roster = Roster {
            entries: BTreeMap::new(),
            revisions: 0,
        };
        for spec in tenants {
            roster.set(spec, Origin::File);
        }
        roster
    }

    /// The tenant of that name.
    pub fn get(&self, id: &TenantId) -> Option<&Entry> {
        self.entries.get(id)
    }

    /// All tenants, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// Those that the API made, with its words.
    pub fn of_api(&self) -> impl Iterator<Item = (&TenantId, &Node)> {
        self.entries
            .iter()
            .filter_map(|(id, entry)| match &entry.origin {
                Origin::Api(written) => Some((id, &**written)),
                Origin::File => None,
            })
    }

    /// Wants a tenant by the word of the API. A tenant of the file stays one of the file.
    pub fn put(&mut self, spec: TenantSpec, written: Node) -> Entry {
        let id = spec.id.clone();
        let origin = match self.get(&id).map(|entry| &entry.origin) {
            Some(Origin::File) => Origin::File,
            _ => Origin::Api(Arc::new(written)),
        };
        self.set(spec, origin)
    }

    /// Wants a tenant no more.
    pub fn remove(&mut self, id: &TenantId) -> Option<Entry> {
        self.entries.remove(id)
    }

    /// Puts a tenant back to what it was before a change.
    pub fn restore(&mut self, id: &TenantId, before: Option<Entry>) {
        match before {
            Some(before) => self.entries.insert(id.clone(), before),
            None => self.entries.remove(id),
        };
    }

    /// The file says `file`, and what the API wants is now understood as `api`. A tenant that both
    /// name is the file's. Answers what must change, tenant by tenant.
    pub fn reload(&mut self, file: Vec<TenantSpec>, api: Vec<(TenantSpec, Node)>) -> Vec<Change> {
        let mut before = std::mem::take(&mut self.entries);
        let mut changes = Vec::new();
        let file = file.into_iter().map(|spec| (spec, Origin::File));
        let api = api
            .into_iter()
            .map(|(spec, written)| (spec, Origin::Api(Arc::new(written))));
        for (spec, origin) in file.chain(api) {
            if self.entries.contains_key(&spec.id) {
                continue;
            }
            let old = before.remove(&spec.id);
            let changed = old.as_ref().is_none_or(|old| *old.spec != spec);
            let entry = match old {
                Some(old) if !changed => Entry { origin, ..old },
                _ => self.fresh(spec, origin),
            };
            if changed {
                changes.push(Change::Upsert(Arc::clone(&entry.spec)));
            }
            self.entries.insert(entry.spec.id.clone(), entry);
        }
        changes.extend(before.into_keys().map(Change::Remove));
        changes
    }

    /// An unchanged tenant keeps its revision, so that saying a thing twice is saying it once.
    fn set(&mut self, spec: TenantSpec, origin: Origin) -> Entry {
        let id = spec.id.clone();
        let entry = match self.entries.remove(&id) {
            Some(old) if *old.spec == spec => Entry { origin, ..old },
            _ => self.fresh(spec, origin),
        };
        self.entries.insert(id, entry.clone());
        entry
    }

    fn fresh(&mut self, spec: TenantSpec, origin: Origin) -> Entry {
        self.revisions += 1;
        Entry {
            spec: Arc::new(spec),
            origin,
            revision: self.revisions,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]
    use super::*;
    use crate::config::{Habits, settle_tenant};

    fn node(host: &str) -> Node {
        let text =
            format!("{{db_type: postgres, host: {host}, dbname: d, username: u, password: p}}");
        Node::from_yaml(&text).expect("YAML")
    }

    fn spec(id: &str, host: &str) -> TenantSpec {
        let id = TenantId::parse(id).expect("a name");
        settle_tenant(&id, &node(host), &Habits::BUILT_IN)
            .expect("a good tenant")
            .0
    }

    fn by_api(id: &str, host: &str) -> (TenantSpec, Node) {
        (spec(id, host), node(host))
    }

    fn names(changes: &[Change]) -> Vec<String> {
        let name = |change: &Change| match change {
            Change::Upsert(spec) => format!("+{}@{}", spec.id, spec.host),
            Change::Remove(id) => format!("-{id}"),
        };
        changes.iter().map(name).collect()
    }

    #[test]
    fn a_reload_changes_only_what_differs() {
        let mut roster = Roster::of_file(vec![spec("a", "h1"), spec("b", "h1"), spec("c", "h1")]);
        let before = roster.get(&spec("a", "h1").id).map(|entry| entry.revision);
        let changes = roster.reload(
            vec![spec("a", "h1"), spec("b", "h2"), spec("d", "h1")],
            vec![],
        );
        assert_eq!(names(&changes), ["+b@h2", "+d@h1", "-c"]);
        assert_eq!(
            roster.get(&spec("a", "h1").id).map(|entry| entry.revision),
            before
        );
    }

    #[test]
    fn tenants_of_the_api_survive_a_reload_unless_the_file_names_them() {
        let mut roster = Roster::of_file(vec![]);
        for (spec, written) in [by_api("a", "h1"), by_api("b", "h1")] {
            roster.put(spec, written);
        }
        let changes = roster.reload(
            vec![spec("b", "h9")],
            vec![by_api("a", "h1"), by_api("b", "h1")],
        );
        assert_eq!(names(&changes), ["+b@h9"]);
        let api: Vec<_> = roster.of_api().map(|(id, _)| id.to_string()).collect();
        assert_eq!(api, ["a"]);
    }

    #[test]
    fn what_the_api_changed_in_a_tenant_of_the_file_ends_with_the_next_load() {
        let mut roster = Roster::of_file(vec![spec("a", "h1")]);
        let (changed, written) = by_api("a", "h2");
        assert!(matches!(roster.put(changed, written).origin, Origin::File));
        assert_eq!(
            names(&roster.reload(vec![spec("a", "h1")], vec![])),
            ["+a@h1"]
        );
    }

    #[test]
    fn saying_a_thing_twice_is_saying_it_once() {
        let mut roster = Roster::of_file(vec![]);
        let (one, written) = by_api("a", "h1");
        let first = roster.put(one, written).revision;
        let (again, written) = by_api("a", "h1");
        assert_eq!(roster.put(again, written).revision, first);
        let (other, written) = by_api("a", "h2");
        assert!(roster.put(other, written).revision > first);
    }
}

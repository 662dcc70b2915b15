//! The tenants that are wanted, where each came from, and what must change to get there.
//!
//! Knows what a tenant is and nothing of shards, files or HTTP: it is told, and answers with the
//! [`Change`]s that somebody else carries out.

use std::collections::BTreeMap;
use std::sync::Arc;

use shards::contract::{TenantId, TenantSpec};

use crate::config::{Complaint, Node};

/// The tenants that are wanted.
#[derive(Clone)]
pub struct Roster {
    entries: BTreeMap<TenantId, Entry>,
    left_out: BTreeMap<TenantId, LeftOut>,
    revisions: u64,
}

/// What the API wants, as it is understood today. Nobody of it is in the file.
#[derive(Default)]
pub struct FromApi {
    /// The tenants, with its words.
    pub tenants: Vec<(TenantSpec, Node)>,
    /// Those that make no sense.
    pub left_out: Vec<LeftOut>,
}

/// What the API wanted in an earlier life and what makes no sense today, such as a time that an older version
/// took. Nobody is served by it; it is kept until the API says otherwise, or until it makes sense again.
#[derive(Clone)]
pub struct LeftOut {
    /// The tenant.
    pub id: TenantId,
    /// The words of the API.
    pub written: Node,
    /// What is wrong with them; keys are relative to the tenant.
    pub complaints: Vec<Complaint>,
}

impl LeftOut {
    /// What is wrong with it, as it would be said of a tenant of the file.
    pub fn complaints_by_file(&self) -> impl Iterator<Item = Complaint> {
        let complaints = self.complaints.iter().cloned();
        complaints.map(|Complaint { key, text }| Complaint {
            key: key.under(&["tenants", self.id.as_str()]),
            text: format!("{text} (this tenant was made by the API)"),
        })
    }
}

/// What a name stood for before a change.
pub struct Before {
    /// The tenant that was wanted.
    pub entry: Option<Entry>,
    /// What was written of it, where that made no sense.
    pub left_out: Option<LeftOut>,
}

impl Before {
    /// Whether there was neither a tenant nor one that is left out.
    pub fn is_nothing(&self) -> bool {
        self.entry.is_none() && self.left_out.is_none()
    }
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
            left_out: BTreeMap::new(),
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

    /// Those that the API made, with its words, whether they make sense or not.
    pub fn of_api(&self) -> impl Iterator<Item = (&TenantId, &Node)> {
        let served = self
            .entries
            .iter()
            .filter_map(|(id, entry)| match &entry.origin {
                Origin::Api(written) => Some((id, &**written)),
                Origin::File => None,
            });
        served.chain(self.left_out().map(|left| (&left.id, &left.written)))
    }

    /// Those whose words make no sense.
    pub fn left_out(&self) -> impl Iterator<Item = &LeftOut> {
        self.left_out.values()
    }

    /// Wants a tenant by the word of the API. A tenant of the file stays one of the file.
    pub fn put(&mut self, spec: TenantSpec, written: Node) -> Entry {
        let id = spec.id.clone();
        let origin = match self.get(&id).map(|entry| &entry.origin) {
            Some(Origin::File) => Origin::File,
            _ => Origin::Api(Arc::new(written)),
        };
        self.left_out.remove(&id);
        self.set(spec, origin)
    }

    /// Keeps these words, and serves nobody by them.
    pub fn leave_out(&mut self, left: LeftOut) {
        self.left_out.insert(left.id.clone(), left);
    }

    /// Wants a tenant no more, served or left out.
    pub fn remove(&mut self, id: &TenantId) -> Option<Entry> {
        self.left_out.remove(id);
        self.entries.remove(id)
    }

    /// What the name stands for, for [`restore`](Roster::restore).
    pub fn before(&self, id: &TenantId) -> Before {
        Before {
            entry: self.entries.get(id).cloned(),
            left_out: self.left_out.get(id).cloned(),
        }
    }

    /// Puts a tenant back to what it was before a change.
    pub fn restore(&mut self, id: &TenantId, before: Before) {
        self.remove(id);
        if let Some(entry) = before.entry {
            self.entries.insert(id.clone(), entry);
        }
        if let Some(left) = before.left_out {
            self.leave_out(left);
        }
    }

    /// The file says `file`, and what the API wants is now understood as `api`. A tenant that both
    /// name is the file's. Answers what must change, tenant by tenant.
    pub fn reload(&mut self, file: Vec<TenantSpec>, api: FromApi) -> Vec<Change> {
        self.left_out.clear();
        for left in api.left_out {
            self.leave_out(left);
        }
        let mut before = std::mem::take(&mut self.entries);
        let mut changes = Vec::new();
        let file = file.into_iter().map(|spec| (spec, Origin::File));
        let api = api
            .tenants
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

    fn all_good<const N: usize>(tenants: [(TenantSpec, Node); N]) -> FromApi {
        FromApi {
            tenants: tenants.into(),
            ..FromApi::default()
        }
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
            all_good([]),
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
            all_good([by_api("a", "h1"), by_api("b", "h1")]),
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
            names(&roster.reload(vec![spec("a", "h1")], all_good([]))),
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

    #[test]
    fn what_is_left_out_is_kept_until_something_else_is_said() {
        let left = |id| LeftOut {
            id: TenantId::parse(id).expect("a name"),
            written: node("h1"),
            complaints: Vec::new(),
        };
        let kept = |roster: &Roster| {
            let ids = roster.of_api().map(|(id, _)| id.to_string());
            ids.collect::<Vec<_>>()
        };
        let mut roster = Roster::of_file(vec![]);
        for id in ["a", "b", "c"] {
            roster.leave_out(left(id));
        }
        assert!(roster.iter().next().is_none());
        assert_eq!(kept(&roster), ["a", "b", "c"]);
        // A change that could not be kept has not happened.
        let a = left("a").id;
        let before = roster.before(&a);
        let (spec, written) = by_api("a", "h1");
        roster.put(spec, written);
        assert_eq!((roster.iter().count(), roster.left_out().count()), (1, 2));
        roster.restore(&a, before);
        assert_eq!((roster.iter().count(), roster.left_out().count()), (0, 3));
        roster.remove(&a);
        assert_eq!(kept(&roster), ["b", "c"]);
        // It makes sense again.
        let mut api = all_good([by_api("b", "h1")]);
        api.left_out.push(left("c"));
        assert_eq!(names(&roster.reload(vec![], api)), ["+b@h1"]);
        assert_eq!(roster.left_out().count(), 1);
        assert_eq!(kept(&roster), ["b", "c"]);
    }
}

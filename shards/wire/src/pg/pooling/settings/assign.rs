//! What setting one setting does to the others, and to itself: for the client, and on the backend.

use std::rc::Rc;

use super::super::date_style::{self, DATE_STYLE};
use super::super::pins::Pin;
use super::super::restore::{SEARCH_PATH, TEXT_SEARCH};
use super::super::sql::{Assignment, Value};
use super::privileged::needs_privilege;
use super::{BEYOND_RESET_ALL, CONTEXT, Map, Moment, ROLE, SESSION_AUTHORIZATION, Settings};

impl Settings {
    /// One setting is set.
    pub(in super::super) fn assign(&mut self, assignment: &Assignment) {
        self.touched = true;
        self.unsettled = true;
        self.current.sense.take();
        let Assignment { name, value, local } = assignment;
        if &**name == SESSION_AUTHORIZATION {
            self.leave_role(value.as_ref(), *local);
        }
        if &**name == SEARCH_PATH && value.as_ref().is_some_and(leads_to_temporary) {
            // From now on a table may be a temporary one without being called so.
            self.current.pins.insert(Pin::TemporaryTable);
        }
        if *local {
            self.assign_locally(name, value.as_ref());
            return;
        }
        if !has_room(&self.current.client, name, value.as_ref()) {
            self.current.pins.insert(Pin::Setting);
            return;
        }
        if value.is_some() && self.current.is_as_another() && needs_privilege(name) {
            // The account itself may neither set it on another backend nor reset it here.
            self.current.pins.insert(Pin::Setting);
        }
        if &**name == TEXT_SEARCH && value.as_ref().is_some_and(is_found_by_path) {
            // The server keeps what it has found; said again, it may be another one, or none.
            self.current.pins.insert(Pin::Setting);
            return;
        }
        let (for_client, for_backend) = self.effect(name, value.as_ref());
        self.put(name, for_client.as_ref(), for_backend.as_ref());
    }

    /// Beyond the transaction.
    fn put(&mut self, name: &Rc<str>, for_client: Option<&Value>, for_backend: Option<&Value>) {
        let current = &mut self.current;
        if current.local.contains_key(name) {
            Rc::make_mut(&mut current.local).remove(name);
        }
        let same = Rc::ptr_eq(&current.client, &current.backend);
        put(&mut current.client, name, for_client);
        if same && for_client == for_backend {
            current.backend = Rc::clone(&current.client);
        } else {
            put(&mut current.backend, name, for_backend);
        }
    }

    /// Until the end of the transaction. Of what ends with it only the context is ever asked for.
    fn assign_locally(&mut self, name: &Rc<str>, value: Option<&Value>) {
        if !CONTEXT.contains(&&**name) {
            return;
        }
        let (effect, _) = self.effect(name, value);
        let value = effect
            .filter(|_| value.is_some())
            .unwrap_or_else(|| Value::Arguments("DEFAULT".into()));
        Rc::make_mut(&mut self.current.local).insert(Rc::clone(name), value);
    }

    /// What a setting is then, for the client and on the backend.
    fn effect(&self, name: &Rc<str>, value: Option<&Value>) -> (Option<Value>, Option<Value>) {
        let base = self.base.get(name);
        let Some(value) = value else {
            return (base.cloned(), None);
        };
        if &**name != DATE_STYLE {
            return (Some(value.clone()), Some(value.clone()));
        }
        let current = &self.current;
        let merged = |map: &Map, default| {
            let present = current.local.get(name).or_else(|| map.get(name));
            Some(date_style::merged(value, present, default))
        };
        (
            merged(&current.client, base),
            merged(&current.backend, None),
        )
    }

    /// Another session authorization is set, to `value` or back: with it ends the role. (`SET ROLE NONE` or
    /// `RESET ROLE` is done along with it; servers before the minor releases of November 2024 do as if it were, and
    /// do not take up the role again when that is undone.)
    fn leave_role(&mut self, value: Option<&Value>, local: bool) {
        let role: Rc<str> = Rc::from(ROLE);
        self.left_role |= self.current.backend.contains_key(&role);
        let none = || Value::Expression("'none'".into());
        if local {
            let value = value.map(|_| none());
            self.assign_locally(&role, value.as_ref());
            if self.left_role {
                self.current.pins.insert(Pin::Setting);
            }
            return;
        }
        let for_backend = value.map(|_| none());
        let for_client = for_backend
            .clone()
            .or_else(|| self.base.get(&role).cloned());
        self.put(&role, for_client.as_ref(), for_backend.as_ref());
    }

    /// What has been undone may not have given the role back.
    pub(super) fn doubt_role(&mut self) {
        if self.left_role && self.current.backend.contains_key(ROLE) {
            self.current.pins.insert(Pin::Setting);
        }
    }
}

impl Moment {
    /// Whether statements run as another role than the tenant's account.
    fn is_as_another(&self) -> bool {
        let maps = [&self.local, &self.client];
        let sets = |name: &str| maps.iter().any(|map| map.contains_key(name));
        BEYOND_RESET_ALL.into_iter().any(sets)
    }

    /// Whether what is created without a schema may be temporary.
    pub(super) fn may_create_temporary(&self) -> bool {
        let Moment { client, local, .. } = self;
        let path = local.get(SEARCH_PATH).or_else(|| client.get(SEARCH_PATH));
        path.is_some_and(|path| {
            path.is_encoded() || schemas(path).any(|schema| schema.starts_with(TEMPORARY))
        })
    }
}

/// Whether the first schema of a search path is that of temporary objects: what is created is created there. (Behind
/// others it is there for its functions not to be found first, and serves only if there are none of these.)
fn leads_to_temporary(path: &Value) -> bool {
    let mut schemas = schemas(path).filter(|schema| schema != "$user");
    let first = schemas.next();
    // One that cannot be read may.
    path.is_encoded() || first.is_some_and(|schema| schema.starts_with(TEMPORARY))
}

/// Whether a configuration for text search is looked for along the search path: its schema is not said, and it may be none
/// of those that PostgreSQL has itself, which are called by words of one language.
fn is_found_by_path(value: &Value) -> bool {
    let name = value.as_sql().trim_matches('\'').to_ascii_lowercase();
    value.is_encoded() || !name.contains('.') && LANGUAGES.binary_search(&&*name).is_err()
}

/// The schemas of a search path, in lower case.
fn schemas(path: &Value) -> impl Iterator<Item = String> {
    let quote = |c: char| c.is_ascii_whitespace() || matches!(c, '\'' | '"');
    let items = path.as_sql().split(',');
    items.map(move |item| item.trim_matches(quote).to_ascii_lowercase())
}

/// Puts a value into a map that may be shared, or takes it out.
fn put(map: &mut Rc<Map>, name: &Rc<str>, value: Option<&Value>) {
    if map.get(name) == value {
        return;
    }
    let map = Rc::make_mut(map);
    match value {
        Some(value) => map.insert(Rc::clone(name), value.clone()),
        None => map.remove(name),
    };
}

/// Whether one more value may be followed: a client must not make us hold any amount of them.
fn has_room(map: &Map, name: &str, value: Option<&Value>) -> bool {
    let Some(value) = value else {
        return true;
    };
    let is_one_more = !map.contains_key(name);
    if is_one_more && map.len() >= SETTINGS_LIMIT {
        return false;
    }
    let length = value.as_sql().len();
    let all = || {
        map.values()
            .map(|value| value.as_sql().len())
            .sum::<usize>()
    };
    length <= SHORT_VALUE || length + all() <= VALUES_LIMIT
}

/// How many settings of a session are followed. With more, it stays where they are.
const SETTINGS_LIMIT: usize = 256;

/// How much the values of a session may be, in bytes of SQL, beyond those that are short.
const VALUES_LIMIT: usize = 256 * 1024;

/// The length of a value that counts as nothing, in bytes of SQL.
const SHORT_VALUE: usize = 1024;

/// PostgreSQL's own configurations for text search, in order.
const LANGUAGES: [&str; 29] = [
    "arabic",
    "armenian",
    "basque",
    "catalan",
    "danish",
    "dutch",
    "english",
    "finnish",
    "french",
    "german",
    "greek",
    "hindi",
    "hungarian",
    "indonesian",
    "irish",
    "italian",
    "lithuanian",
    "nepali",
    "norwegian",
    "portuguese",
    "romanian",
    "russian",
    "serbian",
    "simple",
    "spanish",
    "swedish",
    "tamil",
    "turkish",
    "yiddish",
];

/// How the names of the schemas of temporary objects begin; without a number it is that of the session's own.
const TEMPORARY: &str = "pg_temp";

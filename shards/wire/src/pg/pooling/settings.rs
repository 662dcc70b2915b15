//! The settings of one session, through its transactions.
//!
//! Two maps are followed side by side: what the *client* must see, and how the *backend* is set.
//! They are the same except after RESET: the client's settings then go back to its startup
//! parameters, those of the backend (which was started without any) to the server's own.

mod assign;
mod privileged;
mod refused;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;

use bytes::Bytes;

use super::pins::{Pin, Pins};
use super::sql::Value;

/// Settings that are not at the server's default, by their names in lower case.
pub(super) type Map = BTreeMap<Rc<str>, Value>;

/// What a session has set.
#[derive(Debug)]
pub(super) struct Settings {
    /// What RESET ALL goes back to: the client's startup parameters.
    base: Rc<Map>,
    committed: Moment,
    current: Moment,
    /// The open savepoints that were made after something had been set, the innermost last.
    savepoints: Vec<(Bytes, Moment)>,
    /// Something has happened since the last commit that a rollback would undo.
    touched: bool,
    /// The transaction has failed: what was set in it is undone at its end.
    failed: bool,
    /// A session authorization set in the transaction has ended a role, which may not be there again if it is undone.
    left_role: bool,
    /// How texts were to be read when the backend last was ready: until then nothing has been reported since.
    told: Spoken,
    /// Something has happened since then that may have changed that.
    unsettled: bool,
}

/// What decides how a text is read, where it is set.
type Spoken = [Option<Value>; 2];

/// The state of everything that a rollback can bring back.
#[derive(Debug, Clone, Default)]
struct Moment {
    client: Rc<Map>,
    backend: Rc<Map>,
    /// Set until the end of the transaction, in both.
    local: Rc<Map>,
    pins: Pins,
    /// What it comes to, once somebody has asked for it.
    sense: Cell<Option<Sense>>,
}

/// What settings mean for the statements that are said under them.
#[derive(Debug, Clone, Copy)]
struct Sense {
    /// The digest of what decides what statements mean.
    context: u64,
    /// What is created without a schema may be temporary.
    temporary: bool,
}

impl Settings {
    /// A session that has asked for this at its startup; `nothing` is a map that many sessions
    /// share as long as they have set nothing.
    pub(super) fn new(base: Rc<Map>, nothing: Rc<Map>) -> Settings {
        let moment = Moment {
            client: Rc::clone(&base),
            backend: Rc::clone(&nothing),
            local: nothing,
            pins: Pins::NONE,
            sense: Cell::new(None),
        };
        let mut settings = Settings {
            base,
            committed: moment.clone(),
            current: moment,
            savepoints: Vec::new(),
            touched: false,
            failed: false,
            left_role: false,
            told: Spoken::default(),
            unsettled: true,
        };
        settings.is_ready();
        settings
    }

    /// What the client must see.
    pub(super) fn wanted(&self) -> &Rc<Map> {
        &self.current.client
    }

    /// How the backend is set.
    pub(super) fn actual(&self) -> &Rc<Map> {
        &self.current.backend
    }

    /// Whether RESET has left the backend otherwise than the client must see it.
    pub(super) fn differ(&self) -> bool {
        !Rc::ptr_eq(&self.current.client, &self.current.backend)
            && self.current.client != self.current.backend
    }

    /// Whether RESET could make them differ.
    pub(super) fn has_base(&self) -> bool {
        !self.base.is_empty()
    }

    /// Whether the end of the transaction may change what was set in it.
    pub(super) fn is_touched(&self) -> bool {
        self.touched
    }

    /// State that a rollback takes away.
    pub(super) fn pins(&self) -> Pins {
        self.current.pins
    }

    /// A backend that is set like this; between two transactions.
    pub(super) fn attached(&mut self, backend: &Rc<Map>) {
        let Moment { client, .. } = &self.current;
        let backend = match backend == client {
            // As one, so that they are seen to be the same at a glance: also by the next one who has asked for the same.
            true => client,
            false => backend,
        };
        // Most often it is set as the one before was.
        if !Rc::ptr_eq(&self.committed.backend, backend) {
            self.committed.backend = Rc::clone(backend);
        }
        if !Rc::ptr_eq(&self.current.backend, backend) {
            self.current.backend = Rc::clone(backend);
        }
        // It may be that of a backend which went away behind its error.
        self.failed = false;
    }

    /// The backend has been set as the client must see it.
    pub(super) fn corrected(&mut self) {
        self.touched = true;
        self.current.backend = Rc::clone(&self.current.client);
    }

    /// A digest of what decides what a statement means; 0 if nothing of it is set.
    pub(super) fn context(&self) -> u64 {
        self.current.sense().context
    }

    /// Whether what is created without a schema may be temporary.
    pub(super) fn may_create_temporary(&self) -> bool {
        self.current.sense().temporary
    }

    /// RESET ALL. It leaves role and session authorization as they are.
    pub(super) fn reset_all(&mut self) {
        self.touched = true;
        self.unsettled = true;
        let Moment {
            client,
            backend,
            local,
            sense,
            ..
        } = &mut self.current;
        sense.take();
        *client = Rc::new(kept(&self.base, client));
        *backend = Rc::new(kept(&Map::new(), backend));
        *local = Rc::default();
        if client == backend {
            *backend = Rc::clone(client);
        }
    }

    /// DISCARD ALL, which runs outside of transactions only.
    pub(super) fn discard_all(&mut self) {
        self.touched = true;
        self.unsettled = true;
        self.current = Moment {
            client: Rc::clone(&self.base),
            ..Moment::default()
        };
    }

    /// ReadyForQuery: what has been set has been reported before it.
    pub(super) fn is_ready(&mut self) {
        if std::mem::take(&mut self.unsettled) {
            self.told = self.current.spoken();
        }
    }

    /// Whether texts are to be read as was reported last. (Since PostgreSQL 14 a setting is reported at the end of
    /// the batch only.)
    pub(super) fn is_reported(&self) -> bool {
        !self.unsettled || self.told == self.current.spoken() && self.current.is_spoken_to()
    }

    pub(super) fn make(&mut self, pin: Pin) {
        self.touched = true;
        self.current.pins.insert(pin);
    }

    pub(super) fn end(&mut self, pin: Pin) {
        self.touched = true;
        self.current.pins.remove(pin);
    }

    pub(super) fn savepoint(&mut self, name: &Bytes) {
        // One that was made before anything was set is the same as the transaction's begin.
        if !self.touched {
            return;
        }
        if self.savepoints.len() < SAVEPOINTS_LIMIT {
            self.savepoints.push((name.clone(), self.current.clone()));
        } else {
            self.current.pins.insert(Pin::Setting);
        }
    }

    pub(super) fn rollback_to(&mut self, name: &Bytes) {
        self.unsettled = true;
        self.failed = false;
        let known = self.savepoints.iter().rposition(|(known, _)| known == name);
        match known {
            Some(at) => {
                self.savepoints.truncate(at + 1);
                self.current = self.savepoints[at].1.clone();
            }
            None => {
                self.savepoints.clear();
                self.current = self.committed.clone();
            }
        }
        self.doubt_role();
    }

    pub(super) fn release_savepoint(&mut self, name: &Bytes) {
        let known = self.savepoints.iter().rposition(|(known, _)| known == name);
        self.savepoints.truncate(known.unwrap_or(0));
    }

    /// An error: the innermost transaction or savepoint has failed.
    pub(super) fn fail(&mut self) {
        self.failed = true;
    }

    pub(super) fn commit(&mut self) {
        if self.touched {
            if !self.current.local.is_empty() {
                self.unsettled = true;
                self.current.local = Rc::default();
                self.current.sense.take();
            }
            self.committed = self.current.clone();
        }
        self.over();
    }

    pub(super) fn rollback(&mut self) {
        if self.touched {
            self.unsettled = true;
            self.current = self.committed.clone();
            self.doubt_role();
            self.committed.pins = self.current.pins;
        }
        self.over();
    }

    /// ReadyForQuery said idle: whatever was open is over, and its end was as good as its statements.
    pub(super) fn idle(&mut self) {
        if self.failed {
            self.rollback();
        } else {
            self.commit();
        }
    }

    fn over(&mut self) {
        self.touched = false;
        self.failed = false;
        self.left_role = false;
        self.savepoints.clear();
    }
}

impl Moment {
    fn spoken(&self) -> Spoken {
        let present = |name| self.local.get(name).or_else(|| self.client.get(name));
        SPELLING.map(|name| present(name).cloned())
    }

    /// Whether the backend reads texts as the client means them: not so behind RESET, until that is put right.
    fn is_spoken_to(&self) -> bool {
        let [client, backend] = [&self.client, &self.backend];
        let is_same = |name| self.local.contains_key(name) || client.get(name) == backend.get(name);
        Rc::ptr_eq(client, backend) || SPELLING.into_iter().all(is_same)
    }

    #[inline]
    fn sense(&self) -> Sense {
        self.sense.get().unwrap_or_else(|| {
            let sense = Sense {
                context: self.digest(),
                temporary: self.may_create_temporary(),
            };
            self.sense.set(Some(sense));
            sense
        })
    }

    fn digest(&self) -> u64 {
        let Moment { client, local, .. } = self;
        if client.is_empty() && local.is_empty() {
            return 0;
        }
        let mut hasher = DefaultHasher::new();
        let mut any = false;
        for name in CONTEXT {
            let value = local.get(name).or_else(|| client.get(name));
            any |= value.is_some();
            value.hash(&mut hasher);
        }
        if any { hasher.finish().max(1) } else { 0 }
    }
}

/// What RESET ALL makes of `now`.
fn kept(base: &Map, now: &Map) -> Map {
    let mut map = base.clone();
    for name in BEYOND_RESET_ALL {
        match now.get_key_value(name) {
            Some((name, value)) => map.insert(Rc::clone(name), value.clone()),
            None => map.remove(name),
        };
    }
    map
}

/// The settings that decide what a statement means when it is analysed: what its names stand for, how
/// its text is read, and what its constants are worth, which are read along with it (a time without a zone, an amount
/// of money, an array), or written for it (bytes or floats as text,
/// a name in quotes).
pub(super) const CONTEXT: [&str; 16] = [
    "search_path",
    "role",
    "session_authorization",
    "client_encoding",
    "standard_conforming_strings",
    "transform_null_equals",
    "timezone",
    "timezone_abbreviations",
    "datestyle",
    "intervalstyle",
    "bytea_output",
    "extra_float_digits",
    "lc_monetary",
    "array_nulls",
    "xmloption",
    "quote_all_identifiers",
];

/// The settings that decide how a text is read.
pub(super) const SPELLING: [&str; 2] = ["standard_conforming_strings", "client_encoding"];

/// The settings that RESET ALL does not reset.
pub(super) const BEYOND_RESET_ALL: [&str; 2] = [ROLE, SESSION_AUTHORIZATION];

const ROLE: &str = "role";
const SESSION_AUTHORIZATION: &str = "session_authorization";

/// How many savepoints are kept apart once something has been set. With more, the settings cannot
/// be followed any longer.
const SAVEPOINTS_LIMIT: usize = 1024;

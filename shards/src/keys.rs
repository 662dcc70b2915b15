//! What SCRAM logins leave: as good as the password for one account at one database, and good for
//! nothing else.

use std::cell::RefCell;
use std::collections::HashMap;

use wire::pg::scram::ClientKeys;

/// The keys of one tenant's database, by user.
#[derive(Default)]
pub struct Keys(RefCell<HashMap<String, ClientKeys>>);

impl Keys {
    /// Those of a user.
    pub fn of(&self, user: &str) -> Option<ClientKeys> {
        self.0.borrow().get(user).cloned()
    }

    /// Keeps those of a user who has just logged in.
    pub fn keep(&self, user: &str, keys: ClientKeys) {
        let mut kept = self.0.borrow_mut();
        // They come again with each login.
        if kept.len() >= KEPT && !kept.contains_key(user) {
            kept.clear();
        }
        kept.insert(user.to_owned(), keys);
    }
}

/// Users whose keys are kept.
const KEPT: usize = 4096;

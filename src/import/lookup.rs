//! `auth_query` and `auth_user`: users that the database knows.

use std::collections::BTreeMap;

use super::Remarks;
use super::tenants::Users;
use super::yaml::Yaml;
use crate::config::objection;

/// How a database is asked for users, and by whom: by nobody, if nobody is named.
#[derive(Clone, Default)]
pub struct Lookup {
    pub query: Option<String>,
    pub user: Option<String>,
}

impl Lookup {
    /// What a database says of it, and for the rest what holds for all.
    pub fn of(keys: &BTreeMap<String, String>, otherwise: &Lookup) -> Lookup {
        let said = |key| keys.get(key).cloned();
        Lookup {
            query: said("auth_query").or_else(|| otherwise.query.clone()),
            user: said("auth_user").or_else(|| otherwise.user.clone()),
        }
    }

    /// By whom the database is asked: by nobody either where our keys do not take who or how.
    pub fn asker(&self) -> Option<&str> {
        let is_taken = |key, text: &Option<String>| {
            let objection = (text.as_deref()).and_then(|text| objection(&["defaults", key], text));
            objection.is_none()
        };
        let is_asked = is_taken("auth_user", &self.user) && is_taken("auth_query", &self.query);
        self.user.as_deref().filter(|_| is_asked)
    }

    /// Writes it at this depth. What cannot be said asks for nobody, rather than for whom `defaults` or PgBouncer's own
    /// query would find.
    pub fn write(&self, depth: usize, users: &Users<'_>, yaml: &mut Yaml, remarks: &mut Remarks) {
        if self.user.is_none() {
            if let Some(query) = &self.query {
                remarks.left_out(
                    "auth_query",
                    query,
                    "without an auth_user PgBouncer does not ask",
                );
            }
            return;
        }
        let Some(user) = self.asker() else {
            for (key, text) in [("auth_user", &self.user), ("auth_query", &self.query)] {
                let Some(text) = text else { continue };
                if let Some(why) = objection(&["defaults", key], text) {
                    remarks.left_out(key, text, &format!("{why}; nobody is looked up by it"));
                }
            }
            return yaml.plain(depth, "auth_query", "none");
        };
        match &self.query {
            // PgBouncer's own asks for the same.
            None => yaml.plain(depth, "auth_query", "pg_authid"),
            Some(query) => {
                yaml.text(depth, "auth_query", query);
                remarks.add(format!(
                    "auth_query = {query}: its search path is pg_catalog here, so schemas must be named in it"
                ));
            }
        }
        yaml.text(depth, "auth_user", user);
        match users.password_of(user).filter(|password| !password.is_empty()) {
            Some(password) => yaml.text(depth, "auth_password", password),
            None => remarks.add(format!(
                "auth_user = {user}: the password is not known; say auth_password if the database asks for one"
            )),
        }
    }
}

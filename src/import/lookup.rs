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

    /// Writes it at this depth.
    pub fn write(&self, depth: usize, users: &Users<'_>, yaml: &mut Yaml, remarks: &mut Remarks) {
        let Some(user) = &self.user else {
            if let Some(query) = &self.query {
                remarks.left_out(
                    "auth_query",
                    query,
                    "without an auth_user PgBouncer does not ask",
                );
            }
            return;
        };
        if let Some(why) = objection(&["defaults", "auth_user"], user) {
            return remarks.left_out("auth_user", user, &why);
        }
        let query = self.query.as_deref();
        let why_not = query.and_then(|query| objection(&["defaults", "auth_query"], query));
        match (query, why_not) {
            // PgBouncer's own asks for the same.
            (None, _) => yaml.plain(depth, "auth_query", "pg_authid"),
            (Some(query), Some(why)) => remarks.left_out("auth_query", query, &why),
            (Some(query), None) => {
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

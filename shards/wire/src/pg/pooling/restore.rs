//! Making a backend's settings those of a session, in one Query.

use std::fmt::Write;

use super::date_style::DATE_STYLE;
use super::settings::{BEYOND_RESET_ALL, Map};
use super::sql::Value;

/// The statements that turn one set of settings into another; empty if there is nothing to do.
///
/// Names are made of bytes that need no escape between double quotes, values are plain ASCII SQL.
pub(super) fn statements(actual: &Map, wanted: &Map) -> String {
    let mut sql = String::new();
    if actual == wanted {
        return sql;
    }
    // As another role it may not be allowed to set what is to be set.
    let as_somebody = BEYOND_RESET_ALL
        .iter()
        .any(|name| actual.contains_key(*name));
    if as_somebody {
        sql.push_str("SET SESSION AUTHORIZATION DEFAULT;RESET ROLE;");
    }
    let is_role = |name: &str| BEYOND_RESET_ALL.contains(&name);
    // What the last client allowed itself of time is not to end what is set for this one.
    for name in TIMEOUTS {
        if actual.contains_key(name) && actual.get(name) != wanted.get(name) {
            sql.push_str("RESET ");
            push_name(&mut sql, name);
            sql.push(';');
        }
    }
    let is_timeout = |name: &str| TIMEOUTS.contains(&name);
    for name in actual.keys().filter(|name| !is_timeout(name)) {
        // Of this the next value may name the one half only.
        let keeps_half = &**name == DATE_STYLE && wanted.get(name) != actual.get(name);
        if (keeps_half || !wanted.contains_key(name)) && !is_role(name) {
            sql.push_str("RESET ");
            push_name(&mut sql, name);
            sql.push(';');
        }
    }
    let another_path = actual.get(SEARCH_PATH) != wanted.get(SEARCH_PATH);
    let others = wanted
        .iter()
        .filter(|(name, _)| !is_timeout(name) && &***name != SEARCH_PATH);
    for (name, value) in wanted.get_key_value(SEARCH_PATH).into_iter().chain(others) {
        // Of the same name, another one may be found along another path.
        let found_anew = another_path && &**name == TEXT_SEARCH;
        if (found_anew || actual.get(name) != Some(value)) && !is_role(name) {
            push_setting(&mut sql, name, value);
        }
    }
    // The role belongs to the session authorization, so it comes last.
    for name in ["session_authorization", "role"] {
        if let Some(value) = wanted.get(name) {
            push_setting(&mut sql, name, value);
        }
    }
    // Nor is what this one allows itself.
    for name in TIMEOUTS {
        if let Some(value) = wanted
            .get(name)
            .filter(|&value| actual.get(name) != Some(value))
        {
            push_setting(&mut sql, name, value);
        }
    }
    sql
}

/// What goes before that where no transaction is open. One that the last client has made deferrable by default would wait
/// for its snapshot as long as anybody's serializable transaction writes.
pub(super) fn begin(actual: &Map) -> &'static str {
    match actual.contains_key("default_transaction_deferrable") {
        true => NOT_DEFERRABLE,
        false => "",
    }
}

/// The same where nobody knows what the last client has made its transactions by default.
pub(super) const NOT_DEFERRABLE: &str = "SET TRANSACTION NOT DEFERRABLE;";

/// It decides what other settings' values stand for, so it is said before them.
pub(super) const SEARCH_PATH: &str = "search_path";

/// The setting whose value is looked for along the search path when it is set.
pub(super) const TEXT_SEARCH: &str = "default_text_search_config";

/// The settings that end what runs longer. (As another role, too, a session may set them.)
const TIMEOUTS: [&str; 2] = ["statement_timeout", "transaction_timeout"];

fn push_setting(sql: &mut String, name: &str, value: &Value) {
    // Writing to a String cannot fail.
    let _ = match value {
        Value::Expression(text) => write!(
            sql,
            "SELECT pg_catalog.set_config('{name}', {text}, false);"
        ),
        Value::Arguments(text) => {
            sql.push_str("SET ");
            push_name(sql, name);
            write!(sql, " TO {text};")
        }
    };
}

/// A qualified name has each of its parts in quotes.
fn push_name(sql: &mut String, name: &str) {
    let quoted = name.replace('.', "\".\"");
    sql.push('"');
    sql.push_str(&quoted);
    sql.push('"');
}

#[cfg(test)]
mod tests {
    use super::super::sql::Encoding;
    use super::*;

    fn map(settings: &[(&str, &str)]) -> Map {
        settings
            .iter()
            .map(|(name, value)| {
                let value = Value::of_bytes(value.as_bytes(), Encoding::named(b"UTF8"));
                ((*name).into(), value)
            })
            .collect()
    }

    #[test]
    fn only_what_differs_is_said() {
        let a = map(&[("app.tenant", "1"), ("jit", "off"), ("work_mem", "1MB")]);
        let b = map(&[("jit", "off"), ("timezone", "it's"), ("work_mem", "2MB")]);
        assert_eq!(statements(&a, &a), "");
        assert_eq!(
            statements(&a, &b),
            "RESET \"app\".\"tenant\";\
             SELECT pg_catalog.set_config('timezone', 'it''s', false);\
             SELECT pg_catalog.set_config('work_mem', '2MB', false);"
        );
    }

    #[test]
    fn what_is_looked_for_along_the_path_is_said_behind_it() {
        let with_path = |path| map(&[("default_text_search_config", "own"), ("search_path", path)]);
        assert_eq!(
            statements(&with_path("a"), &with_path("b")),
            "SELECT pg_catalog.set_config('search_path', 'b', false);\
             SELECT pg_catalog.set_config('default_text_search_config', 'own', false);"
        );
    }

    #[test]
    fn no_half_of_a_date_style_is_left() {
        let other = map(&[("datestyle", "SQL, DMY")]);
        let own = map(&[("datestyle", "ISO")]);
        assert_eq!(
            statements(&other, &own),
            "RESET \"datestyle\";SELECT pg_catalog.set_config('datestyle', 'ISO', false);"
        );
    }

    #[test]
    fn a_timeout_is_left_first_and_taken_last() {
        let other = map(&[("jit", "off"), ("statement_timeout", "1")]);
        let own = map(&[("statement_timeout", "2"), ("work_mem", "1MB")]);
        assert_eq!(
            statements(&other, &own),
            "RESET \"statement_timeout\";RESET \"jit\";\
             SELECT pg_catalog.set_config('work_mem', '1MB', false);\
             SELECT pg_catalog.set_config('statement_timeout', '2', false);"
        );
    }

    #[test]
    fn a_role_is_left_first_and_taken_last() {
        let other = map(&[("role", "other"), ("jit", "off")]);
        let own = map(&[("role", "own"), ("work_mem", "1MB")]);
        assert_eq!(
            statements(&other, &own),
            "SET SESSION AUTHORIZATION DEFAULT;RESET ROLE;RESET \"jit\";\
             SELECT pg_catalog.set_config('work_mem', '1MB', false);\
             SELECT pg_catalog.set_config('role', 'own', false);"
        );
    }
}

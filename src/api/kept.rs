//! Where the secrets go that a PUT leaves out: where they were said for, and nowhere else.
//!
//! Whoever may change tenants cannot read their secrets. Kept while the tenant moves to another
//! server, a secret could be read there, for a server may ask for it in clear. Kept while another question
//! is asked with it, it would let that question be asked by somebody who may do more.

use shards::contract::{PG_AUTHID, TenantSpec};

use crate::config::{Complaint, Node};

/// Complaints about each secret that was kept (`filled` has it, `written` does not) and would now go
/// elsewhere than it went `before`.
pub fn kept_for_another(
    written: &Node,
    filled: &Node,
    before: &TenantSpec,
    now: &TenantSpec,
) -> Vec<Complaint> {
    let moved = moved(before, now);
    let user = (before.username != now.username).then_some("username");
    // The others are kept by the names of their own users.
    let own = [
        ("password", moved.or(user)),
        (
            "auth_password",
            moved.or_else(|| asks_otherwise(before, now)),
        ),
    ];
    let own = own.map(|(key, moved)| (vec![key], moved));
    let names = entries(filled, &["users"]).iter().map(|(name, _)| name);
    let of_users = names.map(|name| (vec!["users", name, "password"], moved));
    let secrets = own.into_iter().chain(of_users);
    let complaints = secrets.filter_map(|(path, moved)| {
        let moved = moved.filter(|_| is_said(filled, &path) && !is_said(written, &path))?;
        let text = format!(
            "must be said again, since {moved} is another: what is left out stays as it was only for the same server and user, with TLS as good as before"
        );
        let key = path.into_iter().collect();
        Some(Complaint { key, text })
    });
    complaints.collect()
}

/// Complaints about each secret of a tenant that is left out which a PUT neither says again nor takes away: nobody
/// understands whom it was for, and what is written now takes the place of it.
pub fn lost(written: &Node, left_out: &Node) -> Vec<Complaint> {
    let mut paths: Vec<Vec<&str>> = vec![vec!["password"], vec!["auth_password"], vec!["sslkey"]];
    match is_said(written, &["users"]) {
        false => paths.push(vec!["users"]),
        // Who is not named any more is given up.
        true => {
            let names = entries(written, &["users"]).iter();
            let secrets = names.flat_map(|(name, _)| {
                ["password", "verifier"].map(|secret| vec!["users", name.as_str(), secret])
            });
            paths.extend(secrets);
        }
    }
    let says_another = |path: &[&str]| match path {
        [users @ .., "password" | "verifier"] => !entries(written, users).is_empty(),
        _ => false,
    };
    paths.retain(|path| {
        let is_one_of_users = path.len() == 3;
        is_said(left_out, path)
            && !is_said(written, path)
            && !(is_one_of_users && says_another(path))
    });
    let complaint = |path: Vec<&str>| {
        Complaint {
        key: path.into_iter().collect(),
        text: "must be said again: what was written makes no sense, so that nothing of it is kept; DELETE gives it up".to_owned(),
    }
    };
    paths.into_iter().map(complaint).collect()
}

/// A complaint about a tenant of the API that would ask with the `auth_password` of the defaults what no tenant
/// `of_file` asks with it: that secret is the config file's, and goes where the file sends it.
pub fn secret_of_the_defaults(
    filled: &Node,
    now: &TenantSpec,
    of_file: &[TenantSpec],
) -> Option<Complaint> {
    let account = |spec: &TenantSpec| {
        spec.access
            .lookup
            .as_ref()
            .and_then(|asks| asks.account.clone())
    };
    let (_, Some(_)) = account(now)? else {
        return None;
    };
    let asks_the_same = |other: &TenantSpec| {
        account(other) == account(now)
            && moved(other, now).is_none()
            && asks_otherwise(other, now).is_none()
    };
    if is_said(filled, &["auth_password"]) || of_file.iter().any(asks_the_same) {
        return None;
    }
    let text = "must be said: that of the defaults is for what the config file's own tenants ask, on the same server by the same auth_query, with TLS as good; or say auth_query: none";
    let key = ["auth_password"].into_iter().collect();
    Some(Complaint {
        key,
        text: text.to_owned(),
    })
}

/// Has the database asked without a password.
pub fn forget_secret(spec: &mut TenantSpec) {
    let asks = spec.access.lookup.as_mut();
    if let Some((_, password)) = asks.and_then(|asks| asks.account.as_mut()) {
        *password = None;
    }
}

/// The key by which something else is asked for users. A query that names nothing but the server's own catalog
/// is the same in every database; what another one calls is whatever stands in that database.
fn asks_otherwise(before: &TenantSpec, now: &TenantSpec) -> Option<&'static str> {
    let [then, query] = [before, now].map(|spec| {
        let asks = spec.access.lookup.as_ref();
        asks.map(|asks| asks.query.as_str())
    });
    if then != query {
        return Some("auth_query");
    }
    let is_another = before.dbname != now.dbname && query != Some(PG_AUTHID);
    is_another.then_some("dbname")
}

/// The key by which the database is another one, or is believed more easily; `None` if none.
fn moved(before: &TenantSpec, now: &TenantSpec) -> Option<&'static str> {
    let differing = [
        ("db_type", before.dialect != now.dialect),
        ("host", before.host != now.host),
        ("port", before.port != now.port),
        ("sslmode", now.tls.mode < before.tls.mode),
        ("sslrootcert", !now.tls.is_as_good_as(&before.tls)),
    ];
    let mut differing = differing.into_iter().filter(|(_, differs)| *differs);
    differing.next().map(|(key, _)| key)
}

fn is_said(node: &Node, path: &[&str]) -> bool {
    path.split_last().is_some_and(|(key, sections)| {
        let mut entries = entries(node, sections).iter();
        entries.any(|(name, _)| name == key)
    })
}

/// What stands in a section; nothing where there is none.
fn entries<'a>(node: &'a Node, path: &[&str]) -> &'a [(String, Node)] {
    let Node::Map(inside) = node else { return &[] };
    let Some((key, rest)) = path.split_first() else {
        return inside;
    };
    let found = inside.iter().find(|(name, _)| name == key);
    found.map_or(&[], |(_, node)| entries(node, rest))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::body::with_kept_secrets;
    use super::*;
    use crate::config::{Cpus, Habits, Surroundings, settle, settle_tenant};
    use shards::contract::TenantId;

    const BEFORE: &str = "{db_type: postgres, host: db, dbname: d, username: u, password: p, sslmode: require, auth_query: pg_authid, auth_user: asker, auth_password: a, users: {bob: {password: b}}}";

    /// The keys of the complaints about a tenant that is put after [`BEFORE`].
    fn complaints(put: &str) -> Vec<String> {
        let settle = |written: &Node| {
            let id = TenantId::parse("acme").unwrap();
            let settled = settle_tenant(&id, written, &Habits::BUILT_IN);
            settled.map(|(spec, _)| spec).unwrap()
        };
        let before = settle(&Node::from_yaml(BEFORE).unwrap());
        let written = Node::from_yaml(put).unwrap();
        let filled = with_kept_secrets(written.clone(), Some(&before));
        let found = kept_for_another(&written, &filled, &before, &settle(&filled));
        found
            .into_iter()
            .map(|complaint| complaint.key.to_string())
            .collect()
    }

    #[test]
    fn secrets_are_kept_for_the_same_database_alone() {
        let left_out = BEFORE
            .replace(" password: p,", "")
            .replace(", auth_password: a", "")
            .replace("{password: b}", "{}");
        assert!(complaints(&left_out).is_empty());
        assert!(complaints(&left_out.replace("require", "prefer")).len() == 3);
        let all = ["password", "auth_password", "users.bob.password"];
        for moved in [
            left_out.replace("host: db", "host: evil"),
            left_out.replace("host: db", "host: db, port: 6432"),
            left_out.replace("sslmode: require", "sslmode: disable"),
        ] {
            assert_eq!(complaints(&moved), all, "{moved}");
        }
        // Nothing of it is looked up there, and a user is kept for that user.
        let other = left_out.replace("username: u", "username: v");
        assert_eq!(complaints(&other), ["password"]);
        let renamed = left_out
            .replace("host: db", "host: evil")
            .replace("asker", "another");
        assert_eq!(complaints(&renamed), ["password", "users.bob.password"]);
    }

    #[test]
    fn of_what_makes_no_sense_no_secret_is_lost_without_a_word() {
        let before = BEFORE.replace("dbname: d", "dbname: d, sslkey: k, idle_timeout: 7ms");
        let lost = |put: &str| -> Vec<String> {
            let [put, before] = [put, &before].map(|text| Node::from_yaml(text).unwrap());
            let found = lost(&put, &before);
            found.iter().map(|found| found.key.to_string()).collect()
        };
        assert!(lost(&before).is_empty());
        assert_eq!(
            lost("{host: db}"),
            ["password", "auth_password", "sslkey", "users"]
        );
        let again = "host: db, password: null, auth_password: a, sslkey: k";
        assert_eq!(
            lost(&format!("{{{again}, users: {{bob: {{}}}}}}")),
            ["users.bob.password"]
        );
        for good in ["null", "{eve: {password: e}}", "{bob: {verifier: v}}"] {
            assert_eq!(
                lost(&format!("{{{again}, users: {good}}}")),
                [""; 0],
                "{good}"
            );
        }
    }

    #[test]
    fn whoever_says_the_secrets_again_may_send_them_anywhere() {
        assert!(complaints(&BEFORE.replace("host: db", "host: elsewhere")).is_empty());
        assert!(
            complaints("{db_type: mysql, host: elsewhere, dbname: d, username: u, password: null}")
                .is_empty()
        );
    }

    #[test]
    fn an_account_that_asks_is_kept_for_the_same_question() {
        let left_out = BEFORE.replace(", auth_password: a", "");
        assert!(complaints(&left_out).is_empty());
        // What pg_authid holds is the same in every database of the server.
        assert!(complaints(&left_out.replace("dbname: d", "dbname: e")).is_empty());
        let other = "auth_query: 'SELECT drop_all($1)'";
        let asked = left_out.replace("auth_query: pg_authid", other);
        assert_eq!(complaints(&asked), ["auth_password"]);
    }

    #[test]
    fn the_secret_of_the_defaults_goes_where_the_file_sends_it() {
        let defaults = "defaults: {auth_query: pg_authid, auth_user: asker, auth_password: a, sslmode: require}";
        let own = "auth_query: 'SELECT * FROM lookup.user($1)'";
        let of_file = "host: db, dbname: d, username: u";
        for (file, put, is_refused) in [
            (of_file, "host: db, dbname: d, username: u", false),
            (of_file, "host: db, dbname: e, username: v", false),
            (of_file, "host: evil, dbname: d, username: u", true),
            (
                of_file,
                "host: db, port: 6432, dbname: d, username: u",
                true,
            ),
            (
                of_file,
                "host: db, dbname: d, username: u, sslmode: prefer",
                true,
            ),
            (
                of_file,
                &format!("host: db, dbname: d, username: u, {own}"),
                true,
            ),
            (
                of_file,
                "host: evil, dbname: d, username: u, auth_password: mine",
                false,
            ),
            (
                of_file,
                "host: evil, dbname: d, username: u, auth_user: me",
                false,
            ),
            (
                of_file,
                "host: evil, dbname: d, username: u, auth_query: none",
                false,
            ),
            (
                &format!("{of_file}, {own}"),
                &format!("{of_file}, {own}"),
                false,
            ),
            (
                &format!("{of_file}, {own}"),
                &format!("host: db, dbname: e, username: u, {own}"),
                true,
            ),
            // One that asks with a secret of its own does not send that of the defaults anywhere.
            (&format!("{of_file}, auth_password: other"), of_file, true),
        ] {
            let text = format!("{defaults}\ntenants: {{one: {{db_type: postgres, {file}}}}}");
            let nowhere = Surroundings {
                env: &|_| None,
                read: &|_| Err(std::io::ErrorKind::NotFound.into()),
                cpus: Cpus::ours(),
            };
            let settings = settle(&Node::from_yaml(&text).unwrap(), &nowhere).unwrap();
            let node = Node::from_yaml(&format!("{{db_type: postgres, {put}}}")).unwrap();
            let id = TenantId::parse("acme").unwrap();
            let (mut now, _) = settle_tenant(&id, &node, &settings.defaults).unwrap();
            let found = secret_of_the_defaults(&node, &now, &settings.tenants);
            assert_eq!(found.is_some(), is_refused, "{put}");
            forget_secret(&mut now);
            assert_eq!(secret_of_the_defaults(&node, &now, &[]), None);
        }
    }
}

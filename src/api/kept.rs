//! Where the secrets go that a PUT leaves out: to the database that they were for, and to no other.
//!
//! Whoever may change tenants cannot read their secrets. Kept while the tenant moves to another
//! server, a secret could be read there, for a server may ask for it in clear.

use shards::contract::TenantSpec;

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
    let own = [("password", moved.or(user)), ("auth_password", moved)];
    let own = own.map(|(key, moved)| (vec![key], moved));
    let names = entries(filled, &["users"]).iter().map(|(name, _)| name);
    let of_users = names.map(|name| (vec!["users", name, "password"], moved));
    let secrets = own.into_iter().chain(of_users);
    let complaints = secrets.filter_map(|(path, moved)| {
        let moved = moved.filter(|_| is_said(filled, &path) && !is_said(written, &path))?;
        let key = path.join(".");
        let text = format!(
            "must be said again, since {moved} is another: what is left out stays as it was only for the same server and user, with TLS as good as before"
        );
        Some(Complaint { key, text })
    });
    complaints.collect()
}

/// The key by which the database is another one, or is believed more easily; `None` if none.
fn moved(before: &TenantSpec, now: &TenantSpec) -> Option<&'static str> {
    let differing = [
        ("db_type", before.dialect != now.dialect),
        ("host", before.host != now.host),
        ("port", before.port != now.port),
        ("sslmode", !now.tls.is_as_good_as(&before.tls)),
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
    use crate::config::{Habits, settle_tenant};
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
        found.into_iter().map(|complaint| complaint.key).collect()
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
    fn whoever_says_the_secrets_again_may_send_them_anywhere() {
        assert!(complaints(&BEFORE.replace("host: db", "host: elsewhere")).is_empty());
        assert!(
            complaints("{db_type: mysql, host: elsewhere, dbname: d, username: u, password: null}")
                .is_empty()
        );
    }
}

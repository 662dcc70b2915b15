//! A tenant on its way in: JSON as sent, to a tenant as written.
//!
//! What the API shows it also takes back, so that a tenant can be read, changed and sent again:
//! what only it can know is passed over, and a secret, which it never shows, stays as it was when
//! it is left out.

use shards::contract::{Credential, TenantSpec, Users};

use super::http::Request;
use super::problem::{FieldError, Problem};
use crate::config::{Complaint, Node};

/// The tenant in a request's body, and the name that it gives itself.
pub fn read(request: &Request) -> Result<(Node, Option<String>), Problem> {
    let media_type = request
        .header("content-type")
        .unwrap_or("")
        .split(';')
        .next();
    if !media_type
        .is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case("application/json"))
    {
        return Err(Problem::new(
            415,
            "the body must be JSON: Content-Type: application/json",
        ));
    }
    let node: Node = serde_json::from_slice(&request.body)
        .map_err(|error| Problem::new(400, format!("the body is not JSON: {error}")))?;
    let Node::Map(mut entries) = node else {
        let detail = format!("must be an object, not {}", node.kind());
        return Err(Problem::invalid(vec![FieldError {
            pointer: String::new(),
            detail,
        }]));
    };
    let id = match entries.iter().position(|(key, _)| key == "id") {
        None => None,
        Some(position) => match entries.remove(position).1 {
            Node::Text(id) => Some(id),
            other => {
                let detail = format!("must be text, not {}", other.kind());
                return Err(Problem::invalid(vec![FieldError {
                    pointer: "/id".into(),
                    detail,
                }]));
            }
        },
    };
    entries.retain(|(key, _)| !SHOWN_ONLY.contains(&key.as_str()));
    Ok((Node::Map(entries), id))
}

/// The tenant as written, with the secrets of the one before where it says nothing of them.
/// `null` takes a password, or the list of users, away.
pub fn with_kept_secrets(written: Node, before: Option<&TenantSpec>) -> Node {
    let Node::Map(mut entries) = written else {
        return written;
    };
    let says = entries.iter().any(|(key, _)| key == "password");
    // What is null is taken away.
    entries.retain(|(key, node)| {
        !(["password", "users"].contains(&key.as_str()) && *node == Node::Nothing)
    });
    if let Some(password) = before
        .and_then(|before| before.password.as_ref())
        .filter(|_| !says)
    {
        entries.push(("password".into(), Node::Text(password.expose().into())));
    }
    keep_auth_password(&mut entries, before);
    keep_key(&mut entries, before);
    for (_, users) in entries.iter_mut().filter(|(key, _)| key == "users") {
        if let Node::Map(users) = users {
            users
                .iter_mut()
                .for_each(|(name, user)| keep_credential(name, user, before));
        }
    }
    Node::Map(entries)
}

/// The password of whoever asks for users stays with that user.
fn keep_auth_password(entries: &mut Vec<(String, Node)>, before: Option<&TenantSpec>) {
    let account = before
        .and_then(|before| before.access.lookup.as_ref())
        .and_then(|lookup| lookup.account.as_ref());
    let has = |wanted: &str| entries.iter().find(|(key, _)| key == wanted);
    if let Some((user, Some(password))) = account
        && has("auth_password").is_none()
        && has("auth_user").is_some_and(|(_, node)| *node == Node::Text(user.clone()))
    {
        let password = Node::Text(password.expose().into());
        entries.push(("auth_password".into(), password));
    }
}

/// The key of a certificate stays with that certificate.
fn keep_key(entries: &mut Vec<(String, Node)>, before: Option<&TenantSpec>) {
    let Some(identity) = before.and_then(|before| before.tls.identity()) else {
        return;
    };
    let has = |wanted: &str| entries.iter().find(|(key, _)| key == wanted);
    let same = Node::Text(identity.certificate.clone());
    if has("sslkey").is_none() && has("sslcert").is_some_and(|(_, node)| *node == same) {
        let key = Node::Text(identity.key.expose().into());
        entries.push(("sslkey".into(), key));
    }
}

fn keep_credential(name: &str, user: &mut Node, before: Option<&TenantSpec>) {
    let Node::Map(entries) = user else { return };
    entries.retain(|(key, _)| !SHOWN_ONLY.contains(&key.as_str()));
    let before = before.map(|before| &before.access.users);
    let Some(Users::Named(known)) = before.filter(|_| entries.is_empty()) else {
        return;
    };
    match known.get(name) {
        Some(Credential::Password(secret)) => {
            entries.push(("password".into(), Node::Text(secret.expose().into())));
        }
        Some(Credential::Verifier(secret)) => {
            entries.push(("verifier".into(), Node::Text(secret.expose().into())));
        }
        None => {}
    }
}

/// Complaints about a body, each with its place.
pub fn refused(complaints: Vec<Complaint>) -> Problem {
    let errors = complaints
        .into_iter()
        .map(|Complaint { key, text }| FieldError {
            pointer: key.pointer(),
            detail: text,
        });
    Problem::invalid(errors.collect())
}

/// What answers hold and requests need not.
const SHOWN_ONLY: &[&str] = &[
    "auth_password_set",
    "origin",
    "password_set",
    "shard",
    "sslkey_set",
    "state",
    "stats",
    "verifier_set",
];

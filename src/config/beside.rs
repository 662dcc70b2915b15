//! The files that a config refers to, whose contents are part of what it says.

use std::path::{Path, PathBuf};

use super::expand::expand;
use super::file::Node;

/// The files with secrets and certificates that this text of a config in this folder names, in its
/// order. A text that is no config names none.
pub fn files_beside(text: &str, folder: &Path) -> Vec<PathBuf> {
    let Ok(node) = Node::from_yaml(text) else {
        return Vec::new();
    };
    let mut named = Vec::new();
    collect("", &node, &mut named);
    let expanded = named
        .into_iter()
        .filter_map(|path| expand(path, |name| std::env::var(name).ok()).ok());
    expanded.map(|path| folder.join(path)).collect()
}

fn collect<'a>(key: &str, node: &'a Node, named: &mut Vec<&'a str>) {
    match node {
        Node::Text(text) if PATHS.contains(&key) => named.push(text),
        Node::Text(text) => named.extend(text.strip_prefix("file:")),
        Node::List(items) => items.iter().for_each(|item| collect(key, item, named)),
        Node::Map(entries) => entries
            .iter()
            .for_each(|(key, node)| collect(key, node, named)),
        Node::Nothing | Node::Flag(_) | Node::Number(_) => {}
    }
}

/// Keys that hold a path.
const PATHS: &[&str] = &[
    "tls_cert",
    "tls_key",
    "tls_client_ca",
    "sslcert",
    "sslkey",
    "sslrootcert",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_and_certificates_are_found_wherever_they_stand() {
        let text = "
api_key: file:secrets/api
tls_cert: /tls/tls.crt
tenants:
  a: {password: 'file:/run/a', host: h, users: {u: {verifier: 'file:${NO_SUCH_NAME:-u}'}}}
  b: {password: plain, sslrootcert: ca.pem, sslkey: '${NO_SUCH_NAME}'}
";
        let expected = [
            "/c/secrets/api",
            "/tls/tls.crt",
            "/run/a",
            "/c/u",
            "/c/ca.pem",
        ];
        assert_eq!(
            files_beside(text, Path::new("/c")),
            expected.map(PathBuf::from)
        );
        assert!(files_beside("[", Path::new("/c")).is_empty());
    }
}

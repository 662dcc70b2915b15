//! Pages of `docs/` that are made from the program: a test compares them, or writes them anew with
//! `UPDATE=1 cargo test --lib docs`.

#![allow(clippy::expect_used)]

use std::path::Path;

/// Holds a page against what it should say.
pub fn compare(path: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("UPDATE").is_some() {
        return std::fs::write(file, text).expect("docs can be written");
    }
    let there = std::fs::read_to_string(file).unwrap_or_default();
    assert!(
        there == text,
        "{path} is not what the program says: UPDATE=1 cargo test --lib docs, and commit it"
    );
}

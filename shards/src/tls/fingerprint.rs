//! Whether certificates and keys are still the same, without keeping them.

use aws_lc_rs::digest::{Context, SHA256};

/// A hash of several texts, of which no other ones have the same.
pub(super) fn fingerprint(parts: &[&str]) -> [u8; 32] {
    let mut hash = Context::new(&SHA256);
    for part in parts {
        hash.update(&part.len().to_be_bytes());
        hash.update(part.as_bytes());
    }
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(hash.finish().as_ref());
    fingerprint
}

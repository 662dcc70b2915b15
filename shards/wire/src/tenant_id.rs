//! The grammar of tenant names, which both protocols need to split `tenant__user`.

/// The longest tenant name, in bytes.
pub const MAX_TENANT_ID: usize = 63;

/// Whether `text` can be the name of a tenant: 1 to 63 ASCII letters, digits, `.`, `-` and
/// underscores, with no `__` inside and no `_` at either end, so that a user name
/// `tenant__user` splits at its first `__` in one way only.
pub fn is_tenant_id(text: &str) -> bool {
    (1..=MAX_TENANT_ID).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        && !text.contains("__")
        && !text.starts_with('_')
        && !text.ends_with('_')
}

/// The tenant that the name of a host stands for, by which a client has connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ByHost {
    /// The host is that tenant's: a word like any other, and the others must agree with it.
    Names(String),
    /// It may be, or just be called so: it counts where no other word is said.
    MayName(String),
}

#[cfg(test)]
mod tests {
    use super::is_tenant_id;

    #[test]
    fn the_grammar() {
        for good in ["a", "tenant_1", "Acme-7.eu", "9", &"x".repeat(63)] {
            assert!(is_tenant_id(good), "{good}");
        }
        for bad in [
            "",
            "_a",
            "a_",
            "a__b",
            "a b",
            "ä",
            "a/b",
            "a\0",
            &"x".repeat(64),
        ] {
            assert!(!is_tenant_id(bad), "{bad}");
        }
    }
}

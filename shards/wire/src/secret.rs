//! A secret text: zeroed when dropped, absent from `Debug`.

use zeroize::Zeroizing;

/// A password or verifier. Cloning copies it; every copy is zeroed when it goes.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes ownership of the text.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(Zeroizing::new(text.into()))
    }

    /// The text itself. The word is long so that each use is seen in a review.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_zeroed_when_dropped() {
        fn is_zeroed(_: &impl zeroize::ZeroizeOnDrop) {}
        let Secret(text) = &Secret::new("secret");
        is_zeroed(text);
    }
}

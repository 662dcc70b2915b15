//! Randomness for nonces, keys and jitter, from the crypto library's generator.

use aws_lc_rs::rand;

/// `N` unpredictable bytes.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // Fails only where the operating system has no entropy source at all, and then no secret of
    // this process could be trusted: better to stop than to go on.
    rand::fill(&mut bytes)
        .unwrap_or_else(|_| panic!("the operating system gives no random numbers"));
    bytes
}

/// An unpredictable number.
pub fn u32() -> u32 {
    u32::from_ne_bytes(bytes())
}

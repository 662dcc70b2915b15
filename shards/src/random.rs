//! Randomness for nonces, keys and jitter, from the crypto library's generator.

use std::cell::RefCell;

use aws_lc_rs::rand;

/// `N` unpredictable bytes, at most [`DRAWN`].
pub fn bytes<const N: usize>() -> [u8; N] {
    const { assert!(N <= DRAWN) };
    STORE.with_borrow_mut(Store::take)
}

/// An unpredictable number.
pub fn u32() -> u32 {
    u32::from_ne_bytes(bytes())
}

/// How many bytes are drawn at once. Each drawing costs as much as a twentieth of all that a login does by itself,
/// however few bytes it is for.
const DRAWN: usize = 512;

thread_local! {
    static STORE: RefCell<Store> = const {
        RefCell::new(Store {
            bytes: [0; DRAWN],
            left: 0,
        })
    };
}

/// What has been drawn; the first `left` bytes have not been given to anybody, of the others nothing is kept.
struct Store {
    bytes: [u8; DRAWN],
    left: usize,
}

impl Store {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        if self.left < N {
            // Fails only where the operating system has no entropy source at all, and then no secret of
            // this process could be trusted: better to stop than to go on.
            rand::fill(&mut self.bytes)
                .unwrap_or_else(|_| panic!("the operating system gives no random numbers"));
            self.left = DRAWN;
        }
        self.left -= N;
        let mut taken = [0; N];
        taken.swap_with_slice(&mut self.bytes[self.left..self.left + N]);
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_given_twice() {
        let mut store = Store {
            bytes: [0; DRAWN],
            left: 0,
        };
        let mut given = std::collections::HashSet::new();
        for _ in 0..1000 {
            assert!(given.insert(store.take::<36>()));
            assert!(store.bytes[store.left..].iter().all(|&byte| byte == 0));
        }
    }
}

//! Randomness with a seed.

use std::time::Duration;

use pool::Limits;

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// A random number, and the fraction it stands for.
    pub fn jitter(&mut self) -> (u32, f64) {
        let jitter = self.next() as u32;
        (jitter, f64::from(jitter) / 2f64.powi(32))
    }

    /// One shape is common, two are rare.
    pub fn shape(&mut self) -> u8 {
        [0, 0, 0, 0, 1, 2][self.below(6) as usize]
    }

    pub fn limits(&mut self) -> Limits {
        Limits {
            min: self.below(4) as usize,
            max: 1 + self.below(8) as usize,
            max_dials: self.below(4) as usize,
            max_waiting: self.below(3) as usize * 10,
            idle_timeout: Duration::from_secs(self.below(20)),
            max_lifetime: Duration::from_secs(self.below(60)),
        }
    }

    pub fn take<T>(&mut self, from: &mut Vec<T>) -> Option<T> {
        (!from.is_empty()).then(|| from.remove(self.below(from.len() as u64) as usize))
    }
}

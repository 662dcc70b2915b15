//! Inputs made of others, from a seed.

/// SplitMix64.
pub struct Random(u64);

impl Random {
    #[must_use]
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 if there is none.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// A byte, often one that means something to a protocol.
    fn byte(&mut self) -> u8 {
        match self.below(3) {
            0 => TELLING[self.below(TELLING.len())],
            _ => self.next() as u8,
        }
    }
}

/// Makes an input: a sample changed in up to six places, two samples grown together, or now and then bytes from nowhere.
pub fn derive(random: &mut Random, samples: &[Vec<u8>], input: &mut Vec<u8>) {
    input.clear();
    if random.below(16) == 0 || samples.is_empty() {
        let length = random.below(96);
        input.extend((0..length).map(|_| random.byte()));
        return;
    }
    input.extend_from_slice(&samples[random.below(samples.len())]);
    if random.below(8) == 0 {
        let other = &samples[random.below(samples.len())];
        input.truncate(random.below(input.len() + 1));
        input.extend_from_slice(&other[random.below(other.len() + 1)..]);
    }
    for _ in 0..random.below(7) {
        change(random, input);
    }
    input.truncate(LONGEST);
}

fn change(random: &mut Random, input: &mut Vec<u8>) {
    if input.is_empty() {
        return input.push(random.byte());
    }
    let at = random.below(input.len());
    match random.below(12) {
        0 => input.truncate(at),
        1 => drop(input.drain(at..(at + 1 + random.below(8)).min(input.len()))),
        2 => input.insert(at, random.byte()),
        3 => input.extend_from_within(at..),
        4 => {
            let end = (at + 1 + random.below(24)).min(input.len());
            let copy = input[at..end].to_vec();
            let to = random.below(input.len() + 1);
            input.splice(to..to, copy);
        }
        5 => {
            let number = LENGTHS[random.below(LENGTHS.len())];
            let bytes = match random.below(2) {
                0 => number.to_be_bytes(),
                _ => number.to_le_bytes(),
            };
            let end = (at + bytes.len()).min(input.len());
            input[at..end].copy_from_slice(&bytes[..end - at]);
        }
        6 => input[at] ^= 1 << random.below(8),
        7 => input[at] = input[at].wrapping_add(1),
        8 => input[at] = input[at].wrapping_sub(1),
        _ => input[at] = random.byte(),
    }
}

/// Bytes that the protocols, SQL, YAML and HTTP give a meaning to.
const TELLING: &[u8] =
    b"\0\0\0\x01\x03\x04\x05\x08\x0a\x0d\x11\x16\x19\x7f\x80\xfa\xfb\xfc\xfd\xfe\xff \
    pREZSKNQXPBDCHFdcf123Gs-=\\,.;:'\"$/*(){}[]&!%#";

/// Where lengths change their meaning.
const LENGTHS: &[u32] = &[
    0,
    1,
    3,
    4,
    5,
    8,
    0xff,
    8192,
    9_999,
    10_000,
    10_001,
    0x3fff_ffff,
    0x7fff_ffff,
    0x8000_0000,
    u32::MAX,
];

/// The longest input, in bytes.
const LONGEST: usize = 4096;

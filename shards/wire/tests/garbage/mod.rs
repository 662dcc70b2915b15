//! Random and mutated inputs from a seed, which a failure prints: `WIRE_SEED` sets it, `WIRE_ROUNDS`
//! the number of inputs for each entry point.

/// Random inputs, reproducible by their seed.
pub struct Garbage {
    seed: u64,
    rounds: usize,
}

impl Garbage {
    pub fn new() -> Self {
        let number = |name| {
            std::env::var(name)
                .ok()
                .map(|text: String| text.parse().unwrap())
        };
        Garbage {
            seed: number("WIRE_SEED").unwrap_or(0x5eed),
            rounds: number("WIRE_ROUNDS").unwrap_or(200_000) as usize,
        }
    }

    /// Calls `test` with inputs: half of them bytes from nowhere, half samples with some bytes
    /// changed, left out, doubled or cut off.
    pub fn rounds(&self, samples: &[Vec<u8>], mut test: impl FnMut(&mut Random, &[u8])) {
        // Seen only if a test fails.
        println!("WIRE_SEED={}", self.seed);
        let mut random = Random(self.seed | 1);
        let mut input = Vec::new();
        for round in 0..self.rounds {
            input.clear();
            if round % 2 == 0 {
                let length = random.below(64);
                input.extend((0..length).map(|_| random.byte()));
            } else {
                input.extend(&samples[random.below(samples.len())]);
                for _ in 0..1 + random.below(4) {
                    random.mutate(&mut input);
                }
            }
            test(&mut random, &input);
        }
    }
}

/// Marsaglia's xorshift64.
pub struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, end: usize) -> usize {
        ((self.next() >> 11) % end as u64) as usize
    }

    /// A byte: often one that means something.
    fn byte(&mut self) -> u8 {
        match self.below(3) {
            0 => TELLING[self.below(TELLING.len())],
            _ => self.next() as u8,
        }
    }

    fn mutate(&mut self, input: &mut Vec<u8>) {
        if input.is_empty() {
            return;
        }
        let at = self.below(input.len());
        match self.below(6) {
            0 => input.truncate(at),
            1 => drop(input.remove(at)),
            2 => input.insert(at, self.byte()),
            3 => input.extend_from_within(at..),
            _ => input[at] = self.byte(),
        }
    }
}

/// Bytes that the protocol gives a meaning to.
const TELLING: &[u8] = b"\0\0\0\x01\x04\x05\x08\xff pREZSKNQX-c=\\,";

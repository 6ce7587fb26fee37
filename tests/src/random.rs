//! Numbers drawn from a seed: SplitMix64, whose whole state is one word.

#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub const fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Less than `n`, which is at least 1. The bias towards small numbers does not matter here.
    pub const fn below(&mut self, n: u64) -> u64 {
        self.draw() % n
    }

    pub const fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap_or(0)
    }

    pub fn pick<'t, T>(&mut self, from: &'t [T]) -> &'t T {
        &from[self.index(from.len())]
    }

    /// True so many times in a thousand.
    pub const fn per_mille(&mut self, n: u64) -> bool {
        self.below(1_000) < n
    }

    /// A generator whose numbers do not depend on how many are drawn here later.
    pub const fn fork(&mut self) -> Self {
        Self(self.draw())
    }
}

//! Chance that follows from a seed.

/// A small generator (SplitMix64): one for each schedule.
#[derive(Debug, Clone)]
pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed ^ 0x5851_f42d_4c95_7f2d)
    }

    pub(super) fn u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// From `low` to below `high`.
    pub(super) fn range(&mut self, low: u64, high: u64) -> u64 {
        low + self.u64() % (high - low).max(1)
    }

    pub(super) fn below(&mut self, high: usize) -> usize {
        self.range(0, high as u64) as usize
    }

    /// `true` in so many of a thousand cases.
    pub(super) fn once_in(&mut self, permille: u64) -> bool {
        self.range(0, 1000) < permille
    }

    pub(super) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

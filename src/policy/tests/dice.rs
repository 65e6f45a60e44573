//! Chance that repeats itself: a seed is a case that can be looked at again.

/// Dice (xorshift, 64 bits).
pub(in crate::policy) struct Dice(u64);

impl Dice {
    pub(in crate::policy) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(in crate::policy) fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below a limit.
    pub(in crate::policy) fn below(&mut self, limit: usize) -> usize {
        usize::try_from((self.roll() >> 11) % limit as u64).unwrap()
    }

    pub(in crate::policy) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// How many cases are wanted: more for a long run by the variable, or the usual number.
pub(in crate::policy) fn cases(variable: &str, usual: usize) -> usize {
    let wanted = std::env::vars().find(|(name, _)| name == variable);
    wanted.map_or(usual, |(_, count)| count.parse().unwrap())
}

//! Chance that can be had again: numbers from a seed, which is printed, and taken from `CHANDLER_TEST_SEED` where that is set.

use std::env;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;

/// A sequence of numbers.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// From a new seed each time, unless the environment says which. A test that fails shows it, with what else it printed.
    #[expect(clippy::print_stderr, reason = "a test's words, shown when it fails")]
    pub fn new() -> Self {
        let given = env::var("CHANDLER_TEST_SEED").ok().map(|seed| seed.parse().expect("CHANDLER_TEST_SEED is a number"));
        let seed = given.unwrap_or_else(|| RandomState::new().hash_one(0) >> 32);
        eprintln!("once more with the same chances: CHANDLER_TEST_SEED={seed}");
        Self(seed)
    }

    /// A number of `range`, which is not empty.
    pub fn roll(&mut self, range: Range<u64>) -> u64 {
        range.start + self.next() % (range.end - range.start)
    }

    /// One of `all`, which is not empty.
    pub fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.roll(0..all.len() as u64) as usize]
    }

    /// As [`RandomState`]'s authors would not do it, but plain: a Weyl sequence through two rounds of multiply and shift.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        (mixed ^ (mixed >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93) ^ (mixed >> 29)
    }
}

impl Default for Dice {
    fn default() -> Self {
        Self::new()
    }
}

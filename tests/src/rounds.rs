//! How often a randomised test runs, and from which seed: a sample in `cargo xtask test`, as often as asked in
//! `cargo xtask soak`. Such a test has `seeded` in its name, and says the seed when it fails.

use std::ops::Range;

use crate::needs;

/// The seeds to run: `sample` of them, in a virtual machine a third, which takes its ten times longer there; or as many
/// as `PODBOX_ROUNDS` says, from `PODBOX_SEED` on.
pub fn seeds(sample: u64) -> Range<u64> {
    let sample = if needs::in_machine() { sample.div_ceil(3) } else { sample };
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let first = number("PODBOX_SEED").unwrap_or(1);
    first..first + number("PODBOX_ROUNDS").unwrap_or(sample)
}

/// Numbers that follow from a seed, the same each time (SplitMix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A sequence of its own for each seed.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The next number below `end`, which isn't 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

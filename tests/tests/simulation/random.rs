//! Random numbers that follow from a seed.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::time::Duration;

/// A source of random numbers.
pub(crate) struct Random(StdRng);

impl Random {
    /// One of the sources of a run, which do not influence each other.
    pub(crate) fn new(seed: u64, source: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        bytes[8..16].copy_from_slice(&source.to_le_bytes());
        Self(StdRng::from_seed(bytes))
    }

    /// A number below this one.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0.random_range(0..end)
    }

    /// True in so many of a thousand cases.
    pub(crate) fn is(&mut self, permille: u64) -> bool {
        self.below(1000) < permille
    }

    /// A time of at most so many milliseconds, in microseconds.
    pub(crate) fn within(&mut self, ms: u64) -> Duration {
        Duration::from_micros(self.below(ms * 1000 + 1))
    }

    /// One of some values.
    pub(crate) fn of<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.0.random_range(0..values.len())]
    }

    /// A generator for a component instance.
    pub(crate) fn fork(&mut self) -> StdRng {
        StdRng::seed_from_u64(self.0.random())
    }
}

//! Mints that share one call.

use artisanal_core::MAX_COUNT;

/// Mints of one sequence that follow each other: one call serves all of them.
#[derive(Default)]
pub(super) struct Mints {
    pub(super) key: Vec<u8>,
    /// How many integers each mints.
    pub(super) counts: Vec<u32>,
    /// The sum of the counts.
    pub(super) sum: u32,
}

impl Mints {
    /// Adds a mint of at most `MAX_COUNT` integers. Returns false, and adds nothing, if one call cannot serve it together with
    /// the others.
    pub(super) fn push(&mut self, count: u32) -> bool {
        let fits = self.sum + count <= MAX_COUNT;
        if fits {
            self.counts.push(count);
            self.sum += count;
        }
        fits
    }
}

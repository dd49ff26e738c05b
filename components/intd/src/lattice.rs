//! Which integers a sequence mints.

/// Those congruent to `offset` modulo `increment`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lattice {
    /// The distance between neighbouring integers, 1 or more.
    pub increment: i64,
    /// The residue class: 0 or more, less than `increment`.
    pub offset: i64,
}

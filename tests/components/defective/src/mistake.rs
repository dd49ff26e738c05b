//! The mistakes that the engine can make.

/// A mistake, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mistake {
    None,
    /// Reads and writes the mark in two round trips instead of one atomic step.
    NotAtomic,
    /// Advances the stored mark by only half of what it returns.
    Forgets,
    StartsLate,
    Wraps,
    /// Moves the mark to the top when an advance does not fit.
    SpoilsTheTop,
    FoldsCase,
    TrimsKeys,
    CutsKeys,
    Lags,
    BeginsAtOne,
    MintsWhenAsked,
    Rewinds,
    /// Implements `set-last` as read, compare, write, which rewinds under a concurrent mint.
    ReadsThenWrites,
    RaisesOnlyWhatExists,
    /// Accepts a claim that ends above the mark and begins at or below it.
    AcceptsAnyLarger,
    CountsInDoubles,
    IgnoresParameters,
    TellsPasswords,
}

impl Mistake {
    /// Returns the mistake with this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "" => Self::None,
            "not-atomic" => Self::NotAtomic,
            "forgets" => Self::Forgets,
            "starts-late" => Self::StartsLate,
            "wraps" => Self::Wraps,
            "spoils-the-top" => Self::SpoilsTheTop,
            "folds-case" => Self::FoldsCase,
            "trims-keys" => Self::TrimsKeys,
            "cuts-keys" => Self::CutsKeys,
            "lags" => Self::Lags,
            "begins-at-one" => Self::BeginsAtOne,
            "mints-when-asked" => Self::MintsWhenAsked,
            "rewinds" => Self::Rewinds,
            "reads-then-writes" => Self::ReadsThenWrites,
            "raises-only-what-exists" => Self::RaisesOnlyWhatExists,
            "accepts-any-larger" => Self::AcceptsAnyLarger,
            "counts-in-doubles" => Self::CountsInDoubles,
            "ignores-parameters" => Self::IgnoresParameters,
            "tells-passwords" => Self::TellsPasswords,
            _ => return None,
        })
    }
}

/// Rounds an integer to a double, like JSON parsers and script languages that have no integers.
pub(crate) fn as_double(integer: i64) -> i64 {
    integer as f64 as i64
}

//! What can be done wrong.

/// One mistake, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mistake {
    None,
    /// Two round trips where one atomic step is needed.
    NotAtomic,
    /// Keeps half of what was taken.
    Forgets,
    StartsLate,
    Wraps,
    /// What does not fit still moves the mark.
    SpoilsTheTop,
    FoldsCase,
    TrimsKeys,
    CutsKeys,
    Lags,
    BeginsAtOne,
    MintsWhenAsked,
    Rewinds,
    /// `set-last` as read, compare, write: rewinds under a concurrent mint.
    ReadsThenWrites,
    RaisesOnlyWhatExists,
    CountsInDoubles,
    IgnoresParameters,
    TellsPasswords,
}

impl Mistake {
    /// The mistake of that name.
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
            "counts-in-doubles" => Self::CountsInDoubles,
            "ignores-parameters" => Self::IgnoresParameters,
            "tells-passwords" => Self::TellsPasswords,
            _ => return None,
        })
    }
}

/// The integer as JSON parsers and script languages without integers keep it.
pub(crate) fn as_double(integer: i64) -> i64 {
    integer as f64 as i64
}

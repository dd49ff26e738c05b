//! Whether something that pays off only at times mostly does.

/// What may still be lost: a hit earns 1, and a miss costs [`Credit::LOSS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Credit(u32);

impl Credit {
    /// The maximum.
    pub(crate) const MOST: u32 = 16;

    /// What a miss costs.
    pub(crate) const LOSS: u32 = 2;

    pub(crate) const FULL: Self = Self(Self::MOST);

    pub(crate) const NONE: Self = Self(0);

    pub(crate) fn is_left(self) -> bool {
        self.0 > 0
    }

    pub(crate) fn earn(&mut self) {
        self.0 = (self.0 + 1).min(Self::MOST);
    }

    pub(crate) fn lose(&mut self) {
        self.0 = self.0.saturating_sub(Self::LOSS);
    }
}

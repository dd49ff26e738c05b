//! The rows measured so far.

use super::{Goal, Pair, Row};

/// The description of a row.
pub(super) struct Description {
    what: String,
    unit: &'static str,
    against: String,
    goal: Option<Goal>,
}

impl Description {
    /// A row that has to reach `goal`. An empty `against` says that there is no yardstick.
    pub(super) fn with_goal(
        what: impl Into<String>,
        unit: &'static str,
        against: impl Into<String>,
        goal: Goal,
    ) -> Self {
        Self {
            goal: Some(goal),
            ..Self::informative(what, unit, against)
        }
    }

    /// A row without a goal.
    pub(super) fn informative(
        what: impl Into<String>,
        unit: &'static str,
        against: impl Into<String>,
    ) -> Self {
        Self {
            what: what.into(),
            unit,
            against: against.into(),
            goal: None,
        }
    }
}

/// The rows, in the order in which they were first measured.
#[derive(Default)]
pub(super) struct Rows(Vec<Row>);

impl Rows {
    /// Adds a pair to the row that is described so, which is a new one in the first round.
    pub(super) fn add(&mut self, description: Description, pair: Pair) {
        let Description {
            what,
            unit,
            against,
            goal,
        } = description;
        if let Some(row) = self.0.iter_mut().find(|row| row.what == what) {
            row.pairs.push(pair);
            return;
        }
        self.0.push(Row {
            what,
            unit,
            against,
            goal,
            pairs: vec![pair],
        });
    }

    pub(super) fn into_vec(self) -> Vec<Row> {
        self.0
    }
}

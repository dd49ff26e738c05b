//! A row of the table: a number, its yardstick, and whether it reaches its goal.

use super::Run;
use serde::Serialize;

/// The goal of a row.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// The ratio to the yardstick is at least this.
    RatioAtLeast(f64),
    /// The ratio to the yardstick is at most this.
    RatioAtMost(f64),
    /// The number itself is at least this.
    AtLeast(f64),
    /// The number itself is at most this.
    AtMost(f64),
    /// The number is at least `value`, or the ratio at least `ratio`.
    Either {
        /// The limit of the number.
        value: f64,
        /// The limit of the ratio.
        ratio: f64,
    },
}

/// A number and its yardstick, from the same round.
#[derive(Clone, Debug, Serialize)]
pub struct Pair {
    /// The measured number.
    pub value: f64,
    /// The number of the yardstick; None when the goal has no yardstick.
    pub yardstick: Option<f64>,
    /// Why the pair is invalid.
    pub fault: Option<String>,
}

impl Pair {
    /// A pair of numbers that need no check.
    pub(super) fn valid(value: f64, yardstick: Option<f64>) -> Self {
        Self {
            value,
            yardstick,
            fault: None,
        }
    }

    /// A pair of two runs, with `take` selecting the number.
    pub(super) fn of(run: &Run, yardstick: &Run, take: impl Fn(&Run) -> f64) -> Self {
        Self {
            value: take(run),
            yardstick: Some(take(yardstick)),
            fault: fault(&[run, yardstick]),
        }
    }
}

/// The fault of the first invalid run among these.
pub(super) fn fault(runs: &[&Run]) -> Option<String> {
    runs.iter()
        .find_map(|run| Some(format!("{}: {}", run.what, run.fault.as_ref()?)))
}

/// A row, measured in one or more rounds.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What is measured.
    pub what: String,
    /// The unit of the number and of the yardstick.
    pub unit: &'static str,
    /// The name of the yardstick.
    pub against: String,
    /// The goal; None for rows that are only informative.
    pub goal: Option<Goal>,
    /// One pair per round.
    pub pairs: Vec<Pair>,
}

impl Row {
    /// The median of the numbers.
    pub fn value(&self) -> Option<f64> {
        median(self.pairs.iter().map(|pair| pair.value))
    }

    /// The median of the yardsticks.
    pub fn yardstick(&self) -> Option<f64> {
        median(self.pairs.iter().filter_map(|pair| pair.yardstick))
    }

    /// The median of the rounds' ratios. None without a yardstick, or when a run was invalid.
    pub fn ratio(&self) -> Option<f64> {
        if self.fault().is_some() {
            return None;
        }
        let ratios = self
            .pairs
            .iter()
            .filter_map(|pair| Some(pair.value / pair.yardstick.filter(|yard| *yard > 0.0)?));
        median(ratios)
    }

    /// Why there is no ratio.
    pub fn fault(&self) -> Option<&str> {
        self.pairs.iter().find_map(|pair| pair.fault.as_deref())
    }

    /// Whether the goal is met; None without a goal or a valid number.
    pub fn met(&self) -> Option<bool> {
        if self.fault().is_some() {
            return None;
        }
        let (value, ratio) = (self.value(), self.ratio());
        Some(match self.goal? {
            Goal::RatioAtLeast(least) => ratio? >= least,
            Goal::RatioAtMost(most) => ratio? <= most,
            Goal::AtLeast(least) => value? >= least,
            Goal::AtMost(most) => value? <= most,
            Goal::Either {
                value: least,
                ratio: part,
            } => value? >= least || ratio.is_some_and(|ratio| ratio >= part),
        })
    }
}

/// The median: the middle value, or the mean of the two in the middle.
pub(super) fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    let high = values.get(values.len() / 2)?;
    let low = values.get((values.len() - 1) / 2)?;
    Some(f64::midpoint(*low, *high))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(goal: Goal, pairs: &[(f64, Option<f64>)]) -> Row {
        Row {
            what: "a".into(),
            unit: "/s",
            against: "b".into(),
            goal: Some(goal),
            pairs: pairs
                .iter()
                .map(|(value, yardstick)| Pair {
                    value: *value,
                    yardstick: *yardstick,
                    fault: None,
                })
                .collect(),
        }
    }

    #[test]
    fn ratios_are_of_one_round_each() {
        // The machine was half as fast in the second round, but the ratio is the same.
        let row = row(
            Goal::RatioAtLeast(0.9),
            &[(95.0, Some(100.0)), (47.5, Some(50.0))],
        );
        assert_eq!(row.ratio(), Some(0.95));
        assert_eq!(row.value(), Some(71.25));
        assert_eq!(row.met(), Some(true));
    }

    #[test]
    fn a_wrong_run_has_no_ratio() {
        let mut row = row(
            Goal::RatioAtLeast(0.9),
            &[(95.0, Some(100.0)), (95.0, Some(100.0))],
        );
        row.pairs[1].fault = Some("a duplicate".into());
        assert_eq!((row.ratio(), row.met()), (None, None));
        assert_eq!(row.fault(), Some("a duplicate"));
    }

    #[test]
    fn goals() {
        let met = |goal, value, yardstick| row(goal, &[(value, yardstick)]).met();
        assert_eq!(met(Goal::RatioAtMost(1.0), 3.0, Some(2.0)), Some(false));
        assert_eq!(met(Goal::AtMost(20.0), 19.0, None), Some(true));
        assert_eq!(met(Goal::AtLeast(20.0), 19.0, None), Some(false));
        let either = Goal::Either {
            value: 10.0,
            ratio: 1.0,
        };
        assert_eq!(met(either, 9.0, Some(8.0)), Some(true));
        assert_eq!(met(either, 11.0, Some(20.0)), Some(true));
        assert_eq!(met(either, 9.0, Some(20.0)), Some(false));
        assert_eq!(row(Goal::AtLeast(1.0), &[]).met(), None);
    }
}

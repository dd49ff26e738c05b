//! What was minted, by whom and when; and whether that keeps the contract.
//!
//! A [`History`] collects the successful calls of any number of processes and finds what must
//! not be in it: an integer handed out twice (C1), an integer off the lattice (C2), and a call
//! that began after another one had returned and yet got smaller integers (C3). Spans are never
//! expanded, so that a history of millions of integers is checked in the time it takes to sort
//! its calls.

use std::collections::BTreeMap;
use std::fmt;

/// What one call minted: `first`, `first + step`, … `count` integers in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    /// The smallest integer.
    pub first: i64,
    /// The distance between neighbours.
    pub step: i64,
    /// How many.
    pub count: u32,
}

impl Span {
    /// A span of one integer.
    pub fn one(integer: i64) -> Self {
        Self {
            first: integer,
            step: 1,
            count: 1,
        }
    }

    /// The greatest integer; wider than `s64`, since a span that is wrong can end above it.
    pub fn last(self) -> i128 {
        i128::from(self.first)
            + i128::from(self.step) * (i128::from(self.count) - 1).clamp(0, i128::MAX)
    }

    /// The integers, smallest first.
    pub fn integers(self) -> impl Iterator<Item = i128> {
        (0..i128::from(self.count)).map(move |i| i128::from(self.first) + i * i128::from(self.step))
    }

    /// The smallest integer that both spans hold.
    fn shared_with(self, other: Self) -> Option<i128> {
        // The shorter one is walked: spans overlap only in histories that are wrong.
        let (few, many) = if self.count <= other.count {
            (self, other)
        } else {
            (other, self)
        };
        few.integers().find(|n| many.holds(*n))
    }

    fn holds(self, n: i128) -> bool {
        let above = n - i128::from(self.first);
        above >= 0 && n <= self.last() && (self.count == 1 || above % i128::from(self.step) == 0)
    }
}

/// One call that succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Who called.
    pub process: u32,
    /// When the call began, or earlier ([`crate::clock::now`]).
    pub begin: u64,
    /// When the call returned, or later.
    pub end: u64,
    /// What it got.
    pub span: Span,
}

impl Record {
    /// A call of which it is not known when it happened: nothing follows for C3.
    pub fn untimed(process: u32, span: Span) -> Self {
        Self {
            process,
            begin: 0,
            end: u64::MAX,
            span,
        }
    }
}

/// Something that must not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// C1: two calls got the same integer.
    Duplicate {
        /// The smallest integer that both got.
        integer: i128,
        /// The one.
        a: Record,
        /// The other.
        b: Record,
    },
    /// C2: a span is not what its lattice and the count asked for allow.
    OffLattice(Record),
    /// C3: a call began after another one had returned, and got an integer that is not greater.
    Reordered {
        /// Returned first.
        earlier: Record,
        /// Began later, with smaller integers.
        later: Record,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Duplicate { integer, a, b } => {
                write!(f, "C1: {integer} was handed out twice: {a:?} and {b:?}")
            }
            Self::OffLattice(record) => write!(f, "C2: not on the lattice: {record:?}"),
            Self::Reordered { earlier, later } => write!(
                f,
                "C3: {later:?} began after {earlier:?} had returned, and is not greater"
            ),
        }
    }
}

/// Calls of any number of processes on one sequence, in any order.
#[derive(Clone, Debug, Default)]
pub struct History {
    records: Vec<Record>,
}

impl History {
    /// How many violations of each kind are kept; more say nothing more.
    const KEPT: usize = 10;

    /// Adds one call.
    pub fn push(&mut self, record: Record) {
        self.records.push(record);
    }

    /// The calls, in no particular order.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// How many integers there are.
    pub fn integers(&self) -> u64 {
        self.records.iter().map(|r| u64::from(r.span.count)).sum()
    }

    /// The greatest integer; None when there is none.
    pub fn greatest(&self) -> Option<i128> {
        self.records.iter().map(|r| r.span.last()).max()
    }

    /// Finds violations of C1 and C3.
    pub fn check(&self) -> Vec<Violation> {
        let mut found = self.duplicates();
        found.extend(self.reordered());
        found
    }

    /// Finds spans that are not `increment` apart, not congruent to `offset`, not positive, empty,
    /// or end above `s64` (C2).
    pub fn off_lattice(&self, increment: i64, offset: i64) -> Vec<Violation> {
        let wrong = |span: Span| {
            span.count == 0
                || span.first < 1
                || (span.step != increment && span.count != 1)
                || span.first.rem_euclid(increment) != offset.rem_euclid(increment)
                || span.last() > i128::from(i64::MAX)
        };
        self.records
            .iter()
            .filter(|r| wrong(r.span))
            .take(Self::KEPT)
            .map(|r| Violation::OffLattice(*r))
            .collect()
    }

    /// Checks C1 and C3.
    ///
    /// # Panics
    /// When they do not hold, with what was found.
    pub fn assert_clean(&self) {
        let found = self.check();
        let shown: Vec<_> = found.iter().map(Violation::to_string).collect();
        assert!(found.is_empty(), "{}", shown.join("\n"));
    }

    /// Sweeps upwards over the first integers. Only spans that reach further up than the next
    /// one's beginning are compared with it: none, in a history that keeps the contract.
    fn duplicates(&self) -> Vec<Violation> {
        let mut sorted: Vec<&Record> = self.records.iter().filter(|r| r.span.count > 0).collect();
        sorted.sort_unstable_by_key(|r| r.span.first);
        let mut found = Vec::new();
        // Spans that may still overlap later ones, by their last integer.
        let mut open: BTreeMap<(i128, usize), &Record> = BTreeMap::new();
        for (index, record) in sorted.into_iter().enumerate() {
            open = open.split_off(&(i128::from(record.span.first), 0));
            for other in open.values() {
                if found.len() == Self::KEPT {
                    return found;
                }
                if let Some(integer) = other.span.shared_with(record.span) {
                    found.push(Violation::Duplicate {
                        integer,
                        a: **other,
                        b: *record,
                    });
                }
            }
            open.insert((record.span.last(), index), record);
        }
        found
    }

    /// Sweeps over time: the greatest integer of all calls that had returned before a call began
    /// must be below that call's first.
    fn reordered(&self) -> Vec<Violation> {
        let by = |key: fn(&Record) -> u64| {
            let mut sorted: Vec<&Record> = self.records.iter().collect();
            sorted.sort_unstable_by_key(|r| key(r));
            sorted
        };
        let mut returned = by(|r| r.end).into_iter().peekable();
        let mut greatest: Option<&Record> = None;
        let mut found = Vec::new();
        for later in by(|r| r.begin) {
            while let Some(earlier) = returned.next_if(|r| r.end < later.begin) {
                if greatest.is_none_or(|g| g.span.last() < earlier.span.last()) {
                    greatest = Some(earlier);
                }
            }
            if let Some(earlier) = greatest
                && earlier.span.last() >= i128::from(later.span.first)
            {
                found.push(Violation::Reordered {
                    earlier: *earlier,
                    later: *later,
                });
                if found.len() == Self::KEPT {
                    break;
                }
            }
        }
        found
    }
}

impl Extend<Record> for History {
    fn extend<T: IntoIterator<Item = Record>>(&mut self, records: T) {
        self.records.extend(records);
    }
}

impl FromIterator<Record> for History {
    fn from_iter<T: IntoIterator<Item = Record>>(records: T) -> Self {
        Self {
            records: records.into_iter().collect(),
        }
    }
}

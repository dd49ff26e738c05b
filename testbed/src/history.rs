//! A record of which process minted what and when, and checks of the contract on it.
//!
//! A [`History`] collects the successful calls of any number of processes and finds violations: an integer
//! that was handed out twice (C1), an integer off the lattice (C2), and a call that began after another one
//! had returned but got smaller integers (C3). Spans are never expanded, so checking a history of millions of
//! integers takes only as long as sorting its calls.

use std::collections::BTreeMap;
use std::fmt;

/// The integers that one call minted: `first`, `first + step`, …; `count` in total.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    /// The smallest integer.
    pub first: i64,
    /// The difference between consecutive integers.
    pub step: i64,
    /// The number of integers.
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

    /// The greatest integer. The type is wider than `s64` because an incorrect span can end above `s64`.
    pub fn last(self) -> i128 {
        i128::from(self.first)
            + i128::from(self.step) * (i128::from(self.count) - 1).clamp(0, i128::MAX)
    }

    /// The integers in ascending order.
    pub fn integers(self) -> impl Iterator<Item = i128> {
        (0..i128::from(self.count)).map(move |i| i128::from(self.first) + i * i128::from(self.step))
    }

    /// The smallest integer that is in both spans.
    fn shared_with(self, other: Self) -> Option<i128> {
        // Iterating over the shorter span is fast enough: spans overlap only in incorrect histories.
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

impl From<int_host::Span> for Span {
    fn from(span: int_host::Span) -> Self {
        Self {
            first: span.first(),
            step: span.step(),
            count: span.count(),
        }
    }
}

/// One call that succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// The number of the process that called.
    pub process: u32,
    /// A time at or before the beginning of the call ([`crate::clock::now`]).
    pub begin: u64,
    /// A time at or after the return of the call.
    pub end: u64,
    /// The integers that it got.
    pub span: Span,
}

impl Record {
    /// A call at an unknown time. It cannot violate C3.
    pub fn untimed(process: u32, span: Span) -> Self {
        Self {
            process,
            begin: 0,
            end: u64::MAX,
            span,
        }
    }
}

/// A violation of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// C1: two calls got the same integer.
    Duplicate {
        /// The smallest integer that both calls got.
        integer: i128,
        /// One of the two calls.
        a: Record,
        /// The other call.
        b: Record,
    },
    /// C2: a span does not match the lattice or the requested count.
    OffLattice(Record),
    /// C3: a call began after another one had returned, but its integers are not all greater.
    Reordered {
        /// The call that returned first.
        earlier: Record,
        /// The call that began later and got smaller integers.
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
                "C3: {later:?} began after {earlier:?} had returned, but is not greater"
            ),
        }
    }
}

/// The calls of any number of processes on one sequence, in any order.
#[derive(Clone, Debug, Default)]
pub struct History {
    records: Vec<Record>,
}

impl History {
    /// The maximum number of violations of each kind that are reported; more would not help.
    const KEPT: usize = 10;

    /// Adds one call.
    pub fn push(&mut self, record: Record) {
        self.records.push(record);
    }

    /// The calls, in no particular order.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// The number of integers.
    pub fn integers(&self) -> u64 {
        self.records.iter().map(|r| u64::from(r.span.count)).sum()
    }

    /// The greatest integer; None for an empty history.
    pub fn greatest(&self) -> Option<i128> {
        self.records.iter().map(|r| r.span.last()).max()
    }

    /// Finds violations of C1 and C3.
    pub fn check(&self) -> Vec<Violation> {
        let mut found = self.duplicates();
        found.extend(self.reordered());
        found
    }

    /// Finds violations of C2: spans whose step is not `increment`, or that are not congruent to `offset`, not
    /// positive, empty, or end above `s64`.
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
    /// When one does not hold, with the violations.
    pub fn assert_clean(&self) {
        let found = self.check();
        let shown: Vec<_> = found.iter().map(Violation::to_string).collect();
        assert!(found.is_empty(), "{}", shown.join("\n"));
    }

    /// Checks C1, and C3 among the calls of each process, for processes that hold leases.
    ///
    /// # Panics
    /// When one does not hold, with the violations.
    pub fn assert_clean_by_process(&self) {
        let mut found = self.duplicates();
        let mut processes: BTreeMap<u32, Self> = BTreeMap::new();
        for record in &self.records {
            processes.entry(record.process).or_default().push(*record);
        }
        found.extend(processes.values().flat_map(Self::reordered));
        let shown: Vec<_> = found.iter().map(Violation::to_string).collect();
        assert!(found.is_empty(), "{}", shown.join("\n"));
    }

    /// Finds violations of C1 by a sweep over the spans in the order of their first integers. A span is
    /// compared only with earlier ones that end at or after its first integer: none in a correct history.
    fn duplicates(&self) -> Vec<Violation> {
        let mut sorted: Vec<&Record> = self.records.iter().filter(|r| r.span.count > 0).collect();
        sorted.sort_unstable_by_key(|r| r.span.first);
        let mut found = Vec::new();
        // Spans that may still overlap later ones, ordered by their last integer.
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

    /// Finds violations of C3 by a sweep over time: the greatest integer of all calls that returned before a
    /// call began must be below that call's first integer.
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

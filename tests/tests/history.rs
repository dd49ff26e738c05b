//! Tests of the history checker: it finds all violations and reports nothing else.

use proptest::prelude::*;
use std::collections::HashSet;
use testbed::history::{History, Record, Span, Violation};

/// A correct history of eight processes: `calls` calls of `count` integers each, which rotate over the
/// processes and overlap in time with their neighbours.
fn clean(calls: u64, count: u32, step: i64) -> Vec<Record> {
    (0..calls)
        .map(|i| Record {
            process: u32::try_from(i % 8).expect("small"),
            begin: 10 * i,
            // Each call returns after the next four have begun.
            end: 10 * i + 45,
            span: Span {
                first: i64::try_from(i).expect("small") * i64::from(count) * step + step,
                step,
                count,
            },
        })
        .collect()
}

fn history(records: &[Record]) -> History {
    records.iter().copied().collect()
}

#[test]
fn a_clean_history_of_millions_passes() {
    let records = clean(500_000, 10, 2);
    let history = history(&records);
    assert_eq!(history.integers(), 5_000_000);
    assert_eq!(history.greatest(), Some(10_000_000));
    assert_eq!(history.check(), []);
    assert_eq!(history.off_lattice(2, 0), []);
    history.assert_clean();
}

#[test]
fn a_planted_duplicate_is_found() {
    let mut records = clean(100_000, 10, 2);
    // A call of another process gets the last integer of a call at the same time.
    let mut copy = records[70_000];
    copy.process = 99;
    copy.span = Span::one(i64::try_from(copy.span.last()).expect("small"));
    let original = records[70_000];
    records.push(copy);
    let found = history(&records).check();
    assert_eq!(
        found,
        [Violation::Duplicate {
            integer: original.span.last(),
            a: original,
            b: copy
        }]
    );
}

#[test]
fn a_duplicate_is_found_when_nothing_is_known_of_the_time() {
    let records: Vec<_> = [2, 4, 6, 8, 6]
        .into_iter()
        .map(|n| Record::untimed(0, Span::one(n)))
        .collect();
    let found = history(&records).check();
    assert!(matches!(
        found[..],
        [Violation::Duplicate { integer: 6, .. }]
    ));
}

#[test]
fn a_planted_reordering_is_found() {
    let mut records = clean(100_000, 10, 2);
    // Two calls that do not overlap in time swap their spans.
    let (a, b) = (30_000, 30_010);
    let span = records[a].span;
    records[a].span = records[b].span;
    records[b].span = span;
    let found = history(&records).check();
    assert!(!found.is_empty());
    assert!(found.iter().any(|violation| *violation
        == Violation::Reordered {
            earlier: records[a],
            later: records[b]
        }));
    assert!(
        found
            .iter()
            .all(|v| matches!(v, Violation::Reordered { .. }))
    );
}

#[test]
fn calls_that_overlap_in_time_may_get_their_integers_in_any_order() {
    let mut records = clean(1_000, 1, 2);
    let span = records[500].span;
    records[500].span = records[501].span;
    records[501].span = span;
    assert_eq!(history(&records).check(), []);
}

#[test]
#[should_panic(expected = "C1: 4 was handed out twice")]
fn assert_clean_says_what_it_found() {
    let records = [1, 2].map(|process| Record::untimed(process, Span::one(4)));
    history(&records).assert_clean();
}

#[test]
fn integers_off_the_lattice_are_found() {
    let good = Span {
        first: 7,
        step: 3,
        count: 2,
    };
    for (bad, why) in [
        (Span { first: 8, ..good }, "another residue"),
        (Span { step: 2, ..good }, "another step"),
        (Span { count: 0, ..good }, "empty"),
        (Span { first: -2, ..good }, "not positive"),
        (
            Span {
                first: i64::MAX,
                ..good
            },
            "ends above s64",
        ),
    ] {
        let records = [good, bad].map(|span| Record::untimed(0, span));
        let found = history(&records).off_lattice(3, 1);
        assert_eq!(found, [Violation::OffLattice(records[1])], "{why}");
    }
}

prop_compose! {
    /// The ranges are small, so that violations occur often.
    fn record()(
        process in 0u32..3,
        begin in 0u64..40,
        length in 0u64..20,
        first in 1i64..60,
        step in 1i64..5,
        count in 1u32..5,
    ) -> Record {
        Record { process, begin, end: begin + length, span: Span { first, step, count } }
    }
}

/// A brute-force check of C1 on every integer.
fn has_duplicate(records: &[Record]) -> bool {
    let mut seen = HashSet::new();
    !records
        .iter()
        .flat_map(|r| r.span.integers())
        .all(|n| seen.insert(n))
}

/// A brute-force check of C3 on every pair of calls.
fn has_reordering(records: &[Record]) -> bool {
    records.iter().any(|a| {
        records.iter().any(|b| {
            a.end < b.begin && a.span.integers().any(|n| b.span.integers().any(|m| n >= m))
        })
    })
}

proptest! {
    #[test]
    fn the_checker_finds_what_brute_force_finds(records in proptest::collection::vec(record(), 0..12)) {
        let found = history(&records).check();
        let duplicates = found.iter().filter(|v| matches!(v, Violation::Duplicate { .. })).count();
        let reordered = found.iter().filter(|v| matches!(v, Violation::Reordered { .. })).count();
        prop_assert_eq!(duplicates > 0, has_duplicate(&records));
        prop_assert_eq!(reordered > 0, has_reordering(&records));
        for violation in found {
            match violation {
                Violation::Duplicate { integer, a, b } => {
                    prop_assert!(a.span.integers().any(|n| n == integer));
                    prop_assert!(b.span.integers().any(|n| n == integer));
                }
                Violation::Reordered { earlier, later } => {
                    prop_assert!(earlier.end < later.begin);
                    prop_assert!(earlier.span.last() >= i128::from(later.span.first));
                }
                Violation::OffLattice(_) => prop_assert!(false, "not asked for"),
            }
        }
    }

    /// Histories that follow the contract's rule have no violations, for any mix of lattices: each call owns
    /// the interval by which it advanced the mark.
    #[test]
    fn histories_made_by_the_rule_pass(
        calls in proptest::collection::vec((1i64..9, 0i64..9, 1u32..9), 1..60),
    ) {
        let mut mark = 0;
        let mut records = Vec::new();
        for (time, (step, offset, count)) in (0u64..).zip(calls) {
            let below = mark;
            mark += step * i64::from(count);
            let first = below + 1 + (offset - below - 1).rem_euclid(step);
            let span = Span { first, step, count };
            records.push(Record { process: 0, begin: 2 * time, end: 2 * time + 1, span });
        }
        prop_assert_eq!(history(&records).check(), []);
    }
}

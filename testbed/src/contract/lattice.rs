//! C2: every integer is congruent to the offset modulo the increment and above zero, and each span has the
//! requested number of integers.

use super::stage::Stage;
use crate::backend::mint;
use crate::failure::TestResult;
use crate::history::History;

pub(super) fn test(stage: &Stage) -> TestResult {
    stage.run(defaults(stage));
    stage.run(lattices(stage));
    stage.run(marks_of_others(stage))
}

/// A fresh sequence yields the documented integers.
async fn defaults(stage: &Stage) {
    let sequence = stage.open("c2 defaults").await;
    let lattice = sequence.lattice();
    assert_eq!(lattice.increment(), 2);
    let minted = sequence.next(3).await.expect("minted");
    let counts: Vec<_> = minted.iter().map(|n| n.to_string()).collect();
    let documented = stage.about.counts();
    assert!(
        documented.starts_with(&counts.join(", ")),
        "a fresh sequence gave {counts:?}; documented is {documented}"
    );
    assert_eq!(minted.first().rem_euclid(2), lattice.offset());
}

async fn lattices(stage: &Stage) {
    for (increment, offset) in [
        (1, 0),
        (1, 9),
        (2, 0),
        (2, 1),
        (3, 1),
        (7, 100),
        (1 << 32, 5),
    ] {
        let key = format!("c2 {increment} {offset}");
        let sequence = stage.on_lattice(&key, increment, offset).await.expect(&key);
        let lattice = sequence.lattice();
        assert_eq!(
            (lattice.increment(), lattice.offset()),
            (increment, offset % increment)
        );
        let mut history = History::default();
        for count in [1, 2, 7, 1_000, 1] {
            history.push(mint(&sequence, 0, count).await.expect(&key));
        }
        assert_eq!(history.off_lattice(increment, offset), []);
        history.assert_clean();
        // The lowest lattice point above zero.
        let lowest = match offset % increment {
            0 => increment,
            rest => rest,
        };
        let first = history.records().iter().map(|r| r.span.first).min();
        assert_eq!(first, Some(lowest), "{key}");
    }
    let sequence = stage.on_lattice("c2 many", 3, 2).await.expect("opened");
    let minted = mint(&sequence, 0, 100_000).await.expect("minted");
    assert_eq!(minted.span.integers().count(), 100_000);
    assert_eq!(minted.span.first, 2);
    assert_eq!(minted.span.last(), 299_999);
}

/// Marks that another program stored: off the lattice, zero, and negative.
async fn marks_of_others(stage: &Stage) -> TestResult {
    for (mark, lowest, highest) in [(1_001, 1_002, 1_003), (0, 1, 2), (-1, 1, 2), (-98, 1, 2)] {
        let key = format!("c2 stored {mark}");
        if !stage.backend.store(&key, mark)? {
            return Ok(());
        }
        let sequence = stage.open(&key).await;
        let mut history = History::default();
        for count in [1, 5, 1] {
            history.push(mint(&sequence, 0, count).await.expect(&key));
        }
        let lattice = sequence.lattice();
        assert_eq!(history.off_lattice(2, lattice.offset()), [], "{key}");
        history.assert_clean();
        let first = history.records()[0].span.first;
        assert!(
            (lowest..=highest).contains(&first),
            "{key}: the first integer is {first}"
        );
    }
    Ok(())
}

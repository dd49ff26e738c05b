//! C5: `set-last` only raises, in one atomic step, and nothing can rewind the sequence.

use super::stage::{Stage, refused};
use crate::backend::mint;
use crate::clock;
use crate::failure::TestResult;
use crate::history::{History, Record, Span, Violation};
use int_host::Error;

pub(super) fn test(stage: &Stage) -> TestResult {
    stage.run(raises_only(stage));
    stage.run(works_on_a_fresh_sequence(stage));
    stage.run(exact_above_doubles(stage));
    stage.run(amid_mints(stage));
    Ok(())
}

async fn raises_only(stage: &Stage) {
    let handles = stage.handles("c5", 2).await;
    let (one, two) = (&handles[0], &handles[1]);
    one.next(5).await.expect("minted");
    one.set_last(1_000).await.expect("raised");
    assert_eq!(two.last().await, Ok(Some(1_000)));
    two.set_last(1_000).await.expect("the current value again");
    for smaller in [999, 1, 0] {
        let error = refused("too-small", two.set_last(smaller).await, "set_last");
        assert_eq!(error, Error::TooSmall(1_000));
    }
    assert_eq!(one.last().await, Ok(Some(1_000)), "refusals change nothing");
    let minted = two.next(1).await.expect("minted");
    assert!((1_001..=1_002).contains(&minted.first()), "{minted:?}");
    for negative in [-1, i64::MIN] {
        refused("invalid", one.set_last(negative).await, "set_last");
    }
}

async fn works_on_a_fresh_sequence(stage: &Stage) {
    let sequence = stage.open("c5 fresh").await;
    sequence.set_last(41).await.expect("raised");
    assert_eq!(sequence.last().await, Ok(Some(41)));
    let minted = sequence.next(1).await.expect("minted");
    assert!((42..=43).contains(&minted.first()), "{minted:?}");
    // Zero is a valid value and means that nothing was minted.
    let sequence = stage.open("c5 zero").await;
    sequence.set_last(0).await.expect("raised");
    assert_eq!(sequence.last().await, Ok(None));
    let minted = sequence.next(1).await.expect("minted");
    assert!((1..=2).contains(&minted.first()), "{minted:?}");
}

/// Values that a double cannot represent exactly: from 2^53 up to near the top.
async fn exact_above_doubles(stage: &Stage) {
    for value in [
        (1 << 53) - 1,
        (1 << 53) + 1,
        (1 << 62) + 1,
        999_999_999_999_999_999,
        i64::MAX - 1_000_001,
    ] {
        let sequence = stage.open(&format!("c5 exact {value}")).await;
        sequence.set_last(value).await.expect("raised");
        assert_eq!(sequence.last().await, Ok(Some(value)));
        let one_less = sequence.set_last(value - 1).await;
        assert_eq!(one_less, Err(Error::TooSmall(value)));
        sequence.set_last(value + 1).await.expect("one more");
        assert_eq!(sequence.last().await, Ok(Some(value + 1)));
        let minted = sequence.next(1).await.expect("minted");
        assert!(
            (value + 2..=value + 3).contains(&minted.first()),
            "{minted:?} after {}",
            value + 1
        );
    }
}

/// A successful raise is ordered among concurrent mints like a mint of that one integer.
async fn amid_mints(stage: &Stage) {
    const MINTERS: usize = 3;
    const RAISERS: i64 = 2;
    let mut handles = Vec::new();
    let usual = stage
        .ordered_handles("c5 amid", MINTERS + RAISERS as usize)
        .await;
    let offset = usual[0].lattice().offset();
    handles.extend(usual);
    let mut tasks = tokio::task::JoinSet::new();
    for (process, handle) in (0..).zip(handles.drain(..MINTERS)) {
        tasks.spawn(async move {
            let mut records = Vec::new();
            for call in 0..60 {
                records.push(mint(&handle, process, 1 + call % 3).await.expect("minted"));
            }
            (records, Vec::new())
        });
    }
    for (raiser, handle) in (0..).zip(handles) {
        tasks.spawn(async move {
            let mut raised = Vec::new();
            let mut below = 0;
            for turn in 0..30 {
                let last = handle.last().await.expect("last").unwrap_or(0);
                // Some values are just ahead of the mints, so that mints sometimes overtake them; others are
                // far ahead.
                let ahead = if turn % 3 == 0 { 4_096 } else { 8 };
                // Off the lattice, and distinct from the values of the other raiser.
                let free = last.max(below) / 8 * 8 + ahead;
                let value = free + 1 - offset + 2 * (raiser % RAISERS);
                let begin = clock::now();
                match handle.set_last(value).await {
                    Ok(()) => {
                        below = value;
                        raised.push(Record {
                            process: 100,
                            begin,
                            end: clock::now(),
                            span: Span::one(value),
                        });
                    }
                    Err(Error::TooSmall(current)) => assert!(
                        current > value,
                        "{value} was refused as smaller than {current}"
                    ),
                    Err(error) => panic!("set_last({value}): {error}"),
                }
            }
            (Vec::new(), raised)
        });
    }
    let mut history = History::default();
    let mut raises = 0;
    for (minted, raised) in tasks.join_all().await {
        raises += raised.len();
        history.extend(minted);
        history.extend(raised);
    }
    let found: Vec<Violation> = history.check();
    assert_eq!(found, []);
    assert!(raises > 0, "every raise was overtaken");
}

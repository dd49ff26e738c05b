//! C6: near the top of `s64` the answer is `exhausted`; nothing wraps, and `last` still works.

use super::stage::{Stage, refused};
use crate::backend::mint;
use crate::failure::TestResult;
use crate::history::History;
use int_host::{Error, Sequence};

const TOP: i64 = i64::MAX;

pub(super) fn test(stage: &Stage) -> TestResult {
    stage.run(what_does_not_fit_takes_nothing(stage));
    stage.run(up_to_the_top(stage));
    stage.run(callers_at_once(stage));
    stage.run(huge_increments(stage));
    Ok(())
}

async fn stays_exhausted(sequence: &Sequence) {
    let last = sequence.last().await;
    for count in [1, 2, 100_000] {
        refused("exhausted", sequence.next(count).await, "next");
        assert_eq!(sequence.last().await, last, "a refusal changes nothing");
    }
}

async fn what_does_not_fit_takes_nothing(stage: &Stage) {
    let sequence = stage.open("c6 room").await;
    sequence.set_last(TOP - 100).await.expect("raised");
    refused("exhausted", sequence.next(51).await, "next(51)");
    assert_eq!(sequence.last().await, Ok(Some(TOP - 100)));
    let mut history = History::default();
    for count in [10, 1, 30] {
        history.push(mint(&sequence, 0, count).await.expect("there is room"));
    }
    history.assert_clean();
    let last = sequence.last().await.expect("last");
    if stage.backend.leased() {
        assert!(last >= Some(TOP - 18), "{last:?}")
    } else {
        assert_eq!(last, Some(TOP - 18))
    }
}

async fn up_to_the_top(stage: &Stage) {
    let sequence = stage.open("c6 top").await;
    sequence.set_last(TOP - 20).await.expect("raised");
    let mut history = History::default();
    while let Ok(record) = mint(&sequence, 0, 1).await {
        history.push(record);
    }
    history.assert_clean();
    assert_eq!(history.integers(), 10);
    let lattice = sequence.lattice();
    assert_eq!(history.off_lattice(2, lattice.offset()), []);
    stays_exhausted(&sequence).await;
    let last = sequence.last().await.expect("last");
    assert!(last.map(i128::from) >= history.greatest());

    sequence.set_last(TOP).await.expect("the top is a value");
    assert_eq!(sequence.last().await, Ok(Some(TOP)));
    stays_exhausted(&sequence).await;
    assert_eq!(sequence.set_last(5).await, Err(Error::TooSmall(TOP)));
    // Reopening the sequence changes nothing.
    if stage.backend.reach() != crate::backend::Reach::Sequence {
        stays_exhausted(&stage.open("c6 top").await).await;
    }
}

/// Concurrent calls near the top get distinct integers, however they are coalesced.
async fn callers_at_once(stage: &Stage) {
    let sequence = stage.open("c6 at once").await;
    sequence.set_last(TOP - 50).await.expect("raised");
    let mut tasks = tokio::task::JoinSet::new();
    for process in 0..40 {
        let sequence = sequence.clone();
        tasks.spawn(async move { mint(&sequence, process, 1).await });
    }
    let mut history = History::default();
    for result in tasks.join_all().await {
        match result {
            Ok(record) => history.push(record),
            Err(Error::Exhausted(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    history.assert_clean();
    while let Ok(record) = mint(&sequence, 99, 1).await {
        history.push(record);
    }
    history.assert_clean();
    assert_eq!(history.integers(), 25, "all that fitted were handed out");
}

async fn huge_increments(stage: &Stage) {
    let sequence = stage.on_lattice("c6 huge", TOP, 0).await.expect("opened");
    // A span of two cannot fit in `s64`, which the engine knows without a round trip to the backend.
    refused("exhausted", sequence.next(2).await, "next(2)");
    assert_eq!(sequence.last().await, Ok(None));
    let minted = sequence.next(1).await.expect("one fits");
    assert_eq!((minted.first(), minted.count()), (TOP, 1));
    stays_exhausted(&sequence).await;

    let half = TOP / 2 + 1;
    let sequence = stage.on_lattice("c6 half", half, 3).await.expect("opened");
    let minted = sequence.next(1).await.expect("one fits");
    assert_eq!(minted.first(), 3);
    stays_exhausted(&sequence).await;
    assert_eq!(sequence.last().await, Ok(Some(half)));
}

//! C1: no two successful calls share an integer.

use super::stage::{Stage, mint_at_once};
use crate::backend::{Reach, mint};
use crate::failure::TestResult;
use crate::history::History;

pub(super) fn test(stage: &Stage) -> TestResult {
    stage.run(at_once(stage));
    stage.run(keys_are_apart(stage));
    stage.run(given_up_calls_waste_only_their_own(stage));
    if stage.backend.reach() != Reach::Sequence {
        stage.run(lattices_share_one_mark(stage));
    }
    Ok(())
}

async fn at_once(stage: &Stage) {
    let handles = stage.handles("c1 at once", 4).await;
    let history = mint_at_once(&handles, 4, 20).await;
    stage.assert_clean(&history);
    assert_eq!(history.records().len(), 4 * 4 * 20);
}

/// Similar keys that a careless backend might treat as equal.
fn alike() -> Vec<String> {
    let mut keys: Vec<_> = [
        "c1", "C1", "c1 ", " c1", "ć1", "c_", "c%", "c1'; --", "c1\\", "c:1", "c/1", "{c}1",
    ]
    .map(str::to_owned)
    .into();
    // Keys of maximum length that differ only at the end.
    keys.extend(["1", "2"].map(|end| "c".repeat(127) + end));
    keys.extend(["é", "è"].map(|end| "c".repeat(126) + end));
    keys
}

async fn keys_are_apart(stage: &Stage) {
    let keys = alike();
    let mut firsts = Vec::new();
    for key in &keys {
        let sequence = stage.open(key).await;
        // The counts differ, so that a shared mark would be noticed.
        let count = u32::try_from(firsts.len()).expect("few") + 1;
        let minted = sequence.next(count).await;
        firsts.push(minted.unwrap_or_else(|e| panic!("{key:?}: {e}")).first());
    }
    assert!(
        firsts.iter().all(|first| *first == firsts[0]),
        "every key begins anew: {:?}",
        keys.iter().zip(&firsts).collect::<Vec<_>>()
    );
}

async fn given_up_calls_waste_only_their_own(stage: &Stage) {
    let sequence = stage.open("c1 given up").await;
    let mut history = History::default();
    for round in 0..20u32 {
        // The call is cancelled before its first poll, while in flight, or after it has completed.
        let given_up = {
            let sequence = sequence.clone();
            tokio::spawn(async move { mint(&sequence, 1, 3).await })
        };
        for _ in 0..round % 4 {
            tokio::task::yield_now().await;
        }
        given_up.abort();
        if let Ok(Ok(record)) = given_up.await {
            history.push(record);
        }
        let minted = mint(&sequence, 0, 2).await;
        history.push(minted.unwrap_or_else(|e| panic!("after a call that was given up: {e}")));
    }
    stage.assert_clean(&history);
}

async fn lattices_share_one_mark(stage: &Stage) {
    let mut handles = Vec::new();
    for (increment, offset) in [(2, 0), (2, 1), (3, 1), (7, 5), (1, 0), (1_000_000, 17)] {
        let opened = stage.on_lattice("c1 lattices", increment, offset).await;
        handles.push(opened.unwrap_or_else(|e| panic!("{increment}, {offset}: {e}")));
    }
    let history = mint_at_once(&handles, 2, 20).await;
    stage.assert_clean(&history);
}

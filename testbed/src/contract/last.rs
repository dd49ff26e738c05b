//! C4: `last` is none before the first mint, else the greatest integer taken so far.

use super::stage::Stage;
use crate::backend::mint;
use crate::failure::TestResult;
use int_host::Sequence;

pub(super) fn test(stage: &Stage) -> TestResult {
    stage.run(follows_the_mints(stage));
    stage.run(is_never_below_what_was_minted(stage));
    stage.run(counts_what_others_did(stage))
}

async fn last(sequence: &Sequence) -> Option<i64> {
    sequence
        .last()
        .await
        .unwrap_or_else(|e| panic!("last: {e}"))
}

async fn follows_the_mints(stage: &Stage) {
    let handles = stage.handles("c4", 2).await;
    let (one, two) = (&handles[0], &handles[1]);
    // `last` neither creates the sequence nor mints.
    for _ in 0..3 {
        assert_eq!(last(one).await, None);
        assert_eq!(last(two).await, None);
    }
    let mut greatest = 0;
    for count in [1, 10, 1] {
        let minted = one.next(count).await.expect("minted");
        greatest = minted.last();
        for handle in &handles {
            let found = last(handle).await.expect("something was minted");
            assert!(found >= minted.last(), "{found} is below {minted:?}");
            assert!(
                stage.backend.leased() || found - minted.last() < minted.step(),
                "{found} is more than the interval of {minted:?}"
            );
        }
    }
    // Integers that were fetched before may be below `last`.
    let before = if stage.backend.leased() {
        Some(greatest)
    } else {
        last(one).await
    };
    let minted = two.next(1).await.expect("minted");
    assert!(Some(minted.first()) > before, "asking takes nothing");
}

async fn is_never_below_what_was_minted(stage: &Stage) {
    let handles = stage.handles("c4 at once", 3).await;
    let mut minters = tokio::task::JoinSet::new();
    for handle in handles {
        minters.spawn(async move {
            for _ in 0..30 {
                let minted = mint(&handle, 0, 2).await.expect("minted");
                let found = last(&handle).await.expect("something was minted");
                assert!(i128::from(found) >= minted.span.last());
            }
        });
    }
    minters.join_all().await;
}

/// Marks off the lattice are returned unchanged; marks at or below zero mean that nothing was minted.
async fn counts_what_others_did(stage: &Stage) -> TestResult {
    for (mark, told) in [
        (41, Some(41)),
        (0, None),
        (-7, None),
        (i64::MAX, Some(i64::MAX)),
    ] {
        let key = format!("c4 stored {mark}");
        if !stage.backend.store(&key, mark)? {
            return Ok(());
        }
        assert_eq!(last(&stage.open(&key).await).await, told, "{key}");
    }
    Ok(())
}

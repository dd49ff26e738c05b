//! C3: if one call returned before another one began, on any machine, all its integers are smaller.

use super::stage::{Stage, mint_at_once};
use crate::backend::mint;
use crate::failure::TestResult;

pub(super) fn test(stage: &Stage) -> TestResult {
    stage.run(one_after_another(stage));
    stage.run(at_once(stage));
    Ok(())
}

async fn one_after_another(stage: &Stage) {
    let handles = stage.ordered_handles("c3 in turn", 3).await;
    let mut greatest = 0;
    for round in 0..30 {
        for (process, handle) in (0..).zip(&handles) {
            let record = mint(handle, process, 1 + round % 4).await.expect("minted");
            assert!(
                i128::from(record.span.first) > greatest,
                "{record:?} is not above {greatest}"
            );
            greatest = record.span.last();
        }
    }
}

async fn at_once(stage: &Stage) {
    let handles = stage.ordered_handles("c3 at once", 4).await;
    // One task per handle makes many calls begin just after others have returned.
    let history = mint_at_once(&handles, 1, 100).await;
    history.assert_clean();
}

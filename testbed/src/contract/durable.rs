//! C9: an integer handed out survives what the backend's own settings survive. The test servers are configured
//! to survive a crash.

use super::stage::Stage;
use crate::backend::{self, Reach, mint};
use crate::failure::TestResult;
use crate::history::History;
use int_host::{Error, Sequence};
use std::time::{Duration, Instant};

/// How long a sequence may take to mint again after its server has restarted.
const RESUMES: Duration = Duration::from_secs(30);

pub(super) fn test(stage: &Stage) -> TestResult {
    match stage.backend.reach() {
        // The memory engine promises no durability, and its documentation says so.
        Reach::Sequence => stage.run(begins_anew(stage)),
        Reach::Process => stage.run(survives_the_host(stage))?,
        Reach::Everybody => stage.run(survives_a_crash(stage))?,
    }
    Ok(())
}

async fn begins_anew(stage: &Stage) {
    assert!(stage.about.survives.contains("nothing"));
    for _ in 0..2 {
        let sequence = stage.open("c9").await;
        assert_eq!(sequence.last().await, Ok(None));
        sequence.next(3).await.expect("minted");
    }
}

async fn survives_the_host(stage: &Stage) -> TestResult {
    let data = crate::scratch::Scratch::new("durable")?;
    let mut history = History::default();
    for process in 0..3 {
        let host = backend::host(Some(data.path().to_owned()))?;
        let end = Instant::now() + RESUMES;
        let sequence = loop {
            let dsn = stage.backend.dsn();
            let opened = backend::open(&host, &stage.source, &dsn, "c9").await;
            match opened.and_then(|opened| stage.backend.hold(opened)) {
                Ok(sequence) => break sequence,
                // The previous round's host holds its file until its tasks have ended.
                Err(Error::Misconfigured(_)) if Instant::now() < end => {
                    tokio::task::yield_now().await;
                }
                Err(error) => panic!("{error}"),
            }
        };
        let last = sequence.last().await.expect("last").map(i128::from);
        let greatest = history.greatest().map(|n| n + n % 2);
        if stage.backend.leased() {
            assert!(last >= greatest, "{last:?} is below {greatest:?}")
        } else {
            assert_eq!(last, greatest)
        }
        for count in [1, 10, 1] {
            history.push(mint(&sequence, process, count).await.expect("minted"));
        }
    }
    stage.assert_clean(&history);
    Ok(())
}

async fn survives_a_crash(stage: &Stage) -> TestResult {
    let sequence = stage.open("c9").await;
    let mut history = History::default();
    for round in 0..3 {
        for count in [1, 10, 1] {
            history.push(mint(&sequence, round, count).await.expect("minted"));
        }
        let last = sequence.last().await.expect("last");
        if !stage.backend.crash()? {
            return Ok(());
        }
        // A sequence opened after the crash finds the stored mark, and one opened before resumes by itself.
        let fresh = stage.open("c9").await;
        // `last` may have grown by less than one increment: some servers advance the counter on startup.
        for handle in [&fresh, &sequence] {
            let told = resumed(handle).await;
            assert!(
                told >= last && (told < last.map(|n| n + 2) || stage.backend.leased()),
                "{told:?}, it was {last:?}"
            );
        }
        history.push(mint(&fresh, 100 + round, 1).await.expect("minted"));
        history.push(mint(&sequence, round, 1).await.expect("minted"));
    }
    stage.assert_clean(&history);
    Ok(())
}

/// Calls `last`, with retries until it succeeds.
async fn resumed(sequence: &Sequence) -> Option<i64> {
    let end = Instant::now() + RESUMES;
    loop {
        match sequence.last().await {
            Ok(last) => return last,
            Err(Error::Unavailable(_)) if Instant::now() < end => {}
            Err(error) => panic!("does not resume within {RESUMES:?}: {error}"),
        }
    }
}

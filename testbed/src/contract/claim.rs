//! C11: a claim takes its interval in one atomic step, if and only if none of its integers was taken.

use super::stage::{Stage, refused};
use crate::backend::mint;
use crate::clock;
use crate::failure::TestResult;
use crate::history::{History, Record, Span};
use crate::proxy::{Fault, Proxy};
use int_host::{Error, Sequence};
use std::time::Duration;

pub(super) fn test(stage: &Stage) -> TestResult {
    if !stage.backend.claims() {
        stage.run(refused_and_without_effect(stage));
        return Ok(());
    }
    stage.run(only_above_the_mark(stage));
    stage.run(works_on_a_fresh_sequence(stage));
    stage.run(exact_above_doubles(stage));
    stage.run(amid_mints_and_raises(stage));
    if let Some(port) = stage.backend.port() {
        stage.run(lost_replies(stage, &Proxy::to(port)?))?;
    }
    Ok(())
}

/// What an engine does whose backend has no claims.
async fn refused_and_without_effect(stage: &Stage) {
    let sequence = stage.open("c11 none").await;
    let minted = sequence.next(1).await.expect("minted");
    for (first, last) in [(minted.last() + 1, minted.last() + 9), (1, 1)] {
        refused("other", sequence.claim(first, last).await, "claim");
        refused("other", sequence.generation().await, "generation");
    }
    assert_eq!(sequence.last().await, Ok(Some(minted.last())));
    let next = sequence.next(1).await.expect("minted");
    assert_eq!(next.first(), minted.last() + minted.step());
}

async fn only_above_the_mark(stage: &Stage) {
    let handles = stage.handles("c11", 2).await;
    let (one, two) = (&handles[0], &handles[1]);
    one.set_last(100).await.expect("raised");
    // The last one ends above the mark but begins at it: the classic bug.
    for (first, last) in [(1, 1), (50, 99), (100, 100), (100, 100_000)] {
        let error = refused("too-small", two.claim(first, last).await, "claim");
        assert_eq!(error, Error::TooSmall(100), "{first} to {last}");
    }
    assert_eq!(one.last().await, Ok(Some(100)), "refusals change nothing");
    one.claim(101, 101).await.expect("just above the mark");
    assert_eq!(two.last().await, Ok(Some(101)));
    two.claim(500, 599).await.expect("with a gap below");
    assert_eq!(one.last().await, Ok(Some(599)));
    let error = refused("too-small", one.claim(500, 599).await, "claim");
    assert_eq!(error, Error::TooSmall(599), "the same claim again");
    let minted = one.next(1).await.expect("minted");
    assert!((600..=601).contains(&minted.first()), "{minted:?}");
    for (first, last) in [(-1, 5), (i64::MIN, i64::MAX), (9, 8), (1_000, 0)] {
        refused("invalid", one.claim(first, last).await, "claim");
    }
}

async fn works_on_a_fresh_sequence(stage: &Stage) {
    let sequence = stage.open("c11 fresh").await;
    sequence.claim(1, 7).await.expect("claimed");
    assert_eq!(sequence.last().await, Ok(Some(7)));
    let sequence = stage.open("c11 far").await;
    sequence.claim(41, 50).await.expect("claimed");
    let error = refused("too-small", sequence.claim(1, 40).await, "claim");
    assert_eq!(error, Error::TooSmall(50), "the gap below is taken too");
}

async fn exact_above_doubles(stage: &Stage) {
    for mark in [(1 << 53) - 1, (1 << 53) + 1, (1 << 62) + 1, i64::MAX - 3] {
        let sequence = stage.open(&format!("c11 exact {mark}")).await;
        sequence.claim(mark - 5, mark).await.expect("claimed");
        let error = refused("too-small", sequence.claim(mark, mark + 1).await, "claim");
        assert_eq!(error, Error::TooSmall(mark));
        sequence
            .claim(mark + 1, mark + 2)
            .await
            .expect("just above the mark");
        assert_eq!(sequence.last().await, Ok(Some(mark + 2)));
    }
    let sequence = stage.open("c11 top").await;
    sequence.claim(1, i64::MAX).await.expect("all of them");
    let error = refused(
        "too-small",
        sequence.claim(i64::MAX, i64::MAX).await,
        "claim",
    );
    assert_eq!(error, Error::TooSmall(i64::MAX));
    refused("exhausted", sequence.next(1).await, "next");
    assert_eq!(sequence.last().await, Ok(Some(i64::MAX)));
}

/// A successful claim is ordered among concurrent mints like a mint of its integers.
async fn amid_mints_and_raises(stage: &Stage) {
    let mut handles = stage.ordered_handles("c11 amid", 5).await;
    let mut tasks = tokio::task::JoinSet::new();
    for (process, handle) in (0..).zip(handles.drain(..2)) {
        tasks.spawn(async move {
            let mut records = Vec::new();
            for call in 0..40 {
                records.push(mint(&handle, process, 1 + call % 3).await.expect("minted"));
            }
            records
        });
    }
    if let Some(raiser) = handles.pop() {
        tasks.spawn(async move {
            for _ in 0..20 {
                let last = raiser.last().await.expect("last").unwrap_or(0);
                match raiser.set_last(last + 50).await {
                    Ok(()) | Err(Error::TooSmall(_)) => {}
                    Err(error) => panic!("set_last: {error}"),
                }
            }
            Vec::new()
        });
    }
    for (process, handle) in (100..).zip(handles) {
        // Different sizes, as clients of a quorum have.
        let size = if process == 100 { 1 } else { 1_250 };
        tasks.spawn(claims(handle, process, size));
    }
    let mut history = History::default();
    let mut claimed = 0;
    for records in tasks.join_all().await {
        claimed += records.iter().filter(|r| r.process >= 100).count();
        history.extend(records);
    }
    history.assert_clean();
    assert!(claimed > 0, "every claim was overtaken");
}

async fn claims(handle: Sequence, process: u32, size: i64) -> Vec<Record> {
    let mut records = Vec::new();
    let mut mark = 0;
    for _ in 0..60 {
        let begin = clock::now();
        let (first, last) = (mark + 1, mark + size);
        match handle.claim(first, last).await {
            Ok(()) => {
                mark = last;
                records.push(Record {
                    process,
                    begin,
                    end: clock::now(),
                    span: Span {
                        first,
                        step: 1,
                        count: u32::try_from(size).expect("a small size"),
                    },
                });
            }
            Err(Error::TooSmall(current)) => {
                assert!(current >= first, "{first} was refused above {current}");
                mark = current;
            }
            Err(error) => panic!("claim({first}, {last}): {error}"),
        }
    }
    records
}

/// A claim whose reply was lost takes its integers, or does not, and nobody else gets them from it.
async fn lost_replies(stage: &Stage, proxy: &Proxy) -> TestResult {
    let dsn = crate::backend::with_parameter(&stage.backend.dsn_on(proxy.port()), "timeout=20s");
    let sequence = stage.try_open(&dsn, "c11 lost").await.expect("opened");
    let direct = stage.open("c11 lost").await;
    direct.next(1).await.expect("minted");
    sequence.last().await.expect("connected");
    for _ in 0..3 {
        let mark = direct.last().await.expect("last").expect("a mark");
        proxy.cut(1, b"")?;
        let (first, last) = (mark + 1, mark + 10);
        match sequence.claim(first, last).await {
            // The retry found its own effect, or there was none.
            Ok(()) | Err(Error::Unavailable(_)) => {}
            Err(Error::TooSmall(found)) => assert_eq!(found, last),
            Err(error) => panic!("a lost reply is {error}"),
        }
        proxy.set(Fault::None)?;
        tokio::time::sleep(Duration::from_millis(20)).await;
        let now = direct.last().await.expect("last").expect("a mark");
        assert!(now == mark || now == last, "{now}, from {mark} to {last}");
    }
    Ok(())
}

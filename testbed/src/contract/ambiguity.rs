//! C7: when a reply is lost, the integers that it carried are lost: a gap, never a duplicate. Every wait has a
//! deadline.

use super::stage::{Stage, kind};
use crate::backend::{Backend, mint, with_parameter};
use crate::failure::TestResult;
use crate::history::History;
use crate::proxy::{Fault, Proxy};
use int_host::{Error, Sequence};
use std::time::{Duration, Instant};

/// How long a sequence may take to mint again after a fault is over. Engines retry much sooner, but the
/// server may be slow.
const RESUMES: Duration = Duration::from_secs(30);

pub(super) fn test(stage: &Stage) -> TestResult {
    let Some(port) = stage.backend.port() else {
        // Without a network no reply can be lost. C1 tests cancelled calls.
        return Ok(());
    };
    let proxy = Proxy::to(port)?;
    let dsn = short(&*stage.backend, proxy.port());
    stage.run(lost_replies(stage, &proxy))?;
    for fault in [Fault::Stall, Fault::StallReplies, Fault::Refuse] {
        stage.run(until_it_is_over(stage, &proxy, &dsn, &fault))?;
    }
    stage.run(lost_raise(stage, &proxy))?;
    stage.run(nobody_there(stage, &proxy))?;
    stage.run(dead_connections_are_dialled_again(stage, &proxy))
}

/// A DSN with a short deadline, for faults that last until it. A call that must succeed may be slower on a busy machine:
/// it is retried ([`resumes`]), or has a [`long`] deadline.
fn short(backend: &dyn Backend, port: u16) -> String {
    with_parameter(&backend.dsn_on(port), "timeout=500ms")
}

/// A DSN with a deadline that a call reaches only when it hangs.
fn long(backend: &dyn Backend, port: u16) -> String {
    with_parameter(&backend.dsn_on(port), "timeout=20s")
}

async fn lost_replies(stage: &Stage, proxy: &Proxy) -> TestResult {
    let dsn = long(&*stage.backend, proxy.port());
    let sequence = stage.try_open(&dsn, "c7 lost").await.expect("opened");
    let direct = stage.open("c7 lost").await;
    let mut history = History::default();
    history.push(mint(&sequence, 0, 1).await.expect("minted"));
    for times in [1, 1, 2, 1] {
        let before = proxy.replies_cut();
        proxy.cut(times, b"")?;
        // After the first cut connection an engine that knows other addresses may bypass the proxy.
        let most = if stage.backend.leased() { 5_000 } else { 50 };
        for _ in 0..most {
            if proxy.replies_cut() >= before + times {
                break;
            }
            match mint(&sequence, 0, 3).await {
                Ok(record) => history.push(record),
                Err(Error::Unavailable(_)) => {}
                Err(error) => panic!("a lost reply is {}: {error}", kind(&error)),
            }
        }
        assert!(
            proxy.replies_cut() >= before + times || stage.backend.knows_other_ways(),
            "no reply was lost"
        );
        proxy.set(Fault::None)?;
        history.push(resumes(&sequence).await);
        // Another client mints directly, to check that lost integers are not handed out again.
        history.push(mint(&direct, 1, 2).await.expect("minted directly"));
    }
    stage.assert_clean(&history);
    let last = direct.last().await.expect("last").map(i128::from);
    assert!(last >= history.greatest());
    Ok(())
}

async fn until_it_is_over(stage: &Stage, proxy: &Proxy, dsn: &str, fault: &Fault) -> TestResult {
    let key = format!("c7 {fault:?}");
    let sequence = stage.try_open(dsn, &key).await.expect("opened");
    let direct = stage.open(&key).await;
    let mut history = History::default();
    history.push(resumes(&sequence).await);
    proxy.set(fault.clone())?;
    // Every call fails at its deadline with `unavailable`, unless the engine can bypass the proxy, or there are
    // integers left that were fetched before.
    for _ in 0..2 {
        match mint(&sequence, 0, 3).await {
            Ok(record) if stage.backend.leased() => history.push(record),
            minted => history.extend(unavailable(stage, fault, minted)),
        }
    }
    unavailable(stage, fault, sequence.last().await);
    unavailable(stage, fault, sequence.set_last(50_001).await);
    history.push(mint(&direct, 1, 5).await.expect("minted directly"));
    proxy.set(Fault::None)?;
    history.push(resumes(&sequence).await);
    history.push(mint(&direct, 1, 5).await.expect("minted directly"));
    history.push(resumes(&sequence).await);
    stage.assert_clean(&history);
    Ok(())
}

/// A raise whose reply was lost is retried. The retry finds the mark that the first attempt set, or a greater
/// one after further mints. The raise has succeeded and must not be refused.
async fn lost_raise(stage: &Stage, proxy: &Proxy) -> TestResult {
    /// No other request of this test contains these digits.
    const VALUE: i64 = 987_654_321;
    let dsn = long(&*stage.backend, proxy.port());
    let sequence = stage.try_open(&dsn, "c7 raise").await.expect("opened");
    let direct = stage.open("c7 raise").await;
    sequence.next(1).await.expect("minted");
    // The proxy does not see the digits through TLS, and then the raise just succeeds.
    proxy.set(Fault::StallRepliesTo(VALUE.to_string().into_bytes()))?;
    let raising = tokio::spawn({
        let sequence = sequence.clone();
        async move { sequence.set_last(VALUE).await }
    });
    let end = Instant::now() + RESUMES;
    while direct.last().await.expect("last") < Some(VALUE) {
        assert!(Instant::now() < end, "the raise does not reach the server");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let minted = direct.next(1).await.expect("minted directly");
    assert!(minted.first() > VALUE, "{minted:?}");
    // Closes the connection before the reply is forwarded.
    proxy.set(Fault::Refuse)?;
    proxy.set(Fault::None)?;
    assert_eq!(raising.await.expect("no panic"), Ok(()), "it was raised");
    // A second raise to the same value is refused.
    let error = sequence.set_last(VALUE).await.expect_err("it is past that");
    assert!(
        matches!(error, Error::TooSmall(now) if now >= minted.first()),
        "{error}"
    );
    Ok(())
}

/// Checks that a call during a fault failed with `unavailable`. It may succeed when the engine can bypass the
/// proxy.
fn unavailable<T>(stage: &Stage, fault: &Fault, result: Result<T, Error>) -> Option<T> {
    match result {
        Err(Error::Unavailable(_)) => None,
        Ok(found) if stage.backend.knows_other_ways() => Some(found),
        Ok(_) => panic!("{fault:?}: the call succeeded"),
        Err(error) => panic!("{fault:?}: {}: {error}", kind(&error)),
    }
}

/// Mints one integer, with retries until that succeeds.
async fn resumes(sequence: &Sequence) -> crate::history::Record {
    let end = Instant::now() + RESUMES;
    loop {
        match mint(sequence, 0, 1).await {
            Ok(record) => return record,
            Err(Error::Unavailable(_)) if Instant::now() < end => {}
            Err(error) => panic!("does not resume within {RESUMES:?}: {error}"),
        }
    }
}

async fn nobody_there(stage: &Stage, proxy: &Proxy) -> TestResult {
    proxy.set(Fault::Refuse)?;
    let dsn = short(&*stage.backend, proxy.port());
    // Engines may or may not contact the backend when a sequence is opened.
    let error = match stage.try_open(&dsn, "c7 nobody").await {
        Ok(sequence) => sequence.next(1).await.map(drop),
        Err(error) => Err(error),
    }
    .expect_err("nobody listens");
    assert_eq!(kind(&error), "unavailable", "{error}");
    proxy.set(Fault::None)?;
    Ok(())
}

/// When an idle connection was closed, the next mint opens a new connection and succeeds.
async fn dead_connections_are_dialled_again(stage: &Stage, proxy: &Proxy) -> TestResult {
    let dsn = long(&*stage.backend, proxy.port());
    let sequence = stage.try_open(&dsn, "c7 dead").await.expect("opened");
    let mut history = History::default();
    for _ in 0..5 {
        history.push(mint(&sequence, 0, 1).await.expect("minted"));
        proxy.set(Fault::Refuse)?;
        proxy.set(Fault::None)?;
    }
    stage.assert_clean(&history);
    Ok(())
}

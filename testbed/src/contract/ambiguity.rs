//! C7: when a reply is lost its integers are lost: a gap, never a duplicate; and nothing is ever
//! waited for without end.

use super::stage::{Stage, kind, mint};
use crate::backend::Backend;
use crate::history::History;
use crate::proxy::{Fault, Proxy};
use int_host::{Error, Sequence};
use std::time::{Duration, Instant};

/// How long a sequence may need to mint again after a fault is over. Engines try again much
/// sooner; the server may be slow.
const RESUMES: Duration = Duration::from_secs(30);

pub(super) fn test(stage: &Stage) {
    let Some(port) = stage.backend.port() else {
        // Without a network no reply is lost; calls given up half-way are in C1.
        return;
    };
    let proxy = Proxy::to(port);
    let dsn = with_timeout(&*stage.backend, proxy.port());
    stage.run(lost_replies(stage, &proxy, &dsn));
    for fault in [Fault::Stall, Fault::StallReplies, Fault::Refuse] {
        stage.run(until_it_is_over(stage, &proxy, &dsn, &fault));
    }
    stage.run(lost_raise(stage, &proxy));
    stage.run(nobody_there(stage, &proxy));
    stage.run(dead_connections_are_dialled_again(stage, &proxy, &dsn));
}

/// A short deadline, so that the test does not wait for the usual two seconds.
fn with_timeout(backend: &dyn Backend, port: u16) -> String {
    format!("{}?timeout=500ms", backend.dsn_on(port))
}

async fn lost_replies(stage: &Stage, proxy: &Proxy, dsn: &str) {
    let sequence = stage.try_open(dsn, "c7 lost").await.expect("opened");
    let direct = stage.open("c7 lost").await;
    let mut history = History::default();
    history.push(mint(&sequence, 0, 1).await.expect("minted"));
    for times in [1, 1, 2, 1] {
        let before = proxy.replies_cut();
        proxy.cut(times, b"");
        // As soon as a connection is cut an engine may have found another way, if it knows one.
        for _ in 0..50 {
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
        proxy.set(Fault::None);
        history.push(resumes(&sequence).await);
        // Somebody else mints meanwhile: what was lost is not given out again.
        history.push(mint(&direct, 1, 2).await.expect("minted directly"));
    }
    history.assert_clean();
    let last = direct.last().await.expect("last").map(i128::from);
    assert!(last >= history.greatest());
}

async fn until_it_is_over(stage: &Stage, proxy: &Proxy, dsn: &str, fault: &Fault) {
    let key = format!("c7 {fault:?}");
    let sequence = stage.try_open(dsn, &key).await.expect("opened");
    let direct = stage.open(&key).await;
    let mut history = History::default();
    history.push(mint(&sequence, 0, 1).await.expect("minted"));
    proxy.set(fault.clone());
    // All the calls have a deadline, and say so, unless there is another way to the server.
    for _ in 0..2 {
        let minted = mint(&sequence, 0, 3).await;
        history.extend(unavailable(stage, fault, minted));
    }
    unavailable(stage, fault, sequence.last().await);
    unavailable(stage, fault, sequence.set_last(50_001).await);
    history.push(mint(&direct, 1, 5).await.expect("minted directly"));
    proxy.set(Fault::None);
    history.push(resumes(&sequence).await);
    history.push(mint(&direct, 1, 5).await.expect("minted directly"));
    history.push(mint(&sequence, 0, 1).await.expect("minted"));
    history.assert_clean();
}

/// A raise whose reply was lost is made again, and then finds what it did itself, and what was minted on
/// top of that. It has done what it promised, and is not refused.
async fn lost_raise(stage: &Stage, proxy: &Proxy) {
    /// No other request of this test has these digits in it.
    const VALUE: i64 = 987_654_321;
    let dsn = format!("{}?timeout=20s", stage.backend.dsn_on(proxy.port()));
    let sequence = stage.try_open(&dsn, "c7 raise").await.expect("opened");
    let direct = stage.open("c7 raise").await;
    sequence.next(1).await.expect("minted");
    proxy.set(Fault::StallRepliesTo(VALUE.to_string().into_bytes()));
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
    // Closes the connection, with the reply still in it.
    proxy.set(Fault::Refuse);
    proxy.set(Fault::None);
    assert_eq!(raising.await.expect("no panic"), Ok(()), "it was raised");
    // Who comes now comes too late.
    let error = sequence.set_last(VALUE).await.expect_err("it is past that");
    assert!(
        matches!(error, Error::TooSmall(now) if now >= minted.first()),
        "{error}"
    );
}

/// Checks that a call failed as it must during a fault.
fn unavailable<T>(stage: &Stage, fault: &Fault, result: Result<T, Error>) -> Option<T> {
    match result {
        Err(Error::Unavailable(_)) => None,
        Ok(found) if stage.backend.knows_other_ways() => Some(found),
        Ok(_) => panic!("{fault:?}: something came through"),
        Err(error) => panic!("{fault:?}: {}: {error}", kind(&error)),
    }
}

/// Mints again, trying until it succeeds.
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

async fn nobody_there(stage: &Stage, proxy: &Proxy) {
    proxy.set(Fault::Refuse);
    let dsn = with_timeout(&*stage.backend, proxy.port());
    // Whether opening contacts the backend is the engine's choice.
    let error = match stage.try_open(&dsn, "c7 nobody").await {
        Ok(sequence) => sequence.next(1).await.map(drop),
        Err(error) => Err(error),
    }
    .expect_err("nobody listens");
    assert_eq!(kind(&error), "unavailable", "{error}");
    proxy.set(Fault::None);
}

/// Connections that died while nobody used them cost a mint nothing but a new connection.
async fn dead_connections_are_dialled_again(stage: &Stage, proxy: &Proxy, dsn: &str) {
    let sequence = stage.try_open(dsn, "c7 dead").await.expect("opened");
    let mut history = History::default();
    for _ in 0..5 {
        history.push(mint(&sequence, 0, 1).await.expect("minted"));
        proxy.set(Fault::Refuse);
        proxy.set(Fault::None);
    }
    history.assert_clean();
}

//! Which requests share a call.

use super::{Gated, ask, integers, lead, subject, until, with_slots};
use crate::coalescer::yield_once;
use crate::{Coalescer, Error};
use futures::FutureExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lone_request_makes_its_own_call() {
    let (upstream, subject) = subject(10, 10);
    assert_eq!(integers(&subject.next(1).await.unwrap()), [1]);
    assert_eq!(integers(&subject.next(3).await.unwrap()), [2, 3, 4]);
    assert_eq!(upstream.calls(), [1, 3]);
    assert_eq!(upstream.drivers.load(Ordering::SeqCst), 0);
    assert_eq!(subject.pending(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_wait_are_served_by_one_call_in_the_order_they_came() {
    let (upstream, subject) = subject(0, 100);
    let first = lead(&subject, 1).await;
    let mut waiting = Vec::new();
    for count in 1..=50 {
        waiting.push(ask(&subject, count).await);
    }
    assert_eq!(upstream.calls(), [1], "nothing is minted ahead");
    upstream.gate.add_permits(2);
    assert_eq!(integers(&first.await.unwrap().unwrap()), [1]);
    let mut next = 2;
    for (count, reply) in (1..=50).zip(waiting) {
        let span = reply.await.unwrap().unwrap();
        assert_eq!(
            (span.first(), span.step(), span.count()),
            (next, 1, count),
            "in order and without gaps"
        );
        next = span.last() + 1;
    }
    assert_eq!(upstream.calls(), [1, (1..=50).sum()]);
    until(|| subject.pending() == 0).await;
}

/// On one thread, tasks that are ready at the same time share a call from the start.
#[tokio::test(flavor = "current_thread")]
async fn those_who_are_ready_at_once_share_the_first_call() {
    let (upstream, subject) = subject(10, 100);
    let all = futures::future::join_all((1..=20).map(|count| {
        let subject = subject.clone();
        tokio::spawn(async move { subject.next(count).await })
    }));
    let mut next = 1;
    for reply in all.await {
        let span = reply.unwrap().unwrap();
        assert_eq!(span.first(), next);
        next = span.last() + 1;
    }
    assert_eq!(upstream.calls(), [(1..=20).sum::<u32>()]);
    // The last batch had several requests; the next request is alone in its batch.
    assert_eq!(subject.next(1).await.unwrap().first(), next);
    assert_eq!(upstream.calls(), [210, 1]);
    // The request after that finds the coalescer idle and needs no driver.
    let drivers = upstream.drivers.load(Ordering::SeqCst);
    assert_eq!(subject.next(1).await.unwrap().first(), next + 1);
    assert_eq!(upstream.drivers.load(Ordering::SeqCst), drivers);
}

/// Some hosts admit one request per yield. Where calls take long, such requests share a call too.
#[tokio::test(flavor = "current_thread")]
async fn one_request_a_turn_is_waited_for_where_it_pays() {
    for (batch_window, together) in [(Duration::from_secs(600), true), (Duration::ZERO, false)] {
        let upstream = Arc::new(Gated {
            batch_window,
            ..Gated::new(30)
        });
        let subject = Coalescer::new(Arc::clone(&upstream), 100);
        // In a task, so that it is polled as often as the others.
        let host = tokio::spawn(async move {
            let ask = || {
                let subject = subject.clone();
                tokio::spawn(async move { subject.next(1).await })
            };
            let mut replies = vec![ask(), ask()];
            for _ in 0..18 {
                yield_once().await;
                replies.push(ask());
            }
            replies
        });
        let replies = host.await.unwrap();
        for (reply, expected) in replies.into_iter().zip(1..) {
            assert_eq!(integers(&reply.await.unwrap().unwrap()), [expected]);
        }
        assert_eq!(upstream.calls() == [20], together, "{:?}", upstream.calls());
    }
}

/// If the host admits no requests during a call, they have to arrive in the pause before it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_arrive_in_the_pause_before_a_call_share_it() {
    let upstream = Arc::new(Gated {
        pauses: Some(Semaphore::new(0)),
        ..Gated::new(10)
    });
    let subject = Coalescer::new(Arc::clone(&upstream), 100);
    let replies = [
        ask(&subject, 1).await,
        ask(&subject, 2).await,
        ask(&subject, 3).await,
    ];
    assert_eq!(upstream.calls(), [0; 0]);
    upstream.pauses.as_ref().unwrap().add_permits(10);
    let mut next = 1;
    for reply in replies {
        let span = reply.await.unwrap().unwrap();
        assert_eq!(span.first(), next);
        next = span.last() + 1;
    }
    assert_eq!(upstream.calls(), [6]);
}

/// There are pauses until the batch window is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_arrive_in_any_pause_of_the_window_share_a_call() {
    let upstream = Arc::new(Gated {
        pauses: Some(Semaphore::new(0)),
        batch_window: Duration::from_millis(500),
        ..Gated::new(10)
    });
    let pauses = || upstream.pauses.as_ref().unwrap();
    let subject = Coalescer::new(Arc::clone(&upstream), 100);
    let mut replies = vec![ask(&subject, 2).await];
    for count in [3, 4] {
        pauses().add_permits(1);
        until(|| pauses().available_permits() == 0).await;
        replies.push(ask(&subject, count).await);
    }
    pauses().add_permits(Semaphore::MAX_PERMITS / 2);
    let mut next = 1;
    for reply in replies {
        let span = reply.await.unwrap().unwrap();
        assert_eq!(span.first(), next);
        next = span.last() + 1;
    }
    assert_eq!(upstream.calls(), [9]);
}

/// If calls are cheap, a lone request does not yield before its call.
#[tokio::test]
async fn a_cheap_call_is_made_at_once() {
    let upstream = Arc::new(Gated {
        costly: false,
        ..Gated::new(10)
    });
    let subject = Coalescer::new(Arc::clone(&upstream), 10);
    let span = subject.next(7).now_or_never().unwrap().unwrap();
    assert_eq!((span.first(), upstream.calls()), (1, vec![7]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_has_at_most_as_many_integers_as_one_call_may_mint() {
    let (upstream, subject) = subject(0, 100);
    let mut replies = vec![lead(&subject, 1).await];
    for count in [60_000, 40_000, 1, 100_000, 99_999, 2] {
        replies.push(ask(&subject, count).await);
    }
    upstream.gate.add_permits(100);
    let mut next = 1;
    for reply in replies {
        let span = reply.await.unwrap().unwrap();
        assert_eq!(span.first(), next);
        next = span.last() + 1;
    }
    assert_eq!(upstream.calls(), [1, 100_000, 1, 100_000, 99_999, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_counts_are_refused_before_anything_else() {
    let (upstream, subject) = subject(10, 10);
    for count in [0, 100_001, u32::MAX] {
        assert!(matches!(subject.next(count).await, Err(Error::Invalid(_))));
    }
    assert_eq!(upstream.calls(), [0; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_refuses_at_once() {
    let (upstream, subject) = subject(0, 2);
    let replies = [
        lead(&subject, 1).await,
        ask(&subject, 1).await,
        ask(&subject, 1).await,
    ];
    assert_eq!(subject.next(1).await, Err(Error::Busy));
    upstream.gate.add_permits(10);
    for (reply, expected) in replies.into_iter().zip(1..) {
        assert_eq!(integers(&reply.await.unwrap().unwrap()), [expected]);
    }
    until(|| subject.pending() == 0).await;
    assert_eq!(integers(&subject.next(1).await.unwrap()), [4]);
}

/// 64 tasks mint as fast as they can. Integers returned before a call began are smaller than all
/// that the call gets, and none comes twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn order_and_uniqueness_under_concurrency() {
    for slots in [1, 2, 5] {
        order_and_uniqueness(slots).await;
    }
}

async fn order_and_uniqueness(slots: usize) {
    let (upstream, subject) = with_slots(slots, usize::MAX >> 4, 10_000);
    let seen = Arc::new(AtomicI64::new(0));
    let tasks: Vec<_> = (0..64u32)
        .map(|task| {
            let (subject, seen) = (subject.clone(), Arc::clone(&seen));
            tokio::spawn(async move {
                let mut all = Vec::new();
                for turn in 0..200 {
                    let before = seen.load(Ordering::SeqCst);
                    let count = 1 + (task + turn) % 5;
                    let span = subject.next(count).await.unwrap();
                    assert!(span.first() > before, "{span:?} after {before}");
                    seen.fetch_max(span.last(), Ordering::SeqCst);
                    all.extend(span.iter());
                }
                all
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.unwrap());
    }
    let minted = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), minted, "duplicates");
    assert_eq!(all.last().copied(), i64::try_from(minted).ok(), "gaps");
    assert_eq!(subject.pending(), 0);
    let calls = upstream.calls().len();
    assert!(calls <= 64 * 200, "{calls} calls");
}

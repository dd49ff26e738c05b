//! On a real multi-threaded runtime, against a source whose calls are let through by hand.

use super::{Coalescer, Driver, Source};
use crate::{Error, Span};
use futures::FutureExt;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, yield_now};

/// Mints 1, 2, 3, … and lets a call return only when the gate has a permit.
struct Gated {
    gate: Semaphore,
    mark: AtomicI64,
    top: i64,
    dear: bool,
    calls: Mutex<Vec<u32>>,
    drivers: AtomicUsize,
    /// Answers that come before the regular ones.
    script: Mutex<VecDeque<Act>>,
}

enum Act {
    Fail(Error),
    Give(Span),
    Panic,
}

impl Gated {
    fn new(permits: usize) -> Self {
        Self {
            gate: Semaphore::new(permits),
            mark: AtomicI64::new(0),
            top: i64::MAX,
            dear: true,
            calls: Mutex::default(),
            drivers: AtomicUsize::new(0),
            script: Mutex::default(),
        }
    }

    fn calls(&self) -> Vec<u32> {
        self.calls.lock().unwrap().clone()
    }

    fn act(&self, act: Act) {
        self.script.lock().unwrap().push_back(act);
    }
}

impl Source for Arc<Gated> {
    async fn next(&self, count: u32) -> Result<Span, Error> {
        self.calls.lock().unwrap().push(count);
        self.gate.acquire().await.unwrap().forget();
        let act = self.script.lock().unwrap().pop_front();
        match act {
            Some(Act::Fail(error)) => return Err(error),
            Some(Act::Give(span)) => return Ok(span),
            Some(Act::Panic) => panic!("on purpose"),
            None => {}
        }
        let by = i64::from(count);
        let mark = self
            .mark
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |mark| {
                mark.checked_add(by).filter(|new| *new <= self.top)
            })
            .map_err(|_| Error::Exhausted("full".into()))?;
        Ok(Span {
            first: mark + 1,
            step: 1,
            count,
        })
    }

    fn is_dear(&self) -> bool {
        self.dear
    }

    fn spawn(driver: Driver<Self>) {
        driver.source().drivers.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(driver.run());
    }
}

type Subject = Coalescer<Arc<Gated>>;
type Reply = JoinHandle<Result<Span, Error>>;

fn subject(permits: usize, limit: usize) -> (Arc<Gated>, Subject) {
    let source = Arc::new(Gated::new(permits));
    (Arc::clone(&source), Coalescer::new(source, limit))
}

/// Asks in a task of its own and returns once the request is in the queue.
async fn ask(subject: &Subject, count: u32) -> Reply {
    let before = subject.pending();
    let clone = subject.clone();
    let reply = tokio::spawn(async move { clone.next(count).await });
    until(|| subject.pending() == before + 1).await;
    reply
}

/// Asks in a task of its own and returns once that request's call is in flight.
async fn lead(subject: &Subject, count: u32) -> Reply {
    let before = subject.source().calls().len();
    let reply = ask(subject, count).await;
    until(|| subject.source().calls().len() == before + 1).await;
    reply
}

async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        yield_now().await;
    }
}

fn integers(span: &Span) -> Vec<i64> {
    span.iter().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lone_request_makes_its_own_call() {
    let (source, subject) = subject(10, 10);
    assert_eq!(integers(&subject.next(1).await.unwrap()), [1]);
    assert_eq!(integers(&subject.next(3).await.unwrap()), [2, 3, 4]);
    assert_eq!(source.calls(), [1, 3]);
    assert_eq!(source.drivers.load(Ordering::SeqCst), 0);
    assert_eq!(subject.pending(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_wait_are_served_by_one_call_in_the_order_they_came() {
    let (source, subject) = subject(0, 100);
    let first = lead(&subject, 1).await;
    let mut waiting = Vec::new();
    for count in 1..=50 {
        waiting.push(ask(&subject, count).await);
    }
    assert_eq!(source.calls(), [1], "nothing is minted ahead");
    source.gate.add_permits(2);
    assert_eq!(integers(&first.await.unwrap().unwrap()), [1]);
    let mut next = 2;
    for (count, reply) in (1..=50).zip(waiting) {
        let span = reply.await.unwrap().unwrap();
        assert_eq!(
            (span.first, span.step, span.count),
            (next, 1, count),
            "in order and without gaps"
        );
        next = span.last() + 1;
    }
    assert_eq!(source.calls(), [1, (1..=50).sum()]);
    until(|| subject.pending() == 0).await;
}

/// On one thread, tasks that are ready at the same time share a call from the start.
#[tokio::test(flavor = "current_thread")]
async fn those_who_are_ready_at_once_share_the_first_call() {
    let (source, subject) = subject(10, 100);
    let all = futures::future::join_all((1..=20).map(|count| {
        let subject = subject.clone();
        tokio::spawn(async move { subject.next(count).await })
    }));
    let mut next = 1;
    for reply in all.await {
        let span = reply.unwrap().unwrap();
        assert_eq!(span.first, next);
        next = span.last() + 1;
    }
    assert_eq!(source.calls(), [(1..=20).sum::<u32>()]);
    // they were a crowd, and the next request still gets its own
    assert_eq!(subject.next(1).await.unwrap().first, next);
    assert_eq!(source.calls(), [210, 1]);
    // and after it the one after that has the coalescer for itself
    let drivers = source.drivers.load(Ordering::SeqCst);
    assert_eq!(subject.next(1).await.unwrap().first, next + 1);
    assert_eq!(source.drivers.load(Ordering::SeqCst), drivers);
}

/// A leader that goes away before its call mints nothing and leaves those who came to a driver.
#[tokio::test]
async fn a_leader_that_goes_away_before_its_call_leaves_the_others_served() {
    let (source, subject) = subject(10, 100);
    let mut leader = Box::pin(subject.next(7));
    assert!(leader.as_mut().now_or_never().is_none());
    let mut other = Box::pin(subject.next(1));
    assert!(other.as_mut().now_or_never().is_none());
    assert_eq!((subject.pending(), source.calls()), (2, vec![]));
    drop(leader);
    assert_eq!(integers(&other.await.unwrap()), [1]);
    assert_eq!(source.calls(), [1]);
}

/// The leader itself is in front of those who joined it, and may leave like them.
#[tokio::test]
async fn a_leader_that_was_joined_is_one_of_many() {
    let (source, subject) = subject(10, 100);
    let mut leader = Box::pin(subject.next(7));
    assert!(leader.as_mut().now_or_never().is_none());
    let mut others: Vec<_> = (1..=3).map(|count| Box::pin(subject.next(count))).collect();
    for other in &mut others {
        assert!(other.as_mut().now_or_never().is_none());
    }
    // its turn comes, and it sees the others
    assert!(leader.as_mut().now_or_never().is_none());
    assert_eq!((subject.pending(), source.calls()), (4, vec![]));
    drop(others.remove(1));
    let mut got = vec![integers(&leader.await.unwrap())];
    for other in others {
        got.push(integers(&other.await.unwrap()));
    }
    assert_eq!(got, [(1..=7).collect(), vec![8], vec![9, 10, 11]]);
    assert_eq!(source.calls(), [11]);
}

/// Where a call costs next to nothing, nobody waits for others.
#[tokio::test]
async fn a_cheap_call_is_made_at_once() {
    let source = Arc::new(Gated {
        dear: false,
        ..Gated::new(10)
    });
    let subject = Coalescer::new(Arc::clone(&source), 10);
    let span = subject.next(7).now_or_never().unwrap().unwrap();
    assert_eq!((span.first, source.calls()), (1, vec![7]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_has_at_most_as_many_integers_as_one_call_may_mint() {
    let (source, subject) = subject(0, 100);
    let mut replies = vec![lead(&subject, 1).await];
    for count in [60_000, 40_000, 1, 100_000, 99_999, 2] {
        replies.push(ask(&subject, count).await);
    }
    source.gate.add_permits(100);
    let mut next = 1;
    for reply in replies {
        let span = reply.await.unwrap().unwrap();
        assert_eq!(span.first, next);
        next = span.last() + 1;
    }
    assert_eq!(source.calls(), [1, 100_000, 1, 100_000, 99_999, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_counts_are_refused_before_anything_else() {
    let (source, subject) = subject(10, 10);
    for count in [0, 100_001, u32::MAX] {
        assert!(matches!(subject.next(count).await, Err(Error::Invalid(_))));
    }
    assert_eq!(source.calls(), [0; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_refuses_at_once() {
    let (source, subject) = subject(0, 2);
    let replies = [
        lead(&subject, 1).await,
        ask(&subject, 1).await,
        ask(&subject, 1).await,
    ];
    assert_eq!(subject.next(1).await, Err(Error::Busy));
    source.gate.add_permits(10);
    for (reply, expected) in replies.into_iter().zip(1..) {
        assert_eq!(integers(&reply.await.unwrap().unwrap()), [expected]);
    }
    until(|| subject.pending() == 0).await;
    assert_eq!(integers(&subject.next(1).await.unwrap()), [4]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_went_away_leave_room_and_cost_nothing() {
    let (source, subject) = subject(0, 200);
    let first = lead(&subject, 1).await;
    let stays = ask(&subject, 2).await;
    for _ in 0..10 {
        let mut leaving = Vec::new();
        for _ in 0..199 {
            leaving.push(ask(&subject, 7).await);
        }
        assert_eq!(subject.next(1).await, Err(Error::Busy));
        for reply in leaving {
            reply.abort();
            assert!(reply.await.unwrap_err().is_cancelled());
        }
        assert_eq!(subject.pending(), 2);
    }
    let last = ask(&subject, 3).await;
    source.gate.add_permits(2);
    assert_eq!(integers(&first.await.unwrap().unwrap()), [1]);
    assert_eq!(integers(&stays.await.unwrap().unwrap()), [2, 3]);
    assert_eq!(integers(&last.await.unwrap().unwrap()), [4, 5, 6]);
    assert_eq!(source.calls(), [1, 5]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_goes_away_in_flight_wastes_only_its_own_integers() {
    let (source, subject) = subject(0, 10);
    let first = lead(&subject, 1).await;
    let leaves = ask(&subject, 10).await;
    let stays = ask(&subject, 2).await;
    source.gate.add_permits(1);
    assert_eq!(integers(&first.await.unwrap().unwrap()), [1]);
    until(|| source.calls().len() == 2).await;
    leaves.abort();
    assert!(leaves.await.unwrap_err().is_cancelled());
    source.gate.add_permits(1);
    assert_eq!(integers(&stays.await.unwrap().unwrap()), [12, 13]);
    assert_eq!(source.calls(), [1, 12]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lone_request_that_goes_away_leaves_the_others_served() {
    let (source, subject) = subject(0, 10);
    let first = lead(&subject, 5).await;
    let second = ask(&subject, 1).await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    source.gate.add_permits(1);
    assert_eq!(second.await.unwrap().unwrap().count, 1);
    assert_eq!(source.calls(), [5, 1]);
    // and with nobody waiting the coalescer is idle again
    let third = lead(&subject, 1).await;
    third.abort();
    let _ = third.await;
    assert_eq!(subject.pending(), 0);
    source.gate.add_permits(1);
    assert_eq!(subject.next(1).await.unwrap().count, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_goes_to_everyone_it_concerns_and_no_further() {
    let (source, subject) = subject(0, 10);
    let down = Error::Unavailable("down".into());
    source.act(Act::Fail(down.clone()));
    source.act(Act::Fail(down.clone()));
    let replies = [
        lead(&subject, 1).await,
        ask(&subject, 1).await,
        ask(&subject, 1).await,
    ];
    source.gate.add_permits(3);
    for reply in replies {
        assert_eq!(reply.await.unwrap(), Err(down.clone()));
    }
    assert_eq!(source.calls(), [1, 2]);
    assert_eq!(integers(&subject.next(1).await.unwrap()), [1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn near_the_top_whatever_still_fits_is_minted() {
    let source = Arc::new(Gated {
        top: 10,
        ..Gated::new(0)
    });
    let subject = Coalescer::new(Arc::clone(&source), 10);
    let mut replies = vec![lead(&subject, 1).await];
    for count in [4, 20, 3, 30, 2, 5, 1] {
        replies.push(ask(&subject, count).await);
    }
    source.gate.add_permits(100);
    let mut got = Vec::new();
    for reply in replies {
        got.push(reply.await.unwrap().map(|span| integers(&span)));
    }
    let full = Err(Error::Exhausted("full".into()));
    assert_eq!(
        got,
        [
            Ok(vec![1]),
            Ok(vec![2, 3, 4, 5]),
            full.clone(),
            Ok(vec![6, 7, 8]),
            full.clone(),
            Ok(vec![9, 10]),
            full.clone(),
            full
        ]
    );
    // 30 was not even tried after 20 was refused
    assert_eq!(source.calls(), [1, 65, 4, 20, 3, 2, 5, 1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_gets_anything_of_a_broken_span() {
    let (source, subject) = subject(0, 10);
    source.gate.add_permits(1);
    assert_eq!(integers(&subject.next(1).await.unwrap()), [1]);
    let span = |first, step, count| Span { first, step, count };
    for broken in [
        span(2, 1, 1),
        span(2, 1, 3),
        span(2, 1, 0),
        span(2, 0, 2),
        span(2, -1, 2),
        span(0, 1, 2),
        span(-5, 1, 2),
        span(1, 1, 2),
        span(i64::MAX, 1, 2),
        span(i64::MAX, i64::MAX, 2),
    ] {
        source.act(Act::Fail(Error::Other("first".into())));
        source.act(Act::Give(broken));
        let first = lead(&subject, 1).await;
        let replies = [ask(&subject, 1).await, ask(&subject, 1).await];
        source.gate.add_permits(2);
        assert!(first.await.unwrap().is_err());
        for reply in replies {
            let got = reply.await.unwrap();
            assert!(matches!(got, Err(Error::Broken(_))), "{broken:?}: {got:?}");
        }
        until(|| subject.pending() == 0).await;
    }
    source.gate.add_permits(1);
    assert_eq!(integers(&subject.next(1).await.unwrap()), [2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_a_driver_is_an_error_for_those_who_wait_and_then_over() {
    let (source, subject) = subject(0, 10);
    source.act(Act::Fail(Error::Other("first".into())));
    source.act(Act::Panic);
    let first = lead(&subject, 1).await;
    let mut replies = vec![ask(&subject, 100_000).await];
    // not in the batch that panics
    replies.push(ask(&subject, 100_000).await);
    source.gate.add_permits(2);
    assert!(first.await.unwrap().is_err());
    for reply in replies {
        assert!(matches!(reply.await.unwrap(), Err(Error::Unavailable(_))));
    }
    assert_eq!(subject.pending(), 0);
    source.gate.add_permits(1);
    assert_eq!(integers(&subject.next(1).await.unwrap()), [1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_a_lone_request_harms_nobody_else() {
    let (source, subject) = subject(0, 10);
    source.act(Act::Panic);
    let first = lead(&subject, 1).await;
    let second = ask(&subject, 1).await;
    source.gate.add_permits(2);
    assert!(first.await.unwrap_err().is_panic());
    assert_eq!(integers(&second.await.unwrap().unwrap()), [1]);
}

#[test]
fn waiting_requests_hear_of_the_end_of_the_runtime() {
    let (source, subject) = subject(0, 10);
    let one = || {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .build()
            .unwrap()
    };
    let (drivers, requests) = (one(), one());
    let replies = drivers.block_on(async {
        let first = lead(&subject, 1).await;
        let mut replies = Vec::new();
        for _ in 0..3 {
            let subject = subject.clone();
            replies.push(requests.spawn(async move { subject.next(1).await }));
        }
        until(|| subject.pending() == 4).await;
        source.gate.add_permits(1);
        // its end starts the driver on this runtime
        first.await.unwrap().unwrap();
        until(|| source.calls().len() == 2).await;
        replies
    });
    drop(drivers);
    for reply in replies {
        let got = requests.block_on(reply).unwrap();
        assert!(matches!(got, Err(Error::Unavailable(_))), "{got:?}");
    }
    assert_eq!(subject.pending(), 0);
    source.gate.add_permits(1);
    assert_eq!(requests.block_on(subject.next(1)).unwrap().count, 1);
}

/// 64 tasks mint as fast as they can; whatever was returned before a call began is smaller than
/// all that the call gets, and nothing comes twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn order_and_uniqueness_under_concurrency() {
    let (source, subject) = subject(usize::MAX >> 4, 10_000);
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
                    assert!(span.first > before, "{span:?} after {before}");
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
    let calls = source.calls().len();
    assert!(calls <= 64 * 200, "{calls} calls");
}

/// Requests come and go at random; those that stay are served, and nothing comes twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn requests_that_come_and_go() {
    let (_, subject) = subject(usize::MAX >> 4, 10_000);
    let tasks: Vec<_> = (0..32u64)
        .map(|task| {
            let subject = subject.clone();
            tokio::spawn(async move {
                let mut all = Vec::new();
                for turn in 0..300 {
                    if (task + turn) % 3 == 0 {
                        tokio::select! {
                            biased;
                            span = subject.next(2) => all.extend(span.unwrap().iter()),
                            () = yield_now() => {}
                        }
                    } else {
                        all.extend(subject.next(1).await.unwrap().iter());
                    }
                }
                all
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        let own = task.await.unwrap();
        assert!(own.is_sorted());
        all.extend(own);
    }
    let minted = all.len();
    assert!(minted >= 32 * 200);
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), minted, "duplicates");
    assert_eq!(subject.pending(), 0);
}

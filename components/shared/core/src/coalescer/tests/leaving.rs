//! Cancelled requests.

use super::{Act, ask, idle, integers, lead, subject, until, with_slots};
use crate::{Error, Span};
use futures::FutureExt;
use tokio::task::yield_now;

/// A leader that is cancelled before its call mints nothing and leaves later requests to a driver.
#[tokio::test]
async fn a_leader_that_goes_away_before_its_call_leaves_the_others_served() {
    let (upstream, subject) = subject(10, 100);
    let mut leader = Box::pin(subject.next(7));
    assert!(leader.as_mut().now_or_never().is_none());
    let mut other = Box::pin(subject.next(1));
    assert!(other.as_mut().now_or_never().is_none());
    assert_eq!((subject.pending(), upstream.calls()), (2, vec![]));
    drop(leader);
    assert_eq!(integers(&other.await.unwrap()), [1]);
    assert_eq!(upstream.calls(), [1]);
}

/// The leader's request is ahead of those that joined it, and can be cancelled like them.
#[tokio::test]
async fn a_leader_that_was_joined_is_one_of_many() {
    let (upstream, subject) = subject(10, 100);
    let mut leader = Box::pin(subject.next(7));
    assert!(leader.as_mut().now_or_never().is_none());
    let mut others: Vec<_> = (1..=3).map(|count| Box::pin(subject.next(count))).collect();
    for other in &mut others {
        assert!(other.as_mut().now_or_never().is_none());
    }
    // The leader is polled again, and it finds the other requests.
    assert!(leader.as_mut().now_or_never().is_none());
    assert_eq!((subject.pending(), upstream.calls()), (4, vec![]));
    drop(others.remove(1));
    let mut got = vec![integers(&leader.await.unwrap())];
    for other in others {
        got.push(integers(&other.await.unwrap()));
    }
    assert_eq!(got, [(1..=7).collect(), vec![8], vec![9, 10, 11]]);
    assert_eq!(upstream.calls(), [11]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_went_away_leave_room_and_cost_nothing() {
    let (upstream, subject) = subject(0, 200);
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
    upstream.gate.add_permits(2);
    assert_eq!(integers(&first.await.unwrap().unwrap()), [1]);
    assert_eq!(integers(&stays.await.unwrap().unwrap()), [2, 3]);
    assert_eq!(integers(&last.await.unwrap().unwrap()), [4, 5, 6]);
    assert_eq!(upstream.calls(), [1, 5]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_goes_away_in_flight_wastes_only_its_own_integers() {
    let (upstream, subject) = subject(0, 10);
    let first = lead(&subject, 1).await;
    let leaves = ask(&subject, 10).await;
    let stays = ask(&subject, 2).await;
    upstream.gate.add_permits(1);
    assert_eq!(integers(&first.await.unwrap().unwrap()), [1]);
    until(|| upstream.calls().len() == 2).await;
    leaves.abort();
    assert!(leaves.await.unwrap_err().is_cancelled());
    upstream.gate.add_permits(1);
    assert_eq!(integers(&stays.await.unwrap().unwrap()), [12, 13]);
    assert_eq!(upstream.calls(), [1, 12]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lone_request_that_goes_away_leaves_the_others_served() {
    let (upstream, subject) = subject(0, 10);
    let first = lead(&subject, 5).await;
    let second = ask(&subject, 1).await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    upstream.gate.add_permits(1);
    until(|| upstream.calls() == [5, 1]).await;
    assert_eq!(subject.pending(), 1, "the call of the first one is over");
    upstream.gate.add_permits(1);
    assert_eq!(integers(&second.await.unwrap().unwrap()), [6]);
    idle(&subject).await;
    assert_eq!(subject.pending(), 0);
}

/// An abandoned call keeps its slot: requests that are cancelled at once make no more calls than
/// there are slots.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_come_and_go_make_no_calls_beside_each_other() {
    for slots in [1, 3] {
        let (upstream, subject) = with_slots(slots, 0, 10);
        for _ in 0..1000 {
            let mut request = Box::pin(subject.next(1));
            for _ in 0..3 {
                assert!(request.as_mut().now_or_never().is_none());
            }
        }
        assert!(upstream.calls().len() <= slots, "{:?}", upstream.calls());
        assert!((1..=slots).contains(&subject.pending()));
        let last = ask(&subject, 1).await;
        upstream.gate.add_permits(slots + 1);
        let lost = i64::try_from(upstream.calls().len()).unwrap();
        assert!(last.await.unwrap().unwrap().first() <= lost + 1);
        assert!(upstream.calls().len() <= slots + 1);
        until(|| subject.pending() == 0).await;
    }
}

/// The span of an abandoned call is compared with later spans.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abandoned_call_is_not_forgotten() {
    let (upstream, subject) = subject(0, 10);
    let first = lead(&subject, 5).await;
    first.abort();
    let _ = first.await;
    upstream.gate.add_permits(1);
    idle(&subject).await;
    upstream.act(Act::Give(Span::checked(3, 1, 1).unwrap()));
    upstream.gate.add_permits(1);
    let given = subject.next(1).await;
    assert!(matches!(given, Err(Error::Broken(_))), "{given:?}");
}

/// Requests are cancelled at random. The others are served, and no integer comes twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn requests_that_come_and_go() {
    for slots in [1, 3] {
        come_and_go(slots).await;
    }
}

async fn come_and_go(slots: usize) {
    let (_, subject) = with_slots(slots, usize::MAX >> 4, 10_000);
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

//! Several calls in flight.

use super::{Act, Reply, Subject, ask, integers, lead, until, with_slots};
use crate::{Error, Span};
use std::collections::BTreeSet;
use tokio::task::yield_now;

/// Yields until nothing more happens.
async fn settle() {
    for _ in 0..100 {
        yield_now().await;
    }
}

/// Makes this many requests for one integer each, one after the other.
async fn ask_all(subject: &Subject, requests: usize) -> Vec<Reply> {
    let mut replies = Vec::new();
    for _ in 0..requests {
        replies.push(ask(subject, 1).await);
    }
    replies
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_are_as_many_calls_at_a_time_as_slots() {
    let (upstream, subject) = with_slots(3, 0, 100);
    let mut replies = vec![lead(&subject, 1).await];
    for calls in 2..=3 {
        replies.push(ask(&subject, 1).await);
        until(|| upstream.calls().len() == calls).await;
    }
    replies.extend(ask_all(&subject, 5).await);
    settle().await;
    assert_eq!(upstream.calls(), [1, 1, 1], "the slots are all taken");
    upstream.gate.add_permits(1);
    until(|| upstream.calls().len() == 4).await;
    assert_eq!(upstream.calls(), [1, 1, 1, 5]);
    upstream.gate.add_permits(10);
    let mut got = BTreeSet::new();
    for reply in replies {
        got.extend(integers(&reply.await.unwrap().unwrap()));
    }
    assert!(got.into_iter().eq(1..=8));
    until(|| subject.pending() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_further_call_begins_when_it_is_worth_it() {
    let (upstream, subject) = with_slots(2, 0, 100);
    let mut replies = vec![lead(&subject, 1).await, ask(&subject, 1).await];
    until(|| upstream.calls().len() == 2).await;
    replies.extend(ask_all(&subject, 6).await);
    upstream.gate.add_permits(1);
    until(|| upstream.calls() == [1, 1, 6]).await;
    // The other call with a single request ends too: the semaphore is fair, first come, first served.
    upstream.gate.add_permits(1);
    until(|| subject.pending() == 6).await;
    replies.extend(ask_all(&subject, 5).await);
    settle().await;
    assert_eq!(upstream.calls(), [1, 1, 6], "fewer than are in flight");
    replies.extend(ask_all(&subject, 1).await);
    until(|| upstream.calls() == [1, 1, 6, 6]).await;
    replies.extend(ask_all(&subject, 2).await);
    settle().await;
    assert_eq!(upstream.calls().len(), 4);
    // Waiting requests are served when the last call in flight ends, however few they are.
    upstream.gate.add_permits(3);
    for reply in replies {
        assert_eq!(reply.await.unwrap().unwrap().count(), 1);
    }
    assert_eq!(upstream.calls(), [1, 1, 6, 6, 2]);
}

/// The limit on pending requests does not grow with the number of slots, so a backend that stalls
/// does not hold up more requests.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_slots_leave_no_more_room() {
    let (upstream, subject) = with_slots(5, 0, 4);
    let mut replies = vec![lead(&subject, 1).await];
    while replies.len() < 8 {
        // Queued requests may be about to join a call.
        settle().await;
        replies.push(ask(&subject, 1).await);
    }
    settle().await;
    assert_eq!(subject.next(1).await, Err(Error::Busy));
    upstream.gate.add_permits(100);
    for reply in replies {
        assert_eq!(reply.await.unwrap().unwrap().count(), 1);
    }
    until(|| subject.pending() == 0).await;
    assert_eq!(subject.next(1).await.unwrap().count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_at_a_time_never_share_an_integer() {
    let (upstream, subject) = with_slots(2, 0, 100);
    for _ in 0..2 {
        upstream.act(Act::Give(Span::checked(41, 1, 1).unwrap()));
    }
    let replies = [lead(&subject, 1).await, ask(&subject, 1).await];
    until(|| upstream.calls().len() == 2).await;
    upstream.gate.add_permits(2);
    let mut got = Vec::new();
    for reply in replies {
        got.push(reply.await.unwrap());
    }
    got.sort_by_key(Result::is_err);
    assert_eq!(got[0].as_ref().map(integers), Ok(vec![41]));
    assert!(
        matches!(&got[1], Err(Error::Broken(why)) if why.contains("same time")),
        "{got:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_fails_leaves_the_others_as_they_are() {
    let (upstream, subject) = with_slots(2, 0, 100);
    upstream.act(Act::Panic);
    let first = lead(&subject, 1).await;
    let second = ask(&subject, 1).await;
    until(|| upstream.calls().len() == 2).await;
    upstream.gate.add_permits(1);
    assert!(first.await.unwrap_err().is_panic());
    assert_eq!(subject.pending(), 1);
    let third = ask(&subject, 1).await;
    until(|| upstream.calls().len() == 3).await;
    upstream.gate.add_permits(2);
    let mut got = BTreeSet::new();
    for reply in [second, third] {
        got.extend(integers(&reply.await.unwrap().unwrap()));
    }
    assert!(got.into_iter().eq(1..=2));
    until(|| subject.pending() == 0).await;
}

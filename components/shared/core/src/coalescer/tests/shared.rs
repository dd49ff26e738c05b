//! Requests that share one answer: for the last integer, and to raise the sequence.

use super::{Act, Subject, ask, lead, subject, until, with_slots};
use crate::Error;
use futures::FutureExt;
use tokio::task::JoinHandle;

type Read = JoinHandle<Result<Option<i64>, Error>>;
type Raise = JoinHandle<Result<(), Error>>;

/// Requests the last integer in a separate task, and returns once the request waits.
async fn read(subject: &Subject) -> Read {
    let before = subject.pending();
    let clone = subject.clone();
    let reply = tokio::spawn(async move { clone.last().await });
    until(|| subject.pending() == before + 1).await;
    reply
}

/// The same to raise the sequence.
async fn raise(subject: &Subject, value: i64) -> Raise {
    let before = subject.pending();
    let clone = subject.clone();
    let reply = tokio::spawn(async move { clone.set_last(value).await });
    until(|| subject.pending() == before + 1).await;
    reply
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_that_wait_share_one_call_that_begins_after_they_came() {
    let (upstream, subject) = subject(0, 100);
    let early = read(&subject).await;
    until(|| upstream.reads() == 1).await;
    // The call in flight does not see integers minted from here on.
    upstream.mark.store(7, std::sync::atomic::Ordering::SeqCst);
    let mut late = Vec::new();
    for _ in 0..50 {
        late.push(read(&subject).await);
    }
    assert_eq!(upstream.reads(), 1);
    upstream.gate.add_permits(2);
    assert_eq!(early.await.unwrap(), Ok(None));
    for reply in late {
        assert_eq!(reply.await.unwrap(), Ok(Some(7)));
    }
    assert_eq!(upstream.reads(), 2);
    until(|| subject.pending() == 0).await;
}

/// A read that begins after an integer was handed out never returns less than that integer.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_read_is_older_than_what_was_handed_out() {
    for slots in [1, 3] {
        let (_, subject) = with_slots(slots, usize::MAX >> 4, 10_000);
        let tasks: Vec<_> = (0..16)
            .map(|_| {
                let subject = subject.clone();
                tokio::spawn(async move {
                    for _ in 0..300 {
                        let minted = subject.next(1).await.unwrap().first();
                        let last = subject.last().await.unwrap();
                        assert!(last >= Some(minted), "{minted} is above {last:?}");
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_that_come_and_go_make_one_call() {
    let (upstream, subject) = subject(0, 10);
    for _ in 0..1000 {
        let mut request = Box::pin(subject.last());
        assert!(request.as_mut().now_or_never().is_none());
    }
    // The first request may be cancelled before its call; no call is made then.
    assert!(upstream.reads() <= 1);
    let last = read(&subject).await;
    upstream.gate.add_permits(2);
    assert_eq!(last.await.unwrap(), Ok(None));
    assert!(upstream.reads() <= 2, "{} calls", upstream.reads());
    until(|| subject.pending() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_are_bounded_and_those_in_flight_count_when_they_went_away() {
    let (upstream, subject) = subject(0, 3);
    let mut replies = vec![read(&subject).await];
    until(|| upstream.reads() == 1).await;
    for _ in 0..3 {
        replies.push(read(&subject).await);
    }
    assert_eq!(subject.last().await, Err(Error::Busy));
    upstream.gate.add_permits(1);
    assert_eq!(replies.remove(0).await.unwrap(), Ok(None));
    until(|| upstream.reads() == 2).await;
    for reply in replies {
        reply.abort();
        let _ = reply.await;
    }
    assert_eq!(subject.pending(), 3, "their call is still in flight");
    let mut others = Vec::new();
    for _ in 0..3 {
        others.push(read(&subject).await);
    }
    assert_eq!(subject.last().await, Err(Error::Busy));
    upstream.gate.add_permits(2);
    for reply in others {
        assert_eq!(reply.await.unwrap(), Ok(None));
    }
    until(|| subject.pending() == 0).await;
}

/// Each kind has its own calls and its own queue limit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mints_reads_and_raises_do_not_wait_for_each_other() {
    let (upstream, subject) = subject(0, 2);
    let mint = lead(&subject, 1).await;
    let read_in_flight = read(&subject).await;
    let raise_in_flight = raise(&subject, 0).await;
    until(|| upstream.reads() == 1 && upstream.raises() == [0]).await;
    let mut waiting = vec![];
    for _ in 0..2 {
        waiting.push(read(&subject).await);
    }
    assert_eq!(subject.last().await, Err(Error::Busy));
    let second = ask(&subject, 1).await;
    let raise_waiting = raise(&subject, 1).await;
    upstream.gate.add_permits(100);
    for reply in [mint, second] {
        assert_eq!(reply.await.unwrap().unwrap().count(), 1);
    }
    for reply in waiting.into_iter().chain([read_in_flight]) {
        assert!(reply.await.unwrap().is_ok());
    }
    for reply in [raise_in_flight, raise_waiting] {
        // The mints may have advanced the mark first.
        let raised = reply.await.unwrap();
        assert!(
            matches!(raised, Ok(()) | Err(Error::TooSmall(_))),
            "{raised:?}"
        );
    }
    until(|| subject.pending() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn raises_that_wait_share_one_call_to_the_greatest_value() {
    let (upstream, subject) = subject(0, 100);
    let first = raise(&subject, 5).await;
    until(|| upstream.raises() == [5]).await;
    let mut others = Vec::new();
    for value in [20, 30, 10, 30] {
        others.push(raise(&subject, value).await);
    }
    upstream.gate.add_permits(2);
    assert_eq!(first.await.unwrap(), Ok(()));
    let mut got = Vec::new();
    for reply in others {
        got.push(reply.await.unwrap());
    }
    let past = Err(Error::TooSmall(30));
    assert_eq!(got, [past.clone(), Ok(()), past, Ok(())]);
    assert_eq!((upstream.raises(), upstream.mark()), (vec![5, 30], 30));
    let refused = subject.set_last(-1).await;
    assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_that_does_not_fit_harms_no_other() {
    let upstream = std::sync::Arc::new(super::Gated {
        top: 100,
        ..super::Gated::new(0)
    });
    let subject = super::Coalescer::new(std::sync::Arc::clone(&upstream), 100);
    let first = raise(&subject, 1).await;
    until(|| upstream.raises() == [1]).await;
    let mut others = Vec::new();
    for value in [7, 1000, 9] {
        others.push(raise(&subject, value).await);
    }
    upstream.gate.add_permits(3);
    assert_eq!(first.await.unwrap(), Ok(()));
    let mut got = Vec::new();
    for reply in others {
        got.push(reply.await.unwrap());
    }
    let full = Err(Error::Exhausted("full".into()));
    assert_eq!(got, [Err(Error::TooSmall(9)), full, Ok(())]);
    assert_eq!(upstream.raises(), [1, 1000, 9]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_and_panics_are_told_and_then_over() {
    let (upstream, subject) = subject(0, 10);
    let down = Error::Unavailable("down".into());
    upstream.act(Act::Fail(down.clone()));
    upstream.act(Act::Panic);
    let first = read(&subject).await;
    until(|| upstream.reads() == 1).await;
    let second = read(&subject).await;
    upstream.gate.add_permits(1);
    assert_eq!(first.await.unwrap(), Err(down));
    until(|| upstream.reads() == 2).await;
    let third = read(&subject).await;
    upstream.gate.add_permits(1);
    for reply in [second, third] {
        let got = reply.await.unwrap();
        assert!(matches!(got, Err(Error::Unavailable(_))), "{got:?}");
    }
    assert_eq!(subject.pending(), 0);
    upstream.gate.add_permits(1);
    assert_eq!(subject.last().await, Ok(None));
}

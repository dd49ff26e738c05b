//! Upstreams that fail, return wrong spans, panic or disappear.

use super::{Act, Gated, ask, integers, lead, subject, until};
use crate::{Coalescer, Error, Span};
use std::sync::Arc;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_goes_to_everyone_it_concerns_and_no_further() {
    let (upstream, subject) = subject(0, 10);
    let down = Error::Unavailable("down".into());
    upstream.act(Act::Fail(down.clone()));
    upstream.act(Act::Fail(down.clone()));
    let replies = [
        lead(&subject, 1).await,
        ask(&subject, 1).await,
        ask(&subject, 1).await,
    ];
    upstream.gate.add_permits(3);
    for reply in replies {
        assert_eq!(reply.await.unwrap(), Err(down.clone()));
    }
    assert_eq!(upstream.calls(), [1, 2]);
    assert_eq!(integers(&subject.next(1).await.unwrap()), [1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn near_the_top_whatever_still_fits_is_minted() {
    let upstream = Arc::new(Gated {
        top: 10,
        ..Gated::new(0)
    });
    let subject = Coalescer::new(Arc::clone(&upstream), 10);
    let mut replies = vec![lead(&subject, 1).await];
    for count in [4, 20, 3, 30, 2, 5, 1] {
        replies.push(ask(&subject, count).await);
    }
    upstream.gate.add_permits(100);
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
    // 30 was not tried after 20 was refused.
    assert_eq!(upstream.calls(), [1, 65, 4, 20, 3, 2, 5, 1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_gets_anything_of_a_span_that_was_not_asked_for() {
    let (upstream, subject) = subject(0, 10);
    upstream.gate.add_permits(1);
    assert_eq!(integers(&subject.next(1).await.unwrap()), [1]);
    let span = |first, step, count| Span::checked(first, step, count).unwrap();
    for broken in [span(2, 1, 1), span(2, 1, 3), span(1, 1, 2)] {
        upstream.act(Act::Fail(Error::Other("first".into())));
        upstream.act(Act::Give(broken));
        let first = lead(&subject, 1).await;
        let replies = [ask(&subject, 1).await, ask(&subject, 1).await];
        upstream.gate.add_permits(2);
        assert!(first.await.unwrap().is_err());
        for reply in replies {
            let got = reply.await.unwrap();
            assert!(matches!(got, Err(Error::Broken(_))), "{broken:?}: {got:?}");
        }
        until(|| subject.pending() == 0).await;
    }
    upstream.gate.add_permits(1);
    assert_eq!(integers(&subject.next(1).await.unwrap()), [2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_a_driver_is_an_error_for_those_who_wait_and_then_over() {
    let (upstream, subject) = subject(0, 10);
    upstream.act(Act::Fail(Error::Other("first".into())));
    upstream.act(Act::Panic);
    let first = lead(&subject, 1).await;
    let mut replies = vec![ask(&subject, 100_000).await];
    // Not in the batch that panics.
    replies.push(ask(&subject, 100_000).await);
    upstream.gate.add_permits(2);
    assert!(first.await.unwrap().is_err());
    for reply in replies {
        assert!(matches!(reply.await.unwrap(), Err(Error::Unavailable(_))));
    }
    assert_eq!(subject.pending(), 0);
    upstream.gate.add_permits(1);
    assert_eq!(integers(&subject.next(1).await.unwrap()), [1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_a_lone_request_harms_nobody_else() {
    let (upstream, subject) = subject(0, 10);
    upstream.act(Act::Panic);
    let first = lead(&subject, 1).await;
    let second = ask(&subject, 1).await;
    upstream.gate.add_permits(2);
    assert!(first.await.unwrap_err().is_panic());
    assert_eq!(integers(&second.await.unwrap().unwrap()), [1]);
}

#[test]
fn waiting_requests_hear_of_the_end_of_the_runtime() {
    let (upstream, subject) = subject(0, 10);
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
        upstream.gate.add_permits(1);
        // When this call ends, the driver is started on this runtime.
        first.await.unwrap().unwrap();
        until(|| upstream.calls().len() == 2).await;
        replies
    });
    drop(drivers);
    for reply in replies {
        let got = requests.block_on(reply).unwrap();
        assert!(matches!(got, Err(Error::Unavailable(_))), "{got:?}");
    }
    assert_eq!(subject.pending(), 0);
    upstream.gate.add_permits(1);
    assert_eq!(requests.block_on(subject.next(1)).unwrap().count(), 1);
}

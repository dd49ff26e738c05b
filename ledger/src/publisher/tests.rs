use super::*;
use crate::event::Payload;
use crate::frame::{Batch, Earlier, Reply};
use futures::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};

const LATE: Duration = Duration::from_secs(60);

fn span(first: i64) -> Span {
    Span::checked(first, 2, 1).unwrap()
}

/// The next connection of a publisher.
async fn accept(listener: &TcpListener) -> WebSocketStream<TcpStream> {
    let (stream, _) = listener.accept().await.unwrap();
    #[expect(clippy::result_large_err, reason = "the library's type")]
    let answer = |request: &Request, mut response: Response| {
        let protocol = request.headers()["sec-websocket-protocol"].clone();
        response
            .headers_mut()
            .insert("sec-websocket-protocol", protocol);
        Ok(response)
    };
    accept_hdr_async(stream, answer).await.unwrap()
}

/// Answers each batch on a connection with what `answer` says, until that is nothing.
async fn serve(
    mut socket: WebSocketStream<TcpStream>,
    answer: &mut impl FnMut(Batch) -> Option<Reply>,
) {
    while let Some(Ok(Message::Binary(bytes))) = socket.next().await {
        let Some(reply) = answer(Batch::read(&bytes).unwrap()) else {
            break;
        };
        socket.send(Message::Binary(reply.bytes())).await.unwrap();
    }
}

/// A ledger that answers each batch with what `answer` says, or closes the connection.
async fn ledger(mut answer: impl FnMut(Batch) -> Option<Reply> + Send + 'static) -> Target {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            serve(accept(&listener).await, &mut answer).await;
        }
    });
    Target::parse(&format!("ws://127.0.0.1:{port}")).unwrap()
}

fn start(target: Target, policy: Policy, ring: usize) -> Publisher {
    Publisher::start(Options {
        policy,
        ring,
        workers: 1,
        patience: Duration::from_millis(200),
        ..Options::new(target)
    })
    .unwrap()
}

/// A ledger that is away.
async fn nobody() -> Target {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    Target::parse(&format!("ws://{}", listener.local_addr().unwrap())).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_answer_to_a_batch_acknowledges_it() {
    let mut answers = 0;
    let (sender, mut batches) = tokio::sync::mpsc::unbounded_channel();
    let target = ledger(move |batch| {
        answers += 1;
        sender.send((batch.first, batch.count().unwrap())).unwrap();
        let (first, count) = (batch.first, batch.count().unwrap());
        match answers {
            // Another batch, another count, nothing at all, a refusal for the moment.
            1 => Some(Reply::stored(first + 1, count, 0)),
            2 => Some(Reply::stored(first, count + 1, 0)),
            3 => None,
            4 => Some(Reply::refused(
                first,
                count,
                "unavailable",
                "full".into(),
                true,
            )),
            _ => Some(Reply::stored(first, count, 0)),
        }
    })
    .await;
    let publisher = start(target, Policy::Shed, 16);
    publisher.shed(&"a".into(), &"client".into(), span(2));
    for _ in 0..5 {
        assert_eq!(batches.recv().await, Some((1, 1)), "the same batch again");
    }
    assert_eq!(publisher.drain(LATE).await, 0);
    assert_eq!(publisher.stats().acknowledged.load(Ordering::Relaxed), 1);
    assert_eq!(publisher.stats().reconnects.load(Ordering::Relaxed), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_shed_is_told_when_there_is_room() {
    let (open, mut opened) = watch::channel(false);
    let (arrived, mut arrives) = watch::channel(false);
    let (sender, mut batches) = tokio::sync::mpsc::unbounded_channel();
    let target = ledger(move |batch| {
        arrived.send_replace(true);
        if !*opened.borrow_and_update() {
            return None;
        }
        let (first, count) = (batch.first, batch.count().unwrap());
        sender.send(batch).unwrap();
        Some(Reply::stored(first, count, 0))
    })
    .await;
    let publisher = start(target, Policy::Shed, 4);
    // The worker gathers for a moment. Once it has sent its batch, it takes nothing more.
    publisher.shed(&"a".into(), &"client".into(), span(1));
    arrives.wait_for(|arrived| *arrived).await.unwrap();
    for first in 2..=100 {
        publisher.shed(&"a".into(), &"client".into(), span(first));
    }
    let dropped = publisher.stats().dropped.load(Ordering::Relaxed);
    assert!(
        dropped >= 90,
        "{dropped} of 99 with room for 4, while one batch is under way"
    );
    open.send(true).unwrap();
    assert_eq!(publisher.drain(LATE).await, 0);
    let (mut minted, mut lost) = (0, 0);
    while let Ok(batch) = batches.try_recv() {
        for event in batch.all().unwrap() {
            match event.payload {
                Some(Payload::Mint(_)) => minted += 1,
                Some(Payload::Lost(all)) => lost += all.events,
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!((minted + lost, lost), (100, dropped));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_ledger_each_policy_keeps_its_word() {
    let (key, by) = ("a".into(), "client".into());
    let shed = start(nobody().await, Policy::Shed, 2);
    for first in 1..100 {
        assert_eq!(shed.minted(&key, &by, None, span(first)).await, Ok(()));
    }
    let strict = start(nobody().await, Policy::Strict, 2);
    let late = strict.minted(&key, &by, None, span(2)).await;
    assert!(matches!(late, Err(Unconfirmed::Late(_))), "{late:?}");
    let block = start(nobody().await, Policy::Block, 2);
    let mut refused = None;
    for first in 1..100 {
        if let Err(error) = block.minted(&key, &by, None, span(first)).await {
            refused = Some(error);
            break;
        }
    }
    assert!(matches!(refused, Some(Unconfirmed::Full(_))), "{refused:?}");
    assert!(block.stats().waited.load(Ordering::Relaxed) >= 1);
    assert!(block.drain(Duration::from_millis(50)).await >= 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_became_silent_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = Target::parse(&format!("ws://{}", listener.local_addr().unwrap())).unwrap();
    tokio::spawn(async move {
        // It is open all the time, and has no answer.
        let _silent = accept(&listener).await;
        let mut answer = |batch: Batch| Some(Reply::stored(batch.first, batch.count().unwrap(), 0));
        serve(accept(&listener).await, &mut answer).await;
    });
    let publisher = Publisher::start(Options {
        policy: Policy::Strict,
        workers: 1,
        ..Options::new(target)
    })
    .unwrap();
    // Within the 5 s that a mint waits.
    let (key, by) = ("a".into(), "client".into());
    let minted = publisher.minted(&key, &by, None, span(2)).await;
    assert_eq!(minted, Ok(()));
    assert_eq!(publisher.stats().reconnects.load(Ordering::Relaxed), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strict_answers_after_the_acknowledgement_or_the_refusal() {
    let target = ledger(|batch| {
        let (first, count) = (batch.first, batch.count().unwrap());
        Some(match batch.all().unwrap()[0].key.as_str() {
            "bad" => Reply::refused(first, count, "invalid", "no".into(), false),
            _ => Reply::stored(first, count, 0),
        })
    })
    .await;
    let publisher = start(target, Policy::Strict, 2);
    let by = "client".into();
    let good = publisher
        .minted(&"a".into(), &by, Some("id"), span(2))
        .await;
    assert_eq!(good, Ok(()));
    assert_eq!(publisher.stats().acknowledged.load(Ordering::Relaxed), 1);
    let bad = publisher.minted(&"bad".into(), &by, None, span(2)).await;
    assert_eq!(bad, Err(Unconfirmed::Refused));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idempotency_key_gets_the_integers_that_the_ledger_names() {
    let mint = |first| Mint {
        first,
        step: 2,
        count: 1,
    };
    let target = ledger(move |batch| {
        let all = |keys: Vec<&str>| {
            let known = keys
                .into_iter()
                .enumerate()
                .filter(|(_, key)| *key == "known");
            let earlier = known.map(|(index, _)| Earlier {
                index: index.try_into().unwrap(),
                number: 1,
                mint: Some(mint(2)),
            });
            earlier.collect::<Vec<_>>()
        };
        Some(Reply {
            earlier: all(batch.events.iter().map(|e| &*e.idempotency).collect()),
            found: all(batch.lookups.iter().map(|l| &*l.idempotency).collect()),
            ..Reply::stored(batch.first, batch.count().unwrap(), 0)
        })
    })
    .await;
    let publisher = start(target, Policy::Strict, 64);
    let (key, by) = ("a".into(), "client".into());
    let once = |idempotency: &str| Once {
        token: "t".into(),
        idempotency: idempotency.into(),
    };
    let (known, new) = (once("known"), once("new"));
    // At the same time, so that they share batches.
    let asked = futures::future::join_all((0..32).map(|n| {
        let (publisher, key, by) = (&publisher, &key, &by);
        let once = if n % 3 == 0 { &known } else { &new };
        let expected = (n % 3 == 0).then(|| mint(2));
        async move {
            let answer = match n % 2 {
                0 => publisher.earlier(key, by, once).await,
                _ => {
                    publisher
                        .minted_once(key, by, None, once, span(10 + n))
                        .await
                }
            };
            assert_eq!(answer, Ok(expected), "{n}");
        }
    }));
    asked.await;
    assert_eq!(publisher.stats().acknowledged.load(Ordering::Relaxed), 16);
}

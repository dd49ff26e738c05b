//! Runs of mints in one record.

use super::*;
use crate::columns::Row;
use crate::frame::Writer;
use crate::key;
use artisanal_core::Span;
use prost::Message;

/// A batch with mints in columns, as a publisher makes it.
fn columns(publisher: u64, first: u64, events: &[Event]) -> Batch {
    let mut writer = Writer::default();
    for event in events {
        match event.span() {
            Some(span) => writer.mint(&Row {
                key: &event.key,
                at: event.at,
                by: &event.by,
                request: &event.request,
                span,
            }),
            None => writer.event(event),
        }
    }
    assert_eq!(writer.count(), events.len());
    Batch::read(&writer.finish(publisher, first)).unwrap()
}

/// How many records of events and entries of the index there are.
fn records(store: &Store) -> [usize; 2] {
    let counts = |files: &Files| Ok([files.events.len()?, files.spans.len()?]);
    store.read(counts).unwrap()
}

#[tokio::test]
async fn consecutive_mints_are_one_record() {
    let (_directory, store) = store();
    let events: Vec<_> = (1..=1000)
        .map(|n| Event {
            at: n,
            by: format!("client {}", n % 7),
            request: if n % 3 == 0 {
                format!("request {n}")
            } else {
                String::new()
            },
            ..mint("a", 2 * n, 2, 1)
        })
        .collect();
    let others = [
        mint("b", 7, 3, 2),
        event("a", Payload::Raise(Raise { last: 3000 })),
    ];
    let all = [&events[..], &others[..]].concat();
    store.add(columns(1, 1, &all)).await.unwrap();
    // 512 and 488 mints, the raise, and the other key.
    assert_eq!(records(&store), [4, 3]);
    for (from, most) in [
        (1, 1000),
        (511, 3),
        (512, 2),
        (1000, 5),
        (1001, 5),
        (1002, 5),
    ] {
        let page = store.events("a", from, most).unwrap();
        assert_eq!(page.last, 1001);
        let expected = (1..).zip(events.iter().chain([&others[1]]));
        let expected = expected.filter(|(number, _)| *number >= from).take(most);
        let expected: Vec<_> = expected
            .map(|(number, event)| Event {
                number,
                ..event.clone()
            })
            .collect();
        assert_eq!(page.events, expected, "{from}");
    }
    for n in [1, 2, 511, 512, 513, 1000] {
        let Found::Minted { event, doubles } = store.find("a", 2 * n).unwrap() else {
            panic!("{n}");
        };
        let number = u64::try_from(n).unwrap();
        let expected = &events[usize::try_from(n - 1).unwrap()];
        assert_eq!((event.number, &event.by), (number, &expected.by));
        assert_eq!((event.at, &event.request), (n, &expected.request));
        assert!(doubles.is_empty(), "{n}");
        assert_eq!(
            store.find("a", 2 * n + 1),
            match n {
                1000 => Ok(Found::Unknown(Why::After)),
                _ => Ok(Found::Skipped {
                    below: Neighbour {
                        integer: 2 * n,
                        number
                    },
                    above: Neighbour {
                        integer: 2 * n + 2,
                        number: number + 1
                    },
                }),
            }
        );
    }
    let state = store.state("a", &Native::Counts).unwrap();
    assert_eq!(
        (state.number, state.state.as_str()),
        (1001, r#"{"integers":1000,"mints":1000}"#)
    );
}

#[tokio::test]
async fn an_append_ends_a_run() {
    let (_directory, store) = store();
    store
        .add(columns(1, 1, &[mint("a", 2, 2, 1), mint("a", 4, 2, 1)]))
        .await
        .unwrap();
    let note = || event("a", Payload::Json("1".into()));
    assert_eq!(
        store.append(note(), Some(1)).await,
        Err(Error::Conflict { current: 2 })
    );
    assert_eq!(store.append(note(), Some(2)).await.unwrap().number, 3);
    store
        .add(columns(1, 3, &[mint("a", 6, 2, 1)]))
        .await
        .unwrap();
    assert_eq!(
        (number(&store, "a", 4), number(&store, "a", 6)),
        (Some(2), Some(4))
    );
}

#[tokio::test]
async fn a_batch_of_columns_is_stored_once() {
    let (directory, store) = store();
    let events: Vec<_> = (1..=10).map(|n| mint("a", 2 * n, 2, 1)).collect();
    assert_eq!(added(&store, columns(7, 1, &events[..6])).await, 0);
    assert_eq!(added(&store, columns(7, 1, &events[..6])).await, 6);
    assert_eq!(added(&store, columns(7, 9, &events[8..])).await, 0);
    drop(store);
    let store = again(&directory).await;
    // The middle is new, and what is on both sides of it is not.
    assert_eq!(added(&store, columns(7, 4, &events[3..])).await, 5);
    let page = store.events("a", 1, 100).unwrap();
    let firsts: Vec<_> = page
        .events
        .iter()
        .filter_map(Event::span)
        .map(|s| s.first())
        .collect();
    assert_eq!(firsts, [2, 4, 6, 8, 10, 12, 18, 20, 14, 16]);
}

/// A directory of the version before, in which each event has a record.
#[tokio::test]
async fn an_older_directory_goes_on() {
    let (directory, store) = store();
    let event = |number: u64| {
        let first = i64::try_from(number).unwrap() * 2;
        Event {
            number,
            at: first,
            ..mint("a", first, 2, 1)
        }
    };
    let old = |files: &Files| {
        let mut batch = files.database.batch();
        for number in 1..=3 {
            batch.insert(
                &files.events,
                key::with("a", &[number]),
                event(number).encode_to_vec(),
            );
            let value = key::numbers([2 * number, number]);
            batch.insert(&files.spans, key::with("a", &[2, 0, 2 * number]), value);
        }
        let lattices = vec![Class {
            step: 2,
            residue: 0,
            greatest: 6,
        }];
        let record = Record {
            number: 3,
            lattices,
            smallest: 2,
            ..Record::default()
        };
        batch.insert(&files.keys, key::prefix("a"), record.encode_to_vec());
        Ok(batch.commit()?)
    };
    store.read(old).unwrap();
    drop(store);
    drop(again(&directory).await);
    let version = directory.path().join("version");
    std::fs::write(&version, "artisanal-ledger 1\n").unwrap();
    let store = again(&directory).await;
    assert_eq!(
        std::fs::read_to_string(version).unwrap(),
        "artisanal-ledger 2\n"
    );
    store
        .add(columns(1, 1, &[event(4), event(5)]))
        .await
        .unwrap();
    let page = store.events("a", 2, 100).unwrap();
    assert_eq!(page.events, (2..=5).map(event).collect::<Vec<_>>());
    for number in 1..=5 {
        assert_eq!(
            self::number(&store, "a", i64::try_from(number).unwrap() * 2),
            Some(number)
        );
    }
    let task = store.clone();
    let trimmed = tokio::task::spawn_blocking(move || task.trim(9, &reducers()))
        .await
        .unwrap();
    assert_eq!((trimmed, records(&store)), (Ok(4), [1, 1]));
    assert_eq!(store.events("a", 1, 100).unwrap().events, [event(5)]);
}

/// A mint of one lattice, with the pause before it.
type Drawn = (i64, u32, i64);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Mints in any order, with overlaps, in groups of batches, of which the first ones are removed.
    #[test]
    fn what_is_left_of_runs_is_what_a_list_says(
        drawn in proptest::collection::vec((1_i64..150, 1_u32..6, 0_i64..3), 1..80),
        sizes in proptest::collection::vec(1_usize..30, 1..20),
        cutoffs in proptest::collection::vec(0_i64..200, 1..4),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(check(&drawn, &sizes, cutoffs));
    }
}

async fn check(drawn: &[Drawn], sizes: &[usize], mut cutoffs: Vec<i64>) {
    let (_directory, store) = store();
    let mut at = 0;
    let mut events = Vec::new();
    for ((first, count, pause), number) in drawn.iter().zip(1_u64..) {
        at += pause;
        let mint = mint("k", first * 2, 2, *count);
        events.push(Event {
            number,
            at,
            by: format!("client {}", number % 3),
            ..mint
        });
    }
    let (mut rest, mut sent, mut sizes) = (&events[..], 1, sizes.iter().cycle());
    let mut batches = Vec::new();
    while !rest.is_empty() {
        let (now, later) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
        batches.push(columns(1, sent, now));
        sent += now.len() as u64;
        rest = later;
    }
    // All at once, so that some share a group. They are queued in their order.
    let added = futures::future::join_all(batches.into_iter().map(|batch| store.add(batch)));
    assert!(added.await.iter().all(Result::is_ok));
    cutoffs.insert(0, 0);
    cutoffs.sort_unstable();
    let mut kept = &events[..];
    for cutoff in cutoffs {
        let task = store.clone();
        let trimmed = tokio::task::spawn_blocking(move || task.trim(cutoff, &reducers()))
            .await
            .unwrap()
            .unwrap();
        let young = kept
            .iter()
            .position(|event| event.at >= cutoff)
            .unwrap_or(kept.len());
        assert_eq!(trimmed, young as u64);
        kept = &kept[young..];
        for from in [0, 1, kept.first().map_or(1, |event| event.number + 3)] {
            let page = store.events("k", from, 1000).unwrap();
            let expected: Vec<_> = kept
                .iter()
                .filter(|event| event.number >= from)
                .cloned()
                .collect();
            assert_eq!(page.events, expected);
        }
        let has = |event: &Event, integer: i64| {
            let span: Span = event.span().unwrap();
            span.iter().any(|n| n == integer)
        };
        for integer in 0..=320 {
            let first = events.iter().find(|event| has(event, integer));
            match (store.find("k", integer).unwrap(), first) {
                (Found::Minted { event, doubles }, Some(first)) => {
                    assert_eq!(*event, *first, "the first one that had it");
                    let others = events.iter().filter(|e| has(e, integer)).skip(1);
                    let others: Vec<_> = others.map(|event| event.number).collect();
                    let mut doubles = doubles;
                    doubles.sort_unstable();
                    assert_eq!(doubles, others, "{integer}");
                    assert!(kept.contains(&event));
                }
                (Found::Minted { event, .. }, None) => panic!("{integer}: {event:?}"),
                // It was never there, or the event that had it first is removed.
                (_, first) => assert!(first.is_none_or(|event| !kept.contains(event)), "{integer}"),
            }
        }
    }
}

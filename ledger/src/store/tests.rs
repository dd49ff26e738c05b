use super::*;
use crate::event::{Lost, Mint, Payload, Raise};
use crate::frame::VERSION;
use crate::query::{Found, Neighbour, Why};
use crate::reducer::native::{Native, reducers};
use proptest::prelude::*;
use std::collections::BTreeMap;
use tempfile::TempDir;

mod claims;
mod partitions;
mod retention;
mod runs;

fn event(key: &str, payload: Payload) -> Event {
    let kind = match payload {
        Payload::Json(_) => "note",
        _ => "",
    };
    Event {
        key: key.into(),
        at: 1,
        by: "client".into(),
        payload: Some(payload),
        json_kind: kind.into(),
        ..Event::default()
    }
}

fn mint(key: &str, first: i64, step: i64, count: u32) -> Event {
    event(key, Payload::Mint(Mint { first, step, count }))
}

fn batch(publisher: u64, first: u64, events: Vec<Event>) -> Batch {
    Batch {
        version: VERSION,
        publisher,
        first,
        events,
        ..Batch::default()
    }
}

fn store() -> (TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), Options::default()).unwrap();
    (directory, store)
}

/// Waits until the writer of a dropped store has closed the database.
async fn again(directory: &TempDir) -> Store {
    loop {
        match Store::open(directory.path(), Options::default()) {
            Ok(store) => return store,
            Err(Error::Misconfigured(_)) => tokio::time::sleep(Duration::from_millis(5)).await,
            Err(other) => panic!("{other}"),
        }
    }
}

/// How many events of a batch were stored already.
async fn added(store: &Store, batch: Batch) -> usize {
    let added = store.add(batch).await.unwrap();
    assert_eq!(added.earlier, []);
    added.duplicates
}

fn number(store: &Store, key: &str, integer: i64) -> Option<u64> {
    match store.find(key, integer).unwrap() {
        Found::Minted { event, .. } => Some(event.number),
        _ => None,
    }
}

#[tokio::test]
async fn events_are_stored_once_also_after_a_restart() {
    let (directory, store) = store();
    let events = || vec![mint("a", 2, 2, 1), mint("a", 4, 2, 3), mint("b", 2, 2, 1)];
    assert_eq!(added(&store, batch(7, 1, events())).await, 0);
    assert_eq!(added(&store, batch(7, 1, events())).await, 3);
    // A part of it again, with another event.
    let again_and_more = vec![mint("b", 2, 2, 1), mint("a", 10, 2, 1)];
    assert_eq!(added(&store, batch(7, 3, again_and_more)).await, 1);
    // Another publisher has numbers of its own, and batches come in any order.
    assert_eq!(
        added(&store, batch(8, 2, vec![mint("a", 14, 2, 1)])).await,
        0
    );
    assert_eq!(
        added(&store, batch(8, 1, vec![mint("a", 12, 2, 1)])).await,
        0
    );
    drop(store);
    let store = again(&directory).await;
    assert_eq!(added(&store, batch(7, 1, events())).await, 3);
    assert_eq!(
        added(&store, batch(8, 1, vec![mint("a", 12, 2, 1)])).await,
        1
    );
    let page = store.events("a", 1, 100).unwrap();
    let numbers: Vec<_> = page.events.iter().map(|event| event.number).collect();
    assert_eq!((numbers, page.last), (vec![1, 2, 3, 4, 5], 5));
    let firsts = page
        .events
        .iter()
        .filter_map(|e| e.span())
        .map(|s| s.first());
    assert_eq!(firsts.collect::<Vec<_>>(), [2, 4, 10, 14, 12]);
    assert_eq!(store.events("b", 1, 100).unwrap().last, 1);
    assert_eq!(store.events("ab", 1, 100).unwrap().events, []);
}

#[tokio::test]
async fn integers_between_others_are_skipped_and_the_rest_is_unknown() {
    let (_directory, store) = store();
    assert_eq!(store.find("a", 5), Ok(Found::Unknown(Why::NoMints)));
    let events = vec![
        mint("a", 20, 2, 1),
        mint("a", 10, 2, 3),
        event(
            "a",
            Payload::Lost(Lost {
                events: 1,
                integers: 1,
                first: 30,
                last: 34,
            }),
        ),
        mint("a", 40, 2, 1),
        event("a", Payload::Raise(Raise { last: 50 })),
        mint("a", 52, 2, 1),
    ];
    store.add(batch(1, 1, events)).await.unwrap();
    assert_eq!(number(&store, "a", 12), Some(2));
    assert_eq!(number(&store, "a", 20), Some(1));
    let neighbour = |integer, number| Neighbour { integer, number };
    for (integer, below, above) in [
        (13, neighbour(12, 2), neighbour(14, 2)),
        (16, neighbour(14, 2), neighbour(20, 1)),
        (22, neighbour(20, 1), neighbour(40, 4)),
    ] {
        assert_eq!(
            store.find("a", integer),
            Ok(Found::Skipped { below, above })
        );
    }
    assert_eq!(store.find("a", 32), Ok(Found::Unknown(Why::Lost(3))));
    assert_eq!(store.find("a", 9), Ok(Found::Unknown(Why::Before)));
    assert_eq!(store.find("a", 54), Ok(Found::Unknown(Why::After)));
    let page = store.gaps("a", 1, i64::MAX, 100).unwrap();
    let gaps: Vec<_> = page.gaps.iter().map(|g| (g.first, g.last, g.why)).collect();
    assert_eq!(
        gaps,
        [(16, 18, None), (22, 38, None), (42, 50, Some((5, "raise")))]
    );
    assert_eq!(page.next, None);
    let first = store.gaps("a", 1, i64::MAX, 1).unwrap();
    assert_eq!((first.gaps.len(), first.next), (1, Some(22)));
    let rest = store.gaps("a", 22, 40, 10).unwrap();
    assert_eq!(rest.gaps, page.gaps[1..2]);
}

#[tokio::test]
async fn integers_that_come_twice_are_told() {
    let (_directory, store) = store();
    let events = vec![
        mint("a", 10, 2, 3),
        mint("a", 2, 2, 20),
        mint("a", 12, 1, 1),
    ];
    store.add(batch(1, 1, events)).await.unwrap();
    for (integer, event_number, others) in [(8, 2, vec![]), (12, 1, vec![2]), (16, 2, vec![])] {
        let Found::Minted { event, doubles } = store.find("a", integer).unwrap() else {
            panic!("{integer}");
        };
        assert_eq!((event.number, doubles), (event_number, others), "{integer}");
    }
}

#[tokio::test]
async fn appends_have_the_number_that_is_expected() {
    let (_directory, store) = store();
    let note = |text: &str| event("a", Payload::Json(text.into()));
    assert_eq!(
        store
            .append(note("{\"x\":1}"), Some(0))
            .await
            .unwrap()
            .number,
        1
    );
    assert_eq!(
        store.append(note("{\"y\":2}"), None).await.unwrap().number,
        2
    );
    for wrong in [0, 1, 3] {
        let refused = store.append(note("1"), Some(wrong)).await;
        assert_eq!(refused, Err(Error::Conflict { current: 2 }));
    }
    assert!(matches!(
        store.append(note("{"), None).await,
        Err(Error::Invalid(_))
    ));
    let state = store.state("a", &Native::List).unwrap();
    assert_eq!(
        (state.number, state.state.as_str()),
        (2, r#"[{"x":1},{"y":2}]"#)
    );
}

#[tokio::test]
async fn long_logs_have_snapshots() {
    let (_directory, store) = store();
    for group in 0..3 {
        let events = (0..1000).map(|n| mint("a", 2 * (group * 1000 + n) + 2, 2, 1));
        let first = u64::try_from(group).unwrap() * 1000 + 1;
        store.add(batch(1, first, events.collect())).await.unwrap();
    }
    let state = store.state("a", &Native::Counts).unwrap();
    assert_eq!((state.number, state.replayed), (3000, 3000));
    assert_eq!(state.state, r#"{"integers":3000,"mints":3000}"#);
    store
        .append(event("a", Payload::Json("1".into())), None)
        .await
        .unwrap();
    assert_eq!(store.state("a", &Native::Counts).unwrap().replayed, 1);
    // Another reducer has no snapshot yet.
    assert_eq!(store.state("a", &Native::List).unwrap().replayed, 3001);
}

#[test]
fn directories_of_other_versions_are_refused() {
    let (directory, store) = store();
    let refused = |directory: &Path| match Store::open(directory, Options::default()) {
        Err(Error::Misconfigured(text)) => text,
        other => panic!("{:?}", other.err()),
    };
    assert!(refused(directory.path()).contains("in use"));
    drop(store);
    std::fs::write(directory.path().join("version"), "artisanal-ledger 3\n").unwrap();
    assert!(refused(directory.path()).contains("another version"));
    std::fs::remove_file(directory.path().join("version")).unwrap();
    assert!(refused(directory.path()).contains("no data directory"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// Spans of several increments and offsets in any order, with overlaps, against a map of all integers.
    #[test]
    fn lookups_and_gaps_are_those_of_a_map(
        spans in proptest::collection::vec((1_i64..200, 1_i64..5, 1_u32..8), 1..40),
        sizes in proptest::collection::vec(1_usize..6, 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (_directory, store) = store();
            let mut map = BTreeMap::<i64, Vec<u64>>::new();
            let (mut rest, mut sent) = (&spans[..], 0_u64);
            let mut sizes = sizes.iter().cycle();
            while !rest.is_empty() {
                let (now, later) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
                let events: Vec<_> = now.iter().map(|(f, s, c)| mint("k", *f, *s, *c)).collect();
                let count = events.len() as u64;
                store.add(batch(1, sent + 1, events)).await.unwrap();
                for (at, (first, step, count)) in now.iter().enumerate() {
                    for n in 0..i64::from(*count) {
                        map.entry(first + n * step).or_default().push(sent + 1 + at as u64);
                    }
                }
                sent += count;
                rest = later;
            }
            let (smallest, greatest) = (*map.keys().next().unwrap(), *map.keys().last().unwrap());
            for integer in 0..=greatest + 2 {
                match (store.find("k", integer).unwrap(), map.get(&integer)) {
                    (Found::Minted { event, doubles }, Some(numbers)) => {
                        assert!(numbers.contains(&event.number), "{integer}");
                        assert!(doubles.iter().all(|double| numbers.contains(double)), "{integer}");
                    }
                    (Found::Skipped { below, above }, None) => {
                        let before = map.range(..integer).next_back().map(|(k, _)| *k);
                        let after = map.range(integer..).next().map(|(k, _)| *k);
                        assert_eq!((Some(below.integer), Some(above.integer)), (before, after));
                    }
                    (Found::Unknown(Why::Before), None) => assert!(integer < smallest),
                    (Found::Unknown(Why::After), None) => assert!(integer > greatest),
                    (found, numbers) => panic!("{integer}: {found:?} {numbers:?}"),
                }
            }
            // Pages of one gap are the same as one page with all, and no gap was handed out by the same increment.
            let all = store.gaps("k", 1, i64::MAX, 1000).unwrap();
            assert_eq!(all.next, None);
            for gap in &all.gaps {
                let lattice = (gap.step, gap.first % gap.step);
                let taken = spans.iter().filter(|(f, s, _)| (*s, f % s) == lattice);
                for (first, step, count) in taken {
                    let last = first + step * i64::from(count - 1);
                    assert!(last < gap.first || *first > gap.last, "{gap:?}");
                }
            }
        });
    }
}

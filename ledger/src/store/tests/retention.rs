//! Old events are removed.

use super::*;

/// An event at a time.
fn at(at: i64, event: Event) -> Event {
    Event { at, ..event }
}

/// Runs in a thread that may wait.
async fn trim(store: &Store, cutoff: i64) -> u64 {
    let store = store.clone();
    let trimmed = tokio::task::spawn_blocking(move || store.trim(cutoff));
    trimmed.await.unwrap().unwrap()
}

#[tokio::test]
async fn what_was_removed_is_unknown_and_counts_in_states() {
    let (directory, store) = store();
    let lost = Lost {
        events: 2,
        integers: 2,
        first: 30,
        last: 34,
    };
    let events = vec![
        at(10, mint("a", 10, 2, 3)),
        at(11, event("a", Payload::Json("{\"x\":1}".into()))),
        at(12, event("a", Payload::Lost(lost))),
        at(13, event("a", Payload::Raise(Raise { last: 38 }))),
        // The same integers again.
        at(14, mint("a", 10, 2, 1)),
        at(20, mint("a", 50, 2, 2)),
        at(15, mint("a", 40, 2, 1)),
        at(21, mint("a", 60, 2, 1)),
        at(9, mint("b", 2, 2, 1)),
    ];
    store.add(batch(1, 1, events)).await.unwrap();
    let states = |store: &Store| {
        let state = |reducer| store.state("a", reducer).unwrap().state;
        [state(Reducer::Mints), state(Reducer::Merge)]
    };
    let before = states(&store);
    assert_eq!(trim(&store, 9).await, 0);
    // Not the event at 15, which comes after a newer one.
    assert_eq!(trim(&store, 16).await, 6);
    assert_eq!(trim(&store, 16).await, 0);
    let mut store = Some(store);
    for _ in 0..2 {
        // The second time after a restart.
        let store = match store.take() {
            Some(store) => store,
            None => again(&directory).await,
        };
        let page = store.events("a", 1, 100).unwrap();
        let numbers: Vec<_> = page.events.iter().map(|event| event.number).collect();
        assert_eq!((numbers, page.first, page.last), (vec![6, 7, 8], 6, 8));
        assert_eq!(states(&store), before);
        for (integer, found) in [
            (10, Found::Unknown(Why::Forgotten)),
            (11, Found::Unknown(Why::Forgotten)),
            (16, Found::Unknown(Why::Forgotten)),
            (32, Found::Unknown(Why::Forgotten)),
            (36, Found::Unknown(Why::Forgotten)),
            (70, Found::Unknown(Why::After)),
        ] {
            assert_eq!(store.find("a", integer), Ok(found), "{integer}");
        }
        assert_eq!(number(&store, "a", 40), Some(7));
        assert_eq!(number(&store, "a", 52), Some(6));
        assert!(matches!(store.find("a", 56), Ok(Found::Skipped { .. })));
        let gaps = store.gaps("a", 1, i64::MAX, 100).unwrap().gaps;
        let gaps: Vec<_> = gaps.iter().map(|gap| (gap.first, gap.last)).collect();
        assert_eq!(gaps, [(42, 48), (54, 58)]);
        assert_eq!(
            store.find("b", 2),
            Ok(Found::Unknown(Why::Forgotten)),
            "all of its events are removed"
        );
        assert_eq!(store.find("b", 4), Ok(Found::Unknown(Why::After)));
        assert_eq!(store.state("b", Reducer::Mints).unwrap().state["mints"], 1);
        // Nothing of the removed events is left.
        let left = |files: &Files| {
            let counts = [&files.events, &files.spans, &files.doubles, &files.notes];
            counts
                .map(|keyspace| keyspace.len())
                .into_iter()
                .collect::<Result<Vec<_>, _>>()
        };
        let left = store.read(|files| Ok(left(files)?)).unwrap();
        // The three mints are one run.
        assert_eq!(left, [1, 3, 0, 0]);
    }
    let store = again(&directory).await;
    let appended = store
        .append(event("b", Payload::Json("1".into())), Some(1))
        .await;
    assert_eq!(appended.unwrap().number, 2, "the numbers go on");
}

#[tokio::test]
async fn many_events_are_removed_in_steps() {
    let (_directory, store) = store();
    let events = (1..=3500).map(|n| at(n, mint("a", 2 * n, 2, 1)));
    store.add(batch(1, 1, events.collect())).await.unwrap();
    assert_eq!(trim(&store, 3001).await, 3000);
    let page = store.events("a", 1, 1).unwrap();
    assert_eq!((page.events[0].number, page.first), (3001, 3001));
    assert_eq!(number(&store, "a", 6002), Some(3001));
    assert_eq!(store.find("a", 6000), Ok(Found::Unknown(Why::Forgotten)));
    assert_eq!(
        store.state("a", Reducer::Mints).unwrap().state["mints"],
        3500
    );
}

//! Old events are removed.

use super::*;
use crate::reducer::Reducers;

/// An event at a time.
fn at(at: i64, event: Event) -> Event {
    Event { at, ..event }
}

/// Runs in a thread that may wait.
async fn trim(store: &Store, cutoff: i64) -> u64 {
    let store = store.clone();
    let trimmed = tokio::task::spawn_blocking(move || store.trim(cutoff, &reducers()));
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
        let state = |reducer| store.state("a", &reducer).unwrap().state;
        [state(Native::Counts), state(Native::List)]
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
        let state = store.state("b", &Native::Counts).unwrap().state;
        assert_eq!(state, r#"{"integers":1,"mints":1}"#);
        // A reducer that was not there in time has no state of what was removed.
        for key in ["a", "b"] {
            let state = store.state(key, &Native::Huge);
            assert!(matches!(state, Err(Error::NotRetained(_))), "{state:?}");
        }
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
        store.state("a", &Native::Counts).unwrap().state,
        r#"{"integers":3500,"mints":3500}"#
    );
}

/// A key whose own reducer fails keeps its events; other keys do not.
#[tokio::test]
async fn without_its_state_a_key_keeps_its_events() {
    let (_directory, store) = store();
    let events = vec![mint("a", 2, 2, 1), mint("b", 2, 2, 1), mint("c", 2, 2, 1)];
    store.add(batch(1, 1, events)).await.unwrap();
    let mut all = reducers();
    all.rule("a", "fails");
    all.rule("b", "huge");
    let trimmed = {
        let store = store.clone();
        tokio::task::spawn_blocking(move || store.trim(2, &all))
    };
    assert_eq!(trimmed.await.unwrap(), Ok(1));
    for (key, left) in [("a", 1), ("b", 1), ("c", 0)] {
        assert_eq!(
            store.events(key, 1, 10).unwrap().events.len(),
            left,
            "{key}"
        );
    }
}

/// Waits for the disk in a thread of its own.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

#[tokio::test]
async fn the_oldest_events_make_room() {
    let (_directory, store) = store();
    // The newest events are those of the key that comes first.
    let text = |n: i64| format!("\"{}\"", format!("{n:08}").repeat(32));
    let note = |key: &str, n: i64| at(n, event(key, Payload::Json(text(n))));
    let mut sent = 1;
    for (key, times) in [("b", 1..=2000), ("a", 2001..=4000)] {
        let events: Vec<_> = times.map(|n| note(key, n)).collect();
        store.add(batch(1, sent, events)).await.unwrap();
        sent += 2000;
    }
    let before = {
        let store = store.clone();
        blocking(move || {
            store.compact().unwrap();
            store.disk_bytes().unwrap()
        })
    };
    let before = before.await;
    let trim_to = |most: u64| {
        let (store, mut all) = (store.clone(), Reducers::default());
        all.add("mints", Arc::new(Native::Counts), true);
        blocking(move || {
            (
                store.trim_to(most, &all).unwrap(),
                store.disk_bytes().unwrap(),
            )
        })
    };
    assert_eq!(trim_to(before).await, (0, before), "there is room");
    let (removed, after) = trim_to(before * 3 / 4).await;
    // About a third, so that nine tenths of the room are used.
    assert!((1100..1500).contains(&removed), "{removed}");
    assert!(after <= before * 3 / 4, "{after} of {before}");
    assert_eq!(
        trim_to(before * 3 / 4).await,
        (0, after),
        "nothing more is removed"
    );
    let first = |key| store.events(key, 1, 1).unwrap().first;
    assert_eq!((first("a"), first("b")), (1, removed + 1));
    // The states are those of all events.
    assert_eq!(store.state("b", &Native::Counts).unwrap().number, 2000);
    // Without any room, nothing is left but the newest event and the states.
    assert_eq!(trim_to(0).await.0, 3999 - removed);
    assert_eq!(store.events("a", 1, 1).unwrap().first, 2000);
    for key in ["a", "b"] {
        assert_eq!(store.state(key, &Native::Counts).unwrap().number, 2000);
    }
}

//! Idempotency keys.

use super::*;
use crate::frame::{Earlier, Lookup};
use crate::query::Gap;

fn once(key: &str, token: &str, idempotency: &str, first: i64, count: u32) -> Event {
    Event {
        token: token.into(),
        idempotency: idempotency.into(),
        ..mint(key, first, 2, count)
    }
}

fn lookup(key: &str, token: &str, idempotency: &str) -> Lookup {
    Lookup {
        key: key.into(),
        token: token.into(),
        idempotency: idempotency.into(),
    }
}

fn earlier(index: u32, number: u64, first: i64, count: u32) -> Earlier {
    Earlier {
        index,
        number,
        mint: Some(Mint {
            first,
            step: 2,
            count,
        }),
    }
}

#[tokio::test]
async fn the_first_stored_mint_of_a_key_wins() {
    let (directory, store) = store();
    let events = || {
        vec![
            once("a", "", "x", 2, 3),
            once("a", "", "x", 8, 3),
            once("a", "t", "x", 14, 1),
            once("b", "", "x", 2, 1),
            once("a", "", "xy", 16, 1),
        ]
    };
    let loses = [earlier(1, 1, 2, 3)];
    let first = store.add(batch(1, 1, events())).await.unwrap();
    assert_eq!((first.duplicates, &*first.earlier), (0, &loses[..]));
    // The same answer when the batch is sent again, also by a ledger that was started again.
    let again_sent = store.add(batch(1, 1, events())).await.unwrap();
    assert_eq!(
        (again_sent.duplicates, &*again_sent.earlier),
        (5, &loses[..])
    );
    drop(store);
    let store = again(&directory).await;
    let other = vec![once("a", "", "x", 18, 3)];
    let late = store.add(batch(2, 1, other)).await.unwrap();
    assert_eq!(
        (late.duplicates, &*late.earlier),
        (0, &[earlier(0, 1, 2, 3)][..])
    );
    let again_sent = store.add(batch(1, 1, events())).await.unwrap();
    assert_eq!(
        (again_sent.duplicates, &*again_sent.earlier),
        (5, &loses[..])
    );
    for (asked, answer) in [
        (lookup("a", "", "x"), Some(earlier(7, 1, 2, 3))),
        (lookup("a", "t", "x"), Some(earlier(7, 3, 14, 1))),
        (lookup("b", "", "x"), Some(earlier(7, 1, 2, 1))),
        (lookup("a", "", "xy"), Some(earlier(7, 4, 16, 1))),
        (lookup("a", "", "y"), None),
        (lookup("b", "t", "x"), None),
    ] {
        assert_eq!(store.lookup(&asked, 7).unwrap(), answer, "{asked:?}");
    }
    // What lost is known to nobody but the ledger.
    let events = store.events("a", 1, 10).unwrap().events;
    let kinds: Vec<_> = events.iter().map(Event::kind).collect();
    assert_eq!(kinds, ["mint", "unused", "mint", "mint", "unused"]);
    let Some(Payload::Unused(unused)) = &events[1].payload else {
        panic!("{:?}", events[1]);
    };
    assert_eq!((unused.first, unused.count, unused.instead), (8, 3, 1));
    for (integer, found) in [
        (10, Found::Unused(2)),
        (18, Found::Unused(5)),
        (22, Found::Unused(5)),
        (24, Found::Unknown(Why::After)),
    ] {
        assert_eq!(store.find("a", integer), Ok(found), "{integer}");
    }
    assert!(matches!(store.find("a", 9), Ok(Found::Skipped { .. })));
    let gap = |first, last, why| Gap {
        first,
        last,
        step: 2,
        why,
    };
    assert_eq!(
        store.gaps("a", 1, i64::MAX, 10).unwrap().gaps,
        [gap(8, 12, Some((2, "unused")))]
    );
    store
        .add(batch(2, 2, vec![mint("a", 30, 2, 1)]))
        .await
        .unwrap();
    assert_eq!(
        store.gaps("a", 10, i64::MAX, 10).unwrap().gaps,
        [
            gap(10, 12, Some((2, "unused"))),
            gap(18, 22, Some((5, "unused"))),
            gap(24, 28, None)
        ]
    );
}

#[tokio::test]
async fn a_key_is_free_again_after_its_time_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        repeatable: Duration::from_millis(50),
    };
    let store = Store::open(directory.path(), options).unwrap();
    let stored = |store: &Store| {
        let count = |files: &Files| Ok((files.claims.len()?, files.claim_times.len()?));
        store.read(count).unwrap()
    };
    for round in 0..3 {
        let (number, first) = (round * 2 + 1, round * 20);
        let events = vec![
            once("a", "", "x", first + 2, 1),
            once("a", "", &format!("other-{round}"), first + 4, 1),
        ];
        let added = store
            .add(batch(1, number.try_into().unwrap(), events))
            .await
            .unwrap();
        assert_eq!(added, Added::default());
        tokio::time::sleep(Duration::from_millis(60)).await;
        assert_eq!(store.lookup(&lookup("a", "", "x"), 0), Ok(None));
    }
    // The next group after the pause removes what is out of date.
    let mut number = 7;
    while stored(&store) != (0, 0) {
        let event = mint("a", 1000 + 2 * i64::try_from(number).unwrap(), 2, 1);
        store.add(batch(1, number, vec![event])).await.unwrap();
        number += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

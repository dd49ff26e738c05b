use super::*;
use crate::event::{Event, Mint, Payload};
use crate::frame::{Batch, VERSION};
use crate::query::Found;
use crate::store::{Options, Store};
use std::path::Path;

/// A backup of a ledger with `count` mints.
async fn backup(directory: &Path, count: i64) -> Vec<u8> {
    let store = Store::open(directory, Options::default()).unwrap();
    for first in (1..=count).step_by(4096) {
        let events = (first..=count.min(first + 4095)).map(|n| Event {
            key: "a".into(),
            idempotency: n.to_string(),
            payload: Some(Payload::Mint(Mint {
                first: 2 * n,
                step: 2,
                count: 1,
            })),
            ..Event::default()
        });
        let batch = Batch {
            version: VERSION,
            publisher: 7,
            first: first.try_into().unwrap(),
            events: events.collect(),
            ..Batch::default()
        };
        store.add(batch).await.unwrap();
    }
    let (mut bytes, mut checked) = (Vec::new(), Checked::default());
    store
        .read(|files| {
            dump(files, |piece| {
                bytes.extend_from_slice(&piece);
                checked.update(&piece);
                true
            })
        })
        .unwrap();
    assert_eq!(checked.finish().unwrap(), bytes.len() as u64);
    bytes
}

#[tokio::test]
async fn what_was_backed_up_is_there_again() {
    let place = tempfile::tempdir().unwrap();
    let bytes = backup(&place.path().join("old"), 5000).await;
    let new = place.path().join("deep/new");
    // Events, spans, claims and their times; the key and the publisher.
    assert_eq!(restore(&*bytes, &new).unwrap(), 4 * 5000 + 2);
    let store = Store::open(&new, Options::default()).unwrap();
    let page = store.events("a", 4990, 100).unwrap();
    assert_eq!((page.events.len(), page.last), (11, 5000));
    for (integer, number) in [(2, 1), (10_000, 5000)] {
        let found = store.find("a", integer).unwrap();
        assert!(matches!(found, Found::Minted { event, .. } if event.number == number));
    }
    let again = restore(&*bytes, &new);
    assert!(matches!(again, Err(Unusable::Exists(_))), "{again:?}");
}

#[tokio::test]
async fn what_is_no_backup_leaves_nothing() {
    let place = tempfile::tempdir().unwrap();
    let bytes = backup(&place.path().join("old"), 3).await;
    let new = place.path().join("new");
    let refused = |bytes: &[u8]| {
        let error = restore(bytes, &new).expect_err("refused");
        let mut left = std::fs::read_dir(place.path()).unwrap();
        assert!(left.all(|entry| entry.unwrap().file_name() == "old"));
        error
    };
    let end = bytes.len();
    for length in [0, 10, 26, 40, end / 2, end - 33, end - 1] {
        let error = refused(&bytes[..length]);
        assert!(
            matches!(error, Unusable::Truncated | Unusable::Other),
            "{length}: {error}"
        );
        let mut checked = Checked::default();
        checked.update(&bytes[..length]);
        assert!(checked.finish().is_err(), "{length}");
    }
    for place in [5, 26, 28, 33, 50, end / 2, end - 40, end - 1] {
        let mut altered = bytes.clone();
        altered[place] ^= 0x40;
        refused(&altered);
    }
    refused(&[&*bytes, b"x"].concat());
}

use super::*;
use crate::columns::{Columns, Row};
use crate::event::{Mint, Payload};
use artisanal_core::Span;
use proptest::prelude::*;

fn event(key: &str, first: i64, step: i64, count: u32, by: &str) -> Event {
    Event {
        key: key.into(),
        at: 1,
        by: by.into(),
        payload: Some(Payload::Mint(Mint { first, step, count })),
        ..Event::default()
    }
}

fn batch(events: Vec<Event>) -> Batch {
    Batch {
        version: VERSION,
        publisher: 7,
        first: 1,
        events,
        ..Batch::default()
    }
}

#[test]
fn what_is_out_of_bounds_is_refused() {
    let one = || event("a", 2, 2, 1, "h");
    assert!(Batch::read(&batch(vec![one()]).bytes()).is_ok());
    let refused = |batch: Batch| Batch::read(&batch.bytes()).expect_err("refused");
    assert_eq!(refused(batch(vec![])), Malformed::Count);
    assert_eq!(
        refused(batch(vec![one(); MAX_EVENTS + 1])),
        Malformed::Count
    );
    assert_eq!(
        refused(batch(vec![Event::default(); 1 << 20])),
        Malformed::Count
    );
    let looking = |lookup: Lookup, count| {
        let lookups = vec![lookup; count];
        Batch {
            lookups,
            ..batch(vec![])
        }
    };
    let lookup = Lookup {
        key: "a".into(),
        token: String::new(),
        idempotency: "x".into(),
    };
    assert!(Batch::read(&looking(lookup.clone(), 1).bytes()).is_ok());
    assert_eq!(
        refused(looking(lookup.clone(), MAX_EVENTS + 1)),
        Malformed::Count
    );
    let empty = Lookup {
        idempotency: String::new(),
        ..lookup
    };
    assert!(matches!(
        refused(looking(empty, 1)),
        Malformed::Lookup(0, _)
    ));
    let bad = batch(vec![one(), event("", 2, 2, 1, "h")]);
    assert!(matches!(refused(bad), Malformed::Event(1, _)));
    for (version, first, publisher, error) in [
        (3, 1, 7, Malformed::Version(3)),
        (0, 1, 7, Malformed::Version(0)),
        (1, 0, 7, Malformed::Numbers),
        (2, u64::MAX, 7, Malformed::Numbers),
        (2, 1, 0, Malformed::Numbers),
    ] {
        let batch = Batch {
            version,
            first,
            publisher,
            ..batch(vec![one()])
        };
        assert_eq!(refused(batch), error);
    }
    assert_eq!(
        Batch::read(&vec![0; MAX_FRAME + MAX_ADDED + 1]),
        Err(Malformed::Long(MAX_FRAME + MAX_ADDED + 1))
    );
    assert!(Reply::read(&[0; MAX_REPLY + 1]).is_err());
    let endless = "\u{e9}".repeat(100_000);
    let refused = Reply::refused(1, 1, &endless, endless.clone(), true).bytes();
    let refusal = Reply::read(&refused).unwrap().refusal.unwrap();
    for text in [refusal.code, refusal.detail] {
        assert_eq!(text.chars().count(), MAX_TEXT);
    }
}

#[test]
fn a_part_of_a_batch_is_meant_if_a_member_says_so() {
    let whole = batch(vec![event("a", 2, 2, 1, "h")]);
    assert_eq!(whole.meant(), None);
    let share = Share::all();
    let read = Batch::read(&Batch::passed_on(&whole.bytes(), &share)).unwrap();
    assert_eq!(
        (read.meant(), read.events),
        (Some(share), whole.events.clone())
    );
    for partitions in [
        vec![2, 1],
        vec![1, 1],
        vec![u32::from(PARTITIONS)],
        vec![0, u32::MAX],
    ] {
        let wrong = Batch {
            partitions,
            ..whole.clone()
        };
        assert_eq!(Batch::read(&wrong.bytes()), Err(Malformed::Partitions));
    }
    // It fits, however long the batch is.
    let added = Batch::passed_on(&Bytes::new(), &Share::all()).len();
    assert!(added <= MAX_ADDED, "{added}");
}

fn with_mints(count: usize, mints: &[(usize, usize)]) -> Batch {
    let blocks = mints.iter().map(|(before, count)| {
        let mut columns = Columns::default();
        for n in (1..).take(*count) {
            let span = Span::checked(n, 1, 1).unwrap();
            columns.push(&Row {
                key: "a",
                at: 1,
                by: "h",
                request: "",
                span,
            });
        }
        let mut bytes = Vec::new();
        columns.finish(0, *before, &mut bytes);
        bytes.into()
    });
    Batch {
        mints: blocks.collect(),
        ..batch(vec![event("b", 2, 2, 1, "h"); count])
    }
}

#[test]
fn mints_in_columns_are_events_in_their_place() {
    let batch = with_mints(2, &[(0, 2), (1, 1), (1, 1)]);
    assert_eq!(Batch::read(&batch.bytes()), Ok(batch.clone()));
    assert_eq!(batch.count(), Ok(6));
    let all = batch.all().unwrap();
    let keys: Vec<_> = all.iter().map(|event| &*event.key).collect();
    assert_eq!(keys, ["a", "a", "b", "a", "a", "b"]);
    assert!(all.iter().all(|event| event.check().is_ok()));
    let refused = |batch: Batch| Batch::read(&batch.bytes()).expect_err("refused");
    for (events, mints) in [(1, vec![(2, 1)]), (2, vec![(1, 1), (0, 1)])] {
        assert!(matches!(
            refused(with_mints(events, &mints)),
            Malformed::Event(..)
        ));
    }
    for mints in [
        vec![(0, MAX_EVENTS)],
        vec![(0, MAX_EVENTS / 2), (1, MAX_EVENTS / 2)],
        vec![(0, 1); MAX_EVENTS],
    ] {
        assert_eq!(refused(with_mints(1, &mints)), Malformed::Count);
        assert!(Batch::read(&with_mints(0, &[(0, MAX_EVENTS)]).bytes()).is_ok());
    }
    // Those who do not know columns do not send them.
    let old = Batch {
        version: VERSION_1,
        ..batch
    };
    assert_eq!(refused(old), Malformed::Version(1));
    let empty = Batch {
        mints: vec![Bytes::new()],
        ..with_mints(0, &[])
    };
    assert!(matches!(refused(empty), Malformed::Event(0, _)));
}

proptest! {
    #[test]
    fn batches_survive_the_encoding(
        first in 1_u64..=1 << 60,
        publisher in 1_u64..,
        events in proptest::collection::vec(
            ("[a-z]{1,128}", 1_i64..=i64::MAX - (100_000 << 20), 1_i64..=1 << 20, 1_u32..=100_000, "[!-~]{0,128}"),
            1..50,
        ),
    ) {
        let events = events.iter().map(|(key, first, step, count, by)| event(key, *first, *step, *count, by));
        let batch = Batch { first, publisher, ..batch(events.collect()) };
        let bytes = batch.bytes();
        prop_assert_eq!(Batch::read(&bytes), Ok(batch));
        // No part of a frame panics, whatever it is.
        for end in 0..bytes.len().min(200) {
            let _ = Batch::read(&bytes[..end]);
        }
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Batch::read(&bytes);
        let _ = Reply::read(&bytes);
    }
}

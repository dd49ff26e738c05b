use super::*;
use futures::FutureExt;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A sequence that knows how many were opened before it.
fn counted(reopens: bool, most: usize) -> (Opened<usize>, Arc<AtomicUsize>) {
    let openings = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&openings);
    let open: Open<usize> = Box::new(move |key| {
        let number = count.fetch_add(1, Ordering::Relaxed);
        let bad = key == "bad";
        Box::pin(async move {
            if bad {
                Err(Error::Unavailable("not there".into()))
            } else {
                Ok(number)
            }
        })
    });
    (Opened::new(open, reopens, most), openings)
}

fn get(used: &Use<'_, usize>) -> Result<usize, Error> {
    let sequence = used.sequence().now_or_never();
    sequence.expect("it waits for nothing").copied()
}

/// Mints from a sequence with success.
fn change(opened: &Opened<usize>, key: &str) -> Result<usize, Refusal> {
    let used = opened.take(key, true)?;
    let number = get(&used).expect("opened");
    used.keep();
    Ok(number)
}

fn keys(opened: &Opened<usize>) -> Vec<String> {
    opened.keys("", usize::MAX, |_| true)
}

#[test]
fn what_was_changed_stays_open() {
    let (opened, _) = counted(true, 9);
    assert_eq!(change(&opened, "b"), Ok(0));
    assert_eq!(change(&opened, "a"), Ok(1));
    assert_eq!(change(&opened, "b"), Ok(0));
    assert_eq!(get(&opened.take("a", false).expect("there")), Ok(1));
    assert_eq!(keys(&opened), ["a", "b"]);
    assert_eq!(opened.keys("a", 9, |_| true), ["b"]);
    assert_eq!(opened.keys("", 1, |_| true), ["a"]);
}

#[test]
fn what_was_only_read_does_not() {
    let (opened, openings) = counted(false, 1);
    for round in 0..1_000 {
        let used = opened.take(&round.to_string(), false).expect("read");
        assert_eq!(get(&used), Ok(round));
    }
    assert_eq!(keys(&opened), [""; 0]);
    assert_eq!(opened.table().entries.len(), 0);
    // Those who read at the same time share one, also with one who mints.
    let readers = [
        opened.take("a", false).expect("read"),
        opened.take("a", false).expect("read"),
    ];
    assert_eq!(readers.each_ref().map(get), [Ok(1_000), Ok(1_000)]);
    assert_eq!(change(&opened, "a"), Ok(1_000));
    drop(readers);
    assert_eq!(change(&opened, "a"), Ok(1_000));
    assert_eq!(openings.load(Ordering::Relaxed), 1_001);
}

#[test]
fn readers_are_counted() {
    let (opened, _) = counted(true, 1);
    let mut readers: Vec<_> = (0..READERS)
        .map(|n| opened.take(&n.to_string(), false).expect("read"))
        .collect();
    assert_eq!(opened.take("more", false).err(), Some(Refusal::Busy));
    assert!(opened.take("0", false).is_ok(), "it is open already");
    assert!(change(&opened, "more").is_ok(), "who mints is no reader");
    assert!(opened.take("more", false).is_ok());
    readers.pop();
    assert!(opened.take("another", false).is_ok());
}

#[test]
fn a_failure_is_not_kept() {
    let (opened, openings) = counted(false, 1);
    for _ in 0..3 {
        let used = opened.take("bad", true).expect("room");
        assert!(get(&used).is_err());
        assert_eq!(opened.take("good", true).err(), Some(Refusal::Full));
    }
    assert_eq!(openings.load(Ordering::Relaxed), 3);
    assert_eq!(opened.table().entries.len(), 0);
    assert!(change(&opened, "good").is_ok());
}

#[test]
fn a_failed_mint_beside_a_successful_one_closes_nothing() {
    let (opened, _) = counted(false, 1);
    let failing = opened.take("a", true).expect("room");
    assert_eq!(get(&failing), Ok(0));
    assert_eq!(change(&opened, "a"), Ok(0));
    drop(failing);
    assert_eq!(change(&opened, "a"), Ok(0));
}

#[test]
fn the_longest_idle_one_makes_room() {
    let (opened, _) = counted(true, 3);
    for key in ["a", "b", "c", "a"] {
        change(&opened, key).expect("room");
    }
    let b = opened.take("b", false).expect("there");
    assert_eq!(change(&opened, "d"), Ok(3));
    assert_eq!(keys(&opened), ["a", "b", "d"], "c was idle for longest");
    let a = opened.take("a", true).expect("there");
    let d = opened.take("d", true).expect("there");
    assert_eq!(
        change(&opened, "e"),
        Err(Refusal::Busy),
        "all three are in use"
    );
    drop((a, b, d));
    assert_eq!(change(&opened, "e"), Ok(4));
    assert_eq!(keys(&opened), ["b", "d", "e"]);
    assert_eq!(opened.table().idle.len(), 3);
    assert_eq!(opened.table().kept, 3);
}

#[test]
fn where_nothing_may_be_closed_the_maximum_is_final() {
    let (opened, _) = counted(false, 2);
    assert_eq!(change(&opened, "a"), Ok(0));
    assert_eq!(change(&opened, "b"), Ok(1));
    assert_eq!(change(&opened, "c"), Err(Refusal::Full));
    assert!(opened.take("c", false).is_ok(), "it can be read");
    assert_eq!(change(&opened, "a"), Ok(0));
    assert_eq!(change(&opened, "b"), Ok(1));
}

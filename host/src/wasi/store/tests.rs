use super::*;
use futures::FutureExt;
use futures::future::join_all;
use std::panic::AssertUnwindSafe;
use std::thread::ThreadId;

fn store() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    (directory, store)
}

#[tokio::test]
async fn increments_are_kept_across_restarts() {
    let (directory, store) = store();
    assert_eq!(store.increment("b", "k", 2).await.unwrap(), 2);
    assert_eq!(store.increment("b", "k", 2).await.unwrap(), 4);
    assert_eq!(store.increment("other", "k", 1).await.unwrap(), 1);
    drop(store);
    let store = Store::open(directory.path()).unwrap();
    assert_eq!(store.increment("b", "k", 2).await.unwrap(), 6);
    assert_eq!(store.keys("b").await.unwrap(), ["k"]);
    assert!(store.keys("unknown").await.unwrap().is_empty());
}

#[tokio::test]
async fn an_overflow_changes_nothing() {
    let (_directory, store) = store();
    store.increment("b", "k", i64::MAX - 1).await.unwrap();
    assert!(matches!(
        store.increment("b", "k", 2).await,
        Err(StoreError::Overflow(_))
    ));
    assert_eq!(store.increment("b", "k", 1).await.unwrap(), i64::MAX);
}

#[tokio::test]
async fn garbage_is_refused_and_kept() {
    let (_directory, store) = store();
    let garbage = vec![("k".to_owned(), Some(b"12x".to_vec()))];
    store.set("b", garbage).await.unwrap();
    assert!(matches!(
        store.increment("b", "k", 2).await,
        Err(StoreError::NotAnInteger(_))
    ));
    let kept = store.get("b", "k").await.unwrap();
    assert_eq!(kept.as_deref(), Some(&b"12x"[..]));
}

#[tokio::test]
async fn swaps_need_the_expected_value() {
    let (_directory, store) = store();
    let swap = |expected: Option<&[u8]>, value: &[u8]| {
        store.swap("b", "k", expected.map(<[u8]>::to_vec), value.to_vec())
    };
    assert!(swap(None, b"1").await.unwrap());
    assert!(!swap(None, b"2").await.unwrap());
    assert!(swap(Some(b"1"), b"3").await.unwrap());
    assert_eq!(
        store.get("b", "k").await.unwrap().as_deref(),
        Some(&b"3"[..])
    );
    store.set("b", vec![("k".to_owned(), None)]).await.unwrap();
    assert_eq!(store.get("b", "k").await.unwrap(), None);
}

#[tokio::test]
async fn a_second_opener_is_told_so() {
    let (directory, _store) = store();
    let error = Store::open(directory.path()).err().unwrap();
    assert!(matches!(error, StoreError::InUse(_)), "{error}");
}

#[tokio::test]
async fn changes_that_wait_share_a_commit_and_fail_alone() {
    let (_directory, store) = store();
    store.increment("b", "full", i64::MAX).await.unwrap();
    let before = store.folder.answered();
    // The writer cannot start before all of them are waiting.
    let held = store.folder.hold();
    let waiting = (0..100).map(|i| {
        let key = if i == 50 { "full" } else { "k" };
        store.increment("b", key, 2)
    });
    let mut waiting = Box::pin(join_all(waiting));
    assert!((&mut waiting).now_or_never().is_none());
    drop(held);
    let mut sums = Vec::new();
    for result in waiting.await {
        match result {
            Ok(sum) => sums.push(sum),
            Err(error) => assert!(matches!(error, StoreError::Overflow(_)), "{error}"),
        }
    }
    assert_eq!(sums, (1..100).map(|i| 2 * i).collect::<Vec<_>>());
    // The writer may have taken the first one before the others arrived.
    let commits = store.folder.answered() - before;
    assert!(commits <= 2, "{commits} commits");
}

/// A change that returns the thread on which it was made.
async fn committing_thread(store: &Store) -> ThreadId {
    let thread = store.change("b", |entries| {
        entries.put("k", Some(vec![1]))?;
        Ok(std::thread::current().id())
    });
    thread.await.unwrap()
}

#[tokio::test]
async fn callers_commit_on_their_own_thread_while_commits_are_short() {
    let own = std::thread::current().id();
    let (_directory, untried) = store();
    assert_ne!(committing_thread(&untried).await, own);
    let (_directory, fast) = store();
    fast.writer.trust_commits();
    assert_eq!(committing_thread(&fast).await, own);
}

#[tokio::test]
async fn a_caller_that_leaves_before_its_commit_leaves_it_to_the_thread() {
    let (_directory, store) = store();
    let before = store.folder.answered();
    store.writer.trust_commits();
    let mut first = Box::pin(store.increment("b", "k", 2));
    assert!((&mut first).now_or_never().is_none());
    let mut second = Box::pin(store.increment("b", "k", 2));
    assert!((&mut second).now_or_never().is_none());
    drop(first);
    assert_eq!(second.await.unwrap(), 4);
    assert_eq!(store.folder.answered() - before, 1);
}

#[tokio::test]
async fn changes_of_other_tasks_that_are_ready_share_the_commit_of_a_caller() {
    let (_directory, store) = store();
    let before = store.folder.answered();
    store.writer.trust_commits();
    let sums = join_all((0..100).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { store.increment("b", "k", 2).await })
    }));
    let sums: Vec<_> = sums
        .await
        .into_iter()
        .map(|sum| sum.unwrap().unwrap())
        .collect();
    assert_eq!(sums, (1..=100).map(|i| 2 * i).collect::<Vec<_>>());
    assert_eq!(store.folder.answered() - before, 1);
}

#[tokio::test]
async fn callers_on_many_threads_lose_no_change() {
    let (directory, store) = store();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let store = store.clone();
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build();
                runtime.unwrap().block_on(async {
                    let mut sums = Vec::new();
                    for _ in 0..50 {
                        store.writer.trust_commits();
                        let both = (store.increment("b", "k", 2), store.increment("b", "k", 2));
                        let (one, other) = tokio::join!(both.0, both.1);
                        sums.extend([one.unwrap(), other.unwrap()]);
                    }
                    sums
                })
            })
        })
        .collect();
    let sums = threads
        .into_iter()
        .flat_map(|thread| thread.join().unwrap());
    let mut sums: Vec<_> = sums.collect();
    sums.sort_unstable();
    assert_eq!(sums, (1..=400).map(|i| 2 * i).collect::<Vec<_>>());
    drop(store);
    let store = Store::open(directory.path()).unwrap();
    assert_eq!(store.increment("b", "k", 2).await.unwrap(), 802);
}

#[tokio::test]
async fn after_a_panic_nobody_waits_for_ever() {
    let (_directory, store) = store();
    let panics = || store.change("b", |_| -> Result<(), _> { panic!("a test") });
    // On the caller's thread: the thread of the store goes on.
    store.writer.trust_commits();
    let mut panicking = Box::pin(AssertUnwindSafe(panics()).catch_unwind());
    assert!((&mut panicking).now_or_never().is_none());
    let mut beside = Box::pin(store.increment("b", "k", 2));
    assert!((&mut beside).now_or_never().is_none());
    assert!(panicking.await.is_err());
    assert!(matches!(beside.await, Err(StoreError::Closed)));
    assert_eq!(store.increment("b", "k", 2).await.unwrap(), 2);
    // On the thread of the store: all others are refused.
    let held = store.folder.hold();
    let mut panicking = Box::pin(panics());
    assert!((&mut panicking).now_or_never().is_none());
    drop(held);
    assert!(matches!(panicking.await, Err(StoreError::Closed)));
    let after = store.increment("b", "k", 2).await;
    assert!(matches!(after, Err(StoreError::Closed)));
}

/// The names in the folder of the store, in order.
fn names(directory: &Path) -> Vec<String> {
    let files = std::fs::read_dir(directory.join("integers")).unwrap();
    let mut names: Vec<_> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Copies a folder with all that is in it.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        let to = to.join(file.file_name());
        if file.file_type().unwrap().is_dir() {
            copy(&file.path(), &to);
        } else {
            std::fs::copy(file.path(), to).unwrap();
        }
    }
}

#[tokio::test]
async fn after_a_failure_the_store_is_opened_again_with_all_it_held() {
    let (directory, store) = store();
    store.increment("a", "k", 2).await.unwrap();
    store.increment("b", "k", 40).await.unwrap();
    let commits = store.folder.answered();
    store.folder.break_off();
    assert_eq!(store.increment("b", "k", 2).await.unwrap(), 42);
    assert_eq!(store.increment("a", "k", 2).await.unwrap(), 4);
    assert_eq!(store.folder.answered(), commits + 2);
    assert_eq!(names(directory.path()), ["2", "current", "lock"]);
    let second = Store::open(directory.path()).err().unwrap();
    assert!(
        matches!(second, StoreError::InUse(_)),
        "the lock is kept: {second}"
    );
}

#[tokio::test]
async fn an_unfinished_copy_is_removed() {
    let (directory, store) = store();
    store.increment("b", "k", 2).await.unwrap();
    drop(store);
    let unfinished = directory.path().join("integers/2");
    std::fs::create_dir(&unfinished).unwrap();
    std::fs::write(unfinished.join("0.jnl"), b"half of it").unwrap();
    let store = Store::open(directory.path()).unwrap();
    assert!(!unfinished.exists());
    assert_eq!(store.increment("b", "k", 2).await.unwrap(), 4);
}

#[tokio::test]
async fn a_commit_that_a_crash_cut_off_is_dropped_as_a_whole() {
    let (directory, store) = store();
    store.increment("b", "k", 2).await.unwrap();
    let two = ["k", "l"].map(|key| (key.to_owned(), Some(vec![1; 8])));
    store.set("b", two.to_vec()).await.unwrap();
    drop(store);
    let journal = directory.path().join("integers/1/0.jnl");
    let mut bytes = std::fs::read(&journal).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[end - 40..].fill(0);
    std::fs::write(&journal, bytes).unwrap();
    let store = Store::open(directory.path()).unwrap();
    assert_eq!(store.folder.answered(), 1);
    assert_eq!(store.keys("b").await.unwrap(), ["k"]);
    assert_eq!(store.increment("b", "k", 2).await.unwrap(), 4);
    drop(store);
    // Nothing of it is in the way of what comes after it.
    let store = Store::open(directory.path()).unwrap();
    assert_eq!(store.increment("b", "k", 2).await.unwrap(), 6);
}

#[tokio::test]
async fn a_store_that_lost_what_was_answered_is_not_minted_from() {
    let (directory, store) = store();
    let older = tempfile::tempdir().unwrap();
    let generation = directory.path().join("integers/1");
    store.increment("b", "k", 2).await.unwrap();
    copy(&generation, older.path());
    store.increment("b", "k", 2).await.unwrap();
    store.folder.break_off();
    std::fs::remove_dir_all(&generation).unwrap();
    copy(older.path(), &generation);
    let error = store.increment("b", "k", 2).await.unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::Behind {
                found: 1,
                answered: 2,
                ..
            }
        ),
        "{error}"
    );
    let error = store.get("b", "k").await.unwrap_err();
    assert!(matches!(error, StoreError::Behind { .. }), "{error}");
}

#[tokio::test]
async fn a_store_that_was_removed_is_not_begun_anew() {
    for missing in ["integers", "integers/current", "integers/1"] {
        let (directory, store) = store();
        store.increment("b", "k", 2).await.unwrap();
        store.folder.break_off();
        let missing = directory.path().join(missing);
        if missing.is_dir() {
            std::fs::remove_dir_all(&missing).unwrap();
        } else {
            std::fs::remove_file(&missing).unwrap();
        }
        let error = store.increment("b", "k", 2).await.unwrap_err();
        assert!(matches!(error, StoreError::Open(..)), "{error}");
        drop(store);
        let error = Store::open(directory.path()).err().unwrap();
        assert!(matches!(error, StoreError::Open(..)), "{error}");
    }
}

#[tokio::test]
async fn a_folder_that_was_exchanged_is_not_minted_from() {
    for fails in [true, false] {
        let (directory, store) = store();
        store.increment("b", "k", 2).await.unwrap();
        if fails {
            store.folder.break_off();
        }
        // Another process may have the new folder open.
        let folder = directory.path().join("integers");
        let moved = directory.path().join("moved");
        std::fs::rename(&folder, &moved).unwrap();
        copy(&moved, &folder);
        if !fails {
            // It is noticed when the database is full.
            for _ in 0..8 {
                let large = vec![("large".to_owned(), Some(vec![1; 1 << 20]))];
                store.set("b", large).await.unwrap();
            }
        }
        let error = store.increment("b", "k", 2).await.unwrap_err();
        assert!(matches!(error, StoreError::Open(..)), "{error}");
    }
}

#[tokio::test]
async fn a_full_database_is_replaced_and_nothing_is_lost() {
    let (directory, store) = store();
    let large = vec![1; 1 << 20];
    for number in 1..=20_i64 {
        assert_eq!(store.increment("b", "k", 2).await.unwrap(), 2 * number);
        let value = vec![("large".to_owned(), Some(large.clone()))];
        store.set("b", value).await.unwrap();
    }
    let before = names(directory.path());
    assert_eq!(before.len(), 3, "{before:?}");
    let number: u64 = before[0].parse().unwrap();
    assert!((2..6).contains(&number), "{before:?}");
    drop(store);
    // One that was opened again is replaced earlier.
    let store = Store::open(directory.path()).unwrap();
    assert_eq!(store.increment("b", "k", 2).await.unwrap(), 42);
    assert_eq!(store.get("b", "large").await.unwrap(), Some(large));
    assert_eq!(store.folder.answered(), 41);
}

#[tokio::test]
async fn names_that_are_too_long_are_refused() {
    let (_directory, store) = store();
    let (long, longer) = ("k".repeat(65_000), "k".repeat(65_001));
    let bucket = "b".repeat(256);
    assert_eq!(store.increment("b", &long, 2).await.unwrap(), 2);
    for (bucket, key) in [("b", &*longer), (&*bucket, "k")] {
        let refused = [
            store.increment(bucket, key, 2).await.map(|_| ()),
            store.get(bucket, key).await.map(|_| ()),
            store.set(bucket, vec![(key.to_owned(), None)]).await,
        ];
        for refused in refused {
            assert!(
                matches!(refused, Err(StoreError::TooLong(..))),
                "{refused:?}"
            );
        }
    }
    assert_eq!(store.increment("b", &long, 2).await.unwrap(), 4);
}

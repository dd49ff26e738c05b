use super::*;
use futures::FutureExt;
use futures::future::join_all;
use std::os::unix::fs::PermissionsExt;

fn store() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), Duration::ZERO).unwrap();
    (directory, store)
}

#[tokio::test]
async fn increments_are_kept_across_restarts() {
    let (directory, store) = store();
    assert_eq!(store.increment("b", "k", 2).await.unwrap(), 2);
    assert_eq!(store.increment("b", "k", 2).await.unwrap(), 4);
    assert_eq!(store.increment("other", "k", 1).await.unwrap(), 1);
    drop(store);
    let store = Store::open(directory.path(), Duration::ZERO).unwrap();
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
    let error = Store::open(directory.path(), Duration::ZERO).err().unwrap();
    assert!(matches!(error, StoreError::InUse(_)), "{error}");
}

#[tokio::test]
async fn changes_that_wait_share_a_commit_and_fail_alone() {
    let (_directory, store) = store();
    store.increment("b", "full", i64::MAX).await.unwrap();
    let before = store.file.answered();
    // The writer cannot start before all of them are waiting.
    let held = store.file.hold();
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
    let commits = store.file.answered() - before;
    assert!(commits <= 2, "{commits} commits");
}

#[tokio::test]
async fn after_a_failure_the_file_is_opened_anew_with_all_it_held() {
    let (directory, store) = store();
    store.increment("a", "k", 2).await.unwrap();
    store.increment("b", "k", 40).await.unwrap();
    let file = directory.path().join(FILE);
    let mut permissions = std::fs::metadata(&file).unwrap().permissions();
    permissions.set_mode(0o600);
    std::fs::set_permissions(&file, permissions).unwrap();
    let commits = store.file.answered();
    store.file.break_off();
    assert_eq!(store.increment("b", "k", 2).await.unwrap(), 42);
    assert_eq!(store.increment("a", "k", 2).await.unwrap(), 4);
    assert_eq!(store.file.answered(), commits + 2);
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "nobody else may read the copy either");
    let names: Vec<_> = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, [FILE], "the new file has the old one's name");
    let second = Store::open(directory.path(), Duration::ZERO).err().unwrap();
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
    let copy = directory.path().join("integers.redb.new");
    std::fs::write(&copy, b"half of it").unwrap();
    let store = Store::open(directory.path(), Duration::ZERO).unwrap();
    assert!(!copy.exists());
    assert_eq!(store.increment("b", "k", 2).await.unwrap(), 4);
}

#[tokio::test]
async fn a_file_that_lost_what_was_answered_is_not_minted_from() {
    let (directory, store) = store();
    let file = directory.path().join(FILE);
    store.increment("b", "k", 2).await.unwrap();
    let older = std::fs::read(&file).unwrap();
    store.increment("b", "k", 2).await.unwrap();
    store.file.break_off();
    std::fs::write(&file, older).unwrap();
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
async fn a_file_that_was_removed_is_not_begun_anew() {
    let (directory, store) = store();
    store.increment("b", "k", 2).await.unwrap();
    store.file.break_off();
    std::fs::remove_file(directory.path().join(FILE)).unwrap();
    let error = store.increment("b", "k", 2).await.unwrap_err();
    assert!(matches!(error, StoreError::Open(..)), "{error}");
}

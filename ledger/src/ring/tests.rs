//! The ring, with one and with many producers.

use super::*;
use std::sync::Arc;

const SOON: Duration = Duration::from_millis(20);
const LATE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn it_is_bounded_and_keeps_the_order() {
    let ring = Ring::new(3);
    for item in 1..=3 {
        assert_eq!(ring.push(item), Ok(()));
    }
    assert_eq!(ring.push(4), Err(4));
    let late = ring.push_until(5, Instant::now() + SOON).await;
    assert_eq!(late, Err(5));
    assert_eq!((ring.len(), ring.high_water()), (3, 3));
    let mut batch = Vec::new();
    assert!(ring.take(&mut batch, 2, SOON, |_| 1).await);
    assert_eq!(batch, [1, 2]);
    ring.close();
    assert_eq!(ring.push(6), Err(6));
    batch.clear();
    assert!(ring.take(&mut batch, 2, LATE, |_| 1).await);
    assert_eq!(batch, [3]);
    batch.clear();
    assert!(!ring.take(&mut batch, 2, LATE, |_| 1).await);
    assert!(!ring.take(&mut batch, 2, LATE, |_| 1).await);
}

#[tokio::test]
async fn items_of_several_groups_keep_their_order() {
    let ring = Ring::new(40);
    let mut next = 0..;
    let mut fill = |ring: &Ring<i32>| {
        while ring.len() < 40 {
            assert_eq!(ring.push(next.next().expect("no end")), Ok(()));
        }
        assert_eq!(ring.push(-1), Err(-1));
    };
    let (mut all, mut batch) = (Vec::new(), Vec::new());
    for most in [7, 16, 1, 40, 33] {
        fill(&ring);
        assert!(ring.take(&mut batch, most, LATE, |_| 1).await);
        assert_eq!((batch.len(), ring.len()), (most, 40 - most));
        all.append(&mut batch);
    }
    ring.close();
    assert!(ring.take(&mut all, 40, LATE, |_| 1).await);
    assert_eq!(all, (0..104).collect::<Vec<_>>());
    assert!(!ring.take(&mut all, 1, LATE, |_| 1).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_is_filled_while_it_is_taken_keeps_its_place() {
    const ITEMS: u32 = 200_000;
    let ring = Arc::new(Ring::new(64));
    let producer = Arc::clone(&ring);
    let producer = tokio::task::spawn_blocking(move || {
        for item in 0..ITEMS {
            while producer.push(item).is_err() {
                std::thread::yield_now();
            }
        }
        producer.close();
    });
    let (mut all, mut batch) = (Vec::new(), Vec::new());
    while ring.take(&mut batch, 50, Duration::ZERO, |_| 1).await {
        all.append(&mut batch);
    }
    producer.await.expect("it does not panic");
    assert!(all.into_iter().eq(0..ITEMS));
}

#[tokio::test]
async fn the_first_item_wakes_a_worker_and_so_does_the_last_one_of_a_batch() {
    let ring = Ring::new(100);
    let mut batch = Vec::new();
    let begin = Instant::now();
    let producer = async {
        for item in 0..30 {
            tokio::task::yield_now().await;
            ring.push(item).expect("room");
        }
    };
    let (taken, ()) = tokio::join!(ring.take(&mut batch, 30, LATE, |_| 1), producer);
    assert!(taken && begin.elapsed() < LATE);
    assert_eq!(batch, (0..30).collect::<Vec<_>>());
}

#[tokio::test]
async fn heavy_items_are_shared_out() {
    let ring = Ring::new(8);
    for item in [1, 1, 5, 1, 9, 1] {
        ring.push(item).expect("room");
    }
    ring.close();
    let mut batches = Vec::new();
    let mut batch = Vec::new();
    while ring.take(&mut batch, 5, SOON, |item| *item).await {
        batches.push(std::mem::take(&mut batch));
    }
    assert_eq!(batches, [vec![1, 1, 5], vec![1, 9], vec![1]]);
}

#[tokio::test]
async fn a_worker_that_lingers_can_be_hurried() {
    let ring = Ring::new(2);
    let mut batch = Vec::new();
    // Somebody hurries.
    ring.push(1).expect("room");
    ring.hurry();
    assert!(ring.take(&mut batch, 9, LATE, |_| 1).await);
    assert_eq!(batch, [1]);
    // There is no room for further items.
    ring.push(2).expect("room");
    ring.push(3).expect("room");
    assert!(ring.take(&mut batch, 9, LATE, |_| 1).await);
    assert_eq!(batch, [1, 2, 3]);
    // Somebody hurries while it lingers.
    let (taken, ()) = tokio::join!(ring.take(&mut batch, 9, LATE, |_| 1), async {
        ring.push(4).expect("room");
        tokio::task::yield_now().await;
        ring.hurry();
    });
    assert!(taken);
    assert_eq!(batch, [1, 2, 3, 4]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_between_many_producers_and_workers() {
    let ring = Arc::new(Ring::new(16));
    let producers = (0..4_u32).map(|producer| {
        let ring = Arc::clone(&ring);
        tokio::spawn(async move {
            for item in 0..2000 {
                let deadline = Instant::now() + LATE;
                ring.push_until(producer * 10_000 + item, deadline)
                    .await
                    .expect("room");
            }
        })
    });
    let workers: Vec<_> = (0..3)
        .map(|_| {
            let ring = Arc::clone(&ring);
            tokio::spawn(async move {
                let (mut all, mut batch) = (Vec::new(), Vec::new());
                while ring.take(&mut batch, 7, Duration::ZERO, |_| 1).await {
                    assert!((1..=7).contains(&batch.len()));
                    all.append(&mut batch);
                }
                all
            })
        })
        .collect();
    for producer in producers.collect::<Vec<_>>() {
        producer.await.unwrap();
    }
    ring.close();
    let mut all = Vec::new();
    for worker in workers {
        all.extend(worker.await.unwrap());
    }
    all.sort_unstable();
    let expected: Vec<u32> = (0..4)
        .flat_map(|producer| (0..2000).map(move |item| producer * 10_000 + item))
        .collect();
    assert_eq!(all, expected);
}
